"""Decoded audio has exactly the length that the stream tells, whenever that becomes known."""

import functools
import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ecdc.codec.checkpoints import load
from ecdc.codec.exact_length import length_at, resample_to_length, trim_to_length
from ecdc.codec.pipeline import decode_file
from ecdc.format import Corrupt, Header, Reader, Writer

HOP = 320


@functools.cache
def nano():
    return load("nano-24k")


def stream(original_rate, n_samples, original_n_samples, known=False, n_frames=12):
    """Random codes of the bundled model with these lengths, in the header or at the end only."""
    codec, output = nano(), io.BytesIO()
    lengths = {"n_samples": n_samples, "original_n_samples": original_n_samples}
    header = Header(
        codec="nano-24k", token_space=codec.token_space, sample_rate=24_000, original_sample_rate=original_rate, hop_length=HOP,
        codebook_size=1024, max_codebooks=16, **(lengths if known else {}),
    )  # fmt: skip
    codes = np.random.default_rng(0).integers(0, 1024, (2, n_frames))
    with Writer(output, header) as writer:
        writer.append(codes)
        writer.close(**lengths)
    return output.getvalue()


@pytest.mark.parametrize("rate", [8_000, 24_001, 44_100, 96_000])
@pytest.mark.parametrize("known", [False, True])
def test_every_legal_length_is_exact(tmp_path, rate, known):
    """Also one that is far smaller than what the codes reach, down to nothing."""
    most = -(-3_700 * rate // 24_000)
    for original in (0, 1, most // 3, most - 1, most):
        (tmp_path / "a.ecdc").write_bytes(stream(rate, 3_700, original, known))
        decode_file(tmp_path / "a.ecdc", tmp_path / "a.wav", nano())
        assert soundfile.info(tmp_path / "a.wav").frames == original
        decode_file(tmp_path / "a.ecdc", tmp_path / "b.wav", nano(), sample_rate=16_000)
        assert soundfile.info(tmp_path / "b.wav").frames == min(-(-original * 16_000 // rate), -(-3_700 * 16 // 24))


def test_a_pipe_gives_exactly_the_length_or_refuses(tmp_path):
    """Where the end of a pipe tells of less than was passed on, nothing is left and one line says so."""
    target = tmp_path / "a.wav"
    command = [sys.executable, "-m", "ecdc.cli", "decode", "-", "-o", str(target), "--quiet"]
    for original, known in ((3_699, False), (5, True), (5, False)):
        data = stream(48_000, 3_700, original, known, n_frames=700) if known else stream(48_000, 3_700, original)
        done = subprocess.run(command, input=data, capture_output=True)
        if done.returncode == 0:
            assert soundfile.info(target).frames == original
            target.unlink()
        else:
            assert not known and done.returncode == 1 and done.stderr.count(b"\n") == 1
            assert b"samples that the END chunk states" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("to_rate", [8_000, 24_000, 48_000, 44_100])
@pytest.mark.parametrize("size", [1, 100, 5_000])
def test_restored_is_exact_whenever_the_length_is_known(to_rate, size):
    audio = np.ones((2, 5_000), np.float32)
    whole = -(-5_000 * to_rate // 24_000)
    for length in (0, 1, whole // 2, whole - 1, whole):
        blocks = np.split(audio, range(size, 5_000, size), axis=1)
        out = np.concatenate(list(resample_to_length(blocks, 24_000, to_rate, lambda: length)), axis=1)  # noqa: B023
        assert out.shape == (2, length)
        told = []

        def late():
            yield from blocks  # noqa: B023
            told.append(length)  # noqa: B023

        try:
            out = np.concatenate(list(resample_to_length(late(), 24_000, to_rate, lambda: told[0] if told else None)), axis=1)  # noqa: B023
            assert out.shape == (2, length)
        except Corrupt as error:
            assert length < whole and f"after the {length} samples" in str(error)


def test_trimmed_refuses_a_length_of_nothing_that_comes_late():
    told = []

    def late():
        yield np.ones((1, 1_000))
        yield np.ones((1, 1_000))
        told.append(0)

    with pytest.raises(Corrupt, match="after the 0 samples"):
        list(trim_to_length(late(), 0, HOP, lambda: told[0] if told else None))


def test_length_at_other_rates_follows_the_original():
    header = Reader(io.BytesIO(stream(44_100, 3_000, 100))).header
    assert length_at(44_100, header, 3_000, 100) == 100
    assert length_at(48_000, header, 3_000, 100) == 109
    assert length_at(48_000, header, 3_000, None) is None
