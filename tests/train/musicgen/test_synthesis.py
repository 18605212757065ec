"""Composed music: what labels say is in the notes, captions say what labels say, and the folder of tokens is whole."""

import json
import random
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from ecdc.cli.main import main
from ecdc.plugins.musicgen.chroma import melody_classes
from ecdc.train.data.sources import Package, Source, is_validation
from ecdc.train.musicgen import caption_words, captions, compose, recorded_music, render, synthesize
from ecdc.train.musicgen.labels import Labels, Part
from ecdc.train.musicgen.music_theory import BASS_LINES, GENRES, INSTRUMENTS, MOODS, PROGRESSIONS, SCALES, TONICS, parse_chord

PIECES = [compose.compose(seed) for seed in range(300)]


def has_synthesizer():
    """Whether pieces can be played here."""
    try:
        return bool(render.find_soundfonts())
    except render.SynthesisError:
        return False


needs_synthesizer = pytest.mark.skipif(not has_synthesizer(), reason=f"no FluidSynth or soundfont: {render.MISSING}")


def tone(seconds=compose.SECONDS, pitch=69, rate=24_000):
    """A tone of a MIDI pitch [N]."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time)).astype(np.float32)


class FakePlayer:
    """Plays the first note of a piece as a tone; `played` counts, `fail_after` pieces it breaks."""

    played = 0
    fail_after = 10**9

    def __init__(self, soundfont):
        self.soundfont = soundfont

    def render(self, piece, channels):
        if FakePlayer.played >= FakePlayer.fail_after:
            raise RuntimeError("power cut")
        FakePlayer.played += 1
        wav = tone(pitch=piece.tracks[0].notes[0].pitch)
        has_melody = any(track.role == "melody" for track in piece.tracks)
        return render.Rendering(np.stack([wav, 0.5 * wav])[:channels], wav if has_melody else None)


@pytest.fixture
def fake():
    FakePlayer.played, FakePlayer.fail_after = 0, 10**9
    return FakePlayer


def make(folder, codec, player, n_pieces=6, **options):
    lines = []
    n = synthesize.synthesize(
        folder, n_pieces * compose.SECONDS / 3600, 3, codec, [folder.parent / "a.sf2"], lines.append, player=player, **options
    )
    return n, lines


def test_a_seed_is_a_piece():
    assert compose.compose(7) == compose.compose(7)
    assert len({json.dumps(piece.labels.to_dict()) + str(piece.tracks[0].notes) for piece in PIECES}) == len(PIECES)


def test_labels_survive_json():
    for piece in PIECES:
        assert Labels.from_dict(json.loads(json.dumps(piece.labels.to_dict()))) == piece.labels
    with pytest.raises(ValueError, match="unknown tempo"):
        Labels.from_dict({"tempo": 3})


def test_tempo_and_meter_are_the_grid_of_the_notes():
    for piece in PIECES:
        labels, genre = piece.labels, GENRES[piece.labels.genre]
        assert labels.meter == f"{genre.beats}/4"
        assert max(genre.tempo[0], 60) <= labels.tempo_bpm <= min(genre.tempo[1], 170)
        grid = {compose.swung(step / 4, genre.swing) for step in range(4)}
        for track in piece.tracks:
            starts = np.array([note.start for note in track.notes])
            inside = starts % 1
            assert np.abs(inside[:, None] - np.array(sorted(grid))).min(axis=1).max() < 1e-6
            assert starts.max() * 60 / labels.tempo_bpm < compose.SECONDS
            if track.role in ("bass", "chords", "drums") and "offbeat" not in (*genre.styles, *genre.bass_styles):
                bars = set(np.floor(starts[starts % genre.beats == 0] / genre.beats))
                assert len(bars) >= int(compose.SECONDS * labels.tempo_bpm / 60 / genre.beats)  # every bar has a first beat


def test_pieces_begin_at_once():
    assert all(min(note.start for track in piece.tracks for note in track.notes) == 0 for piece in PIECES)


def test_parts_sound_as_labelled():
    for piece in PIECES:
        assert len(piece.tracks) == len(piece.labels.instruments)
        for track, part in zip(piece.tracks, piece.labels.instruments, strict=True):
            instrument = INSTRUMENTS[part.name]
            assert (track.role, track.program, part.family) == (part.role, instrument.program, instrument.family)
            assert track.is_drum == (part.family == "drums") == (track.channel == compose.DRUM_CHANNEL)
            assert track.notes and all(1 <= n.velocity <= 127 and 0 <= n.pitch <= 127 and n.duration > 0 for n in track.notes)
            if part.role == "melody":
                assert all(instrument.low <= note.pitch <= instrument.high for note in track.notes)


def test_notes_are_of_the_key_and_its_chords():
    for piece in PIECES:
        labels = piece.labels
        tonic = TONICS[labels.mode].index(labels.tonic)
        scale = {(tonic + step) % 12 for step in SCALES[labels.mode]}
        loops = [loop for kind in MOODS[labels.mood].progressions for loop in PROGRESSIONS.get((kind, labels.mode), ())]
        allowed = scale | {c for loop in loops for numeral in loop.split() for c in parse_chord(numeral, tonic).classes}
        pitches = [note.pitch % 12 for track in piece.tracks if not track.is_drum for note in track.notes]
        # A fifth under a chord that the key lacks is the one note of a bass line that may lie outside.
        assert np.mean([pitch in allowed for pitch in pitches] or [1]) > 0.93, labels
    assert labels.mode in MOODS[labels.mood].modes


def test_sizes_are_those_of_the_plan():
    sizes = Counter()
    for piece in PIECES:
        families = {part.family for part in piece.labels.instruments}
        sizes["drums" if "drums" in families else "solo" if len(families) == 1 else "ensemble"] += 1 / len(PIECES)
    assert 0.35 < sizes["solo"] < 0.55 and 0.25 < sizes["ensemble"] < 0.45 and 0.12 < sizes["drums"] < 0.28
    assert 0.5 < np.mean([piece.labels.channels == 1 for piece in PIECES]) < 0.7


def test_every_genre_and_mood_can_be_composed():
    for genre in GENRES.values():
        for name in genre.moods:
            low, high = (pick(a, b) for pick, a, b in zip((max, min), genre.tempo, MOODS[name].tempo, strict=True))
            assert low + 3 < high, (genre, name)
            assert any((kind, mode) in PROGRESSIONS for mode in MOODS[name].modes for kind in MOODS[name].progressions)
        assert {*genre.melody, *genre.chords, genre.bass, genre.kit} <= set(INSTRUMENTS)
        assert set(genre.bass_styles) <= set(BASS_LINES)


def test_swing_moves_the_middle_of_beats_alone():
    assert [compose.swung(beat, 0.65) for beat in (0, 0.5, 1, 1.5)] == pytest.approx([0, 0.65, 1, 1.65])
    assert compose.swung(2.25, 0.5) == 2.25


@pytest.mark.parametrize("bad", ["H", "viii", "M7", ""])
def test_what_is_no_chord_is_refused(bad):
    with pytest.raises(ValueError, match="is not a chord"):
        parse_chord(bad, 0)


def test_chords_are_spelled():
    assert parse_chord("V", 0).classes == (7, 11, 2)
    assert parse_chord("bVII", 9).classes == (7, 11, 2)
    assert parse_chord("ii7", 0).classes == (2, 5, 9, 0)


def test_captions_differ_and_a_seed_is_a_caption():
    labels = PIECES[1].labels
    found = [captions.caption(labels, random.Random(seed)) for seed in range(400)]
    assert len(set(found)) > 300
    assert found == [captions.caption(labels, random.Random(seed)) for seed in range(400)]
    lengths = Counter(min(len(text.split()), 20) // 5 for text in found)
    assert min(lengths[bucket] for bucket in (0, 1, 2)) > 30  # short ones are as usual as long ones
    assert any(text == text.lower() for text in found) and any(text.endswith(".") for text in found)


def test_captions_say_nothing_that_labels_do_not():
    rng = random.Random(0)
    for piece in PIECES:
        labels, text = piece.labels, f" {captions.caption(piece.labels, rng).lower().replace('.', ' ').replace(',', ' ')} "
        for other, choices in caption_words.MOODS.items():
            own = {*caption_words.MOODS[labels.mood], *(w for choices in caption_words.GENRES[labels.genre] for w in choices)}
            own |= {w for limit, tempi in caption_words.TEMPI for w in tempi}
            strange = [word for word in choices if other != labels.mood and word not in own and f" {word} " in text]
            assert not strange, (text, labels)
        numbers = [int(word.removesuffix("bpm")) for word in text.split() if word.removesuffix("bpm").isdigit()]
        assert set(numbers) <= {labels.tempo_bpm}, text
        assert labels.channels == 2 or "stereo" not in text
        assert {"major": " minor ", "minor": " major "}[labels.mode] not in text
        families = {part.family for part in labels.instruments}
        for word, family in {"flute": "flute", "guitar": "guitar", "organ": "organ", "violin": "strings"}.items():
            assert family in families or f" {word} " not in text.replace(" bass guitar ", " ")


def test_held_out_words_are_never_said():
    rng = random.Random(1)
    text = " ".join(captions.caption(piece.labels, rng).lower() for piece in PIECES for _ in range(20))
    for held_out in captions.HELD_OUT.values():
        assert held_out and not any(word in text for word in held_out)


def test_all_labels_have_words():
    for said, known in ((caption_words.MOODS, MOODS), (caption_words.GENRES, GENRES), (caption_words.INSTRUMENTS, INSTRUMENTS)):
        assert set(said) == set(known)


def test_recorded_pieces_are_called_by_their_title():
    assert recorded_music.title_of("p/usr/07_Dark-ForestTheme2.ogg") == "dark forest theme"
    found = {captions.caption(Labels(title="dark forest", package="x-music"), random.Random(seed)) for seed in range(50)}
    assert len(found) > 5 and all("dark forest" in text.lower() for text in found)
    assert captions.caption(Labels(package="x-music"), random.Random(0))


def test_a_folder_holds_what_its_rows_say(tmp_path, codec, fake):
    n, _ = make(tmp_path / "a", codec, fake)
    rows = synthesize.read_rows(tmp_path / "a" / "pieces.jsonl")
    codes, channels, melody = (np.load(tmp_path / "a" / f"{name}.npy") for name in ("codes", "channels", "melody"))
    assert n == len(rows) == 6 and codes.shape == (6, 2, 4, 1500) and codes.dtype == np.uint16
    assert melody.shape == (6, 235) and melody.dtype == channels.dtype == np.uint8
    for row, stereo, own, line in zip(rows, codes, channels, melody, strict=True):
        labels = Labels.from_dict(row["labels"])
        assert labels == compose.compose(row["seed"]).labels and own == labels.channels
        assert stereo[1].any() == (own == 2)
        first = compose.compose(row["seed"]).tracks[0].notes[0].pitch
        has_melody = any(part.role == "melody" for part in labels.instruments)
        assert set(np.unique(line)) == {first % 12 if has_melody else synthesize.NO_MELODY}
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "codes.npy", "channels.npy", "melody.npy", "pieces.jsonl", "settings.json"
    }  # fmt: skip


def test_a_broken_run_goes_on_and_equals_an_unbroken_one(tmp_path, codec, fake):
    make(tmp_path / "whole", codec, fake)
    fake.played, fake.fail_after = 0, synthesize.BATCH
    with pytest.raises(RuntimeError, match="power cut"):
        make(tmp_path / "broken", codec, fake)
    assert not (tmp_path / "broken" / "pieces.jsonl").exists()
    fake.played, fake.fail_after = 0, 10**9
    make(tmp_path / "broken", codec, fake)
    assert fake.played == 6 - synthesize.BATCH
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "broken" / path.name).read_bytes()
    _, lines = make(tmp_path / "broken", codec, fake)
    assert "finished before" in lines[0] and fake.played == 6 - synthesize.BATCH
    with pytest.raises(ValueError, match="was started with hours"):
        make(tmp_path / "broken", codec, fake, n_pieces=7)


def test_a_refused_length_leaves_nothing(tmp_path, codec, fake):
    with pytest.raises(ValueError, match="0 hours of music are less than one piece of 20 s; give more --hours"):
        make(tmp_path / "a", codec, fake, n_pieces=0)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", [synthesize.SETTINGS, synthesize.PLAN, synthesize.DONE])
def test_a_damaged_folder_is_one_line(tmp_path, codec, fake, name):
    fake.played, fake.fail_after = 0, synthesize.BATCH
    with pytest.raises(RuntimeError, match="power cut"):
        make(tmp_path / "a", codec, fake)
    (tmp_path / "a" / name).write_bytes(b"[")
    with pytest.raises(ValueError, match=f"{name}: is damaged; delete {tmp_path / 'a'}, or give another --output"):
        make(tmp_path / "a", codec, fake)


def test_one_in_fifty_is_for_validation(tmp_path, codec, fake):
    fake.fail_after = 0
    with pytest.raises(RuntimeError):
        make(tmp_path / "a", codec, fake, n_pieces=100)
    splits = [row["split"] for row in synthesize.read_rows(tmp_path / "a" / synthesize.PLAN)]
    assert Counter(splits) == {"train": 98, "valid": 2}


@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_silent_frames_have_no_melody_however_loud_the_others_are(gain):
    wav = np.float32(gain) * np.concatenate([tone(10, 60), np.zeros(240_000, np.float32)])
    line = synthesize.stored_melody(wav, 24_000, len(wav))
    assert set(line[:115]) == {0} and set(line[122:]) == {synthesize.NO_MELODY}
    assert set(synthesize.stored_melody(0 * wav, 24_000, len(wav))) == {synthesize.NO_MELODY}


def test_training_and_inference_find_the_same_melody():
    rng = np.random.default_rng(0)
    loudness = np.repeat(10.0 ** rng.uniform(-4, 0, 40), 6_000)  # parts of it are silent compared with the loudest
    wav = (loudness * tone(10, 62)).astype(np.float32)
    stored = synthesize.stored_melody(wav, 24_000, len(wav)).astype(int)
    found = melody_classes(torch.from_numpy(wav), 24_000, n_fft=synthesize.CHROMA_FFT).tolist()
    assert [-1 if x == synthesize.NO_MELODY else x for x in stored] == found and -1 in found and 2 in found


@pytest.fixture
def tree(tmp_path):
    """A tree of packages with 45 s in stereo and 25 s in mono at 44.1 kHz, and a file that is too short."""
    folder = tmp_path / "tree" / "nexuiz-music"
    folder.mkdir(parents=True)
    left, right = tone(45, rate=44_100), tone(45, 72, 44_100)
    soundfile.write(folder / "long_song.flac", np.stack([left, right], axis=1), 44_100)
    soundfile.write(folder / "short_song.flac", np.stack([left, left], axis=1)[: 25 * 44_100], 44_100)
    soundfile.write(folder / "blip.flac", left[:44_100], 44_100)
    return tmp_path / "tree"


def test_recordings_are_cut_and_keep_channels_and_split(tree, tmp_path, codec, fake):
    sources = recorded_music.music_sources(tree)
    cuts = list(recorded_music.recorded_cuts(sources, 1.0))
    assert [(c.labels.title, c.start, c.labels.channels) for c in sorted(cuts, key=lambda c: (c.name, c.start))] == [
        ("long song", 0.0, 2), ("long song", 20.0, 2), ("short song", 0.0, 1),
    ]  # fmt: skip
    assert all(c.is_validation == is_validation(c.name) for c in cuts)
    assert len(list(recorded_music.recorded_cuts(sources, 25 / 3600))) == 1
    wav = recorded_music.read_cut(sources[cuts[-1].name], 20.0, 24_000)
    assert wav.shape == (2, 480_000) and np.abs(wav[0] - tone(40)[480_000:]).max() < 0.01
    n, _ = make(tmp_path / "a", codec, fake, n_pieces=1, recorded_hours=1.0, tree=tree)
    assert n == 4 and (np.load(tmp_path / "a" / "melody.npy")[1:] == synthesize.NO_MELODY).all()
    assert sorted(np.load(tmp_path / "a" / "channels.npy")[1:]) == [1, 2, 2]


def test_no_music_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="ecdc train fetch"):
        recorded_music.music_sources(tmp_path)
    with pytest.raises(ValueError, match="shorter than when"):
        recorded_music.read_cut(Source(Package("p", "music", ""), tmp_path / "none.ogg", None, "p/none.ogg"), 0.0, 24_000)


def test_missing_soundfonts_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(render, "_library", lambda: None)
    monkeypatch.setattr("sys.argv", ["ecdc"])
    with pytest.raises(SystemExit) as stop:
        main(["train", "synthesize", "--output", str(tmp_path / "a"), "--soundfont", str(tmp_path / "none.sf2")])
    assert stop.value.code == 1 and not (tmp_path / "a").exists()
    assert capsys.readouterr().err == f"ecdc: {tmp_path / 'none.sf2'}: no such soundfont\n"
    monkeypatch.setattr(render, "SOUNDFONTS", ())
    with pytest.raises(render.SynthesisError, match="apt-get install"):
        render.find_soundfonts()


def test_a_missing_synthesizer_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.sf2").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(render.SynthesisError, match=r"apt-get install .*-e .\.\[train\]"):
        render.Renderer(tmp_path / "a.sf2")


@pytest.fixture(scope="module")
def renderer():
    return render.Renderer(min(render.find_soundfonts(), key=lambda path: path.stat().st_size))


@needs_synthesizer
def test_a_rendering_depends_on_its_piece_alone(renderer):
    first = renderer.render(PIECES[1], 2)
    renderer.render(PIECES[2], 1)
    again = renderer.render(PIECES[1], 2)
    assert np.array_equal(first.mix, again.mix) and np.array_equal(first.melody, again.melody)
    assert np.allclose(renderer.render(PIECES[1], 1).mix.std() / first.mix.std(), 1, atol=0.5)


@needs_synthesizer
def test_renderings_are_loud_enough_and_never_clip(renderer):
    for piece in PIECES[:6]:
        mix = renderer.render(piece, piece.labels.channels).mix
        assert mix.shape == (piece.labels.channels, 480_000) and mix.dtype == np.float32
        assert np.abs(mix).max() <= render.MAX_PEAK + 1e-6
        assert -30 < 20 * np.log10(np.sqrt(np.mean(mix**2))) < -16
        assert np.abs(mix[:, :2400]).max() > 0.01  # sounds from the first moment


@needs_synthesizer
def test_the_melody_is_heard_in_its_chroma(renderer):
    piece = next(p for p in PIECES if p.labels.instruments[0] == Part("melody", "piano", "piano"))
    line = synthesize.stored_melody(renderer.render(piece, 1).melody, 24_000, 480_000)
    samples_per_beat = 24_000 * 60 / piece.labels.tempo_bpm
    heard = [
        line[min(234, round((note.start + note.duration / 2) * samples_per_beat / 2048))] == note.pitch % 12
        for note in piece.tracks[0].notes
    ]
    assert np.mean(heard) > 0.8


@needs_synthesizer
def test_what_is_no_soundfont_is_one_line(tmp_path):
    (tmp_path / "a.sf2").write_bytes(b"RIFF of another kind")
    with pytest.raises(render.SynthesisError, match="FluidSynth can read"):
        render.Renderer(tmp_path / "a.sf2")
