"""Any number of level and shape codebooks decodes; those of the codec's own order decode as the codec does."""

import torch
from ecdc.bench import prefix_order
from ecdc.codec.config import CodecConfig, SplitConfig
from ecdc.codec.model import Codec


def test_pairs_of_the_own_order_are_the_prefixes():
    torch.manual_seed(0)
    split = SplitConfig(low_bins=24, encoder_width=16, encoder_depth=1, decoder_width=16, decoder_depth=1, level_places=(0, 2))
    config = CodecConfig(
        "tiny", split, sample_rate=48_000, dimension=24, n_codebooks=4, codebook_size=16, bitrates_kbps=(0.2, 0.4, 0.6, 0.8)
    )
    quantizer = Codec(config).quantizer
    quantizer.levels.codebooks.normal_()
    quantizer.shape.codebooks.normal_()
    codes = torch.randint(16, (2, 4, 5))
    for k in range(1, 5):
        assert torch.equal(prefix_order.latents(quantizer, codes, *quantizer.counts(k)), quantizer.decode(codes[:, :k]))
    assert (2, 0) in prefix_order.pairs(quantizer) and (1, 1) in prefix_order.pairs(quantizer)


def test_a_row_for_every_pair():
    rows = [{"clip": "a", "levels": 1, "shape": k, "mel": 1.0 + k, "hum": None} for k in (0, 1)]
    assert prefix_order.markdown(rows, 0.5).splitlines()[2:] == ["| 0.5 | 1 | 0 | 1.00 |", "| 1 | 1 | 1 | 2.00 |"]
