"""Numbers that are none, times as they are written, and names in checkpoints that are not opened."""

from fractions import Fraction

import pytest
from ecdc.codec import checkpoints
from ecdc.codec.errors import CheckpointError
from ecdc.plugins.musicgen import MusicGenConfig, Options, checkpoint, load
from ecdc.plugins.musicgen.sampling import Guidance, Sampling
from musicgen_models import audiocraft_cfg, tiny, write_package

NONE = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("value", NONE)
def test_numbers_are_finite(value):
    for make in (
        lambda: Sampling(temperature=value),
        lambda: Sampling(top_p=value),
        lambda: Guidance(value),
        lambda: Guidance(3.0, text_scale=value),
        lambda: Options(seconds=value).check(tiny().lm, 0),
        lambda: Options(seconds=90, stride_seconds=value).check(tiny().lm, 0),
    ):
        with pytest.raises(ValueError, match=r"must|finite"):
            make()


@pytest.mark.parametrize("frame_rate", [50, 75])
def test_a_time_has_the_frames_of_its_decimals(frame_rate):
    """1.64 s at 75 frames a second are 123 frames, though the float nearest to 1.64 is below it."""
    config = MusicGenConfig("any", frame_rate=frame_rate)
    for hundredths in range(1, 3001):
        assert config.n_frames(hundredths / 100) == Fraction(hundredths, 100) * frame_rate // 1
    assert config.n_frames(30) == 30 * frame_rate


@pytest.fixture
def nothing_else_is_opened(monkeypatch):
    def fail(*args):
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr(checkpoints, "_locate", fail)
    monkeypatch.setattr(checkpoint.T5Encoder, "load", fail)


@pytest.mark.usefixtures("nothing_else_is_opened")
def test_a_package_names_no_text_encoder_of_its_own(tmp_path):
    model = tiny(text_dimension=768)
    cfg = audiocraft_cfg(model.config)
    cfg["conditioners"]["description"]["t5"]["name"] = "/etc"
    package = write_package(model, tmp_path / "state_dict.bin", cfg)
    with pytest.raises(CheckpointError, match="'/etc' is not a published T5"):
        load(package, codec=False)


@pytest.mark.usefixtures("nothing_else_is_opened")
def test_a_model_names_no_codec_but_a_bundled_one():
    with pytest.raises(CheckpointError, match="not bundled"):
        checkpoint.load_bundled("../nano-24k")
