"""A short run of the fuzzer of commands, always the same one; the long one is for the slow tests."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).parent / "fuzz_commands.py"


def fuzz(cases, seed):
    """In a process that does nothing else: its cases are forked from it."""
    command = [sys.executable, str(FUZZER), "--cases", str(cases), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert f"{cases} cases of seed {seed}: no failures" in done.stdout


def test_lying_files_through_every_command():
    fuzz(30, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_lying_files_through_every_command_for_long(seed):
    fuzz(500, seed)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("sys.stderr.write('\\x1b[2J'); raise SystemExit(1)", "steers the terminal"),
        ("raise SystemExit(1)", "is no message"),
        ("open('out.wav', 'w'); click.echo('ecdc: no', err=True); raise SystemExit(1)", "leaves ['out.wav']"),
        ("open('.x.partial', 'w')", "leaves ['.x.partial']"),
        ("bytearray(2 << 30)", "MemoryError"),
        ("while True: pass", "exit code -"),
    ],
    ids=["traceback", "escape", "silence", "output", "partial", "memory", "time"],
)
def test_the_fuzzer_finds_what_it_looks_for(tmp_path, script, message):
    setup = (
        f"import sys; sys.path.insert(0, {str(FUZZER.parent)!r})\n"
        "import fuzz_commands as f, click, ecdc.cli.main as m, pathlib\n"
        "f.CPU_SECONDS = 1\n"
        "def main(args):\n    exec(sys.argv[1])\n"
        "m.main = main\n"
        "print(f.run_case(f.Case('info FILE', 'case.ecdc', b'', {}), pathlib.Path(sys.argv[2])))\n"
    )
    done = subprocess.run([sys.executable, "-c", setup, script, str(tmp_path)], capture_output=True, text=True)
    assert message in done.stdout, done.stdout + done.stderr
