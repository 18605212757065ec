"""MusicGen, exactly: the logits and codes of transformers on the same random weights."""

import pytest
import torch
from ecdc.plugins.musicgen import GREEDY, Guidance, Options, Sampling, load
from ecdc.plugins.musicgen.generate import branches
from musicgen_models import V, codes_of, transformers_model, write_transformers

pytest.importorskip("transformers")
PROMPT = "a slow waltz with loud drums"
N_FRAMES = 24


@pytest.fixture(scope="module", params=["mono", "stereo", "melody"])
def pair(request, tmp_path_factory):
    """transformers' model, ours from its folder, and the token ids of PROMPT."""
    theirs = transformers_model(request.param)
    ours = load(write_transformers(theirs, tmp_path_factory.mktemp(request.param)))
    ids = ours._text_encoder(True).tokenizer(PROMPT, return_tensors="pt")
    return theirs, ours, ids


def greedy(scale):
    return Options(seconds=N_FRAMES / 50, sampling=GREEDY, guidance=Guidance(scale))


def prompt_codes(ours, n_frames=7):
    return torch.randint(0, V, (1, ours.config.n_codebooks, n_frames), generator=torch.Generator().manual_seed(3))


def conditions(ours, prompts, melodies=None, padding="masked"):
    from ecdc.plugins.musicgen.conditioning import Conditioner

    encoder = ours._text_encoder(True)
    conditioner = Conditioner(ours.lm, encoder, prompts, melodies or [None] * len(prompts), padding)
    return conditioner.lay_out(conditioner.full)


def test_logits_of_a_whole_sequence(pair):
    theirs, ours, ids = pair
    columns = ours.lm.pattern.spread(prompt_codes(ours, 20))
    with torch.no_grad():
        logits = ours.lm(columns, conditions=conditions(ours, [PROMPT]))[0]
        expected = theirs(**ids, decoder_input_ids=columns[0]).logits[:, -columns.shape[2] :]
    assert (logits - expected).abs().max() < 1e-5
    assert expected.std() > 0.1  # or they would agree about nothing


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_greedy_codes(pair, scale):
    theirs, ours, ids = pair
    expected = codes_of(theirs, N_FRAMES, **ids, do_sample=False, guidance_scale=scale)
    assert torch.equal(ours.generate([PROMPT], greedy(scale)), expected)
    assert len(expected.unique()) > 8


def test_greedy_codes_that_continue_a_prompt(pair):
    theirs, ours, ids = pair
    known = prompt_codes(ours)
    expected = codes_of(theirs, N_FRAMES, **ids, do_sample=False, guidance_scale=3.0, decoder_input_ids=known[0])
    continued = ours.generate([PROMPT], greedy(3.0), prompt_codes=known)
    assert torch.equal(continued, expected) and torch.equal(continued[..., : known.shape[2]], known)


def test_sampled_codes_of_one_seed(pair):
    theirs, ours, ids = pair
    options = Options(seconds=N_FRAMES / 50, sampling=Sampling(top_k=20, temperature=1.2))
    torch.manual_seed(11)
    expected = codes_of(theirs, N_FRAMES, **ids, do_sample=True, top_k=20, temperature=1.2, guidance_scale=3.0)
    assert torch.equal(ours.generate([PROMPT], options, seeds=[11]), expected)


def test_a_batch_of_unequal_prompts(pair):
    theirs, ours, _ = pair
    prompts = [PROMPT, "sad piano"]
    tokenizer = ours._text_encoder(True).tokenizer
    ids = tokenizer(prompts, return_tensors="pt", padding=True)
    expected = codes_of(theirs, N_FRAMES, **ids, do_sample=False, guidance_scale=3.0)
    # transformers masks padding in cross-attention and, like the original, attends to it in a prefix.
    padding = "masked" if ours.config.cross_attention else "attended"
    options = Options(seconds=N_FRAMES / 50, sampling=GREEDY, padding=padding)
    assert torch.equal(ours.generate(prompts, options), expected)


def test_unconditional_codes(pair):
    theirs, ours, _ = pair
    if not ours.config.cross_attention:
        pytest.skip("transformers' own unconditional inputs are of models with cross-attention")
    inputs = theirs.get_unconditional_inputs(num_samples=1)
    arguments = {"encoder_outputs": inputs.encoder_outputs, "attention_mask": inputs.attention_mask, "guidance_scale": 1.0}
    expected = codes_of(theirs, N_FRAMES, **arguments, do_sample=False)
    assert torch.equal(ours.generate([None], greedy(3.0)), expected)


def test_codec_and_text_encoder_of_the_checkpoint(pair):
    theirs, ours, ids = pair
    with torch.no_grad():
        assert torch.allclose(ours._text_encoder(True)(PROMPT), theirs.text_encoder(**ids)[0][0], atol=1e-6)
    codes = ours.generate([PROMPT], greedy(1.0))
    with torch.no_grad():
        expected = [theirs.audio_encoder.decode(rows[None], [None]).audio_values for rows in ours.streams(codes)]
    assert torch.allclose(ours.decode(codes), torch.cat(expected, dim=1), atol=1e-5)


def test_a_melody(tmp_path):
    theirs = transformers_model("melody", seed=1)
    ours = load(write_transformers(theirs, tmp_path))
    extractor = pytest.importorskip("transformers").MusicgenMelodyFeatureExtractor()
    time = torch.arange(70_000) / 32_000
    wav = torch.sin(2 * torch.pi * (220 + 200 * time) * time) + 0.1 * torch.randn(
        len(time), generator=torch.Generator().manual_seed(0)
    )
    features = extractor(wav.numpy(), sampling_rate=32_000, return_tensors="pt")["input_features"]
    ids = ours._text_encoder(True).tokenizer(PROMPT, return_tensors="pt")
    columns = ours.lm.pattern.spread(prompt_codes(ours, 20))
    with torch.no_grad():
        logits = ours.lm(columns, conditions=conditions(ours, [PROMPT], [wav]))[0]
        expected = theirs(**ids, input_features=features, decoder_input_ids=columns[0]).logits[:, -columns.shape[2] :]
        silent = ours.lm(columns, conditions=conditions(ours, [PROMPT]))[0]
    assert (logits - expected).abs().max() < 1e-5
    assert (logits - silent).abs().max() > 0.1
    codes = ours.generate([PROMPT], greedy(3.0), melodies=[wav])
    assert torch.equal(codes, codes_of(theirs, N_FRAMES, **ids, input_features=features, do_sample=False, guidance_scale=3.0))


def test_the_decoder_alone(tmp_path):
    """MusicgenForCausalLM as a checkpoint of its own, without text."""
    theirs = transformers_model("mono", seed=2).decoder
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path)
    assert ours.config.text_dimension == 0 and ours.codec is None
    columns = ours.lm.pattern.spread(prompt_codes(ours, 12))
    with torch.no_grad():
        assert (ours.lm(columns)[0] - theirs(columns[0]).logits).abs().max() < 1e-5
    assert len(branches_of(ours)) == 1


def branches_of(ours):
    from ecdc.plugins.musicgen.conditioning import Conditioner

    return branches(Conditioner(ours.lm, None, [None], [None]), Options())
