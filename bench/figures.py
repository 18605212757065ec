"""Write the figures of README.md, docs/figures.md and the model cards from the rows in bench/results.

    ecdc bench figures            # after a bench command wrote new results; --check only compares

Each block stands between two comments, `<!-- figures: NAME -->` and `<!-- end -->`. Commands that made the results:

    ecdc bench --codec nano-48k --codec nano-24k --codec opus --codec mp3 --codec anchors --output runs/bench
    cp runs/bench/rows.jsonl bench/results/quality.jsonl
    ecdc bench decoders --packed runs/audio/packed --json bench/results/decoders.json
    ecdc bench artifacts --packed runs/audio/packed48 --json bench/results/artifacts.json
    ecdc bench speed --json bench/results/speed.json
    ecdc bench pairs --before ... --json bench/results/pairs.json
    ecdc bench live --json bench/results/live.json
    ecdc bench loss --model nano-24k --packed runs/audio/packed48 --clips 4 --seconds 4 --json bench/results/loss_nano24k.json
    ecdc bench loss --frames 1 --ours-only --packed runs/audio/packed48 --clips 4 --seconds 4 --json \\
        bench/results/loss_nano48k.json
    ecdc bench loss --rows bench/results/loss_nano24k.json --rows bench/results/loss_nano48k.json --plot docs/images/loss.png
    ecdc bench light --json bench/results/light.json
    ecdc bench streams nano-24k nano-48k --json bench/results/streams.json
    ecdc bench container --json bench/results/container.json
    ecdc bench memory --json bench/results/memory_files.json
    ecdc bench memory --minutes 10 --decoder mbd --json bench/results/memory_mbd.json
    ecdc bench memory --pipes --minutes 600 --mono --json bench/results/memory_pipes.json
    ecdc bench seek --json bench/results/seek.json
    ecdc bench entropy-lm --tokens runs/prior/tokens.npy --seconds 780 --output runs/lm.safetensors
    ecdc bench entropy --model nano-24k --packed runs/audio/packed --lm runs/lm.safetensors --json bench/results/entropy.json
    ecdc bench entropy --packed runs/audio/packed48 --no-speed --json bench/results/entropy_nano48k.json
    ecdc bench vbr --model nano-24k --packed runs/audio/packed --seconds 12 --json bench/results/vbr.json
    ecdc bench vbr --model nano-48k --packed runs/audio/packed48 --seconds 12 --json bench/results/vbr_nano48k.json
    ecdc bench mbd-peer --json bench/results/mbd_peer.json
    ecdc bench musicgen-peer --json bench/results/musicgen_peer.json
    ecdc bench music --json bench/results/music.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import (
    artifacts,
    container,
    decoders,
    entropy,
    light,
    live,
    loss,
    mbd_peer,
    memory,
    music_table,
    musicgen_peer,
    pairs,
    report,
    seek,
    speed,
    streams,
    vbr,
)
from .metrics import ALL
from .runner import read_rows

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FILES = (
    ROOT / "README.md",
    ROOT / "docs" / "figures.md",
    ROOT / "docs" / "light-runtime.md",
    ROOT / "docs" / "live.md",
    ROOT / "codec" / "weights" / "nano-24k" / "CARD.md",
    ROOT / "plugins" / "musicgen" / "weights" / "musicgen-nano" / "CARD.md",
)
BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("visqol", "zimtohrli", "mel", "stft", "si_sdr")  # metrics for all clips; speech has more metrics


def quality_table(path: Path, kind: str | None = None) -> str:
    """Return the table of a run's rows, followed by a description of the measurement."""
    rows = read_rows(path)
    keys = [key for key in ALL if (key in SHOWN if kind is None else key not in ("mel", "stft"))]
    table = report.markdown(report.summarize(rows, keys, kind), keys)
    return f"{table}\n\n{report.describe([row for row in rows if kind in (None, row['kind'])])}"


FRONT = ("nano-48k 3", "nano-48k 6", "nano-48k 12", "nano-24k 6", "Opus 6", "Opus 12")  # codecs in the README


def summary_table(path: Path) -> str:
    """Return the README's short table: two metrics over all clips, and PESQ over speech."""
    rows = [row for row in read_rows(path) if row["codec"] in FRONT]
    everything, speech = report.summarize(rows, ("visqol", "zimtohrli")), report.summarize(rows, ("pesq",), "speech")
    names = "codec", "real kbps", "ViSQOL (1 to 5)", "Zimtohrli (1 to 5)", "PESQ, speech (1 to 4.64)"
    lines = [f"| {' | '.join(names)} |", "|---" + "|---:" * 4 + "|"]
    for line, spoken in zip(everything, speech, strict=True):
        scores = [f"{x[0]:.2f}" for x in (line["visqol"], line["zimtohrli"], spoken["pesq"])]
        lines.append(f"| {line['codec']} | {line['kbps']:.2f} | {' | '.join(scores)} |")
    return "\n".join(lines)


def _json(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def _losses() -> list[dict[str, Any]]:
    return loss.merged([RESULTS / f"loss_nano{name}.json" for name in ("24k", "48k")])


BLOCKS: dict[str, Callable[[], str]] = {
    "front": lambda: summary_table(RESULTS / "quality.jsonl"),
    "quality": lambda: quality_table(RESULTS / "quality.jsonl"),
    "quality-speech": lambda: quality_table(RESULTS / "quality.jsonl", "speech"),
    "artifacts": lambda: artifacts.markdown(_json("artifacts.json")),
    "speed": lambda: speed.markdown(_json("speed.json")),
    "pairs": lambda: pairs.markdown(_json("pairs.json")),
    "live": lambda: live.markdown(_json("live.json")),
    "loss": lambda: loss.markdown(_losses(), tuple(loss.NAMES)),
    "loss-short": lambda: loss.markdown(loss.selected(_losses()), tuple(loss.NAMES)),
    "light": lambda: light.table(_json("light.json")),
    "streams": lambda: streams.markdown(_json("streams.json")),
    "container": lambda: container.markdown(_json("container.json")),
    "decoders": lambda: decoders.markdown(_json("decoders.json")),
    "memory": lambda: memory.markdown([_json(f"memory_{name}.json") for name in ("files", "mbd", "pipes")]),
    "seek": lambda: seek.markdown(_json("seek.json")),
    "entropy": lambda: entropy.markdown(_json("entropy.json")),
    "entropy-nano48k": lambda: entropy.markdown(_json("entropy_nano48k.json")),
    "vbr": lambda: vbr.markdown(_json("vbr.json")),
    "vbr-nano48k": lambda: vbr.markdown(_json("vbr_nano48k.json")),
    "mbd-peer": lambda: mbd_peer.markdown(_json("mbd_peer.json")),
    "musicgen-peer": lambda: musicgen_peer.markdown(_json("musicgen_peer.json")),
    "music": lambda: music_table.markdown(_json("music.json")),
}


def fill_blocks(text: str) -> str:
    """Return a document with every block made from the results; raises KeyError for a name that is not in BLOCKS."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail where a figure differs.")
def main(check: bool) -> None:
    """Bring the documents in line with the results."""
    for path in FILES:
        before = path.read_text(encoding="utf-8")
        after = fill_blocks(before)
        if before != after and check:
            raise click.ClickException(f"{path}: its figures are not those of {RESULTS}")
        if before != after:
            path.write_text(after, encoding="utf-8")
            click.echo(f"{path}: written")


if __name__ == "__main__":
    main()
