"""Train a split codec on a GPU: a step is recorded once as a CUDA graph and then replayed.

A step has about three thousand small kernels. Launched one by one they leave the GPU waiting; as a graph they run without
the host. So a step must not read a value back to the host, and everything that changes from step to step is in the tensors
of `Inputs`. On a CPU `GraphStep` runs the same step without a graph; the tests do this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.packed_audio import MIN_RMS, augment
from ..engine.averaging import average_share, move_averages
from .ear_losses import EAR_LOSSES
from .losses import reconstruction_losses
from .recipe import Recipe
from .split_step import SplitCodebooks, draw_counts, draw_lost_frames, forward, level_losses, parts_of
from .state import Run, trained_parameters
from .step import DATA, DROPOUT, NOISE, generator_for, learning_rate_share, row_samples

NO_GENERATOR = torch.Generator()  # not used: codebooks on a GPU draw there
N_CANDIDATES = 3  # windows drawn per item; the first that is not silent is used


class DeviceAudio:
    """Packed audio in device memory, as one flat int16 tensor. Groups can grow into their reserved space."""

    def __init__(self, capacities: Mapping[str, int], device: torch.device) -> None:
        """Reserve samples for each group."""
        self.samples = torch.zeros(sum(capacities.values()), dtype=torch.int16, device=device)
        self.lengths = dict.fromkeys(capacities, 0)
        starts = np.cumsum([0, *capacities.values()])
        self.starts = dict(zip(capacities, starts.tolist(), strict=False))

    def append(self, group: str, audio: np.ndarray) -> None:
        """Append int16 [N] to a group."""
        start = self.starts[group] + self.lengths[group]
        self.samples[start : start + len(audio)].copy_(torch.from_numpy(audio))
        self.lengths[group] += len(audio)

    def draw(self, weights: Mapping[str, float], shape: tuple[int, int], seed: tuple[int, ...]) -> Tensor:
        """Draw starts of windows, int64 [N_CANDIDATES, B]: the group by its weight, the time uniformly."""
        random = np.random.default_rng(seed)
        there = [g for g in sorted(self.lengths) if self.lengths[g] >= shape[1]]
        groups = [g for g in there if weights.get(g, 0.0) > 0] or there
        share = np.array([weights.get(g, 0.0) or 1.0 for g in groups])
        chosen = random.choice(len(groups), shape[0], p=share / share.sum())
        first = np.array([self.starts[g] for g in groups])[chosen]
        room = np.array([self.lengths[g] - shape[1] + 1 for g in groups])[chosen]
        return torch.from_numpy(first + (random.random((N_CANDIDATES, shape[0])) * room).astype(np.int64))

    def windows(self, starts: Tensor, n_samples: int) -> Tensor:
        """Return windows [B, 1, N] at `starts` [N_CANDIDATES, B]: for each item the first candidate that is not near-silent."""
        places = starts[..., None] + torch.arange(n_samples, device=starts.device)
        audio = self.samples[places].float() / 32768
        loud = audio.square().mean(2) > MIN_RMS**2  # [N_CANDIDATES, B]
        first = loud.float().argmax(0)
        return audio[first, torch.arange(audio.shape[1], device=audio.device)][:, None]


@dataclass
class Inputs:
    """Everything that differs between two steps. The graph reads these tensors."""

    starts: Tensor  # int64 [N_CANDIDATES, B]
    n_books: Tensor  # int64 [B, 2]
    lost: Tensor  # bool [B, T]
    rate: Tensor  # share of the learning rates
    average: Tensor  # share of the new weights in their moving average

    def fill(self, values: Inputs) -> None:
        """Copy the values of another step."""
        for name in self.__dataclass_fields__:
            getattr(self, name).copy_(getattr(values, name), non_blocking=True)

    def to(self, device: torch.device) -> Inputs:
        """Return a copy on a device."""
        return Inputs(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def draw_inputs(run: Run, audio: DeviceAudio, step: int) -> Inputs:
    """Return the inputs of step number `step`, on the host."""
    recipe: Recipe = run.recipe
    batch_size, n_samples = recipe.data.batch_size, row_samples(recipe)
    n_frames = n_samples // recipe.codec.hop_length - 1
    starts = audio.draw(recipe.data.weights, (batch_size, n_samples), (recipe.seed, step, DATA))
    n_books = draw_counts(recipe, parts_of(run.codec)[2], batch_size, generator_for(recipe.seed, step, DROPOUT))
    lost = draw_lost_frames(batch_size, n_frames, recipe.lost_share, generator_for(recipe.seed, step, NOISE))
    shares = learning_rate_share(recipe, step), average_share(recipe.average_decay, step)
    return Inputs(starts, n_books, lost, *(torch.tensor(share) for share in shares))


def move_to(run: Run, device: torch.device) -> None:
    """Move a run to a GPU, and prepare its optimizers for a graph. Call this before loading its checkpoint."""
    if device.type == "cpu":
        return
    run.codec.to(device)
    run.codebooks.to(device)
    run.average = {name: value.to(device) for name, value in run.average.items()}
    run.optimizers.prepare_for_graph(device)


class GraphStep:
    """The training step of a run on its device. Call it with the inputs of a step; `losses` accumulates the results."""

    def __init__(self, run: Run, audio: DeviceAudio) -> None:
        self.run, self.audio = run, audio
        self.device = audio.samples.device
        self.parameters = dict(trained_parameters(run.codec))
        self.inputs = draw_inputs(run, audio, run.step).to(self.device)
        self.losses: dict[str, Tensor] = {}
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def __call__(self, inputs: Inputs) -> None:
        """Run one step."""
        self.inputs.fill(inputs)
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()
        self.run.step += 1

    def record(self) -> None:
        """Record the graph, after some steps without one; call this inside `torch.cuda.stream(self.stream)`."""
        torch.cuda.synchronize()
        for parameter in self.parameters.values():
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._step()
        self.graph = graph

    def means(self, n_steps: int) -> dict[str, float]:
        """Return the mean of each loss over the last `n_steps` steps, and reset the sums."""
        found = {name: float(value) / n_steps for name, value in self.losses.items()}
        for value in self.losses.values():
            value.zero_()
        return found

    def _step(self) -> None:
        run, inputs, recipe = self.run, self.inputs, self.run.recipe
        assert isinstance(run.codebooks, SplitCodebooks)
        for parameter in self.parameters.values():
            parameter.grad = None
        audio = augment(self.audio.windows(inputs.starts, row_samples(recipe)), recipe.data, None)
        coded = forward(run.codec, run.codebooks, audio, inputs.n_books, inputs.lost, None)
        weights, rate = recipe.losses, run.codec.config.core_rate
        hop = run.codec.config.hop_length * rate // run.codec.sample_rate if weights.pulse else 0
        compared = weights.windows, weights.complex_windows, hop, weights.waveform_hz
        losses = reconstruction_losses(coded.estimate, coded.target, rate, *compared)
        for name, loss in EAR_LOSSES.items():
            if getattr(weights, name):
                losses[name] = loss(coded.estimate, coded.target, rate)
        losses |= {"commitment": coded.commitment, "level_code": level_losses(coded.coded)}
        total = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
        total.backward()
        norm = self._update()
        lesson = coded.latents.detach(), coded.shape_codes, coded.coded.wanted, coded.coded.codes
        run.codebooks.learn(NO_GENERATOR, inputs.n_books, *lesson)
        self._note(losses | {"total": total, "gradient_norm": norm})

    @torch.no_grad()
    def _update(self) -> Tensor:
        """Clip and apply the gradients, and update the average. Values of a gradient that are not finite count as zero."""
        run = self.run
        networks = [p for p in run.network_parameters() if p.grad is not None]
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        for gradient in gradients:
            gradient.nan_to_num_(0.0, 0.0, 0.0)
        norm = torch.nn.utils.clip_grad_norm_(networks, run.recipe.clip_norm, foreach=True)
        run.optimizers.step(self.inputs.rate)
        move_averages(run.average.values(), (self.parameters[name] for name in run.average), self.inputs.average)
        return norm

    @torch.no_grad()
    def _note(self, found: dict[str, Tensor]) -> None:
        for name, value in found.items():
            if name in self.losses:
                self.losses[name] += value.detach()
            else:
                self.losses[name] = value.detach().clone()
