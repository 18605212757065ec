"""What all trainers share: the schedule, the averages of weights, and the optimizers with their states."""

import copy
import signal
from types import SimpleNamespace

import pytest
import torch
from ecdc.train.engine import stopping
from ecdc.train.engine.averaging import average_share, move_averages
from ecdc.train.engine.optimizers import Optimizers
from ecdc.train.engine.schedule import rate_share
from ecdc.train.engine.steps import take_steps


def test_the_rate_rises_stays_and_falls_to_zero():
    shares = [rate_share(step, 20, 4, 5) for step in range(21)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0] and set(shares[4:15]) == {1.0}
    assert shares[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert {rate_share(step, 20, 0, 0) for step in range(20)} == {1.0}
    assert rate_share(30, 20, 4, 5) == 0.0


def test_an_average_leaves_its_start_and_follows_its_value():
    mean, share = torch.zeros(3), [average_share(0.99, step) for step in range(2000)]
    assert share == sorted(share, reverse=True) and share[-1] == pytest.approx(0.01)
    for one in share:
        move_averages([mean], [torch.ones(3)], one)
    assert torch.allclose(mean, torch.ones(3))


def test_a_share_in_a_tensor_moves_averages_alike():
    values, means = ([torch.randn(4, 3), torch.randn(5)] for _ in range(2))
    others = copy.deepcopy(means)
    move_averages(means, values, 0.25)
    move_averages(others, values, torch.tensor(0.25))
    assert all(torch.allclose(a, b) for a, b in zip(means, others, strict=True))


def make(parameters):
    matrix, vector, own = parameters
    return Optimizers([matrix], [vector], (0.02, 0.01), (0.9, 0.99), 0.01, [own], 0.001)


def steps(parameters, optimizers, first, last):
    for step in range(first, last):
        optimizers.zero_grad()
        sum((p - step).square().sum() for p in parameters).backward()
        optimizers.step(rate_share(step, 6, 2, 3))


def test_loaded_optimizers_go_on_to_the_bit():
    torch.manual_seed(0)
    start = [torch.randn(4, 6), torch.randn(5), torch.randn(3)]
    whole, first = ([x.clone().requires_grad_() for x in start] for _ in range(2))
    steps(whole, make(whole), 0, 6)
    before = make(first)
    steps(first, before, 0, 3)
    assert sorted(before.state_dict()["state"]) == [0, 1, 2]
    after = make(first)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    steps(first, after, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole, first, strict=True))


def test_each_part_has_its_own_rate():
    parameters = [torch.randn(4, 6).requires_grad_(), torch.randn(5).requires_grad_(), torch.randn(3).requires_grad_()]
    optimizers = make(parameters)
    steps(parameters, optimizers, 0, 1)
    assert [part.param_groups[0]["lr"] for part in optimizers] == pytest.approx([0.005, 0.01, 0.0005])
    assert {id(p) for p in optimizers.parameters()} == {id(p) for p in parameters}
    without = Optimizers([parameters[0]], [parameters[1]], (0.0, 0.01), (0.9, 0.99), 0.01)
    assert len(list(without)) == 1 and len(without.parameters()) == 2


def test_a_signal_that_comes_twice_at_once_is_one_request(monkeypatch):
    """Under torchrun, Ctrl-C reaches a process from the terminal and from its parent."""
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    stop = stopping.StopRequest()
    try:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        now += stopping.GRACE_SECONDS + 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        stop.restore()


def test_an_error_in_a_step_leaves_signals_as_they_were():
    run = SimpleNamespace(step=0, seconds=0.0, recipe=SimpleNamespace(steps=2))
    before = signal.getsignal(signal.SIGINT)

    def take(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take_steps(run, lambda step: step, take, lambda window, ends: None)
    assert signal.getsignal(signal.SIGINT) is before
