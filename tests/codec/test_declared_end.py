"""Where files should end by their own headers, and how much of them is read to find out."""

from ecdc.codec.declared_end import MAX_PARTS, claimed_end


def test_the_work_is_bounded_for_files_of_nothing_but_empty_parts():
    """A file of 2 GB of zeros after its first bytes, which is never made."""
    head = b"RIFF" + (2**31).to_bytes(4, "little") + b"AVI "
    calls = 0

    def read_at(at, n_bytes):
        nonlocal calls
        calls += 1
        assert calls < MAX_PARTS + 10
        return (head[at : at + n_bytes] + bytes(n_bytes))[:n_bytes]

    assert claimed_end(read_at) == 2**31 + 8
    assert calls > 1000


def test_the_last_list_of_samples_of_an_avi_counts():
    movi = b"LIST" + (100).to_bytes(4, "little") + b"movi" + bytes(96)
    form = b"RIFF" + (4 + len(movi)).to_bytes(4, "little") + b"AVI " + movi
    more = form[:8] + b"AVIX" + form[12:]
    for data in (form, form + more):
        assert claimed_end(lambda at, n, data=data: data[at : at + n]) == len(data)
        assert claimed_end(lambda at, n, data=data: data[:-50][at : at + n]) == len(data)
