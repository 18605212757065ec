"""Noise schedules: at time t, sqrt(a) of the signal is left and sqrt(1 - a) of the noise is in, a falling from 1 to nearly 0.

`a` is the "alpha bar" of DDPM (arXiv 2006.11239): the product of 1 - beta over the times 0..t.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import ScheduleConfig


class NoiseSchedule:
    """The tables of one schedule.

    They are float32 and computed as the published sampler does, last bits included: a small
    difference of two of them is divided by a small root, which makes rounding audible in a
    comparison to 1e-5.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        root = 1 / config.power
        self.betas = torch.linspace(config.first_beta**root, config.last_beta**root, config.n_steps) ** config.power
        self.signal = (1 - self.betas).cumprod(dim=0)  # a, for each time

    def signal_at(self, time: int) -> Tensor:
        """a at one time, as a product: float32, and not to the bit what the running one gives."""
        return (1 - self.betas[: time + 1]).prod()

    def times(self, steps: int | Sequence[int]) -> list[int]:
        """The times of the network's calls, descending.

        `steps` calls lie evenly from the noisiest time down and end a stride above 0, as the
        published 20 do: 999, 949, ..., 49. A sequence is taken as it is. Raises ValueError
        where there are too many, or where they do not descend.
        """
        last = self.config.n_steps - 1
        if isinstance(steps, int):
            if not 1 <= steps <= last:
                raise ValueError(f"steps must be 1..{last}, got {steps}")
            return [last - i * self.config.n_steps // steps for i in range(steps)]
        found = [int(t) for t in steps]
        if not found or sorted(set(found), reverse=True) != found or not 0 < found[-1] <= found[0] <= last:
            raise ValueError(f"steps must descend within {last}..1, got {found[:8]}{'...' if len(found) > 8 else ''}")
        return found
