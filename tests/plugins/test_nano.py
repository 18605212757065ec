"""musicgen-nano's kind: one network for mono and stereo, melodies by the column, windows, and its own folder."""

import json

import pytest
import torch
from ecdc.codec.errors import CheckpointError
from ecdc.plugins.musicgen import GREEDY, Guidance, MusicGenConfig, MusicGenLM, Options, Sampling, load
from ecdc.plugins.musicgen.chroma import chroma, frame_classes, melody_classes
from ecdc.plugins.musicgen.conditioning import Conditioner
from ecdc.plugins.musicgen.lm import Conditions
from ecdc.plugins.musicgen.model_folder import save
from ecdc.plugins.musicgen.transformer import sinusoids, turned
from musicgen_models import V, Words
from nano_models import FRAMES, KIND, RATE, nano, tone
from safetensors.torch import load_file, save_file

PROMPTS = ["a slow waltz with loud drums and sad piano", None, "piano", "sad piano"]
BOTH = pytest.mark.parametrize("channels", [1, 2])


def options(n_frames=10, sampling=GREEDY, **changes):
    return Options(seconds=(n_frames + 0.5) / FRAMES, sampling=sampling, **changes)


@pytest.fixture(scope="module")
def model():
    return nano()


def melodies():
    return [tone(262), tone(440, 0.05), None, tone(330, 0.3)]


@BOTH
@pytest.mark.parametrize("guidance", [Guidance(), Guidance(two_step=True), Guidance(text_scale=2.0)])
def test_every_item_of_a_batch_is_its_single_run(model, channels, guidance):
    how = options(sampling=Sampling(top_k=12), guidance=guidance, channels=channels)
    together = model.generate(PROMPTS, how, melodies(), [5, 6, 5, 8])
    for i, prompt in enumerate(PROMPTS):
        assert torch.equal(together[i : i + 1], model.generate([prompt], how, melodies()[i : i + 1], [[5, 6, 5, 8][i]]))
    assert together.shape == (4, 4 * channels, 10)
    assert len({tuple(item.flatten().tolist()) for item in together}) == 4


@BOTH
def test_streamed_frames_are_those_of_generate(model, channels):
    how = options(70, channels=channels)  # four windows
    blocks = list(model.stream(["piano"], how, [tone(300)]))
    assert {block.shape[2] for block in blocks} == {1}
    assert torch.equal(torch.cat(blocks, dim=2), model.generate(["piano"], how, [tone(300)]))


@BOTH
def test_a_continuation_begins_with_its_prompt_however_long(model, channels):
    whole = model.generate(["piano"], options(70, channels=channels), [tone(300)])
    for n in (1, 7, 29, 30, 31, 44, 45, 69):
        known = whole[..., :n]
        made = model.generate(["piano"], options(70), [tone(300)], prompt_codes=known)  # as many channels as the prompt has
        assert torch.equal(made[..., :n], known) and made.shape == whole.shape
    for n in (7, 16, 29):  # the first window was the same
        made = model.generate(["piano"], options(70), [tone(300)], prompt_codes=whole[..., :n])
        assert torch.equal(made, whole)


def test_mono_is_stereo_with_special_tokens_on_the_right(model):
    lm, c = model.lm, model.config
    mono = torch.randint(0, V + 1, (2, 4, 9), generator=torch.Generator().manual_seed(1))
    both = torch.stack([mono, torch.full_like(mono, c.special)], dim=2).flatten(1, 2)
    conditioner = Conditioner(lm, Words(), PROMPTS[:2], melodies()[:2])
    conditions = conditioner.lay_out(conditioner.full)
    with torch.no_grad():
        assert torch.allclose(lm(mono, conditions=conditions), lm(both, conditions=conditions)[:, ::2], atol=1e-5)
        state = lm.begin(conditions, 9, 2, 4)
        steps = torch.stack([lm.step(mono[..., i : i + 1], state) for i in range(9)], dim=2)
        assert torch.allclose(steps, lm(mono, conditions=conditions), atol=1e-5)
    assert steps.shape == (2, 4, 9, V)


def test_channels_that_a_model_does_not_make_are_refused(model):
    with pytest.raises(ValueError, match="makes 1 or 2 channels, got 3"):
        model.generate([None], options(channels=3))
    with pytest.raises(ValueError, match="makes stereo, got 1"):
        nano(mono=False).generate([None], options(channels=1))
    with pytest.raises(ValueError, match=r"\[1, 8, T\], got \(1, 4, 3\)"):
        model.generate([None], options(channels=2), prompt_codes=torch.zeros(1, 4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="4 or 8"):
        model.lm(torch.zeros(1, 5, 3, dtype=torch.int64))


@BOTH
def test_a_melody_changes_nothing_before_its_frame(model, channels):
    """And it does change the column from which its frame's first code is drawn."""
    lm = model.lm
    columns = torch.randint(0, V, (1, 4 * channels, 20), generator=torch.Generator().manual_seed(1))
    classes = torch.randint(-1, 12, (1, 30), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for delays in ((0, 0, 1, 1), (2, 2, 3, 3)):
            late = nano(delays=delays, n_layers=1).lm if delays[0] else lm
            tokens = columns[:, : late.config.rows(channels)]
            before = late(tokens, conditions=Conditions(added=late.embed_classes(classes)))
            for t in (0, 7, 15):
                other = classes.clone()
                other[:, t:] = (other[:, t:] + 2) % 12
                after = late(tokens, conditions=Conditions(added=late.embed_classes(other)))
                column = t + delays[0]  # where code t of the first codebook is drawn: it stands in the next one
                assert torch.equal(before[:, :, :column], after[:, :, :column])
                assert not torch.allclose(before[:, :, column], after[:, :, column], atol=1e-3)


def test_frames_hear_the_nearest_class():
    """Chroma frames are 2048 samples apart, the codec's 320; both are compared at their middles."""
    classes, hop = torch.arange(50), 2048 * FRAMES / RATE
    for start in (0, 33):
        found = frame_classes(classes, start, 100, hop, float("inf"))
        times = (torch.arange(start, start + 100) + 0.5) / FRAMES
        assert torch.equal(found, (times * RATE / 2048).round().long())
    assert torch.equal(frame_classes(classes, 0, 40, hop, 20), frame_classes(classes, 0, 20, hop, 20).repeat(2))


def test_silence_in_a_melody_is_no_melody(model):
    wav = torch.cat([tone(262), torch.zeros(RATE)])
    classes = melody_classes(wav, RATE, n_fft=8192)
    assert set(classes[:10].tolist()) == {0} and set(classes[-9:].tolist()) == {-1}
    heard = classes >= 0
    assert torch.equal(classes[heard], chroma(wav, RATE, n_fft=8192).argmax(1)[heard])
    assert torch.equal(model.generate(["piano"], options()), model.generate(["piano"], options(), [torch.zeros(RATE)]))
    assert not torch.equal(model.generate([None], options(25)), model.generate([None], options(25), [tone(262)]))


def test_windows_read_a_melody_from_where_they_stand():
    """Windows of the same melody everywhere are windows of its repetition."""
    model = nano()
    seen = []
    for start in (0, 15, 30):
        conditioner = Conditioner(model.lm, None, [None], [tone(262, 0.2)], start=start)
        seen.append(conditioner.lay_out(conditioner.full).added)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    changing = torch.cat([tone(262, 0.4), tone(392, 0.4)])
    first, later = (
        (c := Conditioner(model.lm, None, [None], [changing], start=start)).lay_out(c.full).added for start in (0, 15)
    )
    assert torch.equal(first[:, 15:], later[:, :15]) and not torch.equal(first, later)


def test_texts_are_as_long_as_the_model_wants(model):
    conditioner = Conditioner(model.lm, Words(), PROMPTS, [None] * 4)
    laid = conditioner.lay_out([*conditioner.full, *conditioner.null()])
    assert laid.prefix.shape[:2] == (8, KIND["text_tokens"]) and laid.prefix_padding is None and laid.added is None
    assert not laid.prefix[4:].any() and laid.prefix[2, :2].any() and not laid.prefix[2, 2:].any()


@BOTH
def test_guidance_of_one_is_the_conditions_alone(model, channels):
    """It runs one row, whose choices are those of the conditional logits."""
    how, rows, original = options(guidance=Guidance(1), channels=channels), [], MusicGenLM.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MusicGenLM, "step", lambda self, x, s: (rows.append(len(x)), original(self, x, s))[1])
        made = model.generate(["piano"], how, [tone(262)])
    assert set(rows) == {1}
    conditioner = Conditioner(model.lm, Words(), ["piano"], [tone(262)])
    pattern = model.lm.pattern_of(4 * channels)
    columns = pattern.spread(made)
    with torch.no_grad():
        logits = model.lm(columns[..., :-1], conditions=conditioner.lay_out(conditioner.full))
    first = logits.argmax(dim=-1)[:, :channels, :10]  # the first codebook of each channel, whose delay is 0
    assert torch.equal(first, made[:, :channels])
    assert torch.equal(made, model.generate(["piano"], how, [tone(262)]))


def test_a_saved_model_is_the_model(model, tmp_path):
    save(model.lm, tmp_path, dtype=torch.float32)
    loaded = load(tmp_path)
    assert loaded.config == model.config
    how = options(sampling=GREEDY)
    assert torch.equal(loaded.generate([None], how, [tone(262)]), model.generate([None], how, [tone(262)]))
    save(model.lm, tmp_path)  # half the size, and float32 again in memory
    rounded = load(tmp_path)
    assert all(tensor.dtype == torch.float32 for tensor in rounded.lm.state_dict().values())
    for name, tensor in rounded.lm.state_dict().items():
        assert torch.equal(tensor, model.lm.state_dict()[name].half().float())
    assert load(tmp_path, int8=True).generate([None], how).shape == (1, 4, 10)


def test_a_folder_that_is_no_model_is_refused(model, tmp_path):
    save(model.lm, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, wrong in (
        ({"n_layers": 3}, "has 2 layers, its config.json says 3"),
        ({"n_layers": 10**9}, "n_layers"),
        ({"dimension": 64}, r"embedding.weight must be"),
        ({"text_tokens": 10**12}, "text_tokens"),
        ({"max_seconds": float("nan")}, "max_seconds"),
        ({"melody_fusion": "cross"}, "melody_fusion"),
        ({"mono": False, "delays": [0, 1]}, "must be"),
        ({"delays": [0, 0, 1, 2, 3, 3, 3, 3]}, "mono"),
        ({"token_space": "zz"}, "token_space"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError, match=wrong):
            load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"surprise": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="surprise is not part of this model"):
        load(tmp_path)


def test_a_codec_of_another_token_space_is_refused(codec, tmp_path):
    own = {"codec": "random-24k", "token_space": codec.token_space.hex()}
    save(nano(**own).lm, tmp_path / "own")
    save(nano(**own | {"token_space": "ab" * 32}).lm, tmp_path / "other")
    model = load(tmp_path / "own")
    model.codec = codec
    assert model.decode(model.generate([None], options(channels=2))).shape == (1, 2, 10 * 320)
    assert model.token_space() == (codec.config, codec.token_space)
    other = load(tmp_path / "other")
    other.codec = codec
    with pytest.raises(CheckpointError, match=r"writes tokens of random-24k .*not of random-24k"):
        other.decode(torch.zeros(1, 4, 3, dtype=torch.int64))


def test_turned_vectors_tell_how_far_apart_they_are():
    """Products of the same two vectors depend on the distance of their places alone; a model of that kind knows no more."""
    a, b = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0)).expand(2, 40, 16)
    turns = sinusoids(40, 16)
    products = turned(a, turns) @ turned(b, turns).t()
    for distance in (-7, 0, 3):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1], atol=1e-4)
    assert products.std() > 0.1 and torch.allclose(turned(a, turns).norm(dim=1), a.norm(dim=1))


def test_published_models_are_as_before():
    c = MusicGenConfig("x")
    assert (c.mono, c.text_tokens, c.melody_fusion, c.chroma_window, c.stride_seconds) == (False, 0, "prefix", 16_384, 18.0)
    assert c.channels_for(None, None) == 1 and MusicGenConfig("x", delays=KIND["delays"], channels=2).channels_for(None, 4) == 2
