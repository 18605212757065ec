"""What a split codec would score if one part of it were exact: where its quality is lost.

    ecdc bench limits runs/nano-48k --packed runs/audio/packed48

Each row changes one thing between the encoder and the last layer of the decoder, without training the decoder for it:

- `coded`: nothing.
- `exact levels`, `exact levels above 1.1 kHz`, `... below`: the levels that the encoder measured, in all or some bands.
- `exact shape`: the latents before the quantizer.
- `no noise`, `no correction`: the decoder without its noise inputs, without the last layer's gains.

Only the part below 12 kHz is compared, at 24 kHz.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from ..codec.checkpoints import load
from ..codec.model import Codec
from ..codec.modules.noise import frame_noise
from ..train.codec import split_step
from .corpus import Clip, packed
from .designs import CORE_RATE, NAMES, markdown, measures
from .options import COUNT, KBPS, SECONDS
from .rows import json_option, write_json

VARIANTS = (
    "coded", "exact levels", "exact levels above 1.1 kHz", "exact levels below 1.1 kHz", "exact shape", "no noise",
    "no correction",
)  # fmt: skip


@torch.no_grad()
def decode_core(codec: Codec, audio: Tensor, n_codebooks: int, variant: str) -> tuple[Tensor, Tensor]:
    """Encode audio [B, 1, (T + 1) * hop] and decode a variant: (estimate, target), both [B, 1, n] at the core's rate."""
    encoder, decoder, quantizer = split_step.parts_of(codec)
    frames = split_step.frames_of(audio, encoder.hop)
    coded = split_step.code_levels(quantizer.levels, encoder.analysis(frames))
    shape = encoder.shape(frames, coded.exact, coded.parts[:, 0], encoder.initial_state(len(audio)))
    n_levels, n_shape = quantizer.counts(n_codebooks)
    if variant != "exact shape":
        shape = quantizer.shape.decode(quantizer.shape.encode(shape, n_shape))
    counts = torch.tensor([[n_levels, n_shape]] * len(audio))
    lost = torch.zeros(coded.exact.shape[:2], dtype=torch.bool)
    heard = split_step.decoder_inputs(codec, coded, shape, counts, lost)
    heard = dataclasses.replace(heard, levels=changed_levels(codec, heard.levels, coded.exact, variant))
    noise = frame_noise(0, shape.shape[2], 2 * decoder.hop, shape) * (variant != "no noise")
    estimate = split_step.core_audio(decoder, heard, noise, corrects=variant != "no correction")
    cut = slice(split_step.SKIP_START * decoder.hop, -split_step.SKIP_END * decoder.hop)
    return estimate[..., cut], split_step.core_target(audio, decoder.config)[..., cut]


def changed_levels(codec: Codec, coded: Tensor, exact: Tensor, variant: str) -> Tensor:
    """Return levels [B, T, F] with the bands that `variant` names exact, the others coded."""
    if not variant.startswith("exact levels"):
        return coded
    config = split_step.parts_of(codec)[1].config
    both = [x.unflatten(-1, (config.steps, -1)) for x in (coded, exact)]
    low = torch.arange(both[0].shape[-1]) < config.slow_bands
    chosen = {"above": ~low, "below": low}.get(variant.split()[2] if " " in variant[7:] else "", torch.ones_like(low))
    return torch.where(chosen, both[1], both[0]).flatten(-2)


def rows_of(clip: Clip, codec: Codec, rates: Sequence[float], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Measure all variants of one clip at every bitrate."""
    hop, rows = codec.config.hop_length, []
    audio = torch.from_numpy(clip.audio[: len(clip.audio) // hop * hop])[None, None]
    for kbps in rates:
        for variant in VARIANTS:
            estimate, target = decode_core(codec, audio, codec.config.codebooks_for(kbps), variant)
            reference = Clip(clip.name, clip.kind, target[0, 0].numpy(), CORE_RATE, CORE_RATE)
            found = measures(reference, estimate[0, 0].numpy(), float(codec.config.frame_rate), keys)
            rows.append({"clip": clip.name, "codec": variant, "kbps": kbps, **found})
    return rows


@click.command()
@click.argument("model")
@click.option(
    "--packed", "folder", type=click.Path(path_type=Path), required=True, help="Packed audio; its validation slice is used."
)
@click.option("--seconds", type=SECONDS, default=4.0, show_default=True, help="Seconds of each clip.")
@click.option("--per-group", type=COUNT, default=2, show_default=True, help="Clips of each group.")
@click.option("--kbps", "rates", type=KBPS, multiple=True, default=(6.0, 12.0), show_default=True)
@click.option("--metric", "keys", multiple=True, default=("zimtohrli", "visqol", "pesq", "si_sdr"), show_default=True,
              type=click.Choice([*NAMES]))  # fmt: skip
@json_option
def main(
    model: str, folder: Path, seconds: float, per_group: int, rates: tuple[float, ...], keys: tuple[str, ...],
    target: Path | None,
) -> None:  # fmt: skip
    """Print what a split codec would score if one part of it were exact."""
    codec = copy.deepcopy(load(model))
    codec.encoder.float()  # as in training
    clips = list(packed(folder, codec.sample_rate, seconds, per_group))
    rows = [row for clip in clips for row in rows_of(clip, codec, rates, keys)]
    click.echo(markdown(rows))
    click.echo(f"\n{len(clips)} clips of {seconds:g} s, compared at {CORE_RATE / 1000:g} kHz.")
    write_json(rows, target)


if __name__ == "__main__":
    main()
