"""The comparison of the runtimes."""

from click.testing import CliRunner
from ecdc.bench import light


def test_codes_of_both_runtimes_are_compared():
    result = CliRunner().invoke(light.main, ["--only", "codes", "--codes", "1000", "--threads", "1"])
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if line.startswith("| codes that differ")]
    n_codes, n_different = row.split("of ")[1].strip("| ").split(", ")
    assert int(n_codes) >= 1000 and n_different == "0"


def test_a_table_has_a_row_per_runtime():
    times = {"onnx": [0.001] * 5, "torch": [0.004] * 5}
    rows = list(light.rows_of("step", "encode", times, streams_per_core=3))
    table = light.markdown({"rows": rows, "device": "a processor", "processors": 2})
    assert "| encode | onnx | 1.00 | 0% | 25% | 3 streams per core |" in table and "| encode | torch | 4.00 |" in table


def test_parts_that_are_not_measured_keep_their_rows(tmp_path):
    path = tmp_path / "light.json"
    assert light.with_other_parts([{"part": "memory"}], path) == [{"part": "memory"}]
    path.write_text('{"rows": [{"part": "step", "old": 1}, {"part": "memory", "old": 1}, {"part": "size", "old": 1}]}')
    found = light.with_other_parts([{"part": "memory", "old": 0}], path)
    assert found == [{"part": "step", "old": 1}, {"part": "memory", "old": 0}, {"part": "size", "old": 1}]
