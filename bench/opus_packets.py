"""Opus packets through libopus itself, so that a bench decides which of them are lost."""

from __future__ import annotations

import ctypes
from ctypes.util import find_library
from functools import lru_cache
from typing import Any

import numpy as np

from ..format.errors import EcdcError

FRAME_SECONDS = 0.02
VOIP, VOICE = 2048, 3001
SET_BITRATE, SET_COMPLEXITY, SET_INBAND_FEC, SET_PACKET_LOSS, SET_SIGNAL, GET_LOOKAHEAD = 4002, 4010, 4012, 4014, 4024, 4027
MAX_PACKET = 1500  # bytes


class OpusMissing(EcdcError):
    """libopus is not installed."""


@lru_cache(maxsize=1)
def _library() -> Any:
    name = find_library("opus")
    if name is None:
        raise OpusMissing("libopus is not installed (Debian: apt install libopus0)")
    library = ctypes.CDLL(name)
    library.opus_encoder_create.restype = library.opus_decoder_create.restype = ctypes.c_void_p
    return library


def encode(audio: np.ndarray, rate: int, kbps: float, loss: float) -> tuple[list[bytes], int]:
    """Encode mono audio [N] for a channel that loses a share `loss`: packets of 20 ms, and the delay in samples."""
    library, error = _library(), ctypes.c_int()
    encoder = ctypes.c_void_p(library.opus_encoder_create(rate, 1, VOIP, ctypes.byref(error)))
    if error.value:
        raise OpusMissing(f"libopus cannot encode {rate} Hz: error {error.value}")
    settings = (SET_BITRATE, round(1000 * kbps)), (SET_COMPLEXITY, 10), (SET_SIGNAL, VOICE), (SET_INBAND_FEC, int(loss > 0))
    for request, value in (*settings, (SET_PACKET_LOSS, round(100 * loss))):
        library.opus_encoder_ctl(encoder, ctypes.c_int(request), ctypes.c_int(value))
    delay = ctypes.c_int()
    library.opus_encoder_ctl(encoder, ctypes.c_int(GET_LOOKAHEAD), ctypes.byref(delay))
    size = round(FRAME_SECONDS * rate)
    padded = np.pad(np.asarray(audio, np.float32), (0, delay.value + -(len(audio) + delay.value) % size))
    packets, buffer = [], ctypes.create_string_buffer(MAX_PACKET)
    for start in range(0, len(padded), size):
        frame = np.ascontiguousarray(padded[start : start + size])
        n = library.opus_encode_float(encoder, frame.ctypes.data_as(ctypes.c_void_p), size, buffer, MAX_PACKET)
        packets.append(buffer.raw[:n])
    library.opus_encoder_destroy(encoder)
    return packets, delay.value


def decode(packets: list[bytes | None], rate: int, delay: int, n_samples: int) -> np.ndarray:
    """Decode packets of which the lost ones are None: from the next packet's redundant copy, or else by Opus's concealment."""
    library, error = _library(), ctypes.c_int()
    decoder = ctypes.c_void_p(library.opus_decoder_create(rate, 1, ctypes.byref(error)))
    size = round(FRAME_SECONDS * rate)
    frame = np.zeros(size, np.float32)
    parts = []
    for i, packet in enumerate(packets):
        following = packets[i + 1] if i + 1 < len(packets) else None
        data = packet if packet is not None else following
        is_copy = packet is None and following is not None
        pointer = frame.ctypes.data_as(ctypes.c_void_p)
        library.opus_decode_float(decoder, data, len(data) if data else 0, pointer, size, int(is_copy))
        parts.append(frame.copy())
    library.opus_decoder_destroy(decoder)
    audio = np.concatenate(parts)[delay:]
    return np.pad(audio, (0, max(0, n_samples - len(audio))))[:n_samples]
