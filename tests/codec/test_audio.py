"""Audio in: blocks, resampling, channels, and bad files named in one line."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ecdc.codec.audio import AudioError, AudioSource, Resampler, fold_channels, resample_all


@pytest.fixture
def wav(tmp_path, noise):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise.T, 44_100, subtype="FLOAT")
    return path


@pytest.mark.parametrize("size", [1000, 44_100, 10**6])
def test_blocks_join_to_the_file(wav, noise, size):
    with AudioSource(wav) as source:
        blocks = list(source.blocks(size))
        assert source.info.n_samples == noise.shape[1]
    assert all(b.shape[1] == size for b in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), noise)


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100, 192_000])
@pytest.mark.parametrize("size", [1, 333, 100_000])
def test_resampling_does_not_depend_on_blocks(noise, rate, size):
    noise = noise[:, :3000]
    resampler = Resampler(44_100, rate, 2)
    parts = [resampler(noise[:, i : i + size]) for i in range(0, noise.shape[1], size)]
    parts.append(resampler(noise[:, :0], last=True))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), resample_all(noise, 44_100, rate))


def test_fold_channels(noise):
    np.testing.assert_allclose(fold_channels(noise, 1)[0], noise.mean(0))
    np.testing.assert_array_equal(fold_channels(noise[:1], 2), noise[[0, 0]])
    assert fold_channels(noise, 2) is noise
    with pytest.raises(ValueError, match="cannot turn 2 channels into 6"):
        fold_channels(noise, 6)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.wav", None, "no such file"),
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is not audio at all", "is text, not audio"),
        ("tokens.wav", b"ECDC" + bytes(range(256)), "is a token file, not audio; `ecdc decode` makes audio of it"),
        ("random.wav", bytes(range(256)) * 8, "not audio that can be read"),
    ],
)
def test_bad_files_are_named(tmp_path, name, data, message):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(AudioError, match=message) as error:
        AudioSource(path)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_folder_is_named(tmp_path):
    with pytest.raises(AudioError, match="is a folder"):
        AudioSource(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_found(tmp_path, noise, value):
    noise = noise.copy()
    noise[1, 44_100] = value
    path = tmp_path / "nan.wav"
    soundfile.write(path, noise.T, 44_100, subtype="FLOAT")
    with AudioSource(path) as source, pytest.raises(AudioError, match=r"1\.000 s is not a finite number"):
        list(source.blocks(999))


@pytest.mark.parametrize("suffix", [".wav", ".au", ".flac"])
def test_pipes_are_read_as_files_are(tmp_path, noise, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, noise.T, 44_100, subtype="PCM_16")
    script = (
        "import sys, numpy as np; from ecdc.codec.audio import AudioSource\n"
        "with AudioSource('-') as s: sys.stdout.buffer.write(np.concatenate(list(s.blocks(777)), 1).tobytes())"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], input=path.read_bytes(), stdout=subprocess.PIPE, check=True, env=os.environ
    )
    with AudioSource(path) as source:
        want = np.concatenate(list(source.blocks()), axis=1)
    np.testing.assert_array_equal(np.frombuffer(out.stdout, np.float32).reshape(2, -1), want)
