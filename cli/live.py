"""`ecdc live`: send audio as packets over UDP, and receive them."""

from __future__ import annotations

import os
import re
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..codec.default_model import DEFAULT_MODEL
from .common import EXIT_FAILED, InputError, NamedError, check_output, guard
from .help_sections import WholeHelpGroup
from .number_types import Finite
from .signals import EXIT_INTERRUPTED, calls_on_interrupt
from .terminal_text import dumps, echo, printable

if TYPE_CHECKING:
    from ..codec.audio_out import Output
    from ..codec.protocols import Model
    from ..format import Header
    from ..live.decoder import Decoder
    from ..live.receiver import Receiver


@click.group("live", cls=WholeHelpGroup)
def live_group() -> None:
    """Send and receive live audio over networks that lose packets."""


def address_of(text: str, default_host: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT" or "PORT". Raises InputError."""
    host, _, port = text.rpartition(":")
    try:
        host.encode("idna")  # as sockets do
    except UnicodeError:
        port = ""
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise InputError(f"{text!r} is not an address: give HOST:PORT, such as 127.0.0.1:5004")
    return host or default_host, int(port)


@live_group.command("send")
@click.argument("source", metavar="INPUT")
@click.option("--to", "target", default="127.0.0.1:5004", show_default=True, metavar="HOST:PORT", help="Where packets go.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or folder of a codec.")
@click.option("--kbps", type=Finite(0, min_open=True), default=6.0, show_default=True, help="Bitrate of the codes.")
@click.option("--frames", type=click.IntRange(1, 6), default=2, show_default=True, help="Frames in a packet.")
@click.option("--channels", type=click.IntRange(1, 2), default=1, show_default=True, help="Channels to send.")
@click.option(
    "--copies", type=click.IntRange(0, 64), default=0, show_default=True, help="Earlier frames repeated in each packet."
)
@click.option(
    "--copied-codebooks", type=click.IntRange(1, 255), default=2, show_default=True, help="Codebooks of each repeated frame."
)
@click.option("--loss", type=Finite(0, 1), default=0.0, show_default=True, help="Share of packets not sent, for tests.")
@click.option(
    "--burst", type=Finite(1), default=1.0, show_default=True, help="Mean number of packets lost in a row, for tests."
)
@click.option(
    "--jitter", type=Finite(0, 10), default=0.0, show_default=True, help="Maximum delay of a packet in seconds, for tests."
)
@click.option("--duplicates", type=Finite(0, 1), default=0.0, show_default=True, help="Share of packets sent twice, for tests.")
@click.option("--first-frame", type=click.IntRange(0, 65535), default=0, show_default=True, help="Number of the first frame.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of losses and jitter.")
@click.option(
    "--speed", type=Finite(0, min_open=True), default=1.0, show_default=True, help="Speed relative to real time, for tests."
)
def send_command(
    source: str, target: str, model: str, kbps: float, frames: int, channels: int, copies: int, copied_codebooks: int,
    loss: float, burst: float, jitter: float, duplicates: float, first_frame: int, seed: int, speed: float,
) -> None:  # fmt: skip
    """Send INPUT, a file or '-', as packets in real time. At the end, print statistics as a line of JSON.

    Ctrl-C ends the stream; audio that is already encoded is still sent, followed by the end packet.
    """
    with guard(source):
        from ..codec.audio import AudioSource
        from ..codec.full_scale import encoding_note
        from ..codec.prepare import Prepared
        from ..codec.runtime import shared
        from ..live import Encoder
        from ..live.udp import Faults, send

        address = address_of(target, "127.0.0.1")
        codec = shared(model)
        coarse = min(copied_codebooks, codec.config.n_codebooks)
        encoder = Encoder(codec, kbps, frames, channels, copies, coarse, first_frame=first_frame)
        with AudioSource(source) as audio:
            blocks = Prepared(audio, channels, codec.sample_rate, lambda seconds: None)
            try:
                counts = send(blocks, encoder, address, Faults(loss, burst, jitter, seed, duplicates), speed)
            except OSError as error:
                if error.filename:
                    raise  # of the input
                raise InputError(f"{target}: {error.strerror or error}") from error
            if blocks.overs.is_notable(audio.info.is_lossy):
                echo(printable(f"ecdc: {audio.name}: {encoding_note(blocks.overs)}"), err=True)
        echo(dumps(counts))


@live_group.command("receive")
@click.option("-o", "--output", required=True, metavar="FILE", help="Audio file, or '-'.")
@click.option("--listen", default="127.0.0.1:5004", show_default=True, metavar="[HOST:]PORT", help="Where packets arrive.")
@click.option("--model", help="Decode with this model, a name or a folder. Default: the bundled model that the stream names.")
@click.option("--delay", type=Finite(0, 10), help="Seconds that packets wait for late ones before them. Default: adaptive.")
@click.option(
    "--timeout",
    type=Finite(0, min_open=True),
    default=10.0,
    show_default=True,
    help="End after this many seconds without packets.",
)
@click.option("--concealment", type=click.Choice(["auto", "learned", "likely", "repeat", "silence"]), default="auto",
              help="What fills gaps. Default: learned if the model is trained for it, else repeat.")  # fmt: skip
@click.option("--speed", type=Finite(0, min_open=True), default=1.0, show_default=True, help="The sender's --speed, for tests.")
@click.option("--stats", is_flag=True, help="Print statistics to standard error every second, as a line of JSON.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def receive_command(
    output: str, listen: str, model: str | None, delay: float | None, timeout: float, concealment: str, speed: float,
    stats: bool, force: bool,
) -> None:  # fmt: skip
    """Receive one stream and write its audio. At the end, print statistics as a line of JSON.

    Audio is written when it is due, in real time, so '-' can be piped into a player. If a frame is missing when it is due, the
    gap is concealed at once: the sound continues, fades out between 60 and 120 ms, and is silent until packets arrive again.
    Packets that arrive too late are only counted. A file has the same samples as a pipe, and gets its name at the end.

    The stream ends with the sender's last packet (exit code 0), after --timeout seconds without packets (1), or with Ctrl-C
    (130). In all cases, the output contains what was received until then.
    """
    with guard(output):
        from ..codec.audio_out import Output
        from ..live.receiver import Receiver

        check_output([], output, force)
        _check_folder(output)
        sink = Output(output, overwrite=force)
        sink.check()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            _bind(sock, listen)

            def report(row: dict[str, Any]) -> None:
                if stats:
                    print(dumps(row), file=sys.stderr, flush=True)

            decoder = partial(_decoder, model=model, concealment=concealment)
            receiver = Receiver(sock, decoder, delay, timeout, report, speed=speed)
            header = receiver.wait_for_description()
            _write(receiver, sink, header)
        assert receiver.result is not None
        echo(dumps(receiver.result.statistics | {"ended": receiver.result.reason}), err=output == "-")
        if receiver.result.reason != "end":
            raise SystemExit(_no_end(receiver.result.reason, timeout))


def _write(receiver: Receiver, sink: Output, header: Header) -> None:
    """Write what arrives until the stream ends or is interrupted; a line tells if samples were clipped."""
    from ..codec.audio_out import write_audio
    from ..codec.full_scale import Overs, counting

    overs = Overs()
    blocks = counting(receiver.blocks(), overs)
    with calls_on_interrupt(receiver.stop):
        write_audio(blocks, sink, header.sample_rate, header.channels, None, lambda seconds: None)
    if overs.n_samples:
        echo(printable(f"ecdc: {sink.name}: {overs}, and clipped; lower the level at the sender"), err=True)


def _bind(sock: socket.socket, listen: str) -> None:
    try:
        sock.bind(address_of(listen, "127.0.0.1"))
    except OSError as error:
        raise InputError(f"{listen}: {error.strerror or error}; choose another address with --listen") from error


def _check_folder(output: str) -> None:
    """Raise NamedError for an output that could not be written once the call is over."""
    folder = Path(output).parent
    if output != "-" and not folder.is_dir():
        raise NamedError(str(folder), "is not a folder; create it first, or give another output with -o")
    if output != "-" and not os.access(folder, os.W_OK):
        raise NamedError(str(folder), "cannot be written to; give another output with -o")


def _no_end(reason: str, timeout: float) -> int:
    if reason == "interrupted":
        echo("ecdc: interrupted; what was received until then is kept", err=True)
        return EXIT_INTERRUPTED
    echo(f"error: the end of the stream did not arrive: nothing came for {timeout:g} s", err=True)
    return EXIT_FAILED


def _decoder(header: Header, *, model: str | None, concealment: str) -> Decoder:
    """Return a decoder for a described stream. A name that comes from the network can only be that of a bundled model."""
    from ..codec.runtime import shared, shared_bundled
    from ..live import Decoder

    codec: Model = shared(model) if model else shared_bundled(header.codec)
    return Decoder(codec, header, concealment)
