"""A buffer that puts packets in order and decides when each is due, for networks whose delay varies."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..format.arguments import finite_number
from ..format.errors import ArgumentError
from ..format.packets import FRAME_NUMBERS

REMEMBERED = 200  # packets whose delay an adaptive buffer knows
ON_TIME = 0.99  # share of them that it waits for
LEARNING = 50  # packets; with fewer it waits for `start` seconds at least
MAX_PACKETS = 512  # held at a time; more than any delay is worth


class JitterBuffer:
    """Holds packets by their first frame, and gives them out a fixed or an adaptive time after they were sent.

    Times are in seconds on the receiver's clock. `delay` is the time that packets are held, relative to the fastest one; None
    adapts it, so that ON_TIME of the last packets arrive before they are due, within `least` and `most`; the first LEARNING
    packets wait for `start` at least.
    """

    def __init__(
        self, frame_seconds: float, delay: float | None = None, least: float = 0.0, most: float = 0.5, start: float = 0.0
    ) -> None:
        given = {"frame_seconds": frame_seconds, "least": least, "most": most, "start": start}
        for name, value in (given if delay is None else given | {"delay": delay}).items():
            finite_number(name, value)
        if frame_seconds <= 0 or (delay is not None and delay < 0) or not 0 <= least <= most:
            raise ArgumentError("frame_seconds must be above 0, delays must not be negative, and least must be at most most")
        self._frame_seconds, self._fixed, self._least, self._most = frame_seconds, delay, least, most
        self._start = start
        self.extra = 0.0  # seconds added to an adaptive delay
        self._held: dict[int, Any] = {}  # by their number, counted without wrapping around
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
        wanted = max(late[min(len(late) - 1, int(ON_TIME * len(late)))], self._start if len(late) < LEARNING else 0.0)
        return min(self._most, max(self._least, wanted)) + self.extra

    @property
    def knows_time(self) -> bool:
        """True once a packet has arrived, so that it is known when others are due."""
        return bool(self._transit)

    def number(self, first_frame: int) -> int:
        """Return a frame's number without wrapping around: the one that is nearest to the latest packet's."""
        if self._last is None:
            return first_frame
        return self._last + (first_frame - self._last + FRAME_NUMBERS // 2) % FRAME_NUMBERS - FRAME_NUMBERS // 2

    def put(self, first_frame: int, packet: Any, now: float) -> bool:
        """Keep a packet that arrived `now`; returns False for one that is held already, or that a full buffer drops."""
        number = self.number(first_frame)
        if number in self._held:
            return False
        self._last = number if self._last is None else max(self._last, number)
        self.observe(number, now)
        if len(self._held) >= MAX_PACKETS:
            return False
        self._held[number] = packet
        return True

    def observe(self, number: int, now: float) -> None:
        """Take note of when a packet arrived, also of one that is too late to be held."""
        self._transit.append(now - number * self._frame_seconds)

    def restart(self, first_frame: int) -> None:
        """Forget all packets and their times; the numbers go on from here."""
        self._held.clear()
        self._transit.clear()
        self._last = first_frame

    def earliest(self) -> int | None:
        """Return the number of the earliest packet; None if the buffer is empty."""
        return min(self._held, default=None)

    def peek(self, number: int) -> Any:
        """Return the packet of this number, which stays held; None if it is not here."""
        return self._held.get(number)

    def pop(self, number: int) -> Any:
        """Return the packet of this number and let it go; None if it is not here."""
        return self._held.pop(number, None)

    def due(self, number: int, now: float) -> float:
        """Return how many seconds are left until the frame of this number is due; negative if it is overdue."""
        return number * self._frame_seconds + min(self._transit, default=now) + self.delay - now

    def take(self, now: float) -> Any:
        """Return the earliest packet if it is due, else None. Packets before a missing one do not wait for it."""
        if not self._held:
            return None
        number = min(self._held)
        return self._held.pop(number) if self.due(number, now) <= 0 else None

    def wait(self, now: float) -> float | None:
        """Return the seconds until the earliest packet is due; None if the buffer is empty."""
        return max(0.0, self.due(min(self._held), now)) if self._held else None

    def flush(self) -> list[Any]:
        """Return all packets that are left, in order."""
        packets = [self._held[number] for number in sorted(self._held)]
        self._held.clear()
        return packets
