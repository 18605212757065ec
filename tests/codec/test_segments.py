"""Overlapping segments: cut at fixed places, coded on their own, joined by linear overlap-add, in bounded memory."""

import pytest
import torch
from ecdc.codec.encodec_configs import ENCODEC_48KHZ
from ecdc.codec.model import Codec
from ecdc.codec.segments import Segment, cut, loudness, overlap_add
from encodec_models import audio, narrow, original


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return Codec(narrow(ENCODEC_48KHZ)).ready()


@pytest.mark.parametrize(
    "n, spans", [(0, []), (1, [(0, 1)]), (10, [(0, 10), (8, 10)]), (11, [(0, 10), (8, 11)]), (16, [(0, 10), (8, 16)])]
)
@pytest.mark.parametrize("block", [1, 3, 100])
def test_segments_start_at_every_stride_below_the_end(n, spans, block):
    signal = torch.arange(n).view(1, 1, n)
    found = [s.flatten().tolist() for s in cut(signal.split(block, dim=-1), length=10, stride=8)]
    assert found == [list(range(*span)) for span in spans]


def test_48khz_slivers_are_segments_too(codec):
    segments = codec.encode_segments(audio(48_000, 2), kbps=3)
    assert [s.codes.shape for s in segments] == [(1, 2, 150), (1, 2, 2)]


@pytest.mark.parametrize("block", [999, 48_000, 60_000])
def test_blocks_give_the_segments_of_the_whole(codec, block):
    wav = audio(130_000, 2, batch_size=2)
    whole = codec.encode_segments(wav, kbps=6)
    parts = list(codec.encode_segment_blocks(wav.split(block, dim=-1), kbps=6))
    assert len(parts) == len(whole) == 3
    assert all(torch.equal(a.codes, b.codes) and torch.equal(a.scale, b.scale) for a, b in zip(parts, whole, strict=True))


def test_segments_are_encoded_as_soon_as_they_are_full(codec):
    given = 0

    def blocks():
        nonlocal given
        for block in audio(200_000, 2).split(1000, dim=-1):
            given += 1000
            yield block

    for i, _ in enumerate(codec.encode_segment_blocks(blocks(), kbps=3)):
        assert given <= i * 47_520 + 49_000 or given == 200_000


def test_decoded_blocks_join_to_the_whole_decoding(codec):
    segments = codec.encode_segments(audio(130_000, 2), kbps=3)
    blocks = list(codec.decode_segment_blocks(segments))
    assert [b.shape[-1] for b in blocks[:-1]] == [47_520, 47_520]
    whole = codec.decode_segments(segments, 130_000)
    assert torch.equal(torch.cat(blocks, dim=-1)[..., :130_000], whole) and whole.shape == (1, 2, 130_000)


def test_overlapping_copies_of_one_signal_give_it_back():
    signal = torch.randn(2, 2, 100)
    parts = list(cut([signal], length=30, stride=20))
    assert torch.allclose(torch.cat(list(overlap_add(parts, stride=20)), dim=-1), signal, atol=1e-6)


def test_more_than_two_segments_may_overlap():
    signal = torch.randn(1, 1, 100)
    parts = list(cut([signal], length=30, stride=7))
    assert torch.allclose(torch.cat(list(overlap_add(parts, stride=7)), dim=-1), signal, atol=1e-6)


def test_a_last_segment_that_ends_before_the_one_before_it(codec):
    """47700 samples: the first segment decodes to 48000, the second to 47520 + 320; PyPI encodec fails here."""
    wav = audio(47_700, 2)
    segments = codec.encode_segments(wav, kbps=3)
    assert [s.codes.shape[-1] for s in segments] == [150, 1]
    assert codec.decode_segments(segments, 47_700).shape == wav.shape
    model = original(codec.config)
    with pytest.raises(RuntimeError), torch.no_grad():
        model.decode(model.encode(wav))


def test_scale_is_of_the_mean_of_the_channels_and_never_zero():
    assert loudness(torch.full((1, 2, 50), 0.25)).item() == pytest.approx(0.25)
    tone = audio(1000)
    assert loudness(torch.cat([tone, -tone], dim=1)).tolist() == [[pytest.approx(1e-8)]]


def test_an_unsegmented_codec_gives_one_segment():
    torch.manual_seed(0)
    codec = Codec(narrow(ENCODEC_48KHZ, norm="none", causal=True))
    plain = codec.config.to_dict() | {"normalize": False, "segment_seconds": None}
    codec = Codec(type(codec.config).from_dict(plain)).ready()
    wav = audio(1000, 2)
    (segment,) = codec.encode_segments(wav, n_codebooks=3)
    assert segment.scale is None and torch.equal(segment.codes, codec.encode(wav, n_codebooks=3))
    assert torch.equal(codec.decode_segments([segment], 1000), codec.decode(segment.codes, 1000))


def test_wrong_calls_say_what_to_do(codec):
    with pytest.raises(ValueError, match="use encode_segments"):
        codec.encode(audio(100, 2))
    with pytest.raises(ValueError, match="independent"), codec.streaming():
        pass
    with pytest.raises(ValueError, match=r"wav must be finite floats \[B, 2, N\]"):
        codec.encode_segments(audio(100, 1))
    with pytest.raises(ValueError, match="starts at 3 kbps"):
        codec.encode_segments(audio(100, 2), kbps=1)
    with pytest.raises(ValueError, match="codes must lie in"):
        codec.decode_segments([Segment(torch.full((1, 2, 3), 1024), torch.ones(1, 1))])
