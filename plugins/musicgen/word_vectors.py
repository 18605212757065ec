"""Text prompts as word vectors, from a table in one small file made by train/musicgen/distill.py. Needs no text model."""

from __future__ import annotations

import itertools
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ...codec.errors import CheckpointError
from ...format.errors import ArgumentError
from ...format.files import atomic_path

MAX_BYTES = 1 << 22  # of a file
MAX_TOKENS = 32  # of a prompt; later ones add little
MAX_DIMENSION = 1024
PERIODS = (2.0, 4.0, 8.0, 16.0)  # octaves; the shortest separates 70 from 90, the longest 3 from 120
N_NUMBER_FEATURES = 2 * len(PERIODS)
MAX_NUMBER = 2.0**20
MIN_STEM, MIN_PIECE = 3, 4  # letters; shorter ones also occur in unrelated words
_STOP_WORDS = """a an the of and or with in on for to by at from as that this these which is are was be been it its i you we my
your our some please make me"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
TABLE = re.compile(r"[a-z]{1,32}(?:\n[a-z]{1,32})*")
TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[a-z]+(?:-[a-z]+)*")
MARKS = str.maketrans({"'": "", "\N{RIGHT SINGLE QUOTATION MARK}": "", "\N{HYPHEN}": "-"})
SUFFIXES = ("ness", "ful", "ing", "ly", "er", "s")
ABOUT = {"kind": "words", "version": "1"}


class WordEncoder:
    """A TextEncoder that gives one vector for each meaningful word and each number, in their order."""

    def __init__(self, words: Sequence[str], vectors: Tensor, scales: Tensor) -> None:
        """Shapes: vectors [n, D] int8; scales [n] float16, factors of the vectors. Raises ValueError for anything else."""
        if not TABLE.fullmatch("\n".join(words)) or len(set(words)) != len(words):
            raise ArgumentError("words must be different, of 1 to 32 letters a to z")
        if vectors.dtype != torch.int8 or vectors.ndim != 2 or not 1 <= vectors.shape[1] <= MAX_DIMENSION:
            raise ArgumentError(f"vectors must be [n, D] int8, D <= {MAX_DIMENSION}, got {list(vectors.shape)} {vectors.dtype}")
        if scales.dtype != torch.float16 or scales.shape != vectors.shape[:1] or len(words) != len(vectors):
            raise ArgumentError(f"{len(words)} words, {len(vectors)} vectors and {list(scales.shape)} {scales.dtype} scales")
        if not bool((scales.isfinite() & (scales >= 0)).all()):
            raise ArgumentError("scales must be finite and not negative")
        self.rows = {word: row for row, word in enumerate(words)}
        self.vectors, self.scales = vectors, scales

    @classmethod
    def from_vectors(cls, words: Sequence[str], vectors: Tensor) -> WordEncoder:
        """Round vectors, float [n, D], to 8 bits, with one scale per vector."""
        scales = (vectors.abs().amax(1) / 127).half()
        steps = vectors / scales.float().clamp_min(1e-7)[:, None]
        return cls(words, steps.round().clamp(-127, 127).to(torch.int8), scales)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordEncoder:
        """Read a file of `save`; raises CheckpointError, in one line, for anything else."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_BYTES or not path.is_file():  # reading a pipe could block
                raise CheckpointError(f"{path}: no file of at most {MAX_BYTES} bytes")
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}) != ABOUT or sorted(file.keys()) != ["scales", "vectors", "words"]:
                    raise CheckpointError(f"{path}: no word vectors of ours")
                letters, vectors, scales = (file.get_tensor(name) for name in ("words", "vectors", "scales"))
            if letters.dtype != torch.uint8 or letters.ndim != 1:
                raise CheckpointError(f"{path}: words must be [bytes] uint8, got {list(letters.shape)} {letters.dtype}")
            return cls(letters.numpy().tobytes().decode("ascii").split("\n"), vectors, scales)
        except CheckpointError:
            raise
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror or error}") from error
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: no word vectors of ours: {' '.join(str(error).split())[:200]}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, which gets its name only when it is complete."""
        path = Path(path)
        letters = torch.frombuffer(bytearray("\n".join(self.rows).encode("ascii")), dtype=torch.uint8)
        with atomic_path(path) as partial:
            save_file({"vectors": self.vectors, "scales": self.scales, "words": letters}, partial, metadata=ABOUT)

    @property
    def dimension(self) -> int:
        """Size of a token's vector: the word's part, then the number's; one of them is zero."""
        return self.vectors.shape[1] + N_NUMBER_FEATURES

    def __call__(self, prompt: str) -> Tensor:
        """Return the vectors [L, dimension] of the first tokens, 1 <= L <= 32; one zero vector if no token is known."""
        tokens = list(itertools.islice(self._tokens(prompt), MAX_TOKENS))
        return torch.stack(tokens) if tokens else torch.zeros(1, self.dimension)

    def word(self, word: str) -> Tensor | None:
        """Return the vector [D] of a lower-case word, of its stem, or the mean of known words inside it; None if all fail."""
        found = [word] if word in self.rows else self._stem(word) or self._pieces(word)
        if not found:
            return None
        index = [self.rows[name] for name in found]
        vectors = self.vectors[index].float() * self.scales[index].float()[:, None]
        return vectors[0] if len(index) == 1 else F.normalize(vectors.mean(0), dim=0)

    def _tokens(self, prompt: str) -> Iterator[Tensor]:
        no_word, no_number = torch.zeros(self.vectors.shape[1]), torch.zeros(N_NUMBER_FEATURES)
        for token in tokenize(prompt):
            if token[0].isdigit():
                yield torch.cat((no_word, number_features(float(token))))
                continue
            joined = token.replace("-", "")  # lo-fi is one word, hard-hitting two
            for word in [joined] if joined in self.rows else token.split("-"):
                vector = None if word in STOP_WORDS else self.word(word)
                if vector is not None:
                    yield torch.cat((vector, no_number))

    def _stem(self, word: str) -> list[str]:
        """Return a list with the known word that a suffix was added to, or an empty list."""
        for suffix in SUFFIXES:
            stem = word.removesuffix(suffix)
            if stem == word or len(stem) < MIN_STEM:
                continue
            spellings = [stem, stem + "e"]  # slow-ly, danc-ing
            if stem[-1] == stem[-2]:
                spellings.append(stem[:-1])  # drumm-ing
            if stem[-1] == "i":
                spellings.append(stem[:-1] + "y")  # moodi-er
            known = [spelling for spelling in spellings if spelling in self.rows]
            if known:
                return known[:1]
        return []

    def _pieces(self, word: str) -> list[str]:
        """Return known words inside a longer one, from left to right, longest first, in linear time."""
        found, start = [], 0
        while start + MIN_PIECE <= len(word):
            ends = range(min(len(word), start + 32), start + MIN_PIECE - 1, -1)
            end = next((end for end in ends if word[start:end] in self.rows), None)
            if end is not None:
                found.append(word[start:end])
            start = end or start + 1
        return found


def tokenize(prompt: str) -> Iterator[str]:
    """Return words of a to z, possibly hyphenated, and decimal numbers: lower case, without accents and apostrophes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", prompt) if not unicodedata.combining(c))
    return (found[0] for found in TOKEN.finditer(plain.translate(MARKS).casefold()))


def number_features(value: float) -> Tensor:
    """Encode a number's position on an octave scale, [8] of length 1: within an octave, products fall with the ratio."""
    octave = math.log2(min(max(value, 1.0), MAX_NUMBER))
    angles = torch.tensor([2 * math.pi * octave / period for period in PERIODS])
    return torch.cat((angles.sin(), angles.cos())) / math.sqrt(len(PERIODS))
