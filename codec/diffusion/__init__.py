"""Multi-band diffusion: a decoder that samples audio, one diffusion network for each band of it (arXiv 2308.02560)."""
