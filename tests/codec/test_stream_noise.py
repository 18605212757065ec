"""The two streams of a file have different noise: documented, on both runtimes, in spans and in packets."""

import io
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from ecdc.codec.channel_layout import Layout, codebooks_per_stream, starts_of_streams
from ecdc.codec.checkpoints import save
from ecdc.codec.config import CodecConfig
from ecdc.codec.decoding import decode_blocks
from ecdc.codec.encoding import encode_file
from ecdc.codec.light.export import write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.model import Codec
from ecdc.codec.modules.noise_hash import STREAM_FRAMES
from ecdc.codec.pipeline_parts import to_array
from ecdc.codec.span import Span
from ecdc.format import ChannelCoding, Reader
from ecdc.live import Decoder, Encoder
from split_models import build

ROUNDING = 2e-5


@pytest.fixture(scope="module", params=["split", "hybrid"])
def pair(request, codec, light_folder, tmp_path_factory):
    """A codec with noise on both runtimes."""
    if request.param == "hybrid":
        return codec, load_light(light_folder)
    codec = build()
    save(codec, folder := tmp_path_factory.mktemp("split") / "m")
    write_structures(folder)
    return codec, load_light(folder)


@pytest.fixture(scope="module", params=["mid_side", "left_right"])
def coded(request, pair, tmp_path_factory):
    """A file of mid and side, or of left and right: its bytes."""
    path = tmp_path_factory.mktemp("coded") / "a.wav"
    noise = np.random.default_rng(0).standard_normal((40_000, 2)) * [0.1, 0.05]
    soundfile.write(path, noise, pair[0].sample_rate)
    encode_file(path, out := io.BytesIO(), pair[0], kbps=2, stereo=request.param)
    return out.getvalue()


def expected(codec, reader):
    """Audio of a file whose streams are decoded one by one: the first as ever, the second with the noise of later frames."""
    (chunk,) = reader
    found = []
    for codes, start in zip(chunk.streams(), (0, STREAM_FRAMES), strict=True):
        with codec.streaming(first_frame=start) as stream:
            found.append(to_array(stream.decode(codes[None].astype(np.int64), last=True))[0])
    np.testing.assert_array_equal(found[0], to_array(codec.decode(chunk.streams()[0][None].astype(np.int64)))[0])
    return Layout(reader.header.channel_coding, 2).join(np.stack(found))[:, : reader.n_samples]


def decoded(codec, data, span=None):
    return np.concatenate(list(decode_blocks(codec, Reader(io.BytesIO(data)), span)), axis=1)


def test_each_stream_has_its_own_noise_on_both_runtimes(pair, coded):
    for codec in pair:
        wanted = expected(codec, Reader(io.BytesIO(coded)))
        np.testing.assert_allclose(decoded(codec, coded), wanted, atol=ROUNDING)
    np.testing.assert_allclose(decoded(pair[0], coded), decoded(pair[1], coded), atol=ROUNDING)


def test_spans_equal_the_whole(pair, coded):
    rate = pair[0].sample_rate
    for codec in pair:
        whole = decoded(codec, coded)
        span = Span.of(Fraction(1, 3), Fraction(1, 4), whole.shape[1], whole.shape[1], (rate, rate))
        np.testing.assert_allclose(decoded(codec, coded, span), whole[:, span.first : span.last], atol=1e-3)


def test_packets_decode_to_what_files_do(pair):
    codec = pair[0]
    wav = (np.random.default_rng(0).standard_normal((2, 20 * codec.config.hop_length)) * 0.1).astype(np.float32)
    encoder = Encoder(codec, kbps=2, channels=2)
    packets = encoder.push(wav, last=True)
    decoder = Decoder(codec, encoder.header)
    audio = np.concatenate([*(decoder.push(packet) for packet in packets), decoder.finish()], axis=1)
    codes = codec.encode(np.stack([wav[0] + wav[1], wav[0] - wav[1]])[:, None] * np.float32(0.5)).numpy()
    streams = []
    counts = codebooks_per_stream(codec.config, Layout(ChannelCoding.MID_SIDE, 2), 2)
    for row, k, start in zip(codes, counts, (0, STREAM_FRAMES), strict=True):
        with codec.streaming(first_frame=start) as stream:
            streams.append(stream.decode(row[None, :k], last=True)[0, 0].numpy())
    mid, side = streams
    wanted = np.stack([mid + side, mid - side])
    np.testing.assert_allclose(audio[:, : wanted.shape[1]], wanted, atol=ROUNDING)


def test_streams_that_step_together_may_be_those_of_one_file(pair):
    light = pair[1]
    codes = np.random.default_rng(0).integers(0, 32, (3, 4, 12))
    batch = light.batch(1)
    batch.join(1, first_frame=STREAM_FRAMES)
    batch.join(1)
    batch.decode(codes[..., :1])
    batch.reset([0])
    batch.reset([1], first_frame=STREAM_FRAMES)
    batch.reset([2])
    audio = np.concatenate([batch.decode(codes[..., i : i + 1]) for i in range(12)], axis=-1)[..., batch.decoder_delay :]
    for wav, row, start in zip(audio, codes, (0, STREAM_FRAMES, 0), strict=True):
        with light.streaming(first_frame=start) as stream:
            wanted = stream.decode(row[None])[0]
        np.testing.assert_allclose(wav[:, : wanted.shape[-1]], wanted[:, : wav.shape[-1]], atol=ROUNDING)


def test_channels_of_equal_codes_differ_by_their_noise_alone(pair, codec):
    values = codec.config.to_dict()
    values["architecture"]["random_sign_bin"] = 0
    plain = Codec(CodecConfig.from_dict(values)).ready()
    plain.load_state_dict(codec.state_dict())
    for model, is_equal in ((pair[0], False), (plain, True)):
        first, second = starts_of_streams(model.config, 2)
        codes = np.zeros((1, 2, 30), np.int64)
        outputs = []
        for start in (first, second):
            with model.streaming(first_frame=start) as stream:
                outputs.append(stream.decode(codes, last=True).numpy())
        assert np.array_equal(*outputs) == is_equal
