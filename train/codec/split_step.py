"""A training step of a split codec, between the audio and the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ...codec.config import SplitConfig
from ...codec.model import Codec
from ...codec.modules.levels import LevelVQ
from ...codec.modules.noise import frame_noise
from ...codec.modules.split_decoder import DecoderInputs, SplitDecoder, add_windows
from ...codec.modules.split_encoder import SplitEncoder
from ...codec.quantize.split import SplitVQ
from ..engine.hardware import on_host
from . import gpu_codebooks
from .codebooks import Assigner, CodebookTrainer, kmeans
from .recode import recode_loss

if TYPE_CHECKING:
    from .recipe import Recipe

FIT_ROUNDS, FIT_STEPS, FIT_RATE = 8, 15, 2e-3  # fit of the taps before training
SKIP_START, SKIP_END = 2, 1  # frames at the ends of an item that the losses ignore, because blocks have nothing to overlap with


class SplitCodebooks(nn.Module):
    """Trains the codebooks of a SplitVQ, for levels and for shape, by moving averages."""

    def __init__(self, quantizer: SplitVQ, decay: float = 0.99) -> None:
        super().__init__()
        self.quantizer = [quantizer]  # in a list, so that it is not a submodule: it belongs to the codec
        self.levels, self.shape = CodebookTrainer(quantizer.levels, decay), CodebookTrainer(quantizer.shape, decay)

    @property
    def started(self) -> Tensor:
        """Whether the codebooks have been initialized."""
        return self.shape.started

    def continue_from_quantizer(self) -> None:
        """Start from the quantizer's entries and scales instead of k-means."""
        self.levels.continue_from_quantizer()
        self.shape.continue_from_quantizer()

    @torch.no_grad()
    def start(self, codec: Codec, batches: Iterable[Tensor], generator: torch.Generator) -> None:
        """Run k-means for the shape, and closed-loop fitting for levels that have none yet, on audio [B, 1, (T + 1) * hop]."""
        encoder, quantizer = parts_of(codec)[0], self.quantizer[0].levels
        frames = torch.cat([frames_of(audio, encoder.hop) for audio in batches])
        if not self.levels.started:
            self._start_levels(torch.cat([encoder.analysis(part) for part in frames.split(16)]), generator)
        latents = []
        for part in frames.split(16):
            exact = encoder.analysis(part)
            base = code_levels(quantizer, exact).parts[:, 0]
            latents.append(encoder.shape(part, exact, base, encoder.initial_state(len(part))))
        self.shape.start(torch.cat([z.transpose(1, 2).flatten(0, 1) for z in latents]), generator)

    def _start_levels(self, exact: Tensor, generator: torch.Generator) -> None:
        """Fit mean, codebooks and taps to levels [B, T, F]."""
        quantizer = self.quantizer[0].levels
        quantizer.mean.copy_(exact.mean((0, 1)))
        rest = (exact - quantizer.mean) * quantizer.weight
        for k, codebook in enumerate(quantizer.codebooks):
            innovations = whitened(quantizer, k, rest)[:, quantizer.n_taps :].flatten(0, 1)
            kmeans(innovations, codebook, generator, iterations=6)
            for _ in range(FIT_ROUNDS):  # refine in closed loop
                codes, wanted = track_levels(quantizer, k, rest)
                set_entry_means(codes.flatten(), wanted.flatten(0, 1), codebook, generator)
                fit_taps(quantizer, k, codebook[codes], rest)
            codes, _ = track_levels(quantizer, k, rest)
            past = quantizer.initial_past(len(rest)).to(rest)[:, k]
            part = predict_one(quantizer, k, codebook[codes], past) - (quantizer.mean if k == 0 else 0.0)
            rest = rest - part * quantizer.weight
        self.levels.continue_from_quantizer()

    @torch.no_grad()
    def learn(
        self, generator: torch.Generator, n_books: Tensor, latents: Tensor, shape_codes: Tensor, wanted: Tensor,
        level_codes: Tensor,
    ) -> None:  # fmt: skip
        """Move every codebook towards the vectors assigned to its entries, over the global batch.

        Shapes: n_books [B, 2], latents [B, D, T], shape_codes [B, K - L, T], wanted [B, L, T, F], level_codes [B, L, T].
        """
        self.shape.learn(generator, n_books[:, 1], latents, shape_codes)
        for k in range(len(self.quantizer[0].levels.codebooks)):  # whether or not the decoder receives them
            vectors, index = wanted[:, k].flatten(0, 1), level_codes[:, k].flatten()
            if not on_host(vectors):
                everyone = torch.arange(len(index), device=index.device)
                gpu_codebooks.move(self.levels, k, vectors, index, torch.ones_like(vectors[:, 0]), everyone)
                continue
            self.levels._move(k, vectors, index, vectors, generator)


def whitened(quantizer: LevelVQ, k: int, rest: Tensor) -> Tensor:
    """Return what codebook k would have to code if it coded without error: [B, T, F] -> [B, T, F]."""
    past = [torch.zeros_like(rest[:, 0])] * quantizer.n_taps
    found = []
    for t in range(rest.shape[1]):
        found.append(rest[:, t] - sum(e @ tap.T for e, tap in zip(past, quantizer.taps[k], strict=True)))
        past = [found[-1].clamp(-60, 60), *past[:-1]]
    return torch.stack(found, 1)


def set_entry_means(index: Tensor, vectors: Tensor, codebook: Tensor, generator: torch.Generator) -> None:
    """Set each entry to the mean of its vectors, or to a random vector if it has few: [M], [M, D], codebook [V, D]."""
    counts = torch.bincount(index, minlength=len(codebook))
    codebook.copy_(torch.zeros_like(codebook).index_add_(0, index, vectors) / counts.clamp(min=1)[:, None])
    rare = (counts < 3).nonzero()[:, 0]
    codebook[rare] = vectors[torch.randint(len(vectors), (len(rare),), generator=generator)]


def fit_taps(quantizer: LevelVQ, k: int, entries: Tensor, rest: Tensor) -> None:
    """Fit taps k to predict `rest` [B, T, F] from entries [B, T, F], by gradient descent, because least squares overshoots.

    The codes depend on the taps, so the optimum for these codes may be bad for the next ones.
    """
    taps = quantizer.taps[k].detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([taps], lr=FIT_RATE)
    windows = F.pad(entries, (0, 0, quantizer.n_taps, 0)).unfold(1, quantizer.n_taps + 1, 1)[..., :-1].flatten(-2)
    with torch.enable_grad():
        for _ in range(FIT_STEPS):
            flat = taps.flip(0).permute(2, 0, 1).flatten(0, 1)
            optimizer.zero_grad()
            (entries + windows @ flat - rest).square().mean().backward()
            optimizer.step()
    quantizer.taps[k].copy_(taps)


@dataclass
class CodedLevels:
    """The levels of a batch after the quantizer."""

    exact: Tensor  # [B, T, F] dB
    codes: Tensor  # [B, L, T]
    wanted: Tensor  # [B, L, T, F]: target of each codebook
    parts: Tensor  # [B, L, T, F]: contribution of each codebook to the decoded levels, differentiable in taps and mean


def parts_of(codec: Codec) -> tuple[SplitEncoder, SplitDecoder, SplitVQ]:
    """Return the encoder, decoder and quantizer of a split codec."""
    encoder, decoder, quantizer = codec.encoder, codec.decoder, codec.quantizer
    assert isinstance(encoder, SplitEncoder) and isinstance(decoder, SplitDecoder) and isinstance(quantizer, SplitVQ)
    return encoder, decoder, quantizer


def frames_of(audio: Tensor, hop: int) -> Tensor:
    """Cut audio [B, 1, (T + 1) * hop] into frames [B, T, 2 * hop]; the first and last half hop are context."""
    return audio[:, 0].unfold(1, 2 * hop, hop)


@torch.no_grad()
def track_levels(quantizer: LevelVQ, k: int, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Run codebook k in closed loop for all items: rest [B, T, F] -> (codes [B, T], its targets [B, T, F])."""
    taps = quantizer.taps[k].transpose(1, 2).flip(0).flatten(0, 1)  # [n_taps * F, F], oldest first
    batch_size, n_frames, n_levels = rest.shape
    search = Assigner(quantizer.codebooks[k])
    past = rest.new_zeros(batch_size, quantizer.n_taps * n_levels)
    codes, wanted = [], []
    for t in range(n_frames):
        target = torch.addmm(rest[:, t], past, taps, alpha=-1)
        index = search(target)
        past = torch.cat([past[:, n_levels:], quantizer.codebooks[k][index]], dim=1)
        codes.append(index)
        wanted.append(target)
    return torch.stack(codes, 1), torch.stack(wanted, 1)


def code_levels(quantizer: LevelVQ, exact: Tensor) -> CodedLevels:
    """Quantize levels [B, T, F] with all codebooks."""
    past = quantizer.initial_past(len(exact)).to(exact)
    rest = ((exact - quantizer.mean) * quantizer.weight).detach()
    codes, wanted, parts = [], [], []
    if not on_host(exact):
        all_codes, all_wanted = gpu_codebooks.track_levels(quantizer, exact)
        for k in range(len(quantizer.codebooks)):
            entries = nn.functional.embedding(all_codes[:, k], quantizer.codebooks[k])
            parts.append(predict_one(quantizer, k, entries, past[:, k]))
        return CodedLevels(exact, all_codes, all_wanted, torch.stack(parts, 1))
    for k in range(len(quantizer.codebooks)):
        index, target = track_levels(quantizer, k, rest)
        entries = nn.functional.embedding(index, quantizer.codebooks[k])
        part = predict_one(quantizer, k, entries, past[:, k])
        rest = rest - (part - (quantizer.mean if k == 0 else 0.0)).detach() * quantizer.weight
        codes.append(index)
        wanted.append(target)
        parts.append(part)
    return CodedLevels(exact, *(torch.stack(x, 1) for x in (codes, wanted, parts)))


def predict_one(quantizer: LevelVQ, k: int, entries: Tensor, past: Tensor) -> Tensor:
    """`LevelVQ.predict` for one codebook as a single product: entries [B, T, F], past [B, n_taps, F] -> [B, T, F]."""
    known = torch.cat([past, entries], dim=1)
    windows = known.unfold(1, quantizer.n_taps + 1, 1)[..., :-1]  # [B, T, F, n_taps], oldest first
    taps = quantizer.taps[k].flip(0).permute(2, 0, 1).flatten(0, 1)  # [F * n_taps, F]
    return (entries + windows.flatten(-2) @ taps) / quantizer.weight + (quantizer.mean if k == 0 else 0.0)


def level_losses(coded: CodedLevels) -> Tensor:
    """Return the mean squared error in dB^2, summed over all prefixes of the level codebooks."""
    before = coded.parts.detach().cumsum(1) - coded.parts.detach()
    return (coded.exact[:, None] - before - coded.parts).square().mean((0, 2, 3)).sum()


@dataclass
class Forward:
    """A batch after the whole split codec."""

    estimate: Tensor  # [B, 1, n] of the core, without the ends that the losses ignore
    target: Tensor  # [B, 1, n]
    coded: CodedLevels
    latents: Tensor  # [B, D, T]
    shape_codes: Tensor  # [B, K - L, T]
    commitment: Tensor
    recode: Tensor | None = None  # how much more is lost if the estimate is coded again; see recode.py


def forward(
    codec: Codec, books: SplitCodebooks, audio: Tensor, n_books: Tensor, lost: Tensor,
    generator: torch.Generator | None, recodes: bool = False,
) -> Forward:  # fmt: skip
    """Run audio [B, 1, (T + 1) * hop] through the codec, with n_books [B, 2] level and shape codebooks per item.

    `lost` [B, T], bool, marks frames whose codes the decoder does not receive. With `recodes`, the result has the recode loss.
    """
    encoder, decoder, quantizer = parts_of(codec)
    frames = frames_of(audio, encoder.hop)
    with torch.no_grad():
        exact = encoder.analysis(frames)
    coded = code_levels(quantizer.levels, exact)
    base = coded.parts[:, 0].detach()
    state = encoder.initial_state(len(audio))
    latents = encoder.shape(frames, exact, base, state)
    quantized, commitment, shape_codes = books.shape(latents, n_books[:, 1])
    heard = decoder_inputs(codec, coded, quantized, n_books, lost)
    noise = (torch.rand(*exact.shape[:2], 2 * decoder.hop, generator=generator, device=exact.device) - 0.5) * 12**0.5
    estimate = core_audio(decoder, heard, noise)
    target = core_target(audio, decoder.config)
    cut = slice(SKIP_START * decoder.hop, -SKIP_END * decoder.hop)
    recode = None
    if recodes:
        first, second = (frames, exact, base, latents), (heard.levels, quantized)
        recode = recode_loss(encoder, first, second, estimate, n_books * ~lost.any(1, keepdim=True))
    return Forward(estimate[..., cut], target[..., cut], coded, latents, shape_codes, commitment, recode)


def coded_shape(
    codec: Codec, audio: Tensor, n_codebooks: int
) -> tuple[Tensor, Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Return the shape's latents [B, D, T], the same quantized, and a function to (estimate, target) [B, 1, N] from them."""
    encoder, decoder, quantizer = parts_of(codec)
    with torch.no_grad():
        frames = frames_of(audio, encoder.hop)
        coded = code_levels(quantizer.levels, encoder.analysis(frames))
        state = encoder.initial_state(len(audio))
        latents = encoder.shape(frames, coded.exact, coded.parts[:, 0], state)
        n_levels, n_shape = quantizer.counts(n_codebooks)
        n_shape = max(1, n_shape)
        n_books = torch.tensor([[n_levels, n_shape]] * len(audio), device=audio.device)
        shape = quantizer.shape
        quantized = shape.decode(shape.encode(latents, n_shape))
        lost = torch.zeros(coded.exact.shape[:2], dtype=torch.bool, device=audio.device)

    def decode(z: Tensor) -> tuple[Tensor, Tensor]:
        heard = decoder_inputs(codec, coded, z, n_books, lost)
        estimate = core_audio(decoder, heard, frame_noise(0, z.shape[2], 2 * decoder.hop, z))
        cut = slice(SKIP_START * decoder.hop, -SKIP_END * decoder.hop)
        return estimate[..., cut], core_target(audio, decoder.config)[..., cut]

    return latents, quantized, decode


def decoder_inputs(codec: Codec, coded: CodedLevels, quantized: Tensor, n_books: Tensor, lost: Tensor) -> DecoderInputs:
    """Return what the decoder's network receives of a batch, without lost frames and missing codebooks."""
    quantizer = parts_of(codec)[2]
    kept = (~lost)[..., None].to(quantized.dtype)  # [B, T, 1]
    flags = torch.stack([n_books[:, 0] / len(quantizer.level_places), n_books[:, 1] / len(quantizer.shape.codebooks)], 1)
    parts = coded.parts.detach()
    if not on_host(lost) or lost.any():
        entries = quantizer.levels.entries(coded.codes) * kept[:, None]
        past = quantizer.levels.initial_past(len(lost)).to(entries)
        with torch.no_grad():
            rows = lost.any(1)
            parts = torch.where(rows[:, None, None, None], quantizer.levels.predict(entries, past), parts)
    active = torch.arange(parts.shape[1], device=parts.device)[None] < n_books[:, :1]
    levels = (parts * active[..., None, None]).sum(1)
    shape = quantized.transpose(1, 2) * kept
    return DecoderInputs(shape, levels, parts[:, 0], flags[:, None].expand(-1, kept.shape[1], -1) * kept)


def core_audio(decoder: SplitDecoder, heard: DecoderInputs, noise: Tensor, corrects: bool = True) -> Tensor:
    """Return the core's output [B, 1, T * core_hop], like `SplitDecoder.forward` below 12 kHz.

    Without `corrects`, the last layer leaves the levels as they are.
    """
    state, config = decoder.initial_state(len(heard.shape)), decoder.config
    found = decoder.coefficients(heard, noise, state)
    share = found.share * corrects
    core = decoder.synthesize(found, state, last=True)
    step = decoder.hop // config.steps
    targets = torch.cat([heard.levels.unflatten(-1, (config.steps, -1)), share], dim=-1).flatten(1, 2)
    targets = torch.cat([targets[:, :1], targets, targets[:, -1:]], dim=1)
    steps = F.pad(core, (2 * step, 2 * step)).unflatten(1, (-1, step))
    windows = torch.cat([steps[:, :-2], steps[:, 1:-1], steps[:, 2:]], dim=-1)  # as unfold, whose gradient takes longer
    layer = decoder.correction
    out = torch.fft.irfft(layer.corrected(windows, targets), n=3 * step) * (layer.window / 1.125)
    samples, _ = add_windows(out, core.new_zeros(len(core), 2 * step), step)
    return samples[:, None, 2 * step :]


def core_target(audio: Tensor, config: SplitConfig) -> Tensor:
    """Return audio [B, 1, (T + 1) * hop] at the core's rate, without the half hops of context: [B, 1, T * core_hop]."""
    half = config.core_hop // 2
    return decimated(audio, config.core_factor)[..., half:-half]


def decimated(audio: Tensor, factor: int) -> Tensor:
    """Reduce the rate of audio [..., N] by `factor`: [..., N / factor]. The signal is treated as periodic."""
    if factor == 1:
        return audio
    n = audio.shape[-1] // factor
    return torch.fft.irfft(torch.fft.rfft(audio)[..., : n // 2 + 1] / factor, n=n)


def draw_lost_frames(n_items: int, n_frames: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw lost frames, bool [B, T]: in `share` of the items, a run of 1 to 8 frames."""
    chosen = torch.rand(n_items, 1, generator=generator) < share
    start = torch.randint(n_frames, (n_items, 1), generator=generator)
    length = torch.randint(1, 9, (n_items, 1), generator=generator)
    at = torch.arange(n_frames)[None]
    return chosen & (at >= start) & (at < start + length)


def draw_counts(recipe: Recipe, quantizer: SplitVQ, n_items: int, generator: torch.Generator) -> Tensor:
    """Draw how many level and shape codebooks each item uses: int64 [B, 2].

    With `free_order` an item has up to one level codebook more or fewer than its prefix, and as many shape codebooks
    fewer or more, which trains a decoder for other orders of the prefix.
    """
    full = torch.rand(n_items, generator=generator) < recipe.full_rate_probability
    options = torch.tensor(recipe.dropout_codebooks)
    some = options[torch.randint(len(options), (n_items,), generator=generator)]
    counts = torch.where(full, torch.tensor(quantizer.n_codebooks), some)
    pairs = torch.tensor([quantizer.counts(int(k)) for k in counts])
    if recipe.free_order:
        n_levels = pairs[:, 0] + torch.randint(-1, 2, (n_items,), generator=generator)
        n_levels = torch.minimum(n_levels.clamp(1, len(quantizer.level_places)), counts)
        n_levels = torch.where(full, pairs[:, 0], n_levels)
        pairs = torch.stack([n_levels, (counts - n_levels).clamp(0, len(quantizer.shape.codebooks))], 1)
    return pairs
