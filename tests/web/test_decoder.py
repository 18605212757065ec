"""What the browser decodes is what Python's light runtime decodes; a span is a part of the whole; damage is contained."""

import base64
import dataclasses
import io
import json
from fractions import Fraction

import numpy as np
import pytest
import small_prior
from ecdc.codec.decoding import decode_blocks
from ecdc.codec.encoding import encode_file
from ecdc.codec.light.load import load_light
from ecdc.codec.light.names import DECODER, ENDING
from ecdc.codec.modules.noise_hash import noise_of
from ecdc.codec.span import Span
from ecdc.format import Reader, Writer
from ecdc.format.entropy.installed_priors import FOLDERS
from ecdc.format.salvage import Salvage
from ecdc.format.schema import ChannelCoding, Entropy
from web_models import MODELS

TOLERANCE = 1e-4  # of audio near full scale
FILES = ("mono", "stereo", "left-right", "likely", "cut", "broken", "gaps")


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


class Coded:
    """Files of one model, and how to decode them in Python."""

    def __init__(self, name, folder, root):
        self.name, self.folder, self.root = name, folder, root
        self.codec = load_light(folder)
        self.rate, self.hop = self.codec.sample_rate, self.codec.config.hop_length

    def path(self, name):
        return self.root / f"{name}.ecdc"

    def reader(self, name):
        return Reader(io.BytesIO(self.path(name).read_bytes()))

    def write(self, name, header, *parts):
        """Write a file of (codebooks of each stream, codes [R, T])."""
        with self.path(name).open("wb") as stream, Writer(stream, header) as writer:
            for codebooks, codes in parts:
                writer.append(codes, codebooks)

    def decoded(self, name, span=None):
        """The samples by Python's light runtime [C, n]."""
        reader = self.reader(name)
        salvage = Salvage(reader) if name in ("cut", "broken") else None
        return np.concatenate(list(decode_blocks(self.codec, reader, span, salvage)), axis=1)

    def spans(self, n_samples):
        """Spans at the start, inside, and at the end."""
        second = self.rate
        middle = [(0, 1), (1, 4000), (second, second + 1000), (second * 5 // 4 + 1, second * 3 - 1993)]
        return [*middle, (n_samples - 1039, n_samples)]


@pytest.fixture(scope="session", params=MODELS)
def coded(request, folders, speech, small_priors, tmp_path_factory):
    """Files of one model: with one and two streams, few codebooks, with and without a prior, damaged, and with gaps."""
    name = request.param
    made = Coded(name, folders[name], tmp_path_factory.mktemp("coded"))
    rates = made.codec.config.bitrates_kbps
    middle = rates[len(rates) // 2]
    for file, channels, kbps in (("mono", 1, middle), ("stereo", 2, 1.5 * middle)):
        encode_file(speech, made.path(file), made.codec, kbps=kbps, channels=channels, chunk_seconds=1)
    reader = made.reader("stereo")
    k, codes = next(iter(made.reader("stereo"))).n_codebooks, reader.codes()
    plain = dataclasses.replace(reader.header, entropy=Entropy.RAW, prior=b"", n_samples=None, original_n_samples=None)
    left_right = dataclasses.replace(plain, channel_coding=ChannelCoding.LEFT_RIGHT)
    parts = ((k[0], 1), codes[: k[0] + 1, :60]), ((2, k[1]), codes[[0, 1, *range(k[0], sum(k))], 60:90])
    made.write("left-right", left_right, *parts)
    many = dataclasses.replace(plain, max_codebooks=255)
    n = made.codec.config.n_codebooks
    made.write("many", many, ((1, 1), codes[:2, :9]), ((n + 1, 1), np.zeros((n + 2, 9), np.uint16)))
    prior = small_priors[1][name]
    likely = dataclasses.replace(plain, entropy=Entropy.PRIOR, prior=prior.hash)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDERS, str(small_priors[0]))
        made.write("likely", likely, ((3, 1), np.concatenate([small_prior.likely(prior, (n, 70), 5) for n in (3, 1)])))
    damage(made)
    mono = made.reader("mono")
    codes = mono.codes()
    gaps = dataclasses.replace(mono.header, n_samples=None, original_n_samples=None)
    few = codes[:3, 50:90]
    made.write("gaps", gaps, ((len(codes),), codes[:, :50]), ((0,), codes[:0, :40]), ((3,), few))
    return made


def damage(made):
    """Write the file "mono" cut off after three chunks, and with a wrong byte in the second one."""
    data = made.path("mono").read_bytes()
    offsets = made.reader("mono").index.offsets
    made.path("cut").write_bytes(data[: int(offsets[3]) + 40])
    at = int(offsets[1]) + 60
    made.path("broken").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])


@pytest.fixture(scope="session")
def results(node, catalog_file, coded, small_priors, tmp_path_factory):
    """What Node makes of these files: (file, start, stop) -> samples [C, n] and facts; "loaded" -> bytes by file."""
    folder = tmp_path_factory.mktemp("decoded")
    n_samples = coded.reader("stereo").n_samples
    jobs = [(name,) for name in FILES] + [("stereo", *span) for span in coded.spans(n_samples)]
    jobs += [("broken", coded.rate * 5 // 4, coded.rate * 5 // 2), ("many",)]
    asked = [[str(coded.path(name)), *span] for name, *span in jobs]
    *lines, loaded = node("decode.mjs", catalog_file, folder, json.dumps(asked))
    found = {"loaded": loaded}
    for i, (job, facts) in enumerate(zip(jobs, lines, strict=True)):
        if "kind" in facts:
            found[job] = facts
            continue
        found[job] = np.fromfile(folder / f"{i}.raw", np.float32).reshape(facts["channels"], -1), facts
    return found


def close(found, wanted, tolerance=TOLERANCE):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < tolerance * max(1, np.abs(wanted).max())
    return True


@pytest.mark.parametrize("name", FILES)
def test_samples_are_those_of_the_light_runtime(results, coded, small_priors, monkeypatch, name):
    monkeypatch.setenv(FOLDERS, str(small_priors[0]))
    found, facts = results[(name,)]
    wanted = coded.decoded(name)
    assert close(found, wanted) and np.abs(wanted).max() > 0.01
    assert facts["codec"] == coded.codec.config.name and facts["sampleRate"] == coded.rate
    assert found.shape == (facts["channels"], facts["nSamples"])
    assert len(facts["lost"]) == (name in ("cut", "broken"))


def test_a_span_equals_its_part_of_the_whole(results, coded):
    whole, facts = results[("stereo",)]
    n_samples = facts["nSamples"]
    for start, stop in coded.spans(n_samples):
        part, _ = results[("stereo", start, stop)]
        assert close(part, whole[:, start:stop], 1e-5)
        rates = coded.rate, coded.rate
        span = Span.of(Fraction(start, coded.rate), Fraction(stop - start, coded.rate), n_samples, n_samples, rates)
        assert close(part, coded.decoded("stereo", span))


def test_damage_is_contained(results, coded):
    damaged, whole = results[("broken",)][0], results[("mono",)][0]
    second = coded.rate
    before, after = coded.codec.reach
    assert not damaged[0, second + 200 : 2 * second].any(), "the lost second is silent"
    n = second - after * coded.hop
    assert close(damaged[:, :n], whole[:, :n], 1e-5), "before it, it is as it was"
    n = 2 * second + (before + 1) * coded.hop
    assert close(damaged[:, n:], whole[:, n:], 1e-3), "and so it is after it"
    start, stop = second * 5 // 4, second * 5 // 2
    assert close(results[("broken", start, stop)][0], damaged[:, start:stop], 1e-5)


def test_only_what_a_file_needs_is_loaded(results, coded):
    loaded = results["loaded"]
    own = {path for path in loaded if path.startswith(f"{coded.folder}/")}
    names = {path.rsplit("/", 1)[1] for path in own}
    assert names <= {DECODER, ENDING, "model.safetensors"}
    assert all(path.endswith(".prior") for path in loaded.keys() - own), "of other models, nothing"
    weights = coded.folder / "model.safetensors"
    assert loaded[str(weights)] < 0.8 * weights.stat().st_size, "the encoder stays where it is"


def test_more_codebooks_than_the_model_has_are_one_sentence(results):
    assert results[("many",)]["kind"] == "Corrupt" and "codebooks" in results[("many",)]["sentence"]


@pytest.mark.parametrize("stream", [0, 1])
def test_noise_is_that_of_python_for_every_frame(bare_node, stream):
    numbers = [-2, 0, 7, 2**31, 2**40 + 3]
    (text,) = bare_node("noise.mjs", 100, stream, *numbers)
    found = np.frombuffer(base64.b64decode(text), np.float32).reshape(len(numbers), 100)
    np.testing.assert_array_equal(found, noise_of(np.array(numbers), 100, stream))
