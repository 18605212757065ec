"""Train a codec: losses, discriminators, codebooks, and the step on a CPU or a GPU."""
