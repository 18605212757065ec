"""A buffer that puts packets in order and decides when each is due, for networks whose delay varies."""

from __future__ import annotations

from collections import deque

from ..format.errors import ArgumentError
from ..format.packets import FRAME_NUMBERS

REMEMBERED = 200  # packets whose delay an adaptive buffer knows
ON_TIME = 0.98  # share of them that it waits for
MAX_PACKETS = 512  # held at a time; more than any delay is worth


class JitterBuffer:
    """Holds packets by their first frame, and gives them out a fixed or an adaptive time after they were sent.

    Times are in seconds on the receiver's clock. `delay` is the time that packets are held, relative to the fastest one; None
    adapts it, so that ON_TIME of the last packets arrive before they are due, within `least` and `most`.
    """

    def __init__(self, frame_seconds: float, delay: float | None = None, least: float = 0.0, most: float = 0.5) -> None:
        if frame_seconds <= 0 or (delay is not None and delay < 0) or not 0 <= least <= most:
            raise ArgumentError("a jitter buffer needs a frame of some length, and delays that are not negative")
        self._frame_seconds, self._fixed, self._least, self._most = frame_seconds, delay, least, most
        self._held: dict[int, bytes] = {}  # by their number, counted without wrapping around
        self._last: int | None = None  # the latest number
        self._transit: deque[float] = deque(maxlen=REMEMBERED)  # arrival minus sending, less an unknown constant

    def __len__(self) -> int:
        return len(self._held)

    @property
    def delay(self) -> float:
        """Seconds that a packet is held after the fastest one of the same age would have come."""
        if self._fixed is not None or not self._transit:
            return self._fixed if self._fixed is not None else self._least
        late = sorted(t - min(self._transit) for t in self._transit)
        wanted = late[min(len(late) - 1, int(ON_TIME * len(late)))]
        return min(self._most, max(self._least, wanted))

    def put(self, first_frame: int, packet: bytes, now: float) -> None:
        """Keep a packet that arrived `now`. One that is held already, or that finds the buffer full, is dropped."""
        number = first_frame
        if self._last is not None:
            number = self._last + (first_frame - self._last + FRAME_NUMBERS // 2) % FRAME_NUMBERS - FRAME_NUMBERS // 2
        self._last = number if self._last is None else max(self._last, number)
        self._transit.append(now - number * self._frame_seconds)
        if len(self._held) < MAX_PACKETS:
            self._held.setdefault(number, packet)

    def due(self, number: int, now: float) -> float:
        """Return how many seconds are left until the frame of this number is due; negative if it is overdue."""
        return number * self._frame_seconds + min(self._transit, default=now) + self.delay - now

    def take(self, now: float) -> bytes | None:
        """Return the earliest packet if it is due, else None. Packets before a missing one do not wait for it."""
        if not self._held:
            return None
        number = min(self._held)
        return self._held.pop(number) if self.due(number, now) <= 0 else None

    def wait(self, now: float) -> float | None:
        """Return the seconds until the earliest packet is due; None if the buffer is empty."""
        return max(0.0, self.due(min(self._held), now)) if self._held else None

    def flush(self) -> list[bytes]:
        """Return all packets that are left, in order."""
        packets = [self._held[number] for number in sorted(self._held)]
        self._held.clear()
        return packets
