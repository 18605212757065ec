"""Word vectors: words of one meaning lie together, numbers by their size, and any prompt or file is survived."""

import itertools
import math
import os
import struct
import sys

import pytest
import torch
from ecdc.codec.errors import CheckpointError
from ecdc.plugins.musicgen.model_folder import BUNDLED, WORDS
from ecdc.plugins.musicgen.word_vectors import MAX_TOKENS, WordEncoder, number_features, tokenize
from ecdc.train.musicgen.distill import vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

SHIPPED = BUNDLED / "musicgen-nano" / WORDS
# Words behind the bar are in the glossary. How the vectors are made was chosen by other words than those before it.
GROUPS = {
    "sad": "| sorrowful gloomy mournful melancholic tearful heartbroken",
    "happy": "cheerful merry upbeat delighted | joyful",
    "angry": "furious enraged hostile |",
    "calm": "peaceful serene relaxing soothing |",
    "fast": "quick rapid speedy brisk | uptempo",
    "slow": "| sluggish unhurried leisurely downtempo",
    "loud": "noisy deafening | thunderous",
    "quiet": "hushed silent soft |",
    "scary": "eerie creepy sinister | spooky",
    "romantic": "loving sensual intimate |",
    "drums": "percussion | snare cymbals bongo",
    "piano": "harpsichord pianist keyboards |",
    "violin": "fiddle cello viola |",
    "guitar": "banjo | ukulele strummed",
    "trumpet": "trombone brass tuba | cornet",
    "electronic": "synthesizer techno digital |",
    "vocals": "singer choir sung |",
}
ALSO = {"upbeat": "fast"}


@pytest.fixture(scope="module")
def encoder():
    return WordEncoder.load(SHIPPED)


def one(encoder, word):
    (vector,) = encoder(word)
    return vector


@pytest.mark.parametrize(("glossed", "share"), [(False, 0.75), (True, 0.9)])
def test_synonyms_are_nearest_to_their_group(encoder, glossed, share):
    names = list(GROUPS)
    anchors = torch.stack([one(encoder, name) for name in names])  # [groups, D]
    words = [(word, group) for group, words in GROUPS.items() for word in words.split("|")[glossed].split()]
    nearest = {word: names[int((anchors @ one(encoder, word)).argmax())] for word, _ in words}
    wrong = [f"{word} is {nearest[word]}" for word, group in words if nearest[word] not in (group, ALSO.get(word))]
    assert len(wrong) <= (1 - share) * len(words), wrong


@pytest.mark.parametrize(
    ("near", "word", "far"),
    [("sad", "sorrowful", "happy"), ("sad", "gloomy", "fast"), ("happy", "upbeat", "sad"), ("piano", "pianoforte", "drums")],
)
def test_a_synonym_is_nearer_than_an_opposite(encoder, near, word, far):
    assert one(encoder, near) @ one(encoder, word) > one(encoder, far) @ one(encoder, word) + 0.1


def test_products_of_numbers_fall_with_their_ratio(encoder):
    products = [float(one(encoder, "70") @ one(encoder, str(other))) for other in range(70, 141)]
    assert all(a > b for a, b in itertools.pairwise(products))
    assert products[0] == pytest.approx(1, abs=1e-5) and products[2] > 0.95 and products[-1] < 0.3


@given(st.floats(0, allow_infinity=True))
def test_all_numbers_have_features_of_length_one(value):
    assert float(number_features(value).norm()) == pytest.approx(1, abs=1e-5)


def test_words_and_numbers_keep_to_their_parts(encoder):
    word, number, unit = encoder("sad, 72.5 BPM")
    assert encoder.dimension == 72 and not word[-8:].any() and not number[:-8].any() and number[-8:].any()
    assert torch.equal(unit, one(encoder, "bpm"))


@pytest.mark.parametrize(
    ("prompt", "same"),
    [
        ("A Sad PIANO!", "sad piano"),
        ("méląncholic", "melancholic"),
        ("lo-fi hip\u2011hop", "lofi hip hop"),
        ("a hard-hitting beat", "hard hitting beat"),
        ("120bpm", "120 bpm"),
        ("the drummer's rock'n'roll", "drummers rocknroll"),
        ("\ufb01ddle \uff13/4", "fiddle 3 4"),
        ("unheardofword-zzkqx sad", "unheardofword sad"),
    ],
)
def test_spellings_of_one_prompt(encoder, prompt, same):
    assert torch.equal(encoder(prompt), encoder(same))


UNKNOWN = {"guitarful": "guitar", "moodier": "moody", "dancings": "dancing", "sadder": "sad", "xylophoner": "xylophone"}


@pytest.mark.parametrize(("unknown", "known"), UNKNOWN.items())
def test_unknown_words_lose_their_suffixes(encoder, unknown, known):
    assert unknown not in encoder.rows and torch.equal(encoder.word(unknown), encoder.word(known))


def test_unknown_compounds_are_means_of_their_parts(encoder):
    mean = encoder.word("piano") + encoder.word("trumpet")
    assert torch.allclose(encoder.word("zpianoqtrumpetx"), mean / mean.norm(), atol=1e-6)


@pytest.mark.parametrize("prompt", ["", " ", "the of", "?!", "xq zzkqx", "грустно", "\0", "\ud800"])
def test_prompts_without_a_known_word_are_one_zero_vector(encoder, prompt):
    assert torch.equal(encoder(prompt), torch.zeros(1, 72))


def test_later_tokens_are_dropped(encoder):
    assert torch.equal(encoder("sad piano " * 500), encoder("sad piano " * (MAX_TOKENS // 2)))


texts = st.one_of(st.text(), st.text("abcdefghijklmnopqrstuvwxyz0123456789.-' "), st.text("sadpino"))


@settings(max_examples=150, deadline=None)
@given(texts, st.sampled_from((1, 40)))
def test_any_text_gives_few_finite_vectors_and_always_the_same(encoder, text, times):
    vectors = encoder(text * times)
    assert 1 <= len(vectors) <= MAX_TOKENS and vectors.shape[1:] == (72,) and vectors.isfinite().all()
    assert torch.equal(vectors, encoder(text * times))


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "9" * 10_000, "a-" * 5_000, "\u0301" * 10_000, "\ufdfa" * 10_000, "z q " * 2_500]
)
def test_long_prompts(encoder, text):
    assert encoder(text).isfinite().all() and sum(map(len, tokenize(text))) <= 18 * len(text)


def test_a_saved_encoder_is_the_same(encoder, tmp_path):
    encoder.save(tmp_path / WORDS)
    again = WordEncoder.load(tmp_path / WORDS)
    assert (
        again.rows == encoder.rows and torch.equal(again.vectors, encoder.vectors) and torch.equal(again.scales, encoder.scales)
    )
    assert (tmp_path / WORDS).stat().st_size < 1 << 21 and [path.name for path in tmp_path.iterdir()] == [WORDS]


@given(st.integers(0, 10_000), st.floats(1e-2, 1e2))
def test_rounding_errs_by_half_a_step(seed, size):
    vectors = size * torch.randn(3, 5, generator=torch.Generator().manual_seed(seed))
    encoder = WordEncoder.from_vectors(["x", "y", "z"], vectors)
    rounded = torch.stack([encoder.word(word) for word in "xyz"])
    steps = vectors.abs().amax(1, keepdim=True) / 127
    assert ((rounded - vectors).abs() <= 0.6 * steps).all()  # the scale is rounded, too


def letters(text):
    return torch.tensor(list(text), dtype=torch.uint8)


@pytest.mark.parametrize(
    "change",
    [
        {"words": letters(b"a\nb")},
        {"words": letters(b"a\nb\nb")},
        {"words": letters(b"a\nb\nC")},
        {"words": letters(b"a\nb\n")},
        {"words": letters(b"a\nb\n\xff")},
        {"words": letters(b"a\nb\n" + b"c" * 33)},
        {"words": letters(b"")},
        {"words": letters(b"a\nb\nc").to(torch.int8)},
        {"words": letters(b"a\nb\nc")[None]},
        {"vectors": torch.ones(3, 4)},
        {"vectors": torch.ones(3, 0, dtype=torch.int8)},
        {"vectors": torch.ones(3, 2000, dtype=torch.int8)},
        {"vectors": torch.ones(3, dtype=torch.int8)},
        {"vectors": torch.ones(2, 4, dtype=torch.int8)},
        {"scales": torch.ones(3)},
        {"scales": torch.ones(2).half()},
        {"scales": torch.tensor([1, 2, math.nan]).half()},
        {"scales": torch.tensor([1, 2, math.inf]).half()},
        {"scales": torch.tensor([1, 2, -1]).half()},
        {"scales": None},
        {"more": torch.ones(1)},
        {"about": {"kind": "words", "version": "2"}},
        {"about": {"kind": "words", "version": "1", "more": ""}},
        {"about": None},
    ],
)
def test_other_files_are_refused(tmp_path, change):
    whole = {"vectors": torch.ones(3, 4, dtype=torch.int8), "scales": torch.ones(3).half(), "words": letters(b"a\nb\nc")}
    whole |= {"about": {"kind": "words", "version": "1"}}
    for values in (whole, whole | change):
        tensors = {name: value for name, value in values.items() if name != "about" and value is not None}
        save_file(tensors, tmp_path / WORDS, metadata=values["about"])
        if values is whole:
            WordEncoder.load(tmp_path / WORDS)
    refuses(tmp_path / WORDS)


def refuses(path):
    with pytest.raises(CheckpointError) as error:
        WordEncoder.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_what_is_no_such_file_is_refused(tmp_path):
    refuses(tmp_path / "missing")
    refuses(tmp_path)
    for name, data in {"empty": b"", "text": b"words", "header": struct.pack("<Q", 1 << 62) + b"{}"}.items():
        (tmp_path / name).write_bytes(data)
        refuses(tmp_path / name)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    refuses(tmp_path / "large")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refuses(tmp_path / "pipe")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, SHIPPED.stat().st_size - 1))
def test_truncated_files_are_refused(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / WORDS
    path.write_bytes(SHIPPED.read_bytes()[:length])
    refuses(path)


def test_no_text_model_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it raises
    assert WordEncoder.load(SHIPPED)("sad").any()


def test_the_vocabulary_is_of_whole_words_and_those_of_music():
    words = vocabulary(["Sad", "sad", "gong", "##ness", "the", "1990", "b", "q", "[CLS]", "naïve"])
    assert {"sad", "b", "lofi", "marimba"} <= words.keys() and not {"Sad", "ness", "the", "q", "naive"} & words.keys()
    assert words["lofi"][0] == "lo-fi" and words["gong"] == ("gong", "") and words["gongs"][1] and list(words) == sorted(words)
