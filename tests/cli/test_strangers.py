"""Files from strangers: what they name is not opened, what they claim is bounded, what they say cannot steer a terminal."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ecdc import cli
from ecdc.codec import checkpoints, runtime
from ecdc.format import Header, Reader, Writer
from ecdc.format.bytestream import Source
from ecdc.format.entropy import installed_priors
from ecdc.format.salvage import Headless, repair


def stream(codes=None, n_frames=3, chunk_frames=None, **fields):
    """A whole stream; codes [K, T], or as many frames without any."""
    about = {
        "codec": "demo", "token_space": bytes(32), "sample_rate": 24_000, "original_sample_rate": 24_000, "hop_length": 320,
        "codebook_size": 1024, "max_codebooks": 16,
    }  # fmt: skip
    out = io.BytesIO()
    with Writer(out, Header(**(about | fields)), chunk_frames) as writer:
        writer.append(np.zeros((0, n_frames), np.uint16) if codes is None else codes)
    return out.getvalue()


@pytest.fixture
def nothing_else_is_opened(monkeypatch):
    def fail(*args):
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr(checkpoints, "_locate", fail)
    monkeypatch.setattr(runtime, "light_folder", fail)


@pytest.mark.parametrize("name", ["./pipe", "no-one/no-model", "../model.th", "/etc/passwd", "encodec_24khz"])
@pytest.mark.usefixtures("nothing_else_is_opened")
def test_no_name_out_of_a_file_is_opened(ecdc, tmp_path, monkeypatch, one_line, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")  # whoever opened it would wait for ever
    (tmp_path / "a.ecdc").write_bytes(stream(np.ones((2, 3), int), codec=name))
    for command in (["decode", "a.ecdc", "-o", "x.wav"], ["generate", "--melody", "a.ecdc", "-o", "x.ecdc"]):
        line = one_line(ecdc(*command))
        assert f"{name!r} is not bundled" in line and "--model" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ecdc", "pipe"]


@pytest.mark.usefixtures("nothing_else_is_opened")
def test_an_old_file_needs_its_checkpoint_named(ecdc, tmp_path, one_line):
    old = b'{"m": "encodec_24khz", "al": 320, "nc": 1, "lm": false}'
    (tmp_path / "a.ecdc").write_bytes(b"ECDC\0" + len(old).to_bytes(4, "big") + old + bytes(2))
    assert "--model" in one_line(ecdc("decode", tmp_path / "a.ecdc"))


def test_no_command_lets_control_characters_out(ecdc, tmp_path):
    evil = "\x1b]0;owned\x07\x1b[2Jfine\nseed=1\x9b6n\u202egpj\x7f"
    tags = (("artist", "one"), ("artist", "two"), ("title", evil))
    (tmp_path / "a.ecdc").write_bytes(stream(codec="demo\u202e", tags=tags))
    missing = tmp_path / f"no{evil}.ecdc"
    for command in (
        ["tag", tmp_path / "a.ecdc"], ["info", tmp_path / "a.ecdc"], ["info", tmp_path / "a.ecdc", "--json"],
        ["verify", missing], ["decode", missing], ["decode", tmp_path / "a.ecdc"], ["peel", missing, f"--{evil}"], [evil],
        ["repair", tmp_path / "a.ecdc", "-o", "-", "--like", missing], ["encode", missing, "--kbps", evil],
    ):  # fmt: skip
        done = ecdc(*command)
        said = (done.stdout + done.stderr).decode()
        assert said and all(line.isprintable() for line in said.split("\n")), command
    told = ecdc("tag", tmp_path / "a.ecdc", check=True).stdout.decode().splitlines()
    assert told[:2] == ["artist=one", "artist=two"] and len(told) == 3  # a value is a line, whatever stands in it
    assert ecdc("info", tmp_path / "a.ecdc", check=True).stdout.count(b"tag artist") == 2
    assert json.loads(ecdc("info", tmp_path / "a.ecdc", "--json", check=True).stdout)["tags"]["artist"] == ["one", "two"]


def test_one_function_prints():
    """Whatever a command says passes through `echo`; reports of one's own training and benchmarks aside."""
    folder = Path(cli.__file__).parent
    direct = {path.name for path in folder.glob("*.py") if "click.echo(" in path.read_text()}
    assert direct <= {"terminal_text.py", "train.py", "bench.py", "signals.py"}


def test_decoding_is_bounded(ecdc, tmp_path, one_line):
    path, out = tmp_path / "a.ecdc", tmp_path / "x.wav"
    days = stream(n_frames=65_535, sample_rate=1, original_sample_rate=1, hop_length=2**24)
    path.write_bytes(days)
    assert "--max-seconds" in one_line(ecdc("decode", path, "-o", out))
    from ecdc.codec.checkpoints import load

    minute = stream(n_frames=4500, codec="nano-24k", token_space=load("nano-24k").token_space)
    path.write_bytes(minute)
    for source, options in ((path, ()), ("-", ()), ("-", ("--partial",)), (path, ("--start", "1"))):
        done = ecdc("decode", source, "-o", out, "--max-seconds", 10, *options, stdin=minute)
        assert "the limit is 10 s" in one_line(done) and not out.exists()
    ecdc("decode", path, "-o", out, "--max-seconds", 10, "--start", "50", check=True)


def test_long_chunks_stay_few(ecdc, tmp_path):
    """Five seconds of such a codec are less than a frame: chunks of five seconds would be 65 535 of them."""
    slow = stream(n_frames=65_535, chunk_frames=65_535, sample_rate=1, original_sample_rate=1, hop_length=2**24)
    (tmp_path / "a.ecdc").write_bytes(slow)
    for command in (["repair"], ["tag", "--set", "a=b"], ["cat"], ["cut", "--start", "5"]):
        done = ecdc(*command, tmp_path / "a.ecdc", "-o", "-", check=True)
        assert len(done.stdout) < 2 * len(slow) and len(Reader(io.BytesIO(done.stdout)).index.offsets) == 2


@pytest.fixture(scope="module")
def coded(ecdc, speech, tmp_path_factory):
    """The clip, entropy coded: by a model that has a prior."""
    path = tmp_path_factory.mktemp("coded") / "a.ecdc"
    ecdc("encode", speech, "--model", "nano-24k", "-o", path, "--quiet", check=True)
    return path


@pytest.fixture
def no_prior(monkeypatch, tmp_path):
    monkeypatch.setattr(installed_priors, "BUNDLED", tmp_path)
    monkeypatch.setenv("ECDC_PRIORS", "")
    installed_priors._by_hash.cache_clear()
    yield
    installed_priors._by_hash.cache_clear()


@pytest.mark.usefixtures("no_prior")
def test_a_missing_prior_is_said_and_no_error(ecdc, coded, tmp_path, one_line):
    data = coded.read_bytes()
    line = one_line(ecdc("verify", coded), code=0)
    assert "every CRC is right" in line and Reader(io.BytesIO(data)).header.prior.hex() in line
    row = json.loads(ecdc("verify", coded, "--json", check=True).stdout)
    assert row["intact"] and row["checked"] == "checksums"
    assert ecdc("info", "-", stdin=data, check=True).stdout and ecdc("info", coded, check=True).stdout
    for at in range(len(data) // 2, len(data), 97):
        (tmp_path / "a.ecdc").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        assert "byte " in one_line(ecdc("verify", tmp_path / "a.ecdc"))


@pytest.mark.usefixtures("no_prior")
def test_peeling_without_the_prior_says_why_and_a_fixed_width_file_needs_none(ecdc, coded, speech, tmp_path, one_line):
    line = one_line(ecdc("peel", coded, "--kbps", "3", "-o", tmp_path / "small.ecdc"))
    assert "cannot be dropped unread" in line and Reader(io.BytesIO(coded.read_bytes())).header.prior.hex() in line
    assert not list(tmp_path.iterdir())
    ecdc("encode", speech, "-o", tmp_path / "raw.ecdc", "--quiet", "--entropy", "none", check=True)
    ecdc("peel", tmp_path / "raw.ecdc", "--kbps", "3", "-o", tmp_path / "small.ecdc", check=True)


def test_a_prior_of_another_type_is_passed_over(ecdc, coded, tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    save_file({"table": torch.zeros(4, dtype=torch.bfloat16)}, tmp_path / "a.prior")
    monkeypatch.setenv("ECDC_PRIORS", str(tmp_path))
    assert ecdc("verify", coded, check=True).stderr == b""


def test_damage_says_what_to_try(ecdc, coded, tmp_path, one_line):
    data, path = coded.read_bytes(), tmp_path / "a.ecdc"
    for broken in (data[:-30], data[:2000] + b"x" + data[2001:], data + b"x"):
        path.write_bytes(broken)
        for command in ("decode", "verify"):
            assert one_line(ecdc(command, path)).endswith("; `ecdc repair` and `ecdc decode --partial` keep what is intact")
    for broken in (data[:20] + b"x" + data[21:], data[:50]):
        path.write_bytes(broken)
        for command in ("decode", "verify", "info"):
            assert "; `ecdc repair --like OTHER` " in one_line(ecdc(command, path))
    path.write_bytes(b"RIFF" + data[4:])
    assert "--like" not in one_line(ecdc("decode", path))


@pytest.mark.parametrize("header", [bytes(200), b"", b"ECDC\1\1" + bytes(30)], ids=["zeros", "gone", "short"])
def test_a_header_may_come_from_a_sibling(ecdc, coded, tmp_path, header):
    data = coded.read_bytes()
    first = int(Reader(io.BytesIO(data)).index.offsets[0])
    (tmp_path / "a.ecdc").write_bytes(header + data[first:])
    like = ecdc("tag", coded, "--set", "title=other", "-o", "-", check=True).stdout
    (tmp_path / "like.ecdc").write_bytes(like)
    mended = ecdc("repair", tmp_path / "a.ecdc", "--like", tmp_path / "like.ecdc", "-o", "-", check=True)
    assert mended.stderr == b"" and mended.stdout == data  # tags and lengths are its own again


def test_a_sibling_of_another_kind_is_refused(ecdc, coded, tmp_path, one_line):
    (tmp_path / "a.ecdc").write_bytes(b"?" + coded.read_bytes()[1:])
    (tmp_path / "like.ecdc").write_bytes(stream(n_frames=9, codebook_size=7))
    line = one_line(ecdc("repair", tmp_path / "a.ecdc", "--like", tmp_path / "like.ecdc", "-o", tmp_path / "b.ecdc"))
    assert "no chunk of it fits" in line and not (tmp_path / "b.ecdc").exists()


def test_a_headless_stream_keeps_what_is_whole(coded):
    """The first chunk is lost with the header: it is silence of its length, and all others are in their places."""
    data = coded.read_bytes()
    whole = Reader(io.BytesIO(data))
    offsets, out = whole.index.offsets, io.BytesIO()
    lost = repair(Headless(io.BytesIO(data[int(offsets[0]) + 10 :]), whole.header), out)
    mended = Reader(io.BytesIO(out.getvalue()))
    assert [item.n_frames for item in lost] == [int(whole.index.frames[1])]
    assert mended.n_samples == whole.n_samples and (mended.codes(lost[0].n_frames) == whole.codes(lost[0].n_frames)).all()
    assert Headless(io.BytesIO(data), whole.header).at_first_chunk().offset == Source(io.BytesIO(data)).offset == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN", "1e999"])
@pytest.mark.parametrize(
    "command",
    [
        ["peel", "a.ecdc", "-o", "x.ecdc", "--kbps"],
        ["encode", "a.wav", "--kbps"],
        ["encode", "a.wav", "--quality"],
        ["encode", "a.wav", "--chunk-seconds"],
        ["decode", "a.ecdc", "--max-seconds"],
        ["generate", "x", "-o", "x.ecdc", "--guidance"],
        ["generate", "x", "-o", "x.ecdc", "--temperature"],
        ["generate", "x", "-o", "x.ecdc", "--top-p"],
        ["generate", "x", "-o", "x.ecdc", "--seconds"],
        ["train", "synthesize", "--output", "x", "--hours"],
        ["train", "prior", "nano-24k", "--output", "x", "--hours"],
        ["train", "mbd", "nano-24k-mbd", "--output", "x", "--model", "nano-24k", "--max-seconds"],
        ["bench", "--output", "x", "--synthetic", "--seconds"],
    ],
    ids=lambda command: " ".join(command[: 1 + (command[0] == "train")] + command[-1:]),
)
def test_numbers_are_finite(ecdc, command, value):
    done = ecdc(*command[:-1], f"{command[-1]}={value}")
    assert done.returncode == 2 and b"Traceback" not in done.stderr
