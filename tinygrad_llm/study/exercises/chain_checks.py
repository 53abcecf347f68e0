"""The checks of the exercise about the paths of a CRF."""

from __future__ import annotations

from typing import Any

from .evidence import seen
from .layer_checks import _torch
from .task_checks import Wrong, check, same


def _chain(torch: Any, n: int) -> tuple[Any, Any]:
    """A CRF of 3 tags and the emissions of n tokens."""
    from ...layers.crf import CRF

    crf = CRF(3, batch_first=True)
    for p in crf.parameters():
        p.data = torch.randn(p.shape) * 1.5
    return crf, torch.randn(1, n, 3) * 1.2


def _scores(crf: Any) -> tuple[Any, Any, Any]:
    return crf.transitions, crf.start_transitions, crf.end_transitions


@check("crf_paths", "all paths")
def _(m):
    torch = _torch()
    for n in (1, 2, 6):
        crf, emissions = _chain(torch, n)
        got = m.log_partition(emissions[0], *_scores(crf))
        hint = (
            "one token: log Σ exp(b + e + c)" if n == 1
            else "alpha[i] + A[i, j] summed over the tag before, i; e is added once"
        )  # fmt: skip
        same(got, crf.log_partition(emissions)[0], f"log Z of {n} tokens", hint)


@check("crf_paths", "the best path")
def _(m):
    torch = _torch()
    for n in (1, 4, 9):
        for _ in range(8):
            crf, emissions = _chain(torch, n)
            got, expected = seen(m.best_path(emissions[0], *_scores(crf))), crf.decode(emissions)[0]
            if got is None or len(got) != n:
                raise Wrong(f"the path of {n} tokens should be a list of {n} tags, got {got}")
            if [int(tag) for tag in got] != expected:
                raise Wrong(
                    f"{n} tokens: {list(map(int, got))}, should be {expected}: max over the tag "
                    "before, then follow the notes from the last token to the first"
                )


@check("crf_paths", "the loss and its gradient")
def _(m):
    torch = _torch()
    crf, emissions = _chain(torch, 5)
    tags = [0, 2, 2, 1, 0]
    emissions.requires_grad_()
    expected = -crf(emissions, torch.tensor([tags]))
    got = m.loss(emissions[0], *_scores(crf), tags)
    same(got, expected, "−log p", "log Z minus the score of the tags, the end's too")
    expected.backward()
    gradient, emissions.grad = emissions.grad, None
    got.backward()
    same(emissions.grad, gradient, "its gradient", "marginals minus 1 at the tags")
