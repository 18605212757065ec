"""Turn tensors into codes and back, at two bitrates from one encoding.

python examples/tensors.py
"""

import ecdc
import torch


def main():
    codec = ecdc.load("nano-48k")
    seconds = torch.arange(codec.sample_rate) / codec.sample_rate
    wav = torch.stack([torch.sin(2 * torch.pi * hz * seconds) for hz in (220, 440)])[:, None] / 2  # [B=2, C=1, N]
    codes = codec.encode(wav, kbps=6)  # [B, K=12, T=50]
    for k in (3, 12):  # the first three codebooks are the encoding at 1.5 kbps
        decoded = codec.decode(codes[:, :k])[..., : wav.shape[-1]]
        error = (decoded - wav).square().mean() / wav.square().mean()
        print(f"{k} codebooks: the error is {10 * error.log10():.1f} dB below the signal")


if __name__ == "__main__":
    main()
