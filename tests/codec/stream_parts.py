"""Feed a stream block by block."""

import numpy as np


def parts(stream_method, array, sizes, rng):
    """Pass an array's last axis to a stream in blocks of random sizes; the last block ends it."""
    found, begin = [], 0
    while begin < array.shape[-1]:
        size = int(rng.choice(sizes))
        last = begin + size >= array.shape[-1]
        found.append(np.asarray(stream_method(array[..., begin : begin + size], last=last)))
        begin += size
    return np.concatenate(found, axis=-1)
