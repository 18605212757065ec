"""Help: options in named sections, each of them once, and at once."""

import re

import click
import pytest
from ecdc.cli.help_sections import SectionedCommand
from ecdc.cli.main import group


def commands(found=group, words=()):
    """All commands as (words, command)."""
    if not isinstance(found, click.Group):
        return [(" ".join(words), found)]
    context = click.Context(found)
    names = found.list_commands(context)
    return [item for name in names for item in commands(found.get_command(context, name), (*words, name))]


SECTIONED = {name: command for name, command in commands() if isinstance(command, SectionedCommand)}


def test_long_helps_have_sections():
    assert {name for name, command in commands() if len(command.params) > 16} == set(SECTIONED)


@pytest.mark.parametrize("name", SECTIONED)
def test_every_option_is_in_one_section(name):
    command = SECTIONED[name]
    listed = [option for names in command.sections.values() for option in names]
    assert sorted(listed) == sorted(param.name for param in command.params if isinstance(param, click.Option))


@pytest.mark.parametrize("name", SECTIONED)
def test_every_option_is_shown_once_with_its_help(ecdc, name):
    text = ecdc(*name.split(), "--help", check=True).stdout.decode()
    command, (_, *parts) = SECTIONED[name], re.split(r"^(\S.*):\n", text, flags=re.MULTILINE)
    assert parts[::2] == [*command.sections, "Other"] and "INPUT..." not in parts[-1]
    shown = re.findall(r"^  (-\S+.*?)(?:  |$)", "".join(parts[1::2]), re.MULTILINE)
    options = [param for param in command.params if isinstance(param, click.Option)]
    for option in options:
        assert sum(option.opts[-1] in re.split(r"[, ]+", line) for line in shown) == 1, option.name
        assert " ".join(option.help.split())[:20] in " ".join(text.split())
    assert len(shown) == len(options) + 1 and "--help" in shown[-1]


def test_an_option_without_a_section_is_shown_last():
    command = SectionedCommand(
        "demo", sections={"One": "b"}, params=[click.Option(["--a"]), click.Option(["--b"]), click.Argument(["name"])]
    )
    _, one, other = command.get_help(click.Context(command)).split("\n\n")
    assert "--b" in one and "--a" in other and "--help" in other and "NAME" not in other


def test_help_imports_no_heavy_library(imports):
    assert imports("torch numpy soundfile numba onnxruntime", *((*name.split(), "--help") for name in SECTIONED)) == []


@pytest.mark.parametrize("name", ["bench", "corpus", "export", "live", "tokens", "train"])
def test_lists_of_commands_are_not_cut_short(ecdc, name):
    lines = ecdc(name, "--help", check=True).stdout.decode().splitlines()
    assert "Commands:" in lines and not [line for line in lines[1:] if line.endswith("...")]


def test_h_is_help_of_the_benchmarks_too(ecdc):
    assert ecdc("bench", "live", "-h", check=True).stdout == ecdc("bench", "live", "--help", check=True).stdout
