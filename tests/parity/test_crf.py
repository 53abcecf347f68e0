"""The CRF against pytorch-crf: initial weights, likelihoods, gradients, best paths."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchcrf = pytest.importorskip("torchcrf")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers.crf import CRF  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def close(ours, theirs, tolerance, floor=0.0):
    theirs = theirs.detach().numpy()
    bound = tolerance * np.abs(theirs).max(initial=0.0) + floor
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 2, 1), (5, 13, 17), (4, 1, 3)])
@pytest.mark.parametrize("batch_first", [True, False])
def test_likelihood_gradients_and_paths(shape, batch_first, dtype):
    (B, T, K), rng = shape, np.random.default_rng(1)
    theirs, ours = _same(K, batch_first, dtype)
    numbers = (2.0 * rng.standard_normal(shape)).astype(dtype)
    tags = rng.integers(0, K, (B, T))
    lengths = rng.integers(1, T + 1, B)
    lengths[0] = T
    mask = np.arange(T) < lengths[:, None]
    if not batch_first:
        numbers, tags, mask = numbers.transpose(1, 0, 2), tags.T, mask.T
    for reduction in ("none", "sum", "mean", "token_mean"):
        for seen in (None, mask):
            a = torch.tensor(numbers, requires_grad=True)
            b = tg.tensor(numbers, requires_grad=True)
            masks = (None, None) if seen is None else (torch.tensor(seen), tg.tensor(seen))
            x = theirs(a, torch.tensor(tags), masks[0], reduction)
            y = ours(b, tg.tensor(tags), masks[1], reduction)
            close(y, x, TOLERANCE[dtype])
            for p in (*theirs.parameters(), *ours.parameters()):
                p.grad = None
            upstream = rng.standard_normal(tuple(x.shape)).astype(dtype)
            x.backward(torch.tensor(upstream))
            y.backward(tg.tensor(upstream))
            close(b.grad, a.grad, TOLERANCE[dtype], 1e-7)
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                if q.grad is None:  # one token: no transition
                    assert not p.grad.any()
                else:
                    close(p.grad, q.grad, TOLERANCE[dtype], 1e-7)
            assert ours.decode(b, masks[1]) == theirs.decode(a, masks[0])


def _same(K, batch_first, dtype):
    torch.manual_seed(7)
    tg.manual_seed(7)
    theirs, ours = torchcrf.CRF(K, batch_first), CRF(K, batch_first)
    for (n, p), (m, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert n == m and np.array_equal(p.detach().numpy(), q.detach().numpy())
    ours.load_state_dict({n: tg.from_numpy(p.numpy()) for n, p in theirs.state_dict().items()})
    return theirs.to(getattr(torch, dtype)), ours.to(getattr(tg, dtype))


def test_wrong_calls_have_their_words():
    theirs, ours = torchcrf.CRF(3), CRF(3)
    for emissions, tags, mask in (
        ((2, 3), (2,), None), ((2, 2, 4), (2, 2), None), ((2, 2, 3), (2, 3), None),
        ((2, 2, 3), (2, 2), (3, 2)), ((2, 2, 3), (2, 2), (2, 2)),
    ):  # fmt: skip
        messages = []
        for L, crf in ((torch, theirs), (tg, ours)):
            m = None if mask is None else L.zeros(mask, dtype=L.bool)
            with pytest.raises(ValueError) as error:
                crf(L.zeros(emissions), L.zeros(tags, dtype=L.int64), m)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
