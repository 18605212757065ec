"""Runs the command: in this process where that is enough, in one of its own where pipes or signals matter."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import soundfile
from ecdc.cli.main import main

CLIPS = Path(__file__).parents[2] / "bench" / "clips"


@pytest.fixture(scope="session")
def ecdc():
    """Call `ecdc ARGS`; returns returncode, stdout and stderr, as bytes."""

    def call(*args, stdin=b"", check=False):
        streams = {"stdin": io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin)))}
        captured = {name: io.BytesIO() for name in ("stdout", "stderr")}
        streams |= {name: io.TextIOWrapper(io.BufferedWriter(raw), write_through=True) for name, raw in captured.items()}
        with mock.patch.multiple(sys, **streams):
            try:
                main([str(a) for a in args])
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
            streams["stdout"].flush()
            streams["stderr"].flush()
        done = SimpleNamespace(returncode=code, stdout=captured["stdout"].getvalue(), stderr=captured["stderr"].getvalue())
        if check:
            assert code == 0, done.stderr.decode()
        return done

    return call


@pytest.fixture(scope="session")
def ecdc_process():
    """The same in a process of its own, with real pipes."""

    def call(*args, stdin=b"", check=False):
        command = [sys.executable, "-m", "ecdc.cli", *map(str, args)]
        done = subprocess.run(command, input=stdin, capture_output=True, env=os.environ, timeout=300)
        if check:
            assert done.returncode == 0, done.stderr.decode()
        return done

    return call


@pytest.fixture(scope="session")
def speech():
    """A bundled clip."""
    return CLIPS / "speech_it.flac"


@pytest.fixture
def tone(tmp_path):
    """Half a second of a stereo tone at 44.1 kHz."""
    time = np.arange(22_050) / 44_100
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.3 * np.stack([np.sin(2e3 * time), np.sin(3e3 * time)], axis=1), 44_100)
    return path


@pytest.fixture(scope="session")
def one_line():
    """The single line that a failed call says on stderr; checks the exit code."""

    def check(done, code=1):
        text = done.stderr.decode()
        assert done.returncode == code, text
        assert "Traceback" not in text
        lines = text.strip().splitlines()
        assert len(lines) == 1, text
        return lines[0]

    return check


@pytest.fixture(scope="session")
def imports():
    """Which of these modules commands have imported by their end, one after the other in a process of their own."""
    script = (
        "import json, sys; from ecdc.cli.main import main\n"
        "for words in json.loads(sys.argv[2]):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "print('IMPORTED', *(name for name in sys.argv[1].split() if name in sys.modules), file=sys.stderr)"
    )

    def call(modules, *commands):
        words = json.dumps([list(map(str, command)) for command in commands])
        done = subprocess.run([sys.executable, "-c", script, modules, words], capture_output=True, text=True, env=os.environ)
        return done.stderr.splitlines()[-1].split()[1:]

    return call
