"""The searches of both quantizers: what float32 cannot tell apart, float64 decides as a plain search does."""

import numpy as np
import pytest
from ecdc.codec.modules import level_search
from ecdc.codec.modules.level_search import LevelSearch
from ecdc.codec.quantize.residual_search import ResidualSearch


def low_rank(rng, *shape, rank=5, rest=0.02):
    """Vectors that have most of their energy in a few directions."""
    mix = np.linalg.qr(rng.standard_normal((shape[-1], shape[-1])))[0]
    scale = np.where(np.arange(shape[-1]) < rank, 1.0, rest)
    return (rng.standard_normal(shape) * scale @ mix).astype(np.float32)


def with_near_ties(rng, codebooks):
    """Make half of the entries almost equal to the others: float32 cannot tell them apart, or only just."""
    half = codebooks.shape[1] // 2
    change = 10.0 ** rng.uniform(-9, -3, (codebooks.shape[0], half, 1))
    codebooks[:, half:] = codebooks[:, :half] * (1 + change)
    return codebooks


def plain_residual(codebooks, scales, vectors, k):
    codes, rest = [], vectors.copy()
    for book in codebooks[:k].astype(np.float64):
        index = (rest @ book.T - 0.5 * np.square(book).sum(1)).argmax(1)
        rest = rest - book[index]
        if scales is not None and not codes:
            rest = rest / scales.astype(np.float64)[index, None]
        codes.append(index)
    return np.array(codes)


@pytest.mark.parametrize("rest", [0.0, 0.02, 0.2, 1.0])
@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_residual_search_finds_the_nearest_entries(rest, is_scaled):
    rng = np.random.default_rng(0)
    codebooks = with_near_ties(rng, low_rank(rng, 4, 64, 24, rest=rest))
    scales = rng.uniform(0.3, 2, 64).astype(np.float32) if is_scaled else None
    vectors = 2 * low_rank(rng, 500, 24, rest=rest).astype(np.float64)
    want = plain_residual(codebooks, scales, vectors, 4)
    search = ResidualSearch(codebooks, scales)
    np.testing.assert_array_equal(search(vectors, 4), want)
    np.testing.assert_array_equal(np.concatenate([search(one[None], 3) for one in vectors[:100]], axis=1), want[:3, :100])
    assert search(vectors[:0], 2).shape == (2, 0)


def test_equal_entries_and_untrained_codebooks_give_the_lowest_index():
    rng = np.random.default_rng(1)
    equal = np.tile(rng.standard_normal((1, 4, 8)), (2, 16, 1)).astype(np.float32)
    for n in (1, 30):
        assert ResidualSearch(equal)(rng.standard_normal((n, 8)), 2).max() < 4
        assert ResidualSearch(np.zeros((2, 64, 8), np.float32))(rng.standard_normal((n, 8)), 2).max() == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("is_scaled", [False, True])
def test_vectors_too_long_for_float32_are_decided_alike_and_change_no_others(is_scaled):
    """As samples far beyond full scale make them; float32 overflows for their squares."""
    rng = np.random.default_rng(2)
    codebooks = low_rank(rng, 3, 64, 24)
    scales = rng.uniform(0.3, 2, 64).astype(np.float32) if is_scaled else None
    vectors = low_rank(rng, 30, 24).astype(np.float64)
    vectors[::3] *= 10.0 ** rng.uniform(15, 45, (10, 1))
    search, want = ResidualSearch(codebooks, scales), plain_residual(codebooks, scales, vectors, 3)
    np.testing.assert_array_equal(search(vectors, 3), want)
    np.testing.assert_array_equal(np.concatenate([search(one[None], 3) for one in vectors], axis=1), want)


def level_quantizer(rng, rest):
    codebooks = 5 * low_rank(rng, 3, 32, 12, rest=rest)
    taps = 0.2 * np.eye(12) + 0.02 * rng.standard_normal((3, 4, 12, 12))
    mean, weight = np.full(12, -60.0), rng.uniform(0.5, 1, 12)
    return with_near_ties(rng, codebooks), *(array.astype(np.float32) for array in (taps, mean, weight))


def plain_levels(quantizer, levels, past):
    """Code frame by frame; returns the codes [B, L, T] and the levels of the first codebook."""
    codebooks, taps, mean, weight = (array.astype(np.float64) for array in quantizer)
    books = np.concatenate([codebooks, np.zeros_like(codebooks[:, :1])], axis=1)
    known, base = past.copy(), []
    for frame in levels.swapaxes(0, 1):
        rest, index = (frame - mean) * weight, []
        for k, book in enumerate(books):
            entries = book[known[:, k, ::-1][:, : taps.shape[1]]]  # [B, n_taps, F], latest first
            predicted = np.einsum("ifg,big->bf", taps[k], entries)
            scores = (rest - predicted) @ book[:-1].T - 0.5 * np.square(book[:-1]).sum(1)
            index.append(scores.argmax(1))
            if k == 0:
                base.append((predicted + book[index[0]]) / weight + mean)
            rest = rest - predicted - book[index[-1]]
        known = np.concatenate([known, np.stack(index, axis=1)[..., None]], axis=2)
    return known[..., past.shape[2] :], np.stack(base, axis=1)


@pytest.mark.parametrize("rest", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("longest", [level_search.LONGEST, (0.01, 0.01)], ids=["", "anew"])
def test_a_level_search_finds_the_nearest_entries(rest, longest, monkeypatch):
    """Also if vectors are longer than it assumes, so that it starts again; in blocks as at once."""
    monkeypatch.setattr(level_search, "LONGEST", longest)
    rng = np.random.default_rng(2)
    quantizer = level_quantizer(rng, rest)
    search = LevelSearch(*quantizer)
    levels = -60 + np.cumsum(4 * low_rank(rng, 2, 60, 12, rest=rest), axis=1).astype(np.float64)
    want, want_base = plain_levels(quantizer, levels, search.first_past(2))
    past = search.first_past(2)
    parts = [search(levels[:, first:stop], past) for first, stop in ((0, 1), (1, 3), (3, 3), (3, 40), (40, 60))]
    np.testing.assert_array_equal(np.concatenate([codes for codes, _ in parts], axis=2), want)
    np.testing.assert_allclose(np.concatenate([base for _, base in parts], axis=1), want_base, atol=1e-9)
    np.testing.assert_array_equal(past, want[..., -4:])


def test_levels_far_beyond_the_codebooks_are_coded_too():
    rng = np.random.default_rng(3)
    quantizer = level_quantizer(rng, 0.1)
    search = LevelSearch(*quantizer)
    levels = -60 + 1e4 * rng.standard_normal((1, 20, 12))
    codes, _ = search(levels, search.first_past(1))
    np.testing.assert_array_equal(codes, plain_levels(quantizer, levels, search.first_past(1))[0])
