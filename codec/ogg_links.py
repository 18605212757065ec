"""Concatenated ("chained") Ogg streams: each link is read separately, and every page is checked.

RFC 3533 allows a file to hold several streams in a row. A link starts at first pages (BOS) that
follow other pages.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from .lookahead import LookaheadReader

HEAD = 27  # bytes of a page before its segment table
FIRST, LAST = 2, 4  # flags of a page: BOS, EOS
SOUNDS = (b"\x01vorbis", b"OpusHead", b"Speex", b"\x7fFLAC")
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggLinks:
    """The links of an Ogg stream in order, as file objects.

    `problem` is None, or what is wrong and after how many samples of sound.
    """

    def __init__(self, stream: LookaheadReader) -> None:
        self._stream = stream
        self.problem: tuple[str, int] | None = None
        self._sequences: dict[bytes, int] = {}  # number of the next page of each stream
        self._sound: bytes | None = None  # serial number of the link's first sound stream
        self._before = self._granule = 0  # samples in previous links, and so far in this one
        self._page = self._next_page()

    def __iter__(self) -> Iterator[OggLink]:
        while self._page:
            self._sequences.clear()
            self._sound = None
            self._before, self._granule = self._before + self._granule, 0
            link = OggLink(self)
            yield link
            while link.read(1 << 16):  # whatever the reader of this link left unread
                pass

    def next_of_link(self, begun: bool) -> tuple[bytes, bool]:
        """Return the next page of this link (empty at its end), and False while all pages so far are first pages."""
        page = self._page
        if not page or (begun and page[5] & FIRST):
            return b"", begun
        self._check(page)
        self._page = self._next_page()
        return page, begun or not page[5] & FIRST

    def _next_page(self) -> bytes:
        """Return one page, damaged or not; empty at the end of the stream."""
        skipped = 0
        while (ahead := self._stream.peek(HEAD)) and ahead[:4] != b"OggS":
            at = self._stream.peek(4096).find(b"OggS", 1)
            step = at if at > 0 else max(1, len(self._stream.peek(4096)) - 3)
            junk = self._stream.take(step)
            skipped += step
            if any(junk) and not junk.startswith((b"ID3", b"TAG")):
                self._note("bytes between two pages")
        if not ahead:
            return b""
        table = self._stream.peek(HEAD + ahead[-1])[HEAD:] if len(ahead) == HEAD else b""
        size = HEAD + len(table) + sum(table)
        page = self._stream.take(size)
        if len(ahead) < HEAD or len(table) < ahead[-1] or len(page) < size:
            self._note("the last page is cut off")
            return b""
        return page

    def _check(self, page: bytes) -> None:
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        expected = self._sequences.get(serial)
        self._sequences[serial] = number + 1
        if page_crc(page) != int.from_bytes(page[22:26], "little"):
            self._note("a page's checksum is wrong")
        elif expected is not None and number != expected:
            self._note("a page is missing")
        if page[5] & FIRST and self._sound is None and page[HEAD + page[26] :].startswith(SOUNDS):
            self._sound = serial
        granule = int.from_bytes(page[6:14], "little", signed=True)
        if granule >= 0 and serial == self._sound and self.problem is None:
            self._granule = granule

    def _note(self, what: str) -> None:
        self.problem = self.problem or (what, self._before + self._granule)


class OggLink:
    """The pages of one link as a forward-only file object."""

    def __init__(self, links: OggLinks) -> None:
        self._links = links
        self._begun = False
        self._rest = b""

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, at most `n_bytes`; empty at the end of the link."""
        if not self._rest:
            self._rest, self._begun = self._links.next_of_link(self._begun)
        part, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return part


def page_crc(page: bytes) -> int:
    """Return the checksum of an Ogg page (polynomial 0x04C11DB7, most significant bit first), using zlib's mirrored one."""
    blank = (page[:22] + b"\0\0\0\0" + page[26:]).translate(REVERSED)
    mirrored = zlib.crc32(blank, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
