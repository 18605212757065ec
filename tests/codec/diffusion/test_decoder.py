"""The decoder as it is used: batches, seeds, stereo, progress, loudness, files."""

import pytest
import torch
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.diffusion.bands import MAX_GAIN, MultiBandProcessor, SplitBands, equalise, re_eq
from ecdc.codec.diffusion.config import ProcessorConfig
from ecdc.codec.diffusion.decoder import MultiBandDiffusion
from ecdc.codec.model import Codec
from mbd_models import codes_for, small_codec, small_model

STEPS = 4
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def codec():
    return small_codec()


@pytest.fixture(scope="module")
def model():
    return small_model(processor=True)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm"])
def test_an_item_is_decoded_alike_in_every_batch(codec, model, sampler):
    codes = codes_for(codec, 3, 12)
    options = {"steps": STEPS, "sampler": sampler}
    batch = model.decode(codes, codec, seed=[3, 4, 5], **options)
    assert batch.shape == (3, 1, 12 * 320)
    for i, seed in enumerate((3, 4, 5)):
        assert torch.allclose(model.decode(codes[i : i + 1], codec, seed=seed, **options), batch[i : i + 1], **CLOSE)
    same = model.decode(codes[:1].expand(2, -1, -1), codec, seed=9, **options)
    assert torch.allclose(same[0], same[1], **CLOSE)


def test_seeds_decide_the_samples(codec, model):
    codes = codes_for(codec, 1, 12)
    torch.manual_seed(0)
    first = model.decode(codes, codec, steps=STEPS, seed=1)
    assert torch.equal(model.decode(codes, codec, steps=STEPS, seed=1), first)
    assert not torch.allclose(model.decode(codes, codec, steps=STEPS, seed=2), first, atol=1e-3)
    drawn = [model.decode(codes, codec, steps=STEPS, seed=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.allclose(drawn[0], first, atol=1e-3)


def test_latents_are_as_good_as_the_codes_they_are_of(codec, model):
    codes = codes_for(codec, 2, 10)
    latents = codec.quantizer.decode(codes)
    assert torch.equal(model.decode(latents, codec, steps=STEPS), model.decode(codes, codec, steps=STEPS))
    few = codes[:, :2]  # a prefix of the codebooks is a condition too
    assert torch.equal(model.decode(codec.quantizer.decode(few), codec, steps=STEPS), model.decode(few, codec, steps=STEPS))


def test_stereo_is_two_mono_streams_of_one_seed(codec, model):
    codes = torch.stack([codes_for(codec, 2, 12, seed=1), codes_for(codec, 2, 12, seed=2)], dim=1)  # [B, 2, K, T]
    stereo = model.decode(codes, codec, steps=STEPS, seed=[6, 7])
    assert stereo.shape == (2, 2, 12 * 320)
    for side in (0, 1):
        assert torch.allclose(
            stereo[:, side : side + 1], model.decode(codes[:, side], codec, steps=STEPS, seed=[6, 7]), **CLOSE
        )
    mono = model.decode(codes[:, :1].expand(-1, 2, -1, -1), codec, steps=STEPS)
    assert torch.allclose(mono[:, 0], mono[:, 1], **CLOSE)


@pytest.mark.parametrize("n_samples", [1, 2, 63, 3839, 3840])
def test_any_number_of_samples_can_be_had(codec, model, n_samples):
    codes = codes_for(codec, 1, 12 if n_samples > 1000 else 1)
    n_samples = min(n_samples, codes.shape[-1] * 320)
    wav = model.decode(codes, codec, n_samples, steps=2, equaliser=None) if n_samples > 500 else None
    wav = model.decode(codes, codec, n_samples, steps=2) if wav is None else wav
    assert wav.shape == (1, 1, n_samples) and wav.isfinite().all()


def test_nothing_is_decoded_to_nothing(codec, model):
    assert model.decode(codes_for(codec, 2, 0), codec).shape == (2, 1, 0)
    assert model.decode(codes_for(codec, 1, 3), codec, 0).shape == (1, 1, 0)
    with pytest.raises(ValueError, match="codes have no items"):
        model.decode(codes_for(codec, 0, 3), codec)


def test_progress_counts_every_call(codec, model):
    seen = []
    model.decode(codes_for(codec, 1, 9), codec, steps=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_what_does_not_fit_is_refused(codec, model):
    codes = codes_for(codec, 1, 12)
    options = {"n_filters": 2, "lstm_layers": 0}
    others = [
        (small_codec(32_000), "this decoder is for 24000 Hz and 1 channels, small has \\(32000, 1\\)"),
        (Codec(CodecConfig("wide", SeanetConfig(**options), dimension=16)).ready(), "latents of dimension 8, wide has 16"),
        (Codec(CodecConfig("scaled", SeanetConfig(**options), dimension=8, normalize=True)).ready(), "scaled segments"),
    ]
    for other, message in others:
        with pytest.raises(ValueError, match=message):
            model.decode(codes, other)
    for given, options, message in [
        (codes[0], {}, r"codes must be \[B, K, T\]"),
        (codes + 1000, {}, r"codes must lie in \[0, 16\)"),
        (torch.zeros(1, 9, 4), {}, r"latents must be \[B, 8, T\], got \(1, 9, 4\)"),
        (codes, {"n_samples": 12 * 320 + 1}, "n_samples must be 0..3840"),
        (codes, {"sampler": "euler"}, "sampler must be one of"),
        (codes, {"steps": 5000}, "steps must be 1..999"),
        (codes, {"equaliser": "loud"}, "equaliser must be"),
        (codes, {"seed": [1, 2]}, "one for each item, got 2"),
        (codes, {"n_samples": 1}, "at most 2 frames"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.decode(given, codec, **options)


def test_a_saved_decoder_loads_to_the_same(codec, tmp_path):
    model = small_model(processor=True, bottleneck="transformer", hidden=16, growth=1.0, cross_attention=True)
    model.save(tmp_path / "mbd.safetensors")
    again = MultiBandDiffusion.load(tmp_path / "mbd.safetensors")
    codes = codes_for(codec, 1, 12)
    assert again.config == model.config and not again.training and not any(p.requires_grad for p in again.parameters())
    assert torch.equal(again.decode(codes, codec, steps=2), model.decode(codes, codec, steps=2))


def bands(wav):
    return torch.stack(list(SplitBands(24_000, 32)(wav)))


def test_equalising_gives_every_band_the_references_loudness():
    torch.manual_seed(0)
    wav, reference = torch.randn(2, 1, 24_000), 0.1 * torch.randn(2, 1, 24_000).cumsum(dim=-1).sin()
    found = equalise(wav, reference, 24_000)
    ratio = bands(found).std(dim=-1) / bands(reference).std(dim=-1)
    assert ((ratio > 0.7) & (ratio < 1.4)).all()  # neighbouring bands overlap
    assert torch.allclose(equalise(wav, reference, 24_000, strictness=0), wav, rtol=0, atol=1e-5)


def test_one_signal_is_equalised_as_published_and_a_batch_item_by_item():
    torch.manual_seed(0)
    wav, reference = torch.randn(2, 1, 9000), torch.tensor([0.1, 3.0])[:, None, None] * torch.randn(2, 1, 9000)
    each = torch.cat([re_eq(w[None], r[None], 24_000) for w, r in zip(wav, reference, strict=True)])
    assert torch.allclose(equalise(wav, reference, 24_000), each, rtol=0, atol=1e-5)
    assert not torch.allclose(re_eq(wav, reference, 24_000), each, atol=0.1)


def test_the_equaliser_of_a_decoding_can_be_chosen(codec, model):
    codes = codes_for(codec, 2, 12)
    raw, reference = model.decode(codes, codec, steps=2, equaliser=None), codec.decode(codes)
    assert torch.equal(model.decode(codes, codec, steps=2, equaliser="batch"), re_eq(raw, reference, 24_000))
    assert torch.equal(model.decode(codes, codec, steps=2), equalise(raw, reference, 24_000))


def test_silence_stays_finite():
    wav = torch.zeros(1, 1, 4000)
    assert torch.equal(equalise(wav, torch.randn(1, 1, 4000), 24_000), wav)
    assert float(equalise(torch.randn(1, 1, 4000), wav, 24_000).abs().max()) < 1e-6
    faint, loud = 1e-6 * torch.randn(1, 1, 4000), torch.randn(1, 1, 4000)
    assert float(equalise(faint, loud, 24_000).std()) < 1.1 * MAX_GAIN * 1e-6


def test_bands_add_up_to_the_signal():
    for n in (1, 5, 1000, 4097):
        wav = torch.randn(2, 1, n)
        assert torch.allclose(sum(SplitBands(24_000, 8)(wav)), wav, rtol=0, atol=1e-5)


def test_processors_undo_themselves_where_bands_do_not_overlap():
    """A tone in the middle of a band: projected to the loudness of noise there, and back."""
    processor = MultiBandProcessor(ProcessorConfig(n_bands=4), 24_000)
    tone = 0.05 * torch.sin(2 * torch.pi * 3500 / 24_000 * torch.arange(24_000))[None, None]
    with pytest.raises(ValueError, match="no signals yet"):
        processor.restore(tone)
    processor.observe(tone + 0.001 * torch.randn(1, 1, 24_000), torch.Generator().manual_seed(0))
    projected = processor.project(tone)
    assert float(projected.std()) > 2 * float(tone.std())
    middle = slice(1000, -1000)
    assert torch.allclose(processor.restore(projected)[..., middle], tone[..., middle], rtol=0, atol=2e-3)


def test_statistics_end_when_there_are_enough():
    processor = MultiBandProcessor(ProcessorConfig(n_fit=3), 24_000)
    for expected in (2, 4, 4):
        processor.observe(torch.randn(2, 1, 1000))
        assert float(processor.counts) == expected
