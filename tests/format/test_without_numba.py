"""Short files are coded in numpy, which starts at once: the same bytes and codes as by the compiled kernels."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ecdc.format.entropy import prior as prior_module
from ecdc.format.entropy import prior_plain, rangecoder
from ecdc.format.entropy.prior import Prior
from ecdc.format.jit import is_cached
from small_prior import SPACE, likely, made

KS = (3, 2)


@pytest.fixture
def coded(monkeypatch):
    """Code the same streams with the kernels and in numpy; returns the payloads, and what each decodes of them."""

    def code(streams, first=10**6):
        found = []
        for is_plain in (True, False):
            monkeypatch.setattr(prior_module, "_is_plain", lambda *_, is_plain=is_plain: is_plain)
            own = Prior(made(), SPACE)
            payload = own.encode(streams)
            parts = own.decode_parts(payload, tuple(map(len, streams)), streams[0].shape[1], first)
            found.append((payload, np.concatenate(list(parts), axis=1)))
        return found

    return code


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_frames", [1, 2, 63, 150])
def test_numpy_and_kernels_agree(coded, seed, n_frames):
    rows = likely(Prior(made(), SPACE), (3, n_frames), seed)
    rng = np.random.default_rng(seed)
    any_rows = rng.integers(0, 17, (2, n_frames)).astype(np.uint16)  # the least likely codes too
    for streams in ([rows], [rows, any_rows]):
        (one, codes), (two, again) = coded(streams, first=40)
        assert one == two
        np.testing.assert_array_equal(codes, np.concatenate(streams))
        np.testing.assert_array_equal(again, codes)


def test_the_largest_sums_are_exact_in_floats(coded, monkeypatch):
    """All weights, biases and widths at their limits: floats give what integers give."""
    rng = np.random.default_rng(0)
    arrays = made(H=prior_module.MAX_WIDTH)
    for name, array in arrays.items():
        if array.dtype == np.int8:
            array[:] = rng.choice([-127, 127, 126], array.shape, p=[0.2, 0.4, 0.4])
        elif "bias" in name:
            array[:] = rng.choice([-1, 1], array.shape) * (prior_module.LIMIT - rng.integers(0, 9, array.shape))
    monkeypatch.setitem(globals(), "made", lambda: arrays)
    streams = [rng.integers(0, 17, (3, 40)).astype(np.uint16)]
    (one, codes), (two, again) = coded(streams)
    assert one == two
    assert np.array_equal(codes, streams[0]) and np.array_equal(again, codes)


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_payload_that_ends_early_is_refused_in_numpy_too(monkeypatch, cut):
    monkeypatch.setattr(prior_module, "_is_plain", lambda *_: True)
    own = Prior(made(), SPACE)
    payload = own.encode([np.random.default_rng(0).integers(0, 17, (3, 60)).astype(np.uint16)])
    with pytest.raises(ValueError):
        own.decode(payload[:-cut], (3,), 60)


def test_intervals_fill_the_whole_range():
    rng = np.random.default_rng(0)
    logits = rng.integers(-5000, 5000, (50, 17)).astype(np.int32)
    shares = prior_plain.shares_of(logits / np.float32(32), made()["table"])
    assert (shares >= 1).all() and (shares.sum(axis=1) == rangecoder.TOTAL).all()


def test_numpy_gives_way_to_the_kernels(monkeypatch, tmp_path):
    monkeypatch.setattr(prior_module, "_spent", 0.0)
    monkeypatch.delitem(sys.modules, "ecdc.format.entropy.prior_kernels", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    def is_plain(seconds):
        return prior_module._is_plain(1, seconds, "decode")

    assert is_plain(prior_module.LOADING) and is_plain(prior_module.LOADING), "compiling takes longer than loading"
    assert not is_plain(prior_module.COMPILING)
    assert not is_plain(0.0), "the kernels are loaded by then"


def test_kernels_that_are_compiled_serve_sooner(monkeypatch, tmp_path):
    """What numba has put into its folder is found there without it."""
    script = "import numpy as np; from ecdc.format.entropy import prior_kernels as k\n"
    script += "k.frequencies(np.zeros(5, np.int32), np.ones(3, np.int32), np.zeros(5, np.int32))"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not is_cached(prior_module.KERNELS, "frequencies")
    subprocess.run([sys.executable, "-c", script], check=True)
    assert is_cached(prior_module.KERNELS, "frequencies") and not is_cached(prior_module.KERNELS, "decode")


SCRIPT = """
import numba, numpy as np
from ecdc.format.bitpack import pack_codes, pack_codes_ref
codes = np.arange(99, dtype=np.uint16)
assert pack_codes(codes, 7) == pack_codes_ref(codes, 7)
print("right")
"""


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path):
    """The folder for numba's cache is a file: everything is compiled in memory, without a traceback or a warning."""
    (tmp_path / "file").write_text("")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache")}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("right\n", "")


def test_a_full_disk_is_no_fault():
    """Writing to the cache fails: the compiled code is used without being kept."""
    script = "import numba.core.caching as c, errno\n"
    script += "def full(self, *a): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    script += "c.IndexDataCacheFile.save = full\nc.IndexDataCacheFile.load = lambda *a: None\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("right\n", "")
