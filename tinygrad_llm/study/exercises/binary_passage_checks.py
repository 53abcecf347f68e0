"""The checks of the exercise about the loss of binary passages."""

from __future__ import annotations

from typing import Any

from .layer_checks import _torch, named
from .task_checks import check, same


def _vectors(n_queries: int, n_passages: int) -> list[Any]:
    torch = _torch()
    torch.manual_seed(6)
    return [torch.randn(n, 5) for n in (n_queries, n_passages)]


def _compare(m: Any, vectors: list[Any], what: str, *settings: float) -> None:
    from ...layers.binary_passages import BinaryPassageLoss

    layer = BinaryPassageLoss(*settings)
    got = m.binary_passage_loss(*vectors, *settings)
    same(got, layer(*vectors), what, named(layer, got, *vectors))


@check("binary_passage_loss", "passages of the batch")
def _(m):
    for beta in (1.0, 1.7):
        _compare(m, _vectors(4, 4), f"4 queries, beta {beta}", beta, 0.5, 0.7)


@check("binary_passage_loss", "hard negatives")
def _(m):
    _compare(m, _vectors(3, 6), "3 queries and 6 passages", 1.3, 0.8, 0.4)
    _compare(m, _vectors(1, 2), "1 query and 2 passages", 2.0, 1.0, 1.0)


@check("binary_passage_loss", "gradients")
def _(m):
    from ...layers.binary_passages import BinaryPassageLoss

    mine, theirs = (
        [x.detach().clone().requires_grad_(True) for x in _vectors(3, 5)] for _ in range(2)
    )
    m.binary_passage_loss(*mine, 1.4, 0.9, 0.6).backward()
    BinaryPassageLoss(1.4, 0.9, 0.6)(*theirs).backward()
    for name, a, b in zip(("queries", "passages"), mine, theirs, strict=True):
        same(a.grad, b.grad, f"the gradient of the {name}")
