"""Stereo music at a low bitrate: how a mono codec should divide codebooks between two channels, beside Opus.

    ecdc bench stereo nano-48k --masters runs/audio/masters

Every stereo recording of the validation slice gives one clip. "auto" is what `--stereo auto` chooses for the clip. Scores
are means over left and right. Our bitrate is that of the codes, Opus's that of its packets without Ogg pages.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
import torch

from ..codec.audio import resample_all
from ..codec.channel_layout import codebooks_per_stream, layout_for, starts_of_streams
from ..codec.config import CodecConfig
from ..codec.stereo_choice import powers, stereo_for
from ..format.errors import ArgumentError
from ..train.codec.losses import tile_loss
from ..train.data.pack import MASTER_RATE, read_master
from .codecs.base import aligned, call, need, write_wav
from .designs import CORE_RATE, codec_of
from .metrics import score
from .options import COUNT, KBPS, SECONDS
from .rows import jobs_option, json_option, rows_of_clips, write_json

NAMES = {"zimtohrli": "Zimtohrli", "visqol": "ViSQOL", "side": "side's level error (dB)"}


@dataclass(frozen=True)
class StereoClip:
    """A stereo reference at MASTER_RATE."""

    name: str
    audio: np.ndarray  # float32 [2, N]


def clips_of(masters: Path, seconds: float, most: int) -> list[StereoClip]:
    """Return the middle of each stereo music recording of the validation slice; raises ValueError if there is none."""
    rows = [json.loads(line) for line in (masters / "index.jsonl").read_text().splitlines()]
    kept = [row for row in rows if (row["group"], row["split"], row["channels"]) == ("music", "valid", 2)]
    if not kept:
        raise ArgumentError(f"{masters}: no stereo music in the validation slice")
    clips, n_samples = [], round(seconds * MASTER_RATE)
    for row in kept[:most]:
        whole = read_master(masters, row)
        first = max(0, (len(whole) - n_samples) // 2)
        audio = whole[first : first + n_samples].astype(np.float32).T / 32768
        clips.append(StereoClip(Path(row["name"]).stem, np.ascontiguousarray(audio)))
    return clips


def ours(clip: StereoClip, name: str, books: tuple[int, int], is_mid_side: bool) -> np.ndarray:
    """Code a clip [2, N] with books[0] codebooks for mid or left and books[1] for side or right; return the decoded audio."""
    codec = codec_of(name)
    wav = resample_all(clip.audio, MASTER_RATE, codec.sample_rate)
    pair = np.stack([wav[0] + wav[1], wav[0] - wav[1]]) / 2 if is_mid_side else wav
    parts = []
    for channel, n_codebooks, start in zip(pair.astype(np.float32), books, starts_of_streams(codec.config, 2), strict=True):
        codes = codec.encode(torch.from_numpy(channel)[None, None], n_codebooks=n_codebooks)
        with codec.streaming(first_frame=start) as stream:
            parts.append(stream.decode(codes, last=True)[0, 0, : wav.shape[1]].numpy())
    one, two = parts
    decoded = np.stack([one + two, one - two]) if is_mid_side else np.stack(parts)
    return resample_all(decoded, codec.sample_rate, MASTER_RATE)[:, : clip.audio.shape[1]]


def opus(clip: StereoClip, kbps: float) -> tuple[np.ndarray, float]:
    """Code a clip [2, N] with opusenc; return the decoded audio and the kbps of its packets."""
    need("opusenc", "opus-tools")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_wav(folder / "in.wav", clip.audio.T, MASTER_RATE)
        call(["opusenc", "--quiet", "--bitrate", f"{kbps:g}", "in.wav", "a.opus"], folder)
        call(["opusdec", "--quiet", "--rate", str(MASTER_RATE), "a.opus", "out.wav"], folder)
        decoded = soundfile.read(folder / "out.wav", dtype="float32", always_2d=True)[0].T
        n_bytes = packet_bytes(folder / "a.opus")
    found = np.stack([aligned(a, b, MASTER_RATE) for a, b in zip(decoded, clip.audio, strict=True)])
    return found, n_bytes * 8 / 1000 / (clip.audio.shape[1] / MASTER_RATE)


def packet_bytes(path: Path) -> int:
    """Return the bytes of the audio packets in an Ogg Opus file: without page headers and the two packets before the audio."""
    data, place, n_bytes, n_pages = path.read_bytes(), 0, 0, 0
    while place < len(data):
        n_segments = data[place + 26]
        n_body = sum(data[place + 27 : place + 27 + n_segments])
        n_bytes += n_body if n_pages >= 2 else 0
        place, n_pages = place + 27 + n_segments + n_body, n_pages + 1
    return n_bytes


def measures(clip: StereoClip, audio: np.ndarray, keys: Sequence[str]) -> dict[str, float | None]:
    """Return the scores of decoded audio [2, N]."""
    found: dict[str, float | None] = {}
    for key in keys:
        if key != "side":
            scores = [score(key, a, b, MASTER_RATE, "music")[0] for a, b in zip(clip.audio, audio, strict=True)]
            known = [x for x in scores if x is not None]
            found[key] = float(np.mean(known)) if known else None
    sides = [resample_all((x[0] - x[1])[None] / 2, MASTER_RATE, CORE_RATE)[None] for x in (audio, clip.audio)]
    estimate, target = (torch.from_numpy(x.astype(np.float32)) for x in sides)
    return found | {"side": float(tile_loss(estimate, target, CORE_RATE))}


def rows_of(clip: StereoClip, name: str, kbps: float, opus_rates: Sequence[float], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Code a clip with every division of codebooks and with Opus; return one row for each, and one for the choice of `auto`."""
    config = codec_of(name).config
    total = round(kbps / config.kbps_per_codebook)
    rows = []
    for side in range(1, total // 2 + 1):
        audio = ours(clip, name, (total - side, side), is_mid_side=True)
        rows.append({"codec": f"mid {total - side}, side {side}", "kbps": kbps, **measures(clip, audio, keys)})
    audio = ours(clip, name, (total // 2, total // 2), is_mid_side=False)
    rows.append({"codec": f"left {total // 2}, right {total // 2}", "kbps": kbps, **measures(clip, audio, keys)})
    chosen = next(row for row in rows if row["codec"] == auto_division(clip, config, kbps))
    rows.append(chosen | {"codec": "auto"})
    for rate in opus_rates:
        audio, real = opus(clip, rate)
        rows.append({"codec": f"Opus {rate:g}", "kbps": real, **measures(clip, audio, keys)})
    return [{"clip": clip.name, **row} for row in rows]


def auto_division(clip: StereoClip, config: CodecConfig, kbps: float) -> str:
    """Return the name of the division that `--stereo auto` chooses for a clip."""
    stereo = stereo_for(*powers([clip.audio]))
    one, two = codebooks_per_stream(config, layout_for(config, 2, stereo), kbps)
    return f"left {one}, right {two}" if stereo == "left_right" else f"mid {one}, side {two}"


def markdown(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    """Return a table of means over clips."""
    lines = ["| codec | kbps | " + " | ".join(NAMES[key] for key in keys) + " |", "|---|---:|" + "---:|" * len(keys)]
    for codec in dict.fromkeys(row["codec"] for row in rows):
        own = [row for row in rows if row["codec"] == codec]
        means = [np.mean([row[key] for row in own if row[key] is not None]) for key in keys]
        rate = np.mean([row["kbps"] for row in own])
        lines.append(f"| {codec} | {rate:.1f} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return "\n".join(lines)


@click.command()
@click.argument("model")
@click.option("--masters", type=click.Path(path_type=Path), default=Path("runs/audio/masters"), show_default=True,
              help="Masters of the training audio: their validation slice.")  # fmt: skip
@click.option("--kbps", type=KBPS, default=6.0, show_default=True, help="Bitrate of both streams together.")
@click.option("--opus", "opus_rates", type=KBPS, multiple=True, default=(12.0, 16.0), show_default=True)
@click.option("--seconds", type=SECONDS, default=5.0, show_default=True, help="Seconds of each clip.")
@click.option("--clips", "most", type=COUNT, default=10, show_default=True)
@jobs_option
@json_option
def main(
    model: str, masters: Path, kbps: float, opus_rates: tuple[float, ...], seconds: float, most: int, jobs: int,
    target: Path | None,
) -> None:  # fmt: skip
    """Print how divisions of codebooks score, and Opus beside them."""
    clips = clips_of(masters, seconds, most)
    work = partial(rows_of, name=model, kbps=kbps, opus_rates=opus_rates, keys=tuple(NAMES))
    rows = rows_of_clips(work, clips, jobs)
    click.echo(markdown(rows, tuple(NAMES)))
    click.echo(f"\n{len(clips)} clips of {seconds:g} s at {MASTER_RATE / 1000:g} kHz; scores are means over left and right.")
    write_json(rows, target)


if __name__ == "__main__":
    main()
