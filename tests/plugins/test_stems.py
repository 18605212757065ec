"""Separating melodies: by demucs where it is, refused or left out in words where it is not."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from ecdc.plugins.generators import Sound
from ecdc.plugins.musicgen.source import _melody
from ecdc.plugins.musicgen.stems import SeparationError, separated

SOUND = Sound(np.sin(np.arange(24_000, dtype=np.float32) / 9)[None], 24_000)


@pytest.fixture
def demucs(monkeypatch):
    """A stand-in whose stems are the sound times 1, 2, 4 and 8, and what it was asked."""
    asked = []

    def apply_model(model, mix, shifts, progress):
        asked.append((tuple(mix.shape), shifts))
        return torch.stack([mix * factor for factor in (1, 2, 4, 8)], dim=1)

    model = SimpleNamespace(samplerate=44_100, sources=["drums", "bass", "other", "vocals"])
    modules = {
        "demucs": {},
        "demucs.apply": {"apply_model": apply_model},
        "demucs.pretrained": {"get_model": lambda name: model},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def test_vocals_and_other_stay(demucs):
    found = separated(SOUND)
    assert found.sample_rate == 44_100 and found.audio.shape == (2, 44_100)
    assert demucs == [((1, 2, 44_100), 0)]  # stereo, and no random shift
    middle = np.sin(np.arange(44_100) * 24_000 / 44_100 / 9)[5000:-5000]
    assert np.allclose(found.audio[:, 5000:-5000], 12 * middle, atol=0.02)


def test_it_is_used_where_it_is(demucs):
    for separate in (None, True):
        assert _melody(SOUND, separate)[1] == "without drums and bass, by demucs"
    assert _melody(SOUND, False) == (SOUND, "the whole mix")


def test_without_it_the_mix_is_followed_and_said_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "demucs.apply", None)
    sound, words = _melody(SOUND, None)
    assert sound is SOUND and "pip install demucs" in words
    with pytest.raises(SeparationError, match="pip install demucs"):
        _melody(SOUND, True)


def test_a_model_that_cannot_be_fetched(demucs, monkeypatch):
    def get_model(name):
        raise OSError("no network\nat all")

    monkeypatch.setattr(sys.modules["demucs.pretrained"], "get_model", get_model)
    with pytest.raises(SeparationError, match=r"no htdemucs here: no network$"):
        separated(SOUND)
