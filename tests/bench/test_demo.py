"""What `make demo` runs."""

import soundfile
from click.testing import CliRunner
from ecdc.bench import demo


def test_demo_leaves_files_and_a_picture(tmp_path):
    result = CliRunner().invoke(demo.main, ["--output", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    for clip in demo.DEMO_CLIPS:
        info, decoded = soundfile.info(clip), soundfile.info(tmp_path / "demo" / f"{clip.stem}.wav")
        assert (decoded.frames, decoded.samplerate, decoded.channels) == (info.frames, info.samplerate, info.channels)
        n_bytes = (tmp_path / "demo" / f"{clip.stem}.ecdc").stat().st_size
        assert f"| {clip.stem} | {info.frames / info.samplerate:.2f} | {info.channels} | {n_bytes} |" in result.output
    assert (tmp_path / "demo" / "spectrograms.png").read_bytes().startswith(b"\x89PNG")
