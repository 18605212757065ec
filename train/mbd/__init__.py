"""Train a multi-band diffusion decoder for a codec with frozen tokens."""
