"""Files that the browser makes hold the tokens that Python makes, and are whole files."""

import base64
import json

import numpy as np
import pytest
import soundfile
import soxr
from ecdc.cli.web_catalog import catalog
from ecdc.codec.bundled import BUNDLED, bundled_names, read_config
from ecdc.codec.default_model import DEFAULT_MODEL
from ecdc.codec.encoding import encode_file
from ecdc.codec.light.load import load_light
from ecdc.format import Reader
from web_models import MODELS, addresses

CLIPS = BUNDLED.parents[1] / "bench" / "clips"
GOLDEN = ("speech_it", "music_guitar", "sounds_beats")
RATES = {name: read_config(BUNDLED / name).sample_rate for name in bundled_names()}


def sound(n_samples, channels, rate, seed=0):
    """Tones over noise with pauses [n, C], below 0.43 of the rate."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / rate
    loud = np.clip(1.5 * np.sin(2 * np.pi * 1.3 * time), 0, 1)
    tones = [sum(np.sin(2 * np.pi * f * k * time) / k for k in range(1, 9)) for f in (147 + 90 * c for c in range(channels))]
    noise = np.fft.rfft(rng.standard_normal((channels, n_samples)))
    noise[:, int(0.43 * n_samples) :] = 0  # resamplers differ where they begin to fade
    return (0.1 * loud * np.stack(tones) + 0.01 * np.fft.irfft(noise, n_samples)).T.astype(np.float32)


def clip(name, rate):
    """A clip of the benchmark in mono [n]."""
    wav, own = soundfile.read(CLIPS / f"{name}.flac", dtype="float32", always_2d=True)
    return soxr.resample(wav.mean(axis=1), own, rate, "VHQ").astype(np.float32)


def read(path):
    with path.open("rb") as stream:
        reader = Reader(stream)
        codes = np.concatenate([chunk.codes for chunk in reader], axis=1)
        return reader.header, codes, reader.n_samples, reader.original_n_samples


@pytest.fixture
def encode(node, catalog_file, tmp_path):
    """A function that encodes WAVs in Node, given jobs without outputs: returns the files made, and the bytes loaded by file.

    `models` is a catalog, by default of all models.
    """

    def run(*jobs, models=catalog_file):
        paths = [tmp_path / f"browser-{i}.ecdc" for i in range(len(jobs))]
        asked = [{"block": 10_007, **job, "output": str(path)} for job, path in zip(jobs, paths, strict=True)]
        return paths, node("encode.mjs", models, json.dumps(asked), seconds=300)

    return run


@pytest.mark.parametrize("channels, kbps, subtype", [(1, 6, "FLOAT"), (2, 9, "PCM_16")])
@pytest.mark.parametrize("model", bundled_names())
def test_tokens_are_those_of_python(encode, tmp_path, model, channels, kbps, subtype):
    wav, theirs, rate = tmp_path / "in.wav", tmp_path / "python.ecdc", RATES[model]
    soundfile.write(wav, sound(5 * rate + 123, channels, rate), rate, subtype)
    (ours,), _ = encode({"wav": str(wav), "kbps": kbps, "model": model})
    encode_file(wav, theirs, model, kbps=kbps, stereo="mid_side", effort=0)
    header, codes, *lengths = read(ours)
    wanted, same, *same_lengths = read(theirs)
    assert codes.shape == same.shape and lengths == same_lengths
    assert (codes == same).mean() >= 0.999
    assert header.tags == (("title", "ü"),)
    fields = ["codec", "token_space", "sample_rate", "original_sample_rate", "channels", "channel_coding", "prior"]
    assert all(getattr(header, name) == getattr(wanted, name) for name in fields)
    assert abs(ours.stat().st_size - theirs.stat().st_size) < 100, "chunks are coded with the prior, too"


def test_all_codes_of_clips_are_those_of_the_light_runtime(encode, tmp_path):
    config = read_config(BUNDLED / DEFAULT_MODEL)
    wavs = [clip(name, config.sample_rate) for name in GOLDEN]
    jobs = []
    for name, samples in zip(GOLDEN, wavs, strict=True):
        soundfile.write(tmp_path / f"{name}.wav", samples, config.sample_rate, "FLOAT")
        jobs.append({"wav": str(tmp_path / f"{name}.wav"), "kbps": config.bitrates_kbps[-1]})  # the default model
    codec = load_light(BUNDLED / DEFAULT_MODEL)
    for name, samples, path in zip(GOLDEN, wavs, encode(*jobs)[0], strict=True):
        header, codes, *_ = read(path)
        assert header.codec == DEFAULT_MODEL
        wanted = codec.encode(samples[None, None])[0]
        assert wanted.shape == (config.n_codebooks, -(-len(samples) // config.hop_length))
        np.testing.assert_array_equal(codes, wanted, name)


@pytest.mark.parametrize("model", MODELS)
def test_codes_depend_neither_on_blocks_nor_on_the_number_of_codebooks(encode, folders, tmp_path, model):
    codec = load_light(folders[model])
    rate, rates = codec.sample_rate, codec.config.bitrates_kbps
    wav = sound(3 * rate + 77, 2, rate)
    soundfile.write(tmp_path / "in.wav", wav, rate, "FLOAT")
    mono = tmp_path / "mono.wav"
    soundfile.write(mono, wav[:, 0], rate, "FLOAT")
    own = tmp_path / "catalog.json"
    own.write_text(json.dumps(catalog(addresses(tmp_path), [folders[model]])))
    jobs = [{"wav": str(mono), "kbps": rates[-1], "block": block} for block in (10**9, 997, 12_345)]
    jobs += [{"wav": str(mono), "kbps": kbps} for kbps in (rates[0], rates[len(rates) // 2 - 1])]
    jobs += [{"wav": str(tmp_path / "in.wav"), "kbps": 1.5 * rates[-1], "engine": "plain"}]
    *found, both = [read(path)[1] for path in encode(*jobs, models=own)[0]]
    wanted = codec.encode(np.ascontiguousarray(wav.T[:1])[None])[0]
    assert [len(codes) for codes in found] == [len(wanted)] * 3 + [1, len(wanted) // 2]
    for codes in found:
        np.testing.assert_array_equal(codes, wanted[: len(codes)])
    middle, side = (np.float32(0.5) * (wav[:, 0] + sign * wav[:, 1]) for sign in (np.float32(1), np.float32(-1)))
    n_side = len(both) - len(wanted)
    assert 0 < n_side < len(wanted)
    streams = [codec.encode(x[None, None])[0] for x in (middle, side)]
    np.testing.assert_array_equal(both, np.concatenate([streams[0], streams[1][:n_side]]))


def test_only_what_encoding_needs_is_loaded(encode, folders, tmp_path):
    soundfile.write(tmp_path / "in.wav", sound(24_000, 1, 24_000), 24_000, "PCM_16")
    models = bundled_names()
    _, found = encode(*({"wav": str(tmp_path / "in.wav"), "kbps": 3, "model": model} for model in models))
    graphs = {"hybrid": {"encoder.onnx"}, "split": set()}
    for model, loaded in zip(models, found, strict=True):
        folder = folders[model]
        names = {path.removeprefix(f"{folder}/") for path in loaded if not path.endswith(".prior")}
        kind = read_config(folder).architecture.kind
        assert names == graphs[kind] | {"model.safetensors"}, "nothing of other models"
        size = (folder / "model.safetensors").stat().st_size
        assert loaded[str(folder / "model.safetensors")] < 0.36 * size, "no decoder, and only six codebooks"


def test_other_rates_and_blocks(encode, tmp_path):
    wav, theirs, rate, model = tmp_path / "in.wav", tmp_path / "python.ecdc", 24_000, "nano-24k"
    soundfile.write(wav, soxr.resample(sound(3 * rate + 7, 1, rate), rate, 44_100, "VHQ"), 44_100, "PCM_24")
    (ours,), _ = encode({"wav": str(wav), "kbps": 3, "block": 4096, "model": model})
    encode_file(wav, theirs, model, kbps=3, effort=0)
    (header, codes, *lengths), (_, same, *same_lengths) = read(ours), read(theirs)
    assert lengths == same_lengths and codes.shape == same.shape and header.original_sample_rate == 44_100
    assert (codes[0] == same[0]).mean() > 0.9, "the two resamplers differ a little"


@pytest.mark.parametrize("dimension", [4, 7, 81, 168])
def test_the_nearest_entry_is_found_also_where_two_are_almost_as_near(node, dimension):
    rng = np.random.default_rng(dimension)
    book = rng.standard_normal((301, dimension)).astype(np.float32)
    book[150:170] = book[10:30]  # twins: the first is chosen
    book[170:190] = book[10:30] + (rng.standard_normal((20, dimension)) * 1e-6).astype(np.float32)
    x = np.concatenate([rng.standard_normal((50, dimension)), book[140:195] + 1e-9 * rng.standard_normal((55, dimension))])
    exact = book.astype(np.float64)
    scores = x @ exact.T - 0.5 * np.square(exact).sum(1)
    scores[:, 150:170] = -np.inf
    wanted = scores.argmax(1).tolist()
    assert len(set(wanted)) > 40
    for engine in ("plain", "scalar", "simd"):
        assert node("nearest.mjs", engine, dimension, blobs=[book.tobytes(), x.tobytes()]) == [wanted], engine


@pytest.mark.parametrize("rates", [(44_100, 24_000), (48_000, 24_000), (16_000, 24_000), (44_101, 24_000), (24_000, 24_000)])
def test_the_resampler_is_exact_and_does_not_depend_on_blocks(bare_node, rates):
    wav = sound(9_001, 1, min(rates))[:, 0]
    if rates[0] > rates[1]:
        wav = soxr.resample(wav, rates[1], rates[0], "VHQ").astype(np.float32)
    found = []
    for block in (333, 10**6):
        (text,) = bare_node("resample.mjs", *rates, block, blobs=[wav.tobytes()])
        found.append(np.frombuffer(base64.b64decode(text), np.float32))
    assert len(found[0]) == -(-len(wav) * rates[1] // rates[0])
    assert np.array_equal(*found)
    wanted = soxr.resample(wav, *rates, "VHQ")
    n = min(len(wanted), len(found[0]))
    inner = slice(400, n - 400)
    assert np.abs(found[0][inner] - wanted[inner]).max() < 1e-4
