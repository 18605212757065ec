"""The limits of a split codec: variants of decoding in which one part is exact."""

import pytest
import torch
from ecdc.bench.limits import changed_levels, decode_core
from ecdc.codec.config import CodecConfig, SplitConfig
from ecdc.codec.model import Codec
from ecdc.train.codec import split_step


@pytest.fixture
def codec():
    torch.manual_seed(0)
    architecture = SplitConfig(
        core_factor=1, hop_length=480, top_bands=0, low_bins=24, encoder_width=16, encoder_depth=1, decoder_width=16,
        decoder_depth=1, level_taps=2, level_places=(0, 2),
    )  # fmt: skip
    rates = (0.2, 0.4, 0.6, 0.8)
    config = CodecConfig("tiny", architecture, dimension=32, n_codebooks=4, codebook_size=16, bitrates_kbps=rates)
    codec = Codec(config).eval()
    codec.quantizer.levels.codebooks.normal_(0, 5)
    codec.quantizer.shape.codebooks.normal_(0, 0.5)
    return codec


def test_nothing_changed_is_what_the_codec_decodes(codec):
    torch.manual_seed(1)
    audio = 0.1 * torch.randn(1, 1, 41 * 480)
    estimate, target = decode_core(codec, audio, 4, "coded")
    cut = slice(split_step.SKIP_START * 480, -split_step.SKIP_END * 480)
    assert torch.equal(target, audio[..., 240:-240][..., cut])
    # The codec begins half a hop later here, and knows nothing before it.
    whole = codec.decode(codec.encode(audio[..., 240:-240]))[..., cut]
    late = slice(10 * 480, -2 * 480)
    assert torch.allclose(estimate[..., late], whole[..., late], atol=1e-4)


def test_variants_change_the_bands_that_they_name(codec):
    coded, exact = torch.zeros(1, 5, 72), torch.ones(1, 5, 72)
    slow = codec.decoder.config.slow_bands
    low, high = torch.zeros(3, 24), torch.ones(3, 24)
    low[:, :slow], high[:, :slow] = 1, 0
    wanted = {
        "coded": coded[0, 0], "exact shape": coded[0, 0], "exact levels": exact[0, 0],
        "exact levels above 1.1 kHz": high.flatten(), "exact levels below 1.1 kHz": low.flatten(),
    }  # fmt: skip
    for variant, levels in wanted.items():
        assert torch.equal(changed_levels(codec, coded, exact, variant), levels.expand(1, 5, 72)), variant
