"""`ecdc tokens stats`: counts, entropy and perplexity of codes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from ecdc.format import ChannelCoding, Header, Writer


def write(path, codes, n_codebooks, **fields):
    """A stream of codes [R, T] of a codec with 4 codebooks of 16 entries."""
    about = {
        "codec": "demo", "token_space": bytes(32), "sample_rate": 24_000, "original_sample_rate": 24_000, "hop_length": 320,
        "codebook_size": 16, "max_codebooks": 4,
    }  # fmt: skip
    with path.open("wb") as file, Writer(file, Header(**(about | fields)), 50) as writer:
        writer.append(np.asarray(codes, np.uint16), n_codebooks)


@pytest.fixture
def files(tmp_path):
    """Mono with 2 codebooks, and stereo with 1 and 3."""
    steps = np.arange(160)
    write(tmp_path / "mono.ecdc", [steps % 16, steps % 2], (2,))
    stereo = {"channels": 2, "channel_coding": ChannelCoding.MID_SIDE}
    write(tmp_path / "stereo.ecdc", [steps % 16, steps % 16, steps % 4, 0 * steps], (1, 3), **stereo)
    return [tmp_path / "mono.ecdc", tmp_path / "stereo.ecdc"]


def test_counts_of_all_files_and_streams(ecdc, files):
    row = json.loads(ecdc("tokens", "stats", *files, "--json", check=True).stdout)
    assert (row["files"], row["streams"], row["codec"], row["frame_rate"]) == (2, 3, "demo", 75.0)
    first, second, third = row["codebooks"]
    assert first == {"codebook": 1, "codes": 480, "used": 16, "size": 16, "entropy_bits": 4.0, "perplexity": 16.0}
    shares = np.array([80 + 40, 80 + 40, 40, 40]) / 320
    bits = float(-(shares * np.log2(shares)).sum())
    assert (second["codes"], second["used"], second["entropy_bits"]) == (320, 4, pytest.approx(bits, abs=1e-3))
    assert (third["codes"], third["used"], third["entropy_bits"], third["perplexity"]) == (160, 1, 0.0, 1.0)


def test_the_table_says_the_same(ecdc, files):
    lines = ecdc("tokens", "stats", files[0], check=True).stdout.decode().splitlines()
    assert lines[0] == "1 file of demo, 1 stream" and len(lines) == 5
    assert lines[2].split() == ["1", "160", "16", "of", "16", "4.000", "16.0"]
    assert lines[4] == "all codebooks: 5.00 bits per frame, 0.375 kbps per stream"


def test_bad_files_are_named_and_left_out(ecdc, files, tmp_path):
    write(tmp_path / "other.ecdc", [[0]], (1,), token_space=b"\1" * 32, codec="other")
    (tmp_path / "cut.ecdc").write_bytes(files[0].read_bytes()[:-20])
    write(tmp_path / "small.ecdc", [[0]], (1,), codebook_size=8, codec="small")
    bad = [tmp_path / f"{name}.ecdc" for name in ("other", "cut", "none", "small")]
    done = ecdc("tokens", "stats", *files, *bad, "--json")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(lines) == 4
    assert "small.ecdc: holds codes of small" in lines[3]
    assert "other.ecdc: holds codes of other, but the files before it hold codes of demo" in lines[0]
    assert "cut.ecdc: byte " in lines[1] and "none.ecdc: No such file" in lines[2]
    assert json.loads(done.stdout) == json.loads(ecdc("tokens", "stats", *files, "--json", check=True).stdout)
    assert ecdc("tokens", "stats", tmp_path / "none.ecdc").stdout == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_results_that_cannot_be_written_are_one_line(files):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "ecdc.cli", "tokens", "stats", files[0]]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=os.environ, text=True)
    assert done.returncode == 1 and done.stderr == "ecdc: standard output: no space left on the disk\n"


def test_no_model_is_loaded(imports, files):
    assert imports("torch onnxruntime soundfile", ("tokens", "stats", files[0])) == []
