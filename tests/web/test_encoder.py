"""Files that the browser makes hold the tokens that Python makes, and are whole files."""

import base64

import numpy as np
import pytest
import soundfile
import soxr
from ecdc.codec.bundled import read_config
from ecdc.codec.encoding import encode_file
from ecdc.format import Reader

RATE, MODEL = 24_000, "nano-24k"  # the first bundled model that encodes in the browser


def sound(n_samples, channels, rate, seed=0):
    """Tones over noise with pauses [n, C], below 0.43 of the rate."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / rate
    loud = np.clip(1.5 * np.sin(2 * np.pi * 1.3 * time), 0, 1)
    tones = [sum(np.sin(2 * np.pi * f * k * time) / k for k in range(1, 9)) for f in (147 + 90 * c for c in range(channels))]
    noise = np.fft.rfft(rng.standard_normal((channels, n_samples)))
    noise[:, int(0.43 * n_samples) :] = 0  # resamplers differ where they begin to fade
    return (0.1 * loud * np.stack(tones) + 0.01 * np.fft.irfft(noise, n_samples)).T.astype(np.float32)


def read(path):
    with path.open("rb") as stream:
        reader = Reader(stream)
        codes = np.concatenate([chunk.codes for chunk in reader], axis=1)
        return reader.header, codes, reader.n_samples, reader.original_n_samples


@pytest.mark.parametrize("channels, kbps, subtype", [(1, 6, "FLOAT"), (2, 9, "PCM_16")])
def test_tokens_are_those_of_python(node, catalog_file, tmp_path, channels, kbps, subtype):
    wav, ours, theirs = tmp_path / "in.wav", tmp_path / "browser.ecdc", tmp_path / "python.ecdc"
    soundfile.write(wav, sound(5 * RATE + 123, channels, RATE), RATE, subtype)
    node("encode.mjs", catalog_file, wav, ours, kbps, 10_007)
    encode_file(wav, theirs, MODEL, kbps=kbps)
    header, codes, *lengths = read(ours)
    wanted, same, *same_lengths = read(theirs)
    assert codes.shape == same.shape and lengths == same_lengths
    assert (codes == same).mean() >= 0.999
    assert header.tags == (("title", "ü"),)
    fields = ["codec", "token_space", "sample_rate", "original_sample_rate", "channels", "channel_coding", "prior"]
    assert all(getattr(header, name) == getattr(wanted, name) for name in fields)
    assert abs(ours.stat().st_size - theirs.stat().st_size) < 100, "chunks are coded with the prior, too"


def test_other_rates_and_blocks(node, catalog_file, tmp_path):
    wav, ours, theirs = tmp_path / "in.wav", tmp_path / "browser.ecdc", tmp_path / "python.ecdc"
    soundfile.write(wav, soxr.resample(sound(3 * RATE + 7, 1, RATE), RATE, 44_100, "VHQ"), 44_100, "PCM_24")
    node("encode.mjs", catalog_file, wav, ours, 3, 4096)
    encode_file(wav, theirs, MODEL, kbps=3)
    (header, codes, *lengths), (_, same, *same_lengths) = read(ours), read(theirs)
    assert lengths == same_lengths and codes.shape == same.shape and header.original_sample_rate == 44_100
    assert (codes[0] == same[0]).mean() > 0.9, "the two resamplers differ a little"


def test_a_model_that_only_decodes_says_so(node, catalog_file, folders, tmp_path):
    wav, output = tmp_path / "in.wav", tmp_path / "out.ecdc"
    soundfile.write(wav, sound(RATE, 1, RATE), RATE, "PCM_16")
    names = {read_config(folder).name for folder in folders.values() if read_config(folder).architecture.kind == "split"}
    for name in names:
        (found,) = node("encode.mjs", catalog_file, wav, output, 3, 4096, name)
        assert found["kind"] == "Unavailable" and "use ecdc encode" in found["sentence"]
    assert names and not output.exists()


@pytest.mark.parametrize("rates", [(44_100, 24_000), (48_000, 24_000), (16_000, 24_000), (44_101, 24_000), (24_000, 24_000)])
def test_the_resampler_is_exact_and_does_not_depend_on_blocks(node, rates):
    wav = sound(9_001, 1, min(rates))[:, 0]
    if rates[0] > rates[1]:
        wav = soxr.resample(wav, rates[1], rates[0], "VHQ").astype(np.float32)
    found = []
    for block in (333, 10**6):
        (text,) = node("resample.mjs", *rates, block, blobs=[wav.tobytes()])
        found.append(np.frombuffer(base64.b64decode(text), np.float32))
    assert len(found[0]) == -(-len(wav) * rates[1] // rates[0])
    assert np.array_equal(*found)
    wanted = soxr.resample(wav, *rates, "VHQ")
    n = min(len(wanted), len(found[0]))
    inner = slice(400, n - 400)
    assert np.abs(found[0][inner] - wanted[inner]).max() < 1e-4
