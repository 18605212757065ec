"""The hybrid codec: filterbanks rebuild, streams equal wholes, batches equal singles, prefixes decode."""

import pytest
import torch
from ecdc.codec.config import CodecConfig
from ecdc.codec.model import Codec
from ecdc.codec.modules.hybrid import compand, expand
from ecdc.codec.modules.spectral import fine_basis, mdct_basis, overlap_add, sine_window


@pytest.fixture(scope="module")
def wav():
    torch.manual_seed(1)
    return 0.3 * torch.randn(1, 1, 320 * 9 + 77)


def streamed(codec, wav, sizes):
    blocks, position = [], 0
    while position < wav.shape[-1]:
        for size in sizes:
            blocks.append(wav[..., position : position + size])
            position += size
    with codec.streaming(wav.shape[0]) as stream:
        parts = [stream.encode(block) for block in blocks]
        parts.append(stream.encode(wav[..., :0], last=True))
    return torch.cat(parts, dim=-1)


@pytest.mark.parametrize("hop", [4, 10, 320])
def test_mdct_rebuilds_what_it_analysed(hop):
    basis = mdct_basis(hop)
    signal = torch.randn(1, 12 * hop, dtype=torch.float64)
    coefficients = signal.unfold(1, 2 * hop, hop) @ basis.T
    rebuilt, _ = overlap_add(coefficients @ basis, torch.zeros(1, hop, dtype=torch.float64))
    assert torch.allclose(rebuilt[:, hop:], signal[:, hop : 11 * hop], atol=1e-12)


@pytest.mark.parametrize(("hop", "n_blocks"), [(16, 2), (320, 4), (320, 1)])
def test_short_blocks_rebuild_what_they_analysed(hop, n_blocks):
    basis = fine_basis(hop, n_blocks)
    signal = torch.randn(1, 12 * hop, dtype=torch.float64)
    coefficients = signal.unfold(1, 2 * hop, hop) @ basis.T
    rebuilt, _ = overlap_add(coefficients @ basis, torch.zeros(1, hop, dtype=torch.float64))
    assert torch.allclose(rebuilt[:, hop:], signal[:, hop : 11 * hop], atol=1e-12)


@pytest.mark.parametrize("block", [0, 3])
def test_a_short_block_sounds_where_it_stands(block):
    rows = fine_basis(320, 4).view(4, 80, 640)[block]
    heard = rows.abs().sum(0).nonzero()[:, 0]
    start = 160 - 40 + 80 * block  # samples of the frame's window; its own hop begins at 160
    assert (int(heard[0]), int(heard[-1])) == (start, start + 159)


def test_windows_add_up_to_one():
    window = sine_window(8).square()
    assert torch.allclose(window[:8] + window[8:], torch.ones(8, dtype=torch.float64))


def test_expand_undoes_compand():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)
    assert torch.allclose(expand(compand(x)), x, atol=1e-7)


@pytest.mark.parametrize("sizes", [(1,), (7,), (320,), (321, 1, 500), (5000,)])
def test_streamed_codes_equal_whole_codes(codec, wav, sizes):
    assert torch.equal(streamed(codec, wav, sizes), codec.encode(wav))


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_streamed_audio_equals_whole_audio(codec, wav, frames):
    codes = codec.encode(wav)
    blocks = codes.split(frames, dim=-1)
    with codec.streaming() as stream:
        parts = [stream.decode(block) for block in blocks[:-1]] + [stream.decode(blocks[-1], last=True)]
    assert torch.allclose(torch.cat(parts, dim=-1), codec.decode(codes), atol=1e-5)


@pytest.mark.parametrize("n_samples", [0, 1, 159, 160, 319, 320, 321, 6720, 24_000])
def test_lengths(codec, n_samples):
    codes = codec.encode(torch.randn(1, 1, n_samples))
    assert codes.shape[-1] == -(-n_samples // 320)
    assert codec.decode(codes).shape[-1] == 320 * codes.shape[-1]
    assert codec.decode(codes, n_samples).shape[-1] == n_samples


def test_batch_equals_single(codec):
    torch.manual_seed(2)
    wav = torch.randn(5, 1, 9000) * torch.logspace(-3, 0, 5)[:, None, None]
    together = codec.encode(wav)
    assert torch.equal(together, torch.cat([codec.encode(row[None]) for row in wav]))


def test_first_codebooks_are_a_prefix(codec, wav):
    full = codec.encode(wav)
    for kbps, k in [(0.45, 1), (0.9, 2), (1.4, 3), (99, 4)]:
        assert torch.equal(codec.encode(wav, kbps=kbps), full[:, :k])


def test_codes_do_not_depend_on_what_comes_later(codec, wav):
    """Causality: frame t needs samples up to (t + 1) * hop + 160 only."""
    other = wav.clone()
    other[..., 2000:] = 0.5
    frames = (2000 - 160) // 320
    assert torch.equal(codec.encode(wav)[..., :frames], codec.encode(other)[..., :frames])


def test_wrong_shapes_and_rates_are_named(codec, wav):
    with pytest.raises(ValueError, match=r"finite floats \[B, 1, N\], got float32 \[1, 2, 100\]"):
        codec.encode(torch.zeros(1, 2, 100))
    with pytest.raises(ValueError, match=r"starts at 0.45 kbps, got 0.1 \(legal: 0.45, 0.9, 1.35, 1.8\)"):
        codec.encode(wav, kbps=0.1)
    with pytest.raises(ValueError, match="not both"):
        codec.encode(wav, kbps=1, n_codebooks=1)
    with pytest.raises(ValueError, match=r"must lie in \[0, 64\)"):
        codec.decode(torch.full((1, 1, 3), 64))


def test_closed_stream_refuses(codec, wav):
    with codec.streaming() as stream:
        stream.encode(wav, last=True)
        with pytest.raises(RuntimeError, match="closed"):
            stream.encode(wav)
    with pytest.raises(RuntimeError, match="closed"):
        stream.decode(torch.zeros(1, 1, 1, dtype=torch.int64))


def test_streams_of_one_model_do_not_meet(codec, wav):
    other = wav.flip(-1)
    with codec.streaming() as a, codec.streaming() as b:
        parts = [(a.encode(x), b.encode(y)) for x, y in zip(wav.split(400, -1), other.split(400, -1), strict=True)]
        parts.append((a.encode(wav[..., :0], last=True), b.encode(wav[..., :0], last=True)))
    first, second = (torch.cat(p, dim=-1) for p in zip(*parts, strict=True))
    assert torch.equal(first, codec.encode(wav)) and torch.equal(second, codec.encode(other))


def repeated(codec, start_bin):
    """How much of the power from an MDCT bin on is the same in every frame, of audio whose codes are always the same."""
    audio = codec.decode(torch.zeros(1, codec.config.n_codebooks, 80, dtype=torch.int64))[0, 0]
    frames = torch.fft.rfft(audio[20 * 320 : 76 * 320].view(-1, 320))[:, start_bin // 2 :]
    return float(frames.mean(0).abs().square().sum() / frames.abs().square().mean(0).sum())


def test_random_signs_keep_high_bins_from_repeating(codec):
    start = codec.config.architecture.random_sign_bin
    values = codec.config.to_dict()
    values["architecture"]["random_sign_bin"] = 0
    plain = Codec(CodecConfig.from_dict(values)).ready()
    plain.load_state_dict(codec.state_dict())
    above = 2 * start  # higher than `low_bins`: there, only the network writes
    assert repeated(plain, above) > 0.99 and repeated(codec, above) < 0.1


def test_signs_depend_on_the_number_of_the_frame(codec):
    codes = torch.zeros(1, codec.config.n_codebooks, 40, dtype=torch.int64)
    whole = codec.decode(codes)[..., 30 * 320 : 36 * 320]
    with codec.streaming(first_frame=10) as stream:  # the same place, 20 frames from the start
        part = stream.decode(codes[..., :30], last=True)[..., 20 * 320 : 26 * 320]
    assert torch.allclose(whole, part, atol=1e-5)
    with codec.streaming(first_frame=11) as stream:
        other = stream.decode(codes[..., :30], last=True)[..., 20 * 320 : 26 * 320]
    assert not torch.allclose(whole, other, atol=1e-2)
