"""Audio blocks to packets."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.channel_layout import codebooks_per_stream, layout_for
from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline_parts import to_array
from ..codec.protocols import Model
from ..codec.runtime import codec_of
from ..format import Entropy, Header
from ..format.arguments import described, whole_number
from ..format.entropy.installed_priors import find_prior
from ..format.errors import ArgumentError
from ..format.packets import (
    FRAME_NUMBERS,
    MAX_COPIED_FRAMES,
    End,
    Packet,
    encode_description,
    encode_end,
    encode_packet,
)

ENTROPIES = "auto", "none"
MOST_FRAMES = 6  # per packet; the format allows more


def describe(model: Model | str, channels: int = 1, entropy: str = "auto") -> Header:
    """Return the description of a stream, which both ends need: a container's header without lengths.

    Raises ValueError for more than two channels, and for models that cut audio into segments.
    """
    model = codec_of(model)
    config = model.config
    if entropy not in ENTROPIES:
        raise ArgumentError(f"entropy must be one of {', '.join(ENTROPIES)}, got {entropy}")
    if config.segment_length:
        raise ArgumentError(f"{config.name} cuts audio into segments, which packets cannot hold")
    layout = layout_for(config, channels)
    prior = find_prior(model.token_space) if entropy == "auto" else None
    return Header(
        codec=config.name, token_space=model.token_space, sample_rate=config.sample_rate,
        original_sample_rate=config.sample_rate, hop_length=config.hop_length, codebook_size=config.codebook_size,
        max_codebooks=config.n_codebooks, channels=channels, channel_coding=layout.coding,
        entropy=Entropy.PRIOR if prior else Entropy.RAW, prior=prior.hash if prior else b"",
    )  # fmt: skip


class Encoder:
    """Encodes one stream of audio to packets.

    `frames_per_packet` is 1 to 6. Each packet repeats the first `copied_codebooks` codebooks of the `copied_frames` frames
    before it, for receivers that lost them. `entropy` is "auto" (the smaller of both payloads) or "none" (fixed width). Frames
    are numbered from `first_frame`, modulo 65 536.
    Raises ValueError for bad values, and what `open_codec` raises for a model that it does not know.
    """

    def __init__(
        self, model: Model | str = DEFAULT_MODEL, kbps: float = 6.0, frames_per_packet: int = 2, channels: int = 1,
        copied_frames: int = 0, copied_codebooks: int = 2, entropy: str = "auto", first_frame: int = 0,
    ) -> None:  # fmt: skip
        self.model: Model = codec_of(model)
        frames_per_packet = whole_number("frames_per_packet", frames_per_packet, 1, MOST_FRAMES)
        copied_frames = whole_number("copied_frames", copied_frames)
        copied_codebooks = whole_number("copied_codebooks", copied_codebooks)
        if not 0 <= copied_frames <= MAX_COPIED_FRAMES or not 1 <= copied_codebooks <= self.model.config.n_codebooks:
            limits = f"0 to {MAX_COPIED_FRAMES} frames of 1 to {self.model.config.n_codebooks} codebooks"
            raise ArgumentError(f"a packet copies {limits}, got {copied_frames} of {copied_codebooks}")
        self.first_frame = whole_number("first_frame", first_frame, 0, FRAME_NUMBERS - 1)
        self.header = describe(self.model, channels, entropy)
        self._layout = layout_for(self.model.config, channels)
        self.kbps = kbps  # may be changed between two blocks
        self._codebooks()
        self.frames_per_packet = frames_per_packet
        self._copied_frames, self._copied_codebooks = copied_frames, copied_codebooks
        self._closing = ExitStack()
        self._stream: Any = self._closing.enter_context(self.model.streaming(batch_size=self._layout.n_streams))
        self._waiting: list[tuple[tuple[int, ...], NDArray[np.uint16]]] = []  # K and codes [S, K, 1] of unsent frames
        self._recent = np.zeros((self._layout.n_streams * copied_codebooks, 0), np.uint16)  # coarse codes of sent frames
        self.n_frames = self.n_samples = 0  # sent; received

    @property
    def description(self) -> bytes:
        """The packet that describes the stream. Send it first, and again now and then for receivers that join late."""
        return encode_description(self.header)

    @property
    def end(self) -> bytes:
        """The packet that ends the stream after what has been sent. Send it more than once, because it may be lost."""
        return encode_end(End((self.first_frame + self.n_frames) % FRAME_NUMBERS, self.n_samples))

    def _codebooks(self) -> tuple[int, ...]:
        return codebooks_per_stream(self.model.config, self._layout, self.kbps)

    def push(self, samples: NDArray[np.floating[Any]], last: bool = False) -> list[bytes]:
        """Take the next samples, [n] or [C, n] at the codec's rate, of any length; return the packets that they complete.

        With `last`, the rest is padded with silence and sent. Raises ValueError for a wrong shape, for integers, and for
        samples that are not finite: the block then counts as not pushed. Raises ClosedError after the last block.
        """
        block, ks = self._checked(samples), self._codebooks()
        wav = self._layout.split(block, self.model.config.channels)
        most = max(*ks, self._copied_codebooks) if self._copied_frames else max(ks)
        codes = to_array(self._stream.encode(wav, n_codebooks=most, last=last)).astype(np.uint16)  # [S, K, t]
        self.n_samples += block.shape[1]
        packets = []
        for t in range(codes.shape[2]):
            self._waiting.append((ks, codes[:, :, t : t + 1]))
            if len(self._waiting) == self.frames_per_packet:
                packets.append(self._packet())
        if last:
            packets += [self._packet()] if self._waiting else []
            self._closing.close()
        return packets

    def _checked(self, samples: Any) -> NDArray[np.float32]:
        """Return samples [C, n]; raises ValueError for a wrong shape or type, NaN and infinity."""
        try:
            given = np.asarray(samples)
        except ValueError:  # lists of several lengths
            raise ArgumentError(f"samples must be [{self._layout.channels}, n], got {described(samples)}") from None
        if given.dtype.kind != "f":
            raise ArgumentError(f"samples must be floats with full scale at 1, got {given.dtype}")
        with np.errstate(over="ignore"):
            block = np.atleast_2d(given.astype(np.float32, copy=False))
        if block.shape[0] != self._layout.channels or block.ndim != 2:
            raise ArgumentError(f"samples must be [{self._layout.channels}, n], got {list(given.shape)}")
        if n_bad := block.size - int(np.isfinite(block).sum()):
            raise ArgumentError(f"samples must be finite, got {n_bad} of {block.size} that are NaN or infinite")
        return block

    def finish(self) -> list[bytes]:
        """Send what is left, and the packet that ends the stream."""
        packets = self.push(np.zeros((self._layout.channels, 0), np.float32), last=True)
        return [*packets, self.end]

    def _packet(self) -> bytes:
        """Return the waiting frames as a packet. They get the K of the first one."""
        ks = self._waiting[0][0]
        codes = np.concatenate([codes for _, codes in self._waiting], axis=2)  # [S, K, t]
        self._waiting.clear()
        rows = np.concatenate([stream[:k] for stream, k in zip(codes, ks, strict=True)])
        packet = Packet((self.first_frame + self.n_frames) % FRAME_NUMBERS, rows, ks, self._recent)
        data = encode_packet(packet, self.header)
        self.n_frames += codes.shape[2]
        if self._copied_frames:
            coarse = codes[:, : self._copied_codebooks].reshape(-1, codes.shape[2])
            self._recent = np.concatenate([self._recent, coarse], axis=1)[:, -self._copied_frames :]
        return data
