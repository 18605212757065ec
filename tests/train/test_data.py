"""Packing and drawing: bad files are counted, splits are fixed, batches depend on the step alone."""

import os
import shutil
import subprocess
import zipfile
from importlib import resources

import numpy as np
import pytest
import soundfile
import torch
from ecdc.format.errors import EcdcError
from ecdc.train.data import fetch as fetching
from ecdc.train.data.fetch import download, fetch, unpack
from ecdc.train.data.memory_maps import read_index
from ecdc.train.data.pack import pack_sources
from ecdc.train.data.packed_audio import PackedAudio, augment, generator_for, validation_clips
from ecdc.train.data.recipe import DataRecipe
from ecdc.train.data.sources import Source, folder_sources, is_validation, read_packages, validation_names


def test_bad_files_are_skipped_and_counted(tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    tone = 0.3 * np.sin(np.arange(24_000) * 0.1)
    for i in range(3):
        soundfile.write(audio / f"good{i}.wav", tone * (1 - 0.1 * i), 24_000)
    soundfile.write(audio / "again.wav", tone, 24_000)
    soundfile.write(audio / "short.wav", tone[:100], 24_000)
    soundfile.write(audio / "silent.wav", 0 * tone, 24_000)
    (audio / "broken.flac").write_bytes(b"fLaC but no more")
    lines = []
    pack_sources(folder_sources(audio), tmp_path / "packed", lines.append)
    text = "\n".join(lines)
    for reason in ("unreadable", "shorter than 0.3 s", "silent", "exact duplicate"):
        assert f"skipped 1 files: {reason}" in text
    assert len((tmp_path / "packed" / "index.jsonl").read_text().splitlines()) == 3


def test_packing_again_does_nothing(tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    for i in range(2):
        soundfile.write(audio / f"{i}.wav", 0.3 * np.sin(np.arange(24_000) * 0.1 * (i + 1)), 24_000)
    for _ in range(2):
        lines = []
        pack_sources(folder_sources(audio), tmp_path / "packed", lines.append)
    assert lines == [f"{tmp_path / 'packed'} is already packed"]


def test_a_small_folder_still_holds_out_a_file():
    assert len(validation_names(["a", "b", "c"])) == 1
    assert validation_names(["a"]) == set()


def test_batch_depends_on_seed_and_step_alone(packed):
    data = PackedAudio.open(packed, "train", 4800)

    def draw(seed, step):
        return data.batch({}, (4, 4800), generator_for(seed, step))

    assert torch.equal(draw(1, 7), draw(1, 7))
    assert not torch.equal(draw(1, 7), draw(1, 8))
    assert not torch.equal(draw(1, 7), draw(2, 7))


def test_whole_numbers_serve_as_weights(packed):
    data = PackedAudio.open(packed, "train", 4800)
    draws = [data.batch({"data": weight}, (2, 4800), generator_for(0, 0)) for weight in (2, 2.0)]
    assert torch.equal(*draws)


def test_augmentation_never_clips():
    audio = torch.rand(8, 1, 1000) * 2 - 1
    for step in range(20):
        recipe = DataRecipe(gain_db=(-6.0, 12.0), mix_probability=0.5, band_limit_probability=0.5)
        out = augment(audio, recipe, generator_for(0, step))
        assert out.abs().max() <= 1 and torch.isfinite(out).all()


def test_band_limits_take_the_top_of_some_rows_and_leave_the_others():
    audio = torch.randn(64, 1, 4000, generator=torch.Generator().manual_seed(1)) * 0.1
    recipe = DataRecipe(gain_db=(0.0, 0.0), mix_probability=0.0, band_limit_probability=0.5)
    rare = DataRecipe(band_limit_probability=1e-6)
    assert augment(audio, rare, generator_for(0, 3)).shape == audio.shape
    before, after = (torch.fft.rfft(x).abs().squeeze(1) for x in (audio, augment(audio, recipe, generator_for(0, 3))))
    limited = after[:, -8:].amax(1) < 1e-3
    assert 16 < limited.sum() < 48
    assert torch.allclose(after[~limited], before[~limited], atol=1e-3)
    assert torch.allclose(after[:, :450], before[:, :450], atol=1e-3)


def test_validation_slice_is_one_in_fifty_and_fixed():
    names = [f"package/file{i}.ogg" for i in range(20_000)]
    share = sum(map(is_validation, names)) / len(names)
    assert 0.015 < share < 0.025
    assert is_validation("sonic-pi-samples/usr/share/sonic-pi/samples/ambi_drone.flac")


def test_validation_clips_are_fixed(packed):
    first, second = (validation_clips(packed, 0.2, 3) for _ in range(2))
    assert all(torch.equal(first[group], second[group]) for group in first)


def test_package_list_is_whole():
    packages = read_packages()
    assert {p.group for p in packages} == {"music", "speech", "speech16k", "sounds"}
    assert all(p.licence for p in packages)
    tuxpaint = next(p for p in packages if p.name == "tuxpaint-stamps-default" and p.group == "speech")
    assert tuxpaint.wants("usr/share/x_desc_fr.ogg") and not tuxpaint.wants("usr/share/x_desc_en.ogg")


RESERVED = {
    "asterisk-core-sounds-ru-g722",
    "colobot-common-sounds",
    "extremetuxracer-data",
    "fillets-ng-data-nl",
    "frozen-bubble-data",
    "hedgewars-data",
    "hyperrogue-music",
    "lomiri-sounds",
    "pushover-data",
    "singularity-music",
    "warmux-data",
    "wesnoth-1.16-data",
}
ALLOWED = {
    "fillets-ng-data": {"fillets-ng-data-cs"},
    "asterisk-core-sounds": {f"asterisk-core-sounds-{language}-g722" for language in ("es", "fr", "en", "it")},
}
RESERVED_FILES = {
    "tuxpaint-stamps-default": ["stamps/animals/cat_desc.ogg", "stamps/cat_desc_de.ogg", "stamps/symbols/math/1.ogg"],
    "klettres-data": [f"usr/share/klettres/{language}/alpha/a.ogg" for language in ("da", "el", "nl", "en")],
    "ktuberling-data": [f"usr/share/ktuberling/sounds/{language}/eyes.ogg" for language in ("da", "el", "nl", "en")],
}


def test_nothing_reserved_for_evaluation_is_trained_on():
    packages = read_packages()
    names = {p.name for p in packages}
    assert not names & RESERVED
    for prefix, allowed in ALLOWED.items():
        assert {name for name in names if name.startswith(prefix)} <= allowed
    for package in packages:
        assert not any(package.wants(path) for path in RESERVED_FILES.get(package.name, []))


def test_the_table_of_training_audio_agrees_with_the_list():
    text = (resources.files("ecdc.train.data") / "TRAINING_AUDIO.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text[text.index("| kind |") :].splitlines()]
    rows = {(kind, name): (licence, float(hours)) for kind, name, _, hours, _, licence in cells[2:]}
    listed = {(p.group.removesuffix("16k"), p.name): p.licence for p in read_packages()}
    assert {key: licence for key, (licence, _) in rows.items()} == {key: listed[key] for key in rows}
    total = next(line for line in text.splitlines() if line.startswith("| all |"))
    assert abs(sum(hours for _, hours in rows.values()) - float(total.strip("| ").split("|")[-1])) < 0.3


def test_a_file_belongs_to_one_group_only():
    by_name = {}
    for package in read_packages():
        by_name.setdefault(package.name, []).append(package)
    paths = ["usr/share/x/sounds/a.ogg", "usr/share/x/music/a.ogg", "usr/share/x/sounds/voice/a.ogg", "x/sound/effects/a.ogg"]
    for packages in by_name.values():
        assert len({p.group for p in packages}) == len(packages)
        assert all(sum(p.wants(path) for p in packages) <= 1 for path in paths)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb, as fetching does")
def test_packages_unpack_into_a_folder_that_is_not_there_yet(tmp_path):
    control = tmp_path / "source" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: a-1.16\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n")
    (tmp_path / "source" / "a.ogg").write_bytes(b"sound")
    (tmp_path / "source" / "a.png").write_bytes(b"no sound")
    with zipfile.ZipFile(tmp_path / "source" / "b.PK3", "w") as archive:
        archive.writestr("in/b.OGG", b"sound")
        archive.writestr("in/b.png", b"no sound")
    deb = tmp_path / "a-1.16_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "source", deb], check=True, capture_output=True)
    for _ in range(2):
        tree = unpack(deb, tmp_path / "new" / "tree")
        assert tree.name == "a-1.16" and (tree / "a.ogg").read_bytes() == b"sound"
        assert not (tree / "a.png").exists()
        assert zipfile.ZipFile(tree / "b.PK3").namelist() == ["in/b.OGG"]
    assert [path.name for path in tree.parent.iterdir()] == ["a-1.16"]
    deb.write_bytes(deb.read_bytes()[:200])
    with pytest.raises(RuntimeError, match="delete it and fetch again"):
        unpack(deb, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_an_interrupted_download_is_not_taken_for_a_package(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\necho half >> ${2}_1_all.deb\ntest $(wc -l < ${2}_1_all.deb) = 2\n")
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(EcdcError, match="apt-get download a"):
        download("a", tmp_path / "deb")
    assert download("a", tmp_path / "deb").read_text() == "half\nhalf\n"
    assert download("a", tmp_path / "deb") == tmp_path / "deb" / "a_1_all.deb"


def test_missing_packages_are_an_error_after_all_others_are_packed(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(np.arange(48_000) * 0.1), 48_000)
    found = Source(read_packages()[0], tmp_path / "a.wav", None, "p/a.wav")
    monkeypatch.setattr(fetching, "find_sources", lambda *_: ([found], ["b", "c"]))
    with pytest.raises(EcdcError, match=r"packed: holds all but 2 of \d+ packages \(b, c\); the same command adds them"):
        fetch(tmp_path / "audio", report=lambda line: None, jobs=1)
    assert len(read_index(tmp_path / "audio" / "packed")) == 1


def test_a_machine_without_apt_is_an_expected_error(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    lines = []
    with pytest.raises(EcdcError, match="no training audio could be fetched"):
        fetch(tmp_path, quick=True, report=lines.append)
    assert lines and all("apt-get not found" in line for line in lines)
