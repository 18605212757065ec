"""Parquet shards in the layout of the Hugging Face hub: `datasets.load_dataset(FOLDER)` opens them."""

from __future__ import annotations

from typing import Any

from . import parquet

README = "README.md"


def files(shard: int, n_shards: int) -> list[str]:
    """Return the name of a shard."""
    return [f"data/train-{shard:05d}-of-{n_shards:05d}.parquet"]


write = parquet.write


def card(manifest: dict[str, Any]) -> str:
    """Return the text of the dataset's card, which tells `datasets` where the shards are."""
    return (
        "---\n"
        "configs:\n"
        "- config_name: default\n"
        "  data_files:\n"
        "  - split: train\n"
        "    path: data/train-*.parquet\n"
        "---\n\n"
        f"Audio tokens of the codec {manifest['model']} at {manifest['settings']['kbps']:g} kbps, "
        f"{manifest['frame_rate']:g} frames a second, written by ecdc {manifest['ecdc']}. "
        f"{manifest['counts']['done']} recordings, {manifest['seconds'] / 3600:.2f} hours. "
        f"Token space: {manifest['token_space']}.\n"
    )
