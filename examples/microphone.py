"""Encode a live source block by block, and decode what comes out at once.

python examples/microphone.py

Replace `blocks` with the callback of your audio library: blocks may have any length.
"""

import ecdc
import numpy as np

BLOCK = 480  # samples: 10 ms at 48 kHz


def blocks(sample_rate, seconds=1.0):
    """Stand in for a microphone: a rising tone in blocks of float32 [1, 1, BLOCK]."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 200 * time) * time)
    for start in range(0, len(tone), BLOCK):
        yield tone[None, None, start : start + BLOCK].astype(np.float32)


def main():
    codec = ecdc.load("nano-48k")
    n_sent = n_heard = 0
    with codec.streaming() as sender, codec.streaming() as receiver:
        for block in blocks(codec.sample_rate):
            codes = sender.encode(block, kbps=6)  # [1, K, t]: the frames that this block completes
            n_sent += codes.shape[-1]
            n_heard += receiver.decode(codes).shape[-1]  # samples that are final now
        rest = sender.encode(np.zeros((1, 1, 0), np.float32), kbps=6, last=True)
        n_sent += rest.shape[-1]
        n_heard += receiver.decode(rest, last=True).shape[-1]
    print(f"{n_sent} frames sent, {n_heard / codec.sample_rate:.2f} s heard")


if __name__ == "__main__":
    main()
