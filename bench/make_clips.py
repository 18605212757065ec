"""Cut the bundled clips from the validation slice of the training packages, as listed in clips/clips.toml.

    python -m ecdc.bench.make_clips runs/audio/tree        # after `ecdc train fetch --output runs/audio`

Existing clips are not changed; the checksums of all clips are written into clips.toml.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr

from ..format.errors import ArgumentError
from ..train.data.decode import decode_g722
from ..train.data.sources import is_validation
from .corpus import CLIPS, catalogue

SAMPLE_RATE = 24_000  # Hz
PAUSE_SECONDS = 0.25  # between the parts of a clip


def read_part(tree: Path, part: str) -> np.ndarray:
    """Read 'package/path[@start+seconds]' as mono float32 [N] at SAMPLE_RATE; raises ValueError if it was training data."""
    name, _, span = part.partition("@")
    if not is_validation(name):
        raise ArgumentError(f"{name}: is not in the validation slice")
    path = tree / name
    audio, rate = decode_g722(path.read_bytes()) if path.suffix == ".g722" else soundfile.read(path, dtype="float32")
    audio = audio.mean(1) if audio.ndim == 2 else audio
    if span:
        start, seconds = (float(x) for x in span.split("+"))
        audio = audio[round(start * rate) : round((start + seconds) * rate)]
    return soxr.resample(audio, rate, SAMPLE_RATE, quality="VHQ")


def make(tree: Path, parts: list[str]) -> np.ndarray:
    """Join the parts with pauses in between: float32 [N], peak at most 1."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    pieces = [piece for part in parts for piece in (pause, read_part(tree, part))][1:]
    audio = np.concatenate(pieces)
    return audio / max(1.0, float(np.abs(audio).max()))


@click.command()
@click.argument("tree", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(tree: Path) -> None:
    """Make the clips that are missing and write down every checksum."""
    listing = (CLIPS / "clips.toml").read_text(encoding="utf-8")
    listing = re.sub(r'^sha256 = ".*"\n', "", listing, flags=re.M)
    for row in catalogue():
        path = CLIPS / row["file"]
        if not path.exists():
            soundfile.write(path, make(tree, row["parts"]), SAMPLE_RATE, subtype="PCM_16")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        listing = listing.replace(f'file = "{row["file"]}"\n', f'file = "{row["file"]}"\nsha256 = "{digest}"\n')
        click.echo(f"{row['file']}: {soundfile.info(path).duration:.1f} s, {path.stat().st_size} bytes")
    (CLIPS / "clips.toml").write_text(listing, encoding="utf-8")


if __name__ == "__main__":
    main()
