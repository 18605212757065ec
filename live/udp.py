"""Send packets over UDP at the pace of the sound, with losses, delays and repetitions if a test wants them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encoder import Encoder

DESCRIBE_SECONDS = 1.0  # between two packets that describe the stream
END_COPIES = 3  # of the packet that ends the stream


@dataclass
class Faults:
    """What a sender does to its packets, to test receivers. Jitter that is longer than a packet also changes their order."""

    loss: float = 0.0
    burst: float = 1.0  # mean length of a loss (Gilbert-Elliott); 1: losses are independent
    jitter: float = 0.0  # a packet is late by up to this, evenly distributed
    seed: int = 0
    duplicates: float = 0.0  # share of packets that are sent twice, with delays of their own
    _rng: np.random.Generator = field(init=False)
    _is_bad: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def loses(self) -> bool:
        """Decide about the next packet. The two states of the channel give `loss` in the long run."""
        if self.burst <= 1 or not self.loss:
            return bool(self._rng.random() < self.loss)
        leave = 1 / self.burst
        enter = leave * self.loss / max(1e-9, 1 - self.loss)
        self._is_bad = bool(self._rng.random() >= leave) if self._is_bad else bool(self._rng.random() < enter)
        return self._is_bad

    def copies(self) -> int:
        """Return how often the next packet is sent, if it is not lost."""
        return 1 + bool(self.duplicates and self._rng.random() < self.duplicates)

    def delay(self) -> float:
        """Return the seconds by which the next packet is late."""
        return float(self._rng.random() * self.jitter)


def send(
    blocks: Iterable[NDArray[np.float32]], encoder: Encoder, address: tuple[str, int], faults: Faults, speed: float = 1.0
) -> dict[str, Any]:
    """Encode blocks [C, n] and send the packets, at the pace of the sound times `speed`; returns statistics.

    If `blocks` fails or Ctrl-C is pressed, what has been encoded and the end of the stream are sent before the error goes on.
    Raises OSError if the address cannot be reached at all.
    """
    counts = {"packets": 0, "lost_on_purpose": 0, "sent_twice": 0, "bytes": 0}
    seconds_per_frame = encoder.header.hop_length / encoder.header.sample_rate / speed
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        began, described = time.monotonic(), -DESCRIBE_SECONDS
        late: list[tuple[float, bytes]] = []
        try:
            for packet, n_frames in _packets(blocks, encoder):
                due = began + n_frames * seconds_per_frame
                _send_late(sock, late, due)
                now = time.monotonic() - began
                if now - described >= DESCRIBE_SECONDS:
                    _send(sock, encoder.description)
                    described = now
                counts["packets"] += 1
                counts["bytes"] += len(packet)
                if faults.loses():
                    counts["lost_on_purpose"] += 1
                    continue
                n_copies = faults.copies()
                counts["sent_twice"] += n_copies - 1
                late += [(due + faults.delay(), packet) for _ in range(n_copies)]
        finally:
            _send_late(sock, late, time.monotonic() + faults.jitter + 1, drain=True)
            for _ in range(END_COPIES):
                _send(sock, encoder.end)
    return counts | {"seconds": encoder.n_samples / encoder.header.sample_rate}


def _packets(blocks: Iterable[NDArray[np.float32]], encoder: Encoder) -> Iterator[tuple[bytes, int]]:
    """Yield packets, and how many frames had been sent before each."""
    for block in blocks:
        for first in range(0, block.shape[1], encoder.header.hop_length):  # a frame at a time, as a microphone would give it
            before = encoder.n_frames
            for i, packet in enumerate(encoder.push(block[:, first : first + encoder.header.hop_length])):
                yield packet, before + i * encoder.frames_per_packet
    before = encoder.n_frames
    for i, packet in enumerate(encoder.push(np.zeros((encoder.header.channels, 0), np.float32), last=True)):
        yield packet, before + i * encoder.frames_per_packet


def _send_late(sock: socket.socket, late: list[tuple[float, bytes]], until: float, drain: bool = False) -> None:
    """Send what is due until then, each at its time; wait until then, or with `drain` until all is sent."""
    while late and min(late)[0] <= until:
        at, packet = min(late)
        late.remove((at, packet))
        time.sleep(max(0.0, at - time.monotonic()))
        _send(sock, packet)
    if not drain:
        time.sleep(max(0.0, until - time.monotonic()))


def _send(sock: socket.socket, packet: bytes) -> None:
    with contextlib.suppress(ConnectionRefusedError):  # nobody listens yet, or no longer
        sock.send(packet)
