"""ecdc.open and ecdc.write: what a file gives, who closes it, what is left behind after a failure, use by data loaders."""

import io
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import ecdc
import make_golden
import numpy as np
import pytest
import torch
from cases import Pipe, make_codes, make_header, write
from ecdc.format.api import CodeFile
from ecdc.format.errors import EcdcError, FormatError, Truncated
from ecdc.format.reader import Reader
from ecdc.format.schema import ChannelCoding
from ecdc.format.v0 import read_v0

CODES = make_codes(4, 95)
GOLDEN = make_golden.HERE
WHOLE = [p for p in sorted(GOLDEN.glob("*.ecdc")) if p.stem not in ("damaged", "truncated", "unknown_kind")]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "song.ecdc"
    path.write_bytes(write(make_header(tags=(("title", "x"),)), CODES, chunk_frames=10, n_samples=30_000))
    return path


def test_what_a_file_tells(path):
    with ecdc.open(path) as file:
        assert (file.frames, file.seconds, file.channels, file.sample_rate) == (95, 1.25, 1, 24_000)
        assert (file.n_codebooks, file.codebook_size, file.frame_rate, file.codec) == ((4,), 1024, 75, "nano-24k")
        assert (file.version, file.n_samples, file.original_n_samples, file.tags) == (1, 30_000, 55_125, (("title", "x"),))
        assert file.name == str(path) and "95 frames" in repr(file)
        assert file.codes(33, 44).dtype == np.uint16
        assert np.array_equal(file.codes(33, 44), CODES[:, 33:44])
        assert [chunk.first_frame for chunk in file] == [chunk.first_frame for chunk in file] == list(range(0, 95, 10))
    assert file.closed and "closed" in repr(file) and file.header.codec == "nano-24k"
    with pytest.raises(ValueError, match="is closed"):
        file.codes()


def test_only_what_was_opened_here_is_closed(path):
    with path.open("rb") as stream:
        with ecdc.open(stream) as file:
            assert np.array_equal(file.codes(), CODES)
        assert not stream.closed
    with ecdc.open(path) as file:
        inner = file._fileobj
    assert inner.closed


def test_two_streams_are_rows_of_one_array_or_two_arrays(tmp_path):
    header = make_header(channels=2, channel_coding=ChannelCoding.MID_SIDE)
    ecdc.write(tmp_path / "a", CODES, header, n_codebooks=(3, 1))
    with ecdc.open(tmp_path / "a") as file:
        assert file.n_codebooks == (3, 1)
        assert np.array_equal(file.codes(), CODES)
        mid, side = file.streams(10, 20)
        assert np.array_equal(mid, CODES[:3, 10:20]) and np.array_equal(side, CODES[3:, 10:20])


@pytest.mark.parametrize("version", [0, 1])
def test_a_pipe_is_read_once(version, path):
    data = (GOLDEN / "v0_24khz.ecdc").read_bytes() if version == 0 else path.read_bytes()
    with ecdc.open(Pipe(data, at_most=3)) as file:
        assert file.version == version
        if version:
            assert file.frames is None and file.seconds is None
            with pytest.raises(io.UnsupportedOperation):
                _ = file.n_codebooks
        assert sum(chunk.n_frames for chunk in file) == file.frames


@pytest.mark.parametrize("name", ["v0_24khz", "v0_48khz"])
def test_the_original_container_opens_too(name):
    path = GOLDEN / f"{name}.ecdc"
    expected = read_v0(io.BytesIO(path.read_bytes()))
    with ecdc.open(path) as file:
        assert (file.version, file.n_samples, file.codec) == (0, expected.n_samples, expected.model_name)
        assert (file.n_codebooks, file.seconds) == ((expected.n_codebooks,), expected.n_samples / file.sample_rate)
        assert np.array_equal(file.codes(), np.hstack([codes for codes, _ in expected.segments]))
        assert np.array_equal(file.codes(3, 5), file.codes()[:, 3:5])
        assert [chunk.scale for chunk in file] == [scale for _, scale in expected.segments]
        for start, stop in ((5, 3), (-1, 2), (0, 10_000)):
            with pytest.raises(ValueError, match="frames"):
                file.codes(start, stop)


def test_a_cut_file_gives_what_it_holds(path):
    path.write_bytes(path.read_bytes()[:-120])
    with ecdc.open(path) as file:
        assert (file.frames, file.n_samples, file.seconds) == (90, None, 1.2)
        assert np.array_equal(file.codes(0, 90), CODES[:, :90])
        with pytest.raises(Truncated):
            file.codes()


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "text").write_text("words")
    for name, error in (("text", FormatError), ("absent", FileNotFoundError), (".", IsADirectoryError)):
        with pytest.raises(error):
            ecdc.open(tmp_path / name)


def test_writing_with_keywords(tmp_path):
    ecdc.write(
        tmp_path / "a", CODES.tolist(), codec="x", token_space=bytes(32), sample_rate=100, hop_length=2, codebook_size=1024
    )
    with ecdc.open(str(tmp_path / "a")) as file:
        assert (file.header.max_codebooks, file.header.original_sample_rate, file.n_samples) == (4, 100, 190)
        assert np.array_equal(file.codes(), CODES)
    stream = io.BytesIO()
    ecdc.write(stream, CODES, file.header, chunk_frames=10, tags=(("a", "b"),))
    assert Reader(io.BytesIO(stream.getvalue())).header.tags == (("a", "b"),)


@pytest.mark.parametrize("path", [p for p in WHOLE if p.stem[:2] != "v0"], ids=lambda path: path.stem)
def test_copies_are_exact(path, tmp_path):
    with ecdc.open(path) as file:
        ecdc.write(tmp_path / "copy", file, chunk_frames=None if path.stem in ("varying_k", "prior") else 8)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["v0_24khz", "v0_48khz"])
def test_the_original_container_is_copied_into_ours(name, tmp_path):
    with ecdc.open(GOLDEN / f"{name}.ecdc") as file:
        with pytest.raises(ValueError, match="token space"):
            ecdc.write(tmp_path / "copy", file)
        ecdc.write(tmp_path / "copy", file, token_space=bytes(range(32)))
        with ecdc.open(tmp_path / "copy") as copy:
            assert (copy.version, copy.n_samples, copy.codec) == (1, file.n_samples, name.replace("v0", "encodec"))
            assert np.array_equal(copy.codes(), file.codes())
            assert [chunk.scale for chunk in copy] == [chunk.scale for chunk in file]


def test_a_failed_write_leaves_what_was_there(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="codes must be"):
        ecdc.write(path, CODES + 1000, make_header())
    cut = ecdc.open(io.BytesIO(before[:-100]))
    for target in (path, path.with_name("new.ecdc")):
        with pytest.raises(Truncated):
            ecdc.write(target, cut)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_can_be_replaced_by_its_own_part(path):
    with ecdc.open(path) as file:
        ecdc.write(path, (chunk for chunk in file.chunks(0, 20)), file.header, n_samples=None, original_n_samples=None)
    assert np.array_equal(Reader(io.BytesIO(path.read_bytes())).codes(), CODES[:, :20])


class Tokens(torch.utils.data.Dataset):
    """The simplest data set of codes: a list of files."""

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        file = self.files[i] if isinstance(self.files[i], CodeFile) else ecdc.open(self.files[i])
        return torch.from_numpy(file.codes(10, 60).astype(np.int64))


@pytest.mark.parametrize("form", ["path", "open"])
def test_data_loader_workers(form, tmp_path):
    paths = [tmp_path / str(i) for i in range(6)]
    for i, path in enumerate(paths):
        ecdc.write(path, make_codes(4, 95, seed=i), make_header(), chunk_frames=10)
    files = paths if form == "path" else [ecdc.open(path) for path in paths]
    batches = list(torch.utils.data.DataLoader(Tokens(files), batch_size=3, num_workers=2))
    expected = [make_codes(4, 95, seed=i)[:, 10:60] for i in range(6)]
    assert np.array_equal(torch.cat(batches).numpy(), expected)
    for file in files if form == "open" else []:
        file.close()


def test_pickling(path):
    with ecdc.open(path) as file:
        again = pickle.loads(pickle.dumps(file))
        assert again._fileobj is None and again.header == file.header  # not opened before it is used
        assert np.array_equal(again.codes(), file.codes())
        again.close()
        with pytest.raises(TypeError, match="by its path"):
            pickle.dumps(ecdc.open(io.BytesIO(path.read_bytes())))


def test_reading_loads_no_torch_and_leaves_open_alone(path):
    script = f"""
import sys, ecdc
with ecdc.open({str(path)!r}) as file:
    assert file.codes(3, 5).shape == (4, 2)
print([name for name in ("torch", "soundfile", "ecdc.codec") if name in sys.modules])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout == "[]\n"
    assert "open" not in ecdc.__all__ and "write" in ecdc.__all__


@pytest.mark.parametrize("opener", [lambda path: ecdc.open(path), lambda path: ecdc.open(io.BytesIO(path.read_bytes()))])
def test_threads_share_a_file(path, opener):
    """Every thread gets the frames that it asks for, whatever the others read meanwhile."""
    asked = [(start, start + length) for start in range(0, 90, 3) for length in (1, 5)] * 20
    with opener(path) as file, ThreadPoolExecutor(8) as pool:
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            found = list(pool.map(lambda span: file.codes(*span), asked))
            whole = list(pool.map(lambda _: np.concatenate([chunk.codes for chunk in file], axis=1), range(16)))
        finally:
            sys.setswitchinterval(switch)
    assert all(np.array_equal(codes, CODES[:, start:stop]) for codes, (start, stop) in zip(found, asked, strict=True))
    assert all(np.array_equal(codes, CODES) for codes in whole)


def test_what_a_file_does_not_take_is_refused_in_one_line(path, tmp_path):
    header = make_header()
    calls = [partial(ecdc.open, value) for value in (3, None, b"a.ecdc", "a\0b", io.StringIO("x"), object())]
    calls += [partial(Reader, value) for value in (str(path), 3, io.StringIO("x"))]
    with ecdc.open(path) as file:
        for call in (file.codes, file.streams, file.chunks):
            calls += [partial(call, value) for value in (1.5, "x", None, -1)]
            calls += [partial(call, 0, value) for value in (2.5, "x")]
        calls += [partial(call, value) for call in (file.codes, file.streams) for value in (96, 2**70)]
        assert file.codes(95).shape[1] == 0 and file.codes(np.int8(3), np.int16(9)).shape == (4, 6)
        calls += [partial(ecdc.write, tmp_path / "b.ecdc", CODES, header, **{name: value}) for name, value in [
            ("n_codebooks", 3), ("n_codebooks", "x"), ("n_codebooks", (4.0,)), ("chunk_frames", "x"), ("chunk_frames", 1.5),
            ("sample_rate", "x"), ("nonsense", 1), ("tags", "abc"), ("tags", [("a",)]), ("tags", ((1, 2),)), ("codec", 3),
            ("token_space", "x" * 32), ("entropy", "x"), ("output_gain", 0.5), ("n_samples", 1.5), ("channels", None),
        ]]  # fmt: skip
        calls += [partial(ecdc.write, tmp_path / "b.ecdc", codes, header) for codes in ([[1, 2], [3]], iter([3]), "x", None)]
        calls += [partial(ecdc.write, tmp_path / "b.ecdc", CODES, value) for value in (3, None)]
        for call in calls:
            with pytest.raises(EcdcError) as caught:
                call()
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 500, call
    assert list(tmp_path.iterdir()) == [path]
