"""Print the table of training audio for model cards: hours, licences, rates and bandwidth, from the masters' index.

python -m ecdc.train.data.audio_table runs/audio/masters > train/data/TRAINING_AUDIO.md
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import click

from .memory_maps import Row, read_index
from .pack import FULL_BAND_HZ, MASTER_RATE, pack_group

RATES = (16_000, 32_000, 44_100)  # Hz, upper ends of the columns of native rates; above: "more"
BANDS = (8_100, 11_100, FULL_BAND_HZ)  # Hz, upper ends of the columns of bandwidth

INTRODUCTION = f"""# Training audio

Free audio from Debian main, fetched by `ecdc train fetch`. Every licence allows commercial use; the file debian/copyright
of a package names the licence of each file. One file in 50, chosen by a hash of its name, is used for validation and never
for training. The bandwidth is measured (`bandwidth` in decode.py), because a file at 44.1 kHz may have been made from one at
22.05 kHz or from an MP3. In a pack at 48 kHz, speech with a bandwidth of at least {FULL_BAND_HZ / 1000:g} kHz is `speech`,
other speech is `speech16k`.
"""


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def hours_table(title: str, rows: list[Row], key: str, edges: tuple[int, ...]) -> str:
    """Return a table of hours per group, in columns of `key` (Hz) up to each of `edges`."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * (len(edges) + 2))
    for row in rows:
        place = next((i for i, edge in enumerate(edges) if row[key] < edge or row[key] == edge != FULL_BAND_HZ), len(edges))
        for group in (pack_group(row, MASTER_RATE), "all"):
            sums[group][place] += hours(row)
            sums[group][-1] += hours(row)
    names = [f"to {edge / 1000:g} kHz" for edge in edges] + ["more", "all"]
    order = sorted(sums, key=lambda group: (group == "all", group))
    return table([title, *names], ([group, *(f"{value:.2f}" for value in sums[group])] for group in order))


def package_table(rows: list[Row]) -> str:
    """Return a table of files, hours and licence per group and package."""
    sums: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for row in rows:
        entry = sums[row["group"].removesuffix("16k"), row["package"], row["licence"]]
        entry[0] += 1
        entry[1] += hours(row)
        entry[2] += hours(row) * (row["bandwidth"] >= FULL_BAND_HZ)
    order = sorted(sums.items(), key=lambda item: (item[0][0], -item[1][1]))
    head = ["kind", "package", "files", "hours", "of full band", "licence"]
    return table(head, ([kind, name, f"{n:.0f}", f"{h:.2f}", f"{full:.2f}", lic] for (kind, name, lic), (n, h, full) in order))


def hours(row: Row) -> float:
    """Return the length of a file in hours."""
    return float(row["length"] / MASTER_RATE / 3600)


@click.command()
@click.argument("masters", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(masters: Path) -> None:
    """Print the table of MASTERS as Markdown."""
    rows = read_index(masters)
    by_rate = hours_table("hours by native rate", rows, "native_rate", RATES)
    by_band = hours_table("hours by bandwidth", rows, "bandwidth", BANDS)
    click.echo("\n".join((INTRODUCTION, by_rate, by_band, package_table(rows))), nl=False)


if __name__ == "__main__":
    main()
