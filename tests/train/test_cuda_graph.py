"""Training on a GPU: what its steps do without asking the host, checked on a CPU against the trainer of CPUs."""

import copy
import dataclasses

import pytest
import torch
from ecdc.codec.modules.depthwise import DepthwiseConvolution, TapByTap
from ecdc.codec.quantize.residual import ResidualVQ
from ecdc.train.codec import codebooks, cuda_graph, gpu_codebooks, gpu_trainer, loop, split_step
from ecdc.train.codec.checkpoints import save_checkpoint
from ecdc.train.codec.codebooks import CodebookTrainer
from ecdc.train.codec.state import Run
from ecdc.train.codec.step import row_samples, start_codebooks
from ecdc.train.data.packed_audio import PackedAudio
from ecdc.train.engine import muon

from .test_split_training import quantizer, split_recipe  # noqa: F401 - a fixture


@pytest.fixture
def exact(monkeypatch):
    """Products of the CPU trainer in float32."""
    monkeypatch.setattr(codebooks, "has_bfloat16", lambda: False)


def test_levels_are_tracked_alike(exact):
    levels, found = 8 * torch.randn(3, 20, 6) - 60, quantizer()
    wanted = split_step.code_levels(found, levels)
    codes, targets = gpu_codebooks.track_levels(found, levels)
    assert float((codes == wanted.codes).float().mean()) > 0.98  # rounding decides between entries that are as near
    same = (codes == wanted.codes).all(1).all(1)
    assert same.any() and torch.allclose(targets[same], wanted.wanted[same], atol=1e-3)


def trainer():
    torch.manual_seed(0)
    found = CodebookTrainer(ResidualVQ(4, 16, 5, scaled=True))
    found.quantizer.codebooks.normal_()
    found.quantizer.scales.uniform_(0.5, 1.5)
    found.continue_from_quantizer()
    return found


def test_shapes_are_quantized_alike(exact):
    found, latents = trainer(), torch.randn(6, 5, 9, requires_grad=True)
    counts = torch.tensor([4, 1, 0, 2, 3, 4])
    wanted = found(latents, counts)
    got = gpu_codebooks.quantize(found, latents, counts)
    assert torch.allclose(got[0], wanted[0], atol=1e-5) and torch.allclose(got[1], wanted[1], rtol=1e-4)
    for row, k in enumerate(counts):
        assert torch.equal(got[2][row, :k], wanted[2][row, :k])
    gradients = [torch.autograd.grad(x[1] + x[0].square().sum(), latents, retain_graph=True)[0] for x in (wanted, got)]
    assert torch.allclose(*gradients, atol=1e-5)


def test_codebooks_move_alike(exact):
    one, latents = trainer(), torch.randn(6, 5, 9)
    one.revive_below = 0.0  # which vector replaces a dead entry is a matter of chance
    two, counts = copy.deepcopy(one), torch.tensor([4, 1, 0, 2, 3, 4])
    codes = one(latents, counts)[2]
    one.learn(torch.Generator(), counts, latents, codes)
    gpu_codebooks.learn(two, counts, latents, codes)
    for name in ("counts", "sums", "squares"):
        assert torch.allclose(getattr(one, name), getattr(two, name), atol=1e-5), name
    assert torch.allclose(one.quantizer.codebooks, two.quantizer.codebooks, atol=1e-5)
    assert torch.allclose(one.quantizer.scales, two.quantizer.scales, atol=1e-5)


def test_dead_entries_become_vectors_in_use(exact):
    found = trainer()
    found.counts[2, 3] = 0.0
    latents, counts = torch.randn(4, 5, 9), torch.tensor([1, 1, 4, 1])
    codes = found(latents, counts)[2]
    codes[codes == 3] = 4
    residual = latents[2].T - found.quantizer.codebooks[0][codes[2, 0]]
    residual = residual / found.quantizer.scales[codes[2, 0], None] - found.quantizer.codebooks[1][codes[2, 1]]
    gpu_codebooks.learn(found, counts, latents, codes)
    assert float((residual - found.quantizer.codebooks[2, 3]).abs().amax(1).min()) < 1e-5


def test_a_convolution_tap_by_tap_is_the_convolution():
    shapes = (2, 12, 5), (5, 4), (5,)
    inputs = [torch.randn(*shape, requires_grad=True) for shape in shapes]
    results = [convolution.apply(*inputs) for convolution in (DepthwiseConvolution, TapByTap)]
    assert torch.allclose(*results, atol=1e-5)
    gradients = [torch.autograd.grad(x.square().sum(), inputs) for x in results]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))


def test_stacked_matrices_become_orthogonal():
    for shape in ((3, 8, 20), (2, 20, 8)):
        values = torch.linalg.svdvals(muon.orthogonal_stack(torch.randn(shape)))
        assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def device_audio(packed, n_samples):
    data = PackedAudio.open(packed, "train", n_samples)
    found = cuda_graph.DeviceAudio({g: len(x) for g, x in data.maps.items()}, torch.device("cpu"))
    for group, samples in data.maps.items():
        found.append(group, samples.copy())
    return data, found


def test_windows_lie_inside_of_their_group(split_recipe, packed):  # noqa: F811
    n_samples = row_samples(split_recipe)
    data, audio = device_audio(packed, n_samples)
    starts = audio.draw({}, (64, n_samples), (1, 2))
    for start in starts.flatten().tolist():
        group = max((g for g in audio.starts if audio.starts[g] <= start), key=audio.starts.get)
        assert start + n_samples <= audio.starts[group] + len(data.maps[group])
    windows = audio.windows(starts, n_samples)
    assert windows.shape == (64, 1, n_samples) and float(windows.abs().max()) <= 1


@pytest.mark.parametrize("on_host", [True, False])
def test_steps_learn(split_recipe, packed, monkeypatch, on_host):  # noqa: F811
    if not on_host:
        for module in (codebooks, split_step, muon):
            monkeypatch.setattr(module, "on_host", lambda tensor: False)
    recipe = dataclasses.replace(split_recipe, muon_learning_rate=0.01, average_decay=0.9, learning_rate=4e-3)
    data, audio = device_audio(packed, row_samples(recipe))
    run = Run.new(recipe)
    start_codebooks(run, data)
    run.codec.train()
    step, means = cuda_graph.GraphStep(run, audio), []
    for _ in range(3):
        for _ in range(10):
            step(cuda_graph.draw_inputs(run, audio, run.step))
        means.append(step.means(10))
    assert means[2]["mel_log"] < 0.95 * means[0]["mel_log"] and run.step == 30


def test_a_run_goes_on_on_a_cpu(split_recipe, packed, tmp_path):  # noqa: F811
    recipe = dataclasses.replace(split_recipe, steps=8, metric_steps=(2,), average_decay=0.9)
    data = PackedAudio.open(packed, "train", row_samples(recipe))
    run = Run.new(recipe)
    trainer = gpu_trainer.GpuTrainer(run, data, torch.device("cpu"))
    assert bool(run.codebooks.started)
    for _ in range(4):
        losses = trainer.take(trainer.draw(run.step))
        assert all(value == value for value in losses.values())
    save_checkpoint(run, tmp_path)
    again = loop.train(recipe, packed, tmp_path, report=lambda line: None)
    assert again.step == 8


@pytest.mark.parametrize("device", ["cuda"])
def test_a_machine_without_gpu_says_so(split_recipe, recipe, device, monkeypatch):  # noqa: F811
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU"):
        gpu_trainer.device_of(device, split_recipe)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="only split codecs"):
        gpu_trainer.device_of(device, recipe)
