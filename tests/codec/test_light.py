"""The runtime without torch: its codes are torch's, its audio differs by rounding, and the laws of streams hold."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec.bundled import BUNDLED, CONFIG, WEIGHTS, bundled_names
from ecdc.codec.checkpoints import load, save
from ecdc.codec.config import CodecConfig
from ecdc.codec.diffusion.choose_decoder import with_decoder
from ecdc.codec.errors import CheckpointError
from ecdc.codec.light.export import DECODER_FP16, export_model, structures, write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.light.names import DECODER, ENCODER, FLOW
from ecdc.codec.model import Codec
from ecdc.codec.pipeline_parts import to_array
from ecdc.codec.runtime import light_folder as found_folder
from ecdc.codec.runtime import open_codec
from safetensors.numpy import load_file, save_file

NANO = BUNDLED / "nano-24k"
CLIPS = Path(__file__).parents[2] / "bench" / "clips"
LENGTHS = (0, 1, 159, 160, 161, 319, 320, 321, 480, 481, 4000, 33_333)
ROUNDING = 2e-5  # of float32 audio near full scale


def sound(n_samples, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / 24_000
    fading = 10 ** (-3 * time)  # from loud to almost silent
    return (fading * (0.3 * np.sin(2000 * time) + 0.1 * rng.standard_normal((batch, 1, n_samples)))).astype(np.float32)


def by_graph(light):
    """The same codec, which encodes with its graph."""
    other = load_light(light.folder)
    other.prefers_graph = True
    return other


def parts(stream_method, array, sizes, rng):
    """Pass an array's last axis to a stream in blocks of random sizes; the last block ends it."""
    found, begin = [], 0
    while begin < array.shape[-1]:
        size = int(rng.choice(sizes))
        last = begin + size >= array.shape[-1]
        found.append(to_array(stream_method(array[..., begin : begin + size], last=last)))
        begin += size
    return np.concatenate(found, axis=-1)


@pytest.fixture(scope="session")
def small(light_folder):
    return load_light(light_folder)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_codes_are_those_of_torch_and_audio_differs_by_rounding(codec, small, n_samples):
    wav = sound(n_samples, batch=2)
    codes = codec.encode(wav).numpy()
    np.testing.assert_array_equal(small.encode(wav), codes)
    np.testing.assert_array_equal(by_graph(small).encode(wav), codes)
    np.testing.assert_allclose(small.decode(codes), codec.decode(codes).numpy(), atol=ROUNDING)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_window": 4, "lookahead": 0},
        {"fine_blocks": 0},
        {"fine_blocks": 0, "random_sign_bin": 0},
        {"random_sign_bin": 0},
        {"kernel_size": 3, "expand": 2, "hop_length": 160},
    ],
    ids=["long windows", "no short blocks", "no short blocks, no signs", "no signs", "short hop"],
)
def test_every_kind_of_hybrid_codec(codec, tmp_path, changes):
    config = CodecConfig.from_dict(codec.config.to_dict())
    values = config.to_dict()
    values["architecture"] |= changes
    torch.manual_seed(1)
    made = Codec(CodecConfig.from_dict(values))
    made.quantizer.codebooks.normal_()
    made.ready()
    save(made, tmp_path / "m")
    write_structures(tmp_path / "m")
    light, wav = load_light(tmp_path / "m"), sound(5000)
    codes = made.encode(wav).numpy()
    np.testing.assert_array_equal(light.encode(wav), codes)
    np.testing.assert_array_equal(by_graph(light).encode(wav), codes)
    np.testing.assert_allclose(light.decode(codes), made.decode(codes).numpy(), atol=ROUNDING)


def test_codes_of_real_audio_are_those_of_torch():
    wav = soundfile.read(CLIPS / "speech_it.flac", dtype="float32", frames=3 * 16_000)[0][None, None]
    torch_codec, light = load("nano-24k"), load_light(NANO)
    assert light.token_space == torch_codec.token_space
    codes = torch_codec.encode(wav).numpy()
    np.testing.assert_array_equal(light.encode(wav), codes)
    np.testing.assert_array_equal(by_graph(light).encode(wav), codes)
    np.testing.assert_allclose(light.decode(codes), torch_codec.decode(codes).numpy(), atol=ROUNDING)


@pytest.mark.parametrize("seed", range(3))
def test_streamed_is_whole(either, seed):
    rng, wav = np.random.default_rng(seed), sound(20_000, batch=2)
    whole = to_array(either.encode(wav))
    with either.streaming(batch_size=2) as stream:
        codes = parts(stream.encode, wav, (0, 1, 100, 319, 320, 321, 5000), rng)
    np.testing.assert_array_equal(codes, whole)
    with either.streaming(batch_size=2) as stream:
        audio = parts(stream.decode, whole, (0, 1, 2, 7, 30), rng)
    np.testing.assert_allclose(audio, to_array(either.decode(whole)), atol=ROUNDING)


def test_a_batch_is_its_items(either):
    wav = sound(7000, batch=3)
    codes = to_array(either.encode(wav))
    np.testing.assert_array_equal(codes, np.concatenate([to_array(either.encode(one[None])) for one in wav]))
    each = np.concatenate([to_array(either.decode(one[None])) for one in codes])
    np.testing.assert_allclose(to_array(either.decode(codes)), each, atol=ROUNDING)


def test_fewer_codebooks_are_a_prefix(either):
    wav = sound(7000)
    codes = to_array(either.encode(wav))
    for k in range(1, codes.shape[1] + 1):
        np.testing.assert_array_equal(to_array(either.encode(wav, n_codebooks=k)), codes[:, :k])
        assert to_array(either.decode(codes[:, :k], 6999)).shape == (1, 1, 6999)


@pytest.mark.parametrize("changes", [{}, {"encoder_window": 4, "fine_blocks": 0}], ids=["short windows", "long windows"])
def test_single_frames_are_encoded_as_whole_signals(codec, tmp_path, changes):
    values = codec.config.to_dict()
    values["architecture"] |= changes
    torch.manual_seed(1)
    made = Codec(CodecConfig.from_dict(values))
    made.quantizer.codebooks.normal_()
    save(made.ready(), tmp_path / "m")
    write_structures(tmp_path / "m")
    light, wav = load_light(tmp_path / "m"), sound(20_000, batch=2)
    with light.streaming(batch_size=2) as stream:
        codes = parts(stream.encode, wav, (320,), np.random.default_rng(0))
    np.testing.assert_array_equal(codes, made.encode(wav).numpy())


@pytest.fixture(scope="session")
def diffusion():
    """The bundled diffusion decoder on both runtimes, with two seconds of codes."""
    light = load_light(NANO)
    made = {"torch": with_decoder(load("nano-24k"), "mbd", 2, 5), "onnx": light.with_flow(2, 5)}
    return made, light.encode(0.3 * sound(48_000), n_codebooks=8)


def test_the_diffusion_decoder_gives_the_audio_of_torch(diffusion):
    made, codes = diffusion
    assert made["onnx"].reach == made["torch"].reach
    audio = made["onnx"].decode(codes)
    np.testing.assert_allclose(audio, made["torch"].decode(codes).numpy(), atol=10 * ROUNDING)
    assert np.abs(audio - load_light(NANO).decode(codes)).max() > 100 * ROUNDING


def test_the_diffusion_decoder_streams(diffusion):
    light, codes = diffusion[0]["onnx"], diffusion[1]
    whole = light.decode(codes)
    with light.streaming() as stream:
        audio = parts(stream.decode, codes, (0, 1, 2, 9), np.random.default_rng(0))
    np.testing.assert_allclose(audio, whole, atol=10 * ROUNDING)
    first, before = 120, light.reach[0]
    with light.streaming(first_frame=first - before) as stream:
        part = stream.decode(codes[..., first - before :], last=True)
    np.testing.assert_allclose(part[..., before * 320 :], whole[..., first * 320 :], atol=10 * ROUNDING)


def test_a_diffusion_decoder_that_is_not_there_or_wrong_is_one_line(light_folder, tmp_path):
    folder = damaged(light_folder, tmp_path / "m", lambda d: None)
    with pytest.raises(CheckpointError, match="no such graph"):
        load_light(folder).with_flow()
    (folder / FLOW).write_bytes((NANO / FLOW).read_bytes())
    (folder / "mbd.safetensors").write_bytes((NANO / "mbd.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="is for the token space"):
        load_light(folder).with_flow()


def test_a_batch_of_streams_has_no_diffusion_decoder():
    with pytest.raises(ValueError, match="no batches of streams with its diffusion decoder"):
        load_light(NANO).with_flow().batch(1)


def test_long_signals_run_in_blocks(small, monkeypatch):
    wav = sound(20_000)
    codes = small.encode(wav)
    audio = small.decode(codes)
    for name in ("MOST_FRAMES", "MOST_ROWS"):
        monkeypatch.setattr(f"ecdc.codec.light.states.{name}", 7)
    np.testing.assert_array_equal(small.encode(wav), codes)
    np.testing.assert_array_equal(by_graph(small).encode(wav), codes)
    np.testing.assert_allclose(small.decode(codes), audio, atol=ROUNDING)


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 2, 10), np.float32), np.zeros((1, 1, 10), int), np.full((1, 1, 9), np.nan), [0.1]]
)
def test_bad_audio_is_refused(small, bad):
    with pytest.raises(ValueError, match="wav must be finite floats"):
        small.encode(bad)


def test_a_batch_has_items(small):
    with pytest.raises(ValueError, match=r"wav has no items: it is float32 \[0, 1, 9\]"):
        small.encode(np.zeros((0, 1, 9), np.float32))
    with pytest.raises(ValueError, match=r"codes have no items: they are int64 \[0, 2, 3\]"):
        small.decode(np.zeros((0, 2, 3), np.int64))


@pytest.mark.parametrize("bad", [np.zeros((1, 5, 3), int), np.zeros((1, 2, 3)), np.full((1, 1, 2), 64), np.full((1, 1, 2), -1)])
def test_bad_codes_are_refused(small, bad):
    with pytest.raises(ValueError, match="codes must"):
        small.decode(bad)


def test_an_exported_model_needs_nothing_else(codec, light_folder, tmp_path):
    files = export_model(light_folder, tmp_path / "out")
    assert {path.name for path in files} >= {ENCODER, DECODER, DECODER_FP16}
    light, wav = load_light(tmp_path / "out"), sound(5000)
    codes = codec.encode(wav).numpy()
    np.testing.assert_array_equal(light.encode(wav), codes)
    audio = light.decode(codes)
    np.testing.assert_allclose(audio, codec.decode(codes).numpy(), atol=ROUNDING)
    (tmp_path / "out" / DECODER_FP16).replace(tmp_path / "out" / DECODER)
    np.testing.assert_allclose(load_light(tmp_path / "out").decode(codes), audio, atol=5e-3)


@pytest.mark.parametrize("model", bundled_names())
def test_the_bundled_graphs_are_those_that_the_code_writes(model):
    for name, data in structures(BUNDLED / model).items():
        advice = f"write them: ecdc export onnx codec/weights/{model} --graphs-only --force"
        assert (BUNDLED / model / name).read_bytes() == data, advice


def test_graphs_say_what_they_are(light_folder):
    session = load_light(light_folder).session(ENCODER)
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["sample_rate"], facts["hop_length"], facts["frame_rate"]) == ("24000", "320", "75")
    assert json.loads(facts["kbps"])[0] == 0.45


def replace(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))


def damaged(folder, target, change):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    change(target)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / ENCODER).unlink(), "no such graph"),
        (lambda d: (d / ENCODER).write_bytes((d / ENCODER).read_bytes()[:1000]), "cannot read it"),
        (lambda d: (d / ENCODER).write_bytes(b""), "cannot read it"),
        (lambda d: (d / ENCODER).write_bytes((NANO / ENCODER).read_bytes()), "encoder.onnx"),
        (lambda d: replace(d / ENCODER, b"LayerNormalization", b"LayerNormalizatioX"), "cannot read"),
        (lambda d: (d / WEIGHTS).write_bytes((d / WEIGHTS).read_bytes()[:5000]), WEIGHTS),
        (lambda d: (d / CONFIG).write_text("{}"), CONFIG),
    ],
    ids=["missing", "truncated", "empty", "another model", "unknown operator", "truncated weights", "no configuration"],
)  # fmt: skip
def test_a_damaged_model_is_one_line(light_folder, tmp_path, change, message):
    folder = damaged(light_folder, tmp_path / "m", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        by_graph(load_light(folder)).encode(sound(1000))
    assert "\n" not in str(caught.value)


def test_a_graph_that_is_opened_early_is_the_same_and_fails_where_it_is_used(light_folder, tmp_path):
    codes = load_light(light_folder).encode(sound(1000))
    plain, early = load_light(light_folder), load_light(light_folder)
    early.prepare_decoding()
    assert np.array_equal(early.decode(codes), plain.decode(codes)) and not early._early
    broken = load_light(damaged(light_folder, tmp_path / "m", lambda d: (d / DECODER).write_bytes(b"")))
    broken.prepare_decoding()
    with pytest.raises(CheckpointError, match="cannot read it"):
        broken.decode(codes)


@pytest.mark.parametrize("change", ["missing", "misshapen"])
def test_weights_that_are_no_encoder_are_one_line(light_folder, tmp_path, change):
    folder = damaged(light_folder, tmp_path / "m", lambda d: None)
    tensors = load_file(folder / WEIGHTS)
    name = "encoder.stack.blocks.1.up.weight"
    tensors[name] = tensors[name][:-1]
    if change == "missing":
        del tensors[name]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=name if change == "missing" else "does not fit"):
        load_light(folder).encode(sound(1000))


def test_a_graph_of_another_token_space_is_refused(codec, light_folder, tmp_path):
    folder = damaged(light_folder, tmp_path / "m", lambda d: None)
    other = Codec(codec.config)
    other.load_state_dict(codec.state_dict())
    other.quantizer.codebooks += 1
    save(other, folder)
    with pytest.raises(CheckpointError, match="is for the token space"):
        by_graph(load_light(folder)).encode(sound(1000))


def test_the_runtime_is_chosen(light_folder, tmp_path, codec):
    assert found_folder("nano-24k") == NANO and found_folder(light_folder) == light_folder
    save(codec, tmp_path / "m")
    assert isinstance(open_codec(tmp_path / "m"), Codec)
    assert isinstance(open_codec(light_folder, "torch"), Codec)
    with pytest.raises(ValueError, match="no graphs"):
        open_codec(tmp_path / "m", "onnx")


def test_no_onnx_is_imported_to_run_graphs():
    script = "import sys; from ecdc.codec.light.load import load_light; print('onnx' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize("model", bundled_names())
def test_hundreds_of_thousands_of_codes_are_those_of_torch(model):
    """Every bundled clip, and noise at many levels."""
    torch_codec, light = load(model), load_light(BUNDLED / model)
    n_codes = 0
    for seed, path in enumerate(sorted(CLIPS.glob("*.flac"))):
        wav = soundfile.read(path, dtype="float32", always_2d=True)[0].T[:, None]
        for scale in (1.0, 0.1, 0.003):
            for signal in (wav, wav[..., ::-1], wav + scale * sound(wav.shape[-1], len(wav), seed)):
                scaled = np.ascontiguousarray(scale * signal, np.float32)
                codes = torch_codec.encode(scaled).numpy()
                np.testing.assert_array_equal(light.encode(scaled), codes)
                np.testing.assert_array_equal(by_graph(light).encode(scaled), codes)
                n_codes += codes.size
    assert n_codes > 300_000
