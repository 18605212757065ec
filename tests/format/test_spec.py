"""SPEC.md says what the code does: its examples are streams, and its tables are the schema's."""

import io
import re
from pathlib import Path

import ecdc.format
import numpy as np
from cases import write
from ecdc.format.reader import Reader
from ecdc.format.schema import CODES, END, HEADER, Kind
from ecdc.format.writer import Writer

SPEC = (Path(ecdc.format.__file__).parent / "SPEC.md").read_text()


def examples() -> list[bytes]:
    blocks = re.findall(r"```hex\n(.*?)```", SPEC, re.DOTALL)
    return [bytes.fromhex("".join(line.split("|")[0] for line in block.splitlines())) for block in blocks]


def test_first_example():
    data = examples()[0]
    reader = Reader(io.BytesIO(data))
    assert reader.codes().tolist() == [[1, 2, 3], [1023, 0, 512]]
    assert reader.n_samples == 900 and reader.header.tags == (("title", "Hé"),)
    assert write(reader.header, reader.codes()) == data


def test_second_example():
    data = examples()[1]
    reader, again = Reader(io.BytesIO(data)), io.BytesIO()
    with Writer(again, reader.header) as writer:
        for chunk in reader:
            writer.append_segment(chunk.codes, chunk.scale, chunk.n_codebooks)
        assert (reader.n_samples, reader.header.n_samples) == (700, None)
        writer.close(700, 700)
    assert again.getvalue() == data
    assert [(c.n_codebooks, c.scale, c.codes.tolist()) for c in reader] == [
        ((2, 1), 0.5, [[1, 2], [999, 0], [7, 8]]),
        ((1, 0), 0.25, [[5]]),
    ]


def section(number: int) -> str:
    return SPEC.split(f"\n## {number}. ")[1].split("\n## ")[0]


def fields_in(text: str) -> list[str]:
    return [name for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE) for name in re.findall(r"\| `(\w+)` \|", f"|{row}|")]


def test_tables_name_the_fields_of_the_schema_in_their_order():
    header = section(3).split("\n**Lengths")[0]
    assert fields_in(header) == [*(f.name for f in HEADER.subcons if f.name not in ("tags", "extra")), "n_tags", "crc"]
    assert fields_in(section(5)) == [f.name for f in CODES.subcons]
    assert fields_in(section(6)) == ["n_samples", "original_n_samples", "checksum", "size", "n_frames", "end_size"]
    assert [f.name for f in END.subcons][:3] == fields_in(section(6))[:3]


def test_offsets_in_the_header_table_are_those_of_the_schema():
    stated = {name: int(offset) for offset, name in re.findall(r"^\| (\d+) \| [^|]* \| `(\w+)`", section(3), re.MULTILINE)}
    offset = 0
    for field in HEADER.subcons:
        assert stated.pop(field.name) == offset
        if field.name == "codec":
            break
        offset += field.sizeof()
    assert not stated


def test_kinds_are_those_of_the_schema():
    for kind in Kind:
        assert f"{kind}: {kind.name}" in section(4)


def test_a_payload_is_the_integer_that_the_document_describes():
    codes = np.array([[1, 2, 3], [1023, 0, 512]])
    number = sum(int(code) << (10 * i) for i, code in enumerate(codes.T.ravel()))
    assert number.to_bytes(8, "little").hex(" ") in SPEC
