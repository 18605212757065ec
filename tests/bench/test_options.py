"""Options of all benches: numbers that cannot be are refused before anything is measured, and so are places that cannot be."""

from importlib import import_module

import click
import pytest
from ecdc.bench.options import NewFile
from ecdc.cli.bench import BENCHES

NUMBERS = (click.types.FloatParamType, click.types.IntParamType)


def options_of(name):
    """Names and types of a bench's options; a tuple of two numbers gives its first one."""
    for option in import_module(f"ecdc.bench.{BENCHES[name][0]}").main.params:
        yield option.name, option.type.types[0] if isinstance(option.type, click.Tuple) else option.type


def refuses(kind, value):
    try:
        kind.convert(value, None, None)
    except click.BadParameter:
        return True
    return False


@pytest.mark.parametrize("name", BENCHES)
def test_numbers_and_outputs_are_checked_at_once(name, tmp_path):
    for option, kind in options_of(name):
        if isinstance(kind, NUMBERS):
            for value in ("nan", "inf", "-inf", "-1", "1e300"):
                assert refuses(kind, value) or (option, value) in (("guidance", "-1"), ("guidance", "1e300")), (option, value)
        if option == "target":
            assert isinstance(kind, NewFile)


def test_a_new_file_needs_a_folder(tmp_path):
    kind = NewFile()
    assert kind.convert(str(tmp_path / "a.json"), None, None) == tmp_path / "a.json"
    for place, message in ((tmp_path, "is a folder"), (tmp_path / "no" / "a.json", "there is no folder")):
        with pytest.raises(click.BadParameter, match=message):
            kind.convert(str(place), None, None)
