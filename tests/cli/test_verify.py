"""`ecdc verify` is silent about whole files and names the byte in all others."""

import numpy as np
import pytest


@pytest.fixture
def coded(ecdc, tone, tmp_path):
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    return tmp_path / "a.ecdc"


def test_whole_files_pass_in_silence(ecdc, coded):
    done = ecdc("verify", coded, coded)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert ecdc("verify", "-", stdin=coded.read_bytes()).returncode == 0


def test_any_flipped_bit_and_any_cut_is_told(ecdc, coded, one_line):
    data = coded.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.integers(8)
        coded.write_bytes(damaged)
        assert "a.ecdc: byte " in one_line(ecdc("verify", coded))
        coded.write_bytes(data[:at])
        assert "a.ecdc: byte " in one_line(ecdc("verify", coded))
    coded.write_bytes(data + b"x")
    assert "bytes follow" in one_line(ecdc("verify", coded))


def test_bad_files_do_not_hide_good_ones(ecdc, coded, tmp_path):
    (tmp_path / "b.ecdc").write_bytes(b"RIFF")
    done = ecdc("verify", tmp_path / "b.ecdc", tmp_path / "none.ecdc", coded, tmp_path)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(lines) == 3
    assert "not an .ecdc stream" in lines[0] and "none.ecdc" in lines[1] and "is a folder" in lines[2]
