"""Numbers that are none, times as they are written, and names in checkpoints that are not opened."""

from fractions import Fraction

import pytest
import torch
from ecdc.codec import checkpoints
from ecdc.codec.errors import CheckpointError
from ecdc.format.errors import EcdcError
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


@pytest.mark.parametrize("temperature", [1e-30, 1e-40, 1e-300])
def test_a_temperature_of_almost_zero_draws_as_zero_does(temperature):
    logits, generators = torch.randn(2, 4, 64), [torch.Generator() for _ in range(2)]
    for sampling in (Sampling(temperature=temperature), Sampling(top_p=0.5, temperature=temperature)):
        assert torch.equal(sampling(logits, generators), logits.argmax(-1))


def test_guidance_that_overflows_is_refused():
    for values in ({"scale": 1e300}, {"scale": -2e6}, {"text_scale": 1e38}):
        with pytest.raises(ValueError, match="must be a finite number from -1e\\+06 to 1e\\+06"):
            Guidance(**values)


@pytest.mark.parametrize("changes", [{"stride_seconds": 30}, {"stride_seconds": 0}, {"max_seconds": 0}])
def test_windows_that_cannot_follow_each_other_are_refused(changes):
    with pytest.raises(ValueError, match=r"35 s need several windows of (30|0) s: stride_seconds must lie between 0 and"):
        Options(seconds=35).check(tiny(**changes).lm, 0)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0), Sampling(top_p=0.9)])
def test_a_model_whose_weights_are_no_numbers_says_so(sampling):
    model = tiny()
    torch.nn.init.constant_(model.lm.norm.weight, float("nan"))
    with pytest.raises(EcdcError, match="numbers that are not finite: its weights are damaged"):
        model.generate(options=Options(seconds=0.5, sampling=sampling))


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
