"""Tensors <-> tensors: models, quantizers, checkpoints and the pipeline that joins them to files."""
