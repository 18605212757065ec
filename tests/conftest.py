"""Fixtures that several folders share."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # tests in several processes, and what they start, compute in one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from ecdc.codec.bundled import BUNDLED, read_config
from ecdc.codec.checkpoints import save
from ecdc.codec.config import CodecConfig, HybridConfig
from ecdc.codec.default_model import DEFAULT_MODEL
from ecdc.codec.light.export import write_structures
from ecdc.codec.light.load import load_light
from ecdc.codec.model import Codec


@pytest.fixture(scope="session")
def default():
    """The configuration of the model that is used where none is named."""
    return read_config(BUNDLED / DEFAULT_MODEL)


@pytest.fixture(scope="session")
def codec():
    """A small untrained codec of nano-24k's kind, whose codebooks fit its latents."""
    architecture = HybridConfig(
        low_bins=24, encoder_width=32, encoder_depth=2, decoder_width=32, decoder_depth=2,
        fine_blocks=4, encoder_window=2, lookahead=1, random_sign_bin=16,
    )  # fmt: skip
    config = CodecConfig(
        name="random-24k", architecture=architecture, dimension=32, n_codebooks=4, codebook_size=64,
        bitrates_kbps=(0.45, 0.9, 1.35, 1.8), exact_dtype="float64",
    )  # fmt: skip
    torch.manual_seed(0)
    codec = Codec(config)
    latents = codec.encoder(0.2 * torch.randn(1, 1, 48_000)).detach()
    for k in range(config.n_codebooks):
        codec.quantizer.codebooks[k] = latents.std() * 0.5**k * torch.randn(config.codebook_size, config.dimension)
    return codec.ready()


@pytest.fixture(scope="session")
def light_folder(codec, tmp_path_factory):
    """The small codec's folder with its graphs for onnxruntime, which refer to its weights."""
    folder = tmp_path_factory.mktemp("light") / codec.config.name
    save(codec, folder)
    write_structures(folder)
    return folder


@pytest.fixture(scope="session", params=["torch", "onnx"])
def either(request, codec, light_folder):
    """The small codec on each of the runtimes."""
    return codec if request.param == "torch" else load_light(light_folder)


@pytest.fixture(scope="session")
def noise():
    """Two seconds of stereo noise and tones [2, N] at 44.1 kHz, not a whole number of frames."""
    rng = np.random.default_rng(0)
    time = np.arange(88_123) / 44_100
    tones = np.stack([np.sin(2 * np.pi * f * time) for f in (440, 660)])
    return (0.3 * tones + 0.1 * rng.standard_normal(tones.shape)).astype(np.float32)
