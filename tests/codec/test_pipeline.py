"""Audio file -> container -> audio file: exact lengths, the same tokens for any source, nothing partial."""

import io

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec import encoding
from ecdc.codec.audio import AudioError, resample_all
from ecdc.codec.pipeline import decode_blocks, decode_file, encode_file
from ecdc.codec.prepare import fixed_blocks
from ecdc.format import Corrupt, Header, Reader, Truncated, Writer, WrongModel


@pytest.fixture
def stereo(tmp_path, noise):
    path = tmp_path / "in.wav"
    soundfile.write(path, noise.T, 44_100, subtype="FLOAT")
    return path


def codes_of(path):
    with open(path, "rb") as stream:
        return Reader(stream).codes()


@pytest.mark.parametrize("rate", [8000, 22_050, 24_000, 44_100, 192_000])
@pytest.mark.parametrize("n_samples", [1, 2, 319, 5000])
def test_length_rate_and_channels_come_back(tmp_path, codec, noise, rate, n_samples):
    source = tmp_path / "in.wav"
    soundfile.write(source, noise[:, :n_samples].T, rate)
    encode_file(source, tmp_path / "a.ecdc", codec, kbps=1.8)
    decode_file(tmp_path / "a.ecdc", tmp_path / "out.wav", codec)
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.frames, info.samplerate, info.channels) == (n_samples, rate, 2)


def test_a_file_never_replaces_its_own_input(tmp_path, codec, stereo):
    """Neither by its name nor by a link to it."""
    encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8)
    (tmp_path / "link").symlink_to(stereo)
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.ecdc")
    for work, source, target in (
        (encode_file, stereo, stereo), (encode_file, stereo, tmp_path / "link"),
        (decode_file, tmp_path / "a.ecdc", tmp_path / "link.wav"),
    ):  # fmt: skip
        before = source.read_bytes()
        with pytest.raises(ValueError, match="is the input itself"):
            work(source, target, codec)
        assert source.read_bytes() == before


def test_codes_equal_those_of_the_whole_signal(tmp_path, codec, noise, stereo, monkeypatch):
    """Blocks of the pipeline are an implementation detail."""
    mid = torch.from_numpy(resample_all(noise, 44_100, 24_000).mean(0))[None, None]
    for frames in (750, 40, 7):
        monkeypatch.setattr(encoding, "BLOCK_FRAMES", frames)
        result = encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8, effort=0)
        codes = codes_of(tmp_path / "a.ecdc")
        assert result.codebooks == (3, 1)
        np.testing.assert_array_equal(codes[:3], codec.encode(mid, n_codebooks=3)[0].numpy())


def test_decoded_file_equals_decoded_codes(tmp_path, codec, noise):
    mono = noise[:1, :30_001]
    source = tmp_path / "in.wav"
    soundfile.write(source, mono.T, 24_000, subtype="FLOAT")
    encode_file(source, tmp_path / "a.ecdc", codec, kbps=1.8, effort=0)
    decode_file(tmp_path / "a.ecdc", tmp_path / "out.wav", codec)
    want = codec.decode(codec.encode(torch.from_numpy(mono)[None]), mono.shape[1])[0, 0].clamp(-1, 1)
    audio, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_allclose(audio, want, atol=2 / 32_768)


def test_other_output_rate(tmp_path, codec, stereo, noise):
    encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8)
    decode_file(tmp_path / "a.ecdc", tmp_path / "out.flac", codec, sample_rate=48_000)
    info = soundfile.info(tmp_path / "out.flac")
    assert info.samplerate == 48_000 and abs(info.frames - noise.shape[1] * 48_000 / 44_100) < 2


def test_mono_on_request(tmp_path, codec, stereo):
    assert encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8, channels=1).channels == 1
    assert codes_of(tmp_path / "a.ecdc").shape[0] == 4


def test_real_bitrate_counts_every_byte(tmp_path, codec, stereo, noise):
    result = encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8)
    assert result.n_bytes == (tmp_path / "a.ecdc").stat().st_size
    assert result.kbps == pytest.approx(8 * result.n_bytes / 1000 / (noise.shape[1] / 44_100))


def test_failure_leaves_nothing_and_keeps_the_old_file(tmp_path, codec, noise):
    source, target = tmp_path / "nan.wav", tmp_path / "a.ecdc"
    target.write_bytes(b"old")
    broken = np.repeat(noise, 20, axis=1)
    broken[0, -1] = np.nan
    soundfile.write(source, broken.T, 44_100, subtype="FLOAT")
    with pytest.raises(AudioError, match="not a finite number"):
        encode_file(source, target, codec, kbps=1.8)
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ecdc", "nan.wav"]


def test_another_token_space_is_refused(tmp_path, codec, stereo):
    encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8)
    before = codec.quantizer.codebooks[0, 0, 0].clone()
    codec.quantizer.codebooks[0, 0, 0] += 1
    try:
        with pytest.raises(WrongModel) as error:
            decode_file(tmp_path / "a.ecdc", tmp_path / "out.wav", codec)
    finally:
        codec.quantizer.codebooks[0, 0, 0] = before
    assert codec.token_space.hex() in str(error.value)
    assert not (tmp_path / "out.wav").exists()


def test_truncated_file_is_refused(tmp_path, codec, stereo):
    encode_file(stereo, tmp_path / "a.ecdc", codec, kbps=1.8)
    data = (tmp_path / "a.ecdc").read_bytes()
    for size in (0, 3, 50, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.ecdc").write_bytes(data[:size])
        with pytest.raises((Truncated, Corrupt)):
            decode_file(tmp_path / "cut.ecdc", tmp_path / "out.wav", codec)
        assert not (tmp_path / "out.wav").exists()


def header(codec, **changes):
    config = codec.config
    values = {
        "codec": config.name, "token_space": codec.token_space, "sample_rate": 24_000, "hop_length": 320, "codebook_size": 64,
        "max_codebooks": 4, "original_sample_rate": 24_000,
    }  # fmt: skip
    return Header(**values | changes)


def decoded(codec, head, blocks, n_samples=None):
    stream = io.BytesIO()
    with Writer(stream, head, chunk_frames=5) as writer:
        for codes in blocks:
            writer.append(codes)
        writer.close(n_samples)
    stream.seek(0)
    return np.concatenate(list(decode_blocks(codec, Reader(stream))), axis=1)


def test_pre_skip_and_gain_are_honoured(codec):
    codes = np.random.default_rng(0).integers(0, 64, (4, 30))
    plain = decoded(codec, header(codec), [codes])
    np.testing.assert_allclose(decoded(codec, header(codec, pre_skip=1000), [codes]), plain[:, 1000:], atol=1e-6)
    np.testing.assert_allclose(decoded(codec, header(codec, output_gain=-6 * 256), [codes]), plain * 10 ** (-6 / 20), atol=1e-6)


def test_changing_codebooks_and_silence(codec):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 64, (4, 30))
    varying = decoded(codec, header(codec), [codes[:, :10], codes[:2, 10:20], codes[:, 20:]])
    plain = decoded(codec, header(codec), [codes])
    assert varying.shape == plain.shape
    same = (10 - codec.config.architecture.decoder_lookahead) * 320
    np.testing.assert_allclose(varying[:, :same], plain[:, :same], atol=1e-5)
    silent = decoded(codec, header(codec), [codes[:0, :10]])
    assert silent.shape == (1, 3200) and not silent.any()


def test_lengths_shorter_than_the_codes_are_kept(codec):
    codes = np.zeros((4, 30), int)
    for n_samples in (1, 5000, 9600):
        assert decoded(codec, header(codec), [codes], n_samples).shape == (1, n_samples)


@pytest.mark.parametrize("sizes", [[5, 0, 7], [10], [10, 10], [1] * 23, [25]])
@pytest.mark.parametrize("size", [1, 5, 10, 100])
def test_fixed_blocks(sizes, size):
    values = np.arange(sum(sizes))
    blocks = np.split(values, np.cumsum(sizes)[:-1])
    out = list(fixed_blocks(blocks, size))
    np.testing.assert_array_equal(np.concatenate([b for b, _ in out]), values)
    assert [last for _, last in out] == [False] * (len(out) - 1) + [True]
    assert all(len(b) == size for b, last in out if not last) and len(out[-1][0]) <= size


def test_no_blocks_give_nothing():
    assert list(fixed_blocks([], 5)) == []


def test_the_length_for_a_bar_takes_nothing_from_standard_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(2_400), 24_000)
    (tmp_path / "-").write_bytes((tmp_path / "a.wav").read_bytes())  # '-' is standard input, whatever files there are
    assert encoding.seconds_of("a.wav") == 0.1 and encoding.seconds_of("-") is None
