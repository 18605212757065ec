"""The page is one inert file: nothing is loaded, nothing in it runs but our script, and the audio is what was given."""

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from ecdc.bench.page import FOLDER, SCRIPTS, write_page

LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


class Reader(HTMLParser):
    """Every tag with its attributes, and the text of every script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1][1] += data


@pytest.fixture(scope="module")
def html(page_file):
    return page_file.read_text("utf-8")


@pytest.fixture(scope="module")
def reader(html):
    return Reader(html)


def data_of(path):
    """What the page's scripts are told."""
    return json.loads(
        next(text for attributes, text in Reader(path.read_text("utf-8")).scripts if attributes.get("id") == "data")
    )


def test_nothing_is_loaded_from_anywhere(html, reader):
    links = [value for _, attributes in reader.tags for name, value in attributes.items() if name in LOADING]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert not {tag for tag, _ in reader.tags} & {"iframe", "object", "embed", "base", "form"}
    style = (FOLDER / "style.css").read_text()
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"https?://", html)
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(|innerHTML|eval\(", html)


def test_only_our_script_may_run(reader):
    policy = next(a["content"] for tag, a in reader.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    running = [text for attributes, text in reader.scripts if "type" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert len(digests) == 1 and f"script-src 'sha256-{digests[0]}'" in policy and "default-src 'none'" in policy


def test_names_cannot_break_out(html, reader, make_page):
    assert not {tag for tag, _ in reader.tags} & {"i", "u", "test"}
    assert html.count("<b>") == (FOLDER / "template.html").read_text().count("<b>")
    assert "<title>A &amp; B &lt;test&gt;</title>" in html
    n_audio = sum(1 + len(sound.decoded) for sound in make_page().sounds)
    assert len(reader.scripts) == n_audio + 2 == html.count("</script>")


def test_scripts_cannot_end_early_and_are_all_used():
    for path in FOLDER.glob("*.js"):
        assert path.stem in SCRIPTS
        assert "</script" not in path.read_text() and "<!--" not in path.read_text()


def test_audio_is_bit_exact_in_16_bits_and_beyond_full_scale_clipped(tmp_path, make_page, make_sound):
    rng = np.random.default_rng(0)
    steps = rng.integers(-32768, 32768, 4000)
    loud = np.array([-1.5, -1, 0, 1, 2] * 800, np.float32)
    clip = make_sound("noise", 16_000, reference=(steps / 32768).astype(np.float32), decoded={"Zebra 6": loud})
    write_page(tmp_path / "a.html", make_page(sounds=[clip], rows=[]))
    reader = Reader((tmp_path / "a.html").read_text("utf-8"))
    coded = [base64.b64decode(text) for attributes, text in reader.scripts if attributes.get("data-clip") == "0"]
    (first, rate), (second, _) = (soundfile.read(io.BytesIO(c), dtype="int16") for c in coded)
    assert all(c.startswith(b"fLaC") for c in coded) and rate == 16_000
    assert (first == steps).all()
    assert second[:5].tolist() == [-32768, -32768, 0, 32767, 32767]


def test_identity_is_that_of_what_is_heard(tmp_path, make_page, make_sound):
    def identity(**fields):
        write_page(tmp_path / "a.html", make_page(**fields))
        return data_of(tmp_path / "a.html")["id"]

    page = make_page()
    first = identity()
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert first == identity(title="other", facts={}, plots=[], rows=[], summary=[])
    quieter = dataclasses.replace(page.sounds[0], reference=page.sounds[0].reference * 0.9)
    renamed = dataclasses.replace(page.sounds[0], name="other")
    for changed in (quieter, renamed):
        assert first != identity(sounds=[changed, page.sounds[1]], rows=[])


def test_the_file_appears_only_when_whole(tmp_path, make_page):
    target = tmp_path / "a.html"
    target.write_text("before")
    with pytest.raises(TypeError):
        write_page(target, make_page(facts={"seed": object()}))
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]
    write_page(target, make_page())
    assert "<!doctype html>" in target.read_text() and list(tmp_path.iterdir()) == [target]


def test_numpy_numbers_are_numbers(tmp_path, make_page):
    row = {"clip": "second", "codec": "lowpass", "kbps": np.float32(6.5), "mos": np.float64(3.5), "mel": np.int64(2)}
    write_page(tmp_path / "a.html", make_page(rows=[row]))
    assert data_of(tmp_path / "a.html")["rows"][0] == {"clip": "second", "codec": "lowpass", "kbps": 6.5, "mos": 3.5, "mel": 2}


def replaced(place, **fields):
    return lambda page: {place: [dataclasses.replace(getattr(page, place)[0], **fields), *getattr(page, place)[1:]]}


def row(place, **fields):
    return lambda page: {place: [dict(getattr(page, place)[0]) | fields]}


BAD = {
    "no clip": (lambda page: {"sounds": []}, "at least one clip"),
    "same clip": (replaced("sounds", name="second"), "clip 'second': the name is there twice"),
    "unnamed clip": (replaced("sounds", name=""), "clip '': the name is empty"),
    "long name": (replaced("sounds", name="x" * 1001), "the name is too long"),
    "same codec": (replaced("coders", name="lowpass"), "codec 'lowpass': the name is there twice"),
    "reserved codec": (replaced("coders", name="reference"), "codec 'reference': the name is reserved"),
    "reserved metric": (replaced("metrics", key="kbps"), "metric 'kbps': the name is reserved"),
    "rate": (replaced("sounds", sample_rate=192_000), "browsers play 8000..96000 Hz, not 192000"),
    "stereo": (replaced("sounds", reference=np.zeros((2, 10))), r"wanted samples \[N\], got shape \(2, 10\)"),
    "empty": (replaced("sounds", reference=np.zeros(0)), r"wanted samples \[N\], got shape \(0,\)"),
    "length": (replaced("sounds", decoded={"Zebra 6": np.zeros(9)}), r"'Zebra 6': shape \(9,\) differs"),
    "unknown": (replaced("sounds", decoded={"Gnu": np.zeros(48_000)}), "'Gnu': not among the codecs"),
    "not finite": (replaced("sounds", decoded={"Zebra 6": np.full(48_000, np.nan)}), "'Zebra 6': samples are not finite"),
    "kbps": (replaced("coders", kbps=float("inf")), "codec 'Zebra 6': kbps is inf"),
    "NaN": (row("rows", mos=float("nan")), r"rows\[0\]: mos is nan; give a finite number, or None and a reason"),
    "row's clip": (row("rows", clip="?"), r"rows\[0\]: clip '\?' is not on the page"),
    "row's codec": (row("summary", codec="?"), r"summary\[0\]: codec '\?' is not on the page"),
    "no interval": (row("summary", mos=[1.0]), r"summary\[0\]: mos wants \[mean, half interval\], got \[1.0\]"),
    "one number": (row("summary", mos=1.0), r"summary\[0\]: mos wants \[mean, half interval\], got 1.0"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_shown_is_refused(tmp_path, make_page, name):
    change, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        write_page(tmp_path / "a.html", make_page(**change(make_page())))
    assert not list(tmp_path.iterdir())
