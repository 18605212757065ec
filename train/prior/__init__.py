"""Train the entropy model (prior) of a codec's tokens."""
