"""EnCodec, exactly: the codes of PyPI encodec and of transformers on the same random weights, and their waveforms.

On the reference path codes are equal bit for bit. The fast path sums in another order, so
that a frame in some ten thousands lies close enough to the border of two entries to change
sides; all of its later codes change with it, which is what `FLIPS` allows for. On processors
without AVX-512 the reference path rounds otherwise than the original, too, and is allowed the same.
"""

import pytest
import torch
from ecdc.codec.checkpoints import load
from encodec_models import CONFIGS, audio, hugging_face, narrow, original, write_hugging_face, write_original

LENGTHS = (1, 319, 320, 321, 6720, 24_000, 48_000, 100_000)
QUICK = (1, 319, 320, 321, 6720, 50_000)  # the last one makes two segments at 48 kHz
lengths = pytest.mark.parametrize(
    "n_samples", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in LENGTHS if n not in QUICK)]
)
FLIPS = 1e-3


def decoded_as_v0(model, frames, n_samples):
    with torch.no_grad():
        return model.decode(frames)[..., :n_samples]


def check(ours, fast, wav, kbps, frames, theirs):
    """Compare ours and a peer's at one bitrate: frames [(codes, scale)] and the decoded waveform."""
    n_samples = wav.shape[-1]
    segments, quick = ours.encode_segments(wav, kbps), fast.encode_segments(wav, kbps)
    assert len(segments) == len(frames)
    flips = strict_flips = total = 0
    for segment, other, (codes, scale) in zip(segments, quick, frames, strict=True):
        assert segment.codes.shape == codes.shape
        strict_flips += int((segment.codes != codes).sum())
        assert (segment.scale is None) == (scale is None) and (scale is None or torch.equal(segment.scale, scale))
        flips += int((other.codes != codes).sum())
        total += codes.numel()
    assert flips <= max(FLIPS * total, codes.shape[1])
    assert strict_flips == 0
    for codec in (ours, fast):
        assert torch.allclose(codec.decode_segments(segments, n_samples), theirs, rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=CONFIGS)
def originals(request, tmp_path_factory):
    """A narrow model of PyPI encodec, and ours from its file: reference and fast."""
    torch.manual_seed(0)
    config = narrow(CONFIGS[request.param])
    model = original(config)
    path = write_original(model, tmp_path_factory.mktemp("v0") / "model.th")
    return model, load(path, config, reference=True), load(path, config)


@lengths
def test_codes_and_waveforms_are_the_originals(originals, n_samples):
    model, ours, fast = originals
    wav = audio(n_samples, ours.config.channels, seed=n_samples)
    for kbps in ours.config.bitrates_kbps:
        model.set_target_bandwidth(kbps)
        with torch.no_grad():
            frames = model.encode(wav)
        check(ours, fast, wav, kbps, frames, decoded_as_v0(model, frames, n_samples))


def test_full_width_codes_and_waveforms_are_the_originals(tmp_path):
    torch.manual_seed(1)
    config = CONFIGS["24 kHz"]
    model = original(config)
    path = write_original(model, tmp_path / "model.th")
    wav = audio(6720, seed=3)
    with torch.no_grad():
        frames = model.encode(wav)
    check(load(path, reference=True), load(path), wav, None, frames, decoded_as_v0(model, frames, 6720))


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_full_width_at_every_length_and_bitrate(config, tmp_path):
    torch.manual_seed(2)
    model = original(config)
    path = write_original(model, tmp_path / "model.th")
    ours, fast = load(path, config, reference=True), load(path, config)
    for n_samples in LENGTHS:
        wav = audio(n_samples, config.channels, seed=n_samples)
        for kbps in config.bitrates_kbps:
            model.set_target_bandwidth(kbps)
            with torch.no_grad():
                frames = model.encode(wav)
            check(ours, fast, wav, kbps, frames, decoded_as_v0(model, frames, n_samples))


@pytest.fixture(scope="module", params=CONFIGS)
def transformers_models(request, tmp_path_factory):
    """A narrow model of transformers, and ours from its folder: reference and fast."""
    pytest.importorskip("transformers")
    torch.manual_seed(4)
    model = hugging_face(narrow(CONFIGS[request.param]))
    folder = write_hugging_face(model, tmp_path_factory.mktemp("hf"))
    return model, load(folder, reference=True), load(folder)


@lengths
def test_codes_and_waveforms_are_those_of_transformers(transformers_models, n_samples):
    model, ours, fast = transformers_models
    wav = audio(n_samples, ours.config.channels, seed=n_samples)
    for kbps in ours.config.bitrates_kbps:
        with torch.no_grad():
            encoded = model.encode(wav, bandwidth=kbps)
            scales, padded = encoded.audio_scales, encoded.last_frame_pad_length
            theirs = model.decode(encoded.audio_codes, scales, last_frame_pad_length=padded).audio_values[..., :n_samples]
        codes = list(encoded.audio_codes)
        codes[-1] = codes[-1][..., : codes[-1].shape[-1] - padded]
        check(ours, fast, wav, kbps, list(zip(codes, scales, strict=True)), theirs)
