"""SEANet codecs: streams equal wholes, batches equal singles, prefixes decode, whatever the options."""

import math

import pytest
import torch
from ecdc.codec.config import CodecConfig, ConfigError, SeanetConfig
from ecdc.codec.model import Codec
from ecdc.codec.modules import lstm, seanet
from ecdc.codec.modules.conv import Padding
from ecdc.codec.modules.lstm import SkipLstm
from encodec_models import audio
from seanet_models import KINDS, small_codec


@pytest.fixture(scope="module", params=KINDS)
def codec(request):
    return small_codec(request.param)


@pytest.fixture(params=[False, True], ids=["fast", "reference"])
def either(codec, request):
    """The codec on its fast path, in blocks much shorter than usual, or on its reference path."""
    before = seanet.OUTER_FRAMES, seanet.INNER_FRAMES
    seanet.OUTER_FRAMES, seanet.INNER_FRAMES = 2, 7
    yield codec.ready(reference=request.param)
    seanet.OUTER_FRAMES, seanet.INNER_FRAMES = before
    codec.ready()


def pieces(signal, sizes):
    """Cut the last axis into blocks of these sizes, over and over."""
    start, blocks = 0, []
    while start < signal.shape[-1]:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(signal[..., start : start + size])
        start += size
    return blocks


def encode_streamed(codec, wav, sizes):
    with codec.streaming(len(wav)) as stream:
        parts = [stream.encode(block) for block in pieces(wav, sizes)]
        return torch.cat([*parts, stream.encode(wav[..., :0], last=True)], dim=-1)


def decode_streamed(codec, codes, sizes):
    with codec.streaming(len(codes)) as stream:
        parts = [stream.decode(block) for block in pieces(codes, sizes)]
        return torch.cat([*parts, stream.decode(codes[..., :0], last=True)], dim=-1)


@pytest.mark.parametrize("n_samples", [1, 8, 9, 100, 333])
@pytest.mark.parametrize("sizes", [(1,), (13,), (1, 40, 5)], ids=str)
def test_streamed_codes_equal_whole_codes(either, n_samples, sizes):
    wav = audio(n_samples, seed=n_samples)
    assert torch.equal(encode_streamed(either, wav, sizes), either.encode(wav))


@pytest.mark.parametrize("n_frames", [1, 2, 8, 50])
@pytest.mark.parametrize("sizes", [(1,), (3, 1)], ids=str)
def test_streamed_audio_equals_whole_audio(either, n_frames, sizes):
    codes = torch.randint(64, (2, 3, n_frames))
    whole = either.decode(codes)
    assert whole.shape == (2, 1, n_frames * either.config.hop_length)
    assert torch.allclose(decode_streamed(either, codes, sizes), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 5, 8, 9, 16, 17, 100, 1000])
def test_fast_equals_reference(codec, n_samples):
    wav = audio(n_samples, batch_size=2, seed=n_samples)
    codes = codec.encode(wav)
    assert codes.shape[-1] == math.ceil(n_samples / codec.config.hop_length)
    fast = codec.decode(codes)
    codec.ready(reference=True)
    assert torch.equal(codec.encode(wav), codes)
    assert torch.allclose(codec.decode(codes), fast, rtol=0, atol=1e-5)
    codec.ready()


@pytest.mark.parametrize("kind, held", [("zeros at the ends", 0), ("as at 24 kHz", 7)])
def test_a_causal_stream_gives_a_frame_with_its_last_sample(kind, held):
    """But for the first: a reflected start needs the 7 frames under the last convolution's kernel."""
    codec = small_codec(kind)
    with codec.streaming() as stream:
        counts = [
            stream.encode(block).shape[-1]
            for block in audio(50 * codec.config.hop_length).split(codec.config.hop_length, dim=-1)
        ]
    assert sum(counts) == 50 and counts[-20:] == [1] * 20
    assert counts.index(max(counts)) == max(0, held - 1) and sum(counts[: max(0, held - 1)]) == 0


def test_batch_equals_single(codec):
    wav = audio(500, batch_size=3)
    codes = codec.encode(wav)
    assert torch.equal(codes, torch.cat([codec.encode(row) for row in wav.split(1)]))
    assert torch.allclose(codec.decode(codes), torch.cat([codec.decode(row) for row in codes.split(1)]), rtol=0, atol=1e-5)


def test_first_codebooks_are_the_encoding_at_fewer(codec):
    wav, rates = audio(500), codec.config.bitrates_kbps
    codes = codec.encode(wav)
    for k, kbps in enumerate(rates, start=1):
        assert torch.equal(codec.encode(wav, kbps=kbps), codes[:, :k])
        assert torch.isfinite(codec.decode(codes[:, :k])).all()


def test_empty_audio_has_no_frames(codec):
    assert codec.encode(torch.zeros(1, 1, 0)).shape == (1, 4, 0)
    assert codec.decode(torch.zeros(1, 4, 0, dtype=torch.long)).shape == (1, 1, 0)


def test_gradients_flow_where_they_are_wanted():
    networks = Codec(CodecConfig("small", SeanetConfig(strides=(4, 2), n_filters=4), dimension=16))
    latents = networks.encoder(audio(100))
    networks.decoder(latents).square().mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in [*networks.encoder.parameters(), *networks.decoder.parameters()]
    )


def test_models_that_normalize_over_time_do_not_stream():
    codec = Codec(CodecConfig("whole", SeanetConfig(strides=(4, 2), n_filters=4, norm="time_group_norm"), dimension=16)).ready()
    with pytest.raises(ValueError, match="cannot stream"), codec.streaming():
        pass
    assert codec.encode(audio(50)).shape == (1, 32, 7)


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match="norm: one of weight_norm"):
        SeanetConfig(norm="batch_norm")
    with pytest.raises(ConfigError, match="pad_mode: one of reflect"):
        SeanetConfig(pad_mode="wrap")


def test_reflection_of_a_short_signal_is_lengthened_by_silence():
    padding = Padding(span=8, stride=4, left=4, right=0, mode="reflect")
    padded = padding.whole(torch.tensor([1.0, 2.0]).view(1, 2, 1))
    assert padded.flatten().tolist() == [0, 0, 0, 2, 1, 2, 0, 0]  # of [1, 2, 0, 0, 0]


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_kernel_for_one_stream_equals_torchs_lstm(n_layers, monkeypatch):
    torch.manual_seed(0)
    layer, rows = SkipLstm(48, n_layers).requires_grad_(False), 3 * torch.randn(1, 50, 48)
    state, other = layer.initial_state(1), layer.initial_state(1)
    monkeypatch.setattr(lstm, "SHORT", 1000)
    with torch.no_grad():
        out = torch.cat([layer(part, state) for part in rows.split(20, dim=1)], dim=1)
    layer.reference = True
    assert torch.allclose(layer(rows, other), out, atol=1e-5)
    assert torch.allclose(state.hidden, other.hidden, atol=1e-5) and torch.allclose(state.cell, other.cell, atol=1e-5)
