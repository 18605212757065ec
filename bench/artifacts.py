"""Measure artifacts that listeners notice at once: one figure each for a decoded clip, compared with its reference.

    ecdc bench artifacts                              # or --packed runs/audio/packed48; --json FILE keeps it

They are not quality scores: a figure near that of the reference means that the artifact is absent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import butter, sosfiltfilt

from ..codec.bundled import bundled_names
from .codecs import Coder, Missing, parse
from .codecs.ours import Ours, loaded
from .corpus import Clip, bundled, packed
from .metrics import Undefined
from .options import NEW_FILE
from .rows import write_json

SILENCE_SECONDS = 1.0  # digital silence appended to every clip
FRAME_RATE = 50.0  # frames per second of nano-48k and of Opus


def hum_db(audio: np.ndarray, sample_rate: int, frame_rate: float = FRAME_RATE) -> float:
    """Return how strongly the level above 2 kHz pulses at the frame rate, in dB; near 0 for natural sound.

    Compares the spectral lines of the envelope at `frame_rate` and its harmonics with the spectrum around them. Raises
    Undefined for less than two seconds.
    """
    band = sosfiltfilt(butter(4, 2000, "highpass", fs=sample_rate, output="sos"), audio)
    envelope = np.square(band)
    step = sample_rate // 1200  # the envelope at about 1200 Hz
    envelope = envelope[: len(envelope) // step * step].reshape(-1, step).mean(1)
    rate = sample_rate / step
    if len(envelope) < 2 * rate:
        raise Undefined("the clip is shorter than two seconds")
    size = int(2 * rate)  # lines half a hertz apart
    frames = sliding_window_view(envelope, size)[:: size // 4] * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(frames))).mean(0)
    found = []
    for harmonic in range(1, 5):
        at = round(frame_rate * harmonic / rate * size)
        around = np.r_[power[at - 24 : at - 8], power[at + 9 : at + 25]]
        found.append(power[at - 1 : at + 2].max() / np.sort(around)[-len(around) // 4])  # noise has peaks too
    return float(10 * np.log10(max(np.mean(found), 1e-9)))


def buzz_db(audio: np.ndarray, sample_rate: int, frame_rate: float = FRAME_RATE) -> float:
    """Return how much of the waveform above 3 kHz repeats from frame to frame, in dB over chance; near 0 for natural sound.

    A decoder that fills bands with the same waveform in every frame has the right levels, but is heard as a buzz at the frame
    rate. The mean of n frames of equal power that have nothing in common has 1/n of their power. Frames below -80 dBFS do not
    count. Raises Undefined if fewer than 50 frames are left.
    """
    hop = round(sample_rate / frame_rate)
    band = sosfiltfilt(butter(4, 3000, "highpass", fs=sample_rate, output="sos"), audio)
    frames = band[: len(band) // hop * hop].reshape(-1, hop)
    power = np.square(frames).mean(1)
    if (power > 1e-8).sum() < 50:
        raise Undefined("fewer than 50 frames have sound above 3 kHz")
    frames = frames[power > 1e-8] / np.sqrt(power[power > 1e-8, None])
    return float(10 * np.log10(np.square(frames.mean(0)).mean() * len(frames)))


def pre_echo_db(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the energy in the 10 ms before attacks, in dB over that of the reference.

    Attacks rise 20 dB within 5 ms. Energy 60 dB below the attack is ignored, because it is masked. Raises Undefined if there
    is no attack.
    """
    hop = round(0.0025 * sample_rate)
    levels = [np.square(x[: len(x) // hop * hop].reshape(-1, hop)).mean(1) for x in (reference, degraded)]
    wanted = levels[0]
    before = sliding_window_view(wanted, 4).max(1)  # level in the 10 ms from i on
    after = sliding_window_view(wanted, 2).max(1)
    n = len(wanted) - 8
    attacks = [i for i in range(max(0, n)) if after[i + 5] > 100 * before[i] and after[i + 5] > 1e-4]
    if not attacks:
        raise Undefined("there is no attack")
    ratios = []
    for i in attacks:
        floor = 1e-6 * after[i + 5]
        ratios.append((levels[1][i : i + 4].mean() + floor) / (wanted[i : i + 4].mean() + floor))
    return float(10 * np.log10(np.mean(ratios)))


def clicks_db(audio: np.ndarray, hop: int) -> float:
    """Return how much rougher the signal is at one place of each frame of `hop` samples than elsewhere, in dB; 0: no clicks."""
    rough = np.square(np.diff(audio.astype(np.float64), 3))
    rough = rough[: len(rough) // hop * hop].reshape(-1, hop)
    rough = np.minimum(rough, 100 * np.median(rough) + 1e-12).mean(0)  # limits a loud attack, which is no pattern
    smooth = np.convolve(np.r_[rough[-2:], rough, rough[:2]], np.ones(5) / 5, "valid")
    return float(10 * np.log10(smooth.max() / np.median(smooth)))


def silence_dbfs(degraded: np.ndarray, sample_rate: int) -> float:
    """Return the level of the loudest 20 ms in the appended silence, without its first 100 ms, in dBFS; at least -120."""
    tail = degraded[-round((SILENCE_SECONDS - 0.1) * sample_rate) :]
    size = round(0.02 * sample_rate)
    power = np.square(tail[: len(tail) // size * size].reshape(-1, size)).mean(1).max()
    return float(max(-120.0, 10 * np.log10(power + 1e-13)))


def high_band_db(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Return the level above 8 kHz, in dB over that of the reference; raises Undefined if the reference has almost none."""
    sos = butter(6, 8000, "highpass", fs=sample_rate, output="sos")
    one, two = (float(np.square(sosfiltfilt(sos, x)).sum()) for x in (reference, degraded))
    if one < 1e-6 * float(np.square(reference).sum()):
        raise Undefined("the reference has nothing above 8 kHz")
    return float(10 * np.log10(max(two / one, 1e-9)))


NAMES = ("hum (dB)", "buzz (dB)", "pre-echo (dB)", "clicks (dB)", "silence (dBFS)", "above 8 kHz (dB)")


def measure(
    reference: np.ndarray, degraded: np.ndarray, sample_rate: int, frame_rate: float = FRAME_RATE
) -> dict[str, float | None]:
    """Return all figures of a clip [N] with appended silence; None for each undefined one."""
    sound = slice(0, len(reference) - round(SILENCE_SECONDS * sample_rate))
    one, two = reference[sound], degraded[sound]
    hop = round(sample_rate / frame_rate)
    figures: Sequence[Callable[[], float]] = (
        lambda: hum_db(two, sample_rate, frame_rate) - hum_db(one, sample_rate, frame_rate),
        lambda: buzz_db(two, sample_rate, frame_rate) - buzz_db(one, sample_rate, frame_rate),
        lambda: pre_echo_db(one, two, sample_rate),
        lambda: clicks_db(two, hop) - clicks_db(one, hop),
        lambda: silence_dbfs(degraded, sample_rate),
        lambda: high_band_db(one, two, sample_rate),
    )
    found: dict[str, float | None] = {}
    for name, figure in zip(NAMES, figures, strict=True):
        try:
            found[name] = figure()
        except Undefined:
            found[name] = None
    return found


def frame_rate_of(coder: Coder) -> float:
    """Return the frames per second of one of our models; FRAME_RATE for other codecs."""
    return float(loaded(coder.model).config.frame_rate) if isinstance(coder, Ours) else FRAME_RATE


def rows(clips: Sequence[Clip], coders: Sequence[Coder]) -> list[dict[str, float | str | None]]:
    """Return the mean of each figure for each codec, over the clips for which it is defined; for silence, the worst value."""
    out = []
    for coder in coders:
        found = []
        for clip in clips:
            audio = np.r_[clip.audio, np.zeros(round(SILENCE_SECONDS * clip.sample_rate), np.float32)]
            with tempfile.TemporaryDirectory() as folder:
                decoded = coder.code(audio, clip.sample_rate, Path(folder)).audio
            found.append(measure(audio, decoded, clip.sample_rate, frame_rate_of(coder)))
        row: dict[str, float | str | None] = {"codec": coder.name}
        for name in NAMES:
            values = [one[name] for one in found if one[name] is not None]
            row[name] = None if not values else round(float(max(values) if "dBFS" in name else np.mean(values)), 2)  # type: ignore[type-var, arg-type]
        out.append(row)
    return out


def markdown(found: Sequence[dict[str, float | str | None]]) -> str:
    """Return a table with one line per codec, of the figures that were measured."""
    names = [name for name in NAMES if any(name in row for row in found)]
    lines = ["| codec | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        "| " + " | ".join("-" if row.get(key) is None else str(row[key]) for key in ("codec", *names)) + " |" for row in found
    ]
    return "\n".join(lines)


@click.command()
@click.option("--packed", "folder", type=click.Path(path_type=Path), help="Packed audio, whose validation slice is used.")
@click.option("--codec", "codecs", multiple=True, default=(*bundled_names(), "opus:6,12"), show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(folder: Path | None, codecs: tuple[str, ...], target: Path | None) -> None:
    """Print a table of artifacts."""
    clips = list(packed(folder, 24_000, 8.0) if folder else bundled(24_000))
    coders = [coder for text in codecs for coder in parse(text)]
    try:
        found = rows(clips, coders)
    except Missing as error:
        raise click.ClickException(str(error)) from error
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
