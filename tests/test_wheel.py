"""What is installed is what was tested: the wheel holds all that the commands need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from ecdc.bench.corpus import CLIPS

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_installed_wheel_codes_a_clip(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    assert {path.name for path in (tmp_path / "site").iterdir() if path.suffix != ".dist-info"} <= {"ecdc", "bin"}
    clip, rate = soundfile.read(CLIPS / "speech_it.flac", dtype="float32")
    soundfile.write(tmp_path / "a.wav", clip[:rate], rate)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    commands = (
        ["-c", "import ecdc, sys; sys.exit('site' not in ecdc.__file__)"],
        ["-m", "ecdc.cli", "encode", "a.wav"],
        ["-m", "ecdc.cli", "decode", "a.ecdc", "-o", "b.wav"],
        ["-m", "ecdc.cli", "encode", "a.wav", "--model", "nano-24k", "-o", "d.ecdc"],
        ["-m", "ecdc.cli", "decode", "d.ecdc", "--decoder", "mbd", "-o", "d.wav"],
        ["-m", "ecdc.cli", "generate", "piano", "--seconds", "0.2", "-o", "c.ecdc"],
        ["-c", "import ecdc.train.codec.loop, ecdc.bench.runner, ecdc.train.musicgen.trainer"],
    )
    for command in commands:
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
    assert soundfile.info(tmp_path / "b.wav").frames == soundfile.info(tmp_path / "d.wav").frames == rate
