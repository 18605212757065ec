"""Sound for the tests of this folder."""

import numpy as np

RATE = 24_000


def sound(n, channels=1, seed=0):
    """A tone in noise [channels, n]."""
    rng = np.random.default_rng(seed)
    time = np.arange(n) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * time) + 0.02 * rng.standard_normal((channels, n))).astype(np.float32)
