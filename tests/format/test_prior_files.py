"""Files of priors: compressed ones hold the same, damaged ones are refused, and only the wanted one is read."""

import gzip
import tracemalloc

import pytest
from ecdc.format.entropy import prior as prior_module
from ecdc.format.entropy.installed_priors import FOLDERS, find_prior
from ecdc.format.entropy.prior import Prior, read_prior, read_token_space
from small_prior import SPACE, made


@pytest.fixture(scope="module")
def prior():
    return Prior(made(), SPACE)


def test_a_compressed_prior_is_the_same_prior(prior, tmp_path):
    prior.save(tmp_path / "a.prior")
    prior.save(tmp_path / "a.prior.gz")
    packed = (tmp_path / "a.prior.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.prior").read_bytes()
    for name in ("a.prior", "a.prior.gz"):
        found = read_prior(tmp_path / name)
        assert found.hash == prior.hash and found.token_space == read_token_space(tmp_path / name) == SPACE


@pytest.mark.parametrize("name", ["a.prior", "a.prior.gz"])
def test_a_small_file_takes_little_memory(prior, tmp_path, name):
    prior.save(tmp_path / name)
    read_prior(tmp_path / name)  # imports
    tracemalloc.start()
    try:
        read_prior(tmp_path / name)
        read_token_space(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_compressed_prior_is_refused(prior, tmp_path, monkeypatch):
    path = tmp_path / "a.prior.gz"
    prior.save(path)
    packed = path.read_bytes()
    middle = len(packed) // 2
    for data in (b"", packed[:9], packed[:middle], packed[:-1], packed[:middle] + bytes(40) + packed[middle + 40 :]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is not a prior"):
            read_prior(path)
    monkeypatch.setattr(prior_module, "MAX_FILE_BYTES", 2000)
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="at most 2000 bytes"):
        read_prior(path)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 8, b"\xff" * 9, b"\xff\x7f" + bytes(6) + b"[" * 40_000, b"\2" + bytes(7) + b"[]"]
)
def test_a_token_space_is_not_found_in_what_is_no_prior(tmp_path, data):
    for name in ("a.prior", "a.prior.gz"):
        (tmp_path / name).write_bytes(data if name == "a.prior" else gzip.compress(data))
        with pytest.raises(ValueError, match="is not a prior"):
            read_token_space(tmp_path / name)


def test_the_prior_of_a_token_space_is_found_among_others(prior, tmp_path, monkeypatch):
    other = Prior(made(), bytes(32))
    other.save(tmp_path / "a.prior.gz")
    (tmp_path / "b.prior").write_bytes(b"damaged")
    prior.save(tmp_path / "c.prior.gz")
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    assert find_prior(SPACE).hash == prior.hash and find_prior(bytes(32)).hash == other.hash and find_prior(b"x" * 32) is None
