"""Send and receive packets over UDP: paced by a clock, held in a jitter buffer, with statistics."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format import FormatError, Header
from ..format.errors import ArgumentError
from ..format.packets import End, PacketKind, decode_description, decode_end, encode_end, packet_kind
from .decoder import Decoder
from .encoder import Encoder
from .jitter import JitterBuffer

MAX_PACKET = 2048  # bytes; larger datagrams are cut, and then refused
DESCRIBE_SECONDS = 1.0  # between two packets that describe the stream
END_COPIES = 3  # of the packet that ends the stream


@dataclass
class Faults:
    """What a sender does to its packets, to test receivers: share lost, length of a loss in packets, seconds of jitter."""

    loss: float = 0.0
    burst: float = 1.0  # mean length of a loss (Gilbert-Elliott); 1: losses are independent
    jitter: float = 0.0  # a packet is late by up to this, evenly distributed
    seed: int = 0
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

    def delay(self) -> float:
        """Return the seconds by which the next packet is late."""
        return float(self._rng.random() * self.jitter)


def send(
    blocks: Iterable[NDArray[np.float32]], encoder: Encoder, address: tuple[str, int], faults: Faults, speed: float = 1.0
) -> dict[str, Any]:
    """Encode blocks [C, n] and send the packets, at the pace of the sound times `speed`; returns statistics.

    Raises OSError if the address cannot be reached at all.
    """
    counts = {"packets": 0, "lost_on_purpose": 0, "bytes": 0}
    seconds_per_frame = encoder.header.hop_length / encoder.header.sample_rate / speed
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        began, described = time.monotonic(), -DESCRIBE_SECONDS
        late: list[tuple[float, bytes]] = []
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
            late.append((due + faults.delay(), packet))
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
    for packet in encoder.push(np.zeros((encoder.header.channels, 0), np.float32), last=True):
        yield packet, before


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


@dataclass
class Received:
    """The end of a receiver: why it ended, and its statistics."""

    reason: str  # "end" or "timeout"
    statistics: dict[str, Any]


class Receiver:
    """Receives one stream; `blocks` yields its audio as it is due. `open_decoder` makes a decoder for a description."""

    def __init__(
        self, sock: socket.socket, open_decoder: Callable[[Header], Decoder], delay: float | None, timeout: float,
        report: Callable[[dict[str, Any]], object] = lambda row: None, report_seconds: float = 1.0,
    ) -> None:  # fmt: skip
        self._sock, self._open_decoder, self._delay, self._timeout = sock, open_decoder, delay, timeout
        self._report, self._report_seconds = report, report_seconds
        self.decoder: Decoder | None = None
        self._buffer: JitterBuffer | None = None
        self._end: End | None = None
        self._counts = {"packets": 0, "bytes": 0, "strange": 0}
        self.result: Received | None = None

    def wait_for_description(self) -> Header:
        """Wait until the stream is described; raises ArgumentError if it is not within `timeout` seconds."""
        until = time.monotonic() + self._timeout
        while self.decoder is None:
            if time.monotonic() > until:
                raise ArgumentError(f"no stream arrived within {self._timeout:g} s")
            self._receive(0.1)
        return self.decoder.header

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield audio [C, n] until the stream ends, or nothing has come for `timeout` seconds.

        A gap is filled when the packet after it is due.
        """
        heard = reported = time.monotonic()
        reason = "timeout"
        while True:
            now = time.monotonic()
            wait = self._buffer.wait(now) if self._buffer is not None else None
            left = heard + self._timeout - now
            if not self._buffer and (self._end or left <= 0):  # none, or an empty one
                reason = "end" if self._end else "timeout"
                break
            if self._receive(max(0.001, min(left if wait is None else wait, 0.1))):
                heard = time.monotonic()
            yield from self._due(time.monotonic())
            if self._report_seconds and time.monotonic() - reported >= self._report_seconds:
                reported = time.monotonic()
                self._report(self.statistics())
        if self.decoder is not None:
            if self._end:
                yield self.decoder.push(encode_end(self._end))
            yield self.decoder.finish()
        self.result = Received(reason, self.statistics())

    @property
    def n_samples(self) -> int | None:
        """Length of the stream at the codec's rate, once its end has arrived."""
        return self._end.n_samples if self._end else None

    def statistics(self) -> dict[str, Any]:
        """Return all counters."""
        found: dict[str, Any] = dict(self._counts)
        if self.decoder is not None and self._buffer is not None:
            found |= asdict(self.decoder.statistics)
            found |= {"buffered": len(self._buffer), "delay_ms": round(1000 * self._buffer.delay, 1)}
        return found

    def _receive(self, wait: float) -> bool:
        """Wait for a datagram and sort it in; returns False if none came."""
        self._sock.settimeout(wait)
        try:
            data = self._sock.recv(MAX_PACKET)
        except (TimeoutError, ConnectionRefusedError):
            return False
        self._counts["packets"] += 1
        self._counts["bytes"] += len(data)
        try:
            self._sort_in(data)
        except FormatError:
            self._counts["strange"] += 1
        return True

    def _sort_in(self, data: bytes) -> None:
        kind = packet_kind(data)
        if kind is PacketKind.DESCRIPTION:
            header = decode_description(data)
            if self.decoder is None:
                self.decoder = self._open_decoder(header)
                self._buffer = JitterBuffer(header.hop_length / header.sample_rate, self._delay)
            return
        if self._buffer is None:
            return  # what comes before the description cannot be read
        if kind is PacketKind.END:
            self._end = decode_end(data)
            return
        if len(data) < 3:
            self._counts["strange"] += 1
            return
        self._buffer.put(int.from_bytes(data[1:3], "little"), data, time.monotonic())

    def _due(self, now: float) -> Iterator[NDArray[np.float32]]:
        """Yield the audio of packets that are due; at the end of the stream, of all."""
        if self._buffer is None or self.decoder is None:
            return
        packets = self._buffer.flush() if self._end else iter(lambda: self._buffer.take(now), None)  # type: ignore[union-attr]
        for packet in packets:
            audio = self.decoder.push(packet)
            if audio.shape[1]:
                yield audio
