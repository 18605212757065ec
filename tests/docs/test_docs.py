"""The documentation says what is so: commands exist, examples run, links lead somewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from ecdc.bench.corpus import CLIPS
from ecdc.cli.main import group
from ecdc.codec.model import Codec
from ecdc.train.codec.recipe import Recipe
from ecdc.train.engine.recipes import read_recipe

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(<!-- run -->\n)?```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(path, language, run):
    """Fenced blocks of a page; with `run`, only those below the comment `<!-- run -->`."""
    text = path.read_text(encoding="utf-8")
    return [found[3] for found in FENCE.finditer(text) if found[2] == language and (bool(found[1]) or not run)]


def commands(path):
    """All commands of a page that start with `ecdc`, pipes taken apart."""
    lines = "\n".join(blocks(path, "sh", False)).splitlines()
    lines += [line[2:] for line in "\n".join(blocks(path, "console", False)).splitlines() if line.startswith("$ ")]
    lines += [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("    ecdc ")]
    parts = [part.strip() for line in lines for part in line.split("|")]
    return [part for part in parts if part.startswith("ecdc ")]


def parse(words):
    """Let click read a command line without running it; raises UsageError if an option or a command does not exist."""
    context, command = click.Context(group, info_name="ecdc"), group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no such command: {words[0]}")
        command, words = found, words[1:]
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        option = word.split("=")[0]
        if option.startswith("--") and option not in names | {"--help"}:
            raise click.UsageError(f"{command.name} has no option {option}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_exist(path):
    for line in commands(path):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # an apostrophe in a remark
            continue
        parse([word for word in words[1:] if not word.startswith(">")])


def test_most_pages_have_commands_that_are_checked():
    found = [line for path in PAGES for line in commands(path)]
    assert len(found) > 60 and len({line.split()[1] for line in found}) > 12


def test_a_command_that_does_not_exist_is_noticed():
    for line in ("encode a.wav --kpbs 6", "encoode a.wav", "train codek nano-24k"):
        with pytest.raises(click.UsageError):
            parse(shlex.split(line))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_fences_have_only_a_language(path):
    """MkDocs takes a fence with a second word for plain text, and the rest of the page for code."""
    assert not re.findall(r"^```\w+ .*", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_recipes_describe_codecs(tmp_path):
    """A recipe in a page can be saved and trained: it is read strictly, and its networks can be built."""
    texts = [text for page in PAGES for text in blocks(page, "toml", False)]
    assert texts
    for text in texts:
        path = tmp_path / "page.toml"
        path.write_text(text, encoding="utf-8")
        recipe = read_recipe(path, Recipe)
        codec = Codec(recipe.codec)
        assert codec.config.any_codebooks and max(recipe.dropout_codebooks) < codec.config.n_codebooks


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the recordings that the pages speak of, and a program named ecdc."""
    folder = tmp_path_factory.mktemp("desk")
    clip, rate = soundfile.read(CLIPS / "speech_it.flac", dtype="float32")
    clip = clip[: 4 * rate]
    (folder / "episodes").mkdir()
    for name in ("talk.flac", "talk.wav", "episodes/one.wav", "episodes/two.flac"):
        soundfile.write(folder / name, clip, rate)
    (folder / "bin").mkdir()
    program = folder / "bin" / "ecdc"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ecdc.cli "$@"\n')
    program.chmod(0o755)
    return folder


def environment(desk):
    return os.environ | {"PATH": f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}


def test_python_examples_run(desk, tmp_path, monkeypatch):
    shutil.copy(desk / "talk.flac", tmp_path)
    monkeypatch.chdir(tmp_path)
    pages = [(ROOT / "README.md", False), (ROOT / "docs" / "quickstart.md", True)]
    sources = [source for path, run in pages for source in blocks(path, "python", run)]
    assert len(sources) == 4
    for source in sources:
        exec(compile(source, "example", "exec"), {})
    assert soundfile.info("back.wav").frames == soundfile.info("talk.flac").frames


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "diffusion"])
def test_shell_examples_run(desk, default, tmp_path, name):
    for item in ("talk.flac", "talk.wav", "episodes"):
        (shutil.copytree if (desk / item).is_dir() else shutil.copy)(desk / item, tmp_path / item)
    sources = blocks(ROOT / "docs" / f"{name}.md", "sh", True)
    assert sources
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(sources)],
        cwd=tmp_path, env=environment(desk), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if name == "quickstart":
        assert np.load(tmp_path / "low.npz")["codes"].shape[-2] == 3 / default.bitrates_kbps[0]


def test_corpus_examples_run(desk, tmp_path):
    """The page's commands make a corpus, and its Python makes another and reads the first, in this order."""
    page = ROOT / "docs" / "corpus.md"
    shutil.copytree(desk / "episodes", tmp_path / "recordings")
    python = "\n".join(blocks(page, "python", False))
    for command in ["bash", "-e", "-c", blocks(page, "sh", False)[0]], [sys.executable, "-c", python]:
        done = subprocess.run(command, cwd=tmp_path, env=environment(desk), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
