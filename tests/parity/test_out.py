"""out=: results written into given tensors, as PyTorch does it, and its refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.functions.out import _NAMES  # noqa: E402

X = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4)).astype(np.float32)
Y = np.random.default_rng(1).uniform(0.1, 0.9, (3, 4)).astype(np.float32)

CALLS = {
    "add": lambda L, x, y: ((x, y), {"alpha": 2}),
    "div": lambda L, x, y: ((x, y), {"rounding_mode": "floor"}),
    "mm": lambda L, x, y: ((x, y.T), {}),
    "matmul": lambda L, x, y: ((x, y[0]), {}),
    "cat": lambda L, x, y: (([x, y], 1), {}),
    "stack": lambda L, x, y: (([x, y],), {}),
    "sum": lambda L, x, y: ((x, 1), {}),
    "mean": lambda L, x, y: ((x, 0), {"keepdim": True}),
    "cumsum": lambda L, x, y: ((x, 1), {}),
    "exp": lambda L, x, y: ((x,), {}),
    "where": lambda L, x, y: ((x > y, x, y), {}),
    "clamp": lambda L, x, y: ((x, 0.3, 0.5), {}),
    "maximum": lambda L, x, y: ((x, y), {}),
    "pow": lambda L, x, y: ((x, y), {}),
    "eq": lambda L, x, y: ((x, y), {}),
    "argmax": lambda L, x, y: ((x, 1), {}),
    "gather": lambda L, x, y: ((x, 1, L.tensor([[0, 3], [1, 1], [2, 0]])), {}),
    "softmax": lambda L, x, y: ((x, 1), {}),
    "tril": lambda L, x, y: ((x,), {}),
    "addmm": lambda L, x, y: ((x[:, :3], x, y.T), {"beta": 0.5}),
    "max": lambda L, x, y: ((x, 1), {}),
    "topk": lambda L, x, y: ((x, 2), {}),
    "sort": lambda L, x, y: ((x,), {"descending": True}),
    "kthvalue": lambda L, x, y: ((x, 2), {}),
    "cummax": lambda L, x, y: ((x, 0), {}),
    "aminmax": lambda L, x, y: ((x,), {"dim": 1}),
}


def _called(L, name, numbers=0):
    """(what was returned, the tensors of out=) of one call, with outs of `numbers` elements."""
    args, kwargs = CALLS[name](L, L.from_numpy(X), L.from_numpy(Y))
    plain = getattr(L, name)(*args, **kwargs)
    several = isinstance(plain, tuple)
    outs = tuple(L.zeros(numbers, dtype=p.dtype) for p in (plain if several else (plain,)))
    result = getattr(L, name)(*args, **kwargs, out=outs if several else outs[0])
    return result, outs


@pytest.mark.parametrize("name", CALLS)
def test_the_result_lies_in_out(name):
    result, outs = _called(tg, name)
    _, theirs = _called(torch, name)
    for ours, expected in zip(outs, theirs, strict=True):
        assert str(ours.dtype) == str(expected.dtype)
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), 1e-6)
    given = result if isinstance(result, tuple) else (result,)
    assert all(a is b for a, b in zip(given, outs, strict=True))


def test_pytorch_takes_out_wherever_we_do():
    for name in _NAMES:
        theirs, mine = (lib if hasattr(lib, name) else lib.special for lib in (torch, tg))
        function = getattr(theirs, name)
        with pytest.raises((TypeError, RuntimeError)) as ours:
            getattr(mine, name)(out=3)
        assert ours.value is not None and callable(function), name


def test_out_may_be_an_operand_or_a_view():
    for L in (tg, torch):
        x, whole = L.tensor([1.0, 2.0]), L.zeros(2, 2)
        L.mul(x, x, out=x)
        L.add(x, 1.0, out=whole[1])
        assert x.tolist() == [1.0, 4.0] and whole.tolist() == [[0.0, 0.0], [2.0, 5.0]]


def test_another_shape_and_dtype():
    for L in (tg, torch):
        with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
            out = L.add(L.ones(3), 1, out=L.zeros(2))
        assert out.tolist() == [2.0] * 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert L.add(L.ones(3), 1, out=L.zeros(3, dtype=L.float64)).dtype is L.float64
        with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired"):
            L.add(L.ones(3), 1, out=L.zeros(3, dtype=L.int64))
        assert L.exp(L.zeros(2), out=None).tolist() == [1.0, 1.0]


def test_refusals():
    for L in (tg, torch):
        x = L.ones(2, requires_grad=True)
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            L.exp(x, out=L.zeros(2))
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            L.exp(L.zeros(2), out=x)
        with L.no_grad():
            assert L.exp(x * 0, out=L.zeros(2)).tolist() == [1.0, 1.0]
        for wrong in (lambda L=L: L.exp(L.ones(2), out=3), lambda L=L: L.ones(2).exp(out=L.ones(2)),
                      lambda L=L: L.nn.functional.leaky_relu(L.ones(2), out=L.ones(2)),
                      lambda L=L: L.topk(L.ones(3), 2, out=L.ones(2))):  # fmt: skip
            with pytest.raises(TypeError):
                wrong()


def test_a_backward_that_needs_what_out_overwrote_is_refused():
    for L in (tg, torch):
        x, c = L.ones(2, requires_grad=True), L.ones(2)
        y = x * c
        L.add(c, 1.0, out=c)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
