"""Configuration of a MusicGen, read from our own format, Hugging Face's config.json or audiocraft's xp.cfg."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

from ...codec.config import ConfigError, Strict
from ...codec.encodec_configs import Lookup
from ...codec.errors import CheckpointError
from ...format.errors import ArgumentError

HEAD_DIMENSION = 64  # of every published model; the weights do not show the number of heads
CHROMA_WINDOW = 16_384  # samples, of every published model; chroma frames are a quarter of this apart
N_CODEBOOKS, CODEBOOK_SIZE, N_USED = 6, 1024, 3  # of a style encoder; generation uses the first N_USED
STRIDE, EXCERPT_SECONDS = 15, 3.0  # features per style frame, and the length of the audio excerpt
MONO, STEREO = (0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3)
FUSIONS = ("prefix", "sum")
BOUNDS = {  # of numbers that determine memory use
    "dimension": (2, 1 << 16), "n_layers": (1, 1000), "n_heads": (1, 1000), "ff_dimension": (1, 1 << 18),
    "codebook_size": (2, 1 << 16), "text_dimension": (0, 1 << 16), "text_tokens": (0, 4096), "n_chroma": (0, 1200),
    "n_beats": (0, 1000),
    "chroma_frames": (1, 100_000), "chroma_window": (4, 1 << 20), "sample_rate": (1, 1 << 20), "frame_rate": (1, 10_000),
    "max_seconds": (0, 3600), "stride_seconds": (0, 3600), "top_k": (0, 1 << 16), "temperature": (0, 100),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MusicGenConfig(Strict):
    """A language model over codes, its conditions, and the codec whose codes it generates (arXiv 2306.05284).

    Not in published models: `mono`, `rotary`, `text_tokens`, `text_summary`, `n_beats`, `melody_fusion` "sum", `token_space`.
    """

    kind: ClassVar[str] = "musicgen"

    name: str
    dimension: int = 1024  # D
    n_layers: int = 24
    n_heads: int = 16
    ff_dimension: int = 4096
    codebook_size: int = 2048  # V; the special token is V
    delays: tuple[int, ...] = MONO  # in columns, one per codebook; K of them
    channels: int = 1  # 2: two mono streams, interleaved as left, right, left, right ...
    mono: bool = False  # a stereo model that also generates mono, with special tokens for the right channel
    cross_attention: bool = True  # to the conditions; otherwise they come before the tokens
    rotary: bool = False  # rotary position embedding; otherwise sinusoids are added to columns
    text_dimension: int = 768  # of the text encoder; 0: no text
    text_encoder: str = "t5-base"
    text_tokens: int = 0  # every text is truncated or zero-padded to this length; 0: text keeps its length
    text_summary: bool = False  # every column also receives the sum of the text's vectors
    n_beats: int = 0  # beat phases that columns receive if the text gives a tempo; 0: none
    n_chroma: int = 0  # pitch classes of a melody; 0: no melody
    chroma_frames: int = 235  # of the melody before the tokens
    chroma_window: int = CHROMA_WINDOW  # samples
    melody_fusion: str = "prefix"  # or "sum": added to the input of the column in which the melody's frame begins
    style: bool = False  # accepts music as a style instead of a melody
    codec: str = ""  # the bundled model that decodes the codes; empty: the one next to the weights
    token_space: str = ""  # of that codec, in hex; empty: unknown
    sample_rate: int = 32_000  # Hz, of the codec
    frame_rate: int = 50  # frames per second
    max_seconds: float = 30.0  # longest audio that the model was trained on
    stride_seconds: float = 18.0  # from one window to the next for longer pieces; default
    guidance: float = 3.0  # default strength of classifier-free guidance
    top_k: int = 250  # default number of tokens to draw from
    temperature: float = 1.0  # default

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"MusicGenConfig.{name}: {least} to {most}, got {getattr(self, name)}")
        if self.dimension % self.n_heads or self.dimension % 2:
            raise ConfigError(f"MusicGenConfig.dimension: even and a multiple of {self.n_heads} heads, got {self.dimension}")
        if self.rotary and self.dimension // self.n_heads % 2:
            raise ConfigError(f"MusicGenConfig.rotary: needs heads of an even size, got {self.dimension // self.n_heads}")
        if self.channels not in (1, 2) or self.n_codebooks % self.channels:
            raise ConfigError(f"MusicGenConfig.channels: 1, or 2 with paired delays, got {self.channels}")
        if not self.delays or list(self.delays) != sorted(self.delays) or self.delays[0] < 0 or self.delays[-1] > 1000:
            raise ConfigError(f"MusicGenConfig.delays: must ascend from 0 or more to 1000 at most, got {self.delays}")
        if self.token_space and not re.fullmatch(r"[0-9a-f]{64}", self.token_space):
            raise ConfigError(f"MusicGenConfig.token_space: 64 hexadecimal digits, got {self.token_space!r}")
        if self.mono and (self.channels != 2 or self.delays[::2] != self.delays[1::2]):
            raise ConfigError("MusicGenConfig.mono: must be false but for two channels of the same delays")
        self._check_conditions()

    def _check_conditions(self) -> None:
        if (self.n_chroma or self.style) and self.cross_attention:
            raise ConfigError("MusicGenConfig.cross_attention: must be false where a melody or style is taken")
        if self.n_chroma and self.style:
            raise ConfigError("MusicGenConfig.style: must be false where n_chroma asks for a melody")
        if self.text_summary and not self.text_tokens:
            raise ConfigError("MusicGenConfig.text_summary: needs text_tokens")
        if self.text_tokens and self.cross_attention:
            raise ConfigError("MusicGenConfig.text_tokens: must be 0 where texts are attended to")
        if self.melody_fusion not in FUSIONS or (self.melody_fusion == "sum" and not self.n_chroma):
            raise ConfigError(f"MusicGenConfig.melody_fusion: prefix, or sum with n_chroma, got {self.melody_fusion!r}")
        if self.n_beats and self.melody_fusion != "sum":
            raise ConfigError("MusicGenConfig.n_beats: must be 0 where melodies are not added to columns")
        if self.chroma_window % 4:
            raise ConfigError(f"MusicGenConfig.chroma_window: must be a multiple of 4, got {self.chroma_window}")

    @property
    def n_codebooks(self) -> int:
        """Number of codebooks K, of both channels together."""
        return len(self.delays)

    def rows(self, channels: int) -> int:
        """Return the number of codebooks for that many channels; raises ValueError if the model does not make them."""
        if channels != self.channels and not (channels == 1 and self.mono):
            made = "1 or 2 channels" if self.mono else "mono" if self.channels == 1 else "stereo"
            raise ArgumentError(f"{self.name} makes {made}, got {channels} channels")
        return self.n_codebooks // self.channels * channels

    def channels_for(self, channels: int | None, n_rows: int | None) -> int:
        """Return the requested channels; else those of the prompt's codes, or one if the model makes both mono and stereo."""
        if channels is None and self.mono:
            return 2 if n_rows == self.n_codebooks else 1
        return self.channels if channels is None else channels

    @property
    def chroma_hop(self) -> int:
        """Samples between two chroma frames."""
        return self.chroma_window // 4

    @property
    def special(self) -> int:
        """The token of cells that hold no code."""
        return self.codebook_size

    def n_frames(self, seconds: float) -> int:
        """Return the number of whole frames T in a time."""
        return int(Fraction(repr(seconds)) * self.frame_rate)  # from the decimal: the float 1.64 is slightly less than 1.64


_WIDTHS = {"small": (1024, 24), "medium": (1536, 48), "large": (2048, 48)}


def _published() -> dict[str, MusicGenConfig]:
    """Return all published models: three sizes, mono and stereo, and those that accept a melody or a style."""
    found = {}
    for width, (dimension, n_layers) in _WIDTHS.items():
        text = MusicGenConfig(f"musicgen-{width}", dimension, n_layers, dimension // HEAD_DIMENSION, 4 * dimension)
        melody = replace(text, cross_attention=False, n_chroma=12)
        kinds = {width: text}
        if width != "small":
            kinds["melody" if width == "medium" else f"melody-{width}"] = melody
        for name, config in kinds.items():
            for stereo in (False, True):
                label = f"musicgen-{'stereo-' * stereo}{name}"
                found[label] = replace(config, name=label, delays=STEREO if stereo else MONO, channels=1 + stereo)
    found["musicgen-style"] = replace(found["musicgen-medium"], name="musicgen-style", cross_attention=False, style=True)
    return found


PUBLISHED = _published()


def hugging_face_config(values: Mapping[str, Any], name: str) -> MusicGenConfig:
    """Convert a Hugging Face config.json, of a whole model or of its decoder.

    Missing keys have that library's defaults. Raises CheckpointError for anything else.
    """
    kind = values.get("model_type")
    known = ("musicgen", "musicgen_melody", "musicgen_decoder", "musicgen_melody_decoder")
    if kind not in known:
        raise CheckpointError(f"{name}: model_type must be one of {', '.join(known)}, got {kind!r}")
    decoder = values if kind.endswith("_decoder") else values.get("decoder") or {}
    audio, text = values.get("audio_encoder") or {}, values.get("text_encoder") or {}
    for key, wanted in (("activation_function", "gelu"), ("scale_embedding", False)):
        if decoder.get(key, wanted) != wanted:
            raise CheckpointError(f"{name}: decoder.{key} must be {wanted!r}, got {decoder[key]!r}")
    channels, n_codebooks = decoder.get("audio_channels", 1), decoder.get("num_codebooks", 4)
    dimension = decoder.get("hidden_size", 1024)
    is_melody, is_whole = "melody" in kind, not kind.endswith("_decoder")
    rate = audio.get("sampling_rate", 32_000)
    return _checked(
        name,
        dimension=dimension,
        n_layers=decoder.get("num_hidden_layers", 24),
        n_heads=decoder.get("num_attention_heads", dimension // HEAD_DIMENSION),
        ff_dimension=decoder.get("ffn_dim", 4096),
        codebook_size=decoder.get("vocab_size", 2048),
        delays=tuple(i // channels for i in range(n_codebooks)),
        channels=channels,
        cross_attention=not is_melody,
        text_dimension=text.get("d_model", 512) if is_whole else 0,
        text_encoder=text.get("_name_or_path") or "t5-base",
        n_chroma=values.get("num_chroma", 12) if is_melody and is_whole else 0,
        chroma_frames=values.get("chroma_length", 235),
        sample_rate=rate,
        frame_rate=math.ceil(rate / math.prod(audio.get("upsampling_ratios", (8, 5, 4, 4)))),
    )


_EXPECTED = {
    "lm_model": "transformer_lm",
    "transformer_lm.activation": "gelu",
    "transformer_lm.norm": "layer_norm",
    "transformer_lm.norm_first": True,
    "transformer_lm.bias_ff": False,
    "transformer_lm.bias_attn": False,
    "transformer_lm.bias_proj": False,
    "transformer_lm.past_context": None,
    "transformer_lm.causal": True,
    "transformer_lm.layer_scale": None,
    "transformer_lm.positional_embedding": "sin",
    "transformer_lm.qk_layer_norm": False,
    "transformer_lm.qk_layer_norm_cross": False,
    "transformer_lm.kv_repeat": 1,
    "fuser.cross_attention_pos_emb": False,
    "fuser.sum": [],
    "fuser.input_interpolate": [],
    "conditioners.description.model": "t5",
    "conditioners.description.t5.normalize_text": False,
    "conditioners.self_wav.chroma_stem.argmax": True,
    "conditioners.self_wav.chroma_stem.radix2_exp": 14,
    "conditioners.self_wav.style.model_name": "mert",
    "conditioners.self_wav.style.transformer_scale": "default",
    "conditioners.self_wav.style.batch_norm": True,
    "conditioners.self_wav.style.n_q_out": N_CODEBOOKS,
    "conditioners.self_wav.style.eval_q": N_USED,
    "conditioners.self_wav.style.bins": CODEBOOK_SIZE,
    "conditioners.self_wav.style.ds_factor": STRIDE,
    "conditioners.self_wav.style.length": EXCERPT_SECONDS,
    "codebooks_pattern.delay.flatten_first": 0,
    "codebooks_pattern.delay.empty_initial": 0,
    "interleave_stereo_codebooks.per_timestep": False,
}


def audiocraft_config(values: Mapping[str, Any], name: str) -> MusicGenConfig:
    """Convert audiocraft's xp.cfg. Raises CheckpointError if keys are missing or the model is not a MusicGen."""
    cfg = Lookup(values, name)
    for path, wanted in _EXPECTED.items():
        if cfg.get(path, wanted) != wanted:
            raise CheckpointError(f"{name}: {path} must be {wanted!r}, got {cfg.get(path)!r}")
    before, across = list(cfg.get("fuser.prepend", [])), list(cfg.get("fuser.cross", []))
    if (sorted(before), across) not in ([([], ["description"]), (["description", "self_wav"], []), (["description"], [])]):
        raise CheckpointError(f"{name}: fuser must cross 'description' or prepend it and 'self_wav', got {across} and {before}")
    kind = cfg.get("conditioners.self_wav.model", "chroma_stem") if "self_wav" in before else None
    if kind not in (None, "chroma_stem", "style"):
        raise CheckpointError(f"{name}: conditioners.self_wav.model must be 'chroma_stem' or 'style', got {kind!r}")
    dimension, has_text = cfg.get("transformer_lm.dim"), bool(before or across)
    rate, seconds = cfg.get("sample_rate", 32_000), cfg.get("dataset.segment_duration", 30)
    return _checked(
        name,
        dimension=dimension,
        n_layers=cfg.get("transformer_lm.num_layers"),
        n_heads=cfg.get("transformer_lm.num_heads"),
        ff_dimension=int(dimension * cfg.get("transformer_lm.hidden_scale", 4)),
        codebook_size=cfg.get("transformer_lm.card"),
        delays=_audiocraft_delays(cfg, name),
        channels=2 if cfg.get("interleave_stereo_codebooks.use", False) else 1,
        cross_attention=bool(across),
        text_dimension=768 if has_text else 0,
        text_encoder=cfg.get("conditioners.description.t5.name", "t5-base"),
        n_chroma=cfg.get("conditioners.self_wav.chroma_stem.n_chroma", 12) if kind == "chroma_stem" else 0,
        style=kind == "style",
        chroma_frames=int(seconds * rate) // (CHROMA_WINDOW // 4) + 1,
        sample_rate=rate,
        max_seconds=float(seconds),
        guidance=float(cfg.get("classifier_free_guidance.inference_coef", 3.0)),
    )


def _audiocraft_delays(cfg: Lookup, name: str) -> tuple[int, ...]:
    """Return the delay of each codebook. Old packages name no pattern and mean 0, 1, 2 ..."""
    n_codebooks = cfg.get("transformer_lm.n_q")
    kind = cfg.get("codebooks_pattern.modeling", None) or cfg.get("transformer_lm.q_modeling", "delay")
    if kind == "parallel":
        return (0,) * n_codebooks
    if kind != "delay":
        raise CheckpointError(f"{name}: codebooks_pattern must be 'delay' or 'parallel', got {kind!r}")
    delays = tuple(cfg.get("codebooks_pattern.delay.delays", None) or range(n_codebooks))
    if len(delays) != n_codebooks:
        raise CheckpointError(f"{name}: {n_codebooks} codebooks need as many delays, got {delays}")
    return delays


def _checked(name: str, **values: Any) -> MusicGenConfig:
    """Check every value; a wrong number of heads is caught by the size of a head."""
    try:
        return MusicGenConfig.from_dict({"name": name, **values})
    except ConfigError as error:
        raise CheckpointError(f"{name}: {error}") from error
