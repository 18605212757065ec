"""EnCodec without torch: codes are torch's, audio differs by rounding, and streams, batches and segments keep their laws."""

import numpy as np
import onnx
import pytest
import soundfile
import torch
from ecdc.codec.checkpoints import load, save
from ecdc.codec.errors import CheckpointError
from ecdc.codec.light.export import export_model, folder_of, write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.light.seanet_codec import SeanetLightCodec
from ecdc.codec.model import Codec
from ecdc.codec.pipeline import decode_file, encode_file
from ecdc.codec.segments import cut, loudness, overlap_add
from encodec_models import CONFIGS, audio, hugging_face, narrow, original, write_hugging_face, write_original
from seanet_models import KINDS, small_codec
from stream_parts import parts

ROUNDING = 2e-5  # of float32 audio near full scale
STREAMED = [kind for kind in KINDS if kind != "trimmed on both sides"]


def lit(codec, folder):
    """Return a codec with graphs beside its weights, which are checked."""
    save(codec, folder)
    for path in write_structures(folder):
        onnx.checker.check_model(str(path), full_check=True)
    light = load_light(folder)
    assert isinstance(light, SeanetLightCodec) and light.token_space == codec.token_space
    return light


@pytest.fixture(scope="module", params=STREAMED)
def pair(request, tmp_path_factory):
    """A codec in torch, and the same one with graphs."""
    codec = small_codec(request.param)
    return codec, lit(codec, tmp_path_factory.mktemp("seanet") / "m")


def test_codes_are_those_of_torch_and_audio_differs_by_rounding(pair):
    """In float32 a frame may lie nearer to two entries than the rounding: one code in a thousand may differ."""
    codec, light = pair
    hop, n_codes, n_different = codec.config.hop_length, 0, 0
    for n_samples in (0, 1, 2, 3, 5, hop - 1, hop, hop + 1, 2 * hop + 1, 5 * hop - 3, 9 * hop + 1, 20 * hop + 3, 100 * hop):
        wav = audio(n_samples, batch_size=2)
        codes, found = codec.encode(wav).numpy(), light.encode(wav)
        assert found.shape == codes.shape
        n_codes, n_different = n_codes + codes.size, n_different + int((found != codes).sum())
        np.testing.assert_allclose(light.decode(codes), codec.decode(codes).numpy(), atol=ROUNDING)
    assert n_different <= n_codes // 1000


@pytest.mark.parametrize("sizes", [(1, 7, 10), (8,), (0, 60, 3)], ids=str)
def test_streamed_is_whole(pair, sizes):
    codec, light = pair
    rng, wav = np.random.default_rng(0), audio(40 * codec.config.hop_length + 3, batch_size=2).numpy()
    whole = light.encode(wav)
    with light.streaming(batch_size=2) as stream:
        codes = parts(stream.encode, wav, sizes, rng)
    assert codes.shape == whole.shape and (codes != whole).sum() <= whole.size // 1000
    with light.streaming(batch_size=2) as stream:
        found = parts(stream.decode, whole, (0, 1, 2, 9), rng)
    np.testing.assert_allclose(found, light.decode(whole), atol=ROUNDING)


def test_a_stream_gives_as_much_at_a_time_as_that_of_torch(pair):
    codec, light = pair
    wav, hop = audio(12 * codec.config.hop_length), codec.config.hop_length
    codes = codec.encode(wav)
    with codec.streaming() as slow, light.streaming() as fast:
        for t in range(12):
            block = wav[..., t * hop : (t + 1) * hop]
            assert fast.encode(block).shape == tuple(slow.encode(block).shape)
            assert fast.decode(codes[..., t : t + 1]).shape == tuple(slow.decode(codes[..., t : t + 1]).shape)


def test_a_batch_is_its_items(pair):
    _, light = pair
    wav = audio(999, batch_size=3).numpy()
    codes = light.encode(wav)
    each = np.concatenate([light.encode(one[None]) for one in wav])
    assert (codes != each).sum() <= codes.size // 1000
    audio_of_each = np.concatenate([light.decode(one[None]) for one in codes])
    np.testing.assert_allclose(light.decode(codes), audio_of_each, atol=ROUNDING)


def test_long_signals_run_in_blocks(pair, monkeypatch):
    codec, light = pair
    codes = light.encode(audio(60 * codec.config.hop_length + 1).numpy())
    whole = light.decode(codes)
    monkeypatch.setattr("ecdc.codec.light.seanet_codec.MOST_FRAMES", 3)
    np.testing.assert_allclose(light.decode(codes), whole, atol=ROUNDING)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layout", ["original", "hugging face"])
def test_published_checkpoints(tmp_path, name, layout):
    torch.manual_seed(0)
    config = narrow(CONFIGS[name])
    if layout == "original":
        codec = load(write_original(original(config), tmp_path / "m.th"), config)
    else:
        codec = load(write_hugging_face(hugging_face(config), tmp_path / "hf"))
    light = lit(codec, tmp_path / "m")
    wav = audio(config.sample_rate + 777, config.channels)
    segments, found = codec.encode_segments(wav), light.encode_segments(wav)
    assert len(segments) == len(found)
    for mine, theirs in zip(found, segments, strict=True):
        # Later random codebooks are smaller than the rounding of what they code.
        assert (mine.codes != theirs.codes.numpy())[:, :12].sum() <= mine.codes.size // 1000
        if theirs.scale is not None:
            np.testing.assert_allclose(mine.scale, theirs.scale.numpy(), rtol=1e-6)
    for mine, theirs in zip(found, segments, strict=True):
        mine.codes = theirs.codes.numpy()
    wanted = codec.decode_segments(segments, wav.shape[-1]).numpy()
    np.testing.assert_allclose(light.decode_segments(found, wav.shape[-1]), wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_model_in_segments_codes_files_and_refuses_streams(tmp_path):
    torch.manual_seed(0)
    codec = Codec(narrow(CONFIGS["48 kHz"])).ready()
    codec.quantizer.codebooks.normal_()
    light = lit(codec, tmp_path / "m")
    soundfile.write(tmp_path / "a.wav", audio(100_001, 2)[0].numpy().T, 48_000)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", light)
    for name, either in (("light", light), ("torch", codec)):
        decode_file(tmp_path / "a.ecdc", tmp_path / f"{name}.wav", either)
    found, wanted = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("light", "torch"))
    assert found.shape == (100_001, 2)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(ValueError, match="encode_segments"):
        light.encode(audio(100, 2))
    with pytest.raises(ValueError, match="segments"), light.streaming():
        pass


@pytest.mark.parametrize("lengths", [(10, 10, 4), (10,), (10, 3, 1)])
def test_segments_overlap_as_in_torch(lengths):
    rng = np.random.default_rng(0)
    segments = [rng.standard_normal((1, 2, n)).astype(np.float32) for n in lengths]
    found = np.concatenate(list(overlap_add(segments, 7)), axis=-1)
    wanted = torch.cat(list(overlap_add([torch.from_numpy(s) for s in segments], 7)), dim=-1)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    tensors = [torch.from_numpy(s) for s in segments]
    for array, tensor in zip(cut(segments, 6, 4), cut(tensors, 6, 4), strict=True):
        assert np.array_equal(array, tensor.numpy())
        assert loudness(array).dtype == np.float32
        np.testing.assert_allclose(loudness(array), loudness(tensor).numpy(), rtol=1e-6)


def test_a_checkpoint_is_exported_with_its_weights(tmp_path):
    config = narrow(CONFIGS["32 kHz"])
    source = write_hugging_face(hugging_face(config), tmp_path / "hf")
    with folder_of(str(source)) as folder:
        export_model(folder, tmp_path / "out")
    codec, light = load(source), load_light(tmp_path / "out")
    wav = audio(5000)
    codes = codec.encode(wav).numpy()
    assert (light.encode(wav) != codes).sum() <= codes.size // 1000
    np.testing.assert_allclose(light.decode(codes), codec.decode(codes).numpy(), atol=1e-4)


def test_what_graphs_cannot_compute_is_one_line(tmp_path):
    save(small_codec("trimmed on both sides"), tmp_path / "m")
    with pytest.raises(CheckpointError, match="trim_right_ratio"):
        write_structures(tmp_path / "m")
