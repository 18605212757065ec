"""Samplers on a problem with a known answer, and the noise that they draw."""

import math

import pytest
import torch
from ecdc.codec.diffusion.config import ScheduleConfig
from ecdc.codec.diffusion.noise import BLOCK, ItemNoise
from ecdc.codec.diffusion.sampler import SAMPLERS, plan
from ecdc.codec.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule(ScheduleConfig())
DEVIATION = 0.3  # of the signal, which is white and Gaussian


def run(sampler, steps, x, schedule=SCHEDULE):
    """Sample with the network that a perfect training on Gaussian signals would give."""
    exact = (1 - schedule.betas.double()).cumprod(dim=0)
    generator = torch.Generator().manual_seed(1)
    scale, n_channels = schedule.config.noise_scale, x.shape[1]
    state = scale * x
    for call in plan(sampler, schedule, steps):
        a, now = float(exact[call.time]), state[:, :n_channels]
        estimate = math.sqrt(1 - a) * scale**2 * now / (a * DEVIATION**2 + (1 - a) * scale**2)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) if call.noisy else None
        state = call.advance(state, estimate, noise)
    return state


def test_the_published_times_are_the_default():
    assert SCHEDULE.times(20) == list(range(999, 0, -50))
    assert [call.time for call in plan("ancestral", SCHEDULE, 20)] == SCHEDULE.times(20)
    assert not plan("ancestral", SCHEDULE, 20)[-1].noisy and plan("ancestral", SCHEDULE, 20)[-2].noisy


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 19, 50, 333, 998, 999])
def test_times_descend_and_stay_above_zero(steps):
    times = SCHEDULE.times(steps)
    assert len(times) == steps and times == SCHEDULE.times(times) and times[0] == 999 and times[-1] > 0


@pytest.mark.parametrize("steps", [0, 1000, -1, [], [5, 5], [3, 4], [1000, 1], [7, 0]])
def test_impossible_steps_are_refused(steps):
    with pytest.raises(ValueError, match="steps must"):
        SCHEDULE.times(steps)


def test_unknown_samplers_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="ancestral, ddim, dpm, got 'euler'"):
        plan("euler", SCHEDULE, 10)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm", 2)])
def test_samplers_of_the_flow_converge_with_their_order(sampler, order):
    """The flow takes x to x * d / sqrt(a d^2 + 1 - a); halving the steps of log(a/s) divides the error by 2^order."""
    x = torch.full((1, 1, 1), 0.7, dtype=torch.float64)
    a = (1 - SCHEDULE.betas.double()).cumprod(dim=0)
    end, even = 3, (a.sqrt() / (1 - a).sqrt()).log()
    errors = []
    for n in (16, 32, 64):
        targets = torch.linspace(float(even[999]), float(even[end]), n, dtype=torch.float64)
        times = sorted({int((even - t).abs().argmin()) for t in targets}, reverse=True)
        true = 0.7 * DEVIATION / math.sqrt(float(a[999]) * DEVIATION**2 + 1 - float(a[999]))
        errors.append(abs(float(run(sampler, times, x)) - true))
    assert errors[0] > errors[1] > errors[2]
    rate = math.log2(errors[0] / errors[2]) / 2
    assert rate > order - 0.1, (errors, rate)


def test_dpm_solver_is_nearer_to_the_flow_than_ddim_at_the_same_steps():
    x = torch.randn(1, 1, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fine = run("ddim", 999, x)
    for steps in (6, 10, 20):
        assert (run("dpm", steps, x) - fine).abs().mean() < 0.6 * (run("ddim", steps, x) - fine).abs().mean()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_arrives_at_the_signals_deviation(sampler):
    x = torch.randn(1, 2, 50_000, generator=torch.Generator().manual_seed(0))
    for schedule in (SCHEDULE, NoiseSchedule(ScheduleConfig(noise_scale=0.8))):
        found = run(sampler, 100, x, schedule)
        assert found.shape == x.shape
        assert float(found.std()) == pytest.approx(DEVIATION, rel=0.1)


def test_rescaled_signals_come_back_at_their_own_scale():
    """Training divides signals by `rescale`; the published sampler leaves them so, the others undo it."""
    x = torch.randn(1, 1, 1000, generator=torch.Generator().manual_seed(0))
    rescaled = NoiseSchedule(ScheduleConfig(rescale=2.0))
    for sampler, factor in [("ancestral", 1), ("ddim", 2), ("dpm", 2)]:
        assert torch.allclose(run(sampler, 10, x, rescaled), factor * run(sampler, 10, x), rtol=1e-5, atol=1e-6)


def test_samples_are_clipped():
    tight = NoiseSchedule(ScheduleConfig(clip=0.05))
    for sampler in SAMPLERS:
        assert float(run(sampler, 10, torch.randn(1, 1, 100), tight).abs().max()) <= 0.05 + 1e-6


def test_noise_depends_on_seed_band_call_and_place_only():
    noise = ItemNoise([7, 8])
    whole = noise.draw(1, 2, 0, torch.empty(2, 1, 3 * BLOCK))
    for first, last in [(0, 1), (5, BLOCK + 3), (BLOCK, 2 * BLOCK), (BLOCK - 1, 3 * BLOCK)]:
        assert torch.equal(noise.draw(1, 2, first, torch.empty(2, 1, last - first)), whole[..., first:last])
    assert torch.equal(ItemNoise([8]).draw(1, 2, 0, torch.empty(1, 1, 100))[0], whole[1, :, :100])
    for other in (noise.draw(0, 2, 0, whole), noise.draw(1, 3, 0, whole), whole.flip(0), whole.roll(BLOCK, -1)):
        correlation = float((other * whole).mean())
        assert abs(correlation) < 0.02
    assert abs(float(whole.mean())) < 0.02 and float(whole.std()) == pytest.approx(1, abs=0.01)
    two = noise.draw(0, 0, 0, torch.empty(2, 2, BLOCK))
    assert abs(float((two[:, 0] * two[:, 1]).mean())) < 0.03


def test_seeds_come_from_a_number_a_list_or_a_generator():
    like = torch.empty(3, 1, 50)
    one, many = ItemNoise.of(4, 3).draw(0, 0, 0, like), ItemNoise.of([4, 5, 4], 3).draw(0, 0, 0, like)
    assert torch.equal(one[0], one[1]) and torch.equal(many[0], many[2]) and not torch.equal(many[0], many[1])
    drawn = [ItemNoise.of(torch.Generator().manual_seed(1), n).draw(0, 0, 0, like[:n]) for n in (3, 2)]
    assert torch.equal(drawn[0][:2], drawn[1]) and not torch.equal(drawn[1][0], drawn[1][1])
    streams = ItemNoise.of([1, 2], 2).draw(0, 0, 0, torch.empty(4, 1, 50))
    assert torch.equal(streams[0], streams[1]) and not torch.equal(streams[1], streams[2])
    for wrong in ([1, 2], [-1, 0, 1]):
        with pytest.raises(ValueError, match="seed"):
            ItemNoise.of(wrong, 3)
