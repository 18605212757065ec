"""The diffusion network: a U-Net over waveforms that receives the codec's latents at its bottleneck.

Modules have the published names, so a published state dict can be loaded as it is.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ...format.errors import ArgumentError
from . import unet_fast
from .bottleneck import BiLstm, Transformer, with_positions
from .config import UnetConfig


class ResBlock(nn.Module):
    """Two normalized, dilated convolutions, added to their input: [B, W, n] -> [B, W, n]."""

    def __init__(self, width: int, dilation: int, config: UnetConfig) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.norm_groups, width)
        self.conv1 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.norm2 = nn.GroupNorm(config.norm_groups, width)
        self.conv2 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout1d(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.dropout(self.conv1(F.relu(self.norm1(x))))
        return x + self.dropout(self.conv2(F.relu(self.norm2(inner))))


def _res_blocks(width: int, config: UnetConfig) -> nn.Sequential:
    return nn.Sequential(*(ResBlock(width, 2**j, config) for j in range(config.res_blocks)))


class DownLayer(nn.Module):
    """One level down: [B, W, n] -> [B, W', ceil(n / stride)]."""

    def __init__(self, n_in: int, n_out: int, config: UnetConfig) -> None:
        super().__init__()
        pad = (config.kernel_size - config.stride) // 2
        self.conv = nn.Conv1d(n_in, n_out, config.kernel_size, config.stride, pad, bias=False)
        self.norm = nn.GroupNorm(config.norm_groups, n_out)
        self.res_blocks = _res_blocks(n_out, config)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[-1] % self.conv.stride[0]))
        hidden: Tensor = self.res_blocks(F.relu(self.norm(self.conv(x))))
        return hidden


class UpLayer(nn.Module):
    """One level up: [B, W', n] -> [B, W, n * stride]. The norm comes before the convolution, not after it."""

    def __init__(self, n_in: int, n_out: int, config: UnetConfig) -> None:
        super().__init__()
        pad = (config.kernel_size - config.stride) // 2
        self.res_blocks = _res_blocks(n_in, config)
        self.norm = nn.GroupNorm(config.norm_groups, n_in)
        self.convtr = nn.ConvTranspose1d(n_in, n_out, config.kernel_size, config.stride, pad, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convtr(F.relu(self.norm(self.res_blocks(x))))
        return out


class DiffusionUnet(nn.Module):
    """Predicts the noise in a noisy signal, given the noise level and the codec's latents.

    Source: multi-band diffusion (arXiv 2308.02560, section 3.2) as published with audiocraft.
    """

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        n_in = (config.channels, *widths[:-1])
        self.encoders = nn.ModuleList(DownLayer(a, b, config) for a, b in zip(n_in, widths, strict=True))
        self.decoders = nn.ModuleList(UpLayer(b, a, config) for a, b in reversed(list(zip(n_in, widths, strict=True))))
        self.embedding = nn.Embedding(config.n_steps, widths[0])
        if config.times_everywhere:
            self.embeddings = nn.ModuleList(nn.Embedding(config.n_steps, width) for width in widths[1:])
        if config.bottleneck == "transformer":
            self.transformer = Transformer(widths[-1], config.cross_attention)
        elif config.bottleneck == "bilstm":
            self.bilstm = BiLstm(widths[-1])
        if config.condition_dim is not None:
            self.conv_codec = nn.Conv1d(config.condition_dim, widths[-1], 1)

    def bottleneck_length(self, n_samples: int) -> int:
        """Return the number of steps of the bottleneck for `n_samples` samples."""
        kernel, stride = self.config.kernel_size, self.config.stride
        for _ in range(self.config.depth):
            padded = -(-n_samples // stride) * stride
            n_samples = (padded + (kernel - stride) // 2 * 2 - kernel) // stride + 1
        return n_samples

    @property
    def reach(self) -> int:
        """Samples of the input on each side that the convolutions see, rounded up to whole steps of the bottleneck.

        Norms, LSTMs and attention see the whole signal.
        """
        config = self.config
        pad = (config.kernel_size - config.stride) // 2
        far, total, spacing = max(pad, config.kernel_size - 1 - pad), 0, 1
        for _ in range(config.depth):
            total += 2 * far * spacing  # once on the way down, once on the way up
            spacing *= config.stride
            total += 2 * spacing * 2 * (2**config.res_blocks - 1)  # two convolutions per block, in encoder and decoder
        return -(-total // spacing) * spacing

    def forward(self, x: Tensor, time: int | Tensor, condition: Tensor | None = None) -> Tensor:
        """Predict the noise in a signal.

        Shapes: x [B, C, N], time [B] or one number for all, condition [B, D, T] -> [B, C, N].
        The condition is stretched over the bottleneck by nearest neighbours. Raises ValueError if it
        is missing, or if it is so long that more than every other frame would be dropped.
        """
        times = torch.full((len(x),), time, device=x.device) if isinstance(time, int) else time
        if unet_fast.suits(self, x):
            return torch.stack([self._fast(x[i], times[i], None if condition is None else condition[i]) for i in range(len(x))])
        hidden, skips = x, []
        for level, encoder in enumerate(self.encoders):
            hidden = encoder(hidden)
            if level == 0:
                hidden = hidden + self.embedding(times)[..., None]
            elif self.config.times_everywhere:
                hidden = hidden + self.embeddings[level - 1](times)[..., None]
            skips.append(hidden)
        source = self._condition(condition, hidden)
        if source is not None and not self.config.cross_attention:
            # The published code adds in place to a tensor that is also the deepest skip connection:
            # the condition is counted twice, and without a bottleneck it enters only through that skip.
            skips[-1] = hidden = hidden + source
        hidden = self._bottleneck(hidden, source)
        for decoder in self.decoders:
            skip = skips.pop()
            hidden = decoder(hidden[..., : skip.shape[-1]] + skip)
        return hidden[..., : x.shape[-1]]

    def _fast(self, x: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
        """Like `forward`, for one item with the fast path: [C, N] -> [C, N]."""
        tables = [self.embedding, *(self.embeddings if self.config.times_everywhere else [None] * (self.config.depth - 1))]

        def bottleneck(deepest: Tensor) -> Tensor | None:
            hidden = deepest.t()[None]
            source = self._condition(None if condition is None else condition[None], hidden)
            if source is not None and not self.config.cross_attention:
                deepest += source[0].t()
            return None if self.config.bottleneck == "none" else self._bottleneck(hidden, source)[0].t()

        return unet_fast.noise(self, x, [None if table is None else table(time) for table in tables], bottleneck)

    def _condition(self, condition: Tensor | None, hidden: Tensor) -> Tensor | None:
        """Return the condition at the bottleneck's width and, if it is to be added, at its length: [B, W, L]."""
        if self.config.condition_dim is None:
            return None
        if condition is None:
            raise ArgumentError("this network needs a condition [B, D, T], got none")
        n_frames, n_steps = condition.shape[-1], hidden.shape[-1]
        if n_frames > 2 * n_steps:
            raise ArgumentError(f"condition must have at most {2 * n_steps} frames for this length, got {n_frames}")
        found: Tensor = self.conv_codec(condition)
        return found if self.config.cross_attention else F.interpolate(found, n_steps)

    def _bottleneck(self, hidden: Tensor, source: Tensor | None) -> Tensor:
        if self.config.bottleneck == "none":
            return torch.zeros_like(hidden)
        if self.config.bottleneck == "bilstm":
            return self.bilstm(hidden)  # type: ignore[no-any-return]
        attended = with_positions(source.transpose(1, 2)) if self.config.cross_attention and source is not None else None
        return self.transformer(hidden.transpose(1, 2), attended).transpose(1, 2)  # type: ignore[no-any-return]
