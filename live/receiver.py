"""Receive one stream over UDP and play it on a clock, with statistics."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format import FormatError, Header
from ..format.errors import ArgumentError, EcdcError
from ..format.packets import PacketKind, decode_description, decode_end, packet_kind
from .decoder import Decoder
from .playout import Playout

MAX_PACKET = 2048  # bytes; larger datagrams are cut, and then refused
MAX_AT_ONCE = 2048  # datagrams read before the clock is looked at again
SYSTEM_BUFFER = 1 << 20  # bytes that the system is asked to hold while this process is busy
COUNTERS = "packets", "bytes", "frame_packets", "descriptions", "ends", "foreign", "strange", "early"  # of datagrams
TAKEOVER_SECONDS = 3.0  # of silence after which the same stream may go on from another address


@dataclass
class Received:
    """The end of a receiver: why it ended, and its statistics."""

    reason: str  # "end", "timeout" or "interrupted"
    statistics: dict[str, Any]


class Receiver:
    """Receives one stream; `blocks` yields its audio when it is due. `open_decoder` makes a decoder for a description.

    The stream is that of the first sender whose description can be decoded; other senders are ignored as long as it sends.
    `speed` is that of the sender, for tests.
    """

    def __init__(
        self, sock: socket.socket, open_decoder: Callable[[Header], Decoder], delay: float | None, timeout: float,
        report: Callable[[dict[str, Any]], object] = lambda row: None, report_seconds: float = 1.0, speed: float = 1.0,
    ) -> None:  # fmt: skip
        self._sock, self._open_decoder, self._delay, self._timeout = sock, open_decoder, delay, timeout
        self._report, self._report_seconds, self._speed = report, report_seconds, speed
        self.decoder: Decoder | None = None
        self._playout: Playout | None = None
        self._sender: Any = None  # address
        self._heard = time.monotonic()  # when the sender was heard last
        self._is_stopped = False
        self._refused = ""  # why the last description could not be used
        self._counts = dict.fromkeys(COUNTERS, 0)
        self.result: Received | None = None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SYSTEM_BUFFER)

    def wait_for_description(self) -> Header:
        """Wait until the stream is described; raises ArgumentError if it is not within `timeout` seconds."""
        until = time.monotonic() + self._timeout
        while self.decoder is None:
            if time.monotonic() > until:
                reason = f"; the last one was refused: {self._refused}" if self._refused else ""
                raise ArgumentError(f"no stream arrived within {self._timeout:g} s{reason}")
            self._receive(0.1)
        self._heard = time.monotonic()
        return self.decoder.header

    def stop(self) -> None:
        """End the stream soon, with all that has been heard; may be called by a signal handler."""
        self._is_stopped = True

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield audio [C, n] at the pace of the stream until it ends, or its sender has been silent for `timeout` seconds.

        Missing sound is concealed when it is due. `result` then tells the reason.
        """
        self._heard = time.monotonic()
        held = np.zeros((1, 0), np.float32)  # the last frame; the end of the stream may cut it
        for block in self._played():
            held = np.concatenate([held, block], axis=1) if held.size else block
            n_ready = held.shape[1] - self._hop
            if n_ready > 0:
                yield held[:, :n_ready]
                held = held[:, n_ready:]
        if self.decoder is not None:
            rest = self.decoder.finish()
            rest = np.concatenate([held, rest], axis=1) if held.size else rest
            yield rest[:, : max(0, rest.shape[1] - (-(self.n_samples or 0) % self._hop))]
        is_over = self._playout is not None and self._playout.is_over
        self.result = Received("end" if is_over else "interrupted" if self._is_stopped else "timeout", self.statistics())

    @property
    def n_samples(self) -> int | None:
        """Length of the sender's audio at the codec's rate, once its end is known."""
        return self._playout.n_samples if self._playout else None

    @property
    def _hop(self) -> int:
        return self.decoder.header.hop_length if self.decoder else 1

    def statistics(self) -> dict[str, Any]:
        """Return all counters."""
        found: dict[str, Any] = dict(self._counts)
        if self._playout is not None:
            playout, buffer = self._playout, self._playout.buffer
            found |= asdict(playout.decoder.statistics) | {"first_frame": playout.first_frame}
            found |= {"buffered": len(buffer), "delay_ms": round(1000 * buffer.delay, 1)}
        return found

    def _played(self) -> Iterator[NDArray[np.float32]]:
        """Yield audio as it is due; returns at the end or the time-out."""
        reported = time.monotonic()
        while not self._is_stopped and not (self._playout and self._playout.is_over):
            now = time.monotonic()
            wait = self._playout.wait(now) if self._playout else None
            self._receive(min(0.1, max(0.0, self._heard + self._timeout - now), 0.1 if wait is None else wait))
            if self._playout:
                yield from self._playout.play(time.monotonic())
            if time.monotonic() - self._heard >= self._timeout:
                return
            if self._report_seconds and time.monotonic() - reported >= self._report_seconds:
                reported = time.monotonic()
                self._report(self.statistics())

    def _receive(self, wait: float) -> None:
        """Wait for a datagram; sort in what has come."""
        self._sock.settimeout(max(0.001, wait))
        for _ in range(MAX_AT_ONCE):
            try:
                data, sender = self._sock.recvfrom(MAX_PACKET)
            except TimeoutError:
                self._sock.settimeout(0)  # and look again: much may have come if this process was stopped
                continue
            except (BlockingIOError, ConnectionError):
                return
            self._sock.settimeout(0)
            self._counts["packets"] += 1
            self._counts["bytes"] += len(data)
            try:
                self._sort_in(data, sender, time.monotonic())
            except FormatError:
                self._counts["strange"] += 1

    def _sort_in(self, data: bytes, sender: Any, now: float) -> None:
        """Give a datagram to the playout; raises FormatError for one that cannot be read."""
        kind = packet_kind(data)
        if self._playout is None:
            if kind is PacketKind.DESCRIPTION:
                self._start(decode_description(data), sender)
            else:
                self._counts["early"] += 1  # what comes before the description cannot be read
            return
        if sender != self._sender and not self._takes_over(data, kind, now):
            self._counts["foreign"] += 1
            return
        self._sender = sender
        if kind is PacketKind.DESCRIPTION:
            is_known = decode_description(data) == self._playout.decoder.header
            self._counts["descriptions" if is_known else "strange"] += 1
        elif kind is PacketKind.END:
            if self._playout.end(decode_end(data), now):
                self._counts["ends"] += 1
                self._heard = now
            else:
                self._counts["strange"] += 1
        else:
            self._counts["frame_packets"] += 1
            if self._playout.put(data, now):
                self._heard = now

    def _start(self, header: Header, sender: Any) -> None:
        try:
            self.decoder = self._open_decoder(header)
        except (EcdcError, OSError, ValueError) as error:
            self._counts["strange"] += 1
            self._refused = str(error)
            return
        self._counts["descriptions"] += 1
        self._sender = sender
        self._playout = Playout(self.decoder, self._delay, self._speed)

    def _takes_over(self, data: bytes, kind: PacketKind, now: float) -> bool:
        """Return True if the same stream, which has not ended, now comes from another address, and its old one is silent."""
        if kind is not PacketKind.DESCRIPTION or self._playout is None or self._playout.n_samples is not None:
            return False
        if now - self._heard < TAKEOVER_SECONDS:
            return False
        return decode_description(data) == self._playout.decoder.header
