"""Compare codecs at equal bitrates on clips that are not in the training set, to choose between designs.

    ecdc bench designs --packed runs/audio/packed nano-24k runs/nano-48k/model-020000

Bitrates are nominal, because a design in training has no entropy prior. Every codec receives audio at its own rate, and
its output is compared at `--rate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ..codec.audio import resample_all
from ..codec.checkpoints import load
from ..codec.effort import file_effort
from ..codec.model import Codec
from ..train.codec.losses import tile_loss
from .artifacts import buzz_db, hum_db, pre_echo_db
from .codecs.base import fit_length
from .corpus import Clip, packed
from .metrics import Undefined, score
from .options import KBPS
from .report import interval
from .rows import clip_options, describe_clips, jobs_option, json_option, rows_of_clips, write_json

CORE_RATE = 24_000  # Hz, at which levels are compared
NAMES = {
    "zimtohrli": "Zimtohrli", "visqol": "ViSQOL", "pesq": "PESQ", "mel": "mel", "si_sdr": "SI-SDR (dB)",
    "level": "level error (dB)", "hum": "hum (dB)", "buzz": "buzz (dB)", "pre_echo": "pre-echo (dB)", "time": "encode time",
}  # fmt: skip


@lru_cache(maxsize=8)
def codec_of(name: str) -> Codec:
    """Load a codec, once in each process."""
    torch.set_num_threads(1)
    return load(name)


def measures(clip: Clip, audio: np.ndarray, frame_rate: float, keys: Sequence[str]) -> dict[str, float | None]:
    """Return all figures of one decoded clip [N] at the clip's rate; None for each undefined one."""
    rate = clip.sample_rate
    found: dict[str, float | None] = {key: score(key, clip.audio, audio, rate, clip.kind)[0] for key in keys}
    estimate, target = (torch.from_numpy(resample_all(x[None], rate, CORE_RATE)[None].copy()) for x in (audio, clip.audio))
    found["level"] = float(tile_loss(estimate, target, CORE_RATE))
    figures = {
        "hum": lambda: hum_db(audio, rate, frame_rate) - hum_db(clip.audio, rate, frame_rate),
        "buzz": lambda: buzz_db(audio, rate, frame_rate) - buzz_db(clip.audio, rate, frame_rate),
        "pre_echo": lambda: pre_echo_db(clip.audio, audio, rate),
    }
    for key, figure in figures.items():
        try:
            found[key] = figure()
        except Undefined:
            found[key] = None
    return found


def compare(clip: Clip, names: Sequence[str], rates: Sequence[float], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Code a clip with every codec at every bitrate, as files are coded; return one row for each."""
    rows = []
    for name in names:
        codec = codec_of(name)
        wav = torch.from_numpy(resample_all(clip.audio[None], clip.sample_rate, codec.sample_rate))[None]
        for kbps in rates:
            codes = codec.encode(wav, kbps, effort=file_effort(codec.config))
            decoded = codec.decode(codes, wav.shape[2])[0].numpy()
            audio = resample_all(decoded, codec.sample_rate, clip.sample_rate)[0]
            audio = fit_length(audio, len(clip.audio))
            found = measures(clip, audio, float(codec.config.frame_rate), keys)
            rows.append({"clip": clip.name, "kind": clip.kind, "codec": name, "kbps": kbps, **found})
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of means per codec and bitrate, with paired differences to the first codec and 95 % intervals."""
    names, rates = list(dict.fromkeys(row["codec"] for row in rows)), sorted({row["kbps"] for row in rows})
    keys = [key for key in NAMES if any(row.get(key) is not None for row in rows)]
    lines = ["| kbps | codec | " + " | ".join(NAMES[key] for key in keys) + " |", "|---:|---|" + "---:|" * len(keys)]
    for kbps in rates:
        for name in names:
            cells = [_cell(rows, kbps, (names[0], name), key) for key in keys]
            lines.append(f"| {kbps:g} | {'/'.join(Path(name).parts[-2:])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[dict[str, Any]], kbps: float, names: tuple[str, str], key: str) -> str:
    one, two = ({row["clip"]: row[key] for row in rows if row["kbps"] == kbps and row["codec"] == name} for name in names)
    pairs = np.array([(one[clip], two[clip]) for clip in two if None not in (one[clip], two[clip])], dtype=float)
    if not len(pairs):
        return ""
    gain = pairs[:, 1] - pairs[:, 0]
    tail = "" if names[0] == names[1] else f" ({gain.mean():+.2f} ± {interval(gain):.2f})"
    return f"{pairs[:, 1].mean():.2f}{tail}"


@click.command()
@click.argument("codecs", nargs=-1, required=True)
@clip_options(seconds=6.0, per_group=4)
@click.option("--kbps", "rates", type=KBPS, multiple=True, default=(1.5, 3.0, 6.0, 12.0), show_default=True)
@click.option("--metric", "keys", multiple=True, default=("zimtohrli", "pesq", "mel", "si_sdr"), show_default=True)
@jobs_option
@json_option
def main(
    codecs: tuple[str, ...], folder: Path, rate: int, seconds: float, per_group: int,
    rates: tuple[float, ...], keys: tuple[str, ...], jobs: int, target: Path | None,
) -> None:  # fmt: skip
    """Compare CODECS on validation clips, and print a table."""
    clips = list(packed(folder, rate, seconds, per_group))
    rows = rows_of_clips(partial(compare, names=codecs, rates=rates, keys=keys), clips, jobs)
    click.echo(markdown(rows))
    click.echo(f"\n{describe_clips(len(clips), seconds, rate)}")
    write_json(rows, target)


if __name__ == "__main__":
    main()
