"""Measure whether a small MusicGen follows its prompt: instruments, tempo, melody, stereo width; and its time to first audio.

    ecdc bench music --json bench/results/music.json      # ten minutes, and some more the first time

Prompts are captions of pieces that are not in any training set: their seeds are millions away from those of the
training set. The ceiling is the same pieces, rendered and passed through the codec. Needs FluidSynth
and soundfonts; rendered pieces are kept in --cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, cast

import click
import numpy as np
import torch

from ..format import Reader
from ..plugins.musicgen.checkpoint import load
from ..plugins.musicgen.generate import Options
from ..plugins.musicgen.model import MusicGen
from ..plugins.musicgen.sampling import Guidance, Sampling
from ..train.musicgen.compose import SECONDS
from ..train.musicgen.labels import Piece
from ..train.musicgen.render import find_soundfonts
from . import music_pieces as pieces
from .codecs.ours import loaded
from .music_measures import Array, Classifier, Embedding, chroma_energy, frechet, levels, similarity, tempo, timbre
from .music_pieces import FAMILIES, Order, Store
from .music_table import markdown
from .options import NEW_FILE, Finite, Number
from .processor_name import processor_name
from .rows import write_json
from .runner import commit

N_TRAINING, N_COMPONENTS = 300, 16
STEREO_SHARE = 0.25  # of --items
TURNS, SPEED_SECONDS, SPEED_TURNS = 5, 5.0, 3
SPEED_PROMPT = "slow sad piano, 70 bpm"
EMBEDDING = f"{N_COMPONENTS} principal components of log-mel statistics"

Report = Callable[[str], object]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The pieces of each part of the benchmark, all with different seeds."""

    family: list[Piece]
    tempo: list[Piece]
    melody: list[Piece]
    stereo: list[Piece]
    others: list[Piece]  # the reference set for generated music
    training: list[Piece]  # of the classifier

    @classmethod
    def of(cls, seed: int, items: int, n_training: int = N_TRAINING) -> Plan:
        """Choose pieces with seeds from `seed` million on; each part starts a hundred thousand after the previous one."""
        first = [seed * 1_000_000 + part * 100_000 for part in range(6)]
        return cls(
            pieces.balanced(first[0], items),
            pieces.chosen(first[1], items),
            pieces.chosen(first[2], items, pieces.has_melody),
            pieces.chosen(first[3], max(2, round(items * STEREO_SHARE)), lambda piece: piece.labels.channels == 2),
            pieces.chosen(first[4], items),
            pieces.balanced(first[5], n_training),
        )

    def orders(self) -> list[Order]:
        """Return all pieces to render: in mono, except the stereo part; for the melody part, the melody alone too."""
        plain = [*self.training, *self.family, *self.tempo, *self.others]
        orders = [Order(piece.seed) for piece in plain] + [Order(piece.seed, 1, True) for piece in self.melody]
        return orders + [Order(piece.seed, 2) for piece in self.stereo]


@dataclass(frozen=True)
class Bench:
    """The state shared by all parts of the benchmark."""

    model: MusicGen
    options: Options
    store: Store
    batch: int
    report: Report

    @property
    def rate(self) -> int:
        """Sample rate of the model in Hz."""
        return self.model.config.sample_rate

    @property
    def n_samples(self) -> int:
        """Number of samples N of every measured sound."""
        return self.model.config.n_frames(self.options.seconds) * self.rate // self.model.config.frame_rate

    def generated(
        self, items: Sequence[Piece], prompts: Sequence[str], melodies: Sequence[torch.Tensor] | None = None, channels: int = 1
    ) -> list[np.ndarray]:
        """Generate audio [C, N] for each prompt, with the seed of its piece."""
        options = Options(self.options.seconds, self.options.sampling, self.options.guidance, channels=channels)
        found: list[np.ndarray] = []
        for start in range(0, len(items), self.batch):
            own = slice(start, start + self.batch)
            began, seeds = time.perf_counter(), [piece.seed for piece in items[own]]
            codes = self.model.generate(prompts[own], options, melodies[own] if melodies else None, seeds)
            found += list(self.model.decode(codes).numpy())
            self.report(f"generated {len(found)} of {len(items)}, {time.perf_counter() - began:.0f} s")
        return found

    def played(self, order: Order, stop: int | None = None) -> np.ndarray:
        """Return a rendered piece after the codec, [C, N], with `stop` frames or as many as are generated."""
        return self.decoded(self.store.get(order).codes[..., : stop or self.model.config.n_frames(self.options.seconds)])

    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes [C, K, T] to audio [C, N]."""
        return cast(np.ndarray, loaded(pieces.CODEC).decode(torch.from_numpy(codes.astype(np.int64)))[:, 0].numpy())

    def timbres(self, sounds: Sequence[np.ndarray]) -> Array:
        """Return the timbre features [n, D] of n sounds [C, N]."""
        return np.stack([timbre(sound.mean(0), self.rate) for sound in sounds])


def training_set(bench: Bench, training: Sequence[Piece]) -> tuple[Array, list[str]]:
    """Return features [n, D] and instrument families of rendered pieces, with as many excerpts per piece as fit."""
    n, features, names = bench.n_samples, [], []
    for piece in training:
        audio = bench.played(Order(piece.seed), round(SECONDS * bench.model.config.frame_rate))
        cuts = [audio[:, i : i + n] for i in range(0, audio.shape[1] - n + 1, n)]
        features.append(bench.timbres(cuts))
        names += [str(pieces.family_of(piece))] * len(cuts)
    return np.concatenate(features), names


def family_rows(bench: Bench, items: Sequence[Piece], classifier: Classifier) -> tuple[list[Row], list[np.ndarray]]:
    """Return for each piece the requested family and those recognised in generated audio and in the piece; and the audio."""
    prompts = [pieces.prompt(piece, pieces.names_family) for piece in items]
    audio = bench.generated(items, prompts)
    heard = classifier(bench.timbres(audio))
    real = classifier(bench.timbres([bench.played(Order(piece.seed)) for piece in items]))
    columns = zip(items, prompts, heard, real, strict=True)
    rows = [{"seed": p.seed, "prompt": t, "family": pieces.family_of(p), "heard": h, "real": r} for p, t, h, r in columns]
    return rows, audio


def tempo_rows(bench: Bench, items: Sequence[Piece], real: Sequence[np.ndarray]) -> tuple[list[Row], list[np.ndarray]]:
    """Return for each piece the requested bpm and those measured in the generated audio and in the piece; and the audio."""
    prompts = [pieces.prompt(piece, pieces.names_tempo) for piece in items]
    audio = bench.generated(items, prompts)
    rows = []
    for piece, text, made, played in zip(items, prompts, audio, real, strict=True):
        heard, ceiling = (round(tempo(sound[0], bench.rate), 1) for sound in (made, played))
        rows.append({"seed": piece.seed, "prompt": text, "bpm": piece.labels.tempo_bpm, "heard": heard, "real": ceiling})
    return rows, audio


def melody_rows(bench: Bench, items: Sequence[Piece]) -> tuple[list[Row], list[np.ndarray]]:
    """Return for each piece the chroma similarity to its own melody and the mean to all others; and the audio."""
    prompts = [pieces.prompt(piece, pieces.names_no_key) for piece in items]
    stored = [bench.store.get(Order(piece.seed, 1, True)) for piece in items]
    melodies = [torch.from_numpy(played.melody[: bench.n_samples].astype(np.float32) / 32_767) for played in stored]
    audio = bench.generated(items, prompts, melodies)
    n_frames = bench.model.config.n_frames(bench.options.seconds)
    played = [bench.decoded(one.codes[..., :n_frames]) for one in stored]
    wanted = [chroma_energy(melody.numpy(), bench.rate) for melody in melodies]
    rows: list[Row] = [{"seed": piece.seed, "prompt": text} for piece, text in zip(items, prompts, strict=True)]
    for kind, sounds in (("", audio), ("real ", played)):
        for i, sound in enumerate(sounds):
            energy = chroma_energy(sound[0], bench.rate)
            found = np.array([similarity(energy, melody) for melody in wanted])
            rows[i] |= {f"{kind}own": round(float(found[i]), 4), f"{kind}others": round(float(np.delete(found, i).mean()), 4)}
    return rows, audio


def distances(bench: Bench, embedding: Embedding, plan: Plan, generated: Sequence[np.ndarray], seed: int) -> Row:
    """Return the Fréchet distances to other pieces of the audio generated for the tempo part, of its pieces, and of floors."""
    rng, n_frames = np.random.default_rng(seed), bench.model.config.n_frames(bench.options.seconds)
    codes = [bench.store.get(Order(piece.seed)).codes[..., :n_frames] for piece in plan.tempo]
    sets = {
        "generated": list(generated),
        "real": [bench.decoded(one) for one in codes],
        "shuffled": [bench.decoded(one[..., rng.permutation(n_frames)]) for one in codes],
        "noise": [syllables(bench.n_samples, bench.rate, rng) for _ in codes],
    }
    others = embedding(bench.timbres([bench.played(Order(piece.seed)) for piece in plan.others]))
    return {name: round(frechet(embedding(bench.timbres(sounds)), others), 3) for name, sounds in sets.items()}


def syllables(n_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return white noise [1, N] whose level varies four times a second, like syllables."""
    points = rng.uniform(0, 1, int(8 * n_samples / sample_rate) + 2) ** 2
    swell = np.interp(np.arange(n_samples) * 8 / sample_rate, np.arange(len(points)), points)
    return (0.2 * swell * rng.standard_normal(n_samples)).astype(np.float32)[None]


def first_audio(model: str) -> float:
    """Return the seconds from the start of `ecdc generate` until its first chunk arrives through a pipe."""
    command = [sys.executable, "-m", "ecdc.cli", "generate", SPEED_PROMPT, "--model", model, "-o", "-", "--quiet"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            next(iter(Reader(cast(BinaryIO, process.stdout))))
            return time.perf_counter() - began
        finally:
            process.kill()


def speed(bench: Bench, channels: int) -> float:
    """Return the median speed in times real time, for one piece at a time and with guidance."""
    options = Options(SPEED_SECONDS, bench.options.sampling, bench.options.guidance, channels=channels)
    times = []
    for turn in range(SPEED_TURNS):
        began = time.perf_counter()
        bench.model.generate([SPEED_PROMPT], options, seeds=[turn])
        times.append(time.perf_counter() - began)
    return SPEED_SECONDS / median(times)


def measure(bench: Bench, plan: Plan, seed: int) -> Row:
    """Measure all parts except speed; return JSON-compatible values."""
    features, names = training_set(bench, plan.training)
    classifier, embedding = Classifier.train(features, names), Embedding.of(features, N_COMPONENTS)
    bench.report(f"classifier trained on {len(features)} cuts of {len(plan.training)} pieces")
    real = [bench.played(Order(piece.seed)) for piece in plan.tempo]
    families, first = family_rows(bench, plan.family, classifier)
    tempi, second = tempo_rows(bench, plan.tempo, real)
    melodies, third = melody_rows(bench, plan.melody)
    prompts = [pieces.prompt(piece, lambda labels, text: True) for piece in plan.stereo]
    stereo = bench.generated(plan.stereo, prompts, channels=2)
    played = [bench.played(Order(piece.seed, 2)) for piece in plan.stereo]
    sounds = {"mono": [*first, *second, *third], "real mono": real, "stereo": stereo, "real stereo": played}
    return {
        "family": {"classes": list(FAMILIES), "training": len(plan.training), "rows": families},
        "tempo": tempi,
        "melody": melodies,
        "levels": {name: [_short(levels(sound, bench.rate)) for sound in own] for name, own in sounds.items()},
        "frechet": {"embedding": EMBEDDING, **distances(bench, embedding, plan, second, seed)},
    }


def _short(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in row.items()}


def options_for(model: MusicGen, seconds: float, given: dict[str, Any]) -> Options:
    """Return the model's default guidance and sampling, replaced by the values in `given` that are not None."""
    config = model.config
    known: Row = {"guidance": config.guidance, "top_k": config.top_k, "temperature": config.temperature}
    known |= {name: value for name, value in given.items() if value is not None}
    return Options(seconds, Sampling(known["top_k"], temperature=known["temperature"]), Guidance(known["guidance"]))


def about(bench: Bench, items: int, seed: int) -> Row:
    """Return the settings and the machine of the measurement."""
    sampling = asdict(bench.options.sampling)
    settings = {"guidance": bench.options.guidance.scale} | {name: sampling[name] for name in ("top_k", "temperature")}
    where = {"commit": commit(), "device": processor_name(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    asked = {"model": bench.model.config.name, "items": items, "seconds": bench.options.seconds, "seed": seed}
    return {**asked, **settings, **where}


@click.command()
@click.option("--items", type=click.IntRange(4), default=64, show_default=True, help="Pieces of each part.")
@click.option("--seconds", type=Finite(2, SECONDS / 2), default=8.0, show_default=True, help="Seconds of each piece.")
@click.option("--model", "name", default="musicgen-nano", show_default=True, help="A model by name or folder.")
@click.option(
    "--seed", type=click.IntRange(2, 1000), default=9, show_default=True, help="Seed of the pieces; training sets use 1."
)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/music-bench"), show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Prompts at once.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that play pieces.")
@click.option("--guidance", type=Number(), help="Default: the model's, as of the next two.")
@click.option("--top-k", type=click.IntRange(0))
@click.option("--temperature", type=Finite(0, 100))
@click.option("--json", "target", type=NEW_FILE, help="Write what was found here too.")
def main(
    items: int, seconds: float, name: str, seed: int, cache: Path, batch: int, jobs: int, target: Path | None, **given: Any
) -> None:
    """Measure how well a generator follows its prompts, and print a table."""

    def report(line: str) -> None:
        click.echo(line, err=True)

    try:
        store, model = Store(cache, find_soundfonts()), load(name)
        model.require_codec()
    except (ValueError, RuntimeError) as error:  # the synthesiser or the model is missing
        raise click.ClickException(str(error)) from error
    bench = Bench(model, options_for(model, seconds, given), store, batch, report)
    plan = Plan.of(seed, items)
    store.prepare(plan.orders(), jobs, report)
    found = {"about": about(bench, items, seed), **measure(bench, plan, seed)}
    times = [round(first_audio(name), 2) for _ in range(TURNS)]
    found["speed"] = {"first audio": times, **{key: round(speed(bench, 1 + i), 2) for i, key in enumerate(("mono", "stereo"))}}
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
