"""Style: the encoder against torch's own layers, and that a model with one generates and loads."""

import pytest
import torch
from ecdc.plugins.musicgen import GREEDY, PUBLISHED, Guidance, Options, load
from ecdc.plugins.musicgen.style import CODEBOOK_SIZE, N_CODEBOOKS, N_FEATURES, WIDTH, StyleEncoder
from musicgen_models import tiny, write_package

STYLE = {"cross_attention": False, "style": True}
SECONDS = 32_000


def features(wav, sample_rate):
    """Stands for MERT: 75 vectors a second that depend on the audio."""
    frames = wav[: len(wav) // 400 * 400].reshape(-1, 400)
    basis = torch.randn(400, N_FEATURES, generator=torch.Generator().manual_seed(0))
    return (frames @ basis)[: int(len(wav) / sample_rate * 75)] / 20


@pytest.fixture(scope="module")
def model():
    model = tiny(**STYLE, text_dimension=768)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.lm.style.codebooks.copy_(torch.randn(N_CODEBOOKS * CODEBOOK_SIZE, WIDTH, generator=g))
        model.lm.style.mean.copy_(torch.randn(WIDTH, generator=g))
        model.lm.style.variance.copy_(torch.rand(WIDTH, generator=g) + 0.5)
    model.lm.style.features = features
    return model


def music(seed, n_samples=4 * SECONDS):
    return torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


def reference(style, x):
    """The same by torch's transformer layer, batch norm and distances."""
    x = torch.nn.functional.linear(x, style.embed.weight, style.embed.bias)[None]
    half = torch.arange(WIDTH // 2) / (WIDTH // 2 - 1)
    phase = torch.arange(x.shape[1])[:, None] / 10_000**half
    x = x + torch.cat([phase.cos(), phase.sin()], dim=1)
    for layer in style.layers:
        theirs = torch.nn.TransformerEncoderLayer(
            WIDTH, 8, 4 * WIDTH, 0.0, torch.nn.functional.gelu, batch_first=True, norm_first=True, bias=False
        ).eval()
        for ours, name in (("norm_self", "norm1"), ("norm_ff", "norm2")):
            norm = torch.nn.LayerNorm(WIDTH)
            norm.load_state_dict(getattr(layer, ours).state_dict())
            setattr(theirs, name, norm)
        theirs.self_attn.in_proj_weight, theirs.self_attn.out_proj.weight = (
            layer.attention.qkv.weight,
            layer.attention.out.weight,
        )
        theirs.linear1.weight, theirs.linear2.weight = layer.up.weight, layer.down.weight
        x = theirs(x)
    x = torch.nn.functional.batch_norm(x.transpose(1, 2), style.mean, style.variance).transpose(1, 2)[0]
    total = torch.zeros_like(x)
    for book in style.codebooks.view(N_CODEBOOKS, CODEBOOK_SIZE, WIDTH)[:3]:
        total = total + book[torch.cdist(x - total, book).argmin(1)]
    return total[::15]


@torch.no_grad()
def test_the_encoder_is_what_torch_layers_make_of_it(model):
    x = features(music(0, 3 * SECONDS), SECONDS)
    assert torch.allclose(model.lm.style(x), reference(model.lm.style, x), atol=1e-4)
    assert model.lm.style(x).shape == (15, WIDTH)


def test_a_batch_of_styles_is_its_single_runs(model):
    model._make_encoder = lambda: lambda prompt: torch.ones(len(prompt.split()) + 1, 768)
    prompts, styles = ["sad piano", None, "a waltz with drums"], [music(1), music(2), None]
    for guidance in (Guidance(), Guidance(text_scale=2.0), Guidance(two_step=True)):
        how = Options(seconds=0.13, sampling=GREEDY, guidance=guidance)
        together = model.generate(prompts, how, styles)
        for i, (prompt, style) in enumerate(zip(prompts, styles, strict=True)):
            assert torch.equal(together[i : i + 1], model.generate([prompt], how, [style]))
    assert not torch.equal(model.generate([None], how, styles[:1]), model.generate([None], how, styles[1:2]))


def test_a_package_with_a_style_encoder_is_the_model(model, tmp_path):
    loaded = load(write_package(model, tmp_path / "state_dict.bin"))
    assert loaded.config.style and loaded.lm.state_dict().keys() == model.lm.state_dict().keys()
    assert all(torch.equal(t, model.lm.state_dict()[k]) for k, t in loaded.lm.state_dict().items())
    with pytest.raises(ValueError, match=r"style\.features"):
        loaded.generate([None], Options(seconds=0.1), [music(1)])


def test_too_little_music_is_no_style(model):
    with pytest.raises(ValueError, match="3 s of audio, got 1 s"):
        model.generate([None], Options(seconds=0.1), [music(1, SECONDS)])
    assert isinstance(StyleEncoder(), torch.nn.Module) and PUBLISHED["musicgen-style"].dimension == 1536
