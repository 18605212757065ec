"""The measurement of many live streams."""

import numpy as np
from click.testing import CliRunner
from ecdc.bench import streams
from ecdc.codec.runtime import open_codec


def test_a_row_says_how_many_streams_a_core_serves():
    codec = open_codec("nano-24k")
    row = streams.rows_of(codec, 8, np.array([0.004] * 99 + [0.1]))
    assert row["p50"] == 0.004 and 0.004 < row["p99"] < 0.1
    np.testing.assert_allclose(row["streams_per_core"], 8 * (320 / 24_000) / 0.004)
    assert "| nano-24k | 8 | 4.0 |" in streams.markdown({"rows": [row], "about": ""})


def test_every_number_of_streams_has_a_row(monkeypatch, tmp_path):
    monkeypatch.setattr(streams, "STREAMS", (1, 3))
    result = CliRunner().invoke(streams.main, ["nano-24k", "--steps", "10", "--json", str(tmp_path / "s.json")])
    assert result.exit_code == 0, result.output
    assert "| nano-24k | 1 |" in result.output and "| nano-24k | 3 |" in result.output and (tmp_path / "s.json").is_file()
