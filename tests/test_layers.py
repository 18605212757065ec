"""The import rule: format < codec < plugins < bench < cli; a file imports its own layer or a lower one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("format", "codec", "plugins", "bench", "cli")
FILES = [p for layer in LAYERS for p in sorted((ROOT / layer).rglob("*.py"))]


def imported_layers(path: Path) -> set[str]:
    """The layers that a file imports from, relative imports resolved."""
    package = ("ecdc", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = (*base, *(node.module or "").split("."))
            found |= {names[1]} if len(names) > 1 and names[0] == "ecdc" else set()
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ecdc.")}
    return found & set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = {name for name in imported_layers(path) if LAYERS.index(name) > own}
    assert not above, f"{path} imports from {above}"


def test_inference_never_imports_training():
    for path in FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] == "codec" and parts[1] != "train":
            tree = ast.parse(path.read_text())
            modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
            assert not any("train" in m.split(".") for m in modules), path


def test_format_imports_no_torch_and_no_audio():
    for path in (ROOT / "format").rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {a.name.split(".")[0] for a in node.names} if isinstance(node, ast.Import) else set()
            names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()
        assert not names & {"torch", "torchaudio", "soundfile", "soxr", "click"}, path
