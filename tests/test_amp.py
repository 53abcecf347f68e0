"""GradScaler: what it does without PyTorch to compare with."""

from __future__ import annotations

import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn


def step(scaler, model, optimizer, factor=1.0):
    optimizer.zero_grad()
    scaler.scale((model(torch.ones(1, 2)) * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_scaled_steps_are_the_plain_steps_and_infinite_ones_are_left_out():
    torch.manual_seed(3)
    a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    b.load_state_dict(a.state_dict())
    plain, scaled = (torch.optim.SGD(m.parameters(), lr=0.5) for m in (a, b))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    off = torch.amp.GradScaler("cpu", enabled=False)
    for factor, then in ((1.0, 1024.0), (0.5, 2048.0), (float("inf"), 1024.0), (2.0, 1024.0)):
        if factor != float("inf"):
            step(off, a, plain, factor)
        step(scaler, b, scaled, factor)
        assert scaler.get_scale() == then
        torch.testing.assert_close(a.state_dict(), b.state_dict())
    assert off.state_dict() == {} and off.get_scale() == 1.0


def test_without_a_gpu_a_scaler_for_one_is_off():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(UserWarning, match="CUDA is not available"):
        scaler = torch.cuda.amp.GradScaler()
    assert not scaler.is_enabled()
    loss = torch.ones(1, requires_grad=True)
    assert scaler.scale(loss) is loss


def test_its_errors_say_what_was_done_twice():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="step.. has already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="being called after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: None)
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        scaler.load_state_dict({})
    with pytest.raises(ValueError, match="Tensor or an iterable"):
        scaler.scale(3)
    half = nn.Linear(2, 1).half()
    half.weight.grad = torch.ones(1, 2).half()
    with pytest.raises(ValueError, match="FP16"):
        torch.amp.GradScaler("cpu").unscale_(torch.optim.SGD(half.parameters(), lr=0.5))
    for bad in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(AssertionError, match="factor must be"):
            torch.amp.GradScaler("cpu", **bad)
