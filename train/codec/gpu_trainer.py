"""Train a split codec on a GPU: packed audio is in its memory, and steps are CUDA graphs (cuda_graph.py)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from ...codec.config import SplitConfig
from ...codec.model import Codec
from ...codec.quantize.split import SplitVQ
from ...format.errors import ArgumentError
from ..data.packed_audio import PackedAudio, augment
from .cuda_graph import DeviceAudio, GraphStep, Inputs, draw_inputs
from .latent_basis import change_latent_basis
from .recipe import Recipe
from .split_step import SplitCodebooks
from .state import Run
from .step import DATA, KMEANS, generator_for, row_samples

METRIC_BATCHES = 6  # a GPU's batches are larger


def device_of(name: str, recipe: Recipe) -> torch.device:
    """Return the requested device; raises ValueError if the recipe cannot be trained there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("--device cuda: this machine has no GPU that torch can use; leave --device out")
    if name != "cpu" and not isinstance(recipe.codec.architecture, SplitConfig):
        raise ArgumentError(f"--device {name}: only split codecs (nano-48k) train on a GPU; leave --device out")
    if name != "cpu" and (recipe.adversary or recipe.frozen_tokens or recipe.losses.recode):
        parts = "an adversary, frozen tokens and the recode loss"
        raise ArgumentError(f"--device {name}: {parts} are for the CPU trainer; leave --device out")
    return torch.device(name)


class GpuTrainer:
    """Runs training steps on a device. `take_steps` calls `draw` and `take`."""

    def __init__(self, run: Run, data: PackedAudio, device: torch.device) -> None:
        """Copy the audio to the device. `run` must already be there, with its checkpoint loaded."""
        self.run, self.device = run, device
        self.audio = DeviceAudio({group: len(samples) for group, samples in data.maps.items()}, device)
        for group, samples in data.maps.items():
            for start in range(0, len(samples), 1 << 27):
                self.audio.append(group, samples[start : start + (1 << 27)].copy())
        if not run.codebooks.started:
            self._start_codebooks()
        run.codec.train()
        self.step: GraphStep | None = None

    def draw(self, step: int) -> Inputs:
        """Return the inputs of a step, on the host."""
        return draw_inputs(self.run, self.audio, step)

    def take(self, inputs: Inputs) -> dict[str, float]:
        """Run one step; return its losses by name."""
        if self.run.step in self.run.recipe.metric_steps:
            self._change_basis()
        if self.step is None:
            self.step = GraphStep(self.run, self.audio)
        step = self.step
        if step.stream is None:
            step(inputs)
            return step.means(1)
        with torch.cuda.stream(step.stream):
            step(inputs)
            found = step.means(1)
            if step.graph is None and self.run.step > self.run.recipe.warmup_steps:
                step.record()
        return found

    def _batches(self, n_batches: int) -> Iterator[Tensor]:
        """Yield batches that no step uses."""
        recipe, n_samples = self.run.recipe, row_samples(self.run.recipe)
        for i in range(n_batches):
            seed = recipe.seed, 1 << 30, i, DATA
            starts = self.audio.draw(recipe.data.weights, (recipe.data.batch_size, n_samples), seed)
            yield augment(self.audio.windows(starts.to(self.device), n_samples), recipe.data, None)

    def _start_codebooks(self) -> None:
        recipe = self.run.recipe
        n_batches = max(1, round(recipe.kmeans_seconds / (recipe.data.seconds * recipe.data.batch_size)))
        assert isinstance(self.run.codebooks, SplitCodebooks)
        self.run.codebooks.start(self.run.codec, self._batches(n_batches), generator_for(recipe.seed, 0, KMEANS))

    def _change_basis(self) -> None:
        forget_searches(self.run.codec)
        change_latent_basis(self.run, self._batches(METRIC_BATCHES))
        self._start_codebooks()
        forget_searches(self.run.codec)


def forget_searches(codec: Codec) -> None:
    """Drop search tables of the codebooks, because a CUDA graph changes codebooks without notice."""
    if isinstance(codec.quantizer, SplitVQ):
        codec.quantizer.shape._prepared = None


def host_copy(codec: Codec) -> Codec:
    """Return a copy of the codec on the CPU for validation and export, or itself if it is there."""
    if next(codec.parameters()).device.type == "cpu":
        return codec
    forget_searches(codec)
    return copy.deepcopy(codec).cpu()
