"""Encode and decode the bundled clips: sizes, speed, quality and a picture.

python -m ecdc.bench.demo --output demo
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import soundfile

from ..codec.audio import resample_all
from ..codec.checkpoints import load
from ..codec.model import Codec
from ..codec.pipeline import decode_file, encode_file
from .codecs.base import fit_length
from .corpus import CLIPS
from .metrics import mel, si_sdr

DEMO_CLIPS = (CLIPS / "music_cavern.flac", CLIPS / "speech_it.flac")  # at their recordings' own rates and channels


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--kbps", type=float, default=6.0, show_default=True)
@click.option("--model", default="nano-24k", show_default=True)
def main(output: Path, kbps: float, model: str) -> None:
    """Encode and decode the bundled clips and show what came of it."""
    output.mkdir(parents=True, exist_ok=True)
    codec = load(model)
    encode_file(CLIPS / "speech_it.flac", output / "warm-up.ecdc", codec, kbps)  # first calls compile and allocate
    (output / "warm-up.ecdc").unlink()
    click.echo("| clip | seconds | channels | bytes | real kbps | encode x | decode x | SI-SDR dB | mel distance |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    pairs = []
    for clip in DEMO_CLIPS:
        row, pair = run_clip(clip, output, codec, kbps)
        click.echo(row)
        pairs.append((clip.stem, *pair))
    picture = output / "spectrograms.png"
    draw(pairs, codec.sample_rate, picture)
    click.echo(
        f"\nFiles and {picture.name} are in {output}/ (x: times real time; originals and licences: bench/clips/README.md)"
    )


def run_clip(clip: Path, output: Path, codec: Codec, kbps: float) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """One row of the table, and the original and decoded audio [N] at the codec's rate."""
    coded, decoded = output / f"{clip.stem}.ecdc", output / f"{clip.stem}.wav"
    began = time.perf_counter()
    result = encode_file(clip, coded, codec, kbps)
    middle = time.perf_counter()
    decode_file(coded, decoded, codec)
    end = time.perf_counter()
    reference, degraded = (mono_at(path, codec.sample_rate) for path in (clip, decoded))
    degraded = fit_length(degraded, len(reference))
    scores = [m.measure(reference, degraded, codec.sample_rate) for m in (si_sdr, mel)]
    row = (
        f"| {clip.stem} | {result.seconds:.2f} | {result.channels} | {result.n_bytes} | {result.kbps:.2f} | "
        f"{result.seconds / (middle - began):.0f} | {result.seconds / (end - middle):.0f} | {scores[0]:.1f} | {scores[1]:.2f} |"
    )
    return row, (reference, degraded)


def mono_at(path: Path, sample_rate: int) -> np.ndarray:
    """A file's mean channel at `sample_rate`, float32 [N]."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample_all(audio.mean(1)[None], rate, sample_rate)[0]


def draw(pairs: list[tuple[str, np.ndarray, np.ndarray]], sample_rate: int, path: Path) -> None:
    """Spectrograms, the original above the decoded, one column per clip."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(pairs), figsize=(6 * len(pairs), 6), sharey=True, squeeze=False, layout="constrained")
    for column, (name, *signals) in enumerate(pairs):
        for row, (signal, title) in enumerate(zip(signals, (f"{name}: original", "decoded"), strict=True)):
            axis = axes[row, column]
            _, _, _, image = axis.specgram(signal + 1e-7, NFFT=1024, Fs=sample_rate, noverlap=768, vmin=-120, vmax=-20)
            axis.set_title(title)
            axis.set_xlabel("time (s)")
            axis.set_ylabel("frequency (Hz)")
    figure.colorbar(image, ax=axes, label="level (dB)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
