"""Sound files of many formats, made by FFmpeg's encoders in PyAV, and ways to read them."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import av
import numpy as np
import soundfile
from ecdc.codec.audio_in import AudioSource

RATE = 48_000
FORMATS = {  # name: (container, codec, rate, options of the container)
    "a.mp3": ("mp3", "libmp3lame", RATE, {}),
    "a.mp2": ("mp2", "mp2", RATE, {}),
    "a.m4a": ("ipod", "aac", RATE, {}),
    "fast.m4a": ("ipod", "aac", RATE, {"movflags": "+faststart"}),
    "alac.m4a": ("ipod", "alac", RATE, {}),
    "a.mov": ("mov", "pcm_s16le", RATE, {}),
    "a.3gp": ("3gp", "aac", RATE, {}),
    "a.aac": ("adts", "aac", RATE, {}),
    "a.mkv": ("matroska", "flac", RATE, {}),
    "a.webm": ("webm", "libopus", RATE, {}),
    "a.opus": ("ogg", "libopus", RATE, {}),
    "a.ogg": ("soundfile", "VORBIS", RATE, {}),
    "a.spx": ("ogg", "libspeex", 16_000, {}),
    "a.flac": ("flac", "flac", RATE, {}),
    "a.oga": ("ogg", "flac", RATE, {}),
    "a.wma": ("asf", "wmav2", RATE, {}),
    "a.ac3": ("ac3", "ac3", RATE, {}),
    "a.wv": ("wv", "wavpack", RATE, {}),
    "a.tta": ("tta", "tta", RATE, {}),
    "a.amr": ("amr", "libopencore_amrnb", 8_000, {}),
    "a.aiff": ("aiff", "pcm_s16be", RATE, {}),
    "a.caf": ("caf", "pcm_s24le", RATE, {}),
    "alac.caf": ("caf", "alac", RATE, {}),
    "a.avi": ("avi", "pcm_s16le", RATE, {}),
    "mp3.avi": ("avi", "libmp3lame", RATE, {}),
    "a.flv": ("flv", "aac", RATE, {}),
    "a.ts": ("mpegts", "mp2", RATE, {}),
    "a.mpg": ("mpeg", "mp2", RATE, {}),
    "a.au": ("au", "pcm_s16be", RATE, {}),
    "a.w64": ("w64", "pcm_s16le", RATE, {}),
    "rf64.wav": ("wav", "pcm_s24le", RATE, {"rf64": "always"}),
    "a.wav": ("wav", "pcm_s16le", RATE, {}),
    "float.wav": ("wav", "pcm_f32le", RATE, {}),
    "alaw.wav": ("wav", "pcm_alaw", RATE, {}),
    "adpcm.wav": ("wav", "adpcm_ms", RATE, {}),
    "u8.wav": ("wav", "pcm_u8", RATE, {}),
}


FILMS = {  # name: (container, codec of the pictures, of the sound)
    "film.avi": ("avi", "mpeg4", "mp2"),
    "film.flv": ("flv", "flv", "aac"),
    "film.wmv": ("asf", "wmv2", "wmav2"),
    "film.mkv": ("matroska", "mpeg4", "flac"),
    "film.mp4": ("mp4", "mpeg4", "aac"),
    "film.ts": ("mpegts", "mpeg2video", "aac"),
    "film.mpg": ("mpeg", "mpeg2video", "mp2"),
}


def tone(n_samples, rate=RATE, hertz=440.0):
    """A tone with a little noise [2, n] as float32."""
    time = np.arange(n_samples) / rate
    sides = np.stack([0.4 * np.sin(2 * np.pi * f * time) for f in (hertz, 1.5 * hertz)])
    return (sides + 0.01 * np.random.default_rng(0).standard_normal(sides.shape)).astype(np.float32)


def encoded(name, audio=None, seconds=1.0, tags=(), layout=None):
    """The bytes of a file of the format `name`; None if this FFmpeg has no such encoder."""
    container, codec, rate, options = FORMATS[name]
    if container == "soundfile":
        audio = tone(round(seconds * rate) + 123, rate) if audio is None else audio
        soundfile.write(data := io.BytesIO(), audio.T, rate, codec, format="OGG")
        return data.getvalue()
    with contextlib.suppress(av.codec.codec.UnknownCodecError):
        av.codec.Codec(codec, "w")
        return _encoded(container, codec, rate, options, audio, seconds, dict(tags), layout)
    return None


def _encoded(container, codec, rate, options, audio, seconds, tags, layout):
    audio = tone(round(seconds * rate) + 123, rate) if audio is None else audio
    layout = layout or ("mono" if rate < RATE else "stereo")
    audio = audio[:1] if layout == "mono" else audio
    with tempfile.NamedTemporaryFile() as data:  # a name, because +faststart opens the file again
        _mux(data.name, container, codec, rate, options, audio, tags, layout)
        return Path(data.name).read_bytes()


def _mux(name, container, codec, rate, options, audio, tags, layout):
    with av.open(name, "w", format=container, options=options) as output:
        output.metadata.update(tags)
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        context = stream.codec_context
        context.bit_rate = 128_000 if rate == RATE else 12_200
        formats = [f.name for f in context.codec.audio_formats]
        exact = [name for name in ("s16", "s16p") if name in formats]
        context.format = exact[0] if exact and codec in ("flac", "alac", "wavpack", "tta") else formats[0]
        context.open()
        resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))


def film(name, seconds=2.0, late=0.0, silent=False):
    """The bytes of a film of 50 pictures, with a sound track of so many seconds that begins `late` seconds after them."""
    container, pictures, sound = FILMS[name]
    with tempfile.NamedTemporaryFile() as data:
        with av.open(data.name, "w", format=container) as output:
            video = output.add_stream(pictures, rate=25, width=64, height=48, pix_fmt="yuv420p")
            if not silent:
                audio = output.add_stream(sound, rate=RATE, layout="stereo")
                context = audio.codec_context
                context.bit_rate, context.format = 128_000, context.codec.audio_formats[0]
                context.open()
            for i in range(50):
                picture = np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)
                output.mux(video.encode(av.VideoFrame.from_ndarray(picture).reformat(format="yuv420p")))
            output.mux(video.encode(None))
            if not silent:
                frame = av.AudioFrame.from_ndarray(tone(round(seconds * RATE)), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = RATE, round(late * RATE)
                resampler = av.AudioResampler(context.format, "stereo", RATE, context.frame_size or 1024)
                for part in [*resampler.resample(frame), *resampler.resample(None)]:
                    output.mux(audio.encode(part))
                output.mux(audio.encode(None))
        return Path(data.name).read_bytes()


def read(source, **options):
    """All samples of a source [C, N]."""
    with AudioSource(source, **options) as audio:
        return np.concatenate([np.zeros((audio.info.channels, 0), np.float32), *audio.blocks()], axis=1)


@contextlib.contextmanager
def written_to(write_end, data):
    """Write `data` into a pipe from another thread."""

    def write():
        with contextlib.suppress(BrokenPipeError), open(write_end, "wb") as sink:
            sink.write(data)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    yield
    thread.join(10)


def read_stdin(data, **options):
    """Read `data` from a pipe that is the standard input."""
    read_end, write_end = os.pipe()
    with written_to(write_end, data), open(read_end) as stdin, mock.patch.object(sys, "stdin", stdin):
        return read("-", **options)


def read_fd(data, **options):
    """Read `data` as `<(...)` does: the path of a pipe's end."""
    read_end, write_end = os.pipe()
    with written_to(write_end, data), open(read_end):
        return read(f"/dev/fd/{read_end}", **options)


def read_fifo(data, **options):
    """Read `data` from a named pipe."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(path := Path(folder) / "pipe")
        with written_to(path, data):
            return read(path, **options)


def ffmpeg_count(path, channels):
    """How many samples the command `ffmpeg` decodes; None if it is not here."""
    if shutil.which("ffmpeg") is None:
        return None
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-f", "f32le", "-"]
    return len(subprocess.run(command, capture_output=True).stdout) // (4 * channels)
