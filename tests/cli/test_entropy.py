"""Entropy coding from the command line: smaller files of the same sound, edits that keep it, priors that are missing."""

import json
import math

import ecdc as package
import pytest
from ecdc.codec.bundled import bundled_names
from ecdc.format.entropy import installed_priors

MODELS = [name for name in bundled_names() if (installed_priors.BUNDLED / f"{name}.prior").exists()]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    """A bundled model that has a prior."""
    return request.param


@pytest.fixture(scope="module")
def files(ecdc, speech, model, tmp_path_factory):
    """The clip with and without entropy coding, at 3 and 6 kbps."""
    folder = tmp_path_factory.mktemp("entropy")
    for entropy in ("auto", "none"):
        for kbps in (3, 6):
            target = folder / f"{entropy}{kbps}.ecdc"
            options = ("--kbps", kbps, "--entropy", entropy, "--effort", 0, "--verify", "--quiet")
            ecdc("encode", speech, "--model", model, "-o", target, *options, check=True)
    return folder


def about(ecdc, path):
    return json.loads(ecdc("info", path, "--json", check=True).stdout)


def test_files_are_smaller_and_sound_the_same(ecdc, files, tmp_path):
    for kbps in (3, 6):
        coded, raw = (about(ecdc, files / f"{name}{kbps}.ecdc") for name in ("auto", "none"))
        assert coded["entropy"] == "prior" and len(coded["prior"]) == 64 and raw["entropy"] == "raw"
        assert coded["bytes"] < 0.97 * raw["bytes"] and coded["codebooks"] == raw["codebooks"]
        for name in ("auto", "none"):
            ecdc("decode", files / f"{name}{kbps}.ecdc", "-o", tmp_path / f"{name}.wav", "--force", check=True)
        assert (tmp_path / "auto.wav").read_bytes() == (tmp_path / "none.wav").read_bytes()


def test_peeling_is_encoding_at_the_lower_rate(ecdc, files, tmp_path):
    ecdc("peel", files / "auto6.ecdc", "--kbps", 3, "-o", tmp_path / "a.ecdc", check=True)
    assert (tmp_path / "a.ecdc").read_bytes() == (files / "auto3.ecdc").read_bytes()


def test_parts_and_joints_are_coded_too(ecdc, files, tmp_path):
    ecdc("cut", files / "auto6.ecdc", "--start", 1, "--duration", 3, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("cut", files / "none6.ecdc", "--start", 1, "--duration", 3, "-o", tmp_path / "b.ecdc", check=True)
    ecdc("cat", tmp_path / "a.ecdc", tmp_path / "b.ecdc", "-o", tmp_path / "both.ecdc", check=True)
    assert (tmp_path / "a.ecdc").stat().st_size < (tmp_path / "b.ecdc").stat().st_size
    assert about(ecdc, tmp_path / "both.ecdc")["entropy"] == "prior"
    for name in ("a", "b"):
        ecdc("decode", tmp_path / f"{name}.ecdc", "-o", tmp_path / f"{name}.wav", check=True)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_missing_prior_is_one_line(ecdc, files, one_line, monkeypatch, tmp_path):
    wanted = about(ecdc, files / "auto6.ecdc")["prior"]
    monkeypatch.setattr(installed_priors, "BUNDLED", tmp_path)
    monkeypatch.setenv("ECDC_PRIORS", "")
    installed_priors._by_hash.cache_clear()
    line = one_line(ecdc("decode", files / "auto6.ecdc", "-o", tmp_path / "a.wav"))
    assert wanted in line and "here are none" in line and "ECDC_PRIORS" in line
    assert not (tmp_path / "a.wav").exists()
    assert about(ecdc, files / "auto6.ecdc")["whole"]
    installed_priors._by_hash.cache_clear()


@pytest.mark.parametrize("options", [("--quality", "11"), ("--quality", "3", "--vbr")])
def test_qualities_that_are_none(ecdc, speech, tmp_path, options):
    done = ecdc("encode", speech, "-o", tmp_path / "a.ecdc", *options)
    assert done.returncode == 2 and not (tmp_path / "a.ecdc").exists()


def test_more_quality_takes_more_bits(ecdc, speech, tmp_path):
    sizes = []
    for quality in (1, 5, 9):
        target = tmp_path / f"{quality}.ecdc"
        ecdc("encode", speech, "-o", target, "--quality", quality, "--quiet", check=True)
        sizes.append(target.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_short_chunks_hold_the_same_codes(ecdc, files, model, speech, tmp_path):
    options = ("--model", model, "--chunk-seconds", 0.5, "--effort", 0, "--quiet")
    ecdc("encode", speech, "-o", tmp_path / "a.ecdc", *options, check=True)
    with package.open(tmp_path / "a.ecdc") as short, package.open(files / "auto6.ecdc") as long:
        assert (short.codes() == long.codes()).all()
        assert {chunk.n_frames for chunk in list(short)[:-1]} == {math.ceil(short.frame_rate / 2)}
    assert (tmp_path / "a.ecdc").stat().st_size > (files / "auto6.ecdc").stat().st_size
