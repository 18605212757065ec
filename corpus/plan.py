"""The plan of a corpus: which items are in which shard. It depends only on the sources and the settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import __version__
from ..codec.channel_layout import codebooks_per_stream, layout_for
from ..codec.effort import paths_of
from ..codec.protocols import Model
from ..codec.stereo_choice import possible_stereo
from ..format.timing import frame_rate
from .errors import CorpusError, check_fields, parse_json
from .items import Item, digest
from .settings import CHANNELS, FORMATS, Settings
from .store import Store

PLAN = "plan.json"
VERSION = 1  # of plan, records and manifest
ABOUT = {
    "ecdc": str, "model": str, "token_space": str, "sample_rate": int, "hop_length": int, "frame_rate": float,
    "codebook_size": int, "codebooks": dict, "settings": dict, "items": int, "shards": int, "source": str, "columns": dict,
}  # fmt: skip
MODEL_FIELDS = ("model", "token_space")


@dataclass
class Plan:
    """The items of every shard, and what `plan.json` says about the corpus."""

    settings: Settings
    shards: list[list[Item]]
    about: dict[str, Any]
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) for files that are no audio

    @property
    def n_items(self) -> int:
        """Number of items in all shards."""
        return sum(map(len, self.shards))


def make_plan(
    items: Sequence[Item], settings: Settings, codec: Model, left_out: Sequence[tuple[str, str]] = ()
) -> Plan:  # fmt: skip
    """Divide items into shards, in their order, by count and by bytes."""
    about = {"version": VERSION, "ecdc": __version__, **model_facts(codec, settings)}
    about |= {"settings": settings.to_dict() | {"model": codec.config.name}}
    shards = cut_shards(items, settings.shard_items, settings.shard_mb * 1e6)
    about |= {"items": len(items), "shards": len(shards), "source": digest(items), "columns": column_types(items)}
    return Plan(settings, shards, about, list(left_out))


def cut_shards(items: Sequence[Item], most_items: int, most_bytes: float) -> list[list[Item]]:
    """Return the items in shards: a shard ends with the item that reaches one of the limits, or the last one of a group."""
    shards: list[list[Item]] = []
    n_bytes = most_bytes
    for item in items:
        is_full = not shards or n_bytes >= most_bytes or len(shards[-1]) >= most_items
        is_other = not shards or item.group != shards[-1][-1].group
        if is_other or (is_full and not item.group):
            shards.append([])
            n_bytes = 0
        shards[-1].append(item)
        n_bytes += item.n_bytes
    return shards


def model_facts(codec: Model, settings: Settings) -> dict[str, Any]:
    """Return what a reader must know about the codes.

    Raises ValueError for a bitrate, channels or an effort that the model lacks.
    """
    config = codec.config
    paths_of(config, settings.effort)
    channels = CHANNELS[settings.channels]
    codebooks = {}
    for n in (1, 2) if channels is None else (channels,):
        possible = possible_stereo(config, n, settings.stereo)
        for stereo in possible:
            layout = layout_for(config, n, stereo)
            name = str(n) if len(possible) == 1 else f"{n} {stereo}"
            codebooks[name] = list(codebooks_per_stream(config, layout, settings.kbps))
    rate = frame_rate(config.sample_rate, config.hop_length)
    return {
        "model": config.name, "token_space": codec.token_space.hex(), "sample_rate": config.sample_rate,
        "hop_length": config.hop_length, "frame_rate": float(rate), "codebook_size": config.codebook_size,
        "codebooks": codebooks,
    }  # fmt: skip


def column_types(items: Sequence[Item]) -> dict[str, str]:
    """Return the type of every carried column: bool, int, float, str, or json for anything else, and if types are mixed."""
    found: dict[str, str] = {}
    for item in items:
        for name, value in item.columns.items():
            kind = type_of(value)
            known = found.get(name)
            if kind == known or (kind == "null" and known):
                continue
            if known in (None, "null"):
                found[name] = kind
            else:
                found[name] = "float" if {kind, known} == {"int", "float"} else "json"
    return {name: "str" if kind == "null" else kind for name, kind in sorted(found.items())}


def type_of(value: Any) -> str:
    """Return the name of a value's type as `column_types` gives it, or null."""
    if value is None:
        return "null"
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int | np.integer):
        return "int" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float | np.floating):
        return "float"
    return "str" if isinstance(value, str) else "json"


def as_type(value: Any, kind: str) -> Any:
    """Convert a carried value to the type of its column."""
    if value is None:
        return None
    convert: dict[str, Callable[[Any], Any]] = {"bool": bool, "int": int, "float": float, "str": str}
    return convert[kind](value) if kind in convert else json.dumps(value, sort_keys=True, default=str)


def read_about(store: Store) -> dict[str, Any]:
    """Return the `plan.json` of a corpus. Raises CorpusError if there is none, or it is of a later version."""
    data = store.read(PLAN)
    if data is None:
        raise CorpusError(f"{store}: is not a corpus of tokens (it has no {PLAN})")
    try:
        about = parse_json(data.decode())
        check_fields(about, {"version": int})
        if about["version"] == VERSION:
            check_about(about)
    except ValueError:
        text = "is damaged; remove it and give the same command again, which makes all shards again"
        raise CorpusError(f"{store.place(PLAN)}: {text}") from None
    if about["version"] != VERSION:
        raise CorpusError(f"{store.place(PLAN)}: has version {about['version']}, this program reads version {VERSION}")
    found: dict[str, Any] = about
    return found


def check_about(about: dict[str, Any]) -> None:
    """Raise ValueError unless all fields of a plan have the right types."""
    check_fields(about, ABOUT)
    check_fields(about["settings"], {"model": str, "kbps": float, "channels": str, "format": str})
    if about["settings"]["format"] not in FORMATS or not about["codebooks"]:
        raise ValueError("the format of its shards is unknown, or it has no codebooks")
    for counts in about["codebooks"].values():
        check_fields({"counts": counts}, {"counts": list})
        for k in counts:
            check_fields({"k": k}, {"k": int})


def check_same(store: Store, plan: Plan) -> None:
    """Compare a plan with that of the output folder, if it has one. Raises CorpusError that says what differs."""
    if store.read(PLAN) is None:
        return
    old, new = read_about(store), plan.about
    if any(old.get(name) != new[name] for name in MODEL_FIELDS):
        one, other = (f"{about['model']} ({about['token_space'][:12]})" for about in (old, new))
        raise CorpusError(f"{store}: holds tokens of {one}, not of {other}; give another --output")
    added = {field.name: field.default for field in dataclasses.fields(Settings)}  # what an older version's plan lacks
    for name, value in new["settings"].items():
        before = old["settings"].get(name, added[name])
        if before != value:
            raise CorpusError(f"{store}: was begun with {name} {before!r}, not {value!r}; give the same, or another --output")
    if old["source"] != new["source"]:
        raise CorpusError(
            f"{store}: was begun with other sources ({old['items']} items, now {new['items']}, or their names, sizes or "
            "columns changed); give the same, or another --output"
        )
