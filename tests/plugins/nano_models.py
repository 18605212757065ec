"""A small model of musicgen-nano's kind: mono and stereo, text before the tokens, melodies added to them."""

import torch
from musicgen_models import tiny

RATE, FRAMES = 24_000, 75
KIND = {
    "delays": (0, 0, 1, 1, 2, 2, 3, 3), "channels": 2, "mono": True, "cross_attention": False, "rotary": True,
    "text_tokens": 6, "text_summary": True, "n_chroma": 12, "n_beats": 4,
    "chroma_window": 8192, "melody_fusion": "sum", "sample_rate": RATE,
    "frame_rate": FRAMES, "max_seconds": 0.4, "stride_seconds": 0.2,
}  # fmt: skip


def nano(seed=0, **changes):
    """The model, of random weights; 30 frames are a window."""
    return tiny(seed, **KIND | changes)


def tone(frequency, seconds=1.0):
    """Mono audio [N]."""
    return torch.sin(2 * torch.pi * frequency / RATE * torch.arange(round(seconds * RATE)))


def words(path):
    """A text encoder of as many dimensions as the model wants, whatever the file."""
    return lambda prompt: torch.stack([torch.full((24,), len(word) / 5).cos() for word in [*prompt.split(), ""]])
