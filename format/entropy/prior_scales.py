"""The integer scales of a prior's arithmetic, which prior.py and prior_kernels.py share."""

SHIFT, EMBEDDING_SHIFT = 6, 4  # bits between a sum and an activation, and between an embedding and a sum
LARGEST, LIMIT = 127, 1 << 20  # largest weight or activation, and largest sum passed from layer to layer
RESOLUTION_SHIFT = 5  # shift from a logit difference to an index of the table of exponentials
RECIPROCAL_BITS = 28  # of the factor that turns exponentials into frequencies
