"""The listening page: figures, plots, sound, spectrograms and two blind tests in one HTML file that needs no network.

The JavaScript files beside this module are joined, in the order of `SCRIPTS`, into one script. The page's security policy
allows only this script to run, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import soundfile

from ...format.files import output_stream
from .check import REFERENCE, check_page

SCRIPTS = ("dom", "audio", "spectrogram", "figures", "listening", "blind", "mushra", "abx", "main")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Metric:
    """A column of figures: its key in rows, its displayed name and unit, and which direction is better."""

    key: str
    name: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Coder:
    """A codec at a setting; `kbps` is its mean real bitrate, None if it has none (low-passed anchors)."""

    name: str
    family: str
    kbps: float | None
    anchor: bool = False


@dataclass(frozen=True)
class Sound:
    """A clip: `reference` and the decoded audio of each codec, mono float32 [N] of equal length at `sample_rate`.

    `bandwidth_hz` is the highest frequency in the recording itself. A codec that failed on
    the clip is missing from `decoded`.
    """

    name: str
    kind: str
    licence: str
    sample_rate: int
    bandwidth_hz: int
    reference: np.ndarray
    decoded: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Page:
    """Everything on a page.

    `rows`: one per clip and codec: clip, codec, kbps, each metric's key -> float or None, and
    optionally why: key -> the reason of a None. `summary`: one per codec: codec, kbps, each
    key -> [mean, half interval] or None, optionally why. `plots`: (caption, SVG text).
    """

    title: str
    facts: Mapping[str, str]
    sounds: Sequence[Sound]
    coders: Sequence[Coder]
    metrics: Sequence[Metric]
    rows: Sequence[Mapping[str, Any]]
    summary: Sequence[Mapping[str, Any]]
    plots: Sequence[tuple[str, str]] = field(default=())


def write_page(target: Path, page: Page) -> None:
    """Write one self-contained HTML file, which appears only when it is complete.

    Audio beyond ±1 is clipped, as in any 16-bit file. Raises ValueError, with the place of the fault, if
    the content cannot be shown: see `check_page`.
    """
    check_page(page)
    sounds = [versions(sound, page.coders) for sound in page.sounds]
    script = "\n" + "\n".join((FOLDER / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = Template((FOLDER / "template.html").read_text("utf-8")).substitute(
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'",
        title=html.escape(page.title),
        style=(FOLDER / "style.css").read_text("utf-8"),
        plots="\n".join(plot_html(caption, svg) for caption, svg in page.plots),
        data=script_json(describe(page, sounds)),
        audio="\n".join(audio_html(page, sounds)),
        script=script,
    )
    with output_stream(target) as stream:
        stream.write(text.encode())


def versions(sound: Sound, coders: Sequence[Coder]) -> dict[str, np.ndarray]:
    """Return the playable versions of a clip: the reference, then the codecs in order, int16 [N] each."""
    signals = {REFERENCE: sound.reference} | {c.name: sound.decoded[c.name] for c in coders if c.name in sound.decoded}
    return {name: np.clip(np.rint(np.asarray(x) * 32768.0), -32768, 32767).astype(np.int16) for name, x in signals.items()}


def page_id(page: Page, sounds: Sequence[Mapping[str, np.ndarray]]) -> str:
    """Return the SHA-256 (hex) of what listeners judge: names and samples, but not the figures and facts beside them."""
    digest = hashlib.sha256()
    for sound, signals in zip(page.sounds, sounds, strict=True):
        digest.update(json.dumps([sound.name, sound.sample_rate, len(sound.reference), list(signals)]).encode())
        for samples in signals.values():
            digest.update(samples.astype("<i2").tobytes())
    return digest.hexdigest()


def describe(page: Page, sounds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Return all data of the scripts except the audio."""
    about = ("name", "kind", "licence", "sample_rate", "bandwidth_hz")
    return {
        "id": page_id(page, sounds),
        "facts": dict(page.facts),
        "metrics": [asdict(metric) for metric in page.metrics],
        "coders": [asdict(coder) for coder in page.coders],
        "sounds": [
            {key: getattr(sound, key) for key in about} | {"n_samples": len(sound.reference), "versions": list(signals)}
            for sound, signals in zip(page.sounds, sounds, strict=True)
        ],
        "rows": [dict(row) for row in page.rows],
        "summary": [dict(row) for row in page.summary],
    }


def script_json(data: Any) -> str:
    """Return JSON in which no HTML parser can find the end of a script."""
    return json.dumps(data, allow_nan=False, default=float).replace("<", "\\u003c")


def audio_html(page: Page, sounds: Sequence[Mapping[str, np.ndarray]]) -> Iterator[str]:
    """Yield one inert script block of base64 FLAC per clip and version, in the order of `describe`."""
    for clip, (sound, signals) in enumerate(zip(page.sounds, sounds, strict=True)):
        for samples in signals.values():
            coded = io.BytesIO()
            soundfile.write(coded, samples, sound.sample_rate, format="FLAC", subtype="PCM_16")
            text = base64.b64encode(coded.getvalue()).decode()
            yield f'<script type="text/plain" data-clip="{clip}">{text}</script>'


def plot_html(caption: str, svg: str) -> str:
    """Return a plot as an <img>, so that the SVG can neither run scripts nor change the page."""
    text, source = html.escape(caption), base64.b64encode(svg.encode()).decode()
    image = f'<img alt="{text}" src="data:image/svg+xml;base64,{source}">'
    return f'<figure><div class="scroll" tabindex="0">{image}</div><figcaption>{text}</figcaption></figure>'
