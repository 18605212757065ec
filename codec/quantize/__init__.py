"""Vector quantization: one codebook (vq), K of them coarse to fine (residual)."""
