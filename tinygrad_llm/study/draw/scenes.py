"""Drawings as a start: a scalar expression, an attention head, a GPT; a training, and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn, random
from ...models.gpt import GPT, GPTConfig
from ...tensor import Tensor, wrap
from .drawing import Drawing, draw
from .masks import Masks, draw_masks
from .training import Training, draw_training

__all__ = ["SCENES", "attention", "gpt", "scalar", "small_gpt"]


def _leaf(value: Any) -> Tensor:
    return wrap(np.asarray(value, np.float32)).requires_grad_()


def scalar(fold: int | None = None) -> Drawing:
    """tanh(a·b + a)·(a·b) at a = 2, b = −0.5: `a` and `a·b` are used twice, so gradients add up."""
    a, b = _leaf(2.0), _leaf(-0.5)

    def expression() -> Tensor:
        c = a * b
        d = c + a
        return d.tanh() * c

    names = {"a": a, "b": b}
    return draw(expression, names=names, title="tanh(c + a) · c,  c = a · b")


class Head(nn.Module):
    """One attention head of primitives: softmax(q·kᵀ/√D)·v, where no token looks ahead."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.query = nn.Linear(n, n, bias=False)
        self.key = nn.Linear(n, n, bias=False)
        self.value = nn.Linear(n, n, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)  # (T, D) each
        scores = q @ k.transpose(0, 1) / q.shape[-1] ** 0.5  # (T, T)
        ahead = wrap(np.triu(np.ones(scores.shape, bool), 1))
        weights = scores.masked_fill(ahead, -float("inf")).softmax(-1)
        return weights @ v  # (T, D)


def attention(fold: int | None = None) -> Drawing:
    """One attention head over three tokens of four channels."""
    random.manual_seed(0)
    head = Head(4)
    x = _leaf(np.round(np.random.default_rng(0).normal(size=(3, 4)), 1))

    def loss() -> Tensor:
        y = head(x)
        return (y * y).sum()

    return draw(loss, head, names={"x": x}, fold=fold, title="One attention head")


def small_gpt() -> tuple[GPT, Tensor, Tensor]:
    """A GPT of two layers with a batch of inputs and targets."""
    random.manual_seed(0)
    config = GPTConfig(
        vocab_size=16, context_length=8, emb_dim=16, n_heads=2, n_layers=2, drop_rate=0.0
    )
    ids = np.random.default_rng(0).integers(0, 16, (2, 9))
    return GPT(config), wrap(ids[:, :-1]), wrap(ids[:, 1:])


def gpt(fold: int | None = None) -> Drawing:
    """A GPT of two layers, from its loss back to the embeddings."""
    model, inputs, targets = small_gpt()
    return draw(lambda: model.loss(inputs, targets), model, fold=fold, title="A GPT of two layers")


def training(fold: int | None) -> Training:
    """A training of seven numbers; fold does not matter."""
    return draw_training()


def masks(fold: int | None) -> Masks:
    """The masks of a small encoder-decoder; fold does not matter."""
    return draw_masks()


SCENES: dict[str, Callable[[int | None], Drawing | Training | Masks]] = {
    "scalar": scalar,
    "attention": attention,
    "gpt": gpt,
    "training": training,
    "masks": masks,
}
