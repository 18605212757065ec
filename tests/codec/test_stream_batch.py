"""Batches of live streams: each stream has the codes and the audio that it has alone, whenever others join, leave or start."""

import numpy as np
import pytest
import torch
from ecdc.codec.checkpoints import save
from ecdc.codec.config import CodecConfig
from ecdc.codec.errors import ArgumentError
from ecdc.codec.light.export import write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.model import Codec
from seanet_models import small_codec
from split_models import LATER, build

ROUNDING = 2e-5  # of float32 audio near full scale
N_STEPS = 30


def hybrid(codec, window):
    values = codec.config.to_dict()
    values["architecture"] |= {"encoder_window": window, "lookahead": window % 4 // 2}
    torch.manual_seed(1)
    made = Codec(CodecConfig.from_dict(values))
    made.quantizer.codebooks.normal_()
    return made.ready()


KINDS = {
    "hybrid": lambda codec: hybrid(codec, 2),
    "hybrid, long windows": lambda codec: hybrid(codec, 4),
    "split at 48 kHz": lambda codec: build(),
    "split at 24 kHz": lambda codec: build(core_factor=1, hop_length=480, top_bands=0),
    "split with gains": lambda codec: build(**LATER),
    "split with other steps": lambda codec: build(steps=2, fine_blocks=4, hop_length=640, slow_bands=24),
    "EnCodec": lambda codec: small_codec("as at 24 kHz"),
    "EnCodec, zeros at the ends": lambda codec: small_codec("zeros at the ends"),
    "EnCodec, dilated": lambda codec: small_codec("dilated"),
}


@pytest.fixture(scope="module", params=KINDS)
def light(request, codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "m"
    save(KINDS[request.param](codec), folder)
    write_structures(folder)
    return load_light(folder)


class Alone:
    """A stream of a batch that is compared with a signal of its own."""

    def __init__(self, light, seed):
        config, rng = light.config, np.random.default_rng(seed)
        self.wav = (0.2 * rng.standard_normal((1, config.channels, N_STEPS * config.hop_length))).astype(np.float32)
        self.given = rng.integers(0, config.codebook_size, (1, config.n_codebooks, N_STEPS))
        self.light, self.age, self.codes, self.is_valid, self.audio = light, 0, [], [], []

    def check(self, batch):
        hop, n = self.light.config.hop_length, self.age
        assert self.is_valid == [step >= batch.encoder_delay for step in range(n)]
        codes = np.concatenate(self.codes, axis=1)[:, batch.encoder_delay :]
        want = self.light.encode(self.wav)[0, :, : codes.shape[1]]
        is_exact = self.light.config.exact_dtype == "float64"
        assert (codes != want).sum() <= (0 if is_exact else codes.size // 1000)
        whole = np.pad(self.light.decode(self.given)[0], ((0, 0), (batch.decoder_delay, 0)))
        np.testing.assert_allclose(np.concatenate(self.audio, axis=1), whole[:, : n * hop], atol=ROUNDING)


def step(batch, streams):
    hop = streams[0].light.config.hop_length
    wav = np.concatenate([s.wav[..., s.age * hop : (s.age + 1) * hop] for s in streams])
    codes, is_valid = batch.encode(wav)
    audio = batch.decode(np.concatenate([s.given[..., s.age : s.age + 1] for s in streams]))
    for i, stream in enumerate(streams):
        stream.codes.append(codes[i])
        stream.is_valid.append(bool(is_valid[i]))
        stream.audio.append(audio[i])
        stream.age += 1


@pytest.mark.parametrize("prefers_graph", [False, True], ids=["weights", "graphs"])
def test_each_stream_is_as_it_is_alone(light, prefers_graph):
    light = load_light(light.folder)
    light.prefers_graph = prefers_graph
    batch = light.batch(2)
    streams = [Alone(light, seed) for seed in range(2)]
    ended = []
    for now in range(N_STEPS):
        if now in (1, 4, 5):
            assert list(batch.join(2)) == [len(streams), len(streams) + 1]
            streams += [Alone(light, 10 * now + i) for i in range(2)]
        if now in (3, 14, 20):
            batch.reset([1])
            ended.append(streams[1])
            streams[1] = Alone(light, 100 * now)
        if now in (8, 17):
            batch.leave([0, 2])
            ended += [streams[0], streams[2]]
            streams = [streams[1], *streams[3:]]
        assert len(batch) == len(streams)
        step(batch, streams)
    for stream in ended + streams:
        stream.check(batch)


def test_a_batch_may_be_empty_and_refuses_other_shapes(light):
    batch, config = light.batch(), light.config
    wav = np.zeros((1, config.channels, config.hop_length), np.float32)
    assert batch.encode(wav[:0])[0].shape == (0, config.n_codebooks, 1)
    assert batch.decode(np.zeros((0, 1, 1), int)).shape == (0, config.channels, config.hop_length)
    batch.join()
    assert batch.bytes_per_stream > 0
    for bad in (wav[:0], wav[..., 1:], np.concatenate([wav, wav])):
        with pytest.raises(ValueError, match="wav must be"):
            batch.encode(bad)
    for bad in (np.zeros((1, 1, 2), int), np.zeros((2, 1, 1), int)):
        with pytest.raises(ValueError, match="codes must be"):
            batch.decode(bad)
    with pytest.raises(ValueError, match="n_codebooks must be"):
        batch.encode(wav, n_codebooks=config.n_codebooks + 1)


def test_streams_that_do_not_exist_are_refused(light):
    batch = light.batch(2)
    for rows in ([2], [-1], [0, 7], ["a"], [0.0]):
        for call in (batch.reset, batch.leave):
            with pytest.raises(ValueError, match="there are 2 streams, numbered from 0, got"):
                call(rows)
    with pytest.raises(ValueError, match=r"streams as bool must have shape \[2\], got \[3\]"):
        batch.leave(np.zeros(3, bool))
    with pytest.raises(ValueError, match="the number of streams must be 0 to 1048576, got -1"):
        light.batch(-1)
    batch.leave([])
    batch.leave(np.array([True, False]))
    assert len(batch) == 1


@pytest.mark.parametrize("kind", ["as at 32 kHz", "not causal, odd strides"])
def test_what_is_not_causal_has_no_batches(kind, tmp_path):
    save(small_codec(kind), tmp_path / "m")
    write_structures(tmp_path / "m")
    with pytest.raises(ValueError, match="small has no batches of streams: it is not causal"):
        load_light(tmp_path / "m").batch(1)


def test_a_block_that_is_no_audio_is_refused_and_changes_nothing(light):
    """NaN of one stream would stay in its state for good; integers would be taken for loud floats."""
    batch, other = light.batch(3), light.batch(3)
    rng, hop, channels = np.random.default_rng(0), light.config.hop_length, light.config.channels
    for _ in range(6):
        wav = (0.2 * rng.standard_normal((3, channels, hop))).astype(np.float32)
        for value in (np.nan, np.inf, 1e39):
            bad = wav.astype(np.float64)
            bad[1, 0, 3] = value
            with pytest.raises(ArgumentError, match=r"NaN or infinite samples in items \[1\]"):
                batch.encode(bad)
        for bad in (wav.astype(np.int16), wav.astype(complex), wav.tolist(), None, wav[:2], wav[:, 0]):
            with pytest.raises(ArgumentError, match="wav must"):
                batch.encode(bad)
        codes, is_valid = batch.encode(wav)
        wanted, is_wanted = other.encode(wav)
        assert np.array_equal(codes, wanted) and np.array_equal(is_valid, is_wanted)
    for call in (lambda: batch.join(1.5), lambda: batch.join("x"), lambda: batch.join(1, "x"), lambda: batch.reset([0], 0.5)):
        with pytest.raises(ArgumentError, match="whole number"):
            call()
    assert len(batch) == 3
