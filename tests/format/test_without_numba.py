"""Short files are coded in numpy, which starts at once: the same bytes and codes as by the compiled kernels."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ecdc.format.entropy import prior as prior_module
from ecdc.format.entropy import prior_plain, rangecoder
from ecdc.format.entropy.prior import Prior
from small_prior import SPACE, likely, made

KS = (3, 2)


@pytest.fixture
def coded(monkeypatch):
    """Code the same streams with the kernels and in numpy; returns the payloads, and what each decodes of them."""

    def code(streams, first=10**6):
        found = []
        for is_plain in (True, False):
            monkeypatch.setattr(prior_module, "_is_plain", lambda n, seconds, is_plain=is_plain: is_plain)
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


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_payload_that_ends_early_is_refused_in_numpy_too(monkeypatch, cut):
    monkeypatch.setattr(prior_module, "_is_plain", lambda n, seconds: True)
    own = Prior(made(), SPACE)
    payload = own.encode([np.random.default_rng(0).integers(0, 17, (3, 60)).astype(np.uint16)])
    with pytest.raises(ValueError):
        own.decode(payload[:-cut], (3,), 60)


def test_intervals_fill_the_whole_range():
    rng = np.random.default_rng(0)
    logits = rng.integers(-5000, 5000, (50, 17)).astype(np.int32)
    shares = prior_plain.shares_of(logits, made()["table"])
    assert (shares >= 1).all() and (shares.sum(axis=1) == rangecoder.TOTAL).all()


def test_numpy_gives_way_to_the_kernels(monkeypatch):
    monkeypatch.setattr(prior_module, "_spent", 0.0)
    monkeypatch.delitem(sys.modules, "ecdc.format.entropy.prior_kernels", raising=False)
    assert prior_module._is_plain(1000, prior_module.PLAIN_DECODING)
    assert not prior_module._is_plain(10**6, prior_module.PLAIN_DECODING)
    assert not prior_module._is_plain(1, prior_module.PLAIN_DECODING), "the kernels are loaded by then"


SCRIPT = """
import numpy as np
from ecdc.format import jit
from ecdc.format.crc import crc32c, crc32c_ref
data = bytes(range(256)) * 64
assert crc32c(data) == crc32c_ref(data)
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
