"""`ecdc train prior`: make tokens of a codec from packed audio and train an integer prior on them. Resumes exactly."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from ...codec.model import Codec
from ...codec.quantize.residual import ResidualVQ
from ...codec.quantize.split import SplitVQ
from ...format.entropy.prior import Prior
from ...format.errors import ArgumentError
from ...format.files import atomic_path
from ..data.memory_maps import sample_rate_of
from ..data.packed_audio import PackedAudio, generator_for, validation_clips
from ..engine.checkpoints import load_module, save_module
from ..engine.metrics import log_row
from ..engine.optimizers import Optimizers
from ..engine.schedule import rate_share
from ..engine.steps import take_steps
from .trained_prior import TrainedPrior

WINDOW_SECONDS = 20.0  # of audio that is encoded at once
SHARES = {"music": 0.4, "speech": 0.3, "speech16k": 0.12, "sounds": 0.18}  # of the audio, for the groups that exist
LOG_EVERY, SAVE_EVERY, VALIDATE_EVERY = 50, 200, 200  # steps
DRAWS, WINDOWS = range(2)  # independent random streams
TOKENS = "tokens.npy"


@dataclass(frozen=True, slots=True)
class PriorRecipe:
    """The settings of training a prior."""

    steps: int = 1500
    batch_size: int = 16
    seconds: float = 5.0  # of audio per item: a chunk
    n_books: int = 6  # number of codebooks whose codes a step predicts
    width: int = 128
    learning_rate: float = 3e-3
    own_share: float = 2 / 3  # of the rate, for what tables hold beside projections of the codebooks' entries
    warmup_steps: int = 50
    token_hours: float = 4.0
    seed: int = 1


def cached_tokens(codec: Codec, data: PackedAudio, hours: float, folder: Path, report: Callable[[str], object]) -> np.ndarray:
    """Return codes of random windows of audio, uint16 [n, K, T], cached in `folder`.

    If the codec, the hours or the packed audio have changed, codes are made again, and `report` gets a line about it.
    """
    path, mark = folder / TOKENS, folder / (TOKENS + ".json")
    wanted = {"token_space": codec.token_space.hex(), "hours": hours, "data": data.fingerprint}
    with contextlib.suppress(OSError, ValueError, EOFError):  # missing or damaged tokens are made again
        if json.loads(mark.read_text()) == wanted:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        report(f"{path}: is of other audio, hours or codebooks; its tokens are made again")
    n_samples, batch_size = round(WINDOW_SECONDS * data.sample_rate), 8
    n_batches = math.ceil(hours * 3600 / WINDOW_SECONDS / batch_size)
    rows = []
    for i in range(n_batches):
        audio = data.batch(SHARES, (batch_size, n_samples), generator_for(0, i, WINDOWS))
        rows.append(encode_all_codebooks(codec, audio, data.sample_rate))
        if i % 10 == 9 or i == n_batches - 1:
            report(f"tokens: {(i + 1) * batch_size * WINDOW_SECONDS / 3600:.2f} of {hours:g} hours")
    codes = np.concatenate(rows)
    mark.unlink(missing_ok=True)  # until the new tokens are complete, it must not vouch for them
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.save(file, codes, allow_pickle=False)
    mark.write_text(json.dumps(wanted))
    return codes


@torch.no_grad()
def encode_all_codebooks(codec: Codec, audio: Tensor, sample_rate: int) -> np.ndarray:
    """Encode audio [B, 1, N] at `sample_rate` (Hz) with all codebooks: uint16 [n, K, T].

    For codecs that cut audio into segments, n counts segments.
    """
    config = codec.config
    if config.sample_rate != sample_rate:
        audio = torch.from_numpy(soxr.resample(audio[:, 0].numpy().T, sample_rate, config.sample_rate).T.copy())[:, None]
    audio = audio.expand(-1, config.channels, -1)
    if not config.segment_length:
        return codec.encode(audio).numpy().astype(np.uint16)
    segments = [segment.codes for segment in codec.encode_segments(audio)]
    return torch.cat([codes for codes in segments if codes.shape == segments[0].shape]).numpy().astype(np.uint16)


def unit_entries(quantizer: ResidualVQ | SplitVQ) -> list[Tensor]:
    """Return the entries [V, D] of each codebook, without their mean, and of unit length on average (root mean square)."""
    centred = [e - e.mean(0) for e in (book.detach().float() for book in quantizer.books())]
    return [e / e.square().sum(1).mean().sqrt().clamp(min=1e-20) for e in centred]


class PriorRun:
    """A prior in training."""

    def __init__(self, recipe: PriorRecipe, codec: Codec) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.codec, self.step, self.seconds = recipe, codec, 0, 0.0
        self.prior = TrainedPrior(unit_entries(codec.quantizer), recipe.width)
        own = self.prior.own_values()
        others = [p for p in self.prior.parameters() if not any(p is q for q in own)]
        rates = (0.0, recipe.learning_rate)
        self.optimizer = Optimizers((), others, rates, (0.9, 0.98), 0.0, own, recipe.own_share * recipe.learning_rate)

    def train_step(self, tokens: np.ndarray) -> float:
        """Update once, on a batch that depends only on the seed and the step; return nats per code."""
        recipe, generator = self.recipe, generator_for(self.recipe.seed, self.step, DRAWS)
        n_frames = min(round(recipe.seconds * self.codec.config.frame_rate), tokens.shape[2])
        picks = torch.randint(len(tokens), (recipe.batch_size,), generator=generator).tolist()
        firsts = torch.randint(tokens.shape[2] - n_frames + 1, (recipe.batch_size,), generator=generator).tolist()
        n_codebooks = self._draw_codebooks(generator)
        rows = [tokens[i, :n_codebooks, a : a + n_frames].astype(np.int64) for i, a in zip(picks, firsts, strict=True)]
        books = torch.randperm(n_codebooks, generator=generator)[: recipe.n_books].tolist()
        self.optimizer.zero_grad()
        loss = self.prior.loss(torch.from_numpy(np.stack(rows)), books).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.prior.parameters(), 1.0)
        self.optimizer.step(rate_share(self.step, recipe.steps, recipe.warmup_steps, decay_steps=recipe.steps))
        self.step += 1
        return float(loss.detach())

    def _draw_codebooks(self, generator: torch.Generator) -> int:
        """Draw K of a step: low bitrates as often as high ones."""
        top = self.codec.config.n_codebooks
        options = sorted({max(1, round(top * share)) for share in (0.125, 0.25, 0.5, 1.0)})
        return options[int(torch.randint(len(options), (1,), generator=generator))]

    @torch.no_grad()
    def validate(self, clips: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
        """Return the bits per code of each codebook, by group, for codes [n, K, T]."""
        rows = {}
        for group, codes in clips.items():
            books = range(codes.shape[1])
            rows[group] = [
                round(x, 4) for x in (self.prior.loss(torch.from_numpy(codes.astype(np.int64)), books) / math.log(2)).tolist()
            ]
        return rows

    def save(self, folder: Path) -> None:
        """Write the state atomically: either the old or the new checkpoint is complete."""
        save_module(folder, self.prior, self, self._same)

    def load(self, folder: Path) -> bool:
        """Continue from a checkpoint; False if there is none. Raises ValueError for another token space."""
        return load_module(folder, self.prior, self, self._same)

    @property
    def _same(self) -> dict[str, str]:
        return {"token_space": self.codec.token_space.hex()}


def train_prior(
    recipe: PriorRecipe, codec: Codec, data_folder: Path, output: Path,
    max_seconds: float = math.inf, report: Callable[[str], object] = print, init: Prior | None = None,
) -> PriorRun:  # fmt: skip
    """Train a prior for the tokens of `codec` into `output`, continuing from its last checkpoint if there is one.

    A new run starts from `init` if it is given, otherwise from the entries of the codebooks. Stops at the recipe's last step,
    after `max_seconds`, or at the first SIGINT/SIGTERM, always with a checkpoint. Raises ValueError if `init` is for other
    tokens, or of another size.
    """
    if init is not None and init.token_space != codec.token_space:
        raise ArgumentError("the prior to start from is for other tokens than those of the model")
    output.mkdir(parents=True, exist_ok=True)
    codec.eval()
    data = PackedAudio.open(data_folder, "train", round(WINDOW_SECONDS * sample_rate_of(data_folder)))
    tokens = cached_tokens(codec, data, recipe.token_hours, output, report)
    clips = {
        group: encode_all_codebooks(codec, wav, data.sample_rate)
        for group, wav in validation_clips(data_folder, seconds=5.0, per_group=8).items()
    }
    run = PriorRun(recipe, codec)
    if run.load(output):
        report(f"resumed at step {run.step}")
    elif init is None:
        run.prior.start_from_counts(tokens)
    else:
        run.prior.start_from(init)

    def observe(window: list[float], ends: bool) -> None:
        ends = ends or run.step == recipe.steps
        if run.step % SAVE_EVERY == 0 or ends:  # first, because whoever stops a run may not wait for its validation
            run.save(output)
        if run.step % LOG_EVERY == 0 or ends:
            _observe(run, output, window, clips, report, ends)

    take_steps(run, lambda step: tokens, run.train_step, observe, max_seconds)
    return run


def _observe(
    run: PriorRun, output: Path, window: list[float], clips: Mapping[str, np.ndarray],
    report: Callable[[str], object], ends: bool,
) -> None:  # fmt: skip
    """Log the mean loss since the last time, and validate if it is time."""
    row: dict[str, object] = {"step": run.step, "seconds": round(run.seconds)}
    row["bits"] = round(sum(window) / len(window) / math.log(2), 4)
    window.clear()
    if run.step % VALIDATE_EVERY == 0 or ends:
        row["valid"] = found = run.validate(clips)
        row["valid_bits"] = np.mean(list(found.values()), axis=0).round(3).tolist()
    log_row(output, row)
    report(f"step {run.step:5d}  {run.seconds:6.0f} s  {row['bits']:.3f} bits a code  {row.get('valid_bits', '')}")
