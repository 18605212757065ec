"""Quality at real bytes: ours beside Opus, on clips that no training saw.

    python -m ecdc.bench.quality                               # the bundled clips
    python -m ecdc.bench.quality --data runs/audio/packed      # the validation slice (ecdc train fetch)

References are the clips at 24 kHz mono, so the reference bandwidth is 12 kHz (8 kHz where
the recording itself ends there). kbps = 8 x bytes of the file / seconds / 1000.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import soundfile

from ..codec.checkpoints import load
from ..codec.model import Codec
from ..codec.pipeline import decode_file, encode_file
from .baselines import Coded, Missing, Opus, fit_length
from .demo import CLIPS, mono_at

METRICS = ("visqol", "zimtohrli", "mel", "si_sdr")
SAMPLE_RATE = 24_000  # Hz
BOOTSTRAPS, SEED = 1000, 0


@dataclass(frozen=True)
class Ours:
    """One of our models at a bitrate, through the container and the command's own pipeline."""

    codec: Codec
    kbps: float

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.codec.config.name} {self.kbps:g}"

    def code(self, audio: np.ndarray, sample_rate: int) -> Coded:
        """Encode and decode float32 [N] by way of files."""
        with tempfile.TemporaryDirectory() as folder:
            wav, coded, back = (Path(folder) / name for name in ("in.wav", "a.ecdc", "out.wav"))
            soundfile.write(wav, audio, sample_rate, subtype="FLOAT")
            n_bytes = encode_file(wav, coded, self.codec, self.kbps).n_bytes
            decode_file(coded, back, self.codec)
            return Coded(fit_length(soundfile.read(back, dtype="float32")[0], len(audio)), n_bytes)


def bundled_clips() -> dict[str, np.ndarray]:
    """The clips that ship: name -> float32 [N] at 24 kHz."""
    return {path.stem: mono_at(path, SAMPLE_RATE) for path in sorted(CLIPS.glob("*.flac"))}


def validation_clips(folder: Path, seconds: float, per_group: int) -> dict[str, np.ndarray]:
    """Evenly spaced clips of the validation slice: '<group>-<i>' -> float32 [N]."""
    from ..codec.train.data import validation_clips as clips

    return {
        f"{group}-{i}": row[0].numpy()
        for group, rows in clips(folder, seconds, per_group).items()
        for i, row in enumerate(rows)
    }


def measure(
    clips: dict[str, np.ndarray], codecs: list[Ours | Opus], metrics: dict[str, ModuleType], report: Callable[[str], None]
) -> list[dict]:
    """One row per clip and codec: clip, codec, kbps and each metric."""
    rows = []
    for codec in codecs:
        for name, audio in clips.items():
            try:
                coded = codec.code(audio, SAMPLE_RATE)
            except Missing as missing:
                report(f"{codec.name}: missing ({missing})")
                break
            row = {"clip": name, "codec": codec.name, "kbps": 8 * coded.n_bytes / (len(audio) / SAMPLE_RATE) / 1000}
            rows.append(row | {key: m.measure(audio, coded.audio, SAMPLE_RATE) for key, m in metrics.items()})
        report(f"{codec.name}: done")
    return rows


def interval(values: np.ndarray) -> float:
    """Half the width of the bootstrap 95 % interval of the mean."""
    picks = np.random.default_rng(SEED).integers(0, len(values), (BOOTSTRAPS, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return float(high - low) / 2


def table(rows: list[dict], metrics: dict[str, ModuleType]) -> str:
    """Markdown: one line per codec, means with half of their 95 % intervals."""
    arrows = [f"{m.NAME} {'↑' if m.HIGHER_IS_BETTER else '↓'}{' (' + m.UNIT + ')' if m.UNIT else ''}" for m in metrics.values()]
    lines = ["| codec | real kbps | " + " | ".join(arrows) + " |", "|---" * (len(arrows) + 2) + "|"]
    for name in dict.fromkeys(row["codec"] for row in rows):
        own = [row for row in rows if row["codec"] == name]
        cells = [f"{np.mean([r['kbps'] for r in own]):.2f}"]
        for key in metrics:
            values = np.array([r[key] for r in own])
            cells.append(f"{values.mean():.2f} ± {interval(values):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Packed audio; its validation slice is used.")
@click.option("--seconds", default=8.0, show_default=True, help="Length of validation clips.")
@click.option("--per-group", default=4, show_default=True, help="Validation clips per group.")
@click.option("--model", default="nano-24k", show_default=True)
@click.option("--kbps", "rates", multiple=True, type=float, default=(1.5, 3, 6, 12), show_default=True)
@click.option("--opus", "opus_rates", multiple=True, type=float, default=(6, 12), show_default=True)
@click.option("--metric", "names", multiple=True, type=click.Choice(METRICS), default=METRICS, show_default=True)
@click.option("--rows", type=click.Path(path_type=Path), help="Write one JSON row per clip and codec here.")
def main(data: Path | None, seconds: float, per_group: int, model: str, rates: tuple[float, ...], opus_rates: tuple[float, ...],
         names: tuple[str, ...], rows: Path | None) -> None:  # fmt: skip
    """Measure and print a Markdown table."""
    clips = validation_clips(data, seconds, per_group) if data else bundled_clips()
    metrics = {name: importlib.import_module(f".metrics.{name}", __package__) for name in names}
    codec = load(model)
    codecs: list[Ours | Opus] = [*(Ours(codec, kbps) for kbps in rates), *(Opus(kbps) for kbps in opus_rates)]
    found = measure(clips, codecs, metrics, lambda line: click.echo(line, err=True))
    if rows:
        rows.write_text("".join(json.dumps(row) + "\n" for row in found))
    seconds = sum(map(len, clips.values())) / SAMPLE_RATE
    click.echo(f"{len(clips)} clips, {seconds:.0f} s; ± is half the bootstrap 95 % interval (seed {SEED})\n")
    click.echo(table(found, metrics))


if __name__ == "__main__":
    main()
