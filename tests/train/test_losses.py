"""Losses: equal signals cost nothing, and the fast transform has the right gradient."""

import pytest
import torch
from ecdc.codec.modules.mel import mel_filterbank
from ecdc.train.codec.losses import _Spectrum, level_loss, reconstruction_losses, si_sdr


def test_the_gradient_of_the_spectrum():
    audio = torch.randn(2, 37, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: _Spectrum.apply(x, 8), audio)


def test_equal_signals_cost_nothing():
    x = torch.randn(2, 1, 4800)
    losses = reconstruction_losses(x, x.clone(), 24_000, (128, 512), (512,))
    assert all(value == 0 for value in losses.values())


def test_every_loss_grows_with_distance():
    x = torch.randn(2, 1, 4800)
    near, far = (reconstruction_losses(x + a * torch.randn_like(x), x, 24_000, (128, 512), (512,)) for a in (0.01, 0.5))
    assert all(far[name] > near[name] for name in near)


@pytest.mark.parametrize(("hz", "counts"), [(1000, True), (6000, False)])
def test_losses_that_know_phases_hear_nothing_above_their_frequency(hz, counts):
    x = 0.1 * torch.randn(1, 1, 9600, generator=torch.Generator().manual_seed(0))
    tone = 0.1 * torch.sin(2 * torch.pi * hz / 24_000 * torch.arange(9600))
    everywhere, below = (
        reconstruction_losses(x + tone, x, 24_000, (1024,), (1024,), waveform_hz=limit) for limit in (0.0, 3000.0)
    )
    for name in ("complex", "wave"):
        assert (below[name] > 0.5 * everywhere[name]) == counts and (counts or below[name] < 0.05 * everywhere[name])
    assert below["mel_log"] == everywhere["mel_log"]


def test_mel_filters_cover_the_band():
    filters = mel_filterbank(24_000, 1024, 160)
    assert filters.shape == (160, 513) and (filters >= 0).all()
    assert (filters.sum(0)[2:-2] > 0).all()


def test_si_sdr_ignores_scale_and_measures_noise():
    x = torch.randn(4, 1, 24_000)
    noise = torch.randn_like(x)
    assert si_sdr(3 * x, x).min() > 60
    assert torch.allclose(si_sdr(x + 0.1 * noise, x), torch.tensor(20.0), atol=0.3)


@pytest.mark.parametrize(("period", "hums"), [(320, True), (160, True), (347, False)])
def test_the_pulse_loss_hears_a_hum_at_the_frame_rate_alone(period, hums):
    generator = torch.Generator().manual_seed(0)
    target, estimate = (0.1 * torch.randn(4, 1, 48_000, generator=generator) for _ in range(2))
    pulsing = estimate * (1 + 0.5 * torch.sin(2 * torch.pi * torch.arange(48_000) / period))
    plain, pulse = (
        float(reconstruction_losses(x, target, 24_000, (128,), (), hop_length=320)["pulse"]) for x in (estimate, pulsing)
    )
    assert plain < 0.2 and (pulse > 4 * plain) == hums
    assert "pulse" not in reconstruction_losses(estimate, target, 24_000, (128,), ())


def test_the_pulse_loss_is_that_of_groups_of_eight_whatever_the_processes():
    generator = torch.Generator().manual_seed(0)
    target, estimate = (0.1 * torch.randn(16, 1, 12_000, generator=generator) for _ in range(2))

    def pulse(rows):
        return float(reconstruction_losses(estimate[rows], target[rows], 24_000, (128,), (), hop_length=320)["pulse"])

    whole, halves = pulse(slice(None)), [pulse(slice(0, 8)), pulse(slice(8, 16))]
    assert whole == pytest.approx(sum(halves) / 2, rel=1e-4)
    assert whole < 0.3 * pulse(slice(0, 1))  # the chance of single items averages out


def test_the_level_loss_hears_levels_and_not_where_sounds_lie():
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 24_000)
    assert level_loss(noise, noise, 24_000) == 0
    assert level_loss(0.5 * noise, noise, 24_000) == pytest.approx(0.301, abs=0.01)  # log10 of the ratio of magnitudes
    pulses = (torch.arange(24_000) % 240 < 24).float() * noise
    moved = pulses.roll(120, dims=-1)
    assert level_loss(moved, pulses, 24_000) < 0.5 * level_loss(0.3 * pulses, pulses, 24_000)
