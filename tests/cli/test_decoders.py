"""`ecdc decode --decoder`: any file decodes with any decoder of its tokens; spans, blocks and seeds keep their laws."""

import functools
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec.checkpoints import load, save
from ecdc.codec.diffusion.config import BandConfig, DiffusionConfig, ScheduleConfig, UnetConfig
from ecdc.codec.diffusion.decoder import MultiBandDiffusion
from ecdc.codec.diffusion.flow import FlowConfig, MultiBandFlow
from ecdc.codec.diffusion.flow_file import save_flow

CLIPS = Path(__file__).parents[2] / "bench" / "clips"


@pytest.fixture(scope="module")
def coded(ecdc, tmp_path_factory):
    """Six seconds of stereo music at 44.1 kHz, as tokens of the model that has a diffusion decoder."""
    path = tmp_path_factory.mktemp("coded") / "a.ecdc"
    ecdc("encode", CLIPS / "music_cavern.flac", "--model", "nano-24k", "--kbps", 6, "-o", path, check=True)
    return path


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """A file of random flows for nano-24k."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    networks = MultiBandFlow(FlowConfig(width=16, depth=2, steps=2))
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_flow(networks, load("nano-24k").token_space, path)
    return path


@pytest.fixture(scope="module")
def waveforms(tmp_path_factory):
    """A file of a random decoder of the published kind, for the latents of nano-24k."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("mbd") / "mbd.safetensors"
    unet = UnetConfig(hidden=8, depth=2, condition_dim=128, norm_groups=2, times_everywhere=True)
    MultiBandDiffusion(DiffusionConfig(sample_rate=24_000, bands=2 * (BandConfig(unet, ScheduleConfig()),))).save(path)
    return path


@pytest.fixture(scope="module")
def decode(ecdc, coded):
    """Decode with options; the audio [N, C]."""

    def call(*options, name=coded):
        out = ecdc("decode", name, "-o", "-", *options, check=True).stdout
        return soundfile.read(io.BytesIO(out), dtype="float32", always_2d=True)[0]

    return call


@pytest.fixture(scope="module")
def whole(decode, flow, waveforms):
    """All audio by a decoder of that name, decoded once."""
    files = {"flow": flow, "waveforms": waveforms}
    return functools.cache(lambda name: decode("--decoder", files[name], "--steps", 2, "--seed", 7))


def test_another_decoder_gives_other_audio_of_the_same_length(decode, whole):
    conv = decode()
    for name in ("flow", "waveforms"):
        audio = whole(name)
        assert audio.shape == conv.shape and np.isfinite(audio).all() and np.abs(audio - conv).max() > 1e-3
    assert np.array_equal(decode("--decoder", "conv"), conv)


def test_no_steps_are_the_convolutional_decoder(decode, flow):
    assert np.allclose(decode("--decoder", flow, "--steps", 0), decode(), atol=1e-4)


def test_a_seed_decides_the_noise(decode, flow):
    one, again, other = (decode("--decoder", flow, "--steps", 1, "--duration", 1, "--seed", seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize(("start", "duration"), [("0", "1.5"), ("5.2", "1"), ("5.5", "60")])
@pytest.mark.parametrize("decoder", ["flow", "waveforms"])
def test_a_span_is_what_the_whole_has_there(decode, whole, request, decoder, start, duration):
    options = ("--decoder", request.getfixturevalue(decoder), "--steps", 2, "--seed", 7)
    audio, span = whole(decoder), decode(*options, "--start", start, "--duration", duration)
    first = round(float(start) * 44_100)
    assert len(span) == min(len(audio) - first, round(float(duration) * 44_100)) > 0
    assert np.allclose(span, audio[first : first + len(span)], atol=1e-4)


def test_steps_and_seeds_are_of_diffusion_decoders(ecdc, coded):
    for option in ("--steps", "--seed"):
        done = ecdc("decode", coded, "-o", "-", option, 3)
        assert done.returncode == 2 and b"--decoder mbd" in done.stderr


def test_decoders_that_do_not_fit(ecdc, coded, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    hostile = tmp_path / "hostile.th"
    hostile.write_bytes(pickle.dumps({"sample_rate": 24_000, 0: Payload()}))
    foreign = tmp_path / "foreign.safetensors"
    save_flow(MultiBandFlow(FlowConfig(width=16, depth=1)), bytes(32), foreign)
    for name in (tmp_path / "none.safetensors", tmp_path / "none.th", hostile, foreign, coded):
        done = ecdc("decode", coded, "-o", tmp_path / "out.wav", "--decoder", name)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out.wav").exists() and not (tmp_path / "pwned").exists()


def test_the_one_that_ships_brings_treble_back(ecdc, decode, tmp_path):
    clip, coded = CLIPS / "music_guitar.flac", tmp_path / "a.ecdc"
    ecdc("encode", clip, "--model", "nano-24k", "--kbps", 1.5, "-o", coded, check=True)
    wanted = soundfile.read(clip, dtype="float32", always_2d=True)[0]
    levels = [treble_db(audio) - treble_db(wanted) for audio in (decode(name=coded), decode("--decoder", "mbd", name=coded))]
    assert abs(levels[1]) < abs(levels[0])


def treble_db(audio):
    """Energy above 4 kHz of mono audio [N, 1] at 24 kHz."""
    spectrum = np.abs(np.fft.rfft(audio[:, 0])) ** 2
    return 10 * np.log10(spectrum[len(spectrum) // 3 :].sum())


def test_a_pipe_gives_what_files_give(ecdc, coded, decode):
    out = ecdc("decode", "-", "-o", "-", "--decoder", "mbd", stdin=coded.read_bytes(), check=True).stdout
    piped = soundfile.read(io.BytesIO(out), dtype="float32", always_2d=True)[0]
    assert np.allclose(piped, decode("--decoder", "mbd"), atol=1e-4)


def test_models_without_one(ecdc, coded, tmp_path):
    model = tmp_path / "other"
    save(load("nano-24k"), model)
    config = model / "config.json"
    config.write_text(config.read_text().replace('"name": "nano-24k"', '"name": "other"'))
    ecdc("encode", CLIPS / "sounds_whip.flac", "--model", model, "-o", tmp_path / "b.ecdc", check=True)
    done = ecdc("decode", tmp_path / "b.ecdc", "--model", model, "--decoder", "mbd", "-o", "-")
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and done.stdout == b""
    assert b"b.ecdc: other: no diffusion decoder is bundled" in done.stderr and b"(--model nano-24k)" in done.stderr
