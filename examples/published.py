"""Run a published EnCodec checkpoint: the same codes as the original gives.

python examples/published.py encodec_24khz-d7cc33bc.th talk.wav back.wav

Checkpoints of audiocraft and Hugging Face folders load in the same way. Nothing in a checkpoint is executed.
"""

import sys

import ecdc
import soundfile
import torch


def main(checkpoint, source, target, kbps="6"):
    codec = ecdc.load(checkpoint)
    audio, sample_rate = soundfile.read(source, dtype="float32", always_2d=True)  # [N, C]
    if sample_rate != codec.sample_rate:
        raise SystemExit(f"{source}: {sample_rate} Hz; this model needs {codec.sample_rate}")
    wav = torch.from_numpy(audio.mean(1))[None, None]  # [1, 1, N]
    codes = codec.encode(wav, kbps=float(kbps))
    print(f"{codes.shape[1]} codebooks, {codes.shape[2]} frames")
    decoded = codec.decode(codes)[0, :, : len(audio)]
    soundfile.write(target, decoded.detach().numpy().T, codec.sample_rate)


if __name__ == "__main__":
    main(*sys.argv[1:])
