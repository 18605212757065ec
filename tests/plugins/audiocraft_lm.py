"""audiocraft's language model, imported without what its packages need and these modules do not.

pip install --no-deps audiocraft==1.3.0
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from ecdc.plugins.musicgen.chroma import chroma_filters
from musicgen_models import Words, audiocraft_state

CONTENTS = {
    "flashy": ("distrib",),
    "flashy.distrib": (),
    "omegaconf": ("DictConfig",),
    "num2words": ("num2words",),
    "spacy": (),
    "librosa": ("filters",),
    "demucs": ("pretrained",),
    "xformers": ("ops",),
    "xformers.ops": ("memory_efficient_attention", "LowerTriangularMask"),
    "audiocraft.data.audio": ("audio_read",),
    "audiocraft.data.audio_dataset": ("SegmentInfo",),
    "audiocraft.data.audio_utils": ("convert_audio",),
    "audiocraft.environment": ("AudioCraftEnvironment",),
    "audiocraft.quantization": ("ResidualVectorQuantizer",),
    "audiocraft.utils.cache": ("EmbeddingCache",),
}


@contextlib.contextmanager
def stand_ins():
    """Empty packages in place of the real ones, and empty modules for what is not used; none stays behind."""
    spec = importlib.util.find_spec("audiocraft")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("audiocraft is not installed")
    root = spec.submodule_search_locations[0]
    made = {}
    for name in ("audiocraft", "audiocraft.models", "audiocraft.modules", "audiocraft.utils", "audiocraft.data"):
        made[name] = ModuleType(name)
        made[name].__path__ = [root + name.removeprefix("audiocraft").replace(".", "/")]
    for name, attributes in CONTENTS.items():
        made[name] = ModuleType(name)
        for attribute in attributes:
            setattr(made[name], attribute, object)
    made["flashy"].distrib, made["xformers"].ops = made["flashy.distrib"], made["xformers.ops"]
    made["xformers.ops"].unbind = torch.unbind
    # Our filters are held against librosa's by a test of their own.
    made["librosa"].filters = SimpleNamespace(chroma=lambda sr, n_fft, tuning, n_chroma: chroma_filters(sr, n_chroma).numpy())
    separator = SimpleNamespace(sources=["drums", "bass", "other", "vocals"], to=lambda device: separator)
    made["demucs"].pretrained = SimpleNamespace(get_model=lambda name: separator)
    ours = {name.split(".")[0] for name in made}
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in ours}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]
        sys.modules.update(kept)


def load():
    """The modules `lm`, `conditioners` and `patterns`; skips the test where they are not installed."""
    pytest.importorskip("transformers")
    with stand_ins():
        audiocraft = SimpleNamespace(
            lm=importlib.import_module("audiocraft.models.lm"),
            conditioners=importlib.import_module("audiocraft.modules.conditioners"),
            patterns=importlib.import_module("audiocraft.modules.codebooks_patterns"),
        )
        importlib.import_module("audiocraft.modules.transformer").set_efficient_attention_backend("torch")
    return audiocraft


def text_conditioner(audiocraft, config):
    """audiocraft's handling of texts around our words: padded together, with absent ones masked."""
    words = Words(config.text_dimension)

    class Text(audiocraft.conditioners.TextConditioner):
        def tokenize(self, prompts):
            hidden = [words(prompt or "") for prompt in prompts]
            mask = [torch.full((len(h),), float(bool(prompt))) for h, prompt in zip(hidden, prompts, strict=True)]
            return [torch.nn.utils.rnn.pad_sequence(parts, batch_first=True) for parts in (hidden, mask)]

        def forward(self, inputs):
            hidden, mask = inputs
            return self.output_proj(hidden) * mask[..., None], mask

    return Text(config.text_dimension, config.dimension)


def melody_conditioner(audiocraft, config):
    """audiocraft's own, but that nothing separates the audio."""
    seconds = (config.chroma_frames - 0.5) * 4096 / config.sample_rate
    made = audiocraft.conditioners.ChromaStemConditioner(config.dimension, config.sample_rate, 12, 14, seconds, argmax=True)
    made._get_stemmed_wav = lambda wav, sample_rate: wav
    assert made.chroma_len == config.chroma_frames
    return made


def build(audiocraft, model):
    """audiocraft's model with the weights of ours, by audiocraft's names."""
    with stand_ins():
        theirs = _untrained(audiocraft, model.config)
    theirs.load_state_dict(audiocraft_state(model.lm.state_dict(), model.config))  # strict: all of its names and no others
    return theirs.eval()


def _untrained(audiocraft, c):
    conditioners = {"description": text_conditioner(audiocraft, c)}
    if c.n_chroma:
        conditioners["self_wav"] = melody_conditioner(audiocraft, c)
    fused = {"cross": ["description"]} if c.cross_attention else {"prepend": ["self_wav", "description"]}
    return audiocraft.lm.LMModel(
        audiocraft.patterns.DelayedPatternProvider(c.n_codebooks, delays=list(c.delays)),
        audiocraft.conditioners.ConditioningProvider(conditioners),
        audiocraft.conditioners.ConditionFuser({"sum": [], "prepend": [], "cross": [], "input_interpolate": []} | fused),
        n_q=c.n_codebooks, card=c.codebook_size, dim=c.dimension, num_heads=c.n_heads, num_layers=c.n_layers, hidden_scale=2,
        norm_first=True, bias_proj=False, bias_ff=False, bias_attn=False, causal=True, custom=True, memory_efficient=True,
        activation="gelu", cross_attention=c.cross_attention, cfg_coef=3.0,
    )  # fmt: skip


def attributes(audiocraft, prompts, melodies):
    """Prompts and melodies as audiocraft passes them."""
    found = []
    for prompt, wav in zip(prompts, melodies, strict=True):
        one = audiocraft.conditioners.ConditioningAttributes(text={"description": prompt})
        length = 0 if wav is None else len(wav)
        samples = torch.zeros(1) if wav is None else wav
        one.wav["self_wav"] = audiocraft.conditioners.WavCondition(
            samples[None, None], torch.tensor([length]), [32_000], [None], [0]
        )
        found.append(one)
    return found
