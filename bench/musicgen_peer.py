"""Compare our MusicGen with that of transformers: steps per second, error of int8, bandwidth, memory.

    ecdc bench musicgen-peer --json bench/results/musicgen_peer.json

Both read the same random weights, in the shape of musicgen-small, from one folder. The text encoder
and the codec are small placeholders, because only the language model and its sampling are compared.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import click
import torch
from torch import Tensor

from ..plugins.musicgen.checkpoint import load
from ..plugins.musicgen.conditioning import Conditioner
from ..plugins.musicgen.generate import Options
from ..plugins.musicgen.linear import Int8Linear, Linear
from ..plugins.musicgen.model import MusicGen
from ..plugins.musicgen.sampling import GREEDY, Guidance, Sampling
from .options import COUNT, NEW_FILE, SEED
from .peers import conditions_sentence, in_subprocess, in_turns, measurement_conditions, median_iqr, memory_of
from .rows import write_json

PEER, FLOAT, INT8 = "transformers", "ours, float32", "ours, int8"
N_CODEBOOKS, V, TEXT_DIMENSION, HEAD = 4, 2048, 768, 64
IDS = (3, 14, 15, 92, 65, 35, 1)  # token ids of a prompt
FRAME_RATE = 50
DELAY = N_CODEBOOKS - 1  # extra steps after the frames


@dataclass(frozen=True)
class Setting:
    """The settings of the benchmark; the default shape is that of musicgen-small."""

    dimension: int = 1024
    layers: int = 24
    frames: int = 61  # of each generation; it has DELAY steps more
    turns: int = 5
    top_k: int = 250
    guidance: float = 3.0
    memory_frames: int = 13
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of the language model in one generation."""
        return self.frames + DELAY


def transformers() -> Any:
    """Import the library without its warnings and progress bars; raises ClickException if it is not installed."""
    try:
        import transformers as library
    except ImportError as error:
        raise click.ClickException("this needs transformers: pip install -e '.[musicgen]'") from error
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def write_random(setting: Setting, folder: Path) -> None:
    """Write a model with random weights in the layout of transformers."""
    t = transformers()
    torch.manual_seed(setting.seed)
    ids = {"pad_token_id": V, "bos_token_id": V}
    text = t.T5Config(vocab_size=128, d_model=TEXT_DIMENSION, d_kv=32, d_ff=64, num_layers=1, num_heads=2)
    codec = t.EncodecConfig(
        sampling_rate=32_000, upsampling_ratios=[8, 5, 4, 4], num_filters=4, hidden_size=16, codebook_size=V, codebook_dim=16,
        num_lstm_layers=1, target_bandwidths=[2.2],
    )  # fmt: skip
    decoder = t.MusicgenDecoderConfig(
        vocab_size=V, hidden_size=setting.dimension, num_hidden_layers=setting.layers, dropout=0.0, num_codebooks=N_CODEBOOKS,
        ffn_dim=4 * setting.dimension, num_attention_heads=setting.dimension // HEAD, **ids,
    )  # fmt: skip
    config = t.MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model = t.MusicgenForConditionalGeneration(config)
    for parameter in model.decoder.parameters():  # so that conditions and positions matter
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
    generation = model.generation_config
    generation.pad_token_id = generation.bos_token_id = generation.decoder_start_token_id = V
    generation.eos_token_id = None
    model.save_pretrained(folder)


def load_peer(folder: Path) -> Any:
    """Load the model of transformers, with its codec replaced by one that returns the codes."""
    model = transformers().MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    model.audio_encoder.decode = lambda codes, audio_scales=None: SimpleNamespace(audio_values=codes.float()[:, 0])
    return model


def load_ours(folder: Path, int8: bool) -> MusicGen:
    """Load our model from the same folder, with a text encoder that returns random embeddings."""
    words = torch.randn(len(IDS), TEXT_DIMENSION, generator=torch.Generator().manual_seed(1))
    return MusicGen(load(folder, int8=int8, codec=False).lm, lambda: lambda prompt: words)


@torch.no_grad()
def their_codes(model: Any, setting: Setting, n_frames: int) -> Tensor:
    """Return codes sampled by transformers, without decoding them."""
    torch.manual_seed(setting.seed)
    ids = torch.tensor([IDS])
    options = {"do_sample": True, "top_k": setting.top_k, "guidance_scale": setting.guidance}
    codes: Tensor = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_length=n_frames + DELAY + 1, **options
    )
    return codes


def our_codes(model: MusicGen, setting: Setting, n_frames: int, sampling: Sampling | None = None) -> Tensor:
    """Return codes [1, K, T] sampled by our model."""
    own = sampling or Sampling(top_k=setting.top_k)
    options = Options(seconds=(n_frames + 0.5) / FRAME_RATE, sampling=own, guidance=Guidance(setting.guidance))
    return model.generate(["words"], options, seeds=[setting.seed])


def bytes_per_step(model: MusicGen) -> int:
    """Return the bytes of weights read per step: all matrices of layers and heads, except those that prepare conditions."""
    read = 0
    for name, module in [*model.lm.layers.named_modules(), ("heads", model.lm.heads)]:
        if isinstance(module, Linear | Int8Linear) and not name.endswith("kv"):
            read += module.in_features * module.out_features * (4 if isinstance(module, Linear) else 1)
    return read


def bandwidth() -> dict[str, float]:
    """Return the GB (10^9 bytes) per second at which torch reads and copies memory, the best of several tries."""
    source = torch.ones(1 << 28)
    target = torch.empty_like(source)
    n_bytes, found = source.numel() * source.element_size(), {}
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "read": (lambda: source.sum(), n_bytes),
        "copy": (lambda: target.copy_(source), 2 * n_bytes),
    }
    for name, (call, moved) in calls.items():
        call()
        times = []
        for _ in range(5):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        found[name] = round(moved / min(times) / 1e9, 2)
    return found


@torch.no_grad()
def drift(exact: MusicGen, small: MusicGen, n_columns: int, seed: int) -> dict[str, float]:
    """Compare the logits of int8 and float32 on the same random codes, in one pass over all columns and without guidance."""
    codes = torch.randint(V, (1, N_CODEBOOKS, n_columns), generator=torch.Generator().manual_seed(seed))
    found = []
    for model in (exact, small):
        conditioner = Conditioner(model.lm, model._text_encoder(True), ["words"], [None])
        found.append(model.lm(model.lm.pattern.spread(codes), conditions=conditioner.lay_out(conditioner.full)))
    wanted, drifted = found
    return {
        "rms": float((drifted - wanted).square().mean().sqrt() / wanted.std()),
        "same_argmax": float((drifted.argmax(-1) == wanted.argmax(-1)).float().mean()),
        "columns": n_columns,
    }


@torch.no_grad()
def difference(theirs: Any, ours: MusicGen, n_columns: int, seed: int) -> float:
    """Return the largest difference of logits to transformers, divided by their standard deviation; without conditions."""
    codes = torch.randint(V, (1, N_CODEBOOKS, n_columns), generator=torch.Generator().manual_seed(seed))
    columns = ours.lm.pattern.spread(codes)
    wanted = theirs.decoder(columns[0]).logits
    return float((ours.lm(columns)[0] - wanted).abs().max() / wanted.std())


def peak(kind: str, setting: Setting, folder: Path, n_threads: int) -> dict[str, float]:
    """Return the megabytes that loading and a short generation add to the imported libraries. Call it in a new process."""
    torch.set_num_threads(n_threads)
    if kind == PEER:
        assert transformers().MusicgenForConditionalGeneration  # imports the class, so that it is not measured
        return memory_of(lambda: their_codes(load_peer(folder), setting, setting.memory_frames))
    return memory_of(lambda: our_codes(load_ours(folder, kind == INT8), setting, setting.memory_frames, GREEDY))


def speeds(setting: Setting, folder: Path) -> dict[str, Any]:
    """Time the three models in turns; return their rows, the drift of int8, and the difference to transformers."""
    theirs, ours, small = load_peer(folder), load_ours(folder, False), load_ours(folder, True)
    read = {FLOAT: bytes_per_step(ours), INT8: bytes_per_step(small)}
    calls = {
        PEER: lambda n: their_codes(theirs, setting, n),
        FLOAT: lambda n: our_codes(ours, setting, n),
        INT8: lambda n: our_codes(small, setting, n),
    }
    for call in calls.values():
        call(4)  # a short warm-up
    times = in_turns({name: partial(call, setting.frames) for name, call in calls.items()}, setting.turns)
    rows = []
    for name, taken in times.items():
        row = {"name": name, **median_iqr(taken, setting.steps)}
        n_read = read.get(name, read[FLOAT])
        row |= {
            "codes_per_second": round(N_CODEBOOKS * setting.frames / median(taken), 2),
            "ratio": round(median(times[PEER]) / median(taken), 3),
            "gb_per_step": round(n_read / 1e9, 4),
            "gb_per_second": round(n_read * setting.steps / median(taken) / 1e9, 2),
        }
        rows.append(row)
    return {
        "rows": rows,
        "drift": drift(ours, small, 4 * setting.frames, setting.seed),
        "difference": difference(theirs, ours, setting.frames, setting.seed),
    }


def measure(setting: Setting) -> dict[str, Any]:
    """Measure all figures and return them as JSON-compatible values."""
    n_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "musicgen"
        in_subprocess(write_random, setting, folder)
        found = {"bandwidth_gb": bandwidth()} | speeds(setting, folder)
        found["memory_mb"] = {kind: in_subprocess(peak, kind, setting, folder, n_threads) for kind in (PEER, FLOAT, INT8)}
    return measurement_conditions(setting.seed) | {"settings": asdict(setting)} | found


def markdown(found: dict[str, Any]) -> str:
    """Return the results of `measure` as a table and a paragraph."""
    s, memory, machine = found["settings"], found["memory_mb"], found["bandwidth_gb"]
    lines = [
        "| | codes a second | ms per step | times as fast | GB/s of weights | peak memory | private |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        own = memory[row["name"]]
        cells = (
            row["name"], f"{row['codes_per_second']:.0f}", f"{1000 * row['seconds']:.1f} ± {row['spread']:.0%}",
            f"{row['ratio']:.2f}", f"{row['gb_per_second']:.1f}", f"{own['resident']:.0f} MB", f"{own['private']:.0f} MB",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    drifted = found["drift"]
    lines += [
        "",
        f"Random weights of {s['layers']} layers and {s['dimension']} dimensions, guidance {s['guidance']:g}, the best "
        f"{s['top_k']} codes, {s['frames'] + DELAY} steps, medians of {s['turns']} turns (spread: interquartile range). The "
        f"machine reads {machine['read']:.1f} GB/s and copies {machine['copy']:.1f}. Memory does not count the imported "
        f"libraries, and private memory not the pages of the weights' file. Logits differ from transformers' by "
        f"{found['difference']:.0e} of their "
        f"spread at most; those of int8 from float32's by {drifted['rms']:.1%} (rms), and {drifted['same_argmax']:.1%} "
        f"of the likeliest codes are the same. {conditions_sentence(found)}",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--dimension", type=COUNT, default=Setting.dimension, show_default=True)
@click.option("--layers", type=COUNT, default=Setting.layers, show_default=True)
@click.option("--frames", type=COUNT, default=Setting.frames, show_default=True, help="Of each generation, 50 per second.")
@click.option("--turns", type=click.IntRange(2), default=Setting.turns, show_default=True)
@click.option("--seed", type=SEED, default=Setting.seed, show_default=True)
@click.option("--json", "target", type=NEW_FILE, help="Write the figures here too.")
def main(target: Path | None, **given: Any) -> None:
    """Compare the speed and memory of MusicGen with that of transformers."""
    found = measure(replace(Setting(), **given))
    click.echo(markdown(found))
    write_json(found, target)


if __name__ == "__main__":
    main()
