"""The configuration of a codec: frozen dataclasses, strictly parsed, with computed derived values."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar, Self

from ..format.errors import ArgumentError, EcdcError


class ConfigError(EcdcError, ValueError):
    """A configuration does not describe a model; one line that names the key."""


class Strict:
    """Base class of frozen dataclasses that are read from JSON or TOML.

    A class with a `kind` may be part of a union; its table then contains the kind.
    """

    __slots__ = ()
    kind: ClassVar[str] = ""

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Build from plain values; raises ConfigError for unknown or missing keys and wrong types."""
        if not isinstance(values, dict):
            raise ConfigError(f"{cls.__name__}: expected a table, got {type(values).__name__}")
        values = {k: v for k, v in values.items() if not (cls.kind and k == "kind")}
        types_of = typing.get_type_hints(cls)
        hints = {f.name: types_of[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(hints))
        if unknown:
            raise ConfigError(f"{cls.__name__}: unknown key {unknown[0]!r} (known: {', '.join(sorted(hints))})")
        try:
            return cls(**{k: _coerce(f"{cls.__name__}.{k}", hints[k], v) for k, v in values.items()})
        except TypeError as error:  # a required key is missing
            raise ConfigError(str(error).replace("__init__() ", "")) from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back to an equal object."""
        values = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind, **values} if self.kind else values


def check_bounds(owner: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise ConfigError for the first number outside its closed interval; NaN is always outside, None is allowed.

    In a tuple, every number is checked, and there must be 1 to 64 of them.
    """
    for key, (low, high) in bounds.items():
        value = getattr(owner, key)
        values = value if isinstance(value, tuple) else (value,)
        if any(v is not None and not low <= v <= high for v in values) or not 1 <= len(values) <= 64:
            raise ConfigError(f"{type(owner).__name__}.{key}: must lie in [{low:g}, {high:g}], got {value!r:.80}")


def _plain(value: Any) -> Any:
    if isinstance(value, Strict):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def _coerce(where: str, hint: Any, value: Any) -> Any:
    """Return `value` as `hint`: int, float, bool, str, tuple[x, ...], dict[str, x], a Strict class or a union."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _coerce_union(where, args, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        return tuple(_coerce(f"{where}[{i}]", args[0], v) for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a table, got {value!r}")
        return {k: _coerce(f"{where}.{k}", args[1], v) for k, v in value.items()}
    if issubclass(hint, Strict):
        return value if isinstance(value, hint) else hint.from_dict(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def _coerce_union(where: str, options: tuple[Any, ...], value: Any) -> Any:
    """Return None if allowed; build a table by its `kind`; otherwise use the first plain type."""
    if value is None and type(None) in options:
        return None
    kinds = {o.kind: o for o in options if issubclass(o, Strict) and o.kind}
    if not kinds:
        return _coerce(where, next(o for o in options if o is not type(None)), value)
    if isinstance(value, tuple(kinds.values())):
        return value
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in kinds:
        raise ConfigError(f"{where}.kind: expected one of {', '.join(sorted(kinds))}, got {kind!r}")
    return kinds[kind].from_dict(value)


# Bounds of numbers that decide how much memory is allocated, or how long checking takes. They are far above any known codec.
# A checkpoint's sizes are also compared with the contents of its file before memory is allocated (checkpoints.py).
MAX_HOP = 1 << 14  # samples per frame
SEANET_BOUNDS: dict[str, tuple[float, float]] = {
    "strides": (1, 1024), "n_filters": (1, 4096), "n_residual_layers": (0, 64), "kernel_size": (1, 1024),
    "last_kernel_size": (1, 1024), "residual_kernel_size": (1, 1024), "dilation_base": (1, 64), "compress": (1, 64),
    "lstm_layers": (0, 16), "trim_right_ratio": (0, 1), "elu_alpha": (0, 100),
}  # fmt: skip
HYBRID_BOUNDS: dict[str, tuple[float, float]] = {
    "hop_length": (2, 4096), "low_bins": (1, 4096), "encoder_width": (1, 1 << 14), "encoder_depth": (0, 256),
    "decoder_width": (1, 1 << 14), "decoder_depth": (0, 256), "fine_blocks": (0, 4096), "expand": (1, 64),
    "kernel_size": (1, 1024), "random_sign_bin": (0, 4096),
}  # fmt: skip
CODEC_BOUNDS: dict[str, tuple[float, float]] = {
    "sample_rate": (1, 1 << 24), "channels": (1, 255), "dimension": (1, 1 << 14), "n_codebooks": (1, 255),
    "codebook_size": (2, 1 << 16), "bitrates_kbps": (1e-6, 1e6), "segment_seconds": (0, 3600), "segment_overlap": (0, 0.99),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeanetConfig(Strict):
    """EnCodec's convolutional encoder and decoder (arXiv 2210.13438, section 3.1)."""

    kind: ClassVar[str] = "seanet"
    strides: tuple[int, ...] = (8, 5, 4, 2)  # decoder order; the encoder uses them in reverse
    n_filters: int = 32  # width of the outermost stage; doubles per stride
    n_residual_layers: int = 1
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_base: int = 2
    compress: int = 2  # a residual block is narrower inside by this factor
    lstm_layers: int = 2
    true_skip: bool = False  # identity skip; otherwise a 1x1 convolution
    norm: str = "weight_norm"  # weight_norm | time_group_norm | none
    causal: bool = True
    pad_mode: str = "reflect"  # reflect | constant
    trim_right_ratio: float = 1.0  # fraction of a causal transposed convolution's padding that is trimmed on the right
    elu_alpha: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(self, SEANET_BOUNDS)
        if self.hop_length > MAX_HOP or self.dilation_base**self.n_residual_layers > MAX_HOP:
            raise ConfigError(f"SeanetConfig: strides and dilations must multiply to {MAX_HOP} at most")
        if self.n_filters < self.compress:
            raise ConfigError(f"SeanetConfig.compress: must be at most n_filters, got {self.compress} and {self.n_filters}")
        for key, known in (("norm", ("weight_norm", "time_group_norm", "none")), ("pad_mode", ("reflect", "constant"))):
            if getattr(self, key) not in known:
                raise ConfigError(f"SeanetConfig.{key}: one of {', '.join(known)}, got {getattr(self, key)!r}")

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def decoder_context(self) -> int:
        """Past frames that a decoded sample depends on; ten seconds for an LSTM, whose memory is unlimited."""
        return 750 if self.lstm_layers else 16 + 2 * self.dilation_base**self.n_residual_layers

    @property
    def decoder_lookahead(self) -> int:
        """Later frames that a decoded sample waits for."""
        return 1 if self.causal else 16 + 2 * self.dilation_base**self.n_residual_layers


@dataclass(frozen=True, slots=True)
class HybridConfig(Strict):
    """A linear MDCT path and a frame-rate network that share one latent (see modules/hybrid.py)."""

    kind: ClassVar[str] = "hybrid"
    hop_length: int = 320  # samples per frame; MDCT bins per frame
    low_bins: int = 112  # MDCT bins that enter the latent directly
    encoder_width: int = 256
    encoder_depth: int = 4
    decoder_width: int = 256
    decoder_depth: int = 8
    fine_blocks: int = 0  # short MDCT blocks per frame in addition to the long one; 0: none
    encoder_window: int = 4  # length in hops, 2 or 4, of the window of the signal around a frame that the network sees
    lookahead: int = 0  # later frames, 0 or 1, that the decoder's network sees
    expand: int = 3  # inner width of a block relative to its outer width
    kernel_size: int = 7  # frames
    random_sign_bin: int = 0  # from this MDCT bin on, noise decides the signs of what the network writes; 0: nowhere

    def __post_init__(self) -> None:
        check_bounds(self, HYBRID_BOUNDS)
        if self.low_bins > self.hop_length or self.hop_length % 2:
            raise ConfigError(f"HybridConfig.hop_length: must be even and at least low_bins, got {self.hop_length}")
        if self.fine_blocks and self.hop_length % (2 * self.fine_blocks):
            raise ConfigError(f"HybridConfig.fine_blocks: hop_length must be a multiple of {2 * self.fine_blocks}")
        if self.encoder_window not in (2, 4) or self.lookahead not in (0, 1):
            raise ConfigError("HybridConfig: encoder_window is 2 or 4 hops, lookahead 0 or 1 frames")

    @property
    def decoder_context(self) -> int:
        """Past frames that a decoded sample depends on."""
        return self.decoder_depth * (self.kernel_size - 1) + 1

    @property
    def decoder_lookahead(self) -> int:
        """Later frames that a decoded sample waits for: windows overlap, and the network may look ahead."""
        return 1 + self.lookahead


@dataclass(frozen=True, slots=True)
class SplitConfig(Strict):
    """Levels first, then the shape relative to decoded levels (see modules/split_encoder.py)."""

    kind: ClassVar[str] = "split"
    hop_length: int = 960  # samples per frame
    core_factor: int = 2  # sampling rate relative to that of the networks, which is 24 kHz
    steps: int = 3  # time steps of levels per frame
    bands: int = 24  # auditory bands up to 12 kHz
    top_bands: int = 3  # bands above, of levels and noise only
    slow_bands: int = 10  # lowest bands, with one level per frame: their waveform is coded, or steps are hardly heard
    slow_weight: float = 0.5  # of an error in a slow band, relative to one in another band, squared
    level_taps: int = 6  # past frames that predict levels
    level_places: tuple[int, ...] = (0, 3, 7, 11, 15, 19)  # positions of the level codebooks among all, ascending from 0
    low_bins: int = 112  # MDCT bins of the core that enter the latent directly
    exponent: float = 0.4  # of the level that the shape is divided by: 0 codes relative amplitudes, 1 absolute ones
    fine_blocks: int = 6  # short MDCT blocks per frame in addition to the long one
    corrects: bool = True  # whether the last layer moves levels towards the coded ones
    gain_points: int = 0  # per frame, of the gain over time that the decoder gives its long blocks; 0: no such gain
    gain_edges: tuple[int, ...] = (12, 44)  # MDCT bins at which the next group starts, each with a gain of its own
    random_sign_bin: int = 0  # from this MDCT bin on, noise decides the signs of what the network writes; 0: nowhere
    treble_db: tuple[float, ...] = ()  # added to decoded treble, for 1, 2, ... level codebooks; empty: nothing (see bands.py)
    encoder_width: int = 256
    encoder_depth: int = 4
    decoder_width: int = 320
    decoder_depth: int = 8
    expand: int = 3  # inner width of a block relative to its outer width
    kernel_size: int = 7  # frames

    @classmethod
    def from_dict(cls, values: Any) -> SplitConfig:
        """Read also models of before `random_sign_bin`: their signs are random from `low_bins` on, or nowhere."""
        if isinstance(values, dict) and "random_signs" in values:
            values = dict(values)
            start = values.get("low_bins", cls().low_bins) if values.pop("random_signs") else 0
            values.setdefault("random_sign_bin", start)
        return Strict.from_dict.__func__(cls, values)  # type: ignore[attr-defined, no-any-return]

    def __post_init__(self) -> None:
        if self.core_factor not in (1, 2) or (self.core_factor == 1 and self.top_bands):
            raise ConfigError("SplitConfig: core_factor is 1 or 2, and top_bands need 2")
        if self.hop_length % (2 * self.core_factor * self.steps) or self.core_hop % (2 * self.fine_blocks):
            raise ConfigError("SplitConfig: steps and fine_blocks must divide the core's hop_length into even parts")
        if self.fine_blocks % self.steps:
            raise ConfigError("SplitConfig.fine_blocks: must be a multiple of steps")
        if self.gain_points < 0 or (self.gain_points and self.core_hop % self.gain_points):
            raise ConfigError("SplitConfig.gain_points: must divide the core's hop_length, or be 0")
        if list(self.gain_edges) != sorted({0, self.core_hop, *self.gain_edges})[1:-1]:
            raise ConfigError("SplitConfig.gain_edges: must ascend, and lie inside the core's bins")
        if not 0 <= self.slow_bands <= self.bands or not 0 < self.slow_weight <= 1:
            raise ConfigError("SplitConfig: slow_bands is 0 to bands, slow_weight above 0 and at most 1")
        if not 0 <= self.random_sign_bin <= self.core_hop:
            raise ConfigError(f"SplitConfig.random_sign_bin: must lie in [0, {self.core_hop}], got {self.random_sign_bin}")
        if self.treble_db and (len(self.treble_db) != len(self.level_places) or not all(0 <= x <= 6 for x in self.treble_db)):
            raise ConfigError("SplitConfig.treble_db: one value from 0 to 6 for each of level_places, or none")
        if not self.level_places or self.level_places[0] != 0 or list(self.level_places) != sorted(set(self.level_places)):
            raise ConfigError("SplitConfig.level_places: must ascend from 0")

    @property
    def core_hop(self) -> int:
        """Samples per frame at the core's rate."""
        return self.hop_length // self.core_factor

    @property
    def gain_groups(self) -> list[tuple[int, int]]:
        """Groups of MDCT bins [start, stop) that share a gain over time; one without gains."""
        edges = [0, *(self.gain_edges if self.gain_points else ()), self.core_hop]
        return list(pairwise(edges))

    @property
    def core_rate(self) -> int:
        """Rate of the core in Hz; bands are laid out for it."""
        return 24_000

    @property
    def core_window(self) -> int:
        """Samples of the core in one window of the level analysis: three steps."""
        return 3 * self.core_hop // self.steps

    @property
    def level_bin_hz(self) -> float:
        """Distance between bins of the level analysis in Hz."""
        return self.core_rate / self.core_window

    @property
    def n_levels(self) -> int:
        """Number of levels per frame, F."""
        return self.steps * (self.bands + self.top_bands)

    @property
    def decoder_context(self) -> int:
        """Past frames that a decoded sample depends on."""
        return self.decoder_depth * (self.kernel_size - 1) + self.level_taps + 2

    @property
    def decoder_lookahead(self) -> int:
        """Later frames that a decoded sample waits for: blocks overlap, and so do the last layer's windows."""
        return 2


@dataclass(frozen=True, slots=True)
class CodecConfig(Strict):
    """One codec: its networks, its quantizer and its audio format."""

    name: str
    architecture: SeanetConfig | HybridConfig | SplitConfig
    sample_rate: int = 24_000  # Hz
    channels: int = 1  # C, of the network itself
    dimension: int = 128  # D
    n_codebooks: int = 32  # K at the highest bitrate
    codebook_size: int = 1024  # V
    bitrates_kbps: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)  # legal, ascending
    normalize: bool = False  # divide each segment by its RMS
    segment_seconds: float | None = None  # independent segments (EnCodec at 48 kHz)
    segment_overlap: float = 0.01  # of a segment
    scaled_residuals: bool = False  # the first codebook's entry scales the others (quantize/residual.py)
    exact_dtype: str = "float32"  # dtype in which tokens are computed

    def __post_init__(self) -> None:
        check_bounds(self, CODEC_BOUNDS)
        if self.segment_length == 0:
            raise ConfigError(f"CodecConfig.segment_seconds: must be a sample at least, got {self.segment_seconds}")
        if not self.bitrates_kbps or list(self.bitrates_kbps) != sorted(self.bitrates_kbps):
            raise ConfigError(f"CodecConfig.bitrates_kbps: must ascend, got {self.bitrates_kbps}")
        if isinstance(self.architecture, SplitConfig):
            places = self.architecture.level_places
            if self.sample_rate != self.architecture.core_rate * self.architecture.core_factor or self.channels != 1:
                raise ConfigError("CodecConfig: a split codec is mono, at its core's rate times core_factor")
            if places[-1] >= self.n_codebooks or len(places) >= self.n_codebooks:
                raise ConfigError(f"CodecConfig.n_codebooks: {self.n_codebooks} leave no place for level codebooks at {places}")
        if self.exact_dtype not in ("float32", "float64"):
            raise ConfigError(f"CodecConfig.exact_dtype: float32 or float64, got {self.exact_dtype!r}")

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.architecture.hop_length

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second, exact."""
        return Fraction(self.sample_rate, self.hop_length)

    @property
    def core_rate(self) -> int:
        """Rate at which the networks work, in Hz: half the sampling rate for a split codec at 48 kHz."""
        split = self.architecture
        return self.sample_rate // split.core_factor if isinstance(split, SplitConfig) else self.sample_rate

    @property
    def codebook_bits(self) -> int:
        """Bits per code before entropy coding."""
        return (self.codebook_size - 1).bit_length()

    @property
    def kbps_per_codebook(self) -> Fraction:
        """Nominal kilobits per second of one codebook."""
        return self.frame_rate * self.codebook_bits / 1000

    @property
    def any_codebooks(self) -> bool:
        """Whether every number of codebooks is a legal bitrate."""
        return len(self.bitrates_kbps) == self.n_codebooks

    @property
    def segment_length(self) -> int | None:
        """Samples per segment, or None if the codec processes the whole signal."""
        return None if self.segment_seconds is None else int(self.segment_seconds * self.sample_rate)

    @property
    def segment_stride(self) -> int | None:
        """Samples from the start of one segment to the start of the next."""
        return None if self.segment_length is None else max(1, int((1 - self.segment_overlap) * self.segment_length))

    def n_frames(self, n_samples: int) -> int:
        """Return the frames T of `n_samples` samples coded without segments."""
        return -(-n_samples // self.hop_length)

    def codebooks_for(self, kbps: float) -> int:
        """Return the codebooks K for a bitrate: the largest legal rate not above `kbps`.

        Raises ValueError that names the legal rates if `kbps` is below the lowest.
        """
        legal = [r for r in self.bitrates_kbps if r <= kbps + 1e-9]
        if not legal:
            rates = ", ".join(f"{r:g}" for r in self.bitrates_kbps)
            raise ArgumentError(f"{self.name} starts at {self.bitrates_kbps[0]:g} kbps, got {kbps:g} (legal: {rates})")
        return max(1, min(self.n_codebooks, math.floor(Fraction(legal[-1]).limit_denominator(10_000) / self.kbps_per_codebook)))
