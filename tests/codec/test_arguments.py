"""What may be handed to a codec: floats and codes of tensors and arrays, and one sentence for anything else."""

from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec.checkpoints import load, save
from ecdc.codec.errors import ArgumentError, ClosedError, EcdcError
from ecdc.codec.light.export import write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.pipeline import decode_file, encode_file
from ecdc.codec.runtime import codec_of, open_codec


@pytest.fixture(scope="module")
def wav():
    return 0.2 * torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(0))


def test_arrays_and_tensors_of_any_float_are_audio(codec, wav):
    codes = codec.encode(wav)
    for same in (wav.numpy(), wav.double(), wav.double().numpy(), np.asfortranarray(wav.numpy()), wav.numpy().astype(">f4")):
        assert torch.equal(codec.encode(same), codes)
    frozen = wav.numpy().copy()
    frozen.flags.writeable = False
    assert torch.equal(codec.encode(frozen), codes)
    assert torch.equal(codec.encode_segments(wav.numpy())[0].codes, codes)
    with codec.streaming(batch_size=2) as stream:
        parts = [stream.encode(wav[..., :1111].numpy()), stream.encode(wav[..., 1111:], last=True)]
    assert torch.equal(torch.cat(parts, dim=-1), codes)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "int64", "uint64"])
def test_integers_of_any_width_are_codes(codec, wav, dtype):
    codes = codec.encode(wav)
    decoded = codec.decode(codes)
    array = codes.numpy().astype(dtype)
    assert torch.equal(codec.decode(array), decoded)
    assert torch.equal(codec.decode(torch.from_numpy(array)), decoded)
    with codec.streaming(batch_size=2) as stream:
        assert torch.allclose(stream.decode(array, last=True), decoded, atol=1e-5)


def with_one(wav, value):
    changed = wav.clone()
    changed[1, 0, 77] = value
    return changed


@pytest.mark.parametrize(
    ("make", "came"),
    [
        (lambda wav: with_one(wav, float("nan")), "float32 [2, 1, 4000] with 1 NaN or infinite samples"),
        (lambda wav: with_one(wav, float("-inf")).numpy(), "with 1 NaN or infinite"),
        (lambda wav: wav * float("nan"), "with 8000 NaN"),
        (lambda wav: (wav * 32767).to(torch.int16), "int16 [2, 1, 4000]"),
        (lambda wav: (wav * 32767).to(torch.int16).numpy(), "int16 [2, 1, 4000]"),
        (lambda wav: wav > 0, "bool [2, 1, 4000]"),
        (lambda wav: wav.to(torch.complex64), "complex64"),
        (lambda wav: wav[0, 0], "float32 [4000]"),
        (lambda wav: wav[0], "float32 [1, 4000]"),
        (lambda wav: wav.expand(2, 3, 4000), "float32 [2, 3, 4000]"),
        (lambda wav: wav.tolist(), "a list"),
        (lambda wav: None, "a NoneType"),
        (lambda wav: wav.numpy().astype(object), "an array of object"),
    ],
)
def test_anything_else_is_no_audio(codec, wav, make, came):
    given = make(wav)
    calls = [codec.encode, codec.encode_segments]
    with codec.streaming(batch_size=2) as stream:
        for call in [*calls, stream.encode]:
            with pytest.raises(ValueError, match=r"wav must be finite floats \[B, 1, N\]") as caught:
                call(given)
            assert came in str(caught.value)


@pytest.mark.parametrize(
    ("make", "came"),
    [
        (lambda codes: codes.float(), "float32 [2, 4, 13]"),
        (lambda codes: codes.numpy().astype(np.float64), "float64"),
        (lambda codes: codes > 0, "bool"),
        (lambda codes: codes[0], "int64 [4, 13]"),
        (lambda codes: codes.repeat(1, 2, 1), "int64 [2, 8, 13]"),
        (lambda codes: codes.tolist(), "a list"),
        (lambda codes: codes + 64, "..127"),
        (lambda codes: codes - 64, "-64.."),
        (lambda codes: codes.numpy().astype(np.uint64) + 2**63, "must lie in [0, 64)"),
    ],
)
def test_anything_else_is_no_codes(codec, wav, make, came):
    given = make(torch.cat([codec.encode(wav)[..., :11], torch.tensor([0, 63]).expand(2, 4, 2)], dim=-1))
    with codec.streaming(batch_size=2) as stream:
        for call in (codec.decode, stream.decode):
            with pytest.raises(ValueError, match="codes must") as caught:
                call(given)
            assert came in str(caught.value)


def test_a_batch_has_items(codec, wav):
    codes = codec.encode(wav)
    with codec.streaming(batch_size=2) as stream:
        for call in (codec.encode, codec.encode_segments, stream.encode):
            with pytest.raises(ValueError, match=r"wav has no items: it is float32 \[0, 1, 4000\]"):
                call(wav[:0])
        for call in (codec.decode, stream.decode):
            with pytest.raises(ValueError, match=r"codes have no items: they are int64 \[0, "):
                call(codes[:0])


def test_numbers_of_calls(codec, wav):
    for kbps in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match="kbps"):
            codec.encode(wav, kbps=kbps)
    for n in (0, 5, -1):
        with pytest.raises(ValueError, match="n_codebooks"):
            codec.encode(wav, n_codebooks=n)
    with pytest.raises(ValueError, match="n_samples"):
        codec.decode(codec.encode(wav), n_samples=-1)
    with pytest.raises(ValueError, match="one or more"):
        codec.decode_segments([])


NO_NUMBERS = ["6", b"6", None, [6], 6j, float("nan"), object(), "x" * 1000]


def one_line(call, *given, **named):
    """Check that a call raises ArgumentError with one line that is not long."""
    with pytest.raises(ArgumentError) as caught:
        call(*given, **named)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.fixture(scope="module", params=["torch", "light"])
def either(request, codec, tmp_path_factory):
    if request.param == "torch":
        return codec
    folder = tmp_path_factory.mktemp("arguments") / "m"
    save(codec, folder)
    write_structures(folder)
    return load_light(folder)


def test_what_is_no_number_is_refused_in_one_line(either, wav):
    codes = either.encode(wav)
    for value in [*NO_NUMBERS, 2.5]:
        for name in ("n_codebooks", "effort") if value is not None else ("effort",):
            one_line(either.encode, wav, **{name: value})
        if value is not None:
            one_line(either.decode, codes, n_samples=value)
        for name in ("batch_size", "first_frame"):
            one_line(lambda name, value: either.streaming(**{name: value}).__enter__(), name, value)
    for value in [value for value in NO_NUMBERS if value is not None]:
        one_line(either.encode, wav, kbps=value)
    for value in (0, -1, 10**9, 2**31, 10**18, 10**30):
        one_line(lambda value: either.streaming(batch_size=value).__enter__(), value)


def test_a_batch_that_memory_does_not_hold_is_one_line(either, monkeypatch):
    """Numpy raises MemoryError, torch RuntimeError."""
    for error in (MemoryError("Unable to allocate"), RuntimeError("DefaultCPUAllocator: can't allocate memory")):

        def full(*args, error=error):
            raise error

        for owner in (np, torch.Tensor):
            monkeypatch.setattr(owner, "zeros" if owner is np else "new_zeros", full)
        with pytest.raises(ArgumentError, match="batch_size 3 needs more memory than there is"):
            either.streaming(batch_size=3).__enter__()


def test_a_stream_takes_as_many_items_in_every_block(either, wav):
    """Another number is refused, and the stream goes on as if it had not been given."""
    codes = np.asarray(either.encode(wav))
    with either.streaming(batch_size=2) as stream:
        found = [np.asarray(stream.encode(wav[..., :1000]))]
        one_line(stream.encode, wav[:1])
        one_line(stream.encode, torch.full((2, 1, 10), float("nan")))
        found.append(np.asarray(stream.encode(wav[..., 1000:], last=True)))
        one_line(stream.decode, codes[:1])
        audio = stream.decode(codes, last=True)
    assert np.array_equal(np.concatenate(found, axis=2), codes)
    assert np.allclose(np.asarray(audio), np.asarray(either.decode(codes)), atol=1e-5)


def test_floats_that_float32_cannot_hold_are_refused(either, wav):
    large = wav.double().numpy().copy()
    large[1, 0, 5] = 1e39
    one_line(either.encode, large)
    assert either.encode(np.clip(large, -1e38, 1e38)).shape[0] == 2


def test_a_closed_stream_says_so(either, wav):
    with either.streaming(batch_size=2) as stream:
        stream.encode(wav, last=True)
        with pytest.raises(ClosedError, match="closed"):
            stream.encode(wav)
    with pytest.raises(EcdcError, match="closed"):
        stream.decode(either.encode(wav))
    assert issubclass(ClosedError, RuntimeError)  # as it was before


def test_what_is_no_codec_or_path_is_refused_in_one_line(tmp_path):
    for value in (3, None, b"nano-24k", [], "a\0b"):
        one_line(open_codec, value)
        one_line(load, value)
        one_line(codec_of, value)
    for name in ("runtime", "device"):
        for value in ("x" if name == "runtime" else 3, None):
            one_line(open_codec, "nano-24k", **{name: value})


def test_what_files_are_made_of_is_checked_before_anything_is_written(codec, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(3000), 24_000)
    folder = tmp_path / "m"
    save(codec, folder)
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", folder)  # a path is the name of a model, too
    encode, decode = partial(encode_file, tmp_path / "a.wav"), partial(decode_file, tmp_path / "a.ecdc")
    before = set(tmp_path.iterdir())
    one_line(encode, tmp_path / "b.ecdc", 3)
    one_line(decode, tmp_path / "b.wav", 3)
    bad = {
        "kbps": NO_NUMBERS, "channels": ["1", 0, 1.5, -1], "vbr": [6, "6"], "entropy": ["x", None],
        "chunk_seconds": ["x", 0, -1, float("nan")], "effort": ["x", 1.5],
    }  # fmt: skip
    for name, values in bad.items():
        for value in values:
            one_line(encode, tmp_path / "b.ecdc", codec, **{name: value})
    for name in ("start", "duration", "sample_rate", "max_seconds"):
        for value in [value for value in NO_NUMBERS if value is not None]:
            one_line(decode, tmp_path / "b.wav", codec, **{name: value})
    for named in ({"sample_rate": 0}, {"sample_rate": -1}, {"lost": 3}, {"lost": [], "start": 0.01}, {"start": -0.5}):
        one_line(decode, tmp_path / "b.wav", codec, **named)
    for name in (3, None, b"b.wav", "b\0", "\ud800"):
        one_line(encode_file, tmp_path / "a.wav", name, codec)
        one_line(encode_file, name, tmp_path / "b.ecdc", codec)
        one_line(decode_file, name, tmp_path / "b.wav", codec)
    assert set(tmp_path.iterdir()) == before
    assert decode(tmp_path / "b.wav", codec, start=0.05).seconds == pytest.approx(0.075)  # a float is a number, too
