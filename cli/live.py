"""`ecdc live`: send audio as packets over UDP, and receive them."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

import click

from .common import InputError, check_output, guard
from .number_types import Finite
from .terminal_text import dumps, echo

if TYPE_CHECKING:
    from ..codec.protocols import Model
    from ..format import Header
    from ..live.decoder import Decoder


@click.group("live")
def live_group() -> None:
    """Send and receive live audio in packets, which may be lost."""


def address_of(text: str, default_host: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT" or "PORT". Raises InputError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{text!r} is no address: give HOST:PORT, such as 127.0.0.1:5004")
    return host or default_host, int(port)


@live_group.command("send")
@click.argument("source", metavar="INPUT")
@click.option("--to", "target", default="127.0.0.1:5004", show_default=True, metavar="HOST:PORT", help="Where packets go.")
@click.option("--model", default="nano-24k", show_default=True, help="Name or folder of a codec.")
@click.option("--kbps", type=Finite(0, min_open=True), default=6.0, show_default=True, help="Of the codes.")
@click.option("--frames", type=click.IntRange(1, 6), default=2, show_default=True, help="Frames in a packet.")
@click.option("--channels", type=click.IntRange(1, 2), default=1, show_default=True)
@click.option("--copies", type=click.IntRange(0, 64), default=0, show_default=True, help="Earlier frames in each packet.")
@click.option("--copied-codebooks", type=click.IntRange(1, 255), default=2, show_default=True, help="Of each repeated frame.")
@click.option("--loss", type=Finite(0, 1), default=0.0, show_default=True, help="Share of packets not sent, for tests.")
@click.option("--burst", type=Finite(1), default=1.0, show_default=True, help="Mean number of packets lost in a row.")
@click.option(
    "--jitter", type=Finite(0, 10), default=0.0, show_default=True, help="Seconds by which packets are late, at most."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of losses and jitter.")
@click.option(
    "--speed", type=Finite(0, min_open=True), default=1.0, show_default=True, help="Relative to real time, for tests."
)
def send_command(
    source: str, target: str, model: str, kbps: float, frames: int, channels: int, copies: int, copied_codebooks: int,
    loss: float, burst: float, jitter: float, seed: int, speed: float,
) -> None:  # fmt: skip
    """Send INPUT, a file or '-', as packets at the pace of its sound. Statistics follow as a line of JSON."""
    with guard(source):
        from ..codec.audio import AudioSource
        from ..codec.prepare import Prepared
        from ..codec.runtime import shared
        from ..live import Encoder
        from ..live.udp import Faults, send

        address = address_of(target, "127.0.0.1")
        codec = shared(model)
        encoder = Encoder(codec, kbps, frames, channels, copies, min(copied_codebooks, codec.config.n_codebooks))
        with AudioSource(source) as audio:
            blocks = Prepared(audio, channels, codec.sample_rate, lambda seconds: None)
            try:
                counts = send(blocks, encoder, address, Faults(loss, burst, jitter, seed), speed)
            except (socket.gaierror, PermissionError) as error:
                raise InputError(f"{target}: {error.strerror or error}") from error
        echo(dumps(counts))


@live_group.command("receive")
@click.option("-o", "--output", required=True, metavar="FILE", help="Audio file, or '-'.")
@click.option("--listen", default="127.0.0.1:5004", show_default=True, metavar="[HOST:]PORT", help="Where packets arrive.")
@click.option("--model", help="Decode with this model, a name or a folder. Default: the bundled model that the stream names.")
@click.option("--delay", type=Finite(0, 10), help="Seconds that packets are held to put them in order. Default: adaptive.")
@click.option("--timeout", type=Finite(0, min_open=True), default=10.0, show_default=True, help="Seconds without any packet.")
@click.option("--concealment", type=click.Choice(["auto", "learned", "likely", "repeat", "silence"]), default="auto")
@click.option("--stats", is_flag=True, help="Write a line of JSON per second to standard error.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def receive_command(
    output: str, listen: str, model: str | None, delay: float | None, timeout: float, concealment: str, stats: bool, force: bool
) -> None:
    """Receive one stream and write its audio. Statistics follow as a line of JSON.

    The exit status is 1 if the end of the stream did not arrive; the output then holds what did.
    """
    with guard(output):
        from ..codec.audio_out import Output, write_audio
        from ..codec.exact_length import trim_to_length
        from ..live.udp import Receiver

        check_output([], output, force)
        host, port = address_of(listen, "127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((host, port))
            except OSError as error:
                raise InputError(f"{listen}: {error.strerror or error}; choose another address with --listen") from error

            def report(row: dict[str, Any]) -> None:
                if stats:
                    print(dumps(row), file=sys.stderr, flush=True)

            receiver = Receiver(sock, lambda header: _decoder(header, model, concealment), delay, timeout, report)
            header = receiver.wait_for_description()
            sink = Output(output, overwrite=force)
            blocks = trim_to_length(receiver.blocks(), 0, 2 * header.hop_length, lambda: receiver.n_samples)
            write_audio(blocks, sink, header.sample_rate, header.channels, None, lambda seconds: None)
        assert receiver.result is not None
        echo(dumps(receiver.result.statistics | {"ended": receiver.result.reason}), err=output == "-")
        if receiver.result.reason != "end":
            raise SystemExit(_no_end(timeout))


def _no_end(timeout: float) -> int:
    echo(f"error: the end of the stream did not arrive: nothing came for {timeout:g} s", err=True)
    return 1


def _decoder(header: Header, model: str | None, concealment: str) -> Decoder:
    """Return a decoder for a described stream. A name that comes from the network can only be that of a bundled model."""
    from ..codec.runtime import shared, shared_bundled
    from ..live import Decoder

    codec: Model = shared(model) if model else shared_bundled(header.codec)
    return Decoder(codec, header, concealment)
