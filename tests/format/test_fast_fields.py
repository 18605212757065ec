"""The usual case of a chunk's fields is read and written as construct would, and everything else is left to construct."""

import construct
from ecdc.format import fast_fields as fast
from ecdc.format.errors import FormatError
from ecdc.format.schema import CHUNK, CODES, MAX_LENGTH, SYNC, FieldError, parse
from hypothesis import example, given
from hypothesis import strategies as st

small, word = st.integers(-1, 260), st.one_of(st.integers(-1, 2**32 + 1), st.integers(0, 99))


def outcome(action, *arguments):
    """What an action returns, or the type and the words of what it raises."""
    try:
        return action(*arguments)
    except (construct.ConstructError, FormatError, FieldError) as error:
        return type(error), str(error)


@given(small, small, word, word)
def test_heads(kind, flags, sequence, body_size):
    fields = {"kind": kind, "flags": flags, "sequence": sequence, "body_size": body_size}
    assert outcome(fast.build_head, *fields.values()) == outcome(CHUNK.build, fields)


@given(st.one_of(st.binary(max_size=20), st.binary(min_size=8, max_size=12).map(lambda rest: SYNC + rest)))
def test_bytes_of_heads(data):
    wanted, found = outcome(CHUNK.parse, data), outcome(fast.parse_head, data)
    if isinstance(wanted, tuple):
        assert found == wanted
    else:
        assert all(getattr(found, name) == wanted[name] for name in fast.Head._fields)


FIRST = st.one_of(st.integers(-1, 2**64), st.integers(0, 99), st.just(MAX_LENGTH), st.just(MAX_LENGTH + 1))


@given(
    FIRST, st.integers(-1, 2**16), st.sampled_from([0, 1, 2, 255]), st.binary(max_size=3), st.binary(max_size=5),
    st.none() | st.floats(width=32), st.integers(1, 2),
)  # fmt: skip
@example(5, 3, 0, b"\x02", b"abc", None, 1)
def test_codes(first_frame, n_frames, entropy, ks, payload, scale, n_streams):
    fields = fast.Codes(first_frame, n_frames, entropy, ks, scale, payload)
    given_by_construct = {"n_streams": n_streams, "has_scale": scale is not None}
    wanted = outcome(lambda: CODES.build(fields._asdict(), **given_by_construct))
    assert outcome(fast.build_codes, fields, n_streams) == wanted


@given(FIRST.filter(lambda n: 0 <= n < 2**64), st.integers(0, 2**16 - 1), st.integers(0, 3), st.binary(max_size=9),
       st.integers(0, 20), st.integers(1, 2), st.booleans())  # fmt: skip
@example(5, 3, 0, b"\x02abc", 20, 1, False)
def test_bytes_of_codes(first_frame, n_frames, entropy, rest, size, n_streams, has_scale):
    body = (fast.START.pack(first_frame, n_frames, entropy) + rest)[:size]
    wanted = outcome(lambda: parse(CODES, body, 100, n_streams=n_streams, has_scale=has_scale))
    found = outcome(fast.parse_codes, body, 100, n_streams, has_scale)
    if isinstance(wanted, tuple):
        assert found == wanted
    else:
        assert all(getattr(found, name) == wanted[name] for name in fast.Codes._fields)


def test_the_size_of_a_head_is_that_of_the_schema():
    assert CHUNK.sizeof() == fast.HEAD.size
