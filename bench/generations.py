"""What is left of audio that is decoded and coded again, several times: codes that stay, and quality.

    ecdc bench generations nano-24k nano-48k --packed runs/audio/packed48

Generation 1 is the first decoding. A code of generation g is kept if it equals the code of generation 1 at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ..codec.audio import resample_all
from ..codec.effort import file_effort
from ..codec.model import Codec
from .codecs.base import fit_length
from .corpus import Clip, packed
from .designs import codec_of
from .metrics import score
from .options import KBPS
from .rows import clip_options, describe_clips, jobs_option, json_option, rows_of_clips, write_json

GENERATIONS = (1, 3, 5)
NAMES = {"zimtohrli": "Zimtohrli", "visqol": "ViSQOL", "pesq": "PESQ", "mel": "mel"}


def recode(
    codec: Codec, wav: np.ndarray, n_codebooks: int, n_generations: int, **how: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Code audio [1, N] again and again; return the codes [K, T] and the decoded audio [1, N] of each generation."""
    found = []
    for _ in range(n_generations):
        codes = codec.encode(torch.from_numpy(np.ascontiguousarray(wav))[None], n_codebooks=n_codebooks, **how)
        wav = codec.decode(codes, wav.shape[1])[0].numpy()
        found.append((codes[0].numpy(), wav))
    return found


def rows_of(clip: Clip, names: Sequence[str], rates: Sequence[float], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Code a clip repeatedly with every codec at every bitrate; return one row for each of GENERATIONS."""
    rows = []
    for name in names:
        codec = codec_of(name)
        wav = resample_all(clip.audio[None], clip.sample_rate, codec.sample_rate)
        for kbps in rates:
            books, effort = codec.config.codebooks_for(kbps), file_effort(codec.config)  # as files are coded
            found = recode(codec, wav, books, max(GENERATIONS), effort=effort)
            for generation in GENERATIONS:
                codes, decoded = found[generation - 1]
                audio = resample_all(decoded, codec.sample_rate, clip.sample_rate)[0]
                audio = fit_length(audio, len(clip.audio))
                row = {key: score(key, clip.audio, audio, clip.sample_rate, clip.kind)[0] for key in keys}
                kept = float((codes == found[0][0]).mean())
                rows.append({"clip": clip.name, "codec": name, "kbps": kbps, "generation": generation, "kept": kept, **row})
    return rows


def markdown(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    """Return a table of means over clips."""
    groups: dict[tuple[float, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["kbps"], row["codec"], row["generation"]), []).append(row)
    lines = ["| kbps | codec | generation | codes kept | " + " | ".join(NAMES[key] for key in keys) + " |"]
    lines.append("|---:|---|---:|---:|" + "---:|" * len(keys))
    for (kbps, codec, generation), group in sorted(groups.items()):
        means = [[row[key] for row in group if row[key] is not None] for key in keys]
        cells = " | ".join(f"{np.mean(values):.2f}" if values else "" for values in means)
        kept = np.mean([row["kept"] for row in group])
        lines.append(f"| {kbps:g} | {'/'.join(Path(codec).parts[-2:])} | {generation} | {kept:.0%} | {cells} |")
    return "\n".join(lines)


@click.command()
@click.argument("codecs", nargs=-1, required=True)
@clip_options(seconds=4.0, per_group=2)
@click.option("--kbps", "rates", type=KBPS, multiple=True, default=(3.0, 6.0, 12.0), show_default=True)
@click.option("--metric", "keys", multiple=True, default=tuple(NAMES), show_default=True, type=click.Choice([*NAMES]))
@jobs_option
@json_option
def main(
    codecs: tuple[str, ...], folder: Path, rate: int, seconds: float, per_group: int,
    rates: tuple[float, ...], keys: tuple[str, ...], jobs: int, target: Path | None,
) -> None:  # fmt: skip
    """Print the share of codes that stay, and the quality, after 1, 3 and 5 generations."""
    clips = list(packed(folder, rate, seconds, per_group))
    rows = rows_of_clips(partial(rows_of, names=codecs, rates=rates, keys=keys), clips, jobs)
    click.echo(markdown(rows, keys))
    click.echo(f"\n{describe_clips(len(clips), seconds, rate)}")
    write_json(rows, target)


if __name__ == "__main__":
    main()
