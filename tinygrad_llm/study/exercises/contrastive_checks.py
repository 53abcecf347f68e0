"""The checks of the exercise about the contrastive loss."""

from __future__ import annotations

from typing import Any

from .layer_checks import _torch, named
from .task_checks import check, same


def _vectors(n_negatives: int) -> list[Any]:
    torch = _torch()
    torch.manual_seed(4)
    sizes = [(4, 5), (4, 5)] + ([(n_negatives, 5)] if n_negatives else [])
    return [torch.randn(*size) * 1.5 for size in sizes]


def _compare(m: Any, n_negatives: int, temperature: float, what: str) -> None:
    from ...layers.contrastive import ContrastiveLoss

    layer, vectors = ContrastiveLoss(temperature), _vectors(n_negatives)
    got = m.contrastive_loss(*vectors, temperature=temperature)
    same(got, layer(*vectors), what, named(layer, got, *vectors))


@check("contrastive_loss", "partners in the batch")
def _(m):
    for temperature in (0.5, 0.05):
        _compare(m, 0, temperature, f"4 pairs, temperature {temperature}")


@check("contrastive_loss", "hard negatives")
def _(m):
    for n in (4, 3):
        _compare(m, n, 0.2, f"4 pairs and {n} hard negatives")


@check("contrastive_loss", "gradients")
def _(m):
    from ...layers.contrastive import ContrastiveLoss

    mine, theirs = (
        [x.detach().clone().requires_grad_(True) for x in _vectors(4)] for _ in range(2)
    )
    m.contrastive_loss(*mine, temperature=0.3).backward()
    ContrastiveLoss(0.3)(*theirs).backward()
    names = ("anchors", "positives", "negatives")
    for name, a, b in zip(names, mine, theirs, strict=True):
        same(a.grad, b.grad, f"the gradient of the {name}")
