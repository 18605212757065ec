"""`--stereo auto`: wide audio becomes left and right, narrow audio has one codebook for the side, pipes get mid and side."""

import io
import sys

import numpy as np
import pytest
import soundfile
import split_models
from ecdc.codec.audio import AudioError, AudioSource
from ecdc.codec.channel_layout import STEREO, codebooks_per_stream, layout_for
from ecdc.codec.encoding import encode_file
from ecdc.codec.stereo_choice import CHOICES, powers, settled_stereo, stereo_for
from ecdc.codec.vbr import Target
from ecdc.format import ChannelCoding, Reader
from ecdc.format.edit import peel_to

RATE = 44_100


@pytest.fixture(scope="module")
def split():
    return split_models.build()


def sound(mid, side, n=30_000):
    """Stereo noise [n, 2] with these amplitudes of mid and side."""
    a, b = np.random.default_rng(0).standard_normal((2, n)) * np.array([[mid], [side]])
    return np.stack([a + b, a - b], 1)


def written(path, audio, **options):
    soundfile.write(path, audio, RATE, **options)
    return path


SOUNDS = {
    "wide": (sound(0.1, 0.05), "left_right"),  # -6 dB
    "usual": (sound(0.1, 0.0240), "mid_side"),  # -12.4 dB
    "narrow": (sound(0.1, 0.0150), "narrow"),  # -16.5 dB
    "mono": (sound(0.1, 0.0), "narrow"),
    "opposite": (sound(0.0, 0.1), "left_right"),
    "silent": (sound(0.0, 0.0), "mid_side"),
    "one sample": (sound(0.1, 0.0, n=1), "narrow"),
    "one side": (sound(0.1, 0.1) * [1, 0], "left_right"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_auto_gives_the_bytes_of_the_choice_that_suits(split, tmp_path, name):
    audio, wanted = SOUNDS[name]
    source = written(tmp_path / "a.wav", audio)
    found = encode_file(source, tmp_path / "auto.ecdc", split, kbps=2)
    assert found.codebooks == {"left_right": (4, 4), "mid_side": (6, 2), "narrow": (7, 1)}[wanted]
    for stereo in STEREO:
        encode_file(source, tmp_path / f"{stereo}.ecdc", split, kbps=2, stereo=stereo)
    same = {stereo for stereo in STEREO if (tmp_path / f"{stereo}.ecdc").read_bytes() == (tmp_path / "auto.ecdc").read_bytes()}
    assert same == {wanted}


def test_a_pipe_is_coded_as_mid_and_side(split, tmp_path, monkeypatch):
    source = written(tmp_path / "a.wav", SOUNDS["wide"][0])
    encode_file(source, tmp_path / "file.ecdc", split, kbps=2, stereo="mid_side", chunk_seconds=1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    encode_file("-", tmp_path / "pipe.ecdc", split, kbps=2, chunk_seconds=1)
    assert (tmp_path / "pipe.ecdc").read_bytes() == (tmp_path / "file.ecdc").read_bytes()


def test_other_codecs_and_mono_are_not_read_twice(codec, split, tmp_path, monkeypatch):
    monkeypatch.setattr(AudioSource, "preview", lambda self: pytest.fail("read twice"))
    with AudioSource(written(tmp_path / "a.wav", SOUNDS["wide"][0])) as audio:
        assert settled_stereo(codec.config, audio, 2, "auto") == settled_stereo(split.config, audio, 1, "auto") == "mid_side"


@pytest.mark.parametrize("size", [1, 700, 65_536, 200_000])
def test_energies_do_not_depend_on_how_audio_is_cut(size):
    audio = sound(0.1, 0.05, n=3 * size if size == 1 else 150_000).T.astype(np.float32)
    blocks = [audio[:, i : i + size] for i in range(0, audio.shape[1], size)]
    assert powers(blocks) == powers([audio])
    assert powers([audio * np.float32(2.0**30)])[0] == powers([audio])[0] * 2.0**60  # float files may be louder than 1


def test_the_width_is_that_of_the_whole_file_folded_to_stereo(split, tmp_path):
    late = np.concatenate([sound(0.01, 0.0, 200_000), sound(0.1, 0.09)])
    assert encode_file(written(tmp_path / "a.wav", late), tmp_path / "a.ecdc", split, kbps=2).codebooks == (4, 4)
    center = np.zeros((30_000, 6))
    center[:, 2] = SOUNDS["mono"][0][:, 0]
    assert encode_file(written(tmp_path / "b.wav", center), tmp_path / "b.ecdc", split, kbps=2).codebooks == (7, 1)


def test_the_borders():
    for side, wanted in ((0.081, "left_right"), (0.079, "mid_side"), (0.041, "mid_side"), (0.039, "narrow")):
        assert stereo_for(1.0, side) == stereo_for(1e-30, side * 1e-30) == wanted


def test_damage_costs_what_it_costs_without_auto(split, tmp_path):
    source = written(tmp_path / "a.flac", SOUNDS["wide"][0])
    source.write_bytes(source.read_bytes()[:-5000])
    with pytest.raises(AudioError, match=r"a\.flac: damaged at"):
        encode_file(source, tmp_path / "a.ecdc", split, kbps=2)
    lines = {stereo: [] for stereo in ("auto", "left_right")}
    for stereo, lost in lines.items():
        encode_file(source, tmp_path / f"{stereo}.ecdc", split, kbps=2, stereo=stereo, lost=lost)
    assert lines["auto"] == lines["left_right"] and len(lines["auto"]) == 1
    assert (tmp_path / "auto.ecdc").read_bytes() == (tmp_path / "left_right.ecdc").read_bytes()


def test_unknown_choices_are_refused(split, tmp_path):
    source = written(tmp_path / "a.wav", SOUNDS["wide"][0])
    for stereo in ("joint", "wide"):
        with pytest.raises(ValueError, match="stereo must be one of mid_side, left_right, narrow, got"):
            encode_file(source, tmp_path / "a.ecdc", split, stereo=stereo)
    assert set(CHOICES) == {"auto", *STEREO} and not (tmp_path / "a.ecdc").exists()


@pytest.mark.parametrize("stereo", STEREO)
def test_peeled_equals_encoded_at_the_lower_bitrate(split, tmp_path, stereo):
    """Where shares differ: at higher bitrates, mid has all codebooks in both."""
    source = written(tmp_path / "a.wav", SOUNDS["usual"][0])
    encode_file(source, tmp_path / "a.ecdc", split, kbps=2.25, stereo=stereo, effort=0)
    for kbps in (2.0, 1.75, 1.5, 1.0, 0.5):
        encode_file(source, tmp_path / "low.ecdc", split, kbps=kbps, stereo=stereo, effort=0)
        with open(tmp_path / "a.ecdc", "rb") as stream:
            peel_to(Reader(stream), out := io.BytesIO(), kbps)
        assert out.getvalue() == (tmp_path / "low.ecdc").read_bytes(), kbps


def test_variable_bitrate_keeps_the_side_narrow(split, tmp_path, monkeypatch):
    def falling(estimates, audio, rate, places):
        return np.outer(np.arange(len(estimates), 0, -1.0), np.arange(1, len(places)))

    # With random networks, more codes do not reduce the distance.
    monkeypatch.setattr("ecdc.codec.codebook_allocation.mel_distances", falling)
    source = written(tmp_path / "a.wav", np.tile(SOUNDS["narrow"][0], (3, 1)))
    encode_file(source, tmp_path / "a.ecdc", split, vbr=Target(2.2))
    with open(tmp_path / "a.ecdc", "rb") as stream:
        chunks = list(reader := Reader(stream))
    assert reader.header.channel_coding is ChannelCoding.MID_SIDE
    assert {chunk.n_codebooks[1] for chunk in chunks} == {1} and max(chunk.n_codebooks[0] for chunk in chunks) > 1


def test_a_narrow_side_gets_what_mid_cannot_use(split):
    layout = layout_for(split.config, 2, "narrow")
    assert [codebooks_per_stream(split.config, layout, kbps) for kbps in (0.5, 2.25, 3, 9)] == [(1, 1), (8, 1), (8, 4), (8, 8)]
