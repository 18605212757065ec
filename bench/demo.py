"""Encode and decode the bundled clips: sizes, speed, quality and a picture.

ecdc bench demo --output demo
"""

from __future__ import annotations

import time
from pathlib import Path

import av
import click
import numpy as np
import soundfile

from ..codec.audio import resample_all
from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline import decode_file, encode_file
from ..codec.protocols import Model
from ..codec.runtime import open_codec
from .codecs.base import fit_length
from .corpus import CLIPS
from .metrics import mel, si_sdr
from .options import KBPS

DEMO_CLIPS = (CLIPS / "music_cavern.flac", CLIPS / "speech_it.flac")  # with the rates and channels of the recordings


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--kbps", type=KBPS, default=6.0, show_default=True)
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
def main(output: Path, kbps: float, model: str) -> None:
    """Encode and decode the bundled clips and show the results."""
    output.mkdir(parents=True, exist_ok=True)
    codec = open_codec(model)
    encode_file(CLIPS / "speech_it.flac", output / "warm-up.ecdc", codec, kbps=kbps)  # the first calls compile and allocate
    (output / "warm-up.ecdc").unlink()
    click.echo("| clip | seconds | channels | bytes | real kbps | encode x | decode x | SI-SDR dB | mel distance |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    pairs = []
    for clip in DEMO_CLIPS:
        row, pair = run_clip(clip, output, codec, kbps)
        click.echo(row)
        opus, kbps_of_opus = opus_within(pair[0], codec.sample_rate, (output / f"{clip.stem}.ecdc").stat().st_size)
        pairs.append((clip.stem, *pair, opus))
        click.echo(f"    Opus beside it in the picture: {kbps_of_opus:.2f} kbps without its container")
    picture = output / "spectrograms.png"
    draw(pairs, codec.sample_rate, picture)
    click.echo(
        f"\nFiles and {picture.name} are in {output}/ (x: times real time; originals and licences: bench/clips/README.md)"
    )


def run_clip(clip: Path, output: Path, codec: Model, kbps: float) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """Return one row of the table, and the original and decoded audio [N] at the codec's rate."""
    coded, decoded = output / f"{clip.stem}.ecdc", output / f"{clip.stem}.wav"
    began = time.perf_counter()
    result = encode_file(clip, coded, codec, kbps=kbps)
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
    """Read a file as mono at `sample_rate`: the mean of its channels, float32 [N]."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample_all(audio.mean(1)[None], rate, sample_rate)[0]


def opus_within(audio: np.ndarray, sample_rate: int, n_bytes: int) -> tuple[np.ndarray, float]:
    """Code audio [N] with Opus at the highest bitrate whose packets take at most `n_bytes`; return (decoded [N], kbps).

    The lowest bitrate of Opus is 6 kbps; it is used even if it takes more.
    """
    best = opus_at(audio, sample_rate, 6000)
    for bits_per_second in range(6500, 32_001, 500):
        found = opus_at(audio, sample_rate, bits_per_second)
        if found[1] > n_bytes:
            break
        best = found
    return best[0], 8 * best[1] * sample_rate / len(audio) / 1000


def opus_at(audio: np.ndarray, sample_rate: int, bits_per_second: int) -> tuple[np.ndarray, int]:
    """Code audio [N] with libopus at a bitrate; return (decoded [N], bytes of all packets)."""
    encoder, decoder = av.CodecContext.create("libopus", "w"), av.CodecContext.create("opus", "r")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = 48_000, "mono", "flt", bits_per_second
    encoder.options = {"frame_duration": "60"}
    samples = resample_all(audio[None], sample_rate, 48_000)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "flt", "mono")
    frame.sample_rate = 48_000
    fifo = av.AudioFifo()
    fifo.write(frame)
    packets = []
    while (part := fifo.read(2880) or fifo.read(0, partial=True)) is not None:
        packets += encoder.encode(part)
    packets += encoder.encode(None)
    decoder.sample_rate, decoder.layout, decoder.extradata = 48_000, "mono", encoder.extradata
    decoded = np.concatenate([f.to_ndarray().reshape(-1) for p in packets for f in decoder.decode(p)])
    back = resample_all(decoded[None].astype(np.float32), 48_000, sample_rate)[0]
    return fit_length(back, len(audio)), sum(p.size for p in packets)


def draw(pairs: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]], sample_rate: int, path: Path) -> None:
    """Draw spectrograms: one column per clip, with the original, the decoded clip and Opus from top to bottom."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(pairs), figsize=(6 * len(pairs), 8), sharey=True, squeeze=False, layout="constrained")
    for column, (name, *signals) in enumerate(pairs):
        titles = f"{name}: original", "ecdc", "Opus at as many bytes"
        for row, (signal, title) in enumerate(zip(signals, titles, strict=True)):
            axis = axes[row, column]
            _, _, _, image = axis.specgram(signal + 1e-7, NFFT=1024, Fs=sample_rate, noverlap=768, vmin=-120, vmax=-20)
            axis.set_title(title)
            if row == 2:
                axis.set_xlabel("time (s)")
            axis.set_ylabel("frequency (Hz)")
    figure.colorbar(image, ax=axes, label="level (dB)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
