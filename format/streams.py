"""How many token streams a file has, and how codebooks are shared among them."""

from __future__ import annotations

from .errors import ArgumentError
from .schema import ChannelCoding

SIDE_SHARE = 4  # the side stream gets one of this many codebooks
_N_STREAMS = {
    ChannelCoding.MONO: 1,
    ChannelCoding.LEFT_RIGHT: 2,
    ChannelCoding.MID_SIDE: 2,
    ChannelCoding.JOINT: 1,
}


def stream_count(coding: ChannelCoding) -> int:
    """Return the number of token streams."""
    return _N_STREAMS[coding]


def share_codebooks(total: int, coding: ChannelCoding, max_codebooks: int, is_narrow: bool = False) -> tuple[int, ...]:
    """Divide `total` codebooks among the streams: equally for left and right, three quarters for mid.

    With `is_narrow`, the side gets one codebook, and more only if mid has all. Returns the K of each stream, at most
    `max_codebooks`. Raises ValueError if a stream would get none.
    """
    if stream_count(coding) == 1:
        ks: tuple[int, ...] = (min(total, max_codebooks),)
    elif coding is ChannelCoding.LEFT_RIGHT:
        ks = (min(total // 2, max_codebooks),) * 2
    else:
        total = min(total, 2 * max_codebooks)
        side = max(1, 0 if is_narrow else total // SIDE_SHARE, total - max_codebooks)
        ks = (total - side, side)
    if min(ks) < 1:
        raise ArgumentError(f"{total} codebooks are too few for {len(ks)} streams")
    return ks


def share_like(have: tuple[int, ...], total: int, coding: ChannelCoding, max_codebooks: int) -> tuple[int, ...]:
    """Divide `total` codebooks as `have`, the K of each stream, were divided: with a narrow side if only that gives `have`."""
    usual, narrow = ((), ()) if min(have) < 1 else (share_codebooks(sum(have), coding, max_codebooks, x) for x in (False, True))
    return share_codebooks(total, coding, max_codebooks, is_narrow=have == narrow != usual)


def all_shares(coding: ChannelCoding, max_codebooks: int, is_narrow: bool = False) -> tuple[tuple[int, ...], ...]:
    """Return every K tuple that `share_codebooks` makes, from one codebook per stream to all of them."""
    n_streams = stream_count(coding)
    totals = range(n_streams, n_streams * max_codebooks + 1)
    return tuple(dict.fromkeys(share_codebooks(total, coding, max_codebooks, is_narrow) for total in totals))
