"""Real speech through `ecdc live` over a lossy loopback with strangers on it: only what the network loses is lost."""

import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ecdc.bench.corpus import bundled
from ecdc.codec.bundled import BUNDLED, read_config
from ecdc.codec.default_model import DEFAULT_MODEL
from ecdc.live import Encoder

LIVE = [sys.executable, "-m", "ecdc.cli", "live"]
CONFIG = read_config(BUNDLED / DEFAULT_MODEL)
HOP, RATE = CONFIG.hop_length, CONFIG.sample_rate
DELAY = 3  # seconds, so that a busy machine loses nothing by itself
LIMIT_KIB = 30_000  # that the receiver may grow by after its start


def speech(seconds):
    """Bundled clips of speech [n] at the codec's rate, repeated."""
    clips = np.concatenate([clip.audio for clip in bundled(RATE) if clip.kind == "speech"])
    n = round(seconds * RATE)
    return np.tile(clips, -(-n // len(clips)))[:n]


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def resident(process):
    """Resident memory of a process in KiB; None where the system does not tell."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), None)


def hostile(rng):
    """A datagram of a stranger: noise, a valid packet or end of another stream, or nothing."""
    encoder = hostile.encoder
    kind = rng.integers(5)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 3000)))
    if kind == 1:
        return encoder.end
    if kind == 2:
        return encoder.description
    data = bytearray(hostile.packets[rng.integers(len(hostile.packets))])
    data[1:3] = rng.bytes(2)
    return bytes(data[: rng.integers(len(data) + 1)] if kind == 3 else data)


@pytest.fixture(scope="module", autouse=True)
def strangers():
    hostile.encoder = Encoder(kbps=3)
    hostile.packets = hostile.encoder.push(speech(0.5), last=True)


def soak(folder, seconds, *options):
    """Send speech with the sender's options; the receiver's counters, the sender's, both sounds, and memory in KiB."""
    wav, port, rng = speech(seconds), free_port(), np.random.default_rng(0)
    soundfile.write(folder / "a.wav", wav, RATE)
    receive = [*LIVE, "receive", "-o", "b.wav", "--listen", str(port), "--delay", str(DELAY), "--stats", "--timeout", "30"]
    receiver = subprocess.Popen(receive, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _until_bound(port)
    send = [*LIVE, "send", "a.wav", "--to", f"127.0.0.1:{port}", *options]
    sender = subprocess.Popen(send, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        memory, n_hostile = _call(receiver, port, rng, 3 * seconds + 60)
        out, errors = receiver.communicate(timeout=60)
        sent = json.loads(sender.communicate(timeout=60)[0])
    finally:
        receiver.kill()
        sender.kill()
    assert receiver.returncode == 0, errors
    heard = soundfile.read(folder / "b.wav", dtype="float32")[0]
    return json.loads(out), sent, wav, heard, memory, n_hostile, errors


def _call(receiver, port, rng, seconds):
    """Disturb a call until it ends; the receiver's memory in KiB as it goes, and the number of hostile datagrams."""
    memory, n_hostile, began = [], 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        while receiver.poll() is None and time.monotonic() - began < seconds:
            time.sleep(0.02)
            if select.select([receiver.stderr], [], [], 0)[0]:  # it reports, so it has met its sender
                other.sendto(hostile(rng), ("127.0.0.1", port))
                n_hostile += 1
            memory.append(resident(receiver))
    return [kib for kib in memory if kib], n_hostile


def _until_bound(port):
    """Wait until somebody listens on a port."""
    for _ in range(600):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        time.sleep(0.05)
    raise AssertionError("nobody listens")


def envelope(audio):
    """Level of every 40 ms [n]."""
    n = round(0.04 * RATE)
    return np.sqrt(np.square(audio[: len(audio) // n * n]).reshape(-1, n).mean(axis=1))


def check(found, sent, wav, heard, start):
    """The laws of a call that did not stall."""
    assert found["packets"] == sum(
        found[name] for name in ("frame_packets", "descriptions", "ends", "foreign", "strange", "early")
    )
    assert found["frame_packets"] == sum(found[name] for name in ("played", "late", "repeated", "damaged", "dropped"))
    assert found["frame_packets"] == sent["packets"] - sent["lost_on_purpose"] + sent["sent_twice"]
    assert found["buffered"] == found["damaged"] == found["dropped"] == found["jumps"] == 0
    missed = (found["first_frame"] - start) % 65_536  # frames before the first packet that came
    n_frames = found["received"] + found["copied"] + found["concealed"]
    excess = -len(wav) % HOP
    assert len(heard) == n_frames * HOP - excess, "every frame is played once"
    overrun = len(heard) - (len(wav) - missed * HOP)
    assert overrun == 0, "as long as the sender's audio"
    known = (found["received"] + found["copied"]) / n_frames
    one, two = envelope(wav[missed * HOP :]), envelope(heard)
    n = min(len(one), len(two))
    assert np.corrcoef(one[:n], two[:n])[0, 1] > 0.8 and two.mean() > 0.6 * one.mean()
    return known


def test_a_short_call(tmp_path):
    options = ["--loss", "0.1", "--jitter", "0.06", "--duplicates", "0.1", "--copies", "2", "--first-frame", "65450"]
    found, sent, wav, heard, _, _, errors = soak(tmp_path, 4, *options)
    assert check(found, sent, wav, heard, 65_450) > 0.95
    assert found["copied"] > 5 and found["repeated"] > 3 and errors.count("\n") >= 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["--loss", "0.15", "--jitter", "0.1"], ["--loss", "0.15", "--burst", "4", "--jitter", "0.1", "--copies", "8"]],
    ids=["random", "bursts"],
)
def test_a_long_call(tmp_path, options):
    options = [*options, "--duplicates", "0.05", "--first-frame", "65000"]
    found, sent, wav, heard, memory, n_hostile, _ = soak(tmp_path, 30, *options)
    known = check(found, sent, wav, heard, 65_000)
    assert known > (0.8 if "--copies" not in options else 0.9)
    assert n_hostile > 300 and found["foreign"] + found["strange"] > 0.9 * n_hostile
    settled = memory[len(memory) // 3]
    assert max(memory[len(memory) // 3 :]) - settled < LIMIT_KIB, "memory is bounded"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav"]
