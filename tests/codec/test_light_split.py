"""Split codecs without torch: codes are torch's, audio differs by rounding, and the laws of streams, spans and losses hold."""

import numpy as np
import onnx
import pytest
import torch
from ecdc.codec.checkpoints import save
from ecdc.codec.errors import CheckpointError
from ecdc.codec.light.export import export_model, write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.light.names import ENCODER, LEVELS
from ecdc.codec.light.split_codec import SplitLightCodec
from ecdc.codec.modules.noise import frame_noise
from ecdc.codec.modules.noise_hash import frame_noise as frame_noise_array
from ecdc.codec.pipeline import decode_file, encode_file
from split_models import LATER, K, build
from stream_parts import parts

ROUNDING = 2e-5  # of float32 audio near full scale
KINDS = {
    "48k": {},
    "24k": {"core_factor": 1, "hop_length": 480, "top_bands": 0},
    "no correction": {"corrects": False, "slow_bands": 0},
    "gains": LATER,
    "other steps": {"steps": 2, "fine_blocks": 4, "hop_length": 640, "slow_bands": 24},
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """A codec in torch, and the same one with graphs."""
    codec = build(**KINDS[request.param])
    folder = tmp_path_factory.mktemp("split") / "m"
    save(codec, folder)
    for path in write_structures(folder):
        onnx.checker.check_model(str(path), full_check=True)
    return codec, load_light(folder)


def sound(codec, n_samples, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / codec.sample_rate
    fading = 10 ** (-20 * time)  # from loud to below the lowest level
    return (fading * (0.2 * np.sin(2000 * time) + 0.1 * rng.standard_normal((batch, 1, n_samples)))).astype(np.float32)


@pytest.mark.parametrize("n_samples", [0, 1, 319, 320, 479, 480, 481, 959, 960, 961, 1440, 9999])
def test_codes_are_those_of_torch_and_audio_differs_by_rounding(pair, n_samples):
    codec, light = pair
    assert light.token_space == codec.token_space and isinstance(light, SplitLightCodec)
    wav = sound(codec, n_samples, batch=2)
    codes = codec.encode(wav).numpy()
    np.testing.assert_array_equal(light.encode(wav), codes)
    np.testing.assert_array_equal(through_graphs(light).encode(wav), codes)
    np.testing.assert_allclose(light.decode(codes), codec.decode(codes).numpy(), atol=ROUNDING)


def through_graphs(light):
    """The same codec, which encodes with its graphs and not in numpy."""
    other = load_light(light.folder)
    other.prefers_graph = True
    return other


@pytest.mark.parametrize("seed", range(2))
def test_streamed_is_whole(pair, seed):
    codec, light = pair
    rng, wav = np.random.default_rng(seed), sound(codec, 9000, batch=2)
    whole = light.encode(wav)
    for encoder in (light, through_graphs(light)):
        with encoder.streaming(batch_size=2) as stream:
            codes = parts(stream.encode, wav, (0, 1, 100, 479, 480, 481, 5000), rng)
        np.testing.assert_array_equal(codes, whole)
    with light.streaming(batch_size=2) as stream:
        audio = parts(stream.decode, whole, (0, 1, 2, 7), rng)
    np.testing.assert_allclose(audio, light.decode(whole), atol=ROUNDING)


def test_a_stream_gives_as_much_at_a_time_as_that_of_torch(pair):
    codec, light = pair
    codes = np.random.default_rng(0).integers(0, 32, (1, K, 6))
    with codec.streaming() as slow, light.streaming() as fast:
        for t in range(6):
            assert fast.decode(codes[..., t : t + 1]).shape[-1] == slow.decode(codes[..., t : t + 1]).shape[-1]


def test_a_batch_is_its_items_and_fewer_codebooks_a_prefix(pair):
    codec, light = pair
    wav = sound(codec, 5000, batch=3)
    codes = light.encode(wav)
    np.testing.assert_array_equal(codes, np.concatenate([light.encode(one[None]) for one in wav]))
    each = np.concatenate([light.decode(one[None]) for one in codes])
    np.testing.assert_allclose(light.decode(codes), each, atol=ROUNDING)
    for k in range(1, K + 1):
        np.testing.assert_array_equal(light.encode(wav, n_codebooks=k), codes[:, :k])
        np.testing.assert_allclose(light.decode(codes[:, :k]), codec.decode(codes[:, :k]).numpy(), atol=ROUNDING)


def test_long_signals_run_in_blocks(pair, monkeypatch):
    codec, light = pair
    wav = sound(codec, 12_000)
    codes = light.encode(wav)
    audio = light.decode(codes)
    for name in ("ENCODED_FRAMES", "DECODED_FRAMES"):
        monkeypatch.setattr(f"ecdc.codec.light.split_codec.{name}", 3)
    np.testing.assert_array_equal(light.encode(wav), codes)
    np.testing.assert_allclose(light.decode(codes), audio, atol=ROUNDING)


def test_spans_equal_the_whole(pair):
    codec, light = pair
    hop, (before, after) = codec.config.hop_length, light.reach
    codes = np.random.default_rng(0).integers(0, 32, (1, K, 60))
    whole, first, n = light.decode(codes), 30, 5
    with light.streaming(first_frame=first - before) as stream:
        part = stream.decode(codes[..., first - before : first + n + after])[..., before * hop :][..., : n * hop]
    np.testing.assert_allclose(part, whole[..., first * hop : (first + n) * hop], atol=ROUNDING)


def test_lost_frames_are_those_of_torch(pair):
    codec, light = pair
    codes = np.random.default_rng(0).integers(0, 32, (1, K, 30))
    found = []
    for either in (codec, light):
        with either.streaming() as stream:
            blocks = (
                stream.decode(codes[..., :10]),
                stream.decode(codes[:, :0, 10:12]),
                stream.decode(codes[..., 12:], last=True),
            )
        found.append(np.concatenate([np.asarray(block) for block in blocks], axis=-1))
    np.testing.assert_allclose(found[1], found[0], atol=ROUNDING)


def test_files_and_spans_of_files(pair, tmp_path):
    codec, light = pair
    import soundfile

    soundfile.write(tmp_path / "a.wav", sound(codec, 2 * codec.sample_rate)[0, 0], codec.sample_rate)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", light)
    encode_file(tmp_path / "a.wav", tmp_path / "b.ecdc", codec)
    assert (tmp_path / "a.ecdc").read_bytes() == (tmp_path / "b.ecdc").read_bytes()
    decode_file(tmp_path / "a.ecdc", tmp_path / "a_out.wav", light)
    decode_file(tmp_path / "a.ecdc", tmp_path / "b_out.wav", codec)
    found, wanted = (soundfile.read(tmp_path / f"{name}_out.wav")[0] for name in "ab")
    np.testing.assert_allclose(found, wanted, atol=ROUNDING + 2**-15)


def test_an_exported_model_needs_nothing_else(pair, tmp_path):
    codec, light = pair
    export_model(light.folder, tmp_path / "out")
    exported, wav = load_light(tmp_path / "out"), sound(codec, 5000)
    codes = codec.encode(wav).numpy()
    np.testing.assert_array_equal(exported.encode(wav), codes)
    np.testing.assert_allclose(exported.decode(codes), codec.decode(codes).numpy(), atol=ROUNDING)
    facts = exported.session(LEVELS).get_modelmeta().custom_metadata_map
    assert facts["token_space"] == codec.token_space.hex() and facts["hop_length"] == str(codec.config.hop_length)


def test_the_delay_in_the_metadata_is_that_of_a_stream(pair):
    codec, light = pair
    facts = light.session("decoder.onnx").get_modelmeta().custom_metadata_map
    codes = np.zeros((1, K, 5), int)
    with light.streaming() as stream:
        n_samples = stream.decode(codes).shape[-1]
    assert int(facts["decoder_delay"]) == 5 * codec.config.hop_length - n_samples


def test_a_missing_graph_is_one_line(pair, tmp_path):
    codec, _ = pair
    save(codec, tmp_path / "m")
    write_structures(tmp_path / "m")
    (tmp_path / "m" / LEVELS).unlink()
    with pytest.raises(CheckpointError, match="no such graph"):
        through_graphs(load_light(tmp_path / "m")).encode(sound(codec, 1000))
    assert (tmp_path / "m" / ENCODER).exists()


def test_noise_is_the_same_in_both_runtimes():
    like = torch.zeros(1)
    np.testing.assert_array_equal(frame_noise(7, 3, 11, like, stream=1)[0].numpy(), frame_noise_array(7, 3, 11, stream=1))
