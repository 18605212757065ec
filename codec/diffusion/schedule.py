"""Noise schedules: at time t, a signal is scaled by sqrt(a) and noise by sqrt(1 - a), with a falling from 1 to nearly 0.

`a` is "alpha bar" in DDPM (arXiv 2006.11239): the product of 1 - beta over the times 0..t.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...format.errors import ArgumentError
from .config import ScheduleConfig


class NoiseSchedule:
    """The tables of one schedule.

    They are float32 and computed exactly as in the published sampler, including the last bits: a
    small difference of two entries is divided by a small root, so rounding differences would show
    in a comparison to 1e-5.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        root = 1 / config.power
        self.betas = torch.linspace(config.first_beta**root, config.last_beta**root, config.n_steps) ** config.power
        self.signal = (1 - self.betas).cumprod(dim=0)  # a, for each time

    def signal_at(self, time: int) -> Tensor:
        """Return a at one time as a float32 product, which may differ in the last bits from the cumulative product."""
        return (1 - self.betas[: time + 1]).prod()

    def times(self, steps: int | Sequence[int]) -> list[int]:
        """Return the times of the network's calls, descending.

        `steps` calls are evenly spaced from the noisiest time down to one stride above 0, as the
        published 20 are: 999, 949, ..., 49. A sequence is used as given. Raises ValueError if there are
        too many times, or if they do not descend.
        """
        last = self.config.n_steps - 1
        if isinstance(steps, int):
            if not 1 <= steps <= last:
                raise ArgumentError(f"steps must be 1..{last}, got {steps}")
            return [last - i * self.config.n_steps // steps for i in range(steps)]
        found = [int(t) for t in steps]
        if not found or sorted(set(found), reverse=True) != found or not 0 < found[-1] <= found[0] <= last:
            raise ArgumentError(f"steps must descend within {last}..1, got {found[:8]}{'...' if len(found) > 8 else ''}")
        return found
