"""WebDataset shards: tar files that hold KEY.ecdc and KEY.json of every item."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

from ...format.token_files import write as write_tokens
from .rows import Row, carried_name


def files(shard: int, n_shards: int) -> list[str]:
    """Return the name of a shard."""
    return [f"shard-{shard:06d}.tar"]


def write(open_new: Callable[[str], Any], names: list[str], rows: list[Row], about: dict[str, Any]) -> None:
    """Write a tar."""
    with open_new(names[0]) as path, tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            stream = io.BytesIO()
            write_tokens(row.tokens, stream)
            add(tar, f"{row.item.key}.ecdc", stream.getvalue())
            carried = {carried_name(name): value for name, value in row.item.columns.items()}
            text = json.dumps(row.facts() | carried, ensure_ascii=False, default=str)
            add(tar, f"{row.item.key}.json", text.encode("utf-8", "backslashreplace"))


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a member whose header holds nothing but its name and size."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))
