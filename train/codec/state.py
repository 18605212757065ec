"""The state of a training run: everything that a checkpoint holds and a step changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn as nn
from torch import Tensor

from ...codec.config import SplitConfig
from ...codec.model import Codec
from ...codec.modules.convnext import CausalStack
from ...codec.quantize.residual import ResidualVQ
from ...codec.quantize.split import SplitVQ
from ...format.errors import ArgumentError
from ..engine.averaging import average_share, move_averages
from ..engine.hardware import has_bfloat16
from ..engine.optimizers import Optimizers
from .adversary import Adversary
from .balancer import Balancer
from .codebooks import CodebookTrainer
from .recipe import Recipe
from .split_step import SplitCodebooks

SHARES = ("reconstruction", "adversarial", "feature")  # of the decoder's gradient


@dataclass
class Run:
    """A codec in training, with everything else that is trained."""

    recipe: Recipe
    codec: Codec
    codebooks: CodebookTrainer | SplitCodebooks
    optimizers: Optimizers
    adversary: Adversary | None = None
    balancer: Balancer = field(default_factory=lambda: Balancer(SHARES))
    average: dict[str, Tensor] = field(default_factory=dict)  # moving average of the trained parameters, by name
    step: int = 0
    seconds: float = 0.0  # spent in steps, including previous sessions

    @classmethod
    def new(cls, recipe: Recipe) -> Run:
        """Create an untrained run; its weights depend only on the recipe's seed."""
        if recipe.losses.recode and not isinstance(recipe.codec.architecture, SplitConfig):
            raise ArgumentError("losses.recode: only split codecs have this loss; delete the line")
        torch.manual_seed(recipe.seed)
        codec = Codec(recipe.codec)
        for module in codec.modules():
            if isinstance(module, CausalStack):
                module.bfloat16_blocks = recipe.bfloat16_blocks and has_bfloat16()
        if recipe.frozen_tokens:
            codec.encoder.requires_grad_(False)
            codec.quantizer.requires_grad_(False)  # the taps of a split codec
        adversary = Adversary(recipe.adversary) if recipe.adversary else None
        codebooks = codebook_trainer_for(codec.quantizer, recipe.codebook_decay)
        run = cls(recipe, codec, codebooks, optimizers_for(recipe, codec), adversary)
        if recipe.average_decay:
            run.average = {name: p.detach().clone() for name, p in trained_parameters(codec)}
        return run

    def network_parameters(self) -> list[Tensor]:
        """Return the parameters of the networks only."""
        own = {id(p) for p in self.codec.quantizer.parameters()}
        return [p for p in self.optimizers.parameters() if id(p) not in own]

    def update_average(self) -> None:
        """Move the average towards the weights, faster at first, so that it leaves its initial values."""
        parameters = dict(trained_parameters(self.codec))
        share = average_share(self.recipe.average_decay, self.step)
        move_averages(self.average.values(), (parameters[name] for name in self.average), share)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Codec]:
        """Give the codec the averaged weights inside the `with` block, if there is an average."""
        parameters = dict(trained_parameters(self.codec))
        kept = {name: parameters[name].detach().clone() for name in self.average}
        with torch.no_grad():
            for name, value in self.average.items():
                parameters[name].copy_(value)
        try:
            yield self.codec
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    parameters[name].copy_(value)


def codebook_trainer_for(quantizer: ResidualVQ | SplitVQ, decay: float) -> CodebookTrainer | SplitCodebooks:
    """Return the trainer for a quantizer's codebooks."""
    return SplitCodebooks(quantizer, decay) if isinstance(quantizer, SplitVQ) else CodebookTrainer(quantizer, decay)


def trained_parameters(codec: Codec) -> Iterator[tuple[str, nn.Parameter]]:
    """Return the names and parameters that the optimizers change."""
    return ((name, parameter) for name, parameter in codec.named_parameters() if parameter.requires_grad)


def optimizers_for(recipe: Recipe, codec: Codec) -> Optimizers:
    """Create AdamW; Muon for matrices inside blocks, if the recipe asks for it; and AdamW for the taps of levels.

    The taps are parameters of the quantizer. Their gradients are in squared decibels, so they have their own learning rate.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    taps: list[nn.Parameter] = []  # of a split codec's levels
    for name, parameter in trained_parameters(codec):
        if name.startswith("quantizer."):
            taps.append(parameter)
            continue
        inside = ".blocks." in name and parameter.dim() == 2
        (matrices if inside and recipe.muon_learning_rate else others).append(parameter)
    rates, betas = (recipe.muon_learning_rate, recipe.learning_rate), (recipe.betas[0], recipe.betas[1])
    return Optimizers(matrices, others, rates, betas, recipe.weight_decay, taps, recipe.taps_learning_rate)


def start_from(run: Run, model: Codec) -> None:
    """Start from the weights of `model`; raises ValueError if its networks differ from the recipe's."""
    if model.config.to_dict() | {"name": ""} != run.recipe.codec.to_dict() | {"name": ""}:
        raise ArgumentError(f"{model.config.name} is not the codec that the recipe describes; copy its [codec] table")
    run.codec.load_state_dict(model.state_dict())  # copied into float32
    run.codebooks.continue_from_quantizer()
    parameters = dict(trained_parameters(run.codec))
    run.average = {name: parameters[name].detach().clone() for name in run.average}
