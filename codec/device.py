"""Codecs on a GPU, only if their tokens equal those of the CPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..format.errors import ArgumentError
from .model import Codec

CHECK_SECONDS = 5  # of the signal for comparing a device with the CPU


def on_device(codec: Codec, device: str, encoding: bool) -> Codec:
    """Return the codec, or a copy of it on `device`: "cpu", "cuda", "mps", or "auto" for a suitable GPU if there is one.

    For `encoding` the device must compute exactly the CPU's tokens, which is tested on a signal. Decoded audio may differ by
    rounding. Raises ValueError, in one line, if there is no such device, or if its tokens differ.
    """
    if device == "auto":
        for name in ("cuda", "mps"):
            if is_available(name):
                try:
                    return on_device(codec, name, encoding)
                except ValueError:
                    continue
        return codec
    if device == "cpu":
        return codec
    if not is_available(device):
        raise ArgumentError(f"--device {device}: not available on this machine; use cpu or auto")
    return _checked(codec, device) if encoding else moved(codec, device)


def is_available(device: str) -> bool:
    """Return True if torch can compute on "cuda" or "mps" here."""
    return bool(torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available())


def moved(codec: Codec, device: str) -> Codec:
    """Return a copy of the codec on a device; without float64 (MPS) the encoder stays on the CPU."""
    made = copy.copy(codec)
    made._modules = {name: copy.deepcopy(module) for name, module in codec._modules.items()}
    for name, module in made._modules.items():
        if module is not None and not (name == "encoder" and device == "mps"):
            module.to(device)
    return made


def _checked(codec: Codec, device: str) -> Codec:
    """Return a copy on a device whose tokens equal the CPU's on a test signal."""
    name, advice = codec.config.name, "encode with --device cpu"
    if codec.config.exact_dtype != "float64":
        raise ArgumentError(
            f"--device {device}: the tokens of {name} are computed in float32, which a GPU rounds differently; {advice}"
        )
    if device == "mps":
        raise ArgumentError(f"--device mps: lacks float64, which the tokens of {name} need; {advice}")
    made, wav = moved(codec, device), check_signal(codec)
    if not torch.equal(made.encode(wav.to(device)).cpu(), codec.encode(wav)):
        raise ArgumentError(f"--device {device}: computes other tokens of {name} than the CPU; {advice}")
    return made


def check_signal(codec: Codec) -> Tensor:
    """Return noise and tones from loud to silent, [1, C, N]: the same on every machine."""
    n_samples = CHECK_SECONDS * codec.sample_rate
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(n_samples) / codec.sample_rate
    tones = sum(torch.sin(2 * torch.pi * f * time) for f in (110.0, 440.0, 1234.5))
    noise = torch.randn(codec.config.channels, n_samples, generator=generator)
    return ((0.1 * tones + 0.1 * noise) * 10 ** (-4 * time / CHECK_SECONDS))[None]
