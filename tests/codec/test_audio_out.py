"""Audio out: every format holds exactly what was written, or the file that was there stays and the error says why."""

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ecdc.codec.audio_formats import FORMS, format_of
from ecdc.codec.audio_in import AudioSource
from ecdc.codec.audio_out import AudioSink, Output
from ecdc.codec.errors import AudioError
from ecdc.codec.library_io import ErrorKeepingFile
from ecdc.codec.wave_out import wave_header

LOSSY = {"ogg", "oga", "opus", "mp3", "m4a"}


def written(path, noise, rate=48_000, n_samples=None, pieces=7, **options):
    with AudioSink(path, rate, len(noise), n_samples, **options) as sink:
        for block in np.array_split(noise, pieces, axis=1):
            sink.write(block)
    return path


def read(path):
    """The rate in Hz and the samples [C, N] of a file."""
    if path.suffix.lower() != ".m4a":
        audio, rate = soundfile.read(path, always_2d=True, dtype="float32")
        return rate, audio.T
    with AudioSource(path) as source:
        return source.info.sample_rate, np.concatenate(list(source.blocks()), axis=1)


def reached(name, n_samples):
    """How many samples FFmpeg and libsndfile decode: of AAC, whole frames."""
    return -(-n_samples // 1024) * 1024 if name == "m4a" else n_samples


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", sorted(FORMS))
def test_written_files_read_back(tmp_path, noise, name, channels):
    noise = noise[:channels]
    path = written(tmp_path / f"out.{name.upper()}", noise)
    rate, audio = read(path)
    assert rate == 48_000 and audio.shape == (noise.shape[0], reached(name, noise.shape[1]))
    if name != "m4a":  # which libsndfile does not know
        info = soundfile.info(path)
        assert info.format == FORMS[name].container and info.subtype == FORMS[name].subtype(None)
    if name not in LOSSY:
        assert np.abs(audio - noise).max() <= 0.5 / 32_768
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("n_samples", [1, 2, 959, 960, 961, 1152, 4097])
@pytest.mark.parametrize("name", ["flac", "ogg", "opus", "mp3"])
def test_lengths_are_exact(tmp_path, noise, name, n_samples):
    assert soundfile.info(written(tmp_path / f"a.{name}", noise[:, :n_samples])).frames == n_samples


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "m4a"])
def test_an_empty_block_may_have_any_number_of_channels(tmp_path, noise, name):
    with AudioSink(tmp_path / f"a.{name}", 44_100, 2, None) as sink:
        sink.write(np.zeros((1, 0), np.float32))
        sink.write(noise[:1].repeat(2, 0))
        sink.write(np.zeros((1, 0), np.float32))
    assert (tmp_path / f"a.{name}").stat().st_size > 100


@pytest.mark.parametrize("name", sorted(FORMS))
def test_audio_without_samples_is_a_file_that_can_be_read_or_an_error(tmp_path, name):
    try:
        with AudioSink(tmp_path / f"a.{name}", 48_000, 2, None) as sink:
            sink.write(np.zeros((2, 0), np.float32))
    except AudioError as error:
        assert str(error).endswith("cannot hold audio without any samples; use wav") and not list(tmp_path.iterdir())
    else:
        info = soundfile.info(tmp_path / f"a.{name}")
        assert (info.frames, info.channels, info.samplerate) == (0, 2, 48_000)


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("n_samples", [1, 1023, 1024, 1025, 24_000])
def test_the_edit_list_of_an_m4a_is_exact(tmp_path, n_samples, rate):
    """It says how many samples are sound; FFmpeg decodes the rest of the last frame too, which is nearly silent."""
    tone = 0.5 * np.sin(2 * np.pi * 440 / rate * np.arange(n_samples), dtype=np.float32)[None]
    data = written(tmp_path / "a.m4a", tone, rate).read_bytes()
    at = data.index(b"elst") + 4
    version_and_flags, n_entries, duration, start = struct.unpack(">IIIi", data[at : at + 16])
    scale = struct.unpack(">I", data[data.index(b"mvhd") + 16 :][:4])[0]
    assert (version_and_flags, n_entries, duration, start, scale) == (0, 1, n_samples, 1024, rate)
    audio = read(tmp_path / "a.m4a")[1]
    assert audio.shape == (1, reached("m4a", n_samples))
    if n_samples == 24_000 and rate == 44_100:
        assert np.corrcoef(audio[0, :n_samples], tone[0])[0, 1] > 0.99  # neither late nor early


@pytest.mark.parametrize(("bits", "step"), [("16", 2.0**-15), ("24", 2.0**-23), ("float", 2.0**-40)])
@pytest.mark.parametrize("name", ["wav", "aiff", "au", "flac"])
def test_bits(tmp_path, noise, name, bits, step):
    if name == "flac" and bits == "float":
        with pytest.raises(AudioError, match=r"a\.flac: FLAC holds samples of 16 or 24 bits"):
            Output(tmp_path / "a.flac", bits=bits).check()
        return
    loud = noise * np.float32(4)
    path = written(tmp_path / f"a.{name}", loud, bits=bits)
    assert soundfile.info(path).subtype == FORMS[name].subtype(bits)
    wanted = loud if bits == "float" else np.clip(loud, -1, 1 - step)
    assert np.abs(soundfile.read(path, dtype="float64")[0].T - wanted).max() <= step / 2


@pytest.mark.parametrize("name", sorted(LOSSY))
def test_lossy_formats_have_no_bits(name):
    with pytest.raises(AudioError, match="lossy"):
        Output(f"a.{name}", bits="24").check()


@pytest.mark.parametrize("name", sorted(set(FORMS) - {"aif", "oga"}))
def test_every_rate_becomes_one_that_the_format_has(tmp_path, name):
    """Rates from far below to far above what formats know: the next legal rate is accepted and can be read."""
    said = []
    for wanted in (1, 999, 7_999, 8_000, 11_025, 44_100, 65_535, 65_537, 199_999, 200_001, 384_000, 655_351, 768_000, 2**24):
        output = Output(tmp_path / f"a.{name}", notice=said.append)
        n_said = len(said)
        legal = output.legal_rate(wanted)
        assert output.legal_rate(legal) == legal and (legal != wanted) == (len(said) > n_said)
        assert legal >= wanted or legal == output.legal_rate(2**24) or (name == "flac" and wanted > 655_350)
        path = written(output.target, np.zeros((1, 400), np.float32), legal)
        rate, audio = read(path)
        assert (rate, audio.shape) == (legal, (1, reached(name, 400)))
        if legal != wanted:
            with pytest.raises(AudioError, match=f"no rate of {wanted} Hz"):
                AudioSink(path, wanted, 1, None)
    assert all(re.fullmatch(r".*a\.\w+: [\w ]+ has no rate of \d+ Hz; resampled to \d+ Hz", line) for line in said)


def test_opus_from_44100_is_opus_at_48000(tmp_path):
    assert Output(tmp_path / "a.opus").legal_rate(44_100) == 48_000
    assert Output(tmp_path / "a.bin", "opus").check() is FORMS["opus"]


def test_too_many_channels_are_refused(tmp_path):
    with pytest.raises(AudioError, match=r"a\.mp3: MP3 holds 2 channels at most, not 3"):
        AudioSink(tmp_path / "a.mp3", 48_000, 3, None)


def test_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path, noise):
    for name in FORMS:
        path = tmp_path / f"out.{name}"
        path.write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt), AudioSink(path, 48_000, 2, None) as sink:
            sink.write(noise)
            raise KeyboardInterrupt
        assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == len(FORMS)


SWEEP = """
import json, os, resource, sys
import numpy as np
from ecdc.codec.audio_out import AudioSink
from ecdc.codec.audio_formats import FORMS
from ecdc.codec.tags import write_tags
name, folder = sys.argv[1], sys.argv[2]
tag = lambda path: write_tags(path, FORMS[name].name, [("title", "x" * 5000)])
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 24_000)).astype("f4")
def write(path):
    with AudioSink(path, 48_000, 2, None, finish=tag) as sink:
        for block in np.array_split(noise, 5, axis=1):
            sink.write(block)
whole, path = f"{folder}/whole.{name}", f"{folder}/out.{name}"
write(whole)
size, rows = os.path.getsize(whole), []
for limit in sorted({0, 1, 4, 50, 100, 1000, *range(2000, size, size // 12), *range(size - 9000, size, 600), size - 1, size}):
    open(path, "wb").write(b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(path)
        said = None
    except OSError as error:
        said = [error.strerror, error.filename]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    rows.append([limit, said, os.path.getsize(path), len(os.listdir(folder))])
print(json.dumps([size, rows]))
"""


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "opus", "mp3", "m4a", "aiff", "au"])
def test_a_limit_on_the_size_of_files_is_never_overlooked(tmp_path, name):
    """Whatever the limit, sound and tags are written or the error names file and reason, and the old file stays."""
    done = subprocess.run([sys.executable, "-c", SWEEP, name, str(tmp_path)], capture_output=True, env=os.environ)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    size, rows = json.loads(done.stdout)
    for limit, said, found, n_files in rows:
        assert n_files == 2
        if said is None:
            assert found == size and limit >= size
        else:
            assert said == ["File too large", str(tmp_path / f"out.{name}")] and found == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("name", sorted(FORMS))
def test_full_devices_are_noticed(noise, name):
    with pytest.raises(OSError, match="No space left") as error:
        written("/dev/full", noise, form=name)
    assert error.value.filename == "/dev/full"


@pytest.mark.parametrize("name", ["flac", "mp3", "m4a"])
def test_a_signal_while_the_library_writes_ends_it_afterwards(tmp_path, noise, name, monkeypatch):
    """It arrives inside a callback of the C library, where an exception would be printed and lost."""
    real = ErrorKeepingFile.write

    def interrupted(self, data):
        signal.raise_signal(signal.SIGINT)
        return real(self, data)

    monkeypatch.setattr(ErrorKeepingFile, "write", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            written(tmp_path / f"a.{name}", noise)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bits", ["16", "24", "float"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wave_header_is_what_libsndfile_reads(noise, bits, channels):
    for spare in (False, True):
        for n_samples in (noise.shape[1], None):
            data = wave_header(44_100, channels, n_samples, bits, spare) + bytes(noise.shape[1] * channels * 4)
            info = soundfile.info(io.BytesIO(data))
            assert (info.samplerate, info.channels, info.format) == (44_100, channels, "WAV")
            assert n_samples is None or info.frames == n_samples


@pytest.mark.parametrize("bits", ["16", "24", "float"])
@pytest.mark.parametrize("n_samples", [2**30 - 20, 2**30 - 10, 2**30 - 1, 2**30, 5 * 2**30])
def test_wav_beyond_4_gib_is_rf64(tmp_path, bits, n_samples):
    """Headers alone, before a hole: no limit of 32 bits cuts the length, and files that fit stay plain WAV."""
    path, frame = tmp_path / "big.wav", {"16": 2, "24": 3, "float": 4}[bits] * 2
    header = wave_header(48_000, 2, n_samples, bits)
    path.write_bytes(header)
    os.truncate(path, len(header) + n_samples * frame)
    info = soundfile.info(path)
    fits = os.path.getsize(path) - 8 < 2**32
    assert info.frames == n_samples and info.format == ("WAV" if fits else "RF64")


def test_a_file_that_grows_beyond_4_gib_becomes_rf64(tmp_path):
    """The length is not known at first. The samples are seeked over, so that no disk holds 4 GiB."""
    path, n_samples = tmp_path / "big.wav", 2**30 + 3
    with AudioSink(path, 48_000, 2, None) as sink:
        sink.write(np.full((2, 3), 0.5, np.float32))
        encoder = sink._encoder
        encoder._stream.seek(4 * (n_samples - 6), 1)
        encoder._written += n_samples - 6
        sink.write(np.full((2, 3), 0.25, np.float32))
    info = soundfile.info(path)
    assert (info.frames, info.format) == (n_samples, "RF64")
    ends = [soundfile.read(path, start=start, frames=3)[0] for start in (0, n_samples - 3)]
    assert (ends[0] == 0.5).all() and (ends[1] == 0.25).all()
    assert path.stat().st_blocks < 1000


def test_aiff_beyond_4_gib_is_refused(tmp_path):
    with pytest.raises(AudioError, match=r"a\.aiff: AIFF holds 4 GiB at most"):
        AudioSink(tmp_path / "a.aiff", 48_000, 2, 2**30)
    assert not list(tmp_path.iterdir())


def test_unknown_format_is_named(tmp_path):
    with pytest.raises(AudioError, match="unknown audio format 'xyz'"):
        format_of(tmp_path / "a.xyz")
    assert format_of(tmp_path / "a.xyz", "flac") is FORMS["flac"]
    with pytest.raises(AudioError, match=r"its name has no suffix that tells the format; add one, such as \.wav, or use"):
        format_of(tmp_path / "a")


def test_samples_after_the_wanted_ones_are_not_held():
    """A header may want one sample of a stream of hours."""
    import tracemalloc

    from ecdc.codec.exact_length import trim_to_length

    blocks = (np.zeros((1, 10_000), np.float32) for _ in range(300))
    tracemalloc.start()
    assert sum(block.shape[1] for block in trim_to_length(blocks, 0, 320, lambda: 1)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 40_000
