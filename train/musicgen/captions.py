"""Generate captions from labels with a grammar, in many wordings, as short or long as people write them."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import caption_words
from .caption_words import HELD_OUT
from .labels import Labels, Part

__all__ = ["HELD_OUT", "caption"]

FACTS = {"instruments": 10, "mood": 8, "tempo": 6, "bpm": 5, "genre": 6, "density": 2, "key": 2, "meter": 1, "stereo": 1}
MAJOR = ("instruments", "mood", "tempo", "bpm", "genre")  # one of these is mentioned before any other


def caption(labels: Labels, rng: random.Random) -> str:
    """Return one of many possible descriptions of a piece, with only facts from the labels, usually not all.

    Recorded pieces have no known labels; their title describes them.
    """
    if not labels.instruments:
        text = _title(labels, rng)
    else:
        facts = _choose(labels, rng)
        style: Callable[[Labels, set[str], random.Random], str] = rng.choice((_tags, _phrase, _phrase, _sentences))
        text = style(labels, facts, rng)
    if rng.random() < 0.5:
        return text.lower().rstrip(".")
    return text[:1].upper() + text[1:]


def _choose(labels: Labels, rng: random.Random) -> set[str]:
    """Choose which facts to mention: one or two, three or four, or more, with equal probability."""
    known = dict(FACTS)
    if labels.channels == 1:
        del known["stereo"]
    if not caption_words.DENSITIES[labels.density]:
        del known["density"]
    if all(part.role == "drums" for part in labels.instruments):
        del known["key"]
    wanted = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7))
    chosen: set[str] = set()
    while len(chosen) < min(wanted, len(known)):
        left = [fact for fact in known if fact not in chosen and (chosen or fact in MAJOR)]
        chosen.add(rng.choices(left, [known[fact] for fact in left])[0])
    return chosen


def _title(labels: Labels, rng: random.Random) -> str:
    """Return the words of a title, or some of them."""
    names = labels.title.split() or labels.package.split("-")
    if len(names) > 2 and rng.random() < 0.3:
        start = rng.randrange(len(names) - 1)
        names = names[start : start + rng.randint(2, len(names) - start)]
    title = " ".join(names)
    return rng.choice(("{}", "{}", "{}", "{} theme", "{}, game music", "soundtrack, {}", 'music called "{}"')).format(title)


def _tempo(labels: Labels, rng: random.Random) -> str:
    return rng.choice(next(choices for limit, choices in caption_words.TEMPI if labels.tempo_bpm < limit))


def _bpm(labels: Labels, rng: random.Random) -> str:
    form = rng.choice(("{} bpm", "{} bpm", "{} BPM", "{} beats per minute", "{}bpm"))
    return form.format(labels.tempo_bpm)


def _key(labels: Labels, rng: random.Random) -> str:
    if rng.random() < 0.2:
        return f"{labels.mode} key"
    tonic = labels.tonic if rng.random() < 0.6 else labels.tonic.replace("-flat", "b").replace("-sharp", "#")
    return f"{tonic} {labels.mode}"


def _meter(labels: Labels, rng: random.Random) -> str:
    return rng.choice((labels.meter, f"{labels.meter} time", "three-four time" if labels.meter == "3/4" else "four-four time"))


def _stereo(_: Labels, rng: random.Random) -> str:
    return rng.choice(("stereo", "wide stereo", "wide stereo", "a wide stereo image"))


def _name(part: Part, rng: random.Random) -> str:
    return rng.choice(caption_words.INSTRUMENTS[part.name])


def _distinct(labels: Labels, rng: random.Random) -> list[str]:
    """Return one name per instrument, in random order."""
    parts = list({part.name: part for part in labels.instruments}.values())
    rng.shuffle(parts)
    return list(dict.fromkeys(_name(part, rng) for part in parts))


def _join_names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _is_solo(labels: Labels) -> bool:
    return len({part.name for part in labels.instruments}) == 1


def _tags(labels: Labels, facts: set[str], rng: random.Random) -> str:
    """Return keywords in random order."""
    found = [_WORDS[fact](labels, rng) for fact in sorted(facts - {"instruments"})]
    if "instruments" in facts:
        names = _distinct(labels, rng)
        found += [f"solo {names[0]}"] if _is_solo(labels) and rng.random() < 0.4 else names[: rng.randint(1, len(names))]
    rng.shuffle(found)
    return rng.choice((", ", ", ", " ")).join(found)


def _phrase(labels: Labels, facts: set[str], rng: random.Random) -> str:
    """Return adjectives, a noun with its instruments, and additions: "slow sad piano piece at 70 bpm"."""
    before = [_WORDS[fact](labels, rng) for fact in ("mood", "tempo", "density") if fact in facts]
    rng.shuffle(before)
    after = []
    if "bpm" in facts:
        after.append(rng.choice(("at ", "at ", "", "with a tempo of ")) + _bpm(labels, rng))
    if "key" in facts:
        key = _key(labels, rng)
        after.append(f"in a {key}" if key.endswith("key") else f"in {key}")
    if "meter" in facts:
        after.append(f"in {_meter(labels, rng)}")
    if "stereo" in facts:
        stereo = _stereo(labels, rng)
        after.append(f"with {stereo}" if stereo.startswith("a ") else f"in {stereo}")
    rng.shuffle(after)
    return " ".join((*before, _head(labels, facts, rng), *after))


def _head(labels: Labels, facts: set[str], rng: random.Random) -> str:
    """Return the noun of a phrase, with genre and instruments if they are mentioned."""
    nouns, adjectives = caption_words.GENRES[labels.genre]
    if "instruments" not in facts:
        return rng.choice(nouns) if "genre" in facts else _noun(labels, rng)
    names = _distinct(labels, rng)
    if _is_solo(labels):
        heads = (names[0], names[0], f"solo {names[0]}", f"{names[0]} solo", f"{names[0]} {_noun(labels, rng)}")
        if "genre" not in facts:
            return rng.choice(heads)
        return rng.choice((f"{rng.choice(adjectives)} {rng.choice(heads)}", f"{rng.choice(nouns)} for solo {names[0]}"))
    noun = rng.choice(nouns) if "genre" in facts else _noun(labels, rng)
    lead = labels.instruments[0]
    lead_name = _name(lead, rng)
    if rng.random() < 0.35:
        return _duet(labels, noun if "genre" in facts else "", rng)
    if rng.random() < 0.25:
        return f"{rng.choice(adjectives)} {lead_name}" if "genre" in facts else lead_name
    return f"{noun} {rng.choice(('with', 'with', 'featuring', 'for', 'played by'))} {_join_names(names)}"


def _noun(labels: Labels, rng: random.Random) -> str:
    """Return a noun that suits a piece with or without a melody."""
    roles = {part.role for part in labels.instruments}
    if roles == {"drums"}:
        return rng.choice(caption_words.DRUM_NOUNS)
    return rng.choice((*caption_words.NOUNS, "melody") if "melody" in roles and len(roles) <= 2 else caption_words.NOUNS)


def _duet(labels: Labels, noun: str, rng: random.Random) -> str:
    """Return who plays what: "flute melody over piano chords"."""
    parts = list(labels.instruments)
    first, others = parts[0], parts[1:]
    lead = _task(first, rng)
    under = [_task(part, rng) for part in others[: rng.randint(1, len(others))]]
    text = f"{lead} {rng.choice(('over', 'with', 'and'))} {_join_names(under)}"
    return f"{noun} with {text}" if noun else text


def _task(part: Part, rng: random.Random) -> str:
    name = _name(part, rng)
    if part.role in ("bass", "drums") or rng.random() < 0.3:
        return name
    return f"{name} {rng.choice(caption_words.ROLES[part.role])}"


def _sentences(labels: Labels, facts: set[str], rng: random.Random) -> str:
    """Return a sentence, followed by further sentences with the facts that it omits."""
    first = set(rng.sample(sorted(facts), rng.randint(1, len(facts))))
    phrase = _phrase(labels, first, rng)
    article = "" if caption_words.UNCOUNTABLE & set(phrase.split()) else "an " if phrase[0] in "aeiou8" else "a "
    start = rng.choice((f"{article}{phrase}", f"this is {article}{phrase}", phrase))
    rest = [_SENTENCES[fact](labels, rng) for fact in sorted(facts - first)]
    rng.shuffle(rest)
    return ". ".join(text[:1].upper() + text[1:] for text in (start, *rest)) + "."


def _who(labels: Labels, rng: random.Random) -> str:
    names = _distinct(labels, rng)
    if _is_solo(labels):
        return rng.choice(("played on {}", "only {} is heard", "it is a solo for {}")).format(names[0])
    lead = labels.instruments[0]
    if lead.role == "melody" and rng.random() < 0.5:
        return f"the {rng.choice(caption_words.ROLES['melody'])} is played by the {_name(lead, rng)}"
    return rng.choice(("the instruments are {}", "it features {}", "{} play together")).format(_join_names(names))


_WORDS: dict[str, Callable[[Labels, random.Random], str]] = {
    "mood": lambda labels, rng: rng.choice(caption_words.MOODS[labels.mood]),
    "tempo": _tempo,
    "bpm": _bpm,
    "genre": lambda labels, rng: rng.choice(caption_words.GENRES[labels.genre][1]),
    "density": lambda labels, rng: rng.choice(caption_words.DENSITIES[labels.density]),
    "key": _key,
    "meter": _meter,
    "stereo": _stereo,
}
_SENTENCES: dict[str, Callable[[Labels, random.Random], str]] = {
    "instruments": _who,
    "mood": lambda labels, rng: rng.choice(("the mood is {}", "it sounds {}", "it feels {}")).format(
        _WORDS["mood"](labels, rng)
    ),
    "tempo": lambda labels, rng: rng.choice(("the tempo is {}", "it is {}")).format(_tempo(labels, rng)),
    "bpm": lambda labels, rng: rng.choice(("the tempo is {}", "{}", "it runs at {}")).format(_bpm(labels, rng)),
    "genre": lambda labels, rng: rng.choice(("the style is {}", "{} style")).format(_WORDS["genre"](labels, rng)),
    "density": lambda labels, rng: f"the arrangement is {_WORDS['density'](labels, rng)}",
    "key": lambda labels, rng: f"in {labels.tonic} {labels.mode}",
    "meter": lambda labels, rng: f"in {_meter(labels, rng)}",
    "stereo": lambda labels, rng: f"with {_stereo(labels, rng)}",
}
