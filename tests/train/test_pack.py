"""Masters and packs: what is kept of a file, what an interruption costs, and what counts as full band."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import soxr
from ecdc.train.data.decode import bandwidth
from ecdc.train.data.memory_maps import AudioMaps, read_index, sample_rate_of
from ecdc.train.data.pack import (
    build_masters,
    derive_pack,
    find_or_derive_pack,
    pack_group,
    pack_path,
    pack_sources,
    read_master,
)
from ecdc.train.data.packed_audio import EmptyData, PackedAudio
from ecdc.train.data.sources import Package, Source, folder_sources


def quiet(line):
    """Report nothing."""


def noise(seconds, sample_rate, channels=1, seed=0):
    """White noise [N, C]."""
    return 0.2 * np.random.default_rng(seed).standard_normal((round(seconds * sample_rate), channels)).clip(-4, 4)


@pytest.fixture
def sources(tmp_path):
    """A stereo file at 44.1 kHz, one with equal sides at 48 kHz, and a mono one at 16 kHz, in three groups."""
    made = []
    for group, rate, audio in (
        ("music", 44_100, noise(1.0, 44_100, 2)),
        ("sounds", 48_000, np.repeat(noise(0.5, 48_000, 1, 1), 2, axis=1)),
        ("speech", 16_000, noise(0.7, 16_000, 1, 2)),
    ):
        path = tmp_path / f"{group}.wav"
        soundfile.write(path, audio, rate)
        made.append(Source(Package("p", group, "CC0"), path, None, f"p/{group}.wav"))
    return made


def test_masters_hold_what_was_recorded(sources, tmp_path):
    build_masters(sources, tmp_path / "masters", quiet)
    rows = {row["group"]: row for row in read_index(tmp_path / "masters")}
    assert sample_rate_of(tmp_path / "masters") == 48_000
    assert {group: (row["channels"], row["native_rate"], row["length"]) for group, row in rows.items()} == {
        "music": (2, 44_100, 48_000), "sounds": (1, 48_000, 24_000), "speech": (1, 16_000, 33_600),
    }  # fmt: skip
    assert all(row["licence"] == "CC0" and row["package"] == "p" for row in rows.values())
    assert rows["speech"]["bandwidth"] <= 8000 < 20_000 < rows["music"]["bandwidth"]
    kept = read_master(tmp_path / "masters", rows["sounds"])
    wanted = soundfile.read(sources[1].path, dtype="int16", always_2d=True)[0][:, :1]
    assert np.abs(kept[300:-300].astype(int) - wanted[300:-300]).max() <= 2


def test_an_interrupted_run_goes_on_to_the_same_bytes(sources, tmp_path):
    build_masters(sources, tmp_path / "whole", quiet)
    cut = tmp_path / "cut"
    build_masters(sources[:2], cut, quiet)
    with open(cut / "music.train.i16", "ab") as stream:
        stream.write(b"written without a row")
    with open(cut / "index.jsonl", "ab") as stream:
        stream.write(b'{"name": "p/half a ro')
    build_masters(sources, cut, quiet)
    for name in ("index.jsonl", "music.train.i16", "sounds.train.i16", "speech.train.i16"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_maps_that_lost_audio_are_refused(sources, tmp_path):
    build_masters(sources[:1], tmp_path, quiet)
    (tmp_path / "music.train.i16").write_bytes(b"")
    with pytest.raises(ValueError, match=r"shorter than index\.jsonl says"), AudioMaps(tmp_path, 48_000):
        pass


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_a_pack_is_the_masters_in_mono_at_its_rate(sources, tmp_path, sample_rate):
    masters, folder = tmp_path / "masters", tmp_path / "packed"
    build_masters(sources[:2], masters, quiet)
    derive_pack(masters, folder, sample_rate, quiet)
    build_masters(sources, masters, quiet)  # masters may grow
    derive_pack(masters, folder, sample_rate, quiet)
    lines = []
    derive_pack(masters, folder, sample_rate, lines.append)
    assert lines == [f"{folder} is already packed"]
    rows = {row["name"]: row for row in read_index(folder)}
    assert [rows[s.name]["length"] for s in sources] == [sample_rate, sample_rate // 2, round(0.7 * sample_rate)]
    assert [rows[s.name]["group"] for s in sources] == ["music", "sounds", "speech16k"]
    data = PackedAudio.open(folder, "train", 100)
    assert data.sample_rate == sample_rate
    master = read_master(masters, read_index(masters)[0]).astype(float).mean(1)
    expected = soxr.resample(master, 48_000, sample_rate, quality="VHQ")
    error = data.maps["music"][300:-300] - expected[300:-300]
    assert np.square(error).mean() < 1e-4 * np.square(expected).mean()


@pytest.mark.parametrize("edge", [4000, 8000, 11_025, 16_000, 18_000])
@pytest.mark.parametrize("dithered", [False, True])
def test_bandwidth_finds_the_edge_of_a_low_pass(edge, dithered):
    audio = soxr.resample(noise(2.0, 2 * edge), 2 * edge, 44_100, quality="VHQ")
    if dithered:
        audio = np.round(audio * 32767 + np.random.default_rng(1).uniform(-1, 1, audio.shape)) / 32767
    assert abs(bandwidth(audio.astype(np.float32), 44_100) - edge) < 0.1 * edge


def test_bandwidth_of_a_natural_slope_is_the_whole_band():
    spectra = np.fft.rfft(noise(2.0, 48_000)[:, 0])
    fall = 10 ** (-np.linspace(0, 70, len(spectra)) / 20)  # 70 dB over the band: a voice
    assert bandwidth(np.fft.irfft(spectra * fall)[:, None].astype(np.float32), 48_000) > 22_000


def test_speech_fills_the_band_of_a_pack_or_stands_apart():
    def group(bandwidth, sample_rate):
        return pack_group({"group": "speech", "bandwidth": bandwidth}, sample_rate)

    assert [group(hz, 24_000) for hz in (8000, 11_000, 16_000)] == ["speech16k", "speech", "speech"]
    assert [group(hz, 48_000) for hz in (8000, 11_000, 16_000, 20_000)] == ["speech16k", "speech16k", "speech16k", "speech"]
    assert pack_group({"group": "music", "bandwidth": 5000}, 48_000) == "music"


def test_the_pack_of_a_recipe_is_found_made_or_refused(sources, tmp_path):
    masters = tmp_path / "audio" / "masters"
    build_masters(sources, masters, quiet)
    made = find_or_derive_pack(tmp_path / "audio", 48_000, quiet)
    assert made == pack_path(tmp_path / "audio", 48_000) == tmp_path / "audio" / "packed48"
    assert find_or_derive_pack(made, 48_000, quiet) == made
    assert find_or_derive_pack(made, 24_000, quiet) == tmp_path / "audio" / "packed"
    shutil.rmtree(masters)  # packs that were made stay of use
    for place in (tmp_path / "audio", made, tmp_path / "audio" / "packed"):
        assert find_or_derive_pack(place, 48_000, quiet) == made
    alone = tmp_path / "alone"
    pack_sources(sources, alone, quiet, 24_000)
    with pytest.raises(ValueError, match="packed at 24000 Hz, but 48000 Hz are wanted"):
        find_or_derive_pack(alone, 48_000, quiet)
    with pytest.raises(EmptyData):
        PackedAudio.open(find_or_derive_pack(tmp_path / "nothing", 24_000, quiet), "train", 1)


def test_a_users_folder_is_packed_at_the_rate_that_is_asked_for(sources, tmp_path):
    found = folder_sources(tmp_path)
    for _ in range(2):
        pack_sources(found, tmp_path / "packed", quiet, 48_000)
    assert sum(row["length"] for row in read_index(tmp_path / "packed")) == 48_000 + 24_000 + 33_600
    assert json.loads((tmp_path / "packed" / "format.json").read_text()) == {"sample_rate": 48_000}
    with pytest.raises(ValueError, match="holds audio at 48000 Hz"):
        pack_sources(found, tmp_path / "packed", quiet, 24_000)
    pack_sources(found[:2], tmp_path / "packed", quiet, 48_000)  # a file is gone: packed again without it
    assert len(read_index(tmp_path / "packed")) == 2


def test_files_that_cannot_be_packed_are_counted_and_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "talk.m4a").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds no audio files"):
        folder_sources(tmp_path)
    soundfile.write(tmp_path / "a.wav", noise(0.5, 24_000), 24_000)
    lines = []
    assert len(folder_sources(tmp_path, lines.append)) == 1
    assert lines[0].startswith("ignored 1 files")


def test_a_pack_of_one_file_asks_for_a_second_one(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(0.5, 24_000), 24_000)
    pack_sources(folder_sources(tmp_path), tmp_path / "packed", quiet)
    with pytest.raises(EmptyData, match="at least two"):
        PackedAudio.open(tmp_path / "packed", "valid", 1)


def test_a_usable_file_is_held_out_whatever_else_is_in_the_folder(tmp_path):
    """Not one that is too short, or a copy of another one, and also if the files came one after the other."""
    audio, other = tmp_path / "audio", tmp_path / "other"
    for folder in (audio, other):
        folder.mkdir()
        soundfile.write(folder / "a.wav", noise(0.5, 24_000), 24_000)
    for i in range(10):  # one of these would be held out
        soundfile.write(audio / f"short {i}.wav", noise(0.1, 24_000), 24_000)
        soundfile.write(other / f"copy {i}.wav", noise(0.5, 24_000), 24_000)
    for folder in (audio, other):
        pack_sources(folder_sources(folder), tmp_path / f"{folder.name} packed", quiet)
        soundfile.write(folder / "b.wav", noise(0.5, 24_000, seed=1), 24_000)
        pack_sources(folder_sources(folder), tmp_path / f"{folder.name} packed", quiet)
        rows = read_index(tmp_path / f"{folder.name} packed")
        assert sorted(row["split"] for row in rows) == ["train", "valid"]
        for split in ("train", "valid"):
            assert len(PackedAudio.open(tmp_path / f"{folder.name} packed", split, 12_000).maps["data"]) == 12_000


def test_a_folder_without_a_usable_file_is_an_error(tmp_path):
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "a.wav", noise(0.1, 24_000), 24_000)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no file could be packed; .*skipped\.jsonl says why"):
            pack_sources(folder_sources(tmp_path / "audio"), tmp_path / "packed", quiet)


@pytest.mark.parametrize(
    ("name", "text"),
    [("index.jsonl", "{\n"), ("index.jsonl", "[]\n"), ("skipped.jsonl", "}\n"), ("format.json", "{"), ("format.json", "[]")],
)
def test_a_damaged_pack_is_one_line(tmp_path, name, text):
    (tmp_path / "audio").mkdir()
    for i in range(2):
        soundfile.write(tmp_path / "audio" / f"{i}.wav", noise(0.5, 24_000, seed=i), 24_000)
    pack_sources(folder_sources(tmp_path / "audio"), tmp_path / "packed", quiet)
    (tmp_path / "packed" / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}: .*is damaged; delete {tmp_path / 'packed'} and make it again"):
        pack_sources(folder_sources(tmp_path / "audio"), tmp_path / "packed", quiet)


def test_masters_are_not_read_as_packed_audio(sources, tmp_path):
    build_masters(sources, tmp_path / "masters", quiet)
    with pytest.raises(EmptyData, match="holds masters in stereo, not packed audio"):
        PackedAudio.open(tmp_path / "masters", "train", 100)


def test_too_little_audio_says_how_much_is_needed(tmp_path):
    (tmp_path / "data.train.i16").write_bytes(bytes(48_001))  # the odd byte is of a sample that is being written
    assert len(PackedAudio.open(tmp_path, "train", 24_000).maps["data"]) == 24_000
    with pytest.raises(EmptyData, match=r"too little audio in the train split: 1\.0 s, 20\.0 s are needed"):
        PackedAudio.open(tmp_path, "train", 480_000)
