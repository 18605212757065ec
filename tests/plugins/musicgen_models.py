"""transformers' MusicGen with random weights, ours of the same, and files of both published layouts."""

import math
from types import SimpleNamespace

import torch
import yaml
from ecdc.plugins.musicgen import MusicGen, MusicGenConfig, MusicGenLM
from encodec_models import CONFIGS, hugging_face, narrow, write_audiocraft

V = 64  # codes; the special token is V
WORDS = ("slow", "waltz", "with", "loud", "drums", "and", "a", "sad", "piano")


class Words:
    """A text encoder of our own: a random vector per word and an end vector."""

    def __init__(self, dimension=24):
        g = torch.Generator().manual_seed(5)
        self.table = dict(zip([*WORDS, ""], torch.randn(len(WORDS) + 1, dimension, generator=g), strict=True))

    def __call__(self, prompt):
        return torch.stack([self.table[word] for word in [*prompt.split(), ""]])


def tiny(seed=0, n_layers=2, **changes):
    """A small model of random weights, without any file."""
    values = {"dimension": 32, "n_heads": 2, "ff_dimension": 64, "codebook_size": V, "text_dimension": 24} | changes
    torch.manual_seed(seed)
    lm = MusicGenLM(MusicGenConfig("tiny", n_layers=n_layers, **values))
    for parameter in lm.parameters():  # so that conditions and positions matter
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / math.sqrt(parameter.shape[1]))
    return MusicGen(lm, Words)


def transformers_model(kind="mono", seed=0, text_dimension=24):
    """transformers' model of a kind: mono, stereo or melody; its generate() returns codes as floats."""
    import transformers as t

    torch.manual_seed(seed)
    n_codebooks, channels = (8, 2) if kind == "stereo" else (4, 1)
    words = {"pad_token_id": V, "bos_token_id": V}
    shape = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}
    codec = hugging_face(narrow(CONFIGS["32 kHz"], codebook_size=V))
    text = t.T5Config(
        vocab_size=32, d_model=text_dimension, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="relu",
        dropout_rate=0.0,
    )  # fmt: skip
    melody = kind == "melody"
    decoder = (t.MusicgenMelodyDecoderConfig if melody else t.MusicgenDecoderConfig)(
        **shape, **words, num_codebooks=n_codebooks, audio_channels=channels, dropout=0.0
    )
    config = (t.MusicgenMelodyConfig if melody else t.MusicgenConfig)(
        text_encoder=text.to_dict(), audio_encoder=codec.config.to_dict(), decoder=decoder.to_dict()
    )
    model = (t.MusicgenMelodyForConditionalGeneration if melody else t.MusicgenForConditionalGeneration)(config).eval()
    model.audio_encoder.load_state_dict(codec.state_dict())
    for name, parameter in model.named_parameters():
        if not name.startswith("audio_encoder") and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
    g = model.generation_config
    g.pad_token_id = g.bos_token_id = g.decoder_start_token_id = V
    g.eos_token_id = None
    return model


def codes_of(model, n_frames, **arguments):
    """The codes [B, K, T] that transformers' model generates; `n_frames` includes a prompt."""
    per_channel = model.config.decoder.num_codebooks // model.config.decoder.audio_channels
    seen = []

    def decode(codes, audio_scales=None):
        seen.append(codes[0])
        return SimpleNamespace(audio_values=torch.zeros(1, 1, 1))

    original, model.audio_encoder.decode = model.audio_encoder.decode, decode
    try:
        model.generate(max_length=n_frames + per_channel, **arguments)
    finally:
        model.audio_encoder.decode = original
    return seen[0] if len(seen) == 1 else torch.stack(seen, dim=2).flatten(1, 2)


def write_transformers(model, folder, **arguments):
    """As transformers saves a model, with a tokenizer of a few words beside it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder, **arguments)
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: i + 3 for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return folder


def audiocraft_state(state, config):
    """The tensors of our model by audiocraft's names."""
    d, v = config.dimension, config.codebook_size
    theirs = {f"emb.{k}.weight": t for k, t in enumerate(state["embedding.weight"].split(v + 1))}
    theirs |= {f"linears.{k}.weight": t for k, t in enumerate(state["heads.weight"].split(v))}
    names = {"norm_self": "norm1", "norm_ff": "norm2", "norm_cross": "norm_cross", "up": "linear1", "down": "linear2"}
    names |= {"attention.qkv.weight": "self_attn.in_proj_weight", "attention.out": "self_attn.out_proj"}
    names |= {"cross.out": "cross_attention.out_proj"}
    for i in range(config.n_layers):
        own = {k.removeprefix(f"layers.{i}."): t for k, t in state.items() if k.startswith(f"layers.{i}.")}
        if config.cross_attention:
            joined = torch.cat([own.pop("cross.q.weight"), own.pop("cross.kv.weight")])
            assert joined.shape == (3 * d, d)
            theirs[f"transformer.layers.{i}.cross_attention.in_proj_weight"] = joined
        for key, tensor in own.items():
            for ours, word in names.items():
                if key.startswith(ours):
                    key = key.replace(ours, word, 1)
                    break
            theirs[f"transformer.layers.{i}.{key}"] = tensor
    prefix = "condition_provider.conditioners"
    for ours, word in (
        ("norm", "out_norm"),
        ("text", f"{prefix}.description.output_proj"),
        ("melody", f"{prefix}.self_wav.output_proj"),
    ):
        theirs |= {k.replace(ours, word, 1): t for k, t in state.items() if k.startswith(f"{ours}.")}
    if config.style:
        theirs |= _style_state(state, f"{prefix}.self_wav")
    if config.n_chroma:
        theirs[f"{prefix}.self_wav.chroma.spec.window"] = torch.hann_window(16_384)
    return theirs


def _style_state(state, prefix):
    """The tensors of a style encoder by audiocraft's names, those that only training needs included."""
    own = {k.removeprefix("style."): t for k, t in state.items() if k.startswith("style.")}
    theirs = {f"{prefix}.batch_norm.num_batches_tracked": torch.tensor(5)}
    for q, book in enumerate(own.pop("codebooks").split(1024)):
        theirs |= {f"{prefix}.rvq.vq.layers.{q}._codebook.{k}": book for k in ("embed", "embed_avg")}
    words = {"mean": "batch_norm.running_mean", "variance": "batch_norm.running_var", "layers.": "transformer.layers."}
    words |= {"attention.qkv.weight": "self_attn.in_proj_weight", "attention.out": "self_attn.out_proj"}
    words |= {"norm_self": "norm1", "norm_ff": "norm2", ".up.": ".linear1.", ".down.": ".linear2."}
    for key, tensor in own.items():
        for ours, word in words.items():
            key = key.replace(ours, word)
        theirs[f"{prefix}.{key}"] = tensor
    return theirs


def audiocraft_cfg(config):
    """audiocraft's description of a model, with the parts that decide something."""
    melody = {"self_wav": {"model": "chroma_stem", "chroma_stem": {"n_chroma": 12, "radix2_exp": 14, "argmax": True}}}
    if config.style:
        melody = {"self_wav": {"model": "style", "style": {"model_name": "mert", "ds_factor": 15, "length": 3.0}}}
    prepend = ["self_wav", "description"] if config.n_chroma or config.style else []
    return {
        "lm_model": "transformer_lm",
        "sample_rate": config.sample_rate,
        "channels": config.channels,
        "dataset": {"segment_duration": int(config.max_seconds)},
        "transformer_lm": {
            "dim": config.dimension, "num_heads": config.n_heads, "num_layers": config.n_layers, "hidden_scale": 2,
            "n_q": config.n_codebooks, "card": config.codebook_size, "activation": "gelu", "norm_first": True,
            "bias_ff": False, "bias_attn": False, "bias_proj": False, "causal": True, "positional_embedding": "sin",
            "memory_efficient": True,
        },
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": list(config.delays), "flatten_first": 0}},
        "fuser": {"sum": [], "cross": [] if prepend else ["description"], "prepend": prepend, "input_interpolate": []},
        "conditioners": {"description": {"model": "t5", "t5": {"name": "t5-base", "normalize_text": False}}}
        | (melody if prepend else {}),
        "classifier_free_guidance": {"inference_coef": 3.0},
        "interleave_stereo_codebooks": {"use": config.channels == 2, "per_timestep": False},
    }  # fmt: skip


def write_package(model, path, cfg=None, **changes):
    """As audiocraft exports a language model; `changes` replace or add entries."""
    package = {
        "best_state": audiocraft_state(model.lm.state_dict(), model.config),
        "xp.cfg": yaml.safe_dump(cfg or audiocraft_cfg(model.config)),
        "version": "1.3",
        "exported": True,
    }
    torch.save(package | changes, path)
    return path


def write_codec(folder):
    """A codec as audiocraft puts it beside the language model."""
    from encodec_models import original

    config = narrow(CONFIGS["32 kHz"], codebook_size=V)
    return write_audiocraft(original(config), config, folder / "compression_state_dict.bin")
