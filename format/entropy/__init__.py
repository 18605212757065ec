"""Entropy coding of codes: the prior (an integer network that predicts codes) and the range coder."""
