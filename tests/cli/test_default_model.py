"""One model is the default wherever a model can be named."""

import inspect
import json

import click
from ecdc.cli.main import group
from ecdc.codec.default_model import DEFAULT_MODEL, GENERATOR_MODEL
from ecdc.codec.encoding import encode_file
from ecdc.corpus.settings import Settings
from ecdc.live.decoder import Decoder
from ecdc.live.encoder import Encoder
from ecdc.plugins.musicgen.model_folder import BUNDLED


def options(command, context):
    """Yield the path and default of every --model of a command and its subcommands."""
    for parameter in command.params:
        if "--model" in parameter.opts and isinstance(parameter.default, str):
            yield context.command_path, parameter.default
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            yield from options(below, click.Context(below, info_name=name, parent=context))


def test_every_command_has_the_same_default_model():
    found = dict(options(group, click.Context(group, info_name="ecdc")))
    assert {"ecdc encode", "ecdc corpus encode", "ecdc live send"} <= set(found)
    assert found.pop("ecdc train synthesize") == GENERATOR_MODEL
    assert set(found.values()) == {DEFAULT_MODEL}


def test_the_generator_is_trained_on_the_tokens_that_it_writes():
    config = json.loads((BUNDLED / "musicgen-nano" / "config.json").read_text(encoding="utf-8"))
    assert config["codec"] == GENERATOR_MODEL


def test_the_python_interface_has_it_too():
    for function in (encode_file, Settings, Decoder, Encoder):
        assert inspect.signature(function).parameters["model"].default == DEFAULT_MODEL
