"""What may be handed to a codec: floats and codes of tensors and arrays, and one sentence for anything else."""

import numpy as np
import pytest
import torch


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
