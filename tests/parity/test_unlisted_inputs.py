"""Inputs that nobody listed: empty and 0-d tensors, small integers that wrap around, powers below
zero, subclasses of NumPy's arrays, shifts in place. Values, dtypes, gradients and errors agree."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from .compared import agree

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

X = np.array([[3, 1, 2], [100, -100, 27]])
SMALL = ["int8", "uint8", "int16", "int32", "int64", "bool"]

# Each takes the library and a tensor (2, 3) of a small dtype.
WRAP = {
    "sum": lambda t, x: x.sum(dtype=x.dtype),
    "sum of rows": lambda t, x: x.sum(1, dtype=t.int8),
    "sum as float": lambda t, x: x.sum(0, dtype=t.float16),
    "prod": lambda t, x: x.prod(dtype=t.int8),
    "prod of columns": lambda t, x: x.prod(0, dtype=t.uint8),
    "cumsum": lambda t, x: x.cumsum(1, dtype=t.int8),
    "cumprod": lambda t, x: x.cumprod(1, dtype=t.uint8),
    "cumsum of one": lambda t, x: x[0, 0].cumsum(0),
    "cumprod of one": lambda t, x: x[0, 0].cumprod(0),
    "cumsum of one, asked": lambda t, x: x[0, 0].cumsum(0, dtype=t.int16),
    "einsum, a sum": lambda t, x: t.einsum("ij->i", x),
    "einsum, all": lambda t, x: t.einsum("ij->", x),
    "einsum, ...": lambda t, x: t.einsum("...i->...", x),
    "einsum, a sum and a factor": lambda t, x: t.einsum("ij,k->i", x, x[0]),
    "einsum, nothing is summed": lambda t, x: t.einsum("ij->ji", x),
    "einsum, two": lambda t, x: t.einsum("ij,ij->ij", x, x),
}


@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize("name", WRAP)
def test_sums_of_small_integers(name, dtype):
    agree(torch, lambda t, x: WRAP[name](t, x.to(getattr(t, dtype))), X)


POWERS = {
    "arrays": lambda t, x: x ** t.tensor([-1, -2, 0]),
    "all below zero": lambda t, x: x ** -x.abs(),
    "2 to it": lambda t, x: 2 ** x.clamp(-3, 3),
    "1 to it": lambda t, x: 1**x,
    "-1 to it": lambda t, x: (-1) ** x,
    "0 to it": lambda t, x: 0 ** x.clamp(-1, 1),
    "a 0-d exponent": lambda t, x: x.sign() ** t.tensor(-3),
    "in small integers": lambda t, x: x.to(t.int8) ** t.tensor([-1, 2, 3], dtype=t.int8),
    "pow": lambda t, x: t.pow(2, t.tensor(-1)) + t.pow(t.tensor(-1), t.tensor(-5)),
    "floats": lambda t, x: x.float() ** t.tensor([-1, -2, 0]),
}


@pytest.mark.parametrize("name", POWERS)
def test_whole_powers_below_zero(name):
    agree(torch, POWERS[name], X)


def _shift(x, by):
    y = x
    y <<= by
    y += 1
    y >>= 1
    return x


ODD = {
    "cat of nothing and float64": lambda t, x: t.cat([t.zeros(0), t.zeros(0).double()]),
    "cat of nothing and integers": lambda t, x: t.cat([t.zeros(0), x[0]]),
    "cat of integers and no doubles": lambda t, x: t.cat([x, t.zeros(0).double()]),
    "cat of nothing": lambda t, x: t.cat([t.zeros(0).half(), t.zeros(0, dtype=t.int8)]),
    "cat beside nothing, along 1": lambda t, x: t.cat([x, t.zeros(0), x.double()], 1),
    "shifts in place": lambda t, x: _shift(x.clone(), 1),
    "shifts in place by a tensor": lambda t, x: _shift(x.clone(), t.tensor([1, 0, 2])),
    "shifts by methods": lambda t, x: x.clone().bitwise_left_shift_(2).bitwise_right_shift_(1),
    "shifts of one byte": lambda t, x: _shift(x.to(t.uint8), 1),
    "chunk of one number": lambda t, x: t.tensor(2.5).chunk(2),
    "split of one number": lambda t, x: t.tensor(2.5).split(1),
    "unbind of one number": lambda t, x: t.tensor(2.5).unbind(),
    "mT of one number": lambda t, x: t.tensor(2.5).mT,
    "2 to a transposed one": lambda t, x: (2.0 ** x.t().float().clamp(-3, 3)).view(-1),
    "lgamma of tiny ones": lambda t, x: t.tensor([1e-320, -1e-300, 1e-308]).double().lgamma(),
    "digamma of tiny ones": lambda t, x: t.tensor([1e-300, -1e-300], dtype=t.float64).digamma(),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_inputs(name):
    agree(torch, ODD[name], X)


def test_a_diagonal_is_a_copy():
    for lib in (torch, tg):
        x = lib.ones(3, 2, requires_grad=True)
        y = x.detach().diag()
        y.fill_(5.0)
        assert x.tolist() == [[1.0, 1.0]] * 3 and y.is_contiguous()
        (x.diag(-1) * lib.tensor([2.0, 3.0])).sum().backward()
        assert x.grad.tolist() == [[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]]


@pytest.mark.parametrize("make", ["tensor", "as_tensor", "asarray", "from_numpy"])
def test_subclasses_of_arrays(make, tmp_path):
    """* of np.matrix is a product of matrices, and a masked array hides numbers: here neither."""
    file = np.memmap(tmp_path / "numbers", np.float64, "w+", shape=(2, 2))
    file[:] = [[1.0, 2.0], [3.0, 4.0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = [np.matrix(file), np.ma.array(file, mask=np.eye(2)), file, file.view(np.recarray)]
    for a in arrays:
        x = getattr(tg, make)(a)
        assert type(x.array) is np.ndarray
        assert (x * x).tolist() == [[1.0, 4.0], [9.0, 16.0]]
        assert type((tg.ones(2, 2) * a).array) is np.ndarray
        assert (tg.ones(2, 2) * a * a).tolist() == [[1.0, 4.0], [9.0, 16.0]]


@pytest.mark.parametrize("shape, k, dim", [((16, 8), 2, -1), ((16, 10), 5, 1), ((7, 3), 2, 0),
                                           ((40, 64), 3, 1), ((2, 5, 6), 4, 1)])  # fmt: skip
@pytest.mark.parametrize("largest", [True, False])
def test_indices_of_topk_are_in_row_order(shape, k, dim, largest):
    x = np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape).astype(np.float32)
    ours, theirs = (lib.tensor(x).topk(k, dim, largest) for lib in (tg, torch))
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.is_contiguous() and mine.stride() == expected.stride()
        assert mine.view(-1).tolist() == expected.view(-1).tolist()


@pytest.mark.parametrize("call", [
    lambda L, x: x.add(1, alpha=2), lambda L, x: x.sub(3, alpha=0.5),
    lambda L, x: L.add(x, 3, alpha=2),
    lambda L, x: x.clone().add_(1, alpha=2), lambda L, x: x.clone().sub_(2.5, alpha=0.5),
    lambda L, x: x.add(np.float64(1.5), alpha=2),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_alpha_times_a_number(call, dtype):
    ours, theirs = (
        call(L, L.tensor([1.5, -2.25, 3.0], dtype=getattr(L, dtype))) for L in (tg, torch)
    )
    assert str(ours.dtype).split(".")[-1] == dtype and ours.tolist() == theirs.tolist()
