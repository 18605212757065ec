"""The comparison of the runtimes."""

import json

import pytest
from click.testing import CliRunner
from ecdc.bench import light
from ecdc.codec.bundled import bundled_names
from ecdc.codec.default_model import DEFAULT_MODEL


@pytest.mark.parametrize("model", bundled_names())
def test_codes_of_both_runtimes_are_compared(model):
    options = [] if model == DEFAULT_MODEL else ["--model", model]
    result = CliRunner().invoke(light.main, ["--only", "codes", "--codes", "1000", "--threads", "1", *options])
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if line.startswith(f"| {model} | codes that differ")]
    n_codes, n_different = row.split("of ")[1].strip("| ").split(", ")
    assert int(n_codes) >= 1000 and n_different == "0"


def test_a_table_has_a_row_per_runtime():
    times = {"onnx": [0.001] * 5, "torch": [0.004] * 5}
    rows = list(light.rows_of("step", "encode", times, streams_per_core=3, model="tiny", device="a processor"))
    table = light.markdown({"rows": rows})
    assert "| tiny | encode | onnx | 1.00 | 0% | 25% | 3 streams per core |" in table
    assert "| tiny | encode | torch | 4.00 |" in table and table.endswith("6 kbps, a processor.")
    other = {"part": "codes", "what": "codes that differ", "runtime": "onnx", "model": "tiny", "device": "another one"}
    assert light.markdown({"rows": [*rows, other]}).endswith("6 kbps, a processor; another one (tiny codes that differ).")


def test_parts_and_models_that_are_not_measured_keep_their_rows(tmp_path):
    path = tmp_path / "light.json"
    new = {"part": "memory", "model": "tiny", "old": 0}
    assert light.with_other_parts([new], path) == [new]
    old = [{"part": part, "model": model, "old": 1} for part in ("step", "memory") for model in ("tiny", "other")]
    path.write_text(json.dumps({"rows": old}))
    assert light.with_other_parts([new], path) == [*old[:2], new, old[3]]
