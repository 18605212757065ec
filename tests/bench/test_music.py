"""The ears of the music bench hear what is known to be there, and a table comes of a model that knows nothing."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ecdc.bench import music, music_measures, music_pieces, music_table
from ecdc.plugins.musicgen import MusicGen, MusicGenConfig, MusicGenLM
from ecdc.plugins.musicgen.generate import Options
from ecdc.train.musicgen.render import MISSING, Rendering, SynthesisError

RATE = 24_000
RNG = np.random.default_rng(0)


def clicks(bpm, seconds=8.0):
    """A tone that is struck on each beat [N]."""
    time = np.arange(round(seconds * RATE)) / RATE
    since = time % (60 / bpm)
    return (0.5 * np.exp(-30 * since) * np.sin(2 * np.pi * 500 * since)).astype(np.float32)


def tune(pitches, seconds=4.0, partials=1):
    """MIDI pitches one after the other, as long each, in `seconds` [N]."""
    time = np.arange(round(seconds * RATE)) / RATE
    hertz = 440 * 2 ** ((np.array(pitches)[(time / seconds * len(pitches)).astype(int)] - 69) / 12)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    return (0.3 * sum(np.sin(k * phase) / k for k in range(1, partials + 1))).astype(np.float32)


@pytest.mark.parametrize("bpm", [64, 84, 100, 120, 138])
def test_a_click_track_has_its_tempo(bpm):
    noisy = clicks(bpm) + 0.01 * RNG.standard_normal(8 * RATE).astype(np.float32)
    assert music_measures.tempo(noisy, RATE) == pytest.approx(bpm, rel=0.02)


def test_near_tempi():
    assert music_table.near(107, 100) and not music_table.near(109, 100) and not music_table.near(51, 100)
    assert music_table.near(51, 100, music_table.OCTAVES) and not music_table.near(75, 100, music_table.OCTAVES)


def test_a_melody_is_nearer_to_itself_than_to_another():
    melody, other = tune([60, 64, 67, 72]), tune([66, 61, 70, 63])
    own, strange = (music_measures.chroma_energy(wav, RATE) for wav in (melody, other))
    octave_up = music_measures.chroma_energy(0.1 * tune([72, 76, 79, 84], partials=2), RATE)
    assert music_measures.similarity(own, own) == pytest.approx(1)
    assert music_measures.similarity(octave_up, own) > 0.8 > 0.4 > music_measures.similarity(strange, own)
    silence = torch.zeros_like(own)
    assert music_measures.similarity(silence, own) == 0 and music_measures.similarity(own, silence) == 0


def test_timbres_are_told_apart_at_any_level():
    def notes(kind):
        wav = tune(RNG.integers(55, 80, 4), 1.0, {"flute": 1, "brass": 12}.get(kind, 1))
        wav = RNG.standard_normal(len(wav)) * np.abs(clicks(120, 1.0)) if kind == "drums" else wav
        return RNG.uniform(0.01, 1) * wav

    kinds = ["flute", "brass", "drums"] * 16
    features = np.stack([music_measures.timbre(notes(kind), RATE) for kind in kinds])
    classifier = music_measures.Classifier.train(features[:24], kinds[:24])
    assert classifier(features[24:]) == kinds[24:]
    again = music_measures.Classifier.train(features[:24], kinds[:24])
    assert torch.equal(classifier.weight, again.weight)


def test_distances_of_sets():
    a = RNG.standard_normal((200, 5))
    assert music_measures.frechet(a, a) == pytest.approx(0, abs=1e-9)
    apart = [music_measures.frechet(a, a + shift) for shift in (0, 1, 2)]
    assert apart == pytest.approx([0, 5, 20], abs=1e-6)
    wide = 2 * (a - a.mean(0)) + a.mean(0)
    assert music_measures.frechet(a, wide) == pytest.approx(np.trace(np.cov(a.T)))
    assert music_measures.frechet(a, wide) == pytest.approx(music_measures.frechet(wide, a))
    embedding = music_measures.Embedding.of(a, 3)
    assert embedding(a).shape == (200, 3) and np.allclose(embedding(a).mean(0), 0)


def test_levels_and_width():
    tone = tune([69], 2.0)
    found = music_measures.levels(np.stack([tone, tone]), RATE)
    assert found["rms_db"] == pytest.approx(20 * math.log10(0.3 / math.sqrt(2)), abs=0.01)
    assert found["width"] == found["silent"] == found["clipped"] == 0
    assert music_measures.levels(np.stack([tone, 0 * tone]), RATE)["width"] == pytest.approx(1)
    assert music_measures.levels(np.concatenate([tone, 0 * tone])[None], RATE)["silent"] == 0.5
    assert music_measures.levels(np.ones((1, RATE), np.float32), RATE)["clipped"] == 1
    assert music_measures.levels(np.zeros((2, RATE), np.float32), RATE)["rms_db"] == -120


def test_prompts_say_what_is_wanted():
    n = 2 * len(music_pieces.FAMILIES)
    solos = music_pieces.balanced(9_000_000, n)
    families = [music_pieces.family_of(piece) for piece in solos]
    assert all(families.count(family) == 2 for family in music_pieces.FAMILIES)
    for piece in solos:
        text = music_pieces.prompt(piece, music_pieces.names_family)
        assert text == music_pieces.prompt(piece, music_pieces.names_family) and music_pieces.names_family(piece.labels, text)
        assert str(piece.labels.tempo_bpm) in music_pieces.prompt(piece, music_pieces.names_tempo)
    labels = SimpleNamespace(instruments=[SimpleNamespace(name="flute")])
    assert music_pieces.names_family(labels, "Sad FLUTE") and not music_pieces.names_family(labels, "sad woodwind, fluted")


class FakeRenderer:
    """Tones instead of a piece."""

    played: list = []  # noqa: RUF012 - of all of them

    def __init__(self, *about):
        pass

    def render(self, piece, channels):
        self.played.append(piece.seed)
        wav = tune([60 + piece.seed % 12], 4.0)
        return Rendering(np.stack([wav, 0.5 * wav])[:channels], wav)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of pieces that are played as tones."""
    FakeRenderer.played.clear()
    monkeypatch.setattr(music_pieces, "_renderer", FakeRenderer)
    return music_pieces.Store(tmp_path / "cache", [tmp_path / "a.sf2"])


def test_what_was_played_is_kept_until_something_changes(store, tmp_path):
    orders = [music_pieces.Order(5), music_pieces.Order(6, 2, True)]
    for _ in range(2):
        store.prepare(orders, 1, print)
    assert FakeRenderer.played == [5, 6]
    mono, stereo = map(store.get, orders)
    assert mono.codes.shape == (1, 4, 300) and len(mono.melody) == 0
    assert stereo.codes.shape == (2, 4, 300) and len(stereo.melody) == 4 * RATE
    (store.folder / orders[0].file).write_bytes(b"broken")
    assert not store.has(orders[0]) and store.has(orders[1])
    assert not music_pieces.Store(store.folder, [tmp_path / "b.sf2"]).has(orders[1])


def small_model():
    """musicgen-nano's kind, of random weights, over the first codes of nano-24k."""
    config = MusicGenConfig(
        "tiny", 32, 2, 2, 64, codebook_size=64, delays=(0, 0, 1, 1, 2, 2, 3, 3), channels=2, mono=True, cross_attention=False,
        text_tokens=6, text_dimension=8, n_chroma=12, chroma_window=8192, melody_fusion="sum", sample_rate=RATE, frame_rate=75,
        max_seconds=2.0, stride_seconds=1.0,
    )  # fmt: skip
    torch.manual_seed(0)
    return MusicGen(MusicGenLM(config), lambda: lambda text: torch.ones(3, 8), music.loaded("nano-24k"))


def test_a_whole_bench_becomes_a_table(store, monkeypatch):
    monkeypatch.setattr(music, "SECONDS", 4.0)
    plan = music.Plan.of(9, 4, 8)
    store.prepare(plan.orders(), 1, print)
    bench = music.Bench(small_model(), Options(2.0), store, 4, print)
    found = {"about": music.about(bench, 4, 9), **music.measure(bench, plan, 9)}
    assert found["about"]["guidance"] == 3 and len(found["melody"]) == 4 and len(found["levels"]["mono"]) == 12
    assert {row["seed"] for row in found["tempo"]} == {piece.seed for piece in plan.tempo}
    found["speed"] = {"first audio": [1.0, 3.0, 2.0], "mono": 4.0, "stereo": 2.5}
    table = music_table.markdown(found)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1 and "25%" in table and "| 2.0 |" in table and "4.0, 2.5" in table
    assert "| 0.000 |" not in table  # nothing is mono that was asked for in stereo


def test_a_missing_synthesiser_or_model_is_one_line(monkeypatch, tmp_path):
    def missing():
        raise SynthesisError(f"FluidSynth is not installed: {MISSING}")

    monkeypatch.setattr(music, "find_soundfonts", missing)
    found = CliRunner().invoke(music.main, [])
    assert found.exit_code == 1 and found.output == f"Error: FluidSynth is not installed: {MISSING}\n"
    monkeypatch.setattr(music, "find_soundfonts", lambda: [])
    found = CliRunner().invoke(music.main, ["--model", str(tmp_path)])
    assert found.exit_code == 1 and found.output.startswith(f"Error: {tmp_path}: holds none") and found.output.count("\n") == 1


def test_the_models_own_settings_hold_unless_others_are_given():
    model = small_model()
    options = music.options_for(model, 3.0, {"guidance": None, "top_k": 5, "temperature": None})
    assert (options.guidance.scale, options.sampling.top_k, options.sampling.temperature) == (3.0, 5, 1.0)
