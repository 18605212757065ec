"""The tempo that a prompt names: found in its words, and told to every column."""

import pytest
import torch
from ecdc.plugins.musicgen import GREEDY, Guidance, MusicGen, Options
from ecdc.plugins.musicgen.beats import beat_phases, tempo_of
from ecdc.plugins.musicgen.conditioning import Conditioner
from nano_models import FRAMES, nano, tone, words


@pytest.mark.parametrize(
    ("prompt", "bpm"),
    [
        ("slow sad piano, 70 bpm", 70), ("a waltz at 92.5 BPM", 92.5), ("120bpm techno", 120), ("85 beats per minute", 85),
        ("an 80-bpm march", 80), ("from 60 bpm to 90 bpm", 60), ("10 bpm, no, 90 bpm", 90), ("2120 bpm", None),
        ("90 pianos", None), ("bpm 90", None), ("", None), (None, None), ("9" * 5000 + " bpm", None),
    ],
)  # fmt: skip
def test_tempos_are_found(prompt, bpm):
    assert tempo_of(prompt) == bpm


@pytest.mark.parametrize("bpm", [47, 60, 92.5, 120, 171])
def test_phases_go_round_once_a_beat(bpm):
    """From any frame on they are those of the whole; beats begin where they should."""
    whole = beat_phases(bpm, 0, 3000, 75, 24)
    assert torch.equal(whole[1234:], beat_phases(bpm, 1234, 3000 - 1234, 75, 24))
    assert set(whole.tolist()) <= set(range(24))
    beats = 1 + torch.nonzero(whole[1:] < whole[:-1])[:, 0]
    expected = torch.arange(1, len(beats) + 1, dtype=torch.float64) * 60 / bpm * 75 - 0.5  # middles of frames
    assert ((beats - expected >= -1e-9) & (beats - expected < 1)).all()
    assert (beat_phases(None, 5, 10, 75, 24) == -1).all()


def test_a_prompts_tempo_is_told_with_the_melody_and_not_without_the_text():
    model = nano()
    conditioner = Conditioner(model.lm, words(None), ["90 bpm", "piano"], [tone(262), None])
    full, bare = conditioner.full, conditioner.melody_only
    added = conditioner.lay_out(full).added
    assert torch.allclose(added[0], full[0].melody + full[0].beats) and not added[1].any()
    assert torch.equal(conditioner.lay_out(bare).added[0], full[0].melody)
    assert conditioner.lay_out(conditioner.null()).added is None
    tempo_alone = Conditioner(model.lm, words(None), ["90 bpm"], [None])
    assert torch.equal(tempo_alone.lay_out(tempo_alone.full).added[0], full[0].beats)


def test_tempos_change_what_is_made():
    """Also in later windows, which go on in the middle of a beat."""
    model = MusicGen(nano().lm, lambda: words(None))
    how = Options(seconds=70.5 / FRAMES, sampling=GREEDY, guidance=Guidance(2))
    made = [model.generate([f"{bpm} bpm"], how) for bpm in (90, 150)]
    assert not torch.equal(*made) and made[0].shape == (1, 4, 70)
    starts = [Conditioner(model.lm, words(None), ["90 bpm"], [None], start=start).full[0].beats for start in (0, 15)]
    assert torch.equal(starts[0][15:30], starts[1][:15])
