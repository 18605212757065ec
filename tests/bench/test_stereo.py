"""The stereo bench: what it counts of Ogg files, and that both ways to divide codebooks give back two channels."""

import contextlib
import types

import numpy as np
import pytest
import torch
from ecdc.bench import stereo
from ecdc.bench.stereo import StereoClip, clips_of, markdown, ours, packet_bytes
from ecdc.codec.config import CodecConfig, SplitConfig


def page(segments: list[int]) -> bytes:
    return bytes(26) + bytes([len(segments), *segments]) + bytes(sum(segments))


def test_only_audio_packets_count(tmp_path):
    path = tmp_path / "a.opus"
    path.write_bytes(page([19]) + page([255, 40]) + page([30, 31, 32]) + page([255, 255, 7]))
    assert packet_bytes(path) == 30 + 31 + 32 + 255 + 255 + 7


class Exact:
    """A codec that keeps the audio, and the number of codebooks that each stream was coded with."""

    sample_rate = 48_000
    config = types.SimpleNamespace(architecture=None)

    def __init__(self) -> None:
        self.books: list[int] = []

    def encode(self, wav, n_codebooks):
        self.books.append(n_codebooks)
        return wav

    @contextlib.contextmanager
    def streaming(self, first_frame):
        yield types.SimpleNamespace(decode=lambda codes, last: codes)


@pytest.mark.parametrize("is_mid_side", [True, False])
def test_both_divisions_give_back_left_and_right(is_mid_side, monkeypatch):
    codec = Exact()
    monkeypatch.setattr(stereo, "codec_of", lambda name: codec)
    clip = StereoClip("noise", torch.randn(2, 4800, generator=torch.Generator().manual_seed(0)).numpy())
    assert np.allclose(ours(clip, "exact", (9, 3), is_mid_side), clip.audio, atol=1e-6)
    assert codec.books == [9, 3]


@pytest.mark.parametrize(("side", "wanted"), [(0.05, "left 4, right 4"), (0.024, "mid 6, side 2"), (0.015, "mid 7, side 1")])
def test_the_row_auto_is_that_of_its_choice(side, wanted, monkeypatch):
    split = SplitConfig(level_places=(0, 2, 5))
    rates = tuple(0.25 * k for k in range(1, 9))
    config = CodecConfig("tiny", split, sample_rate=48_000, n_codebooks=8, codebook_size=32, bitrates_kbps=rates)
    noise = np.random.default_rng(0).standard_normal((2, 4800)).astype(np.float32) * [[0.1], [side]]
    clip = StereoClip("noise", np.stack([noise[0] + noise[1], noise[0] - noise[1]]))
    monkeypatch.setattr(stereo, "codec_of", lambda name: types.SimpleNamespace(config=config))
    monkeypatch.setattr(stereo, "ours", lambda clip, name, books, is_mid_side: (books, is_mid_side))
    monkeypatch.setattr(stereo, "measures", lambda clip, audio, keys: {"audio": audio})
    rows = {row["codec"]: row["audio"] for row in stereo.rows_of(clip, "tiny", 2.0, (), ())}
    assert rows["auto"] == rows[wanted] and len(rows) == 4 + 1 + 1


def test_masters_without_stereo_music_are_refused(tmp_path):
    (tmp_path / "index.jsonl").write_text('{"group": "music", "split": "valid", "channels": 1}\n')
    with pytest.raises(ValueError, match="no stereo music"):
        clips_of(tmp_path, 5.0, 10)


def test_the_table_has_the_mean_of_each_codec():
    rows = [{"codec": c, "kbps": 6.0, "side": x} for c, x in (("a", 1.0), ("b", 2.0), ("a", 3.0))]
    assert markdown(rows, ("side",)).splitlines()[2:] == ["| a | 6.0 | 2.00 |", "| b | 6.0 | 2.00 |"]
