"""Where torch is not installed: files of the bundled model work, and everything else says what to install."""

import os
import subprocess
import sys

import pytest
from ecdc.codec.bundled import BUNDLED, DIFFUSION, bundled_names

SCRIPT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from ecdc.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def bare():
    """Run the command in a process that finds no torch."""

    def call(*args):
        return subprocess.run([sys.executable, "-c", SCRIPT, *map(str, args)], capture_output=True, env=os.environ)

    return call


@pytest.mark.parametrize("model", bundled_names())
def test_files_of_the_bundled_models_work(bare, ecdc, tone, tmp_path, model):
    done = bare("encode", tone, "--model", model, "-o", tmp_path / "a.ecdc", "--vbr")
    assert done.returncode == 0, done.stderr
    ecdc("encode", tone, "--model", model, "-o", tmp_path / "b.ecdc", "--vbr", "--runtime", "torch", check=True)
    assert (tmp_path / "a.ecdc").read_bytes() == (tmp_path / "b.ecdc").read_bytes()
    for command in (
        ("decode", tmp_path / "a.ecdc", "-o", tmp_path / "c.wav"),
        ("info", tmp_path / "a.ecdc"),
        ("verify", tmp_path / "a.ecdc"),
        ("models",),
    ):
        done = bare(*command)
        assert done.returncode == 0, done.stderr
    done = bare("decode", tmp_path / "a.ecdc", "-o", tmp_path / "d.wav", "--decoder", "mbd", "--steps", 1)
    if (BUNDLED / model / DIFFUSION).exists():
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and b"no diffusion decoder is bundled" in done.stderr and b"torch" not in done.stderr


def test_without_a_diffusion_decoder_torch_is_not_asked_for(bare, ecdc, one_line, light_folder, tone, tmp_path):
    ecdc("encode", tone, "--model", light_folder, "-o", tmp_path / "a.ecdc", check=True)
    command = "decode", tmp_path / "a.ecdc", "--model", light_folder, "-o", tmp_path / "a.wav", "--decoder", "mbd"
    lines = {one_line(bare(*command)), one_line(ecdc(*command))}
    assert len(lines) == 1 and "random-24k: no diffusion decoder is bundled for this model" in lines.pop()
    assert not (tmp_path / "a.wav").exists()


def test_the_demo_is_imported_without_the_extras_of_the_bench():
    script = SCRIPT.replace('"onnx")', '"onnx", "scipy")').rsplit("from ecdc", 1)[0] + "import ecdc.bench.demo"
    assert "scipy" in script
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ)


@pytest.mark.parametrize("runtime", ["auto", "onnx", "torch"])
def test_an_unknown_model_is_unknown_whatever_is_installed(bare, ecdc, one_line, tone, tmp_path, monkeypatch, runtime):
    monkeypatch.chdir(tmp_path)
    command = "encode", tone, "--model", "nano-42k", "--runtime", runtime, "-o", "a.ecdc"
    lines = {one_line(bare(*command)), one_line(ecdc(*command))}
    assert len(lines) == 1 and "nano-42k: no such model (known: nano-24k" in lines.pop()
    assert not (tmp_path / "a.ecdc").exists()


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("encode", "tone.wav", "--runtime", "torch"), ".[torch]"),
        (("encode", "tone.wav", "--model", "encodec_24khz"), ".[torch]"),
        (("encode", "tone.wav", "--device", "cuda"), ".[torch]"),
        (("decode", "a.ecdc", "--decoder", "a.th"), ".[torch]"),
        (("decode", "a.ecdc", "--device", "cuda"), ".[torch]"),
        (("corpus", "encode", "tone.wav", "--output", "out", "--device", "cuda"), ".[torch]"),
        (("corpus", "encode", "tone.wav", "--output", "out", "--model", "encodec_24khz"), ".[torch]"),
        (("live", "send", "tone.wav", "--to", "127.0.0.1:9", "--model", "encodec_24khz"), ".[torch]"),
        (("generate", "--continue", "a.ecdc", "-o", "b.ecdc"), ".[torch]"),
        (("train", "mbd", "nano-24k", "--model", "nano-24k", "--output", "out"), ".[torch]"),
        (("train", "prior", "nano-24k", "--output", "out"), ".[torch]"),
        (("train", "musicgen", "nano", "--output", "out"), ".[torch]"),
        (("train", "synthesize", "--output", "out"), ".[torch]"),
        (("generate", "happy flute", "-o", "b.ecdc"), ".[torch]"),
        (("train", "codec", "nano-24k"), ".[torch]"),
        (("bench", "speed"), ".[torch]"),
        (("export", "onnx", "nano-24k", "--output", "out"), ".[export]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_needs_more_says_what_to_install(bare, ecdc, one_line, tone, tmp_path, monkeypatch, command, extra):
    monkeypatch.chdir(tmp_path)
    if "a.ecdc" in command:
        ecdc("encode", tone, "-o", "a.ecdc", check=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    line = one_line(bare(*command))
    assert f"pip install -e '{extra}'" in line
    options = [word for word in command if word in ("--decoder", "--device", "--model")]
    assert not options or command[command.index(options[0]) + 1] in line or command[0] == "train"  # what asked for it
    assert sorted(path.name for path in tmp_path.iterdir()) == before
