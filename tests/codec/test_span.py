"""A span of a file is the same samples as that span of a full decode, and reads little of the file."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec.config import CodecConfig
from ecdc.codec.encodec_configs import ENCODEC_48KHZ
from ecdc.codec.model import Codec
from ecdc.codec.pipeline import decode_file, encode_file
from ecdc.format import Reader
from encodec_models import narrow

SPANS = [(0, 0.5), (0.013, 0.001), (1.2345, 2), (7.5, 0.25), (11, 100), (11.99, None)]


def noise(seconds, rate, channels):
    rng = np.random.default_rng(1)
    return (0.2 * rng.standard_normal((round(seconds * rate), channels))).astype(np.float32)


def decoded(path, target, codec, **options):
    decode_file(path, target, codec, **options)
    return soundfile.read(target, dtype="int16", always_2d=True)[0].astype(int)


def check(tmp_path, codec, rate, channels, seconds=12, out_rate=None):
    soundfile.write(tmp_path / "a.wav", noise(seconds, rate, channels), rate)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, kbps=codec.config.bitrates_kbps[1] * channels)
    whole = decoded(tmp_path / "a.ecdc", tmp_path / "whole.wav", codec, sample_rate=out_rate)
    out_rate = out_rate or rate
    for start, duration in SPANS:
        start, duration = Fraction(str(start)), None if duration is None else Fraction(str(duration))
        part = decoded(tmp_path / "a.ecdc", tmp_path / "b.wav", codec, sample_rate=out_rate, start=start, duration=duration)
        begin = round(start * out_rate)
        end = len(whole) if duration is None else min(len(whole), round((start + duration) * out_rate))
        assert len(part) == end - begin
        assert np.abs(part - whole[begin:end]).max() <= 1, (start, duration)  # of 32768: sums in another order


@pytest.mark.parametrize(
    "rate, channels, out_rate", [(24_000, 1, None), (44_100, 2, None), (22_050, 1, 8_000), (48_000, 1, 44_101)]
)
def test_span_equals_the_whole(either, tmp_path, rate, channels, out_rate):
    check(tmp_path, either, rate, channels, out_rate=out_rate)


def test_span_of_overlapping_segments_equals_the_whole(tmp_path):
    torch.manual_seed(0)
    codec = Codec(narrow(ENCODEC_48KHZ)).ready()
    codec.quantizer.codebooks.normal_()
    check(tmp_path, codec, 48_000, 2)


def test_span_with_a_recurrent_decoder_equals_the_whole(tmp_path):
    torch.manual_seed(0)
    plain = narrow(ENCODEC_48KHZ, norm="none", causal=False).to_dict() | {
        "normalize": False,
        "segment_seconds": None,
        "channels": 1,
    }
    codec = Codec(CodecConfig.from_dict(plain)).ready()
    codec.quantizer.codebooks.normal_()
    check(tmp_path, codec, 48_000, 1, seconds=13)


def test_only_what_a_span_needs_is_read(codec, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise(60, 24_000, 1), 24_000)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, kbps=1.8)
    chunks = []
    real = Reader.chunks

    def counted(self, *args):
        for chunk in real(self, *args):
            chunks.append(chunk)
            yield chunk

    monkeypatch.setattr(Reader, "chunks", counted)
    decode_file(tmp_path / "a.ecdc", tmp_path / "b.wav", codec, start=Fraction("40.05"), duration=Fraction(1))
    assert len(chunks) == 2  # of five seconds each: the span's, and the one before for context


def test_cut_off_files_can_be_searched(codec, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(30, 24_000, 1), 24_000)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, kbps=1.8)
    whole = decoded(tmp_path / "a.ecdc", tmp_path / "whole.wav", codec)
    data = (tmp_path / "a.ecdc").read_bytes()
    (tmp_path / "cut.ecdc").write_bytes(data[: len(data) * 2 // 3])
    part = decoded(tmp_path / "cut.ecdc", tmp_path / "b.wav", codec, start=Fraction(11), duration=Fraction(2))
    assert np.abs(part - whole[11 * 24_000 : 13 * 24_000]).max() <= 1


def test_spans_outside_are_refused(codec, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1, 24_000, 1), 24_000)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", codec, kbps=1.8)
    after, nothing = r"lasts 1\.000 s", "the duration must be above 0"
    for start, duration, message in [(1, None, after), (5, Fraction(1), after), (0, Fraction(0), nothing)]:
        with pytest.raises(ValueError, match=message):
            decode_file(tmp_path / "a.ecdc", tmp_path / "b.wav", codec, start=Fraction(start), duration=duration)
    assert not (tmp_path / "b.wav").exists()
