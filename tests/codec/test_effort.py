"""Encoder effort: a beam is no worse than a greedy search on average, and codes are the same everywhere."""

import itertools

import numpy as np
import pytest
import soundfile
import torch
from ecdc.codec.checkpoints import save
from ecdc.codec.effort import FILE_EFFORT, MOST_EFFORT, PATHS, file_effort
from ecdc.codec.encoding import encode_file
from ecdc.codec.light.export import write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.quantize.beam import BeamSearch
from ecdc.codec.quantize.residual import ResidualVQ
from ecdc.codec.vbr import Target
from ecdc.format import Reader
from ecdc.format.errors import ArgumentError
from seanet_models import small_codec
from split_models import K, build
from stream_parts import parts

EFFORTS = sorted({PATHS.index(paths) for paths in PATHS} - {0})


@pytest.fixture(scope="module")
def split():
    return build()


@pytest.fixture(scope="module")
def light(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("effort") / "m"
    save(split, folder)
    write_structures(folder)
    return load_light(folder)


@pytest.fixture(scope="module")
def wav():
    rng = np.random.default_rng(0)
    fading = 10 ** (-20 * np.arange(9000) / 48_000)
    return (0.1 * fading * rng.standard_normal((2, 1, 9000))).astype(np.float32)


def random_books(n_books, size, dimension, seed=0):
    rng = np.random.default_rng(seed)
    decay = 0.6 ** np.arange(n_books)[:, None, None]
    return (decay * rng.standard_normal((n_books, size, dimension))).astype(np.float32)


def errors(books, scales, vectors, codes):
    """The squared error of codes [N, K] for vectors [N, D], in float64."""
    total = np.zeros_like(vectors)
    scale = 1.0 if scales is None else scales.astype(np.float64)[codes[:, 0], None]
    for k in range(codes.shape[1]):
        total += books[k].astype(np.float64)[codes[:, k]] * (scale if k else 1)
    return np.square(vectors - total).sum(1)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_beam_of_all_paths_finds_the_best_codes(scaled):
    books, vectors = random_books(3, 6, 5), np.random.default_rng(1).standard_normal((40, 5))
    scales = np.linspace(0.5, 2, 6).astype(np.float32) if scaled else None
    found = errors(books, scales, vectors, BeamSearch(books, scales)(vectors, 3, 36))
    every = [errors(books, scales, vectors, np.tile(c, (40, 1))) for c in itertools.product(range(6), repeat=3)]
    np.testing.assert_allclose(found, np.min(every, axis=0), rtol=1e-12)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("size", [64, 7])
def test_one_path_is_the_greedy_search_and_more_are_no_worse(scaled, size):
    quantizer = ResidualVQ(5, size, 12, scaled)
    books, vectors = random_books(5, size, 12), np.random.default_rng(1).standard_normal((700, 12))
    scales = np.linspace(0.5, 2, size).astype(np.float32) if scaled else None
    quantizer.codebooks.copy_(torch.from_numpy(books))
    if scaled:
        quantizer.scales.copy_(torch.from_numpy(scales))
    latents = torch.from_numpy(vectors.T[None])
    greedy, search = quantizer.encode(latents)[0].T.numpy(), BeamSearch(books, scales)
    np.testing.assert_array_equal(search(vectors, 5, 1), greedy)
    means = [errors(books, scales, vectors, search(vectors, 5, m)).mean() for m in (1, 2, 4, 8, 16)]
    assert all(more <= less for less, more in itertools.pairwise(means)) and means[1] < 0.99 * means[0]
    np.testing.assert_array_equal(quantizer.encode(latents, 3, n_paths=4)[0].T.numpy(), search(vectors, 3, 4))


def test_entries_that_are_equally_good():
    """The lowest entry wins, also in codebooks without any training, which have nothing but ties."""
    books = random_books(2, 40, 6)
    books[:, 20:] = books[:, :20]
    vectors = np.random.default_rng(1).standard_normal((30, 6))
    assert BeamSearch(books)(vectors, 2, 4).max() < 20
    assert not BeamSearch(np.zeros((3, 256, 6), np.float32))(vectors, 3, 2).any()


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("factor", [0, 1e-30, 1e-12])
@pytest.mark.parametrize("n_paths", [2, 16])
@pytest.mark.parametrize("size", [7, 256])
def test_a_codebook_that_is_next_to_nothing_beside_the_vectors(size, n_paths, factor, scaled):
    """Such as one that was never trained. Its entries differ by less than the rounding of the vectors' squares."""
    books, vectors = random_books(3, size, 4), 100 * np.random.default_rng(1).standard_normal((50, 4))
    scales = np.logspace(-2, 2, size).astype(np.float32) if scaled else None
    books[1] *= np.float32(factor)
    search = BeamSearch(books, scales)
    codes = search(vectors, 3, n_paths)
    np.testing.assert_array_equal(np.concatenate([search(one[None], 3, n_paths) for one in vectors]), codes)
    greedy = errors(books, scales, vectors, search(vectors, 3, 1))
    assert errors(books, scales, vectors, codes).sum() <= greedy.sum() * (1 + 1e-9)


def test_many_candidates_of_one_vector_change_no_codes_of_others():
    books = random_books(2, 256, 9)
    books[1] *= np.float32(1e-13)
    vectors = np.random.default_rng(1).standard_normal((40, 9)) * np.logspace(-12, 3, 40)[:, None]
    search = BeamSearch(books)
    np.testing.assert_array_equal(np.concatenate([search(one[None], 2, 4) for one in vectors]), search(vectors, 2, 4))


@pytest.mark.parametrize("n_rows", [0, 1, 1500])
def test_a_vector_has_the_same_codes_in_any_company(n_rows):
    search, vectors = BeamSearch(random_books(4, 64, 9)), np.random.default_rng(1).standard_normal((1500, 9))
    np.testing.assert_array_equal(search(vectors[:n_rows], 4, 3), search(vectors, 4, 3)[:n_rows])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loudest", [1e7, 1e15, 1e30, 1e45])
def test_vectors_far_beyond_the_codebooks_have_codes_too(loudest):
    """As samples far beyond full scale make them; their squares leave no digits for what the paths differ in."""
    search, vectors = BeamSearch(random_books(4, 64, 9)), np.random.default_rng(1).standard_normal((30, 9))
    quiet = search(vectors, 4, 3)
    vectors[::2] *= loudest
    codes = search(vectors, 4, 3)
    np.testing.assert_array_equal(codes[1::2], quiet[1::2])
    np.testing.assert_array_equal(np.concatenate([search(one[None], 4, 3) for one in vectors]), codes)


@pytest.mark.parametrize("k", range(1, K + 1))
@pytest.mark.parametrize("effort", EFFORTS)
def test_codes_are_the_same_in_both_runtimes_batches_and_streams(split, light, wav, effort, k):
    codes = split.encode(wav, n_codebooks=k, effort=effort).numpy()
    assert codes.shape == (2, k, -(-wav.shape[-1] // 960))
    np.testing.assert_array_equal(light.encode(wav, n_codebooks=k, effort=effort), codes)
    np.testing.assert_array_equal(split.encode(wav[1:], n_codebooks=k, effort=effort).numpy(), codes[1:])
    rng = np.random.default_rng(k)
    for codec in (split, light):
        with codec.streaming(batch_size=2) as stream:
            found = parts(lambda x, s=stream, **more: s.encode(x, n_codebooks=k, effort=effort, **more), wav,
                          (0, 1, 959, 960, 3000), rng)  # fmt: skip
        np.testing.assert_array_equal(found, codes)
    for kept in range(1, k + 1):
        assert light.decode(codes[:, :kept], wav.shape[-1]).shape == wav.shape


def test_many_streams_at_once_have_the_same_codes(light, wav):
    batch, hop = light.batch(2), light.config.hop_length
    padded = np.pad(wav, ((0, 0), (0, 0), (0, 2 * hop)))
    steps = [batch.encode(padded[..., i : i + hop], n_codebooks=5, effort=MOST_EFFORT) for i in range(0, 10 * hop, hop)]
    codes = np.concatenate([found for found, is_valid in steps if is_valid.all()], axis=2)
    assert codes.shape[2] == 10 - batch.encoder_delay
    whole = light.encode(wav, n_codebooks=5, effort=MOST_EFFORT)
    np.testing.assert_array_equal(codes, whole[..., : codes.shape[2]])


def test_effort_0_is_the_greedy_search(split, light, wav):
    assert PATHS[0] == 1 and MOST_EFFORT == 10
    codes = split.encode(wav)
    for codec in (split, light):
        np.testing.assert_array_equal(codec.encode(wav, n_codebooks=5, effort=0), codes[:, :5])


def test_more_effort_never_means_fewer_paths():
    assert list(PATHS) == sorted(PATHS)


def test_shapes_of_the_same_latents_come_closer(split, wav):
    with torch.no_grad():
        latents = split.encoder(torch.from_numpy(wav).double().repeat(1, 1, 4))
    latents = latents[:, :24] / latents[:, :24].std()
    shape = split.quantizer.shape
    means = [float((shape.decode(shape.encode(latents, 5, paths)) - latents).square().mean()) for paths in PATHS]
    assert all(mean < means[0] for mean in means[1:])


def test_codecs_without_levels_search_too(codec, either, noise):
    wav = noise[None, :1, :24_000]
    with torch.no_grad():
        latents = codec.encoder(torch.from_numpy(wav).double())
    codes = [torch.as_tensor(either.encode(wav, effort=effort)) for effort in (0, MOST_EFFORT)]
    greedy, best = (float((codec.quantizer.decode(found) - latents).square().mean()) for found in codes)
    assert best < greedy


def test_a_file_gives_each_channel_the_search_for_its_own_codebooks(split, wav, tmp_path):
    soundfile.write(tmp_path / "a.wav", wav[:, 0].T, 48_000, subtype="FLOAT")
    result = encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", split, kbps=2.5, stereo="mid_side", effort=MOST_EFFORT)
    mid, side = result.codebooks
    assert mid != side
    with open(tmp_path / "a.ecdc", "rb") as file:
        codes = Reader(file).codes()
    for row, k, found in ((wav[0] + wav[1], mid, codes[:mid]), (wav[0] - wav[1], side, codes[mid:])):
        wanted = split.encode(row[None] * np.float32(0.5), n_codebooks=k, effort=MOST_EFFORT)[0]
        np.testing.assert_array_equal(found, wanted.numpy())


def test_files_are_searched_longer_unless_the_caller_chooses(split, wav, tmp_path):
    soundfile.write(tmp_path / "a.wav", wav[0, 0], 48_000, subtype="FLOAT")
    for given, used in ((None, FILE_EFFORT), (0, 0), (MOST_EFFORT, MOST_EFFORT)):
        encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", split, kbps=2.5, effort=given)
        with open(tmp_path / "a.ecdc", "rb") as file:
            np.testing.assert_array_equal(Reader(file).codes(), split.encode(wav[:1], kbps=2.5, effort=used)[0].numpy())


def test_a_variable_bitrate_keeps_prefixes_of_codes_with_effort(split, wav, tmp_path):
    soundfile.write(tmp_path / "a.wav", wav[0, 0], 48_000, subtype="FLOAT")
    encode_file(tmp_path / "a.wav", tmp_path / "a.ecdc", split, vbr=Target(1.5), effort=MOST_EFFORT)
    whole = split.encode(wav[:1], effort=MOST_EFFORT)[0].numpy()
    with open(tmp_path / "a.ecdc", "rb") as file:
        for chunk in Reader(file):
            stop = chunk.first_frame + chunk.codes.shape[1]
            np.testing.assert_array_equal(chunk.codes, whole[: chunk.codes.shape[0], chunk.first_frame : stop])


@pytest.mark.parametrize("effort", [-1, 11])
def test_efforts_out_of_range_are_refused(split, light, wav, effort):
    for codec in (split, light):
        with pytest.raises(ArgumentError, match="effort must be 0 to 10"):
            codec.encode(wav, effort=effort)


def test_encodec_has_no_effort():
    codec = small_codec("as at 24 kHz")
    assert codec.encode(np.zeros((1, 1, 800), np.float32), effort=0).shape[1] == 4
    with pytest.raises(ArgumentError, match="effort 0 only"):
        codec.encode(np.zeros((1, 1, 800), np.float32), effort=1)
    assert file_effort(codec.config) == 0
    with pytest.raises(ArgumentError, match="effort 0 only"):
        file_effort(codec.config, 4)
