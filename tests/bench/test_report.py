"""Tables and plots say what the rows say."""

import numpy as np
import pytest
from ecdc.bench import report

ROW = {"kind": "music", "family": "Opus", "bandwidth_hz": 12_000, "seconds": 2.0, "reference_rate": 24_000}
ROW |= {"seed": 0, "commit": "abc+", "device": "a CPU", "why": {}}


def rows_for(codec, values, kbps=6.0, **changes):
    return [ROW | {"clip": str(i), "codec": codec, "kbps": kbps, "mel": value} | changes for i, value in enumerate(values)]


def test_means_are_over_clips_where_the_metric_is_defined():
    rows = rows_for("a", [1.0, 3.0, None]) + rows_for("b", [None] * 3) + rows_for("c", [5.0], kind="speech")
    one, two, three = report.summarize(rows, ["mel"])
    assert one["mel"][0] == 2 and one["n"] == 3 and two["mel"] is None and three["mel"][0] == 5
    assert [line["codec"] for line in report.summarize(rows, ["mel"], "speech")] == ["c"]
    table = report.markdown([one, two, three], ["mel"])
    assert "| a | 6.00 | 2.00 ± " in table and "| b | 6.00 | - |" in table and "| c | 6.00 | 5.00 |" in table


def test_intervals_shrink_with_more_clips_and_hold_the_truth():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(400)
    assert report.interval(values[:20]) > report.interval(values) > 0
    hits = [abs(sample.mean()) < report.interval(sample, seed=i) for i, sample in enumerate(rng.standard_normal((200, 40)))]
    assert 0.88 < np.mean(hits) < 0.99


def test_the_description_tells_band_machine_and_seed():
    text = report.describe(rows_for("a", [1.0, 2.0]))
    for part in ("2 clips, 4 s", "24 kHz", "12 to 12 kHz", "Seed 0", "commit abc,", "a CPU"):
        assert part in text


def test_what_was_asked_for_and_is_not_there_is_unmeasured():
    good, undefined = rows_for("a", [1.0]), rows_for("a", [None], why={"mel": "the reference is silent"})
    failed = rows_for("a", [1.0], problem="RuntimeError: no way")
    tool = rows_for("b", [1.0], problem="not found", missing=True)
    package = rows_for("a", [None], why={"mel": "needs a package"})
    rows = good + undefined + failed + tool + package
    assert report.unmeasured(rows, False, False) == failed
    assert report.unmeasured(rows, True, False) == failed + tool
    assert report.unmeasured(rows, False, True) == failed + package


def test_every_metric_with_values_is_drawn(tmp_path):
    rows = (
        rows_for("a", [1.0, 2.0])
        + rows_for("b", [0.5, 0.7], kbps=12.0)
        + rows_for("low-pass", [3.0, 3.0], kbps=0.0, family="anchor")
    )
    drawn = report.plots([row | {"pesq": None} for row in rows], ["mel", "pesq"], tmp_path)
    assert [title.split(":")[0] for title, _ in drawn] == ["mel distance"] and drawn[0][1].startswith("<svg")
    assert (tmp_path / "mel.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "mel.svg").exists()
    assert report.plots(rows, ["mel"], tmp_path)[0][1] == report.plots(rows, ["mel"], tmp_path)[0][1]


@pytest.mark.parametrize("values", [[], [None]])
def test_nothing_to_draw(values, tmp_path):
    assert report.plots(rows_for("a", values), ["mel"], tmp_path) == []
