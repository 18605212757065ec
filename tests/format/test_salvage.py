"""Damage costs the chunks that it hits, and no others; their time is kept."""

import io

import numpy as np
import pytest
from cases import Pipe, make_codes, make_header, write
from ecdc.format import Corrupt, Reader, Writer
from ecdc.format.salvage import Salvage, repair

CODES = make_codes(2, 1000)
DATA = write(make_header(), CODES, chunk_frames=100)
OFFSETS = Reader(io.BytesIO(DATA)).index.offsets


def salvaged(data, source=io.BytesIO):
    """The codes [K, T] with -1 for what was lost, what was lost, and the END chunk."""
    salvage = Salvage(Reader(source(data)))
    parts = []
    for chunk in salvage:
        assert chunk.first_frame == sum(part.shape[1] for part in parts)
        parts.append(chunk.codes.astype(int) if sum(chunk.n_codebooks) else np.full((2, chunk.n_frames), -1))
    codes = np.concatenate(parts, axis=1) if parts else np.empty((2, 0), int)
    return codes, [(item.first_frame, item.n_frames) for item in salvage.lost], salvage.trailer


def without(*chunks):
    expected = CODES.astype(int).copy()
    for i in chunks:
        expected[:, 100 * i : 100 * i + 100] = -1
    return expected


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_whole_streams_lose_nothing(source):
    codes, lost, trailer = salvaged(DATA, source)
    assert np.array_equal(codes, CODES) and not lost and trailer.n_samples == 1000 * 320


@pytest.mark.parametrize("source", [io.BytesIO, lambda data: Pipe(data, at_most=7)])
@pytest.mark.parametrize("i", [0, 4, 9])
def test_any_damage_costs_the_chunk_that_it_hits(i, source):
    rng = np.random.default_rng(i)
    for at in rng.integers(OFFSETS[i], OFFSETS[i + 1], 8):
        data = bytearray(DATA)
        data[at] ^= 1 << rng.integers(8)
        codes, lost, trailer = salvaged(bytes(data), source)
        assert np.array_equal(codes, without(i)) and lost == [(100 * i, 100)] and trailer is not None


def test_several_chunks_and_inserted_and_missing_bytes():
    a, b = int(OFFSETS[2]), int(OFFSETS[5])
    noise = np.random.default_rng(0).bytes(b - a)
    codes, lost, trailer = salvaged(DATA[:a] + noise + DATA[b:])
    assert np.array_equal(codes, without(2, 3, 4)) and lost == [(200, 300)] and trailer
    codes, lost, trailer = salvaged(DATA[: a + 50] + b"surplus" + DATA[a + 50 :])
    assert np.array_equal(codes, without(2)) and trailer is not None
    codes, lost, trailer = salvaged(DATA[:a] + DATA[b:])
    assert np.array_equal(codes, without(2, 3, 4)) and lost == [(200, 300)] and trailer is not None


@pytest.mark.parametrize("source", [io.BytesIO, Pipe])
def test_bytes_lost_or_inserted_leave_the_exact_length(source):
    """The END chunk then stands at another place than it says, and is whole."""
    data = write(make_header(), CODES, chunk_frames=100, n_samples=319_800)
    rng = np.random.default_rng(0)
    for at in rng.integers(OFFSETS[0], OFFSETS[-1], 20):
        for changed in (data[:at] + b"surplus" + data[at:], data[: at - 5] + data[at:]):
            output = io.BytesIO()
            lost = repair(Reader(source(changed)), output)
            assert len(lost) == 1 or (lost[-1].n_frames == 0 and at >= OFFSETS[-2]), "only the last chunk can hide the end"
            if lost[-1].n_frames:
                output.seek(0)
                assert Reader(output).n_samples == 319_800


def test_the_end_of_another_stream_is_not_taken():
    other = write(make_header(), make_codes(2, 1300), chunk_frames=130)
    for first in (DATA[: OFFSETS[-1]], DATA[: OFFSETS[-1] + 9]):
        codes, lost, trailer = salvaged(first + other)
        assert np.array_equal(codes[:, :1000], CODES) and trailer is None and lost[-1][1] == 0


def test_every_cut_keeps_the_whole_chunks_before_it():
    for at in range(int(OFFSETS[0]), len(DATA), 37):
        whole = int(np.searchsorted(OFFSETS, at, side="right")) - 1
        codes, lost, trailer = salvaged(DATA[:at])
        assert np.array_equal(codes, CODES[:, : 100 * whole]) and lost == [(100 * whole, 0)] and trailer is None


def test_repaired_streams_are_valid_and_as_long():
    data = bytearray(DATA)
    data[int(OFFSETS[3]) + 20] ^= 1
    out = io.BytesIO()
    lost = repair(Reader(io.BytesIO(bytes(data))), out)
    assert [item.describe(make_header()) for item in lost] == [f"byte {OFFSETS[3]}: damaged; silence from 4.00 s to 5.33 s"]
    reader = Reader(io.BytesIO(out.getvalue()))
    chunks = list(reader)
    assert reader.n_frames == 1000 and reader.n_samples == Reader(io.BytesIO(DATA)).n_samples
    assert sum(chunk.n_frames for chunk in chunks if not sum(chunk.n_codebooks)) == 100
    again = io.BytesIO()
    assert repair(Reader(io.BytesIO(out.getvalue())), again) == [] and again.getvalue() == out.getvalue()


def test_segments_are_lost_one_by_one():
    head = make_header(segment_length=3200, segment_stride=3000)
    stream = io.BytesIO()
    with Writer(stream, head) as writer:
        for i in range(6):
            writer.append_segment(CODES[:, 10 * i : 10 * i + 10], 0.5)
    data = bytearray(stream.getvalue())
    offsets = Reader(io.BytesIO(bytes(data))).index.offsets
    data[int(offsets[2]) + 30] ^= 1
    data[int(offsets[3]) + 30] ^= 1
    chunks = list(Salvage(Reader(io.BytesIO(bytes(data)))))
    assert [sum(chunk.n_codebooks) for chunk in chunks] == [2, 2, 0, 0, 2, 2]
    assert [chunk.n_frames for chunk in chunks] == [10] * 6


def test_claims_that_no_bytes_justify_are_refused():
    stream = io.BytesIO()
    writer = Writer(stream, make_header(), chunk_frames=100)
    writer.append(CODES[:, :100])
    writer._written_frames = 2**40
    writer.append(CODES[:, :100])
    writer.append(CODES[:, :1])
    with pytest.raises(Corrupt, match="more than fit here"):
        list(Salvage(Reader(io.BytesIO(stream.getvalue()))))


def test_stacked_sync_words_end():
    head = DATA[: int(OFFSETS[0])]
    one = bytes.fromhex("ecdc936b 01 00 00000000") + (4000).to_bytes(4, "little")
    with pytest.raises(Corrupt, match="too many chunks begin here"):
        list(Salvage(Reader(io.BytesIO(head + one * 200_000))))
