"""Reading: all samples of every format, by every way in; damage is told and never coded in silence."""

import io
import os
import struct
from unittest import mock

import av
import numpy as np
import pytest
import soundfile
from ecdc.codec import audio_in as module
from ecdc.codec import wave_in
from ecdc.codec.audio import AudioError, AudioSource, wave_header
from ecdc.codec.mp3_frames import frame_bytes, id3_size
from media_files import FILMS, FORMATS, RATE, encoded, ffmpeg_count, film, read, read_fd, read_fifo, read_stdin, tone


@pytest.fixture(scope="module", params=list(FORMATS))
def media(request, tmp_path_factory):
    """A file of each format and its bytes."""
    data = encoded(request.param)
    if data is None:
        pytest.skip(f"no encoder for {request.param}")
    path = tmp_path_factory.mktemp("media") / request.param
    path.write_bytes(data)
    return path


def test_samples_are_those_that_ffmpeg_decodes(media):
    audio = read(media)
    data = media.read_bytes()
    for way in (read_stdin, read_fifo, read_fd):
        np.testing.assert_array_equal(way(data), audio, err_msg=way.__name__)
    wanted = ffmpeg_count(media, len(audio))
    assert wanted in (None, audio.shape[1])


@pytest.mark.parametrize(
    "name", ["a.flac", "a.oga", "alac.m4a", "alac.caf", "a.tta", "a.wv", "a.aiff", "a.au", "a.w64", "a.mov", "a.wav"]
)
def test_lossless_formats_are_read_exactly(tmp_path, name):
    pcm = np.rint(tone(5000) * 32767) / 32768
    (tmp_path / name).write_bytes(encoded(name, pcm.astype(np.float32)))
    assert np.abs(read(tmp_path / name) - pcm).max() <= 1 / 32768


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("form", "endian"), [("WAV", "LITTLE"), ("WAV", "BIG"), ("WAVEX", "LITTLE"), ("RF64", "LITTLE")])
def test_wav_of_every_kind_is_what_libsndfile_reads(tmp_path, subtype, form, endian):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(3001).T, RATE, subtype, endian, form)
    wanted, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(read(path), wanted.T)
    np.testing.assert_array_equal(read_stdin(path.read_bytes()), wanted.T)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "GSM610"])
@pytest.mark.parametrize("n_samples", [40_000, 40_001, 40_960])
def test_telephone_wavs_are_read_to_a_last_packet_of_any_length(tmp_path, subtype, n_samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(n_samples)[0], 8000, subtype)
    wanted, _ = soundfile.read(path, dtype="float32")
    for audio in (read(path), read_stdin(path.read_bytes())):
        assert n_samples <= audio.shape[1] <= len(wanted)  # libsndfile fills the last block of GSM 06.10
        assert np.abs(audio[0] - wanted[: audio.shape[1]]).max() < 2e-3


def test_a_telephone_wav_that_was_cut_off_says_so(tmp_path):
    path = tmp_path / "a.wav"
    for subtype, claim, n_lost in (("ULAW", None, 5000), ("GSM610", 0xFFFFFFFF, 5000), ("GSM610", None, 1)):
        soundfile.write(path, tone(40_000)[0], 8000, subtype)
        data = bytearray(path.read_bytes()[: -n_lost - 1])
        if claim is not None:
            at = data.index(b"data") + 4
            data[at : at + 4] = claim.to_bytes(4, "little")
        path.write_bytes(data)
        with pytest.raises(AudioError, match=r"damaged at \d\.\d+ s \(cut off"):
            read(path)


def test_joined_files_are_read_to_the_end(tmp_path):
    """MP3, AAC, FLAC and both kinds of Ogg; of the Ogg ones, exactly the sum."""
    for name in ("a.mp3", "a.aac", "a.flac", "a.opus", "a.ogg", "a.oga", "a.ac3"):
        one, two = encoded(name), encoded(name, tone(2 * RATE))
        (tmp_path / name).write_bytes(one + two)
        lengths = [read_stdin(part).shape[1] for part in (one, two)]
        joined = read(tmp_path / name).shape[1]
        slack = 4 * 1152 if name == "a.mp3" else 0  # between joined MP3s an encoder's padding stays, as in FFmpeg
        assert sum(lengths) <= joined <= sum(lengths) + slack, name
        assert read_fifo(one + two).shape[1] == joined, name


def test_pictures_in_joined_mp3s_are_no_sound(tmp_path):
    """A picture has bytes that look like frames: every part that is joined may bring one."""
    picture = (b"\xff\xfb\x90\x00" + bytes(range(251))) * 40
    size = bytes((len(picture) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    one = encoded("a.mp3")
    part = b"ID3\4\0\0" + size + picture + one[10 + id3_size(one) :]
    (tmp_path / "a.mp3").write_bytes(3 * part)
    joined = read(tmp_path / "a.mp3")
    assert 3 * (RATE + 123) <= joined.shape[1] <= 3 * (RATE + 123) + 6 * 1152
    assert np.abs(joined).max() < 0.6


def test_a_chained_stream_may_change_its_rate_and_channels(tmp_path):
    soundfile.write(tmp_path / "b.ogg", tone(16_000)[0], 16_000, format="OGG", subtype="VORBIS")
    (tmp_path / "a.ogg").write_bytes(encoded("a.ogg") + (tmp_path / "b.ogg").read_bytes())
    audio = read(tmp_path / "a.ogg")
    assert audio.shape[0] == 2 and abs(audio.shape[1] - (RATE + 123 + RATE)) <= 2
    assert audio[:, -RATE // 2 :].std() > 0.1


@pytest.mark.parametrize("n_frames", [3, 1000])
def test_an_mp3s_own_count_is_a_claim(tmp_path, n_frames):
    data = bytearray(encoded("a.mp3"))
    at = max(data.find(b"Xing"), data.find(b"Info"))
    data[at + 8 : at + 12] = n_frames.to_bytes(4, "big")
    (tmp_path / "a.mp3").write_bytes(data)
    assert read(tmp_path / "a.mp3").shape[1] >= RATE + 123


def wav(n_samples=RATE, claim=None, more=b"", before=b""):
    """A stereo WAV of 16 bits whose header claims `claim` bytes."""
    pcm = np.rint(tone(n_samples) * 32767).astype("<i2").T.tobytes()
    head = bytearray(wave_header(RATE, 2, n_samples))
    if claim is not None:
        head[40:44] = claim.to_bytes(4, "little")
        head[4:8] = min(claim + 36, 2**32 - 1).to_bytes(4, "little")
    return before + bytes(head) + pcm + more


LIST = b"LIST" + struct.pack("<I", 16) + b"INFOIART" + struct.pack("<I", 4) + b"Ann\0"


@pytest.mark.parametrize("claim", [None, 0, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x7FFFF000, 4 * 999])
@pytest.mark.parametrize("before", [b"", b"ID3\4\0\0\0\0\0\5Hello"])
def test_a_length_in_a_wav_header_is_a_claim(tmp_path, claim, before):
    data = wav(claim=claim, before=before)
    (tmp_path / "a.wav").write_bytes(data)
    for audio in (read(tmp_path / "a.wav"), read_stdin(data)):
        assert audio.shape == (2, RATE)


@pytest.mark.parametrize("more", [LIST, b"TAG" + bytes(125), b"id3 " + struct.pack("<I", 10) + b"ID3" + bytes(7), bytes(500)])
def test_what_follows_the_samples_is_not_coded(tmp_path, more):
    data = wav(more=more)
    (tmp_path / "a.wav").write_bytes(data)
    for audio in (read(tmp_path / "a.wav"), read_stdin(data)):
        assert audio.shape == (2, RATE)


@pytest.mark.parametrize("tail", [b"", LIST])
@pytest.mark.parametrize("claim", ["modulo", 0xFFFFFFFF, 0])
def test_wav_beyond_4_gib(tmp_path, claim, tail):
    """A sparse file: nothing but its header and its last bytes is on the disk."""
    n_bytes = 2**32 + 793_081_956
    if claim != "modulo" and tail:
        return
    with open(tmp_path / "big.wav", "wb") as file:
        size = n_bytes % 2**32 if claim == "modulo" else claim
        file.write(wav(0, size))
        file.truncate(44 + n_bytes)
        file.seek(44 + n_bytes)
        file.write(tail)
    with AudioSource(tmp_path / "big.wav") as audio:
        assert audio.info.n_samples == n_bytes // 4


@pytest.mark.parametrize("tail", [b"", LIST])
def test_lengths_that_wrapped_around(tmp_path, monkeypatch, tail):
    """As beyond 4 GiB, with a smaller modulus: from a file and from a pipe."""
    monkeypatch.setattr(wave_in, "WRAP", 1 << 16)
    data = wav(claim=4 * RATE % (1 << 16), more=tail)
    (tmp_path / "a.wav").write_bytes(data)
    for audio in (read(tmp_path / "a.wav"), read_stdin(data)):
        assert audio.shape == (2, RATE)


def damages(data):
    """Truncations, zeros, other bytes, missing and added bytes in the middle."""
    half, rng = len(data) // 2, np.random.default_rng(1)
    yield "cut off", data[: int(len(data) * 0.61)]
    yield "zeros", data[:half] + bytes(3000) + data[half + 3000 :]
    yield "noise", data[:half] + rng.bytes(3000) + data[half + 3000 :]
    yield "missing", data[:half] + data[half + 3000 :]


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.ogg", "a.opus", "a.flac", "fast.m4a", "a.aac", "a.webm", "a.wv", "a.tta", "a.ac3"]
)
def test_damage_names_the_second(tmp_path, name):
    data = encoded(name, tone(4 * RATE))
    whole = read_stdin(data).shape[1]
    for what, damaged in damages(data):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s \(.*\); try --partial$") as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value), what
        lost = []
        part = read(tmp_path / name, lost=lost)
        assert len(lost) == 1 and 0 < part.shape[1] <= whole, what


@pytest.mark.parametrize("name", ["a.wav", "adpcm.wav", "a.aiff", "a.au", "a.w64", "a.caf"])
def test_a_recording_that_was_cut_off_says_so(tmp_path, name):
    data = encoded(name)
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"damaged at 0\.[45]"):
        read(tmp_path / name)
    assert read(tmp_path / name, lost=[]).shape[1] > 0.4 * RATE


@pytest.mark.parametrize("name", ["a.caf", "a.avi", "mp3.avi", "a.flv", "a.wma"])
@pytest.mark.parametrize("share", [0.5, 0.77, 0.9])
def test_a_container_that_lacks_bytes_says_so(tmp_path, name, share):
    """FFmpeg passes over the missing end of these, and over a missing middle, wherever the cut falls."""
    data = encoded(name, tone(4 * RATE))
    at = int(len(data) * share)
    for n_bytes in (0, 1, 2, 3):
        for damaged in (data[: at + n_bytes], data[: at // 2 + n_bytes] + data[at // 2 + len(data) // 8 :]):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s \(.*\); try --partial$"):
                read(tmp_path / name)
            with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s"):
                read_fifo(damaged)
    lost = []
    assert 0 < read(tmp_path / name, lost=lost).shape[1] < 4 * RATE and len(lost) == 1


def test_an_mp3_that_ends_between_two_frames_is_cut_off_by_its_own_counts(tmp_path):
    data, ends = encoded("a.mp3", tone(2 * RATE)), []
    at = 10 + id3_size(data) if data[:3] == b"ID3" else 0
    while (size := frame_bytes(data[at : at + 10])) is not None:
        at += size
        ends.append(at)
    whole = read_stdin(data).shape[1]
    for end in ends[len(ends) // 2], ends[-9]:
        (tmp_path / "a.mp3").write_bytes(data[:end])
        for way, source in ((read, tmp_path / "a.mp3"), (read_fifo, data[:end])):
            with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s \(cut off"):
                way(source)
            assert way(source, lost=[]).shape[1] < whole


@pytest.mark.parametrize("name", list(FILMS))
def test_films_give_their_sound_or_say_why_not(tmp_path, name):
    """Sound that is as long as the pictures, shorter, longer, and later; and none."""
    path = tmp_path / name
    for options in ({}, {"seconds": 0.5}, {"seconds": 4.0}, {"seconds": 1.0, "late": 1.0}):
        path.write_bytes(film(name, **options))
        audio = read(path)
        assert audio.shape[1] == ffmpeg_count(path, 2) and audio.shape[1] >= options.get("seconds", 2.0) * RATE - 4096
        np.testing.assert_array_equal(read_fifo(path.read_bytes()), audio)
    path.write_bytes(film(name, silent=True))
    with pytest.raises(AudioError, match="has no sound track"):
        read(path)


@pytest.mark.parametrize("name", ["film.avi", "film.ts", "film.flv", "film.mkv", "film.mp4", "film.wmv"])
def test_a_film_that_lacks_a_part_says_so(tmp_path, name):
    """Its end, as long as that is sound, or its middle."""
    data = film(name, seconds=4.0)
    half, path = len(data) // 2, tmp_path / name
    for damaged in (data[: int(len(data) * 0.9) + 1], data[:half] + data[half + len(data) // 8 :]):
        path.write_bytes(damaged)
        with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s|cannot|not audio that can be read"):
            read(path)


def test_an_avi_loses_no_packet_in_silence(tmp_path):
    """Its index says how many bytes of sound there are, so that even one packet is missed."""
    data = bytearray(film("film.avi"))
    at = data.find(b"01wb", 3 * len(data) // 4)
    data[at : at + 4] = bytes(4)
    (tmp_path / "a.avi").write_bytes(data)
    with pytest.raises(AudioError, match=r"damaged at \d\.\d{3} s"):
        read(tmp_path / "a.avi")


@pytest.mark.parametrize("name", ["a.mp3", "a.mp2", "a.aac", "a.ac3"])
def test_an_end_of_zeros_is_damage_and_a_little_padding_is_none(tmp_path, name):
    """As downloads leave it that were given their size before their bytes came."""
    data = encoded(name, tone(2 * RATE))
    path, half = tmp_path / name, len(data) // 2
    for damaged in (data[:half] + bytes(len(data) - half), data[: half + 1] + bytes(9000)):
        path.write_bytes(damaged)
        for way, source in ((read, path), (read_fifo, damaged)):
            with pytest.raises(AudioError, match=r"damaged at [01]\.\d{3} s"):
                way(source)
            assert 0 < way(source, lost=[]).shape[1] <= 1.1 * RATE
    if name != "a.ac3":  # whose frames have checksums, also those that zeros seem to begin
        path.write_bytes(data + bytes(3000))
        assert read(path).shape[1] == read_stdin(data).shape[1]


def test_an_id3_tag_that_covers_sound_is_damage(tmp_path):
    """A tag's length is a claim as well; a tag with a picture that looks like frames is none."""
    frames = encoded("a.mp3", tone(2 * RATE))
    frames = frames[10 + id3_size(frames) :] if frames[:3] == b"ID3" else frames
    picture = (b"\xff\xfb\x90\x00" + bytes(range(251))) * 40
    wanted = read_stdin(frames).shape[1]

    def tag(body, size):
        return b"ID3\4\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + body

    assert read_stdin(tag(picture, len(picture)) + frames).shape[1] == wanted
    for size in (700, 5000, 20_000):
        for way in (read_stdin, read_fifo):
            with pytest.raises(AudioError, match=r"damaged at 0\.000 s \(its ID3 tag covers sound\)"):
                way(tag(b"TIT2", size) + frames)
    for size in (0, 50, 3000):
        assert read_stdin(tag(bytes(size), size) + frames).shape[1] == wanted


def test_an_endless_pipe_of_no_known_format_is_not_spooled():
    for rubbish in (bytes(1 << 22), np.random.default_rng(3).bytes(1 << 22)):
        with (
            pytest.raises(AudioError, match="no known format"),
            mock.patch.object(module.LookaheadReader, "as_seekable", side_effect=OSError),
        ):
            read_fifo(rubbish)


@pytest.mark.parametrize("name", ["a.m4a", "alac.caf", "a.avi", "a.w64", "a.flv"])
def test_a_format_that_must_be_spooled_is_known_by_its_start(name, monkeypatch):
    monkeypatch.setattr(module, "MAX_HEADERS", 1 << 14)
    assert read_fifo(encoded(name)).shape[1] >= RATE


@pytest.mark.parametrize("name", ["a.m4a", "fast.m4a"])
def test_joined_mp4_files_are_not_half_coded(tmp_path, name):
    (tmp_path / name).write_bytes(2 * encoded(name))
    with pytest.raises(AudioError, match=r"damaged at 1\.0\d\d s \(another MP4 file follows"):
        read(tmp_path / name)


def test_joined_wav_files_are_not_half_coded():
    with pytest.raises(AudioError, match=r"damaged at 1.000 s \(another WAV file follows"):
        read_stdin(wav() + wav())


@pytest.mark.parametrize(
    "text", ["Dear Ann,\n\nnothing here is sound.\n", "<html>\n", "é à ü " * 99, "#EXTM3U\nhttp://a.b/c.mp3\n"]
)
@pytest.mark.parametrize("name", ["notes.com.au", "list.m3u8", "a.mp3", "b.raw"])
def test_text_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(AudioError, match="is text, not audio"):
        AudioSource(tmp_path / name)


@pytest.mark.parametrize(
    "name", [b"\xff\xfe latin \xe9.wav", b"-rf.wav", "あ".encode() * 83 + b".wav", b"a\nb.flac", b"%s{}$(x).mp3"]
)
def test_any_name_is_read(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suffix = name.rsplit(b".")[-1].decode()
    with open(name, "wb") as file:
        file.write(encoded(f"a.{suffix}"))
    os.symlink(name, b"link")
    for path in (os.fsdecode(name), "link"):
        assert read(path).shape[1] == RATE + 123


def test_blocks_are_bounded_in_bytes(monkeypatch):
    """Whatever the rate and the channels: 1024 channels at 768 kHz would be 3 GB a second."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 4096 * 100)
    head = wave_header(768_000, 1024, 300)
    data = head + bytes(2048 * 300)

    def sizes(data):
        with AudioSource(data) as audio:
            return [block.shape for block in audio.blocks()]

    monkeypatch.setattr(module, "open_lookahead", lambda data: (module.LookaheadReader(io.BytesIO(data)), None))
    assert sizes(data) == [(1024, 100)] * 3


def test_tracks(tmp_path):
    """Of a film with two sound tracks one is read, and the source says which."""
    with av.open(tmp_path / "film.mkv", "w") as output:
        streams = [output.add_stream("flac", rate=RATE, layout="stereo") for _ in range(2)]
        for stream, n_samples in zip(streams, (RATE, RATE // 2), strict=True):
            pcm = np.rint(tone(n_samples) * 32767).astype(np.int16).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE, 0
            output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    lengths = [read(tmp_path / "film.mkv", track=n).shape[1] for n in (1, 2)]
    assert lengths == [RATE, RATE // 2]
    with AudioSource(tmp_path / "film.mkv") as audio:
        assert "2 sound tracks; number 1 is coded" in audio.notes[0]
    with pytest.raises(AudioError, match="has 2 sound tracks; there is no track 3"):
        AudioSource(tmp_path / "film.mkv", track=3)
