"""Measure what more encoder effort gains, and what it costs.

    ecdc bench effort runs/nano-48k/model --packed runs/audio/packed48 --rate 48000

Every clip is encoded with each effort at each bitrate, in turn, so that a busy machine disturbs all of them alike. Times are
processor time of the whole encoder relative to the first effort. A file that was encoded with many codebooks may be cut to
fewer later: `--peel` measures that too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..codec.audio import resample_all
from ..codec.effort import PATHS
from ..codec.pipeline_parts import to_array
from ..codec.runtime import open_codec
from ..codec.threads import settle
from .codecs.base import fit_length
from .corpus import Clip, packed
from .designs import markdown, measures
from .options import KBPS
from .rows import clip_options, describe_clips, json_option, write_json

KEYS = "zimtohrli", "visqol", "pesq", "si_sdr"
DISTINCT = tuple(effort for effort, paths in enumerate(PATHS) if paths not in PATHS[:effort])  # the first effort of each search
Rows = list[dict[str, Any]]


def compare(codec: Any, clip: Clip, efforts: Sequence[int], rates: Sequence[float], peel: tuple[float, float] | None) -> Rows:
    """Code a clip with every effort at every bitrate; return one row for each. Rows of peeled codes have a `peeled` rate."""
    wav = resample_all(clip.audio[None], clip.sample_rate, codec.sample_rate)[None]
    rows = []
    for kbps in rates:
        times, codes = timed(codec, wav, efforts, codec.config.codebooks_for(kbps))
        for effort in efforts:
            row = {"clip": clip.name, "kind": clip.kind, "codec": f"effort {effort}", "kbps": kbps}
            slower = float(np.median(times[effort] / times[efforts[0]]))
            rows.append({**row, "time": slower, **figures(codec, clip, codes[effort], wav.shape[2])})
            if peel and kbps == peel[0]:
                kept = codes[effort][:, : codec.config.codebooks_for(peel[1])]
                rows.append({**row, "kbps": peel[1], "peeled": kbps, **figures(codec, clip, kept, wav.shape[2])})
    return rows


def timed(
    codec: Any, wav: np.ndarray, efforts: Sequence[int], k: int, repeats: int = 3
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Encode with every effort in turn; return the seconds [repeats] and the codes of each."""
    seconds: dict[int, list[float]] = {effort: [] for effort in efforts}
    codes = {}
    for _ in range(repeats):
        for effort in efforts:
            began = time.process_time()
            codes[effort] = to_array(codec.encode(wav, n_codebooks=k, effort=effort))
            seconds[effort].append(time.process_time() - began)
    return {effort: np.array(values) for effort, values in seconds.items()}, codes


def figures(codec: Any, clip: Clip, codes: np.ndarray, n_samples: int) -> dict[str, float | None]:
    """Return the quality of codes [1, K, T] of a clip."""
    decoded = resample_all(to_array(codec.decode(codes, n_samples))[0], codec.sample_rate, clip.sample_rate)[0]
    audio = fit_length(decoded, len(clip.audio))
    return measures(clip, audio, float(codec.config.frame_rate), KEYS)


def tables(rows: Rows) -> Iterator[str]:
    """Return a table of all bitrates, and one of peeled codes if there are some."""
    yield markdown([row for row in rows if "peeled" not in row])
    peeled = [row for row in rows if "peeled" in row]
    if peeled:
        yield f"\nEncoded at {peeled[0]['peeled']:g} kbps and cut:\n\n{markdown(peeled)}"


@click.command()
@click.argument("model")
@clip_options(seconds=4.0, per_group=4)
@click.option("--kbps", "rates", type=KBPS, multiple=True, default=(1.5, 3.0, 6.0, 12.0), show_default=True)
@click.option("--effort", "efforts", type=click.IntRange(0, 10), multiple=True, default=DISTINCT, show_default=True)
@click.option("--peel", type=(KBPS, KBPS), help="Cut codes of one bitrate to another, both in kbps.")
@json_option
def main(
    model: str, folder: Path, rate: int, seconds: float, per_group: int, rates: tuple[float, ...],
    efforts: tuple[int, ...], peel: tuple[float, float] | None, target: Path | None,
) -> None:  # fmt: skip
    """Measure what more encoder effort gains and costs, and print a table."""
    settle(1)
    codec = open_codec(model)
    rows: Rows = []
    for clip in packed(folder, rate, seconds, per_group):
        rows += compare(codec, clip, efforts, rates, peel)
        click.echo(clip.name, err=True)
        write_json(rows, target)
    click.echo("\n".join(tables(rows)))
    click.echo(f"\n{describe_clips(len({row['clip'] for row in rows}), seconds, rate)}")


if __name__ == "__main__":
    main()
