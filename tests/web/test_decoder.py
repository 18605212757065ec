"""What the browser decodes is what Python's light runtime decodes; a span is a part of the whole; damage is contained."""

import io
import json
from fractions import Fraction

import numpy as np
import pytest
from ecdc.codec.decoding import decode_blocks
from ecdc.codec.encoding import encode_file
from ecdc.codec.runtime import shared_bundled
from ecdc.codec.span import Span
from ecdc.format import Reader, Writer
from ecdc.format.salvage import Salvage

RATE = 24_000
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """Four seconds of stereo at 48 kHz as a WAV, tones over noise."""
    import soundfile

    rng = np.random.default_rng(0)
    time = np.arange(4 * 48_000 + 77) / 48_000
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    tones = [envelope * sum(np.sin(2 * np.pi * f * n * time) / n for n in range(1, 8)) for f in (140, 211)]
    path = tmp_path_factory.mktemp("audio") / "in.wav"
    wav = 0.1 * np.stack(tones, 1) + 0.02 * rng.standard_normal((len(time), 2))
    soundfile.write(path, wav.astype(np.float32), 48_000, "FLOAT")
    return path


@pytest.fixture(scope="session")
def coded(speech, tmp_path_factory):
    """The same as .ecdc: mono and stereo, chunks of a second, so that there are several."""
    folder = tmp_path_factory.mktemp("coded")
    for name, channels, kbps in (("mono", 1, 6), ("stereo", 2, 9)):
        encode_file(speech, folder / f"{name}.ecdc", kbps=kbps, channels=channels, chunk_seconds=1)
    return folder


@pytest.fixture(scope="session")
def decode_all(node, catalog_file, tmp_path_factory):
    """A function that decodes (path, start, stop) in Node: for each, samples [C, n] at the codec's rate, and facts."""

    def run(jobs):
        folder = tmp_path_factory.mktemp("decoded")
        lines = node("decode.mjs", catalog_file, folder, json.dumps([[str(job[0]), *job[1:]] for job in jobs]))
        return [
            (np.fromfile(folder / f"{i}.raw", np.float32).reshape(facts["channels"], -1), facts)
            for i, facts in enumerate(lines)
        ]

    return run


@pytest.fixture(scope="session")
def wholes(decode_all, coded):
    """Both files, decoded: name -> samples, facts."""
    names = ("mono", "stereo")
    return dict(zip(names, decode_all([(coded / f"{name}.ecdc",) for name in names]), strict=True))


def decoded(data, span=None, salvage=False):
    """The same by Python's light runtime."""
    reader = Reader(io.BytesIO(data))
    found = Salvage(reader) if salvage else None
    blocks = list(decode_blocks(shared_bundled(reader.header.codec), reader, span, found))
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("name", ["mono", "stereo"])
def test_samples_are_those_of_the_light_runtime(wholes, coded, name):
    found, facts = wholes[name]
    wanted = decoded((coded / f"{name}.ecdc").read_bytes())
    assert found.shape == wanted.shape == (facts["channels"], facts["nSamples"])
    assert np.abs(found - wanted).max() < TOLERANCE
    assert np.abs(wanted).max() > 0.1
    assert facts["lost"] == [] and facts["codec"] == "nano-24k"


def test_a_span_equals_its_part_of_the_whole(decode_all, wholes, coded):
    path = coded / "stereo.ecdc"
    whole, facts = wholes["stereo"]
    n_samples, spans = facts["nSamples"], [(0, 1), (1, 4000), (24_000, 25_000), (30_001, 70_007), (95_000, 96_039)]
    for (start, stop), (part, _) in zip(spans, decode_all([(path, *span) for span in spans]), strict=True):
        assert part.shape[1] == min(stop, n_samples) - start
        assert np.abs(part - whole[:, start:stop]).max() < 1e-5
        span = Span.of(Fraction(start, RATE), Fraction(stop - start, RATE), n_samples, n_samples, (RATE, RATE))
        assert np.abs(part - decoded(path.read_bytes(), span)).max() < TOLERANCE


def test_damage_is_contained(decode_all, wholes, coded, tmp_path):
    data = (coded / "mono.ecdc").read_bytes()
    offsets = Reader(io.BytesIO(data)).index.offsets
    cut, broken = tmp_path / "cut.ecdc", tmp_path / "broken.ecdc"
    cut.write_bytes(data[: int(offsets[3]) + 40])
    at = int(offsets[1]) + 60
    broken.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
    found = decode_all([(cut,), (broken,), (broken, 30_000, 60_000)])
    for path, (samples, facts) in zip((cut, broken), found, strict=False):
        wanted = decoded(path.read_bytes(), salvage=True)
        assert samples.shape == wanted.shape
        assert np.abs(samples - wanted).max() < TOLERANCE
        assert len(facts["lost"]) == 1
    damaged, whole = found[1][0], wholes["mono"][0]
    assert not damaged[0, RATE + 200 : 2 * RATE].any(), "the lost second is silent"
    assert np.abs((damaged - whole)[0, : RATE - 640]).max() < 1e-5, "what comes before it is as it was"
    assert np.abs((damaged - whole)[0, 2 * RATE + 50 * 320 :]).max() < 1e-3, "and so is what comes after it"
    assert np.abs(found[2][0] - damaged[:, 30_000:60_000]).max() < 1e-5


def test_a_stream_without_codebooks_is_silent_with_fades(decode_all, coded, tmp_path):
    reader = Reader(io.BytesIO((coded / "mono.ecdc").read_bytes()))
    codes = reader.codes()
    path = tmp_path / "gaps.ecdc"
    with path.open("wb") as stream, Writer(stream, reader.header) as writer:
        writer.append(codes[:, :50])
        writer.append(codes[:0, :40], (0,))
        writer.append(codes[:3, 50:90], (3,))
    ((found, _),) = decode_all([(path,)])
    assert np.abs(found - decoded(path.read_bytes())).max() < TOLERANCE
