"""Files that the original EnCodec coded with its language model, byte for byte, beside the original itself."""

import io
import json
import struct

import numpy as np
import pytest
import torch
from ecdc.codec.compat import arithmetic
from ecdc.codec.compat.arithmetic import CoderError, Decoder, Encoder, tables
from ecdc.codec.compat.lm import LanguageModel, load_language_model
from ecdc.codec.errors import CheckpointError
from ecdc.format import Corrupt, OverLimit, Truncated, UnsupportedVersion
from ecdc.format.api import CodeFile
from ecdc.format.v0 import MODELS, read_v0, write_v0
from ecdc.format.v0_convert import to_v1
from encodec.binary import write_ecdc_header
from encodec.model import LMModel
from encodec.quantization.ac import ArithmeticCoder, ArithmeticDecoder, build_stable_quantized_cdf

BOOKS = {32: 75, 16: 150}  # the published sizes: codebooks, frames per second


def peer(n_codebooks, seed, spread=0.03, n_layers=2):
    """The original's model with random weights, not so deep as the published one."""
    torch.manual_seed(seed)
    model = LMModel(n_codebooks, 1024, num_layers=n_layers, dim=200, past_context=int(3.5 * BOOKS[n_codebooks])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += spread * torch.randn_like(parameter)
    return model


@torch.no_grad()
def peer_bytes(model, codes):
    """As the original's compress_to_file writes a segment."""
    file, states, offset = io.BytesIO(), None, 0
    coder, before = ArithmeticCoder(file), torch.zeros(1, len(codes), 1, dtype=torch.long)
    for frame in codes.T:
        probabilities, states, offset = model(before, states, offset)
        before = 1 + torch.from_numpy(frame.copy()).view(1, -1, 1)
        for k, code in enumerate(frame.tolist()):
            coder.push(code, build_stable_quantized_cdf(probabilities[0, :, k, 0], coder.total_range_bits, check=False))
    coder.flush()
    return file.getvalue()


CASES = [
    (32, 1, 1), (32, 1, 40), (32, 2, 20), (32, 2, 80), (32, 3, 33), (32, 4, 66), (32, 8, 12), (32, 8, 75), (32, 16, 20),
    (32, 32, 10),    (16, 1, 9), (16, 1, 64), (16, 2, 30), (16, 2, 65), (16, 4, 13), (16, 4, 70), (16, 8, 24), (16, 16, 16),
    (32, 2, 300), (16, 1, 560),  # longer than the past that the model hears
]  # fmt: skip


@pytest.mark.parametrize(("n_codebooks", "k", "n_frames"), CASES)
def test_bytes_are_the_originals_both_ways(n_codebooks, k, n_frames):
    model = peer(n_codebooks, seed=n_frames)
    ours = LanguageModel(model.state_dict())
    codes = np.random.default_rng(k).integers(0, 1024, (k, n_frames))
    theirs = peer_bytes(model, codes)
    assert ours.encode(codes) == theirs
    found, n_bytes = ours.decode(theirs + b"what follows", k, n_frames)
    assert np.array_equal(found, codes) and n_bytes == len(theirs)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_number_of_threads_is_the_originals_affair(n_threads):
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        test_bytes_are_the_originals_both_ways(32, 2, 24)
    finally:
        torch.set_num_threads(before)


def test_the_published_depth():
    model = peer(16, seed=5, n_layers=5)
    codes = np.random.default_rng(5).integers(0, 1024, (4, 30))
    assert LanguageModel(model.state_dict()).encode(codes) == peer_bytes(model, codes)


def probabilities(n_frames, n_entries=1024, sharpness=3.0, k=3):
    logits = sharpness * torch.randn(n_frames * k, n_entries, generator=torch.Generator().manual_seed(1))
    return torch.softmax(logits, dim=1).numpy().reshape(n_frames, k, n_entries)


def test_tables_are_the_originals():
    p = probabilities(4).reshape(-1, 1024)
    expected = np.stack([build_stable_quantized_cdf(torch.from_numpy(row), 24, check=False).numpy() for row in p])
    assert np.array_equal(tables(p), expected)
    assert np.array_equal(arithmetic.tables_ref(p), expected)


@pytest.mark.parametrize("sharpness", [0.0, 3.0, 30.0])
def test_kernels_equal_the_plain_reference(sharpness):
    all_ends = [tables(p) for p in probabilities(40, sharpness=sharpness)]
    codes = np.random.default_rng(0).integers(0, 1024, (3, 40))
    encoder = Encoder()
    for t, ends in enumerate(all_ends):
        encoder.push(codes[:, t], ends)
    data = encoder.flush()
    assert data == arithmetic.encode_ref(codes, all_ends)
    decoder = Decoder(data)
    assert np.array_equal(np.stack([decoder.pull(ends) for ends in all_ends], axis=1), codes)
    assert np.array_equal(arithmetic.decode_ref(data, all_ends), codes)
    peers = ArithmeticDecoder(io.BytesIO(data))
    assert [peers.pull(torch.from_numpy(row)) for row in all_ends[0]] == codes[:, 0].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_damage_never_hangs_nor_gives_codes_out_of_range(seed):
    generator = np.random.default_rng(seed)
    all_ends = [tables(p) for p in probabilities(30)]
    decoder = Decoder(generator.bytes(60))
    with pytest.raises((EOFError, CoderError)):
        for ends in all_ends * 100:
            codes = decoder.pull(ends)
            assert ((codes >= 0) & (codes < 1024)).all()


def test_nothing_is_coded_by_a_model_that_foretells_nothing():
    with pytest.raises(CoderError, match="NaN"):
        tables(np.full((1, 1024), np.nan, np.float32))


def test_weights_are_read_and_checked(tmp_path):
    state = peer(32, seed=0).state_dict()
    path = tmp_path / "encodec_lm_24khz.th"
    torch.save(state, path)
    assert load_language_model(path).n_codebooks == 32
    for changes, message in [
        ({"linears.3.bias": torch.zeros(7)}, "linears.3.bias must be"),
        ({"emb.7.weight": None}, "emb.7.weight must be"),
        ({"more": torch.zeros(1)}, "more must be absent"),
        ({"emb.0.weight": None}, "not a language model"),
    ]:
        torch.save({k: v for k, v in (state | changes).items() if v is not None}, path)
        with pytest.raises(CheckpointError, match=message):
            load_language_model(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="no state dict"):
        load_language_model(path)


NAMES = {32: "encodec_24khz", 16: "encodec_48khz"}


def peer_file(model, name, n_samples, segments):
    """A whole file, as the original's compress_to_file writes it."""
    file = io.BytesIO()
    write_ecdc_header(file, {"m": name, "al": n_samples, "nc": len(segments[0][0]), "lm": True})
    for codes, scale in segments:
        file.write(b"" if scale is None else struct.pack("!f", scale))
        file.write(peer_bytes(model, codes))
    return file.getvalue()


@pytest.fixture(params=[(32, 10_000), (16, 60_000)], ids=["24 kHz", "48 kHz"])
def coded(request, tmp_path):
    """A file of the original's, the segments in it, and the path of the weights."""
    n_codebooks, n_samples = request.param
    model, generator = peer(n_codebooks, seed=3), np.random.default_rng(3)
    path = tmp_path / "lm.th"
    torch.save(model.state_dict(), path)
    sizes = MODELS[NAMES[n_codebooks]].segment_frames(n_samples)
    segments = [(generator.integers(0, 1024, (2, size)), None if n_codebooks == 32 else 0.25) for size in sizes]
    return peer_file(model, NAMES[n_codebooks], n_samples, segments), segments, path


def test_files_are_the_originals_and_become_version_1(coded, ecdc, tmp_path):
    data, segments, weights = coded
    coder = load_language_model(weights)
    found = read_v0(io.BytesIO(data), coder)
    assert found.entropy_coded and found.n_bytes == len(data)
    assert all(np.array_equal(a, b) and c == d for (a, c), (b, d) in zip(found.segments, segments, strict=True))
    out = io.BytesIO()
    write_v0(out, found.model_name, found.n_samples, found.segments, coder)
    assert out.getvalue() == data
    new = io.BytesIO()
    to_v1(CodeFile(io.BytesIO(data), coder), new, bytes(range(32)))
    (tmp_path / "new.ecdc").write_bytes(new.getvalue())
    ecdc("convert", tmp_path / "new.ecdc", "--lm", weights, "-o", tmp_path / "old.ecdc", check=True)
    assert (tmp_path / "old.ecdc").read_bytes() == data
    row = json.loads(ecdc("info", "--json", tmp_path / "old.ecdc", check=True).stdout)
    assert row["entropy"] == "language model" and row["n_frames"] == sum(codes.shape[1] for codes, _ in segments)


def test_bad_files_and_wrong_weights_are_refused(coded, ecdc, tmp_path):
    data, _, weights = coded
    coder = load_language_model(weights)
    with pytest.raises(UnsupportedVersion, match="convert --lm"):
        read_v0(io.BytesIO(data))
    with pytest.raises(Corrupt, match="follow"):
        read_v0(io.BytesIO(data + b"\0"), coder)
    for size in (len(data) - 2, len(data) // 2):
        with pytest.raises(Truncated):
            read_v0(io.BytesIO(data[:size]), coder)
    other = LanguageModel(peer(48 - coder.n_codebooks, seed=0).state_dict())
    with pytest.raises(ValueError, match="needs a language model of"):
        read_v0(io.BytesIO(data), other)
    (tmp_path / "old.ecdc").write_bytes(data)
    for options in ([], ["--lm", tmp_path / "old.ecdc"], ["--lm", tmp_path / "none.th"]):
        done = ecdc("convert", tmp_path / "old.ecdc", *options, "--model", "any", "-o", tmp_path / "new.ecdc")
        assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "new.ecdc").exists()


def test_hours_in_no_bytes_are_refused():
    head = json.dumps({"m": "encodec_24khz", "al": 24_000 * 36_000, "nc": 8, "lm": True}).encode()
    data = struct.pack("!4sBI", b"ECDC", 0, len(head)) + head + bytes(100)
    with pytest.raises(OverLimit, match="cannot hold"):
        read_v0(io.BytesIO(data), LanguageModel(peer(32, seed=0).state_dict()))
