"""Tokens as arrays: out and in again gives the same stream, and files that lie are refused before they cost memory."""

import dataclasses
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from cases import Pipe, headers, make_codes, make_header
from ecdc.format import ChannelCoding, Provenance, Reader, Truncated, Writer
from ecdc.format.api import CodeFile
from ecdc.format.token_files import FORMS, collect, header_fields, header_from, load, save, write
from hypothesis import given, settings
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

MID_SIDE = {"channels": 2, "channel_coding": ChannelCoding.MID_SIDE}
NUMBERED = {"codec": "a", "token_space": "00" * 32, "sample_rate": "24000", "hop_length": "320", "codebook_size": "1024"}


def written(header, codes, ks=None, *lengths):
    out = io.BytesIO()
    with Writer(out, header) as writer:
        writer.append(codes, ks)
        writer.close(*lengths)
    return out.getvalue()


def segmented(scale=0.5):
    out = io.BytesIO()
    with Writer(out, make_header(segment_length=640, segment_stride=480)) as writer:
        for seed, n_frames in enumerate((2, 1, 2)):
            writer.append_segment(make_codes(4, n_frames, seed=seed), scale)
    return out.getvalue()


STREAMS = {
    "mono": written(make_header(tags=(("title", "é"), ("title", "=\n"))), make_codes(8, 1000), None, 319_777, 587_591),
    "empty": written(make_header(n_samples=0, original_n_samples=0), np.empty((1, 0), int)),
    "even": written(make_header(channels=2, channel_coding=ChannelCoding.LEFT_RIGHT), make_codes(8, 500)),
    "uneven": written(make_header(**MID_SIDE, provenance=Provenance.GENERATED), make_codes(8, 500), (6, 2)),
    "segments": segmented(),
    "unscaled": segmented(None),
}


def exported(data, form, **options):
    out = io.BytesIO()
    save(collect(CodeFile(io.BytesIO(data)), **options), out, form)
    return out.getvalue()


def imported(data, form, like=None, **fields):
    out = io.BytesIO()
    write(load(io.BytesIO(data), form, like and CodeFile(io.BytesIO(like)), fields), out)
    return out.getvalue()


def npz(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


def npy(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["npz", "safetensors"])
@pytest.mark.parametrize("name", STREAMS)
def test_out_and_in_is_the_same_stream(name, form):
    data = STREAMS[name]
    tokens = exported(data, form)
    assert imported(tokens, form) == data
    out = io.BytesIO()
    write(load(Pipe(tokens, 1000), form), out)
    assert out.getvalue() == data
    piped = io.BytesIO()
    save(collect(CodeFile(Pipe(data, 1000))), piped, form)
    assert piped.getvalue() == tokens


def test_the_files_are_what_others_read():
    codes = Reader(io.BytesIO(STREAMS["even"])).codes()
    wanted = codes.reshape(2, 4, 500)
    assert np.array_equal(np.load(io.BytesIO(exported(STREAMS["even"], "npy")), allow_pickle=False), wanted)
    archive = np.load(io.BytesIO(exported(STREAMS["even"], "npz")), allow_pickle=False)
    assert np.array_equal(archive["codes"], wanted) and json.loads(str(archive["header"]))["channel_coding"] == "left_right"
    assert np.array_equal(load_safetensors(exported(STREAMS["even"], "safetensors"))["codes"], wanted)
    assert np.load(io.BytesIO(exported(STREAMS["mono"], "npy"))).shape == (8, 1000)
    assert np.load(io.BytesIO(exported(STREAMS["uneven"], "npz")))["codes"].shape == (8, 500)


@pytest.mark.parametrize("name", ["mono", "empty", "even"])
def test_a_npy_takes_its_header_from_a_like_file(name):
    data = STREAMS[name]
    back = Reader(io.BytesIO(imported(exported(data, "npy"), "npy", like=data)))
    known = Reader(io.BytesIO(data))
    assert np.array_equal(back.codes(), known.codes()) and back.n_samples == known.n_samples
    assert back.original_n_samples == known.original_n_samples
    assert dataclasses.replace(known.header, n_samples=None, original_n_samples=None) == back.header


def test_a_like_file_of_another_length_lends_no_length():
    tokens = npy(make_codes(8, 10))
    assert Reader(io.BytesIO(imported(tokens, "npy", like=STREAMS["mono"]))).n_samples == 3200


def test_a_like_file_of_another_length_lends_no_skip():
    """A cut file skips up to two seconds, its context. An array of its own has none."""
    cut = written(make_header(pre_skip=48_000), make_codes(8, 200))
    for n_frames in (10, 199, 201):
        reader = Reader(io.BytesIO(imported(npy(make_codes(8, n_frames)), "npy", like=cut)))
        assert (reader.header.pre_skip, reader.n_samples) == (0, n_frames * 320)
    same = Reader(io.BytesIO(imported(npy(make_codes(8, 200)), "npy", like=cut)))
    assert (same.header.pre_skip, same.n_samples) == (48_000, 16_000)
    asked = Reader(io.BytesIO(imported(npy(make_codes(8, 201)), "npy", like=cut, pre_skip="320")))
    assert (asked.header.pre_skip, asked.n_samples) == (320, 64_000)


def test_a_skip_of_all_samples_is_refused():
    with pytest.raises(ValueError, match="pre_skip must be less than the 3200 samples that the codes decode to, got 3200"):
        imported(npy(make_codes(8, 10)), "npy", **NUMBERED, pre_skip="3200")


def test_a_npy_takes_its_header_from_fields():
    codes = make_codes(4, 100)
    for array in (codes, np.asfortranarray(codes), codes.astype(">i8"), codes.astype(np.uint16)):
        reader = Reader(io.BytesIO(imported(npy(array), "npy", **NUMBERED, n_samples="31999", original_n_samples="31999")))
        assert np.array_equal(reader.codes(), codes) and reader.n_samples == 31_999
    assert reader.header.original_sample_rate == 24_000 and reader.header.max_codebooks == 4
    stereo = {"channels": "2", "channel_coding": "mid_side"}
    reader = Reader(io.BytesIO(imported(npy(codes.reshape(2, 2, 100)), "npy", **NUMBERED, **stereo)))
    assert np.array_equal(reader.codes(), codes)


def test_a_varying_number_of_codebooks_is_told_or_trimmed():
    out = io.BytesIO()
    with Writer(out, make_header(**MID_SIDE)) as writer:
        writer.append(make_codes(8, 10), (6, 2))
        writer.append(make_codes(7, 5), (4, 3))
    data = out.getvalue()
    with pytest.raises(ValueError, match=r"varies \(4\+3 and 6\+2\)"):
        exported(data, "npz")
    codes = np.load(io.BytesIO(exported(data, "npy", trim=True)))
    assert codes.shape == (2, 2, 15) and np.array_equal(codes[1, :, :10], make_codes(8, 10)[6:])
    with pytest.raises(ValueError, match=r"a \.npy cannot tell"):
        exported(STREAMS["uneven"], "npy")
    with pytest.raises(ValueError, match=r"a \.npy cannot tell"):
        exported(STREAMS["segments"], "npy")
    silent = written(make_header(), np.empty((0, 9), int), (0,))
    with pytest.raises(ValueError, match="no codes"):
        exported(silent, "npz")


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_told(form):
    with pytest.raises(Truncated):
        exported(STREAMS["mono"][:-9], form)
    tokens = exported(STREAMS["even"], form)
    for at in (0, 5, 20, len(tokens) // 2, len(tokens) - 1):
        with pytest.raises(ValueError):
            imported(tokens[:at], form, like=STREAMS["even"])


@pytest.mark.parametrize("form", FORMS)
def test_any_damaged_byte_gives_tokens_or_a_value_error(form):
    tokens = exported(STREAMS["segments" if form != "npy" else "even"], form)
    rng = np.random.default_rng(0)
    for at in [*range(0, min(len(tokens), 400)), *rng.integers(0, len(tokens), 200)]:
        damaged = bytearray(tokens)
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            imported(bytes(damaged), form, like=STREAMS["even"] if form == "npy" else None)
        except ValueError as error:
            assert str(error)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled():
    objects = npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    for data, form in [(objects, "npy"), (npz(codes=objects), "npz"), (pickle.dumps(Bomb()), "npy"), (npz(codes=b"x"), "npz")]:
        with pytest.raises(ValueError, match="codes: "):
            imported(data, form, **NUMBERED)


def moved_directory(archive):
    """A zip file whose end says that the directory is two bytes later than it is, so members begin before the file."""
    (offset,) = struct.unpack("<I", archive[-6:-2])
    return archive[:-6] + struct.pack("<I", offset + 2) + archive[-2:]


def test_sizes_are_not_believed():
    huge = npy(make_codes(4, 100)).replace(b"(4, 100), }        ", b"(4, 99999999999), }")
    assert b"99999" in huge
    for data, form in [
        (npy(make_codes(4, 100))[:-1], "npy"),
        (npy(np.zeros((4, 0), np.int64)).replace(b"(4, 0)", b"(4,-1)"), "npy"),
        (huge, "npy"),
        (npz(codes=npy(make_codes(4, 100)), header=bytes(2**24 + 1)), "npz"),
        (moved_directory(npz(codes=npy(make_codes(4, 100)))), "npz"),
        (struct.pack("<Q", 2**60) + b"{}", "safetensors"),
        (b"", "safetensors"),
        (save_safetensors({"other": np.zeros(3)}), "safetensors"),
    ]:
        with pytest.raises(ValueError, match=r"needs|too large|not a whole|not an array|cannot"):
            imported(data, form, **NUMBERED)


@pytest.mark.parametrize(
    "array, fields, message",
    [
        (np.full((4, 9), 1024), {}, "codes must be 0 to 1023, got 1024 to 1024"),
        (np.full((4, 9), -1), {}, "got -1 to -1"),
        (np.zeros((4, 9)), {}, r"must be integers \[K, T\], got float64 \[4, 9\]"),
        (np.zeros(9, int), {"max_codebooks": "1"}, r"must be integers \[K, T\]"),
        (np.zeros((3, 4, 9), int), {}, r"must be integers \[K, T\]"),
        (np.zeros((3, 9), int), {"channels": "2", "channel_coding": "mid_side"}, "3 rows of codes cannot be divided"),
        (np.zeros((4, 9), int), {"hop": "1"}, "hop: is not a field of a header"),
        (np.zeros((4, 9), int), {"hop_length": "x"}, "hop_length: cannot be 'x'"),
        (np.zeros((4, 9), int), {"token_space": "00"}, "token_space must be 32 bytes"),
        (np.zeros((4, 9), int), {"channel_coding": "both"}, "channel_coding: cannot be 'both'"),
        (np.zeros((4, 9), int), {"n_samples": "9999", "original_n_samples": "9999"}, "n_samples must be at most 2880"),
        (np.zeros((4, 9), int), {"segment_length": "640", "segment_stride": "640"}, "needs the arrays segment_frames"),
    ],
)
def test_bad_arrays_and_fields_are_named(array, fields, message):
    with pytest.raises(ValueError, match=message):
        imported(npy(array), "npy", **(NUMBERED | fields))


def test_a_npy_alone_says_what_it_lacks():
    with pytest.raises(ValueError, match="the header lacks codec, token_space, sample_rate, hop_length, codebook_size"):
        imported(npy(make_codes(4, 10)), "npy")


@settings(max_examples=50)
@given(header=headers())
def test_headers_survive_json(header):
    assert header_from(json.loads(json.dumps(header_fields(header)))) == header
