"""Slips of a new user: the wrong command for a file, options that exclude each other, output to a terminal."""

import contextlib
import os
import pty
import re
import subprocess
import sys

import pytest


@pytest.fixture
def coded(ecdc, tone):
    """The tone as an .ecdc file."""
    ecdc("encode", tone, "--effort", 0, check=True)
    return tone.with_suffix(".ecdc")


def test_the_wrong_command_for_a_file_names_the_right_one(ecdc, tone, coded, one_line):
    """Also if the output's name would be that of the input."""
    before = tone.read_bytes(), coded.read_bytes()
    assert one_line(ecdc("decode", tone)).endswith("is not an .ecdc file; `ecdc encode` turns audio into .ecdc files")
    assert one_line(ecdc("encode", coded)).endswith("is an .ecdc file already; `ecdc decode` turns it into audio")
    assert (tone.read_bytes(), coded.read_bytes()) == before


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_file_is_not_its_own_finished_output(ecdc, tone, coded, tmp_path, command):
    """With a folder, inputs whose outputs exist are skipped; an input that has the output's name is no output."""
    (tmp_path / "folder").mkdir()
    done = ecdc(command, tmp_path / "folder", coded if command == "encode" else tone)
    assert done.returncode == 1
    assert b"0 skipped (outputs exist), 1 failed" in done.stderr and b".ecdc file" in done.stderr


def test_a_file_as_the_folder_of_outputs_is_one_error(ecdc, tone, tmp_path, one_line):
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "x.wav").write_bytes(tone.read_bytes())
    line = one_line(ecdc("encode", tmp_path / "in", "--output-dir", tone))
    assert line == f"ecdc: {tone}: is not a folder; give another --output-dir"


@pytest.mark.parametrize("other", [("--kbps", "6"), ("--vbr",), ("--vbr", "--kbps", "4")])
def test_two_ways_to_choose_the_bitrate_are_refused(ecdc, tone, other):
    done = ecdc("encode", tone, "--quality", "3", *other)
    assert done.returncode == 2 and b"leave out --kbps and --vbr, or --quality" in done.stderr
    assert not tone.with_suffix(".ecdc").exists()


def test_a_name_with_a_leading_dash_is_told_how_to_write_it(ecdc, tone, tmp_path, monkeypatch, one_line):
    monkeypatch.chdir(tmp_path)
    tone.rename("-dash.wav")
    line = one_line(ecdc("encode", "-dash.wav"), code=2)
    assert line == "ecdc encode: no such option '-d'; if you mean the file, write './-dash.wav'"
    ecdc("encode", "./-dash.wav", check=True)


@pytest.mark.parametrize("command", ["decode", "cut"])
def test_no_duration_is_no_length_of_the_audio(ecdc, coded, tmp_path, command, one_line):
    line = one_line(ecdc(command, coded, "--duration", 0, "-o", tmp_path / "out.wav"))
    assert line.endswith("the duration must be above 0, got 0 s") and not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("arguments", [("encode", "tone.wav", "-o", "-"), ("decode", "-"), ("cut", "tone.ecdc", "-o", "-")])
def test_a_terminal_gets_no_bytes(coded, arguments):
    mine, theirs = pty.openpty()
    command, said = [sys.executable, "-m", "ecdc.cli", *arguments], b""
    with (
        coded.open("rb") as stdin,
        subprocess.Popen(command, stdin=stdin, stdout=theirs, stderr=subprocess.PIPE, cwd=coded.parent) as process,
        contextlib.suppress(OSError),  # the end
    ):
        os.close(theirs)
        while part := os.read(mine, 4096):
            said += part
    os.close(mine)
    assert process.returncode == 1 and said == b""


def test_slow_work_has_a_speed(ecdc, coded, tmp_path, monkeypatch):
    """The speed is not rounded to 0."""
    from ecdc.cli import decode

    seconds = iter([0.0, 2.0])
    monkeypatch.setattr(decode.time, "perf_counter", lambda: next(seconds, 2.0))
    done = ecdc("decode", coded, "-o", tmp_path / "a.wav", check=True)
    assert done.stderr.decode().endswith("stereo, 0.2x real time\n")


def test_info_counts_codebooks_as_encode_does(ecdc, coded, tmp_path):
    """A file that was cut off is called so, and told what to do."""
    text = ecdc("info", coded, check=True).stdout.decode()
    assert re.search(r"\ncodebooks +\d+\+\d+\n", text) and "cut off" not in text
    (tmp_path / "part.ecdc").write_bytes(coded.read_bytes()[:-30])
    assert "\ncut off               yes; `ecdc repair`" in ecdc("info", tmp_path / "part.ecdc", check=True).stdout.decode()
