"""Load MusicGen models from our own weights and from those of audiocraft and Hugging Face."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...codec.checkpoints import from_published, load_bundled, read_json
from ...codec.checkpoints import load as load_codec
from ...codec.encodec_configs import hugging_face_config as codec_config
from ...codec.errors import CheckpointError
from .config import PUBLISHED, MusicGenConfig, audiocraft_config, hugging_face_config
from .linear import Int8Linear, hollow_int8, quantized
from .lm import MusicGenLM
from .model import MusicGen
from .model_folder import BUNDLED, WORDS, bundled, is_own, own_config, own_recipe
from .published_weights import IGNORED, Part, Recipe, audiocraft_recipe, hugging_face_recipe
from .tensor_files import INDEX, PickledTensors, TensorFiles
from .text_encoder import T5Encoder, TextEncoder, first_line

CONFIG, SAFETENSORS, AUDIOCRAFT, CODEC = "config.json", "model.safetensors", "state_dict.bin", "compression_state_dict.bin"
TOKENIZERS = ("tokenizer.json", "spiece.model")
# Text encoders that a checkpoint may name. Other names from a file are not opened.
T5_NAMES = {
    *(f"{owner}t5-{size}" for owner in ("", "google-t5/") for size in ("small", "base", "large", "3b", "11b")),
    *(f"google/flan-t5-{size}" for size in ("small", "base", "large", "xl", "xxl")),
}
NOTHING = re.compile(r"(?!)")  # matches no name


def load(
    name_or_path: str | os.PathLike[str],
    int8: bool = False,
    text_encoder: str | os.PathLike[str] | None = None,
    codec: bool = True,
) -> MusicGen:
    """Load a model: bundled ("musicgen-nano"), from a folder or file, or published ("musicgen-small" or a name on the hub).

    Tensors are read one by one, so memory holds the model and at most one more tensor. `int8` keeps
    the layers' weights as eight-bit integers: a quarter of the memory, and less to read in each
    step. `text_encoder` is a folder or name of a T5 that replaces the model's own (an audiocraft
    package only names one); it is loaded at the first prompt. A codec next to or inside the
    checkpoint is loaded too, unless `codec` is False; a bundled codec is loaded when it is needed.
    Raises CheckpointError, with one line, if there is no model or it is of another kind.
    """
    path = _locate(name_or_path)
    if path.suffix == ".bin":
        return _from_audiocraft(path, int8, text_encoder, codec)
    values = read_json(path.parent / CONFIG)
    if is_own(values):
        return _from_own(path, values, int8, text_encoder, codec)
    return _from_hugging_face(path, values, int8, text_encoder, codec)


def _from_own(
    path: Path, values: Mapping[str, Any], int8: bool, text_encoder: str | os.PathLike[str] | None, codec: bool
) -> MusicGen:
    config, source = own_config(values, path.parent / CONFIG), TensorFiles(path)
    lm = _filled(config, source, own_recipe(config, source), NOTHING, int8)

    def encoder() -> TextEncoder:
        from .word_vectors import WordEncoder

        return WordEncoder.load(Path(text_encoder or path.parent / WORDS))

    make_codec = (lambda: load_bundled(config.codec)) if codec and config.codec else None
    return MusicGen(lm, encoder if config.text_dimension else None, make_codec=make_codec)


def _from_audiocraft(path: Path, int8: bool, text_encoder: str | os.PathLike[str] | None, codec: bool) -> MusicGen:
    source = PickledTensors(path)
    config = audiocraft_config(source.configuration, path.resolve().parent.name)
    lm = _filled(config, source, audiocraft_recipe(config), IGNORED["audiocraft"], int8)
    own_codec = load_codec(path.parent / CODEC) if codec and (path.parent / CODEC).exists() else None
    if text_encoder is None and config.text_encoder not in T5_NAMES:
        raise CheckpointError(f"{path}: its text encoder {config.text_encoder[:80]!r} is not a published T5: give text_encoder")
    return MusicGen(lm, lambda: T5Encoder.load(str(text_encoder or config.text_encoder)), own_codec)


def _from_hugging_face(
    path: Path, values: Mapping[str, Any], int8: bool, text_encoder: str | os.PathLike[str] | None, codec: bool
) -> MusicGen:
    config = hugging_face_config(values, path.resolve().parent.name)
    source = TensorFiles(path)
    prefix = "decoder." if "decoder" in values else ""
    lm = _filled(config, source, hugging_face_recipe(config, prefix), IGNORED["hugging_face"], int8)

    def encoder() -> T5Encoder:
        """Load the checkpoint's text encoder, unless another is requested; its tokenizer may be next to it."""
        if text_encoder is not None:
            return T5Encoder.load(str(text_encoder))
        beside = any((path.parent / name).exists() for name in TOKENIZERS)
        named = config.text_encoder if config.text_encoder in T5_NAMES else "t5-base"  # all T5 models share one tokenizer
        tokenizer = path.parent if beside else named
        return T5Encoder.from_tensors(values["text_encoder"], _below(source, "text_encoder."), tokenizer, path)

    own_codec = None
    if codec and "audio_encoder" in values:
        tensors = _below(source, "audio_encoder.")
        own_codec = from_published(codec_config(values["audio_encoder"], "encodec_32khz"), tensors, path)
    return MusicGen(lm, encoder if config.text_dimension else None, own_codec)


def _filled(
    config: MusicGenConfig,
    source: TensorFiles | PickledTensors,
    recipe: Recipe,
    ignored: re.Pattern[str],
    int8: bool,
) -> MusicGenLM:
    """Build a model whose tensors all come from `source`; every tensor of `source` must be used or ignored."""
    _check(source, recipe, ignored)
    with torch.device("meta"):
        lm = MusicGenLM(config)
        if int8:
            hollow_int8(lm.layers)
    for name, parts in recipe.items():
        tensor = _joined(source, parts)
        owner = lm.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, Int8Linear):
            owner.weight, owner.scale = quantized(tensor)
            owner.ready()  # now, so that the next weight can reuse this memory
        else:
            # Tensors that need no change stay memory-mapped.
            setattr(owner, name.rpartition(".")[2], torch.nn.Parameter(tensor.float(), requires_grad=False))
    return lm.eval()


def _check(source: TensorFiles | PickledTensors, recipe: Recipe, ignored: re.Pattern[str]) -> None:
    """Raise CheckpointError for a tensor that is missing, of another shape, or not part of the model."""
    names, used = source.names(), set()
    for part in (part for parts in recipe.values() for part in parts):
        if part.name not in names:
            raise CheckpointError(f"{source.path}: lacks {part.name}")
        if source.shape(part.name) != part.shape:
            raise CheckpointError(f"{source.path}: {part.name} must be {list(part.shape)}, got {list(source.shape(part.name))}")
        used.add(part.name)
    for name in sorted(names - used):
        if not ignored.fullmatch(name):
            raise CheckpointError(f"{source.path}: {name} is not part of this model")


def _joined(source: TensorFiles | PickledTensors, parts: list[Part]) -> Tensor:
    tensors = [source.get(part.name)[part.start : part.stop] for part in parts]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _below(source: TensorFiles, prefix: str) -> Mapping[str, Tensor]:
    """Return the tensors of another network in the same file, by their own names."""
    return {name.removeprefix(prefix): source.get(name) for name in source.names() if name.startswith(prefix)}


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of the language model, or the index of its shards; downloads from the hub if needed."""
    path, name = Path(name_or_path), str(name_or_path)
    if name in bundled():
        return BUNDLED / name / SAFETENSORS
    if path.is_file():
        return path
    if not path.exists():
        if name and (BUNDLED / name).is_dir():
            raise CheckpointError(
                f"{name}: its weights are not here: train it (ecdc train musicgen {name}) or name another model"
            )
        if name in PUBLISHED:
            name = f"facebook/{name}"
        if not isinstance(name_or_path, str) or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
            known = ", ".join([*bundled(), *PUBLISHED])
            raise CheckpointError(f"{name}: no such model (known: {known}; or give a folder, a file or owner/model on the hub)")
        path = _fetched(name)
    for file in (INDEX, SAFETENSORS, AUDIOCRAFT):
        if (path / file).exists():
            return path / file
    raise CheckpointError(f"{path}: holds none of {INDEX}, {SAFETENSORS} and {AUDIOCRAFT}")


def _fetched(repository: str) -> Path:
    """Return the folder of a model on the hub: the cached one, or a new download."""
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise CheckpointError(f"{repository}: not here, and the hub needs huggingface_hub (pip install -e '.[hub]')") from error
    try:
        here = Path(snapshot_download(repository, local_files_only=True, allow_patterns=[CONFIG]))
        if any((here / file).exists() for file in (INDEX, SAFETENSORS, AUDIOCRAFT)):
            return here
    except Exception:  # not cached: many error types, and not a failure
        pass
    try:
        wanted = list(_wanted(HfApi().list_repo_files(repository)))
        return Path(snapshot_download(repository, allow_patterns=wanted))
    except Exception as error:  # from the network, the hub or its cache: dozens of types
        raise CheckpointError(f"{repository}: is not on this machine, and cannot be downloaded: {first_line(error)}") from error


def _wanted(files: list[str]) -> Iterator[str]:
    """Return the files to download from a repository that may hold the same weights in several layouts."""
    yield from (CONFIG, *TOKENIZERS, "tokenizer_config.json", "special_tokens_map.json")
    if INDEX in files:
        yield from (INDEX, "model-*-of-*.safetensors")
    elif SAFETENSORS in files:
        yield SAFETENSORS
    else:
        yield from (AUDIOCRAFT, CODEC)
