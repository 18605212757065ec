"""Training: data, losses, loop and recipes. Inference never imports this package."""
