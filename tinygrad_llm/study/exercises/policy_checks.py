"""The checks of the exercises about the losses of reinforcement learning and distillation."""

from __future__ import annotations

from typing import Any

from .layer_checks import _torch, named
from .task_checks import check, same


def _answers() -> tuple[Any, Any, Any]:
    torch = _torch()
    torch.manual_seed(6)
    log_p = -torch.rand(3, 5)
    moved = torch.tensor([0.05, -0.6, 0.5, 0.1, -0.02])
    return log_p, log_p - moved, torch.tensor([0.9, -0.9, 0.4])


@check("policy_loss", "the clipped loss")
def _(m):
    from ...layers.policy import PolicyLoss

    for clip in (0.2, 0.4):
        layer, inputs = PolicyLoss(clip_low=clip), _answers()
        got = m.policy_loss(*inputs, clip=clip)
        same(got, layer(*inputs), f"clip {clip}", named(layer, got, *inputs))


@check("policy_loss", "gradients")
def _(m):
    from ...layers.policy import PolicyLoss

    log_p, old, advantages = _answers()
    mine, theirs = (log_p.detach().clone().requires_grad_(True) for _ in range(2))
    m.policy_loss(mine, old, advantages).backward()
    PolicyLoss()(theirs, old, advantages).backward()
    same(mine.grad, theirs.grad, "the gradient of log_p")


def _values() -> tuple[Any, Any, Any]:
    torch = _torch()
    torch.manual_seed(7)
    values = torch.randn(3, 5)
    moved = torch.tensor([0.05, -0.6, 0.5, 0.1, -0.3])
    return values, values - moved, torch.randn(3, 5)


@check("value_loss", "the clipped loss")
def _(m):
    from ...layers.value import ValueLoss

    for clip in (0.2, 0.4):
        layer, inputs = ValueLoss(clip), _values()
        got = m.value_loss(*inputs, clip=clip)
        same(got, layer(*inputs), f"clip {clip}", named(layer, got, *inputs))


@check("value_loss", "gradients")
def _(m):
    from ...layers.value import ValueLoss

    values, old, returns = _values()
    mine, theirs = (values.detach().clone().requires_grad_(True) for _ in range(2))
    m.value_loss(mine, old, returns).backward()
    ValueLoss()(theirs, old, returns).backward()
    same(mine.grad, theirs.grad, "the gradient of the values")


def _logits() -> tuple[Any, Any]:
    torch = _torch()
    torch.manual_seed(8)
    return torch.randn(4, 6), torch.randn(4, 6)


@check("distillation_loss", "both directions")
def _(m):
    from ...layers.distillation import DistillationLoss

    for direction in ("forward", "reverse"):
        for temperature in (1.0, 3.0):
            layer, inputs = DistillationLoss(temperature, direction), _logits()
            got = m.distillation_loss(*inputs, temperature=temperature, direction=direction)
            what = f"{direction}, temperature {temperature}"
            same(got, layer(*inputs), what, named(layer, got, *inputs))


@check("distillation_loss", "gradients")
def _(m):
    from ...layers.distillation import DistillationLoss

    pairs = [[x.detach().clone().requires_grad_(True) for x in _logits()] for _ in range(2)]
    m.distillation_loss(*pairs[0], temperature=2.0, direction="reverse").backward()
    DistillationLoss(2.0, "reverse")(*pairs[1]).backward()
    same(pairs[0][0].grad, pairs[1][0].grad, "the gradient of the student")
    if pairs[0][1].grad is not None:
        same(pairs[0][1].grad, pairs[0][1].grad * 0.0, "the gradient of the teacher, which is 0")
