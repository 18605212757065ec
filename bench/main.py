"""The whole benchmark of `ecdc bench`, from the clips to the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ..codec.default_model import DEFAULT_MODEL
from ..format.errors import ArgumentError
from . import codebook_use, corpus, report
from .codecs import Coder, parse
from .codecs.ours import Ours, loaded
from .corpus import Clip
from .metrics import ALL, metric
from .page import Coder as PageCoder
from .page import Metric, Page, Sound, write_page
from .runner import Plan, Row, audio_file, run

DEFAULT_CODECS = (DEFAULT_MODEL, "opus", "mp3", "anchors")
PAGE_CLIPS = 24  # most clips on the page, because it contains all of their audio
QUICK_CODECS = (f"{DEFAULT_MODEL}:3,6", "opus:12", "anchors")


@dataclass(frozen=True)
class Request:
    """The settings from the command line."""

    output: Path
    corpus: Path | None = None
    packed: Path | None = None
    synthetic: bool = False
    codecs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    quick: bool = False
    sample_rate: int = 24_000  # Hz, of the references
    max_seconds: float = 10.0  # of a clip
    jobs: int = 1
    seed: int = 0
    force: bool = False
    page: bool = True


def clips_of(request: Request) -> list[Clip]:
    """Return the requested reference clips; raises ValueError if there are none."""
    if request.synthetic:
        return list(corpus.synthetic(request.sample_rate, request.seed))
    if request.corpus is not None:
        return list(corpus.folder(request.corpus, request.sample_rate, request.max_seconds))
    if request.packed is not None:
        return list(corpus.packed(request.packed, request.sample_rate, request.max_seconds))
    return list(corpus.bundled(request.sample_rate))


def plan_of(request: Request) -> Plan:
    """Return the plan: clips, codecs and metrics. Raises ValueError for names that are unknown or given twice."""
    texts = request.codecs or (QUICK_CODECS if request.quick else DEFAULT_CODECS)
    coders = [coder for text in texts for coder in parse(text, request.seed)]
    names = [coder.name for coder in coders]
    if len(set(names)) < len(names):
        raise ArgumentError(f"{next(n for n in names if names.count(n) > 1)}: asked for twice")
    keys = request.metrics or tuple(key for key in ALL if not request.quick or metric(key).QUICK)
    for key in keys:
        metric(key)
    return Plan(clips_of(request), coders, keys, request.seed)


def bench(
    request: Request, tell: Callable[[str], None], started: Callable[[int], Callable[[Row], object]]
) -> tuple[str, str]:
    """Run, and write rows, tables, plots and the page into the output folder.

    Returns the main table, and one line about what could not be measured, or ''. `started` is called with the number of
    rows, and returns a function that is called with each finished row.
    """
    plan = plan_of(request)
    done = started(len(plan.clips) * len(plan.coders))
    rows = run(plan, request.output, request.jobs, request.force, done)
    for line in report.problems(rows):
        tell(line)
    tables = tables_of(rows, plan, tell)
    (request.output / "report.md").write_text(tables + "\n")
    pictures = report.plots(rows, plan.metrics, request.output / "plots")
    if request.page:
        write_html(request, plan, rows, pictures)
    failed = report.unmeasured(rows, bool(request.codecs), bool(request.metrics))
    text = f"{request.output}: {len(failed)} of {len(rows)} rows could not be measured, for the reasons above"
    return tables, text if failed else ""


def tables_of(rows: Sequence[Row], plan: Plan, tell: Callable[[str], None]) -> str:
    """Return Markdown tables: for all clips, for each kind, and for the codebook use of our models."""
    heard = [clip for clip in plan.clips if not clip.problem]
    parts = [report.describe(rows), report.markdown(report.summarize(rows, plan.metrics), plan.metrics)]
    kinds = [kind for kind in (*corpus.KINDS, "audio") if any(clip.kind == kind for clip in heard)]
    for kind in kinds if len(kinds) > 1 else ():
        keys = [key for key in plan.metrics if kind == "speech" or not metric(key).SPEECH_ONLY]
        parts += [f"## {kind.capitalize()}", report.markdown(report.summarize(rows, keys, kind), keys)]
    parts += token_tables(heard, plan.coders)
    return "\n\n".join(parts)


def token_tables(clips: Sequence[Clip], coders: Sequence[Coder]) -> list[str]:
    """Return tables of codebook use and drift for each of our mono models, over clips at its rate."""
    parts = []
    models = {coder.model: coder for coder in coders if isinstance(coder, Ours)}
    for model in models:
        codec = loaded(model)
        own = [clip for clip in clips if clip.sample_rate == codec.sample_rate]
        if codec.config.channels != 1 or codec.config.segment_length or not own:
            continue
        rates = [coder.kbps for coder in coders if isinstance(coder, Ours) and coder.model == model]
        drifts = [codebook_use.drift(codec, own, kbps) for kbps in rates]
        parts.append(codebook_use.markdown(model, codebook_use.usage(codec, own), drifts))
    return parts


def write_html(request: Request, plan: Plan, rows: Sequence[Row], pictures: list[tuple[str, str]]) -> None:
    """Write the self-contained page beside the rows, with sounds, figures and plots."""
    heard = list(dict.fromkeys(row["clip"] for row in rows if "kbps" in row))[:PAGE_CLIPS]
    summary = report.summarize(rows, plan.metrics)
    anchors = {coder.name for coder in plan.coders if coder.family in ("anchor", "PCM")}
    facts = {
        "measured": report.describe(rows),
        "codecs": "; ".join(line["codec"] for line in summary),
        "clips": f"{len(heard)} here, of {len(plan.clips)} measured",
        "repeat it": "ecdc bench, with the same clips and seed; rows.jsonl beside this page holds every figure",
    }
    keys = [key for key in plan.metrics if any(line[key] for line in summary)]  # no empty columns
    page = Page(
        title="ecdc bench",
        facts=facts,
        sounds=[sound_of(clip, request.output, rows) for clip in plan.clips if clip.name in heard],
        coders=[PageCoder(line["codec"], line["family"], line["kbps"] or None, line["codec"] in anchors) for line in summary],
        metrics=[Metric(key, m.NAME, m.UNIT, m.HIGHER_IS_BETTER) for key, m in zip(keys, map(metric, keys), strict=True)],
        rows=[row for row in rows if "kbps" in row and row["clip"] in heard],
        summary=[line | {"kbps": line["kbps"] or None} for line in summary],
        plots=pictures,
    )
    write_page(request.output / "index.html", page)


def sound_of(clip: Clip, output: Path, rows: Sequence[Row]) -> Sound:
    """Return a clip with the decoded audio of every codec."""
    names = [row["codec"] for row in rows if row["clip"] == clip.name and "kbps" in row]
    decoded = {name: soundfile.read(audio_file(output, clip.name, name), dtype="float32")[0] for name in names}
    return Sound(clip.name, clip.kind, clip.licence, clip.sample_rate, clip.bandwidth_hz, clip.audio, decoded)
