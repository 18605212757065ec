"""Multi-band diffusion: a decoder that samples audio with one diffusion network per band (arXiv 2308.02560)."""
