"""Long signals in windows: what is local gives the same as on the whole, and memory is bounded."""

import pytest
import torch
from ecdc.codec.diffusion.noise import BatchNoise
from ecdc.codec.diffusion.windows import Windows
from mbd_models import DIMENSION, codes_for, small_codec, small_model

SECONDS = 0.35  # of a window


class Local(torch.nn.Module):
    """What a norm would be without statistics: gains and offsets."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x):
        return 0.5 * x * self.weight[:, None] + self.bias[:, None]


def local_model(**options):
    """A decoder of which every layer is local."""
    model = small_model(**options)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, Local(child))
    return model


def latents(n_items, n_frames):
    return torch.randn(n_items, DIMENSION, n_frames, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("n_samples", [1, 99, 100, 149, 150, 151, 250, 1003])
@pytest.mark.parametrize(("context", "fade"), [(0, 0), (7, 0), (0, 25), (40, 10)])
def test_windows_cover_a_signal_and_see_their_context(n_samples, context, fade):
    windows = Windows(n_samples, 100, context, fade)
    seen = []
    wav = torch.arange(n_samples, dtype=torch.float64)

    def function(window, first):
        assert torch.equal(window, wav[first : first + len(window)])
        seen.append((first, first + len(window)))
        return window

    blocks = list(windows.apply(wav.split(33), function))
    assert torch.allclose(torch.cat(blocks), wav, rtol=0, atol=1e-9)
    assert seen == [windows.sees(i) for i in range(windows.count)]
    assert all(last - first < 150 + fade + 2 * context + fade for first, last in seen) and len(blocks) == windows.count
    assert windows.count == 1 or n_samples >= 150


def test_cross_fades_are_where_windows_meet_and_nowhere_else():
    windows = Windows(400, 100, 0, 10)
    numbers = iter(range(10))
    wav = torch.cat(list(windows.apply([torch.zeros(400)], lambda window, first: torch.full_like(window, next(numbers)))))
    for i in range(4):
        assert (wav[100 * i + 10 * (i > 0) : 100 * (i + 1) - 10 * (i < 3)] == i).all()
    assert ((wav[90:110] > 0) & (wav[90:110] < 1)).all() and (wav[90:110].diff() > 0).all()


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm"])
@pytest.mark.parametrize(
    "options", [{}, {"processor": True, "res_blocks": 2, "n_bands": 1}, {"sample_rate": 32_000, "depth": 3}]
)
def test_local_networks_give_in_windows_what_they_give_on_the_whole(sampler, options):
    """Convolutions, stretched conditions, samplers, noise and processors; cross-fades included."""
    model = local_model(**options)
    n_samples = 30_011
    z = latents(2, -(-n_samples // 320) if model.sample_rate == 24_000 else -(-n_samples // 640))
    given = {"steps": 4, "sampler": sampler, "seed": [5, 6]}
    whole = model.generate(z, n_samples, **given)
    blocks = list(model.generate_blocks(z, n_samples, window_seconds=0.25, **given))
    assert len(blocks) >= 3 and float(whole.std()) > 0.05
    assert torch.allclose(torch.cat(blocks, dim=-1), whole, rtol=0, atol=1e-4)


def test_norms_are_what_windows_change():
    """Their statistics are the window's: of a stationary signal much the same, of any signal not exactly."""
    model, z = small_model(n_bands=1), latents(1, 90)
    whole = model.generate(z, 28_800, steps=4, sampler="ddim")
    error = float((model.generate(z, 28_800, steps=4, sampler="ddim", window_seconds=SECONDS) - whole).std() / whole.std())
    assert 1e-4 < error < 0.05


@pytest.mark.parametrize("bottleneck", ["none", "transformer", "bilstm"])
def test_a_signal_of_one_window_is_decoded_as_a_whole(bottleneck):
    model = small_model(bottleneck=bottleneck, hidden=16, depth=2, growth=1.0)
    z = latents(1, 30)
    whole = model.generate(z, 9600, steps=3)
    assert torch.equal(model.generate(z, 9600, steps=3, window_seconds=0.4), whole)


@pytest.mark.parametrize(
    "options", [{}, {"bottleneck": "transformer", "cross_attention": True, "hidden": 16, "growth": 1.0, "depth": 3}]
)
def test_networks_see_windows_of_bounded_length_and_the_first_block_comes_early(options):
    """Whatever the length: nothing larger than a window and its contexts goes through a network."""
    model = small_model(n_bands=2, **options)
    sizes, calls, done = [], 2 * 2, []
    for band in model.bands:
        band.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-1]))
    limits = []
    for n_frames in (90, 150):
        sizes.clear()
        stream = model.generate_blocks(
            latents(1, n_frames),
            320 * n_frames,
            steps=2,
            window_seconds=SECONDS,
            progress=lambda now, total: done.append(total),
        )
        next(stream)
        n_windows = len(list(stream)) + 1
        assert len(sizes) == calls * n_windows == done[-1] and n_windows >= 2
        limits.append(max(sizes))
    assert limits[1] <= 1.5 * SECONDS * 24_000 + 4 * 480 + 2 * model.bands[0].unet.reach + 256
    stream = model.generate_blocks(latents(1, 3000), 320 * 3000, steps=2, window_seconds=SECONDS)
    sizes.clear()
    next(stream)
    assert len(sizes) <= calls * 5  # of some 120 windows


@pytest.mark.parametrize("options", [{}, {"depth": 3, "res_blocks": 2}, {"kernel_size": 6, "stride": 2, "depth": 3}])
def test_convolutions_reach_as_far_as_they_say(options):
    """A sample changes what lies within the reach, changes something beyond a quarter of it, and nothing farther away."""
    unet = local_model(n_bands=1, **options).bands[0].unet.double()
    x, z = torch.randn(1, 1, 8192, dtype=torch.float64), torch.randn(1, DIMENSION, 32, dtype=torch.float64)
    change = torch.zeros(8192, dtype=torch.bool)
    for place in range(4096, 4096 + unet.config.total_stride, 3):
        other = x.clone()
        other[..., place] += 1
        offset = place - 4096
        change |= ((unet(other, 500, z) - unet(x, 500, z))[0, 0] != 0).roll(-offset)
    far = int((change.nonzero()[:, 0] - 4096).abs().max())
    assert unet.reach / 4 < far <= unet.reach


def test_decoding_in_windows_includes_the_codecs_own_decoding():
    model, codec = local_model(n_bands=1), small_codec()
    codes = codes_for(codec, 1, 80)
    options = {"steps": 2, "sampler": "ddim"}
    whole = model.decode(codes, codec, **options)
    assert torch.allclose(model.decode(codes, codec, window_seconds=SECONDS, **options), whole, rtol=0, atol=1e-4)


def test_windows_that_cannot_be_are_refused():
    z = latents(1, 300)
    with pytest.raises(ValueError, match="window_seconds must be at least"):
        small_model().generate(z, 96_000, window_seconds=0.01)
    with pytest.raises(ValueError, match="differ by an odd number"):
        small_model(kernel_size=7).generate(z, 96_000, window_seconds=SECONDS)
    with pytest.raises(ValueError, match="BatchNoise draws for the whole signal"):
        small_model().generate(z, 96_000, window_seconds=SECONDS, seed=BatchNoise())
    with pytest.raises(ValueError, match="at least 4 fades"):
        Windows(1000, 100, 0, 30)
