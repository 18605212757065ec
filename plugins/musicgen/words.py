"""Text prompts as word vectors: a table in one small file, made by train/distill.py, that needs no text model."""

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
from ...format.files import whole_file

MAX_BYTES = 1 << 22  # of a file
MAX_TOKENS = 32  # of a prompt, later ones say no more
MAX_DIMENSION = 1024
PERIODS = (2.0, 4.0, 8.0, 16.0)  # octaves; the shortest tells 70 from 90, the longest 3 from 120
N_NUMBER_FEATURES = 2 * len(PERIODS)
MAX_NUMBER = 2.0**20
MIN_STEM, MIN_PIECE = 3, 4  # letters; shorter ones are found in unrelated words
_STOP_WORDS = """a an the of and or with in on for to by at from as that this these which is are was be been it its i you we my
your our some please make me"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
TABLE = re.compile(r"[a-z]{1,32}(?:\n[a-z]{1,32})*")
TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[a-z]+(?:-[a-z]+)*")
MARKS = str.maketrans({"'": "", "\N{RIGHT SINGLE QUOTATION MARK}": "", "\N{HYPHEN}": "-"})
SUFFIXES = ("ness", "ful", "ing", "ly", "er", "s")
ABOUT = {"kind": "words", "version": "1"}


class WordEncoder:
    """A TextEncoder: a vector for each word that tells anything, and for each number, in their order."""

    def __init__(self, words: Sequence[str], vectors: Tensor, scales: Tensor) -> None:
        """Shapes: vectors [n, D] int8, scales [n] float16: what row i is multiplied by. Raises ValueError for other things."""
        if not TABLE.fullmatch("\n".join(words)) or len(set(words)) != len(words):
            raise ValueError("words must be different, of 1 to 32 letters a to z")
        if vectors.dtype != torch.int8 or vectors.ndim != 2 or not 1 <= vectors.shape[1] <= MAX_DIMENSION:
            raise ValueError(f"vectors must be [n, D] int8, D <= {MAX_DIMENSION}, got {list(vectors.shape)} {vectors.dtype}")
        if scales.dtype != torch.float16 or scales.shape != vectors.shape[:1] or len(words) != len(vectors):
            raise ValueError(f"{len(words)} words, {len(vectors)} vectors and {list(scales.shape)} {scales.dtype} scales")
        if not bool((scales.isfinite() & (scales >= 0)).all()):
            raise ValueError("scales must be finite and not negative")
        self.rows = {word: row for row, word in enumerate(words)}
        self.vectors, self.scales = vectors, scales

    @classmethod
    def from_vectors(cls, words: Sequence[str], vectors: Tensor) -> WordEncoder:
        """Round vectors, float [n, D], to 8 bits, each row by a scale of its own."""
        scales = (vectors.abs().amax(1) / 127).half()
        steps = vectors / scales.float().clamp_min(1e-7)[:, None]
        return cls(words, steps.round().clamp(-127, 127).to(torch.int8), scales)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordEncoder:
        """Read what `save` wrote; raises CheckpointError, in one line, for anything else."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_BYTES or not path.is_file():  # a pipe could keep us waiting
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
        """Write one safetensors file, which appears under its name only when whole."""
        path = Path(path)
        letters = torch.frombuffer(bytearray("\n".join(self.rows).encode("ascii")), dtype=torch.uint8)
        with whole_file(path) as partial:
            save_file({"vectors": self.vectors, "scales": self.scales, "words": letters}, partial, metadata=ABOUT)

    @property
    def dimension(self) -> int:
        """Of a token's vector: the word's part, then the number's; one of them is zero."""
        return self.vectors.shape[1] + N_NUMBER_FEATURES

    def __call__(self, prompt: str) -> Tensor:
        """Vectors [L, dimension], 1 <= L <= 32, of the first tokens; a prompt without any known one is a single zero vector."""
        tokens = list(itertools.islice(self._tokens(prompt), MAX_TOKENS))
        return torch.stack(tokens) if tokens else torch.zeros(1, self.dimension)

    def word(self, word: str) -> Tensor | None:
        """The vector [D] of a word in lower case: its own, its stem's, or the mean of the words inside; None where all fail."""
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
            joined = token.replace("-", "")  # lo-fi is a word, hard-hitting two
            for word in [joined] if joined in self.rows else token.split("-"):
                vector = None if word in STOP_WORDS else self.word(word)
                if vector is not None:
                    yield torch.cat((vector, no_number))

    def _stem(self, word: str) -> list[str]:
        """The known word that a suffix was added to, alone in a list."""
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
        """Known words inside a longer one, from the left, the longest first: in linear time."""
        found, start = [], 0
        while start + MIN_PIECE <= len(word):
            ends = range(min(len(word), start + 32), start + MIN_PIECE - 1, -1)
            end = next((end for end in ends if word[start:end] in self.rows), None)
            if end is not None:
                found.append(word[start:end])
            start = end or start + 1
        return found


def tokenize(prompt: str) -> Iterator[str]:
    """Words of a to z, some with hyphens, and decimal numbers: in lower case, without accents and apostrophes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", prompt) if not unicodedata.combining(c))
    return (found[0] for found in TOKEN.finditer(plain.translate(MARKS).casefold()))


def number_features(value: float) -> Tensor:
    """A number's place among the octaves, [8] of length 1: up to an octave, products fall with the ratio of two numbers."""
    octave = math.log2(min(max(value, 1.0), MAX_NUMBER))
    angles = torch.tensor([2 * math.pi * octave / period for period in PERIODS])
    return torch.cat((angles.sin(), angles.cos())) / math.sqrt(len(PERIODS))
