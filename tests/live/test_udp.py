"""Packets over the loopback: what is sent arrives, in spite of losses and jitter; strangers and silence end in one line."""

import contextlib
import dataclasses
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from ecdc.cli.main import main
from ecdc.codec.runtime import shared, shared_bundled
from ecdc.format import ChannelCoding, FormatError
from ecdc.format.errors import ArgumentError
from ecdc.format.packets import encode_description
from ecdc.live import Decoder, Encoder, describe
from ecdc.live.receiver import Receiver
from ecdc.live.udp import Faults, send
from sounds import sound

SPEED = 3  # times real time


def receiver_on(sock, **settings):
    options = {"delay": 0.02, "timeout": 5.0, "speed": SPEED} | settings
    return Receiver(sock, lambda header: Decoder("nano-24k", header), **options)


@pytest.fixture
def sock():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def over_loopback(sock, wav, encoder, faults, strangers=()):
    """Send in a thread; return the receiver, its audio, and what the sender counted.

    The delay is long for its speed, so that a busy machine loses nothing.
    """
    receiver, counts = receiver_on(sock, delay=1.5), {}
    shared("nano-24k").encode(wav[None, :, :4000])  # warm

    def run():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            for data in strangers:
                other.sendto(data, sock.getsockname())
        counts.update(send([wav], encoder, sock.getsockname(), faults, SPEED))

    thread = threading.Thread(target=run)
    thread.start()
    audio = np.concatenate(list(receiver.blocks()), axis=1)
    thread.join()
    return receiver, audio, counts


def test_what_is_sent_arrives(sock):
    wav, codec = sound(24_000), shared("nano-24k")
    receiver, audio, counts = over_loopback(sock, wav, Encoder("nano-24k"), Faults())
    whole = codec.decode(codec.encode(wav[None], kbps=6), 24_000)[0]
    np.testing.assert_allclose(audio, whole, atol=2e-5)
    assert receiver.n_samples == 24_000 and receiver.result.reason == "end"
    assert counts["lost_on_purpose"] == 0 and receiver.statistics()["concealed"] == 0


def test_losses_and_jitter_shorten_nothing(sock):
    encoder = Encoder("nano-24k", copied_frames=2)
    receiver, audio, counts = over_loopback(
        sock, sound(48_000), encoder, Faults(0.2, 2, 0.01, seed=1), [b"", b"\3", b"x" * 3000]
    )
    n_frames, found = audio.shape[1] // 320, receiver.statistics()
    assert n_frames == 150 - found["first_frame"], "all but what was lost before the first packet"
    assert counts["lost_on_purpose"] >= 3 and found["strange"] == 3 and found["early"] == 0
    assert found["copied"] > 0 and found["received"] + found["copied"] + found["concealed"] == n_frames


def test_a_sender_that_stops_is_noticed(sock):
    encoder = Encoder("nano-24k")
    packets = encoder.push(sound(6400))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for packet in (encoder.description, *packets):
            other.sendto(packet, sock.getsockname())
    receiver = receiver_on(sock, timeout=0.5, speed=1)
    audio = np.concatenate(list(receiver.blocks()), axis=1)
    found = receiver.statistics()
    assert found["received"] == 18 and audio.shape[1] == 320 * (18 + found["concealed"])
    assert found["concealed"] * 320 / 24_000 > 0.2 and not audio[:, -320:].any(), "the gap is filled as it lasts"
    assert receiver.result.reason == "timeout" and receiver.n_samples is None


def test_no_stream_is_one_line(sock):
    with pytest.raises(ArgumentError, match="no stream"):
        receiver_on(sock, timeout=0.2).wait_for_description()


def test_commands(default, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    wav = sound(24_000)
    wav *= 3 / abs(wav).max()
    soundfile.write(tmp_path / "a.wav", wav.T, 24_000, subtype="FLOAT")
    command = [sys.executable, "-m", "ecdc.cli", "live"]
    receive = [*command, "receive", "-o", "b.wav", "--listen", port, "--timeout", "60", "--delay", "0.05", "--speed", "3"]
    receiver = subprocess.Popen(receive, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(20):  # the receiver takes a moment to start; whoever joins late hears the rest
        arguments = [*command, "send", "a.wav", "--to", f"127.0.0.1:{port}", "--speed", "3"]
        sent = subprocess.run(arguments, cwd=tmp_path, check=True, capture_output=True, text=True)
        assert json.loads(sent.stdout)["seconds"] == 1.0
        n = int((abs(wav) > 1).sum())
        assert sent.stderr.startswith(f"ecdc: a.wav: {n} samples are beyond full scale, by up to 9.5 dB; they were coded as")
        if receiver.poll() is not None:
            break
    assert receiver.wait(60) == 0
    found, (line,) = json.loads(receiver.stdout.read()), receiver.stderr.read().splitlines()
    assert line.startswith("ecdc: b.wav: ") and line.endswith(" dB, and clipped; lower the level at the sender")
    assert found["ended"] == "end" and found["frame_packets"] == found["played"] + found["late"]
    n_frames = found["received"] + found["concealed"]
    assert soundfile.info(tmp_path / "b.wav").frames == default.hop_length * n_frames


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["send", "missing.wav"], "missing.wav"),
        (["send", "a.wav", "--to", "nowhere"], "not an address"),
        (["send", "a.wav", "--model", "nano-99"], "nano-99"),
        (["receive", "-o", "out.wav", "--listen", "1.2.3.4:5"], "--listen"),
        (["receive", "-o", "a.wav", "--timeout", "0.1"], "--force"),
        (["receive", "-o", "out.wav", "--listen", "0", "--timeout", "0.1"], "not an address"),
        (["receive", "-o", "out.wav", "--listen", "\u00b2"], "not an address"),
        (["receive", "-o", "out.wav", "--listen", "9" * 5000], "not an address"),
        (["receive", "-o", "out.wav", "--listen", "\u00fc" * 100 + ":5"], "not an address"),
        (["send", "a.wav", "--to", "\u00fc" * 100 + ":5"], "\u00fc"),
        (["send", "a.wav", "--first-frame", "0", "--to", "255.255.255.255:9"], "255"),
        (["receive", "-o", "missing/out.wav", "--timeout", "0.1"], "missing"),
        (["receive", "-o", "out.xyz", "--timeout", "0.1"], "xyz"),
    ],
)
def test_bad_input_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", sound(2400).T, 24_000)
    with pytest.raises(SystemExit) as end:
        main(["live", *arguments])
    error = capsys.readouterr().err
    assert end.value.code == 1 and words in error and error.count("\n") == 1 and not (tmp_path / "out.wav").exists()


def test_a_seed_below_zero_is_wrong_usage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["live", "send", "a.wav", "--seed=-1"])
    assert end.value.code == 2 and "--seed" in capsys.readouterr().err


def test_a_port_in_use_is_one_line(sock, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["live", "receive", "-o", "out.wav", "--listen", str(sock.getsockname()[1])])
    error = capsys.readouterr().err
    assert end.value.code == 1 and "--listen" in error and error.count("\n") == 1


def feed(receiver, rows):
    """Give a receiver (sender, datagram) as they would arrive."""
    for sender, data in rows:
        with contextlib.suppress(FormatError):
            receiver._sort_in(data, sender, time.monotonic())


@pytest.mark.parametrize(
    "change",
    [{"sample_rate": 8000, "original_sample_rate": 8000}, {"hop_length": 1}, {"max_codebooks": 255}, {"token_space": bytes(32)},
     {"codec": "nano-99"}, {"channels": 64, "channel_coding": ChannelCoding.JOINT}, {"prior": bytes(32)}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_description_that_does_not_fit_the_model_is_refused_and_named(change, sock):
    header = describe(shared("nano-24k"))
    changed = dataclasses.replace(header, **change)
    receiver = Receiver(sock, lambda header: Decoder(shared_bundled(header.codec), header), None, 0.2)
    feed(receiver, [(1, encode_description(changed))])
    assert receiver.decoder is None
    with pytest.raises(ArgumentError, match="refused: "):
        receiver.wait_for_description()
    feed(receiver, [(2, encode_description(header))])
    assert receiver.decoder is not None, "the next sender is heard"


def test_another_sender_is_ignored_until_the_first_is_silent(sock):
    encoder, other = Encoder("nano-24k"), Encoder("nano-24k", 3)
    ours, theirs = encoder.push(sound(6400)), other.push(sound(6400))
    receiver = receiver_on(sock)
    feed(receiver, [(1, encoder.description), (1, ours[0]), (2, theirs[1]), (2, other.end), (2, other.description), (2, b"\1")])
    found = receiver.statistics()
    assert found["foreign"] == 4 and found["frame_packets"] == 1 and found["ends"] == 0 and receiver.n_samples is None
    receiver._heard -= 5  # seconds of silence
    feed(receiver, [(2, theirs[1]), (2, stereo_description(other)), (2, other.description), (2, theirs[1]), (1, ours[1])])
    found = receiver.statistics()
    assert found["foreign"] == 7 and found["frame_packets"] == 2, "the same stream goes on from another address"
    feed(receiver, [(2, other.end)])
    receiver._heard -= 5
    feed(receiver, [(1, encoder.description), (1, ours[2])])
    assert receiver.statistics()["foreign"] == 9, "nobody takes over a stream that has ended"


def stereo_description(encoder):
    """The description of a stream of two channels."""
    return encode_description(describe(encoder.model, channels=2))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("whose", ["receiver", "sender"])
def test_ctrl_c_keeps_what_was_heard(whose, default, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    soundfile.write(tmp_path / "a.wav", sound(24_000 * 20).T, 24_000)
    command = [sys.executable, "-m", "ecdc.cli", "live"]
    receive = [*command, "receive", "-o", "b.wav", "--listen", port, "--timeout", "30", "--stats"]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - shells start background jobs with it ignored
    pipes = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed}
    with (
        subprocess.Popen(receive, **pipes) as receiver,
        subprocess.Popen([*command, "send", "a.wav", "--to", f":{port}"], **pipes) as sender,
    ):
        receiver.stderr.readline()  # it reports, so it has met its sender
        {"receiver": receiver, "sender": sender}[whose].send_signal(signal.SIGINT)
        out, errors = receiver.communicate(timeout=60)
        sender.kill()
    assert receiver.returncode == (130 if whose == "receiver" else 0), errors
    found = json.loads(out)
    assert found["ended"] == ("interrupted" if whose == "receiver" else "end")
    n_samples = default.hop_length * (found["received"] + found["concealed"])
    assert 0 <= n_samples - soundfile.info(tmp_path / "b.wav").frames < default.hop_length


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limited = f"ulimit -f 32; exec {sys.executable} -m ecdc.cli live receive -o b.wav --listen {port} --timeout 30"
    receiver = subprocess.Popen(["sh", "-c", limited], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    encoder = Encoder("nano-24k")
    packets = encoder.push(sound(24_000))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while receiver.poll() is None:
            for packet in (encoder.description, *packets):
                sender.sendto(packet, ("127.0.0.1", port))
            time.sleep(0.3)
    error = receiver.stderr.read()
    assert receiver.returncode == 1 and "b.wav" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_receiver_that_was_stopped_loses_nothing(sock):
    """What came meanwhile is read before anything is concealed, also if the wait for it has timed out."""
    encoder = Encoder("nano-24k")
    packets = encoder.push(sound(24_000), last=True)
    receiver = receiver_on(sock, speed=1, delay=0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        source = sender.getsockname()
        feed(receiver, [(source, encoder.description), (source, packets[0])])

        class Slow:
            """A socket whose first wait ends late, with a time-out, while datagrams have come."""

            def __init__(self):
                self.timeout = None

            def settimeout(self, seconds):
                self.timeout = seconds
                sock.settimeout(seconds)

            def recvfrom(self, n):
                if self.timeout and packets[1:]:
                    for packet in [*packets[1:], encoder.end]:
                        sender.sendto(packet, sock.getsockname())
                    del packets[1:]
                    time.sleep(1)
                    raise TimeoutError
                return sock.recvfrom(n)

        receiver._sock = Slow()
        audio = np.concatenate(list(receiver.blocks()), axis=1)
    assert audio.shape[1] == 24_000 and receiver.statistics()["concealed"] == 0
