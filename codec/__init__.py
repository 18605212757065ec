"""Models, quantizers and checkpoints (tensors to tensors), and the pipeline that connects them to files."""
