"""`ecdc convert`: both containers, the model's hash for the old one, which alone needs torch."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ecdc.codec.checkpoints
import pytest

GOLDEN = Path(__file__).parents[1] / "format" / "golden"


@pytest.fixture
def model(monkeypatch):
    """Stands in for a checkpoint, of which convert asks only this."""
    config = SimpleNamespace(name="encodec_24khz", sample_rate=24_000, hop_length=320, codebook_size=1024, channels=1)
    found = SimpleNamespace(config=config, token_space=bytes(range(32)))
    monkeypatch.setattr(ecdc.codec.checkpoints, "load", lambda name: found)
    return found


def test_there_and_back_is_the_same_file(ecdc, model, tmp_path):
    old = (GOLDEN / "v0_24khz.ecdc").read_bytes()
    ecdc("convert", GOLDEN / "v0_24khz.ecdc", "--model", "any", "-o", tmp_path / "new.ecdc", check=True)
    assert bytes(range(32)).hex().encode() in ecdc("info", tmp_path / "new.ecdc", check=True).stdout
    ecdc("verify", tmp_path / "new.ecdc", check=True)
    ecdc("convert", tmp_path / "new.ecdc", "-o", tmp_path / "old.ecdc", check=True)
    assert (tmp_path / "old.ecdc").read_bytes() == old
    new = ecdc("convert", "-", "--model", "any", "-o", "-", stdin=old, check=True).stdout
    assert new == (tmp_path / "new.ecdc").read_bytes()
    script = (
        "import sys; from ecdc.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "convert", tmp_path / "new.ecdc", "-o", tmp_path / "again.ecdc"]
    assert subprocess.run(command, env=os.environ).returncode == 0


def test_what_does_not_fit_is_one_line(ecdc, model, tmp_path, one_line):
    out = ("-o", tmp_path / "out.ecdc")
    for args, message in [
        ((GOLDEN / "v0_24khz.ecdc",), "give its checkpoint with --model"),
        ((GOLDEN / "v0_48khz.ecdc", "--model", "any"), "the file needs encodec_48khz, got encodec_24khz"),
        ((GOLDEN / "mono.ecdc",), "encodec_24khz and encodec_48khz only, got golden"),
        ((GOLDEN / "mono.ecdc", "--model", "any"), "is for files of version 0"),
        ((tmp_path / "none.ecdc",), "No such file"),
    ]:
        assert message in one_line(ecdc("convert", *args, *out))
    assert not list(tmp_path.iterdir())
