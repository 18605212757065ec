"""`ecdc train`: what is written after hours of training has a place from the beginning, and that is found out at once."""

import pytest
from ecdc.cli import new_places
from ecdc.cli.train import train_group

LATE = {"codec": "export", "prior": "export", "mbd": "export", "musicgen": "export", "words": "output"}
NEEDED = {
    "codec": ["nano-24k"],
    "prior": ["nano-24k", "--output", "run"],
    "mbd": ["nano-24k-mbd", "--model", "nano-24k", "--output", "run"],
    "musicgen": ["musicgen-nano", "--output", "run"],
    "words": [],
}


def test_all_that_write_at_their_end_are_here():
    named = {name for name, command in train_group.commands.items() if "export" in [param.name for param in command.params]}
    assert named == {name for name, option in LATE.items() if option == "export"}


@pytest.mark.parametrize("name", LATE)
def test_a_place_that_cannot_be_is_refused_before_anything_is_loaded(ecdc, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    writes_folder = name in ("codec", "musicgen")
    wrong = {"file/below/x": "is not a folder", "file" if writes_folder else ".": "is a f"}
    for place, message in wrong.items():
        done = ecdc("train", name, *NEEDED[name], f"--{LATE[name]}", place)
        assert done.returncode == 2 and message in done.stderr.decode() and "Traceback" not in done.stderr.decode()
    monkeypatch.setattr(new_places.os, "access", lambda path, mode: False)  # whoever runs the tests may write everywhere
    done = ecdc("train", name, *NEEDED[name], f"--{LATE[name]}", "made/x")
    assert done.returncode == 2 and "cannot be written to" in " ".join(done.stderr.decode().split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", [new_places.NEW_FILE, new_places.NEW_FOLDER])
def test_folders_on_the_way_may_be_missing(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "a" / "b", "a/b", "a"):
        assert str(kind.convert(str(place), None, None)) == str(place)
    assert not list(tmp_path.iterdir())
