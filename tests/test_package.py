"""What `import ecdc` offers."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import ecdc
import pytest
import soundfile
from ecdc.bench.corpus import CLIPS


def test_every_name_is_there_and_listed():
    for name in ecdc.__all__:
        assert getattr(ecdc, name) is not None and name in dir(ecdc)
    assert "open" in dir(ecdc)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ecdc.nothing  # noqa: B018


def test_names_are_known_to_type_checkers():
    source = inspect.getsource(ecdc).split("if TYPE_CHECKING:")[1].split("\n\n")[0]
    for name in ecdc._LAZY:
        assert f" as {name}" in source, name


def test_all_errors_have_one_root():
    seen = 0
    for package in ("ecdc.format", "ecdc.codec", "ecdc.plugins", "ecdc.corpus", "ecdc.train", "ecdc.bench", "ecdc.cli"):
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            if found.name.endswith("__main__"):
                continue
            try:
                module = importlib.import_module(found.name)
            except ImportError:  # of an optional library
                continue
            for name, value in vars(module).items():
                is_own = inspect.isclass(value) and value.__module__ == found.name and issubclass(value, Exception)
                if is_own and not name.startswith("_") and not issubclass(value, KeyboardInterrupt):
                    assert issubclass(value, ecdc.EcdcError), f"{found.name}.{name}"
                    seen += 1
    assert seen > 15


def test_importing_loads_nothing_large():
    check = "import sys, ecdc; ecdc.open, ecdc.Header, ecdc.errors; print(any(m in sys.modules for m in ('torch', 'numba')))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_files_by_the_name_of_a_model(tmp_path):
    clip, rate = soundfile.read(CLIPS / "speech_it.flac", dtype="float32")
    soundfile.write(tmp_path / "a.wav", clip[:rate], rate)
    result = ecdc.encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", "nano-24k", kbps=3)
    assert result.codebooks == (4,) and result.lost == ()
    ecdc.decode_file(tmp_path / "a.ecdc", tmp_path / "one.wav")
    ecdc.decode_file(tmp_path / "a.ecdc", tmp_path / "two", "nano-24k", format="wav", decoder="conv")
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two").read_bytes()
    ecdc.decode_file(tmp_path / "a.ecdc", tmp_path / "mbd.wav", decoder="mbd")
    assert (tmp_path / "mbd.wav").read_bytes() != (tmp_path / "one.wav").read_bytes()
    with pytest.raises(ecdc.errors.CheckpointError):
        ecdc.encode_file(tmp_path / "a.wav", tmp_path / "b.ecdc", "nano-23k")
    with pytest.raises(TypeError):
        ecdc.encode_file(tmp_path / "a.wav", tmp_path / "b.ecdc", "nano-24k", 6)
