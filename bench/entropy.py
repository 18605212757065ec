"""Measure the savings of entropy coding, by kind of sound and bitrate, and its speed.

    ecdc bench entropy --packed runs/audio/packed48 --json FILE       # or: ecdc bench entropy --model nano-24k

Every figure comes from real payloads that were decoded again, with two exceptions: "cross-entropy" is the ideal code length
under the prior's distributions, and "order 0" is that under adaptive counts, with one table per codebook.
"""

from __future__ import annotations

import lzma
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ..codec.checkpoints import load
from ..codec.config import CodecConfig
from ..codec.default_model import DEFAULT_MODEL
from ..codec.model import Codec
from ..format.bitpack import pack_codes
from ..format.entropy.installed_priors import find_prior
from ..format.entropy.prior import Prior
from ..format.entropy.rangecoder import PRECISION
from ..format.errors import ArgumentError
from .corpus import Clip, bundled, packed
from .options import NEW_FILE, SECONDS
from .processor_name import processor_name
from .rows import write_json

KBPS = (1.5, 3.0, 6.0, 12.0)
CHUNK_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
DEFAULT_SECONDS = 5.0  # of a chunk
METHODS = ("prior", "cross-entropy", "order 0", "zstd -19", "xz -9", "language model")


def codes_of(codec: Codec, clips: Iterable[Clip]) -> dict[str, list[np.ndarray]]:
    """Return the codes [K, T] of each clip, grouped by kind of sound."""
    found = defaultdict(list)
    for clip in clips:
        with torch.no_grad():
            codes = codec.encode(torch.from_numpy(clip.audio)[None, None])[0]
        found[clip.kind].append(codes.numpy().astype(np.uint16))
    return dict(found)


def chunks(codes: np.ndarray, n_frames: int) -> list[np.ndarray]:
    """Split the codes [K, T] of a clip into chunks of `n_frames`."""
    return [codes[:, start : start + n_frames] for start in range(0, codes.shape[1], n_frames)]


def raw_bytes(codes: np.ndarray) -> bytes:
    return pack_codes(codes.T.ravel(), 10)


def prior_bits(prior: Prior, codes: np.ndarray, n_frames: int) -> tuple[float, float]:
    """Return the bits of a clip's payloads, with chunks of `n_frames`, and their cross-entropy in bits.

    Each payload is decoded again as a check. A chunk never takes more than its raw codes.
    """
    coded = ideal = 0.0
    for chunk in chunks(codes, n_frames):
        payload = prior.encode([chunk])
        if not np.array_equal(prior.decode(payload, (len(chunk),), chunk.shape[1])[0], chunk):
            raise AssertionError("a payload does not decode to its codes")
        coded += 8 * min(len(payload), len(raw_bytes(chunk)))
        ideal -= float(np.log2(prior.intervals(chunk)[1] / 2**PRECISION).sum())
    return coded, ideal


def order_0_bits(clips: Sequence[np.ndarray], n_entries: int = 1024) -> float:
    """Return the ideal code length in bits under counts of earlier codes: one table per codebook, all clips as one stream."""
    bits = 0.0
    for k in range(len(clips[0])):
        counts = np.full(n_entries, 0.5)
        for n, code in enumerate(np.concatenate([codes[k] for codes in clips]).tolist()):
            bits -= math.log2(counts[code] / (n + 0.5 * n_entries))
            counts[code] += 1
    return bits


def zstd_bytes(data: bytes) -> int | None:
    """Return the length after zstd -19, or None if the package is not installed."""
    try:
        import zstandard
    except ImportError:
        return None
    return len(zstandard.ZstdCompressor(level=19).compress(data))


def savings(config: CodecConfig, groups: dict[str, list[np.ndarray]], prior: Prior, lm: Any = None) -> list[dict[str, Any]]:
    """Return the bits of raw codes and the share that each method saves, for each kind of sound, for all, and each bitrate."""
    rows, n_frames = [], round(DEFAULT_SECONDS * config.frame_rate)
    everything = [codes for clips in groups.values() for codes in clips]
    for kind, clips in {**groups, "all": everything}.items():
        for kbps in KBPS:
            k = config.codebooks_for(kbps)
            cut = [codes[:k] for codes in clips]
            raw = 8 * sum(len(raw_bytes(codes)) for codes in cut)
            own = [prior_bits(prior, codes, n_frames) for codes in cut]
            joined = b"".join(raw_bytes(codes) for codes in cut)
            zstd = zstd_bytes(joined)
            bits = {
                "prior": sum(coded for coded, _ in own),
                "cross-entropy": sum(ideal for _, ideal in own),
                "order 0": order_0_bits(cut),
                "zstd -19": None if zstd is None else 8 * zstd,
                "xz -9": 8 * len(lzma.compress(joined, preset=9 | lzma.PRESET_EXTREME)),
                "language model": lm.bits(cut) if lm and k == lm.n_codebooks else None,
            }
            saved = {name: None if value is None else round(1 - value / raw, 4) for name, value in bits.items()}
            rows.append({"kind": kind, "kbps": kbps, "clips": len(cut), "raw_bits": raw, "saved": saved})
    return rows


def chunk_costs(config: CodecConfig, groups: dict[str, list[np.ndarray]], prior: Prior) -> list[dict[str, float]]:
    """Return the share saved and the share added by framing at 6 kbps, for each chunk length, over all kinds together."""
    rows = []
    everything = [codes[: config.codebooks_for(6)] for clips in groups.values() for codes in clips]
    raw = 8 * sum(len(raw_bytes(codes)) for codes in everything)
    for seconds in CHUNK_SECONDS:
        n_frames = max(1, round(seconds * config.frame_rate))
        coded = sum(prior_bits(prior, codes, n_frames)[0] for codes in everything)
        framing = sum(36 * 8 * len(chunks(codes, n_frames)) for codes in everything)
        rows.append({"seconds": seconds, "saved": round(1 - coded / raw, 4), "framing": round(framing / raw, 4)})
    return rows


def markdown(found: dict[str, Any]) -> str:
    """Return all results as tables."""
    methods = [name for name in METHODS if any(row["saved"][name] is not None for row in found["savings"])]
    lines = ["| sound | kbps | " + " | ".join(methods) + " |", "|---|---:" + "|---:" * len(methods) + "|"]
    for row in found["savings"]:
        cells = ["-" if row["saved"][name] is None else f"{100 * row['saved'][name]:.1f} %" for name in methods]
        lines.append(f"| {row['kind']} | {row['kbps']:g} | " + " | ".join(cells) + " |")
    lines += ["", "| seconds per chunk | saved at 6 kbps | added by framing |", "|---:|---:|---:|"]
    lines += [f"| {r['seconds']:g} | {100 * r['saved']:.1f} % | {100 * r['framing']:.1f} % |" for r in found["chunks"]]
    timed = f"; {found['processor']}, one thread where it is timed" if found.get("speed") else ""
    lines += ["", f"{found['model']}, {found['clips']} clips of at most {found['seconds']:g} s{timed}."]
    if timed:
        from .entropy_speed import markdown as speed_markdown

        lines += ["", speed_markdown(found["speed"])]
    return "\n".join(lines)


def run(name: str, folder: Path | None, seconds: float, lm: Path | None, timed: bool) -> dict[str, Any]:
    """Measure all figures; raises ValueError if no prior for the model is installed."""
    codec = load(name)
    prior = find_prior(codec.token_space)
    if prior is None:
        raise ArgumentError(f"{name} has no entropy prior here")
    clips = list(packed(folder, codec.sample_rate, seconds) if folder else bundled(codec.sample_rate))
    groups = codes_of(codec, clips)
    model = None
    if lm:
        from .entropy_lm import TrainedLM

        model = TrainedLM.load(lm)
    found: dict[str, Any] = {
        "model": name, "savings": savings(codec.config, groups, prior, model),
        "chunks": chunk_costs(codec.config, groups, prior), "clips": len(clips),
        "seconds": round(max(clip.seconds for clip in clips), 1), "prior": prior.hash.hex(), "processor": processor_name(),
    }  # fmt: skip
    if timed:
        from .entropy_speed import measure

        found["speed"] = measure(name)
    return found


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or folder of a codec.")
@click.option("--packed", "folder", type=click.Path(path_type=Path), help="Packed audio, whose validation slice is used.")
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="Seconds of each clip of packed audio.")
@click.option("--lm", type=click.Path(path_type=Path), help="A model of `ecdc bench entropy-lm`, to compare with.")
@click.option("--no-speed", is_flag=True, help="Sizes only.")
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(model: str, folder: Path | None, seconds: float, lm: Path | None, no_speed: bool, target: Path | None) -> None:
    """Measure the savings and the speed of a model's entropy prior, compared with other coders."""
    try:
        found = run(model, folder, seconds, lm, not no_speed)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
