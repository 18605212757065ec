"""Compare the multi-band diffusion decoder with the convolutional one, on the same tokens, clip by clip.

ecdc bench decoders                # or --packed runs/audio/packed; --json FILE keeps the figures
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ..codec.diffusion.choose_decoder import with_decoder
from ..codec.model import Codec
from .artifacts import hum_db
from .codecs.ours import loaded
from .corpus import Clip, bundled, packed
from .metrics import metric, score
from .options import KBPS, SECONDS, SEED
from .report import interval
from .rows import jobs_option, json_option, rows_of_clips, write_json

MODEL = "nano-24k"  # the diffusion decoder is for its tokens
METRICS = "visqol", "zimtohrli", "mel", "si_sdr"
KINDS = "conv", "mbd"
BANDS = (0, 1500, 3000, 6000, 12_000)  # Hz: the bands of the diffusion decoder
TREBLE = 4000  # Hz
N_FFT = 1024  # samples
FLOOR_DB = -90.0  # dBFS, in the spectral distance


@lru_cache(maxsize=2)
def decoder(name: str, seed: int) -> Codec:
    """Load the codec with the decoder of that name or file, once in each process."""
    torch.set_num_threads(1)
    return with_decoder(loaded(MODEL), name, seed=seed)


def compare(clip: Clip, rates: Sequence[float], file: str, seed: int) -> list[dict[str, Any]]:
    """Decode a clip at each rate with both decoders; return one row per rate."""
    codes = loaded(MODEL).encode(torch.from_numpy(clip.audio)[None, None])
    rows = []
    for kbps in rates:
        row: dict[str, Any] = {"clip": clip.name, "kind": clip.kind, "kbps": kbps}
        for name, source in zip(KINDS, ("conv", file), strict=True):
            few = codes[:, : loaded(MODEL).config.codebooks_for(kbps)]
            audio = decoder(source, seed).decode(few, len(clip.audio))[0, 0].numpy()
            row[name] = measures(clip, audio)
        rows.append(row)
    return rows


def measures(clip: Clip, audio: np.ndarray) -> dict[str, float | None]:
    """Return all figures: metrics, hum, and the level error and spectral distance of each band."""
    rate = clip.sample_rate
    found = {key: score(key, clip.audio, audio, rate, clip.kind)[0] for key in METRICS}
    found["hum"] = hum_db(audio, rate) - hum_db(clip.audio, rate)
    wanted, got = power(clip.audio), power(audio)
    for low, high in [*pairwise(BANDS), (TREBLE, BANDS[-1])]:
        a, b = (p[:, bins(low, high, rate)] for p in (wanted, got))
        found[f"level {low}-{high}"] = abs(decibels(b.mean()) - decibels(a.mean()))
        distance = np.sqrt(np.square(decibels(a) - decibels(b)).mean(axis=1)).mean()
        found[f"distance {low}-{high}"] = float(distance)
    return found


def power(audio: np.ndarray) -> np.ndarray:
    """Return the short-time power [T, bins]; a full-scale sine has about 1 in its bin."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, N_FFT)[:: N_FFT // 4]
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(N_FFT))) / (N_FFT / 4))


def bins(low: float, high: float, rate: int) -> slice:
    """Return the bins of `power` in [low, high) Hz."""
    return slice(round(low * N_FFT / rate), round(high * N_FFT / rate))


def decibels(power: np.ndarray) -> Any:
    """Return decibels relative to full scale, at least FLOOR_DB."""
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return tables of both decoders' means and paired differences with bootstrap 95 % intervals, overall and by band."""
    treble = f"{TREBLE}-{BANDS[-1]}"
    columns = {metric(key).NAME: key for key in METRICS}
    columns |= {f"level error above {TREBLE / 1000:g} kHz, dB": f"level {treble}", "hum, dB": "hum"}
    parts = [_table(rows, columns, "metric")]
    bands = {f"{a / 1000:g}-{b / 1000:g} kHz": f"{a}-{b}" for a, b in pairwise(BANDS)}
    for name, key in (("level error, dB", "level"), ("spectral distance, dB", "distance")):
        parts.append(_table(rows, {band: f"{key} {span}" for band, span in bands.items()}, name))
    parts.append(f"{len({row['clip'] for row in rows})} clips. Levels, distances, hum and mel: less is better.")
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]], columns: dict[str, str], title: str) -> str:
    rates = sorted({row["kbps"] for row in rows})
    head = [title, *(f"{rate:g} kbps: {what}" for rate in rates for what in (*KINDS, "difference"))]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, key in columns.items():
        cells = [name]
        for rate in rates:
            cells += _cells([row for row in rows if row["kbps"] == rate], key)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(rows: Iterable[dict[str, Any]], key: str) -> list[str]:
    pairs = [(row["conv"][key], row["mbd"][key]) for row in rows]
    values = np.array([pair for pair in pairs if None not in pair], dtype=float)
    if not len(values):
        return ["", "", ""]
    gain = values[:, 1] - values[:, 0]
    return [f"{values[:, 0].mean():.2f}", f"{values[:, 1].mean():.2f}", f"{gain.mean():+.2f} ± {interval(gain):.2f}"]


@click.command()
@click.option("--packed", "folder", type=click.Path(path_type=Path), help="Packed audio, whose validation slice is used.")
@click.option("--seconds", type=SECONDS, default=6.0, show_default=True, help="Seconds of each clip of packed audio.")
@click.option("--decoder", "file", default="mbd", show_default=True, help="mbd, or a file of ecdc train mbd.")
@click.option("--kbps", "rates", type=KBPS, multiple=True, default=(1.5, 3.0, 6.0), show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the decoder's noise.")
@jobs_option
@json_option
def main(
    folder: Path | None, seconds: float, file: str, rates: tuple[float, ...], seed: int, jobs: int, target: Path | None
) -> None:
    """Compare the decoders of one token space, and print tables."""
    rate = loaded(MODEL).sample_rate
    clips = list(packed(folder, rate, seconds) if folder else bundled(rate))
    rows = rows_of_clips(partial(compare, rates=rates, file=file, seed=seed), clips, jobs)
    click.echo(markdown(rows))
    write_json(rows, target)


if __name__ == "__main__":
    main()
