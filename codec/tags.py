"""Convert tags of audio files to (key, value) pairs and back, with mutagen: title, artist, album, date, track, comment.

A key may occur more than once, in files as in the container. The container's other keys are
written if the format supports any key.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Tags = list[tuple[str, str]]
KEYS = ("title", "artist", "album", "date", "track", "comment")
NAMES = {  # key: its names in Vorbis comments, APE, ASF, MP4, and in FFmpeg
    "title": ("title", "\xa9nam"),
    "artist": ("artist", "author", "\xa9art"),
    "album": ("album", "wm/albumtitle", "\xa9alb"),
    "date": ("date", "year", "wm/year", "\xa9day"),
    "track": ("tracknumber", "track", "wm/tracknumber", "trkn"),
    "comment": ("comment", "description", "\xa9cmt"),
}
FRAMES = {"title": "TIT2", "artist": "TPE1", "album": "TALB", "date": "TDRC", "track": "TRCK"}  # of ID3
INFO = {"title": b"INAM", "artist": b"IART", "album": b"IPRD", "date": b"ICRD", "track": b"IPRT", "comment": b"ICMT"}
MAX_VALUE = 1 << 13  # bytes of UTF-8
MAX_TOTAL = 3 << 14  # bytes of all; the container's header has 64 KiB
MAX_TAGS = 200


def read_tags(data: Any) -> Tags:
    """Return the tags at the start of a file object of any format; empty if it is not recognized."""
    import mutagen

    try:
        file = mutagen.File(data)
    except Exception:  # the start of a pipe may end within its tags
        return []
    return [] if file is None or file.tags is None else _pairs(file.tags)


def read_id3(data: bytes) -> Tags:
    """Return the tags in an ID3v2 block."""
    from mutagen.id3 import ID3

    try:
        return _pairs(ID3(io.BytesIO(data)))
    except Exception:  # damaged tags do not mean damaged sound
        return []


def merge(*sources: Iterable[tuple[str, str]]) -> Tags:
    """Return for every key the values of the first source that has it, in order, limited to the container's room."""
    merged: Tags = []
    pairs = [list(source) for source in sources]
    room = MAX_TOTAL
    for key in KEYS:
        found = [[v for k, v in source if k == key] for source in pairs]
        values: list[str] = next((values for values in found if values), [])
        for value in dict.fromkeys(values):  # some files repeat a value
            text = value.replace("\0", "").strip().encode("utf-8", "replace")[:MAX_VALUE].decode("utf-8", "ignore")
            if text and len(text.encode()) + len(key) < room and len(merged) < MAX_TAGS:
                merged.append((key, text))
                room -= len(text.encode()) + len(key)
    return merged


def from_mapping(found: Mapping[str, str]) -> Tags:
    """Return tags from FFmpeg's metadata."""
    lower = {key.lower(): value for key, value in found.items()}
    return [(key, lower[name]) for key, names in NAMES.items() for name in names if name in lower]


def _pairs(tags: Any) -> Tags:
    from mutagen.id3 import ID3

    if isinstance(tags, ID3):
        frames = {**FRAMES, "comment": "COMM"}
        pairs = [(key, text) for key in KEYS for frame in tags.getall(frames[key]) for text in _texts(frame.text)]
        have = {key for key, _ in pairs}  # FFmpeg writes comments with any key into TXXX frames
        return pairs + [(f.desc, text) for f in tags.getall("TXXX") if f.desc not in have for text in _texts(f.text)]
    lower: dict[str, Any] = {}
    for key in tags.keys():  # noqa: SIM118 - of some formats, iterating gives pairs
        lower.setdefault(str(key).lower(), tags[key])
    pairs = []
    for key, names in NAMES.items():
        values: Any = next((lower[name] for name in names if name in lower), [])
        pairs += [(key, text) for text in _texts(values)]
    return pairs


def _texts(values: Any) -> list[str]:
    """Return the values of a tag as text; a track number may be a pair."""
    if isinstance(values, str | bytes):
        values = [values]
    return [
        "/".join(str(part) for part in value if part) if isinstance(value, tuple) else str(value)
        for value in values
        if not isinstance(value, bytes)
    ]


def write_tags(path: Path, form: str, tags: Iterable[tuple[str, str]]) -> None:
    """Write tags into a complete audio file: wav, flac, ogg, opus, mp3, m4a, aiff. Other formats get none.

    Raises OSError if the file cannot be changed.
    """
    import mutagen

    kept = [(key, value.replace("\0", "")) for key, value in tags]
    writer = WRITERS.get(form.lower().removeprefix("."))
    if writer is None or not kept:
        return
    try:
        writer(path, kept)
    except mutagen.MutagenError as error:
        cause = error.args[0] if error.args else None
        raise cause if isinstance(cause, OSError) else OSError(f"tags cannot be written ({error})") from error


def _grouped(tags: Tags) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, value in tags:
        groups.setdefault(key, []).append(value)
    return groups


def _id3(tags: Tags) -> Any:
    from mutagen import id3

    block = id3.ID3()
    for key, values in _grouped(tags).items():
        if key == "comment":
            block.add(id3.COMM(encoding=3, lang="eng", desc="", text=values))
        elif key in FRAMES:
            block.add(getattr(id3, FRAMES[key])(encoding=3, text=values))
        else:
            block.add(id3.TXXX(encoding=3, desc=key, text=values))
    return block


def _write_mp3(path: Path, tags: Tags) -> None:
    _id3(tags).save(path)


def _write_aiff(path: Path, tags: Tags) -> None:
    from mutagen.aiff import AIFF

    file: Any = AIFF(path)
    file.add_tags()
    for frame in _id3(tags).values():
        file.tags.add(frame)
    file.save()


def _vorbis_writer(module: str, name: str) -> Callable[[Path, Tags], None]:
    """Return a function that writes Vorbis comments, which accept any printable key."""

    def write(path: Path, tags: Tags) -> None:
        from importlib import import_module

        file = getattr(import_module(f"mutagen.{module}"), name)(path)
        if file.tags is None:
            file.add_tags()
        for key, values in _grouped(tags).items():
            if all(0x20 <= ord(letter) < 0x7E for letter in key):
                file.tags["tracknumber" if key == "track" else key] = values
        file.save()

    return write


def _write_mp4(path: Path, tags: Tags) -> None:
    from mutagen.mp4 import MP4, MP4FreeForm

    file: Any = MP4(path)
    if file.tags is None:
        file.add_tags()
    atoms = {"title": "\xa9nam", "artist": "\xa9ART", "album": "\xa9alb", "date": "\xa9day", "comment": "\xa9cmt"}
    for key, values in _grouped(tags).items():
        number, _, total = values[0].partition("/")
        if key == "track" and number.isdecimal() and (total or "0").isdecimal():
            file.tags["trkn"] = [(int(number) & 0xFFFF, int(total or 0) & 0xFFFF)]
        elif key in atoms:
            file.tags[atoms[key]] = values
        else:
            file.tags[f"----:ecdc:{key}"] = [MP4FreeForm(value.encode()) for value in values]
    file.save()


def _write_wav(path: Path, tags: Tags) -> None:
    """Append an INFO list, which every program reads, and an ID3 block, which can hold every key."""
    entries = b"".join(_chunk(INFO[key], value.encode() + b"\0") for key, value in tags if key in INFO)
    block = io.BytesIO()
    _id3(tags).save(block)
    with open(path, "r+b") as file:
        head = file.read(28)
        file.seek(0, io.SEEK_END)
        if file.tell() & 1:
            file.write(b"\0")
        file.write(_chunk(b"LIST", b"INFO" + entries) if entries else b"")
        file.write(_chunk(b"id3 ", block.getvalue()))
        size = file.tell() - 8
        if head[:4] == b"RF64" and head[12:16] == b"ds64":
            file.seek(20)
            file.write(struct.pack("<Q", size))
        elif size < 0xFFFFFFFF:
            file.seek(4)
            file.write(struct.pack("<I", size))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


WRITERS: dict[str, Callable[[Path, Tags], None]] = {
    "mp3": _write_mp3,
    "wav": _write_wav,
    "flac": _vorbis_writer("flac", "FLAC"),
    "ogg": _vorbis_writer("oggvorbis", "OggVorbis"),
    "ogg vorbis": _vorbis_writer("oggvorbis", "OggVorbis"),
    "opus": _vorbis_writer("oggopus", "OggOpus"),
    "m4a": _write_mp4,
    "aiff": _write_aiff,
}
