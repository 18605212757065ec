"""What is called a decoder or an encoder is one, as the protocols define it."""

import pytest
from ecdc.codec.config import CodecConfig, HybridConfig, SeanetConfig, SplitConfig
from ecdc.codec.diffusion.flow import FlowConfig, FlowDecoder, MultiBandFlow
from ecdc.codec.model import Codec
from ecdc.codec.protocols import Decoder, Encoder

ARCHITECTURES = [
    HybridConfig(hop_length=160, low_bins=16, encoder_width=16, encoder_depth=1, decoder_width=16, decoder_depth=1),
    SeanetConfig(n_filters=2, strides=(5, 4), lstm_layers=0),
    SplitConfig(
        core_factor=1, hop_length=480, top_bands=0, low_bins=24, encoder_width=16, encoder_depth=1, decoder_width=16,
        decoder_depth=1, level_taps=2, level_places=(0, 2),
    ),
]  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda kind: type(kind).__name__)
def test_networks_of_a_codec_follow_the_protocols(architecture):
    rates = (96 / architecture.hop_length,)  # of one codebook
    codec = Codec(CodecConfig("tiny", architecture, dimension=24, n_codebooks=4, codebook_size=16, bitrates_kbps=rates))
    assert isinstance(codec.encoder, Encoder) and isinstance(codec.decoder, Decoder)
    assert codec.reach == (architecture.decoder_context, architecture.decoder_lookahead)


def test_a_decoder_on_top_of_another_reaches_farther():
    codec = Codec(CodecConfig("tiny", ARCHITECTURES[0], dimension=16, n_codebooks=3, codebook_size=32, bitrates_kbps=(0.75,)))
    flow = MultiBandFlow(FlowConfig(hop_length=160, dimension=16, n_blocks=2, edges=(0, 40, 160), width=16, depth=1, steps=2))
    other = codec.with_decoder(FlowDecoder(codec.decoder, flow))
    assert isinstance(other.decoder, Decoder)
    assert all(new > old for new, old in zip(other.reach, codec.reach, strict=True))
