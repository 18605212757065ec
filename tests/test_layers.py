"""The import rule: format < codec < plugins < corpus < live < train < bench < cli; a file imports its own layer or a lower one.

Also: files and functions stay short, and every package and data file is part of what is installed.
"""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("format", "codec", "plugins", "corpus", "live", "train", "bench", "cli")
FILES = [p for layer in LAYERS for p in sorted((ROOT / layer).rglob("*.py"))]


def module_name(path: Path) -> str:
    """The module that a file is."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("ecdc", *(parts[:-1] if parts[-1] == "__init__" else parts)))


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """All modules of ours that a file imports, also inside of functions; not those for type checkers alone."""
    return {name for name in imported_names(ast.parse(path.read_text()), path) if name in MODULES}


def imported_names(node: ast.AST, path: Path) -> set[str]:
    """Absolute names that a tree imports; of `from package import name` both, because either may be the module."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            source = ".".join([*base, *([child.module] if child.module else [])])
            submodules = {f"{source}.{alias.name}" for alias in child.names}
            found |= submodules if submodules <= MODULES.keys() else submodules | {source}
        elif isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        found |= imported_names(child, path)
    return found


def imported_layers(path: Path) -> set[str]:
    """The layers that a file imports from."""
    tree = ast.parse(path.read_text())
    return {name.split(".")[1] for name in imported_names(tree, path) if name.startswith("ecdc.")} & set(LAYERS)


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Nodes from which a path leads back to them."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        return seen

    return [name for name in graph if name in reached(name)]


def test_no_module_imports_itself_in_a_circle():
    assert not circles({name: imports(path) - {name} for name, path in MODULES.items()})


def test_circles_and_upward_imports_are_noticed(tmp_path):
    assert set(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    tree = ast.parse("def f():\n    from .. import cli\n    from ..bench.runner import run\n    import ecdc.plugins\n")
    found = imported_names(tree, ROOT / "codec" / "model.py")
    assert {"ecdc.cli", "ecdc.bench.runner", "ecdc.plugins"} <= found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = {name for name in imported_layers(path) if LAYERS.index(name) > own}
    assert not above, f"{path} imports from {above}"


def test_only_the_command_train_imports_training():
    for path in (ROOT / "cli").glob("*.py"):
        assert path.name == "train.py" or "train" not in imported_layers(path), path


def test_trainers_share_an_engine_that_knows_none_of_them():
    """Inside of train/: engine < data < codec < the other trainers, which do not know each other."""
    rooms = ("engine", "data", "codec", "other")
    for path in (ROOT / "train").rglob("*/*.py"):
        own = path.parent.name
        place = rooms.index(own if own in rooms else "other")
        for name in imports(path):
            parts = name.split(".")
            if parts[1] == "train" and len(parts) > 2 and parts[2] != own:
                assert parts[2] in rooms[:place], f"{path} imports {name}"


def test_format_imports_no_torch_and_no_audio():
    for path in (ROOT / "format").rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {a.name.split(".")[0] for a in node.names} if isinstance(node, ast.Import) else set()
            names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()
        assert not names & {"torch", "torchaudio", "soundfile", "soxr", "click"}, path


def test_files_and_functions_stay_short():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 40, f"{path}: {node.name}"


def test_every_package_is_installed_with_its_data():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert sorted(settings["packages"]) == sorted(
        ["ecdc", *(module_name(path) for path in FILES if path.name == "__init__.py")]
    )
    assert set(settings["package-dir"]) == {"ecdc", *(f"ecdc.{layer}" for layer in LAYERS)}
    for package, patterns in settings["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        assert all(any(folder.glob(pattern)) for pattern in patterns), package
