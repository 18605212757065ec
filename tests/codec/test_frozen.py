"""What files depend on is a contract: codebooks stay as they are, and so do the codes of a recording and the priors."""

import hashlib
from pathlib import Path

import ecdc
import numpy as np
import pytest
import soundfile
from ecdc.codec.audio import resample_all
from ecdc.codec.bundled import bundled_names
from ecdc.codec.runtime import open_codec
from ecdc.format.entropy.installed_priors import find_prior, known_priors

CLIP = Path(__file__).parents[2] / "bench" / "clips" / "speech_it.flac"
TOKEN_SPACES = {
    "nano-24k": "f0767832c459dabaf559c49152c4223b3a6ab2f79070cc0546f7daf1d40eca0d",
    "nano-48k": "ea7e4b3b000fa530b1a98fbe31809863cdeb1ed5071579db2ae3f8e417c15872",
}
CODES = {  # SHA-256 of a second of speech in all codebooks, uint16, little-endian
    "nano-24k": "e34e147eb902de23ee79f8ee20488509fc786b2b35bcdd236fb67b9c19ae9401",
    "nano-48k": "6b2bee97c08072cb04176fdfd659cc4ecb178bb1f0c48923f6828c905af8e469",
}

PRIORS = {  # hashes; files are written with the first one, and read with all
    "nano-24k": ["26944e140e6a5ccf6ba7f7960873844b8f355021bf373797108cf7960564f8ff"],
    "nano-48k": [
        "340c7c3fada8ec186b2b68507cd2458f59118862e6fefc45e5563d5e0aac97d4",
        "d06fcd3650e8e090919d5226e466b6a1bb538b59aa4031003e5c29ffba918b19",
        "c348e0b864fcd96621157a14809c0ce7fbf7bb63d8afd48c6ab9f68cb0778c08",
        "9bf9e042e494249db529002ed3304f1b9aebe6f9f4a4ddd6dc30654d0589286a",
        "80469c9ba82f070da83d606403f43371e24d3a4d058c7995a42f7806722c652a",
    ],
}


def codes_of(name, runtime):
    codec = open_codec(name, runtime)
    wav, rate = soundfile.read(CLIP, dtype="float32", frames=16_000)
    codes = codec.encode(resample_all(wav[None], rate, codec.config.sample_rate)[None])
    return hashlib.sha256(np.ascontiguousarray(codes, "<u2")).hexdigest()


def test_every_model_is_frozen():
    assert sorted(TOKEN_SPACES) == sorted(CODES) == sorted(PRIORS) == bundled_names()


@pytest.mark.parametrize("name", TOKEN_SPACES)
def test_codebooks_stay(name):
    assert ecdc.load(name).token_space.hex() == TOKEN_SPACES[name]


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize("name", CODES)
def test_codes_of_a_recording_stay(name, runtime):
    assert codes_of(name, runtime) == CODES[name]


@pytest.mark.parametrize("name", PRIORS)
def test_priors_stay_and_the_latest_is_used(name, monkeypatch):
    monkeypatch.delenv("ECDC_PRIORS", raising=False)
    token_space = bytes.fromhex(TOKEN_SPACES[name])
    assert [prior.hash.hex() for _, prior in known_priors() if prior.token_space == token_space] == PRIORS[name]
    assert find_prior(token_space).hash.hex() == PRIORS[name][0]
