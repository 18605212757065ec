"""Encode text prompts with a frozen T5 encoder of the `transformers` library (`pip install -e '.[musicgen]'`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...codec.errors import CheckpointError


class TextEncoder(Protocol):
    """Anything that turns a prompt into vectors."""

    def __call__(self, prompt: str) -> Tensor:
        """Return the hidden states [L, text_dimension] of the prompt's L tokens, including the end token."""
        ...


class T5Encoder:
    """T5's encoder in float32. It runs one prompt at a time, so there is no padding and no dependence on a batch."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer

    @classmethod
    def load(cls, name_or_folder: str | Path) -> T5Encoder:
        """Load from a folder, or by name from the Hugging Face hub; raises CheckpointError if that fails."""
        transformers = _transformers()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(name_or_folder)
            model = transformers.T5EncoderModel.from_pretrained(name_or_folder).float()
        except Exception as error:  # from files, network, hub and missing packages: dozens of types
            raise CheckpointError(f"{name_or_folder}: no T5 encoder could be loaded: {first_line(error)}") from error
        return cls(model, tokenizer)

    @classmethod
    def from_tensors(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokenizer: str | Path, where: Path
    ) -> T5Encoder:
        """Build an encoder from tensors of a larger checkpoint; `tokenizer` is a folder or a name on the hub."""
        transformers = _transformers()
        with torch.device("meta"):
            model = transformers.T5EncoderModel(transformers.T5Config(**config))
        tensors = {name: tensor.float() for name, tensor in tensors.items()}
        table = tensors.get("shared.weight", tensors.get("encoder.embed_tokens.weight"))
        if table is None:
            raise CheckpointError(f"{where}: lacks text_encoder.shared.weight")
        tensors |= {"shared.weight": table, "encoder.embed_tokens.weight": table}  # the same table under two names
        for name, wanted in model.state_dict().items():
            if name not in tensors:
                raise CheckpointError(f"{where}: lacks text_encoder.{name}")
            if tensors[name].shape != wanted.shape:
                raise CheckpointError(
                    f"{where}: text_encoder.{name} must be {list(wanted.shape)}, got {list(tensors[name].shape)}"
                )
        unknown = sorted(tensors.keys() - model.state_dict().keys())
        if unknown:
            raise CheckpointError(f"{where}: text_encoder.{unknown[0]} is not part of this model")
        model.load_state_dict(tensors, assign=True)
        try:
            loaded = transformers.AutoTokenizer.from_pretrained(tokenizer)
        except Exception as error:  # as above
            raise CheckpointError(f"{tokenizer}: no tokenizer could be loaded: {first_line(error)}") from error
        return cls(model, loaded)

    @torch.no_grad()
    def __call__(self, prompt: str) -> Tensor:
        """Return hidden states [L, text_dimension]; long prompts are not truncated."""
        ids = self.tokenizer(prompt, return_tensors="pt", truncation=False)["input_ids"]
        hidden: Tensor = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return hidden[0]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise CheckpointError("text prompts need transformers: pip install -e '.[musicgen]'") from error
    return transformers


def first_line(error: Exception) -> str:
    """Return the message of an error in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
