"""Samplers: turn noise into a signal with a few calls of a network that predicts the noise.

All samplers work with the same networks and schedules. The numbers of each call are computed in
advance, so a signal can be processed window by window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...format.errors import ArgumentError
from .schedule import NoiseSchedule


class Call(Protocol):
    """One call of the network, and how its output changes the signal."""

    @property
    def time(self) -> int:
        """The time that the network receives."""
        ...

    @property
    def noisy(self) -> bool:
        """Whether the call needs fresh noise."""
        ...

    def advance(self, state: Tensor, estimate: Tensor, noise: Tensor | None) -> Tensor:
        """Return the next state [B, s * C, n] from this one, the predicted noise [B, C, n], and fresh noise.

        The first C channels of a state are the signal; the others are the sampler's own memory.
        """
        ...


@dataclass(frozen=True)
class AncestralCall:
    """One step of DDPM's reverse chain on a subset of the times (arXiv 2006.11239, algorithm 2)."""

    time: int
    estimate_gain: float
    keep: float  # sqrt(alpha)
    deviation: float  # of the fresh noise, before `noise_scale`
    noise_scale: float
    clip: float | None

    @property
    def noisy(self) -> bool:
        return self.deviation > 0

    def advance(self, state: Tensor, estimate: Tensor, noise: Tensor | None) -> Tensor:
        mean = (state - self.estimate_gain * estimate) / self.keep
        mean = mean if noise is None else mean + self.deviation * noise * self.noise_scale
        return mean if self.clip is None else mean.clamp(-self.clip, self.clip)


def ancestral(schedule: NoiseSchedule, times: Sequence[int]) -> list[Call]:
    """Return the calls of the published sampler, with its peculiarities.

    The noise level of the first call is that of the last time, whatever the call's time is. The
    last call adds no noise and stops at the mean for time 0; the network is not called at time 0.
    The training's `rescale` is not undone.
    """
    config = schedule.config
    ascending = schedule.signal[[0, *reversed(times)]]
    betas = 1 - torch.cat([ascending[:1], ascending[1:] / ascending[:-1]])
    calls: list[Call] = []
    now = schedule.signal_at(config.n_steps - 1)
    for i, time in enumerate(times):
        alpha = 1 - betas[-1 - i]
        is_last = i == len(times) - 1
        later = torch.tensor(1.0) if is_last else schedule.signal_at(times[i + 1])
        variance = (1 - later) / (1 - now) * (1 - alpha)
        calls.append(
            AncestralCall(
                time,
                float((1 - alpha) / (1 - now).sqrt()),
                float(alpha.sqrt()),
                0.0 if is_last else float(variance**0.5),
                config.noise_scale,
                config.clip,
            )
        )
        now = later
    return calls


@dataclass(frozen=True)
class ExactCall:
    """A step along the probability flow, using the signal x0 that the predicted noise implies.

    With signal a and noise s = sqrt(1 - a^2) now, a' and s' later: x' = s'/s x + gain D. D is x0 or an
    extrapolation from the two latest x0.
    """

    time: int
    signal: float  # a: sqrt of the schedule's
    noise: float  # s
    keep: float  # s'/s
    gain: float
    slope: float  # D = x0 + slope * (x0 - previous x0)
    has_memory: bool  # whether the state carries the previous x0
    clip: float | None
    scale: float = 1.0  # undoes the training's rescale, at the end
    noisy: bool = False

    def advance(self, state: Tensor, estimate: Tensor, noise: Tensor | None) -> Tensor:
        n_channels = estimate.shape[1]
        x, memory = state[:, :n_channels], state[:, n_channels:]
        clean = (x - self.noise * estimate) / self.signal
        clean = clean if self.clip is None else clean.clamp(-self.clip, self.clip)
        target = clean + self.slope * (clean - memory) if self.slope else clean
        x = (self.keep * x + self.gain * target) * self.scale
        return torch.cat([x, clean], dim=1) if self.has_memory else x


def ddim(schedule: NoiseSchedule, times: Sequence[int]) -> list[Call]:
    """Return the calls of DDIM without noise (arXiv 2010.02502): each step moves straight to the estimated signal."""
    return _exact_calls(schedule, times, order=1)


def dpm_solver(schedule: NoiseSchedule, times: Sequence[int]) -> list[Call]:
    """Return the calls of DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2), which extrapolates the signal over log(a/s)."""
    return _exact_calls(schedule, times, order=2)


def _exact_calls(schedule: NoiseSchedule, times: Sequence[int], order: int) -> list[Call]:
    """Return one step between each two times, and a last one that returns x0 itself.

    First order is DDIM: a' x0 + s' (x - a x0) / s. Second order uses the last two calls. The first and last steps are of first
    order too, because they lack a second point or a finite log(a/s).
    """
    config = schedule.config
    exact = (1 - schedule.betas.double()).cumprod(dim=0)  # float64, so that small differences keep their precision
    signals = [math.sqrt(exact[t]) for t in times] + [1.0]
    noises = [math.sqrt(1 - exact[t]) for t in times] + [0.0]
    logs = [math.log(a / s) for a, s in zip(signals[:-1], noises[:-1], strict=True)]
    calls: list[Call] = []
    for i, time in enumerate(times):
        a, s, later_a, later_s = signals[i], noises[i], signals[i + 1], noises[i + 1]
        is_last = i == len(times) - 1
        slope = 0.0 if order == 1 or is_last or i == 0 else (logs[i + 1] - logs[i]) / (logs[i] - logs[i - 1]) / 2
        calls.append(
            ExactCall(
                time, a, s, later_s / s, later_a - later_s * a / s, slope,
                has_memory=order == 2 and not is_last, clip=config.clip, scale=config.rescale if is_last else 1.0,
            )
        )  # fmt: skip
    return calls


SAMPLERS = {"ancestral": ancestral, "ddim": ddim, "dpm": dpm_solver}


def plan(sampler: str, schedule: NoiseSchedule, steps: int | Sequence[int]) -> list[Call]:
    """Return the calls of a sampler, given its name; raises ValueError that lists the known names for others."""
    if sampler not in SAMPLERS:
        raise ArgumentError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    return SAMPLERS[sampler](schedule, schedule.times(steps))
