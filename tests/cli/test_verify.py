"""`ecdc verify` is silent about whole files and names the byte in all others."""

import json
from pathlib import Path

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


def test_json_has_one_object_for_every_input(ecdc, coded, tmp_path):
    data = coded.read_bytes()
    (tmp_path / "cut.ecdc").write_bytes(data[:-40])
    (tmp_path / "flipped.ecdc").write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    (tmp_path / "b.ecdc").write_bytes(b"RIFF")
    names = [str(tmp_path / name) for name in ("cut.ecdc", "flipped.ecdc", "b.ecdc", "none.ecdc", "a.ecdc")]
    plain, done = ecdc("verify", *names), ecdc("verify", *names, "--json")
    assert (done.returncode, done.stderr) == (1, plain.stderr)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == names
    assert [row["intact"] for row in rows] == [False] * 4 + [True]
    assert [row["fault"] for row in rows] == ["truncated", "corrupt", "not_ecdc", "unreadable", None]
    assert [row["checked"] for row in rows] == [None] * 4 + ["codes"]
    assert rows[3]["byte"] is None and rows[4]["byte"] is None
    for row, line in zip(rows[:3], plain.stderr.decode().splitlines(), strict=False):
        assert f"byte {row['byte']}: {row['message']}" in line


def test_json_says_how_much_was_checked(ecdc, coded):
    old = Path(__file__).parents[1] / "format" / "golden" / "v0_24khz.ecdc"
    for name, checked in ((coded, "codes"), (old, "structure")):
        row = json.loads(ecdc("verify", name, "--json", check=True).stdout)
        nothing = {"fault": None, "byte": None, "message": None}
        assert row == {"file": str(name), "intact": True, "checked": checked} | nothing
    assert json.loads(ecdc("verify", "-", "--json", stdin=coded.read_bytes(), check=True).stdout)["file"] == "-"
