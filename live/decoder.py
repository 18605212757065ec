"""Packets to audio; what is missing is concealed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.channel_layout import Layout, starts_of_streams
from ..codec.default_model import DEFAULT_MODEL
from ..codec.pipeline_parts import to_array
from ..codec.protocols import Model
from ..codec.runtime import codec_of
from ..format import Entropy, FormatError, Header, WrongModel
from ..format.arguments import described, whole_number
from ..format.entropy.installed_priors import load_prior
from ..format.errors import ArgumentError
from ..format.header import offset_of
from ..format.packets import FRAME_NUMBERS, Packet, PacketKind, decode_end, decode_packet, packet_bytes, packet_kind
from .concealment import METHODS, Filler, fading_gain
from .encoder import describe

MAX_GAP = 32  # frames that are concealed at most before a packet; after a longer gap the stream simply goes on
LATE_IN_ORDER = 3  # packets late by more than MAX_GAP that follow one another: the sender has started anew


@dataclass
class Statistics:
    """What a decoder has met so far, in frames and packets."""

    played: int = 0  # packets
    received: int = 0  # frames decoded from packets of their own
    copied: int = 0  # frames decoded from a later packet's copy
    concealed: int = 0  # frames that nothing described
    late: int = 0  # packets that came after their frames had been played
    repeated: int = 0  # packets that came twice, where a Playout tells them from late ones
    dropped: int = 0  # packets that a full buffer of a Playout did not take
    damaged: int = 0  # packets that could not be read
    jumps: int = 0  # gaps longer than MAX_GAP, and new starts


class Decoder:
    """Decodes one stream of packets. `push` raises nothing for anything that a network does.

    `header` describes the stream (`describe`); None means a mono stream of `model`. `concealment` is one of METHODS.
    Raises WrongModel if the description is of another model, MissingPrior if it names a prior that is not here, and ValueError
    for an unknown method.
    """

    def __init__(self, model: Model | str = DEFAULT_MODEL, header: Header | None = None, concealment: str = "auto") -> None:
        self.model: Model = codec_of(model)
        if not isinstance(header, Header | None):
            raise ArgumentError(f"header must be a Header, as describe() gives, got {described(header)}")
        self.header = header or describe(self.model)
        if concealment not in METHODS:
            raise ArgumentError(f"concealment must be one of {', '.join(METHODS)}, got {concealment}")
        self._check(self.header)
        if self.header.entropy is Entropy.PRIOR:
            load_prior(self.header)
        self._layout = Layout(self.header.channel_coding, self.header.channels)
        n_streams = self._layout.n_streams
        self._fillers = [Filler(self.model.config, self.header, concealment) for _ in range(n_streams)]
        self._closing = ExitStack()
        starts = starts_of_streams(self.model.config, n_streams)
        self._streams: list[Any] = [self._closing.enter_context(self.model.streaming(first_frame=start)) for start in starts]
        self._held = [
            np.zeros((1, self.model.config.channels, 0), np.float32)
        ] * n_streams  # decoded, until all streams have it
        self._next: int | None = None  # number of the next frame
        self._late_next: int | None = None  # number after the last late packet
        self._late_in_order = 0
        self._missing = 0  # frames in a row that nothing described
        self._gains = [1.0]  # at the end of each frame whose samples have not all been returned, and of the one before
        self._at = 0  # samples returned of the first of these frames
        self._last_frames = 1  # of the last packet
        self.statistics = Statistics()

    def _check(self, header: Header) -> None:
        """Raise WrongModel unless the model can decode a stream with this description."""
        config = self.model.config
        header.require(config.name, self.model.token_space)
        ours = describe(self.model, min(header.channels, 2), "none")
        names = ("sample_rate", "hop_length", "codebook_size", "segment_length")
        found = {name: getattr(header, name) for name in names if getattr(header, name) != getattr(ours, name)}
        if header.channels > 2:
            found["channels"] = header.channels
        if header.max_codebooks > config.n_codebooks:
            found["max_codebooks"] = header.max_codebooks
        for name, value in found.items():
            raise WrongModel(offset_of(name), f"a stream of {config.name} cannot have {name} {value}")

    def push(self, packet: bytes | None) -> NDArray[np.float32]:
        """Take the next packet, or None if it did not come in time; return the audio [C, n] that follows, n may be 0.

        Packets may be lost, late, repeated or damaged. Audio is the model's own delay behind. The packet that ends
        a stream fills a gap before it.
        """
        if packet is None:
            return self.conceal(self._last_frames)
        packet = packet_bytes(packet)
        try:
            kind = packet_kind(packet)
            if kind is PacketKind.END:
                return self._to_end(decode_end(packet).next_frame)
        except FormatError:
            kind = PacketKind.FRAMES  # cannot be read either
        read = None if kind is PacketKind.DESCRIPTION else self.read(packet)
        if read is None:
            return self._audio([])
        if self._is_late(read):
            self.statistics.late += 1
            return self._audio([])
        return self.play(read)

    def read(self, data: bytes) -> Packet | None:
        """Return a packet of frames; None for what cannot be read, which counts as damaged."""
        data = packet_bytes(data)
        try:
            return decode_packet(data, self.header)
        except FormatError:
            self.statistics.damaged += 1
            return None

    def play(self, read: Packet) -> NDArray[np.float32]:
        """Return audio [C, n] up to the end of a packet, whose frames are not in the past; a gap before it is filled."""
        before = self._before(read)
        self._next = (read.first_frame + read.n_frames) % FRAME_NUMBERS
        self._last_frames = read.n_frames
        self.statistics.played += 1
        self.statistics.received += read.n_frames
        self._missing = 0
        for filler, codes in zip(self._fillers, read.streams(), strict=True):
            filler.hear(codes)
        self._gains += [1.0] * read.n_frames
        return self._audio([*before, list(read.streams())])

    def conceal(self, n_frames: int) -> NDArray[np.float32]:
        """Return audio [C, n] for frames that did not come in time; they count as played."""
        n_frames = whole_number("n_frames", n_frames, 0)
        if self._next is None:
            return np.zeros((self._layout.channels, n_frames * self.header.hop_length), np.float32)
        return self.recover(n_frames, None)

    def recover(self, n_frames: int, later: Packet | None) -> NDArray[np.float32]:
        """Like `conceal`, but frames that a later packet has a copy of are decoded from it; that packet can still be played."""
        missing = self._missing_codes(n_frames, later)
        self._next = ((self._next or 0) + n_frames) % FRAME_NUMBERS
        return self._audio(missing)

    def jump(self, frame: int) -> None:
        """Go on with the frame of this number instead of the next one: the sender has started anew."""
        self.statistics.jumps += self._next is not None
        self._next = frame % FRAME_NUMBERS

    def _to_end(self, next_frame: int) -> NDArray[np.float32]:
        gap = 0 if self._next is None else (next_frame - self._next) % FRAME_NUMBERS
        return self.conceal(gap if gap <= MAX_GAP else 0)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest of the audio [C, n]; the decoder is closed."""
        audio = self._audio([], last=True)
        self._closing.close()
        return audio

    def _is_late(self, packet: Packet) -> bool:
        """Return True if a packet's frames have been played. Several such packets in order are a new start instead."""
        if self._next is None or (packet.first_frame - self._next) % FRAME_NUMBERS < FRAME_NUMBERS // 2:
            self._late_in_order = 0
            return False
        is_far = (self._next - packet.first_frame) % FRAME_NUMBERS > MAX_GAP
        self._late_in_order = self._late_in_order + 1 if is_far and packet.first_frame == self._late_next else 1
        self._late_next = (packet.first_frame + packet.n_frames) % FRAME_NUMBERS
        if self._late_in_order < LATE_IN_ORDER:
            return True
        self._late_in_order, self._next = 0, packet.first_frame
        self.statistics.jumps += 1
        return False

    def _before(self, packet: Packet) -> list[list[NDArray[np.uint16]]]:
        """Return the codes of each stream for the frames that are missing before a packet, one frame or more at a time."""
        gap = 0 if self._next is None else (packet.first_frame - self._next) % FRAME_NUMBERS
        if gap > MAX_GAP:
            self.statistics.jumps += 1
            gap = MAX_GAP
            self._next = (packet.first_frame - gap) % FRAME_NUMBERS
        return self._missing_codes(gap, packet)

    def _missing_codes(self, n_frames: int, later: Packet | None) -> list[list[NDArray[np.uint16]]]:
        """Return the codes of each stream for the next n frames, which did not come: from a later packet's copy, or filled."""
        copied = later.copied_streams(self.header.n_streams) if later is not None and later.copied.size else ()
        reach = copied[0].shape[1] if copied else 0
        gap = (later.first_frame - (self._next or 0)) % FRAME_NUMBERS if later is not None else 0
        found = []
        for distance in range(gap, gap - n_frames, -1):  # in frames, from the missing one to the later packet
            if not 0 < distance <= reach:
                found.append(self._filled())
                continue
            found.append([codes[:, reach - distance : reach - distance + 1] for codes in copied])
            self.statistics.copied += 1
            self._missing = 0
            self._gains.append(1.0)
        return found

    def _filled(self) -> list[NDArray[np.uint16]]:
        """Return codes of each stream for one frame that nothing describes."""
        self._missing += 1
        self.statistics.concealed += 1
        self._gains.append(fading_gain(self._missing, self.header.hop_length / self.header.sample_rate))
        return [filler.fill() for filler in self._fillers]

    def _audio(self, parts: list[list[NDArray[np.uint16]]], last: bool = False) -> NDArray[np.float32]:
        """Decode the codes of each stream, part by part, and apply the gains."""
        for i, stream in enumerate(self._streams):
            blocks = [self._held[i]]
            blocks += [to_array(stream.decode(part[i][None].astype(np.int64))) for part in parts]
            if last:
                blocks.append(to_array(stream.decode(np.zeros((1, 0, 0), np.int64), last=True)))
            self._held[i] = np.concatenate(blocks, axis=2)
        n = min(held.shape[2] for held in self._held)
        ready = np.concatenate([held[..., :n] for held in self._held])
        self._held = [held[..., n:] for held in self._held]
        return self._layout.join(ready) * self._gain(n)

    def _gain(self, n_samples: int) -> NDArray[np.float32]:
        """Return the gain of the next samples [n], linear between the ends of frames."""
        hop = self.header.hop_length
        place = (self._at + np.arange(1, n_samples + 1)) / hop
        gain = np.interp(place, np.arange(len(self._gains)), self._gains).astype(np.float32)
        done = (self._at + n_samples) // hop
        self._at += n_samples - done * hop
        self._gains = self._gains[min(done, len(self._gains) - 1) :]
        return gain
