"""The learning rate over a run."""

from __future__ import annotations


def rate_share(step: int, steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Return the factor of the learning rates at a step: it warms up, stays at 1, and falls linearly to zero at the end.

    `warmup_steps` or `decay_steps` of 0 leave that part out.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    left = (steps - step) / decay_steps if decay_steps else 1.0
    return warm * min(1.0, max(0.0, left))
