"""Generation: batch == single == streamed == continued, guidance, seeds, windows, eight bits."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from ecdc.plugins.musicgen import GREEDY, Guidance, MusicGenLM, Options, Sampling, int8_kernels
from ecdc.plugins.musicgen.conditioning import Conditioner
from ecdc.plugins.musicgen.linear import PACKED_ROWS, Int8Linear, Linear, quantized, to_int8
from ecdc.plugins.musicgen.lm import Conditions
from musicgen_models import V, Words, tiny

PROMPTS = ["a slow waltz with loud drums", None, "piano", "sad piano and drums"]
MELODY = {"cross_attention": False, "n_chroma": 12, "chroma_frames": 9}
KINDS = {
    "text": {},
    "stereo": {"delays": (0, 0, 1, 1, 2, 2, 3, 3), "channels": 2},
    "melody": MELODY,
    "parallel": {"delays": (0, 0, 0, 0)},
    "custom delays": {"delays": (0, 2, 2, 5)},
}
GUIDANCES = {"single": Guidance(), "two-step": Guidance(two_step=True), "double": Guidance(text_scale=2.0), "none": Guidance(1)}


def tone(frequency, n_samples=40_000):
    return torch.sin(2 * torch.pi * frequency / 32_000 * torch.arange(n_samples))


def options(n_frames=10, sampling=GREEDY, **changes):
    return Options(seconds=(n_frames + 0.5) / 50, sampling=sampling, **changes)


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return tiny(**KINDS[request.param])


def melodies_for(model):
    return [tone(262), tone(440, 5_000), None, tone(330, 90_000)] if model.config.n_chroma else [None] * 4


@pytest.mark.parametrize("guidance", GUIDANCES.values(), ids=GUIDANCES)
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(top_k=12)], ids=["greedy", "sampled"])
def test_every_item_of_a_batch_is_its_single_run(model, guidance, sampling):
    how, melodies, seeds = options(sampling=sampling, guidance=guidance), melodies_for(model), [5, 6, 5, 8]
    together = model.generate(PROMPTS, how, melodies, seeds)
    for i, prompt in enumerate(PROMPTS):
        alone = model.generate([prompt], how, melodies[i : i + 1], seeds[i : i + 1])
        assert torch.equal(together[i : i + 1], alone), prompt
    assert len({tuple(item.flatten().tolist()) for item in together}) == len(PROMPTS)


def test_attended_padding_makes_an_item_depend_on_its_batch():
    """The original's behaviour, kept by name."""
    for kind in ("text", "melody"):
        model = tiny(**KINDS[kind])
        for padding, equal in (("attended", False), ("masked", True)):
            logits = [first_logits(model, prompts, padding)[-1] for prompts in (PROMPTS, PROMPTS[2:3])]
            logits[0] = first_logits(model, PROMPTS, padding)[2]
            assert torch.allclose(*logits, atol=1e-5) is equal, (kind, padding)


def first_logits(model, prompts, padding):
    conditioner = Conditioner(model.lm, Words(), prompts, [None] * len(prompts), padding)
    start = torch.full((len(prompts), model.config.n_codebooks, 1), model.config.special)
    with torch.no_grad():
        return model.lm(start, conditions=conditioner.lay_out(conditioner.full))


def test_a_single_item_is_the_same_under_both_paddings(model):
    melodies = melodies_for(model)[:1]
    codes = [model.generate(PROMPTS[:1], options(padding=padding), melodies) for padding in ("masked", "attended")]
    assert torch.equal(*codes)


def test_streamed_frames_are_those_of_generate_and_leave_at_once(model, monkeypatch):
    steps = []
    original = MusicGenLM.step
    monkeypatch.setattr(MusicGenLM, "step", lambda self, *a: (steps.append(1), original(self, *a))[1])
    seen = [(block, len(steps)) for block in model.stream(["piano"], options(12))]
    longest = model.config.delays[-1]
    assert [count for _, count in seen] == [longest + 1 + i for i in range(12)]  # one frame a step, after the longest delay
    assert torch.equal(torch.cat([block for block, _ in seen], dim=2), model.generate(["piano"], options(12)))


def test_steps_with_a_state_give_the_logits_of_the_whole(model):
    columns = torch.randint(0, V + 1, (4, model.config.n_codebooks, 11), generator=torch.Generator().manual_seed(1))
    conditioner = Conditioner(model.lm, Words(), PROMPTS, melodies_for(model))
    conditions = conditioner.lay_out(conditioner.full)
    with torch.no_grad():
        whole = model.lm(columns, conditions=conditions)
        for cuts in ([1] * 11, [4, 1, 6], [11]):
            state = model.lm.begin(conditions, 11, 4)
            parts = [model.lm(part, state) for part in columns.split(cuts, dim=2)]
            assert torch.allclose(torch.cat(parts, dim=2), whole, atol=1e-5)
    state = model.lm.begin(conditions, 4, 4)
    with pytest.raises(ValueError, match="columns"):
        model.lm(columns, state)


def test_greedy_continuation_is_what_generation_would_have_made(model):
    whole = model.generate(["piano"], options(14))
    known = whole[..., :6]
    assert torch.equal(model.generate(["piano"], options(14), prompt_codes=known), whole)


def test_no_melody_is_the_melody_of_silence():
    model = tiny(**MELODY)
    silent = torch.zeros(1, 30_000)
    assert torch.equal(model.generate(["piano"], options()), model.generate(["piano"], options(), list(silent)))
    conditioner = Conditioner(model.lm, Words(), ["piano"], [None])
    prefix = conditioner.lay_out(conditioner.full).prefix
    assert prefix.shape[1] == MELODY["chroma_frames"] + 2  # "piano" and the end
    assert prefix[0, 0].abs().sum() > 0


def test_guidance_mixes_as_the_paper_says():
    full, melody, null = torch.randn(3, 2, 4, V)
    assert torch.equal(Guidance(2.5).mix([full, null]), null + 2.5 * (full - null))
    double = Guidance(2.5, text_scale=1.5).mix([full, melody, null])
    assert torch.allclose(double, null + 2.5 * (melody + 1.5 * (full - melody) - null))
    assert torch.allclose(Guidance(2.5, text_scale=1).mix([full, melody, null]), Guidance(2.5).mix([full, null]), atol=1e-5)


def test_guidance_computes_no_rows_that_do_not_count(monkeypatch):
    model, rows = tiny(), []
    original = MusicGenLM.step
    monkeypatch.setattr(MusicGenLM, "step", lambda self, x, s: (rows.append(len(x)), original(self, x, s))[1])
    for prompt, guidance, expected in (
        ("piano", Guidance(), {2}),
        ("piano", Guidance(1), {1}),
        (None, Guidance(), {1}),
        ("piano", Guidance(two_step=True), {1}),
        ("piano", Guidance(text_scale=2), {3}),
    ):
        rows.clear()
        model.generate([prompt], options(3, guidance=guidance))
        assert set(rows) == expected


def test_guidance_matters():
    model = tiny()
    codes = [model.generate(["piano"], options(guidance=Guidance(scale))) for scale in (1, 3, 6)]
    assert not torch.equal(codes[0], codes[1]) and not torch.equal(codes[1], codes[2])


@pytest.mark.parametrize("kind", ["text", "melody"])
def test_windows_continue_each_other(kind):
    """Long generation is generation from the end of the window before, melody and all."""
    model = tiny(**KINDS[kind], max_seconds=0.4)
    window, stride, total = 20, 12, 45
    melody = tone(262, 20_000) if kind == "melody" else None
    if melody is not None:
        melody[9_000:] = tone(392, 11_000)

    def heard(start):  # the melody repeats for as long as a window
        return None if melody is None else melody.repeat(3)[int(start / 50 * 32_000) :][: int(0.4 * 32_000)]

    expected = model.generate(["piano"], options(window), [heard(0)])
    start = stride
    while expected.shape[2] < total:
        n_frames = min(total - start, window)
        known = expected[..., start:]
        made = model.generate(["piano"], options(n_frames), [heard(start)], prompt_codes=known)
        expected, start = torch.cat([expected, made[..., known.shape[2] :]], dim=2), start + stride
    long = options(total, stride_seconds=stride / 50)
    assert torch.equal(model.generate(["piano"], long, [melody]), expected)
    assert expected.shape[2] == total


def test_seeds_decide():
    model, how = tiny(), options(sampling=Sampling(top_k=0))
    first, again, other = (model.generate(["piano"], how, seeds=[seed]) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    twins = model.generate(["piano"] * 2, how)
    assert not torch.equal(*twins)  # by default every item has a seed of its own


def test_choices_keep_to_their_limits():
    logits = torch.randn(1, 500, 16, generator=torch.Generator().manual_seed(0)).mul(2)
    generators = [torch.Generator().manual_seed(0)]
    assert torch.equal(Sampling(top_k=1)(logits, generators), logits.argmax(-1))
    assert torch.equal(Sampling(temperature=1e-4)(logits, generators), logits.argmax(-1))
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    chosen = ranks.gather(-1, Sampling(top_k=3)(logits, generators)[..., None])
    assert set(chosen.flatten().tolist()) == {0, 1, 2}
    p = logits.softmax(-1)
    drawn = Sampling(top_p=0.6)(logits, generators)[..., None]
    before = (p * (p > p.gather(-1, drawn))).sum(-1)  # the share of likelier ones
    assert before.max() <= 0.6 and before.max() > 0.3
    ties = torch.zeros(1, 500, 4)
    assert set(Sampling(top_k=1)(ties, generators).flatten().tolist()) == {0, 1, 2, 3}  # equals stay in


def test_what_does_not_fit_is_refused():
    model = tiny()
    known = torch.zeros(1, 4, 10, dtype=torch.int64)
    for wrong, arguments in (
        ("leaves nothing", {"prompt_codes": known}),
        (r"\[1, 4, T\]", {"prompt_codes": known[:, :2, :3]}),
        ("lie in", {"prompt_codes": known[..., :3] + V}),
        ("takes no melodies", {"melodies": [tone(440)]}),
        ("as many", {"seeds": [1, 2]}),
        ("stride_seconds", {"options": options(2000, stride_seconds=31)}),
        ("padding", {"options": options(padding="none")}),
    ):
        with pytest.raises(ValueError, match=wrong):
            model.generate(["piano"], **{"options": options()} | arguments)
    with pytest.raises(ValueError, match="mono audio"):
        tiny(**MELODY).generate(["piano"], options(), [tone(440)[None]])
    with pytest.raises(ValueError, match="no text encoder"):
        tiny(text_dimension=0).generate(["piano"], options())
    for bad in ({"top_k": -1}, {"top_p": 1.5}, {"temperature": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Sampling(**bad)


def test_eight_bits_drift_little():
    """Of the spread of logits, a fortieth in the mean and an eighth at most; nineteen of twenty best codes stay."""
    model = tiny(n_layers=6, dimension=128, n_heads=2, ff_dimension=512)
    small = copy.deepcopy(model).to_int8()
    columns = torch.randint(0, V, (2, 4, 40), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        exact = model.lm(columns)
        state = small.lm.begin(Conditions(), 40, 2)
        packed = torch.stack([small.lm.step(columns[..., i : i + 1], state) for i in range(40)], dim=2)
        unpacked = small.lm(columns)
    for drifted in (packed, unpacked):
        drift = (drifted - exact) / exact.std()
        assert 0 < drift.square().mean().sqrt() < 0.025
        assert drift.abs().max() < 0.125
        assert (drifted.argmax(-1) == exact.argmax(-1)).float().mean() > 0.95
    assert small.generate(["piano"], options()).shape == (1, 4, 10)


def test_eight_bit_products_are_those_of_their_integers():
    layer = Linear(64, 48)
    small = to_int8(torch.nn.Sequential(copy.deepcopy(layer)))[0]
    assert isinstance(small, Int8Linear)
    integers, scales = quantized(layer.weight.detach())
    weight = integers.float() * scales.float()[:, None]
    assert (weight - layer.weight).abs().max() <= 0.51 * layer.weight.abs().amax() / 127 + 0.005 * layer.weight.abs().amax()
    for n_rows in (1, PACKED_ROWS, PACKED_ROWS + 1):
        x = torch.randn(n_rows, 64)
        assert torch.allclose(small(x), x @ weight.T, atol=0.02 * float((x @ weight.T).abs().max()))


def test_inputs_in_sixteen_bits():
    """Two bytes of each are its nearest step; their products, put together, are those of the steps."""
    x = np.random.default_rng(0).standard_normal((3, 130)).astype(np.float32) * np.float32([[1e-6], [1.0], [1e6]])
    x[1, 5] = 0
    pairs, largest = np.empty((2, 3, 130), np.uint8), np.empty(3, np.float32)
    int8_kernels.split(x, pairs, largest)
    low, high = pairs.astype(np.int64) - 128
    step = np.abs(x).max(axis=1, keepdims=True) / int8_kernels.LARGEST
    assert np.allclose((256 * high + low) * step, x, rtol=0, atol=0.51 * step) and (np.abs(x).max(axis=1) == largest).all()
    products = np.random.default_rng(1).standard_normal((6, 20)).astype(np.float32)
    expected = (products[:3] + 256 * products[3:]) * largest[:, None]
    int8_kernels.join(products, largest)
    assert np.allclose(products[:3], expected, rtol=1e-6)
    int8_kernels.split(np.zeros((1, 4), np.float32), pairs[:, :1, :4], largest)
    assert (pairs[:, :1, :4] == 128).all()


def test_gradients_flow_without_a_state():
    lm = tiny().lm.requires_grad_(True)
    lm(torch.zeros(1, 4, 5, dtype=torch.int64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lm.layers[0].attention.parameters())


def test_options_are_plain_values():
    how = Options()
    assert (how.sampling.top_k, how.guidance.scale, how.stride(tiny().lm)) == (250, 3.0, 18 * 50)
    assert dataclasses.replace(how, seconds=5).seconds == 5
