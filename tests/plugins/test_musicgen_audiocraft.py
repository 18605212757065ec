"""MusicGen, exactly: the codes of audiocraft's own language model on the same random weights, draw by draw."""

import audiocraft_lm
import pytest
import torch
from ecdc.plugins.musicgen import GREEDY, DelayPattern, Guidance, Options, Sampling
from ecdc.plugins.musicgen.conditioning import Conditioner
from musicgen_models import V, Words, tiny

KINDS = {
    "mono": {},
    "stereo": {"delays": (0, 0, 1, 1, 2, 2, 3, 3), "channels": 2},
    "melody": {"cross_attention": False, "n_chroma": 12, "chroma_frames": 9},
}
PROMPTS = ["a slow waltz with loud drums", None, "piano"]
N_FRAMES = 14
SAMPLINGS = (Sampling(top_k=10), Sampling(top_p=0.7, temperature=1.3), Sampling(top_k=0, temperature=0.8))


@pytest.fixture(scope="module")
def audiocraft():
    return audiocraft_lm.load()


@pytest.fixture(scope="module", params=KINDS)
def pair(request, audiocraft):
    """A function that runs audiocraft on some of the items, ours, and their melodies."""
    ours = tiny(**KINDS[request.param])
    theirs = audiocraft_lm.build(audiocraft, ours)
    melodies = [None] * 3
    if ours.config.n_chroma:
        time = torch.arange(90_000) / 32_000
        melodies = [torch.sin(2 * torch.pi * (250 + 300 * time[:n]) * time[:n]) for n in (40_000, 5_000, 90_000)]

    def run(items=slice(None), prompt=None, **how):
        conditions = audiocraft_lm.attributes(audiocraft, PROMPTS[items], melodies[items])
        with audiocraft_lm.stand_ins():  # it imports as it runs, too
            return theirs.generate(prompt=prompt, conditions=conditions, max_gen_len=N_FRAMES, **how)

    run.theirs, run.audiocraft = theirs, audiocraft
    return run, ours, melodies


def options(**how):
    return Options(seconds=(N_FRAMES + 0.5) / 50, **{"sampling": GREEDY} | how)


def known(ours, n_items):
    return torch.randint(0, V, (n_items, ours.config.n_codebooks, 5), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("delays", [(0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3), (0, 0, 0), (0, 2, 2, 5), (1, 2)])
def test_layouts(audiocraft, delays):
    codes = torch.arange(2 * len(delays) * 7).reshape(2, len(delays), 7)
    theirs = audiocraft.patterns.DelayedPatternProvider(len(delays), delays=list(delays)).get_pattern(7)
    ours = DelayPattern(delays, special=999)
    assert torch.equal(ours.spread(codes), theirs.build_pattern_sequence(codes, 999)[0])
    assert [ours.first_column(t) for t in range(7)] == [theirs.get_first_step_with_timesteps(t) for t in range(7)]


def test_logits(pair):
    run, ours, melodies = pair
    columns = ours.lm.pattern.spread(known(ours, 1))
    conditions = audiocraft_lm.attributes(run.audiocraft, PROMPTS[:1], melodies[:1])
    conditioner = Conditioner(ours.lm, Words(), PROMPTS[:1], melodies[:1])
    with torch.no_grad(), audiocraft_lm.stand_ins():
        expected = run.theirs(columns, conditions)
        logits = ours.lm(columns, conditions=conditioner.lay_out(conditioner.full))
    assert (logits - expected).abs().max() < 1e-5 and expected.std() > 0.1


def test_greedy_codes_of_a_batch_whose_padding_is_attended(pair):
    run, ours, melodies = pair
    attended = options(padding="attended")
    assert torch.equal(ours.generate(PROMPTS, attended, melodies), run(use_sampling=False))
    prompt = known(ours, 3)
    assert torch.equal(ours.generate(PROMPTS, attended, melodies, prompt_codes=prompt), run(prompt=prompt, use_sampling=False))


def test_guidance_in_two_steps(pair):
    run, ours, melodies = pair
    how = options(padding="attended", guidance=Guidance(two_step=True))
    assert torch.equal(ours.generate(PROMPTS, how, melodies), run(use_sampling=False, two_step_cfg=True))


@pytest.mark.parametrize("padding", ["masked", "attended"])
def test_each_item_alone_under_both_paddings(pair, padding):
    run, ours, melodies = pair
    for i, prompt in enumerate(PROMPTS):
        alone = ours.generate([prompt], options(padding=padding), melodies[i : i + 1])
        assert torch.equal(alone, run(slice(i, i + 1), use_sampling=False))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["top-k", "top-p", "all"])
def test_the_draws_of_a_seed(pair, sampling):
    run, ours, melodies = pair
    torch.manual_seed(9)
    expected = run(slice(1), temp=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p)
    assert torch.equal(ours.generate(PROMPTS[:1], options(sampling=sampling), melodies[:1], seeds=[9]), expected)
