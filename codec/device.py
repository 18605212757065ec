"""Codecs on a GPU: only where their tokens are those of the CPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .model import Codec

CHECK_SECONDS = 5  # of the signal by which a device is compared with the CPU


def on_device(codec: Codec, device: str, encoding: bool) -> Codec:
    """The codec, or a copy of it on `device`: "cpu", "cuda", "mps", or "auto" for a GPU if there is one that will do.

    For `encoding` the device must compute tokens exactly as the CPU does, which is tried on a
    signal; decoded audio may differ by rounding. Raises ValueError, in one line, if there is no such device, or if
    its tokens would differ.
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
        raise ValueError(f"--device {device}: there is none here; use cpu or auto")
    return _checked(codec, device) if encoding else moved(codec, device)


def is_available(device: str) -> bool:
    """Return True if torch can compute on "cuda" or "mps" here."""
    return bool(torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available())


def moved(codec: Codec, device: str) -> Codec:
    """A copy of the codec on a device; one without float64 gets the decoder and the codebooks alone."""
    made = copy.copy(codec)
    made._modules = {name: copy.deepcopy(module) for name, module in codec._modules.items()}
    for name, module in made._modules.items():
        if module is not None and not (name == "encoder" and device == "mps"):
            module.to(device)
    return made


def _checked(codec: Codec, device: str) -> Codec:
    """A copy on a device whose tokens are the CPU's, as far as a signal can tell."""
    name, advice = codec.config.name, "encode with --device cpu"
    if codec.config.exact_dtype != "float64":
        raise ValueError(
            f"--device {device}: the tokens of {name} are computed in float32, which a GPU rounds otherwise; {advice}"
        )
    if device == "mps":
        raise ValueError(f"--device mps: has no float64, in which the tokens of {name} are computed; {advice}")
    made, wav = moved(codec, device), check_signal(codec)
    if not torch.equal(made.encode(wav.to(device)).cpu(), codec.encode(wav)):
        raise ValueError(f"--device {device}: gives other tokens of {name} than the CPU; {advice}")
    return made


def check_signal(codec: Codec) -> Tensor:
    """Noise and tones from loud to silent, [1, C, N]: the same on every machine."""
    n_samples = CHECK_SECONDS * codec.sample_rate
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(n_samples) / codec.sample_rate
    tones = sum(torch.sin(2 * torch.pi * f * time) for f in (110.0, 440.0, 1234.5))
    noise = torch.randn(codec.config.channels, n_samples, generator=generator)
    return ((0.1 * tones + 0.1 * noise) * 10 ** (-4 * time / CHECK_SECONDS))[None]
