"""The split codec: levels with a finite memory, streams equal wholes, spans equal wholes, prefixes decode, latency."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec.checkpoints import load, save
from ecdc.codec.config import CodecConfig, ConfigError, SplitConfig
from ecdc.codec.modules import noise_hash
from ecdc.codec.modules.levels import FLOOR_DB, RANGE_DB, LevelAnalysis, LevelVQ, band_edges
from ecdc.codec.modules.noise import frame_noise, mixed
from ecdc.codec.modules.split_decoder import HISS_BINS, DecoderInputs, LevelCorrection, add_windows
from ecdc.codec.pipeline import decode_file, encode_file
from split_models import LATER, SMALL, K, build


@pytest.fixture(scope="module", params=["48k", "24k", "gains"])
def codec(request):
    options = {"24k": {"core_factor": 1, "hop_length": 480, "top_bands": 0}, "gains": LATER}
    return build(**options.get(request.param, {}))


@pytest.fixture(scope="module")
def wav(codec):
    return 0.1 * torch.randn(2, 1, 9 * codec.config.hop_length + 77)


@pytest.mark.parametrize("sizes", [(1,), (7, 1000), (960,), (5000,)])
def test_streamed_codes_equal_whole_codes(codec, wav, sizes):
    wav = wav[..., :2500] if sizes == (1,) else wav
    blocks, at = [], 0
    while at < wav.shape[-1]:
        for size in sizes:
            blocks.append(wav[..., at : at + size])
            at += size
    with codec.streaming(2) as stream:
        parts = [stream.encode(block) for block in blocks] + [stream.encode(wav[..., :0], last=True)]
    assert torch.equal(torch.cat(parts, -1), codec.encode(wav))


def test_prefixes_and_batches(codec, wav):
    codes = codec.encode(wav)
    assert torch.equal(codec.encode(wav[1:]), codes[1:])
    for k in range(1, K + 1):
        assert torch.equal(codec.encode(wav, n_codebooks=k), codes[:, :k])
        assert codec.decode(codes[:, :k], wav.shape[-1]).shape == wav.shape


@pytest.mark.parametrize("n_samples", [0, 1, 480, 959, 960, 961, 4801])
def test_lengths(codec, n_samples):
    codes = codec.encode(torch.randn(1, 1, n_samples))
    assert codes.shape[-1] == -(-n_samples // codec.config.hop_length)
    assert codec.decode(codes).shape[-1] == codes.shape[-1] * codec.config.hop_length


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_streamed_audio_equals_whole_audio(codec, wav, frames):
    codes = codec.encode(wav)
    blocks = codes.split(frames, dim=-1)
    with codec.streaming(2) as stream:
        parts = [stream.decode(block) for block in blocks[:-1]] + [stream.decode(blocks[-1], last=True)]
    assert torch.allclose(torch.cat(parts, dim=-1), codec.decode(codes), atol=1e-5)


def test_spans_equal_the_whole(codec):
    hop, (before, after) = codec.config.hop_length, codec.reach
    codes = torch.randint(32, (1, K, 60))
    whole = codec.decode(codes)
    first, n = 30, 5
    with codec.streaming(1, first_frame=first - before) as stream:
        part = stream.decode(codes[..., first - before : first + n + after])
    start = before * hop
    assert torch.allclose(part[..., start : start + n * hop], whole[..., first * hop : (first + n) * hop], atol=1e-5)


def test_nothing_repeats_where_no_code_describes_the_waveform():
    """Codes that are the same in every frame give the same levels, but with random signs not the same waveform."""
    codes = torch.randint(32, (1, K, 1), generator=torch.Generator().manual_seed(1)).expand(-1, -1, 80)
    repeating = {}
    for start in (0, 24):
        codec = build(random_sign_bin=start)
        with torch.no_grad():
            codec.decoder.out.bias[2 * codec.decoder.hop :][: codec.decoder.hop // HISS_BINS] = -9  # little noise of its own
        frames = codec.decode(codes)[0, 0].unflatten(0, (-1, 960))[20:]
        spectrum = torch.fft.rfft(frames)
        above, below = slice(150, 220), slice(4, 20)  # bins of 50 Hz: the coded ones end at 600 Hz, those of the core at 12 kHz
        repeating[start] = [
            float(part.mean(0).abs().square().sum() / part.abs().square().mean(0).sum())
            for part in (spectrum[:, above], spectrum[:, below])
        ]
    assert repeating[0][0] > 0.3 and repeating[24][0] < 0.1
    assert repeating[24][1] == pytest.approx(repeating[0][1], abs=0.2)


def test_audible_treble_is_raised_by_the_number_of_level_codebooks():
    plain, raised = (build(treble_db=values).decoder for values in ((), (3.0, 2.0, 1.0)))
    levels = torch.full((1, 5, 3, 27), -60.0)
    levels[..., 25] = FLOOR_DB + 2.0  # a decoded level that means silence
    heard = DecoderInputs(torch.zeros(1, 5, 24), levels.flatten(2), levels.flatten(2), torch.zeros(1, 5, 2))
    heard.flags[0, :, 0] = torch.tensor([1 / 3, 2 / 3, 1.0, 0.0, 1.0])
    assert torch.equal(plain.raised(heard), levels)
    more = (raised.raised(heard) - levels)[0]  # [T, steps, bands]
    expected = torch.tensor([3.0, 2.0, 1.0, 0.0, 1.0])[:, None, None].expand(-1, 3, 3)
    assert torch.allclose(more[..., [21, 23, 26]], expected) and not more[..., :21].any() and not more[..., 25].any()


def test_raised_treble_is_louder_and_the_rest_stays():
    codes = torch.randint(32, (1, 1, 200), generator=torch.Generator().manual_seed(1))
    power = []
    for values in ((), (4.0, 0.0, 0.0)):
        codec = build(treble_db=values)
        codec.quantizer.levels.codebooks.mul_(0.2)
        power.append(torch.fft.rfft(codec.decode(codes)[0, 0].unflatten(0, (-1, 960))).abs().square().mean(0))
    change = 10 * (power[1] / power[0]).log10()
    assert change[260:390].mean() == pytest.approx(4.0, abs=0.2)  # 13 to 19.5 kHz: noise at the coded levels
    assert change[10:110].abs().max() < 0.1


def test_latency_is_at_most_60_ms(codec):
    """Samples that differ after some moment must not change what was decoded 60 ms before it."""
    rate, hop = codec.sample_rate, codec.config.hop_length
    moment, n = 20 * hop, 24 * hop
    wav = 0.1 * torch.randn(1, 1, n)
    with codec.streaming() as stream:
        given = torch.cat([stream.decode(stream.encode(block)) for block in wav[..., :moment].split(hop, -1)], -1)
    assert given.shape[-1] >= moment - round(0.06 * rate)


def test_a_decoder_hears_nothing_of_frames_beyond_its_reach(codec):
    codes = torch.randint(32, (1, K, 50))
    other = codes.clone()
    other[..., :8] = torch.randint(32, (1, K, 8))
    hop, at = codec.config.hop_length, 8 + codec.reach[0]
    assert torch.equal(codec.decode(codes)[..., at * hop :], codec.decode(other)[..., at * hop :])


def test_lost_frames_decode_and_are_forgotten(codec):
    codes = torch.randint(32, (1, K, 50))
    hop, at = codec.config.hop_length, 12 + codec.reach[0]
    with codec.streaming() as stream:
        parts = [stream.decode(codes[..., :10]), stream.decode(codes[:, :0, 10:12]), stream.decode(codes[..., 12:], last=True)]
    found = torch.cat(parts, -1)
    assert torch.isfinite(found).all()
    assert torch.allclose(found[..., at * hop :], codec.decode(codes)[..., at * hop :], atol=1e-5)


def test_levels_are_those_of_white_noise():
    torch.manual_seed(0)
    analysis = LevelAnalysis(960, 48_000, 3, 24, 3)
    noise = 0.1 * torch.randn(1, 200 * 960, dtype=torch.float64)
    levels = analysis(noise.unfold(1, 1920, 960)).mean((0, 1)).view(3, 27)
    power = 0.1**2 * 1.5 / 960  # of a Hann window's bin
    # A mean of logarithms lies under the logarithm of the mean: by 2.5 dB for one bin, by less for wide bands.
    assert torch.allclose(levels[:, -12:], torch.full((3, 12), 10 * np.log10(power), dtype=torch.float64), atol=0.5)


def test_levels_are_clamped():
    analysis = LevelAnalysis(960, 48_000, 3, 24, 3)
    silence = analysis(torch.zeros(1, 1, 1920, dtype=torch.float64))
    assert torch.equal(silence, torch.full_like(silence, FLOOR_DB))
    tone = torch.sin(2 * torch.pi * 1000 / 48_000 * torch.arange(1920, dtype=torch.float64))[None, None]
    levels = analysis(tone)
    assert float(levels.amax() - levels.amin()) <= RANGE_DB + 1e-9


def test_slow_bands_have_one_level_per_frame():
    torch.manual_seed(0)
    frames = 0.1 * torch.randn(1, 9 * 960, dtype=torch.float64).unfold(1, 1920, 960)
    plain = LevelAnalysis(960, 48_000, 3, 24, 3)(frames).unflatten(-1, (3, 27))
    levels = LevelAnalysis(960, 48_000, 3, 24, 3, 10)(frames).unflatten(-1, (3, 27))
    assert torch.equal(levels[..., 10:], plain[..., 10:])
    assert torch.allclose(levels[..., :10], plain[..., :10].mean(-2, keepdim=True).expand_as(levels[..., :10]))


@pytest.mark.parametrize("n_top", [0, 3])
def test_bands_tile(n_top):
    edges = band_edges(50.0, 24, n_top)
    assert edges[0] == 0 and edges[24] == 240 and len(edges) == 25 + n_top
    assert all(a < b for a, b in pairwise(edges))


def test_level_codes_need_no_older_frames_than_the_taps():
    torch.manual_seed(1)
    quantizer = LevelVQ(2, 16, 6, 3)
    quantizer.codebooks.normal_()
    codes = torch.randint(16, (1, 2, 20))
    whole = quantizer.predict(quantizer.entries(codes), quantizer.initial_past(1))
    entries = quantizer.entries(codes)
    part = quantizer.predict(entries[:, :, 10:], entries[:, :, 7:10])
    assert torch.allclose(part, whole[:, :, 10:], atol=1e-6)


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 0.5, 1.0, 1.0, 1.0, 2.0])])
def test_level_quantizer_takes_the_nearest_entry_in_closed_loop(weight):
    torch.manual_seed(1)
    quantizer = LevelVQ(2, 16, 6, 3, weight)
    quantizer.codebooks.normal_(0, 5)
    levels = 10 * torch.randn(1, 12, 6, dtype=torch.float64) - 60
    codes, base = quantizer.encode(levels, quantizer.initial_codes(1))
    parts = quantizer.predict(quantizer.entries(codes).double(), quantizer.initial_past(1))
    assert torch.allclose(base, parts[:, 0])
    rest = levels.clone()
    for k in range(2):
        error = (rest - parts[:, k])[0] * quantizer.weight  # what the entry left over, in its units
        others = error[:, None] + quantizer.entries(codes)[0, k, :, None].double() - quantizer.codebooks[k].double()
        assert torch.equal(others.square().sum(-1).argmin(-1), codes[0, k])
        rest = rest - parts[:, k]


def test_the_last_layer_moves_levels_to_the_coded_ones():
    """With full share, noise at a wrong level comes out at the right one; with none, as it was."""
    torch.manual_seed(0)
    config = SplitConfig(**SMALL)
    layer = LevelCorrection(config)
    windows = 0.05 * torch.randn(1, 50, 480)
    power = torch.fft.rfft(windows * layer.window).abs().square() @ layer.bank
    wanted = 10 * power.log10() + 6.0
    for share, moved in ((1.0, 6.0), (0.5, 3.0), (0.0, 0.0)):
        targets = torch.cat([wanted, torch.full((1, 50, 3), -60.0), torch.full((1, 50, 24), share)], -1)
        found = 10 * (layer.corrected(windows, targets).abs().square() @ layer.bank).log10()
        assert torch.allclose(found, 10 * power.log10() + moved, atol=0.5)


@pytest.mark.parametrize(
    ("loudest", "level", "sounds"), [(-60.0, -85.0, False), (-60.0, -83.0, True), (-8.0, -75.0, False), (-8.0, -73.0, True)]
)
def test_bands_above_the_core_are_silent_near_the_lowest_level(loudest, level, sounds):
    layer = LevelCorrection(SplitConfig())
    levels = torch.full((1, 5, 27), level)
    levels[..., 3] = loudest
    assert (float(layer.hiss(torch.cat([levels, torch.ones(1, 5, 24)], -1), 0).abs().max()) > 0) == sounds


def test_the_last_layer_raises_nothing_at_the_floor():
    layer = LevelCorrection(SplitConfig(**SMALL))
    windows = 1e-6 * torch.randn(1, 5, 480)
    targets = torch.cat([torch.full((1, 5, 27), FLOOR_DB), torch.ones(1, 5, 24)], -1)
    before = torch.fft.rfft(windows * layer.window).abs().clamp(min=1e-12)
    assert float((layer.corrected(windows, targets).abs() / before).max()) < 1.001
    assert float(layer.hiss(targets, 0).abs().max()) == 0


def test_bands_above_the_core_have_the_coded_levels():
    codec = build()
    decoder = codec.decoder
    targets = torch.cat([torch.full((1, 602, 24), FLOOR_DB), torch.full((1, 602, 3), -50.0), torch.zeros(1, 602, 24)], -1)
    frames = decoder.correction(torch.zeros(1, 602, 480), targets, 0)
    audio, _ = add_windows(frames, torch.zeros(1, 640), 320)
    analysis = LevelAnalysis(960, 48_000, 3, 24, 3)
    audio = audio[:, 640 : 640 + 199 * 960].double()
    power = torch.exp(analysis(audio.unfold(1, 1920, 960)).view(-1, 3, 27)[..., 24:] * (np.log(10) / 10)).mean((0, 1))
    assert torch.allclose(10 * power.log10(), torch.full((3,), -50.0, dtype=torch.float64), atol=0.5)


def test_noise_belongs_to_a_frame():
    like = torch.zeros(1)
    whole = frame_noise(0, 20, 64, like)
    assert torch.equal(frame_noise(7, 5, 64, like), whole[:, 7:12])
    assert not torch.equal(frame_noise(0, 20, 64, like, stream=1), whole)
    assert abs(float(whole.square().mean()) - 1) < 0.1
    correlation = np.corrcoef(frame_noise(0, 200, 64, like)[0].numpy())
    assert np.abs(correlation - np.eye(200)).max() < 0.6


def test_noise_hash_is_fixed():
    """Other runtimes compute the same integers."""
    given, wanted = [0, 1, 2, 0xFFFFFFFF], [0, 1753845952, 3507691905, 1734902346]
    assert noise_hash.mixed(np.array(given, np.uint32)).tolist() == mixed(torch.tensor(given)).tolist() == wanted
    for first in (0, 12_345, 2**31 - 3, noise_hash.STREAM_FRAMES + 7, 2**40 + 17):
        for stream in (0, 1):
            found = frame_noise(first, 7, 641, torch.zeros(1), stream)[0].numpy()
            np.testing.assert_array_equal(found, noise_hash.frame_noise(first, 7, 641, stream))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"core_factor": 1, "hop_length": 480}, "top_bands need 2"),
        ({"steps": 7}, "must divide the core's hop_length"),
        ({"steps": 2, "fine_blocks": 3}, "even parts|multiple of steps"),
        ({"level_places": (1, 2)}, "must ascend from 0"),
        ({"level_places": (0, 3, 3)}, "must ascend from 0"),
        ({"random_sign_bin": -1}, r"must lie in \[0, 480\]"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SplitConfig(**(SMALL | options))


def test_more_level_codebooks_than_codebooks_are_refused():
    with pytest.raises(ConfigError, match="no place for level codebooks"):
        CodecConfig("x", SplitConfig(level_places=(0, 9)), sample_rate=48_000, n_codebooks=8, bitrates_kbps=(0.5,))


def test_a_saved_model_loads_and_codes_alike(codec, wav, tmp_path):
    save(codec, tmp_path)
    loaded = load(tmp_path)
    assert loaded.token_space == codec.token_space
    codes = codec.encode(wav)
    assert torch.equal(loaded.encode(wav), codes)
    assert torch.equal(loaded.decode(codes), codec.decode(codes))


def test_files_of_stereo_come_back_whole_and_in_spans(codec, tmp_path):
    rate = 44_100
    time = np.arange(rate) / rate
    audio = np.stack([0.2 * np.sin(2 * np.pi * 330 * time), 0.1 * np.sin(2 * np.pi * 440 * time)], 1)
    soundfile.write(tmp_path / "a.wav", audio, rate)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, kbps=4)
    decode_file(tmp_path / "a.ecdc", tmp_path / "b.wav", codec)
    decode_file(tmp_path / "a.ecdc", tmp_path / "c.wav", codec, start=Fraction(1, 2), duration=Fraction(1, 4))
    whole, found = soundfile.read(tmp_path / "b.wav")
    part, _ = soundfile.read(tmp_path / "c.wav")
    assert found == rate and whole.shape == audio.shape
    assert np.abs(part - whole[rate // 2 : rate // 2 + len(part)]).max() < 1e-3


@pytest.mark.parametrize("old, start", [({"random_signs": True}, 24), ({"random_signs": False}, 0), ({}, 0)], ids=str)
def test_models_from_before_the_first_bin_could_be_chosen_stay_the_same(old, start):
    assert SplitConfig.from_dict({"low_bins": 24} | old) == SplitConfig(low_bins=24, random_sign_bin=start)
