"""Split codecs with random weights."""

import torch
from ecdc.codec.config import CodecConfig, SplitConfig
from ecdc.codec.model import Codec

K = 8
SMALL = {
    "low_bins": 24, "encoder_width": 16, "encoder_depth": 1, "decoder_width": 16, "decoder_depth": 2, "level_taps": 3,
    "level_places": (0, 2, 5),
}  # fmt: skip
LATER = {"gain_points": 8, "random_sign_bin": 20, "treble_db": (3.0, 2.0, 1.0)}  # what was added to nano-48k's decoder


def build(**options):
    """A codec with random networks and codebooks, ready for inference."""
    torch.manual_seed(0)
    split = SplitConfig(**(SMALL | options))
    config = CodecConfig(
        "tiny", split, sample_rate=split.core_factor * 24_000, dimension=24, n_codebooks=K, codebook_size=32,
        bitrates_kbps=tuple(0.25 * k for k in range(1, K + 1)), exact_dtype="float64",
    )  # fmt: skip
    codec = Codec(config)
    if split.gain_points:
        torch.nn.init.normal_(codec.decoder.gain.out.weight)  # they start at zero, which would test nothing
    codec.quantizer.levels.codebooks.normal_(0, 5)
    codec.quantizer.shape.codebooks.normal_(0, 0.5)
    return codec.ready()
