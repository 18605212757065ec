"""What benches share: options for clips, rows in the order of the clips, JSON."""

import json
from operator import itemgetter

import click
import numpy as np
import pytest
from click.testing import CliRunner
from ecdc.bench import corpus, light, loss, rows
from ecdc.train.data import packed_audio


def test_rows_come_in_the_order_of_the_clips():
    clips = [{"rows": [(n, 0), (n, 1)][: n % 3]} for n in range(7)]
    assert rows.rows_of_clips(itemgetter("rows"), clips, 2) == [row for clip in clips for row in clip["rows"]]


def test_a_failure_in_a_process_is_raised():
    with pytest.raises(KeyError):
        rows.rows_of_clips(itemgetter("rows"), [{"rows": []}, {}], 1)


def test_options_choose_clips():
    @click.command()
    @rows.clip_options(seconds=4.0, per_group=3)
    @rows.jobs_option
    @rows.json_option
    def command(**given):
        click.echo(json.dumps(given, default=str))

    found = json.loads(CliRunner().invoke(command, ["--packed", "a", "--rate", "48000"]).output)
    assert found == {"folder": "a", "rate": 48_000, "seconds": 4.0, "per_group": 3, "jobs": 2, "target": None}
    assert CliRunner().invoke(command, []).exit_code == 2


def test_json_is_written_only_to_a_target(tmp_path):
    rows.write_json([1], None)
    rows.write_json([{"a": None}], tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == [{"a": None}] and len(list(tmp_path.iterdir())) == 1


def test_packed_clips_come_at_the_rate_asked_for(tmp_path, monkeypatch):
    """Packed audio is resampled to lower rates; a reference above its rate is refused."""
    (tmp_path / "format.json").write_text('{"sample_rate": 48000}')
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(packed_audio, "validation_clips", lambda *_: {"speech-16k": [torch.from_numpy(tone)[None]]})
    (half,), (whole,) = (list(corpus.packed(tmp_path, rate, 1.0)) for rate in (24_000, 48_000))
    assert np.array_equal(whole.audio, tone) and len(half.audio) == 24_000
    assert np.abs(half.audio[1000:-1000] - tone[::2][1000:-1000]).max() < 1e-3
    assert (half.name, half.kind, half.sample_rate, half.native_rate) == ("speech-16k-0", "speech", 24_000, 48_000)
    with pytest.raises(ValueError, match="packed at 48000 Hz"):
        list(corpus.packed(tmp_path, 96_000, 1.0))


@pytest.mark.parametrize("text", ["{", "", "\xff"])
def test_what_is_not_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.json: is not JSON, as benchmarks write it"):
        rows.read_json(tmp_path / "a.json")


def test_a_file_of_another_bench_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"rows": [{"part": "other"}]}')
    with pytest.raises(ValueError, match=r"a\.json: does not hold rows of `ecdc bench light`"):
        light.with_other_parts([], tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json: does not hold rows of `ecdc bench loss`"):
        loss.merged([tmp_path / "a.json"])
