"""A loss on pre-echo: sound before an attack, where the target is quiet.

A coded block spreads its error over its whole length, also to before an attack. Losses of levels hardly notice it, because such
moments are rare.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

STEP_SECONDS = 0.0025
BEFORE, AFTER = 4, 2  # steps whose level counts before an attack and in it; one step lies between
RISE = 16.0  # in power: 12 dB within 5 ms make an attack
LEAST_POWER = 1e-5  # of an attack
MASKED = 1e-6  # relative to the attack's power: what is below is not heard


def attack_loss(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Return how much louder the 10 ms before attacks are than in the target: audio [B, 1, N] twice -> scalar.

    It is the mean over attacks of the squared excess, in units of 10 dB. Batches with few attacks count less.
    """
    step = round(STEP_SECONDS * sample_rate)
    n_steps = target.shape[-1] // step
    n = n_steps - BEFORE - AFTER
    if n < 1:
        return estimate.new_zeros(())
    found, wanted = (x[..., : n_steps * step].unflatten(-1, (n_steps, step)).square().mean(-1) for x in (estimate, target))
    peak = F.max_pool1d(wanted, AFTER, 1)[..., BEFORE + 1 :][..., :n]
    quiet = F.max_pool1d(wanted, BEFORE, 1)[..., :n]
    attacks = (peak > RISE * quiet) & (peak > LEAST_POWER)
    levels = [(F.avg_pool1d(x, BEFORE, 1)[..., :n] + MASKED * peak + 1e-10).log10() for x in (found, wanted)]
    excess = (levels[0] - levels[1]).relu().square()
    return (excess * attacks).sum() / (attacks.sum() + len(target))
