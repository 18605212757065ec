"""Pipes: blocks change nothing in the result, and nobody waits for more than a chunk and what the networks look ahead."""

import io
import sys

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec import live
from ecdc.codec.audio import wave_header
from ecdc.codec.channel_layout import layout_for
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.live import Pace, coded_blocks, encoder_ahead, paced_blocks
from ecdc.codec.model import Codec
from ecdc.codec.pipeline import decode_blocks, decode_file, encode_blocks, encode_file
from ecdc.format import Chunk, Header, Reader, Writer
from ecdc.format.summary import open_summary

HOP = 10


def pace(chunk=7, most=30, few=4, ahead=3, any_blocks=True):
    return Pace(HOP, chunk, most, few, ahead, any_blocks)


def pieces(n, size):
    return np.split(np.arange(n), np.arange(size, n, size))


@pytest.mark.parametrize("size", [1, 13, 70, 1000])
@pytest.mark.parametrize("n", [0, 1, 73, 500, 703])
@pytest.mark.parametrize("any_blocks", [False, True])
def test_paced_blocks_are_the_signal(n, size, any_blocks):
    blocks = list(paced_blocks(pieces(n, size), pace(any_blocks=any_blocks)))
    np.testing.assert_array_equal(np.concatenate([b for b, _ in blocks]), np.arange(n))
    assert [last for _, last in blocks] == [False] * (len(blocks) - 1) + [True]


def test_without_any_blocks_the_source_decides_nothing():
    wanted = None
    for size in (1, 13, 1000):
        lengths = [len(b) for b, _ in paced_blocks(pieces(703, size), pace(any_blocks=False))]
        wanted = wanted or lengths
        assert lengths == wanted


def test_blocks_of_a_slow_source_end_where_chunks_do_and_those_of_a_fast_one_grow():
    slow, fast, stops, sizes = pace(), pace(), [], []
    for _ in range(40):
        stops.append(slow._stop)
        slow.advance(waited=1.0, worked=0.1)
        sizes.append(fast.n_missing)
        fast.n_missing = 0
        fast.advance(waited=0.1, worked=1.0)
    assert {7 * HOP * i + 3 for i in range(1, 10)} <= set(stops)
    assert sizes[-1] == 30 * HOP and max(np.diff([0, *stops])) <= 4 * HOP + 3


def test_little_is_left_to_code_when_a_chunk_ends():
    """Of a slow source: the last block of a chunk is short, unless the chunk itself is."""
    for chunk in (8, 38, 100, 375):
        found, slow = [], pace(chunk=chunk, most=300, few=24, ahead=0)
        while not found or sum(found) % (chunk * HOP):
            found.append(slow.n_missing)
            slow.n_missing = 0
            slow.advance(waited=1.0, worked=0.1)
        assert sum(found) == chunk * HOP and (chunk == 8 or found[-1] == 4 * HOP) and max(found) <= 24 * HOP


@pytest.fixture(scope="module")
def seanet():
    torch.manual_seed(0)
    architecture = SeanetConfig(strides=(4, 2), n_filters=4, lstm_layers=1)
    config = CodecConfig("small", architecture, dimension=8, n_codebooks=2, codebook_size=16, bitrates_kbps=(12.0, 24.0))
    codec = Codec(config).ready()
    codec.quantizer.codebooks.normal_()
    return codec


@pytest.fixture(params=["hybrid", "seanet"])
def either(request, codec, seanet):
    return {"hybrid": codec, "seanet": seanet}[request.param]


def test_what_an_encoder_waits_for_is_measured(either, codec):
    hop, ahead = either.config.hop_length, encoder_ahead(either)
    with either.streaming() as stream:
        for n_samples in (40 * hop + ahead, 9 * hop, hop):
            n_frames = stream.encode(torch.randn(1, 1, n_samples)).shape[2]
        assert n_frames == 1
    assert encoder_ahead(codec) == codec.encoder.context


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time, and notes how many it gave."""

    def __init__(self, data, size):
        self.data, self.size, self.given = data, size, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.data[self.given : self.given + min(self.size, len(buffer))]
        buffer[: len(part)] = part
        self.given += len(part)
        return len(part)


@pytest.fixture
def piped(monkeypatch):
    """Make bytes standard input, a few at a time."""

    def give(data, size):
        raw = Dribble(data, size)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(raw, 1)))
        return raw

    return give


def wave(noise, rate=24_000):
    samples = np.round(32_767 * noise[:1].T).astype("<i2")
    return wave_header(rate, 1, len(samples)) + samples.tobytes()


@pytest.mark.parametrize("chunk_seconds", [0.1, 0.5, None])
@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_a_pipe_gives_the_bytes_of_a_file(either, noise, tmp_path, piped, rate, chunk_seconds):
    (tmp_path / "a.wav").write_bytes(wave(noise[:, :40_000], rate))
    options = {"kbps": either.config.bitrates_kbps[-1], "chunk_seconds": chunk_seconds}
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", either, **options)
    piped((tmp_path / "a.wav").read_bytes(), 999)
    encode_file("-", tmp_path / "b.ecdc", either, **options)
    assert (tmp_path / "b.ecdc").read_bytes() == (tmp_path / "a.ecdc").read_bytes()


def test_a_chunk_leaves_when_its_last_frame_is_known(codec, noise, monkeypatch):
    """Of a source that is waited for; counted in samples."""
    hop, chunk = codec.config.hop_length, 8
    taken, left = [0], []
    monkeypatch.setattr(live.time, "monotonic", lambda: taken[0] / 24_000)

    def source():
        for start in range(0, 48_000, 40):
            taken[0] += 40
            yield noise[:1, start : start + 40]

    class Output(io.BytesIO):
        def write(self, data):
            left.append(taken[0])
            return super().write(data)

    header = Header(
        codec="c", token_space=bytes(32), sample_rate=24_000, hop_length=hop, codebook_size=64, max_codebooks=4,
        original_sample_rate=24_000,
    )  # fmt: skip
    with Writer(Output(), header, chunk) as writer:
        left.clear()
        pace = live.pace_for(codec, chunk, 300, from_pipe=True)
        for codes in encode_blocks(codec, source(), layout_for(codec.config, 1), (4,), pace):
            writer.append(codes)
    ends = [(i + 1) * chunk * hop + encoder_ahead(codec) for i in range(48_000 // (chunk * hop) - 1)]
    assert len(left) > 15 and all(late - end < 40 for late, end in zip(left, ends, strict=False))


@pytest.mark.parametrize("name", ["hybrid", "seanet"])
def test_audio_leaves_with_its_chunk(codec, seanet, name):
    model, chunk = {"hybrid": codec, "seanet": seanet}[name], 8
    config = model.config
    header = Header(
        codec=config.name, token_space=model.token_space, sample_rate=24_000, hop_length=config.hop_length,
        codebook_size=config.codebook_size, max_codebooks=config.n_codebooks, original_sample_rate=24_000,
    )  # fmt: skip
    data = io.BytesIO()
    codes = np.random.default_rng(0).integers(0, config.codebook_size, (config.n_codebooks, 100))
    with Writer(data, header, chunk) as writer:
        writer.append(codes)
        sizes = np.cumsum([writer._header_size, *writer._sizes])
    raw = Dribble(data.getvalue(), 1 << 30)
    out, waiting = 0, model.config.architecture.decoder_lookahead + 1  # a frame waits, as it may be padding
    for block in decode_blocks(model, Reader(io.BufferedReader(raw, 1))):
        out += block.shape[1]
        n_chunks = np.searchsorted(sizes, raw.given)
        assert out <= n_chunks * chunk * config.hop_length
        if raw.given < len(raw.data):
            assert out >= (min(n_chunks * chunk, 100) - waiting) * config.hop_length
    assert out == 100 * config.hop_length


@pytest.mark.parametrize("n_frames", [1, 30, 75, 80, 375])
def test_a_pipe_decodes_to_exactly_what_a_file_does(either, noise, tmp_path, piped, n_frames):
    """With chunks of a second and more, and whatever the last one is."""
    n_samples = n_frames * either.config.hop_length - 3
    (tmp_path / "a.wav").write_bytes(wave(np.tile(noise, 2)[:, :n_samples]))
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", either, kbps=either.config.bitrates_kbps[-1])
    decode_file(tmp_path / "a.ecdc", tmp_path / "file.wav", either)
    piped((tmp_path / "a.ecdc").read_bytes(), 3)
    decode_file("-", tmp_path / "pipe.wav", either)
    a, b = (soundfile.read(tmp_path / f"{name}.wav", dtype="int16")[0] for name in ("file", "pipe"))
    np.testing.assert_array_equal(a, b)


def test_a_slow_pipe_is_read_to_its_end_by_info_too(codec, noise, tmp_path, piped):
    (tmp_path / "a.wav").write_bytes(wave(noise))
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, kbps=1.8)
    piped((tmp_path / "a.ecdc").read_bytes(), 3)
    assert open_summary("-")["whole"]


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("lengths", [[8] * 50, [375, 375, 20], [3, 200, 3, 3], [38] * 9, [1]])
def test_coded_blocks_are_the_codes(lengths, join):
    rng = np.random.default_rng(0)
    stops = np.cumsum(lengths)
    codes = rng.integers(0, 9, (2, stops[-1])).astype(np.uint16)
    chunks = [Chunk(stop - n, codes[:, stop - n : stop], (2,)) for n, stop in zip(lengths, stops, strict=True)]
    blocks = list(coded_blocks(chunks, 75.0, 300, join))
    np.testing.assert_array_equal(np.concatenate([b for _, b, _ in blocks], axis=1), codes)
    assert [last for *_, last in blocks] == [False] * (len(blocks) - 1) + [True]
    assert max(b.shape[1] for _, b, _ in blocks) <= 337
    if join and set(lengths) == {8}:
        assert len(blocks) < 15
