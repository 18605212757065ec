"""Compare variable bitrate with a constant K, clip by clip at equal sizes.

ecdc bench vbr --model nano-48k                     # or --packed runs/audio/packed48; --json FILE keeps the figures
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline import decode_file, encode_file
from ..codec.vbr import Target
from .codecs.base import fit_length
from .codecs.ours import loaded
from .corpus import Clip, bundled, packed
from .metrics import mel, si_sdr
from .options import KBPS, SECONDS
from .report import interval
from .rows import json_option, write_json

KINDS = "fixed", "variable"


def compare(model: str, clip: Clip, kbps: float, folder: Path) -> dict[str, Any]:
    """Code a clip at a fixed rate, then with a variable rate at the same real bitrate; return both results."""
    codec = loaded(model)
    wav, coded, back = (folder / name for name in ("in.wav", "a.ecdc", "out.wav"))
    soundfile.write(wav, clip.audio, clip.sample_rate, subtype="FLOAT")
    row: dict[str, Any] = {"clip": clip.name, "kbps": kbps}
    fixed = None
    for name in KINDS:
        found = encode_file(wav, coded, codec, kbps=kbps, channels=1, vbr=Target(fixed.kbps) if fixed else None)
        fixed = fixed or found
        decode_file(coded, back, codec)
        audio = fit_length(soundfile.read(back, dtype="float32")[0], len(clip.audio))
        row[name] = {
            "bytes": found.n_bytes,
            "mel": mel.measure(clip.audio, audio, clip.sample_rate),
            "si_sdr": si_sdr.measure(clip.audio, audio, clip.sample_rate),
        }
    return row


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of means at each rate, with the paired difference in mel distance and its bootstrap 95 % interval."""
    head = "nominal kbps", "bytes, variable / fixed", "mel, fixed", "mel, variable", "difference", "SI-SDR, fixed", "variable"
    lines = ["| " + " | ".join(head) + " |", "|---:" * len(head) + "|"]
    for kbps in sorted({row["kbps"] for row in rows}):
        own = [row for row in rows if row["kbps"] == kbps]
        fixed, variable = ({key: np.array([row[kind][key] for row in own]) for key in own[0][kind]} for kind in KINDS)
        gain = variable["mel"] - fixed["mel"]
        cells = (
            f"{kbps:g}",
            f"{variable['bytes'].sum() / fixed['bytes'].sum():.3f}",
            f"{fixed['mel'].mean():.3f}",
            f"{variable['mel'].mean():.3f}",
            f"{gain.mean():+.3f} ± {interval(gain):.3f}",
            f"{fixed['si_sdr'].mean():.1f}",
            f"{variable['si_sdr'].mean():.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{len({row['clip'] for row in rows})} clips, seed 0; less mel distance is better."]
    return "\n".join(lines)


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Bundled model, or a folder.")
@click.option("--packed", "folder", type=click.Path(path_type=Path), help="Packed audio, whose validation slice is used.")
@click.option("--seconds", type=SECONDS, default=20.0, show_default=True, help="Seconds of each clip of packed audio.")
@click.option("--kbps", "rates", type=KBPS, multiple=True, default=(3.0, 6.0), show_default=True)
@json_option
def main(model: str, folder: Path | None, seconds: float, rates: tuple[float, ...], target: Path | None) -> None:
    """Compare variable and fixed bitrate at the same file size, and print a table."""
    rate = loaded(model).sample_rate
    clips = list(packed(folder, rate, seconds) if folder else bundled(rate))
    with tempfile.TemporaryDirectory() as room:
        rows = [compare(model, clip, kbps, Path(room)) for clip in clips for kbps in rates]
    click.echo(markdown(rows))
    write_json(rows, target)


if __name__ == "__main__":
    main()
