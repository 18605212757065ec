"""Clips to measure on, and a page whose sounds tell themselves apart: every version is a sine of its own frequency."""

import numpy as np
import pytest
from ecdc.bench import corpus
from ecdc.bench.page import Coder, Metric, Page, Sound, write_page

RATE = 24_000  # Hz, of the fixtures
CODERS = (Coder("Zebra 6", "zebra", 6.22), Coder("<i>Yak</i> 3", "yak", 3.5), Coder("lowpass", "anchors", None, anchor=True))
FREQUENCIES = {"reference": 1000, **{coder.name: 2000 + 1000 * place for place, coder in enumerate(CODERS)}}  # Hz
CLIPS = {"</script><b>x": 24_000, "second": 48_000}  # name -> Hz
METRICS = (Metric("mos", "MOS", "1..5", True), Metric("mel", "mel distance", "", False))


def sine(hz, sample_rate, seconds=2.0):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate)) / sample_rate)).astype(np.float32)


def sound(name, sample_rate, **fields):
    signals = {version: sine(hz, sample_rate) for version, hz in FREQUENCIES.items()}
    reference = signals.pop("reference")
    return Sound(**{"name": name, "kind": "tone", "licence": "CC0 <made here>", "sample_rate": sample_rate,
                    "bandwidth_hz": 8000, "reference": reference, "decoded": signals, **fields})  # fmt: skip


def a_page(**fields):
    """Two clips of three codecs; `fields` of Page replaced."""
    names = [coder.name for coder in CODERS]
    rows = [
        {"clip": clip, "codec": name, "kbps": 6.1, "mos": 3.0 + place, "mel": None, "why": {"mel": "too <short>"}}
        for clip in CLIPS for place, name in enumerate(names)
    ]  # fmt: skip
    summary = [{"codec": name, "kbps": 6.1 - place, "mos": [3.5 + place / 4, 0.25], "mel": [1.0 + place, 0.5]}
               for place, name in enumerate(names)]  # fmt: skip
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 52 36"><script>alert(1)</script><path d="M0 0L52 36"/></svg>'
    given = {
        "title": "A & B <test>",
        "facts": {"commit": "abc", "note": "<u>"},
        "sounds": [sound(*clip) for clip in CLIPS.items()],
        "coders": CODERS,
        "metrics": METRICS,
        "rows": rows,
        "summary": summary,
        "plots": [('MOS "by" rate', svg)],
    }
    return Page(**given | fields)


@pytest.fixture(scope="session")
def make_page():
    return a_page


@pytest.fixture(scope="session")
def make_sound():
    return sound


@pytest.fixture(scope="session")
def frequencies():
    return FREQUENCIES


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, a_page())
    return path


@pytest.fixture(scope="session")
def speech():
    """Two seconds of speech, float32 [N] at RATE."""
    return corpus.read_clip(corpus.CLIPS / "speech_it.flac", "speech_it", "speech", RATE, None).audio[: 2 * RATE]


@pytest.fixture(scope="session")
def music():
    """Two seconds of music, float32 [N] at RATE."""
    return corpus.read_clip(corpus.CLIPS / "music_cavern.flac", "music_cavern", "music", RATE, None).audio[: 2 * RATE]
