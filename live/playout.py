"""Play a stream of packets on a clock: a frame whose packet is not there when it is due is concealed at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..format.arguments import described, finite_number
from ..format.errors import ArgumentError
from ..format.packets import FRAME_NUMBERS, End, Packet
from .decoder import Decoder
from .jitter import JitterBuffer

START_DELAY = 0.06  # seconds that an adaptive buffer waits until it knows the network
MAX_AHEAD = 2.0  # seconds; packets that are further in the future, or in the past, do not belong to the stream as it goes
RESTART_SECONDS = 0.5  # if nothing but such packets come for this long, the sender has started anew
RESTART_PACKETS = 3
CATCHING_UP = 0.25  # seconds; if packets become less late by more than this, the sender will soon be in time by itself
NEAR = 64  # frames; packets this far from one another may be of one stream
MOST_EXTRA = 0.5  # seconds that are waited for copies
REMEMBERED = 1024  # numbers of packets, to tell repeated ones from late ones


class Playout:
    """Plays one stream on a clock.

    `put` takes packets as they arrive, `play` gives the audio that is due. Times are in seconds on one clock of the caller's.
    The buffer holds packets for `delay` seconds; None adapts to the network, and waits for packets that carry copies of lost
    ones. `speed` is that of the stream relative to the clock. No method raises anything for what a network does.
    """

    def __init__(self, decoder: Decoder, delay: float | None = None, speed: float = 1.0) -> None:
        if not isinstance(decoder, Decoder):
            raise ArgumentError(f"decoder must be a Decoder, got {described(decoder)}")
        if finite_number("speed", speed) <= 0:
            raise ArgumentError(f"speed must be more than 0, got {speed}")
        self.decoder = decoder
        self._frame_seconds = decoder.header.hop_length / decoder.header.sample_rate / speed
        self.buffer = JitterBuffer(self._frame_seconds, delay, start=START_DELAY)
        self.first_frame: int | None = None  # number of the first frame that was played, modulo FRAME_NUMBERS
        self.is_over = False  # True once everything up to the end has been played
        self._next: int | None = None  # number of the frame that is due next, counted like the buffer's
        self._last: int | None = None  # number of the frame after the last one, once the end is known
        self.n_samples: int | None = None  # of the sender's audio, once the end is known
        self._length = 1  # frames of the last packet
        self._seen: deque[int] = deque(maxlen=REMEMBERED)
        self._n_astray = 0  # packets in a row that do not belong to the stream as it goes
        self._astray_since, self._astray_ahead = 0.0, 0.0  # when the first of them came, and how much too early
        self._astray_last = 0  # first frame of the latest of them

    def put(self, data: bytes, now: float) -> bool:
        """Take a packet of frames; returns False if it cannot be read."""
        now = float(finite_number("now", now))
        packet = self.decoder.read(data)
        if packet is None:
            return False
        number = self.buffer.number(packet.first_frame)
        is_repeated = number in self._seen
        ahead = self._ahead(number, now)
        if not is_repeated and ahead < MAX_AHEAD and (self._next is None or number >= self._next):
            self._n_astray = 0
            self._hold(packet, now)
        elif self._is_restart(packet, ahead, now):
            self._n_astray, self._next = 0, None
            self._seen.clear()
            self.buffer.restart(packet.first_frame)
            self._hold(packet, now)
        else:
            self.decoder.statistics.repeated += is_repeated
            self.decoder.statistics.late += not is_repeated
            if not is_repeated and abs(ahead) < MAX_AHEAD:
                self.buffer.observe(number, now)  # so that an adaptive buffer waits longer
        return True

    def end(self, end: End, now: float) -> bool:
        """Take the end of the stream; returns False for one that cannot be its end: too far in the future or in the past."""
        now = float(finite_number("now", now))
        number = self.buffer.number(end.next_frame)
        is_far = abs(self._ahead(number, now)) > MAX_AHEAD
        if is_far and self._next is not None and abs(number - self._next) * self._frame_seconds > MAX_AHEAD:
            return False
        self._last, self.n_samples = number, end.n_samples
        self.is_over = self._next is None and not len(self.buffer)
        return True

    def wait(self, now: float) -> float | None:
        """Return the seconds until something is due, never negative; None as long as nothing has come."""
        now = float(finite_number("now", now))
        number = self.buffer.earliest() if self._next is None else self._next
        return None if number is None else max(0.0, self.buffer.due(number, now))

    def play(self, now: float) -> Iterator[NDArray[np.float32]]:
        """Yield the audio [C, n] that is due, n may be 0. What has not come is taken from later copies, or concealed."""
        now = float(finite_number("now", now))
        if self._next is None:
            earliest = self.buffer.earliest()
            if earliest is None or self.buffer.due(earliest, now) > 0:
                return
            self._next = earliest
            self.first_frame = earliest % FRAME_NUMBERS if self.first_frame is None else self.first_frame
            self.decoder.jump(earliest)
        while self.buffer.due(self._next, now) <= 0 and not self._is_past_end:
            yield self._step(self._next)
        self.is_over = self._is_past_end

    @property
    def _is_past_end(self) -> bool:
        return self._last is not None and self._next is not None and self._next >= self._last

    def _step(self, number: int) -> NDArray[np.float32]:
        """Return the audio of the packet that begins with this frame, or of frames that are missing instead."""
        packet: Packet | None = self.buffer.pop(number)
        if packet is not None:
            self._next, self._length = number + packet.n_frames, packet.n_frames
            return self.decoder.play(packet)
        while (earliest := self.buffer.earliest()) is not None and earliest < number:
            self.buffer.pop(earliest)  # it overlaps with a packet that was played
            self.decoder.statistics.late += 1
        limits = [self._length, *(stop - number for stop in (earliest, self._last) if stop is not None)]
        self._next = number + min(limits)
        return self.decoder.recover(min(limits), None if earliest is None else self.buffer.peek(earliest))

    def _ahead(self, number: int, now: float) -> float:
        """Return how many seconds before the fastest packets a packet that comes now is; negative if it is later than they."""
        return self.buffer.due(number, now) - self.buffer.delay if self.buffer.knows_time else 0.0

    def _hold(self, packet: Packet, now: float) -> None:
        self._seen.append(self.buffer.number(packet.first_frame))
        self.buffer.extra = min(MOST_EXTRA, packet.copied.shape[1] * self._frame_seconds)
        if not self.buffer.put(packet.first_frame, packet, now):
            self.decoder.statistics.dropped += 1

    def _is_restart(self, packet: Packet, ahead: float, now: float) -> bool:
        """Count a packet whose number does not fit. After several of them, return True: the sender has restarted."""
        step = (packet.first_frame - self._astray_last) % FRAME_NUMBERS
        if self._n_astray and step > FRAME_NUMBERS - NEAR:
            return False  # the network has changed their order
        if not self._n_astray or step > NEAR or ahead - self._astray_ahead > CATCHING_UP:
            self._n_astray, self._astray_since, self._astray_ahead = 0, now, ahead
        self._n_astray, self._astray_last = self._n_astray + 1, packet.first_frame
        return self._last is None and self._n_astray >= RESTART_PACKETS and now - self._astray_since >= RESTART_SECONDS
