"""`ecdc encode --effort`: other codes, the same bitrate."""

import ecdc as package
import numpy as np
import pytest


def codes_of(path):
    with package.open(path) as file:
        return file.codes()


def test_effort_changes_codes_and_not_their_number(ecdc, tone, tmp_path):
    for name, options in {"plain": (), "0": ("--effort", 0), "4": ("--effort", 4)}.items():
        target = tmp_path / f"{name}.ecdc"
        ecdc("encode", tone, "-o", target, "--entropy", "none", "--kbps", 3, *options, check=True)
        ecdc("decode", target, "-o", tmp_path / "back.wav", "--force", check=True)
    assert (tmp_path / "plain.ecdc").read_bytes() == (tmp_path / "4.ecdc").read_bytes()
    assert (tmp_path / "4.ecdc").stat().st_size == (tmp_path / "0.ecdc").stat().st_size
    assert not np.array_equal(codes_of(tmp_path / "4.ecdc"), codes_of(tmp_path / "0.ecdc"))


def test_pipes_and_files_give_the_same_codes(ecdc, ecdc_process, tone, tmp_path):
    how = ("--effort", 3, "--stereo", "mid_side")
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", *how, check=True)
    piped = ecdc_process("encode", "-", "-o", "-", *how, stdin=tone.read_bytes(), check=True)
    (tmp_path / "b.ecdc").write_bytes(piped.stdout)
    assert np.array_equal(codes_of(tmp_path / "a.ecdc"), codes_of(tmp_path / "b.ecdc"))


@pytest.mark.parametrize("effort", [11, -1, "much"])
def test_efforts_that_do_not_exist(ecdc, tone, tmp_path, effort):
    done = ecdc("encode", tone, "-o", tmp_path / "a.ecdc", "--effort", effort)
    assert done.returncode == 2 and b"effort" in done.stderr and not (tmp_path / "a.ecdc").exists()
