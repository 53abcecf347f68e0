"""Comparisons, rounding and searching on every device, against NumPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg

X = [[1.0, -2.5, 0.0], [float("nan"), 3.0, float("inf")]]
Y = [[1.0, 2.0, 0.5], [float("nan"), -3.0, float("inf")]]


@pytest.mark.parametrize("sign", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_signs(device, sign):
    x, y = tg.tensor(X).to(device), tg.tensor(Y).to(device)
    dunder = f"__{sign}__"
    expected = getattr(np.array(X), dunder)(np.array(Y)).tolist()
    for result in (getattr(x, dunder)(y), getattr(x, sign)(y), getattr(tg, sign)(x, y)):
        assert result.dtype is tg.bool and result.device.type == device
        assert result.tolist() == expected
    assert getattr(x, dunder)(0.5).tolist() == getattr(np.array(X), dunder)(0.5).tolist()


def test_every_function_stays_on_its_device(device):
    x, y = tg.tensor(X).to(device), tg.tensor(Y).to(device)
    i = tg.tensor([3, 0, 3, 1]).to(device)
    b = i > 1
    results = [
        *(tg.isnan(x), tg.isinf(x), tg.isfinite(x), tg.isposinf(x), tg.isneginf(x)),
        *(tg.nan_to_num(x), tg.isclose(x, y), x.any(), x.all(1), b.any(), b.all(0, keepdim=True)),
        *(tg.logical_and(b, b), tg.logical_or(b, b), tg.logical_xor(b, b), tg.logical_not(b)),
        *(b & b, b | True, b ^ b, ~b, i & 1, i << 1, i >> 1, ~i),
        *(x.floor(), x.ceil(), x.trunc(), x.round(), x.round(decimals=1), x.frac(), x.sign()),
        *(x.signbit(), i.sign(), i % 2, x % 2, 2 % y, x // 2, x.fmod(y), tg.floor_divide(i, 2)),
        *(i.nonzero(), *i.nonzero(as_tuple=True), i.argwhere(), i.count_nonzero(), i.unique()),
        *(i.bincount(), tg.isin(i, tg.tensor([3]).to(device))),
        *(tg.searchsorted(i.unique(), i), tg.bucketize(i, i.unique(), right=True)),
    ]
    assert {r.device.type for r in results} == {device}
    assert tg.allclose(x, x, equal_nan=True) and not tg.equal(x, y) and tg.equal(i, i)


def test_a_bool_tensor_chooses(device):
    x = tg.arange(6.0).to(device)
    mask = (x > 1) & (x < 5) & ~(x == 3)
    assert x[mask].tolist() == [2.0, 4.0]


def test_comparisons_are_outside_the_graph():
    x = tg.ones(2, requires_grad=True)
    for result in (x > 0, x == 1, x.any(), x.isnan(), x // 2, x.nonzero()):
        assert not result.requires_grad


def test_what_is_no_number_is_not_equal():
    x = tg.ones(2)
    assert (x == "a") is False and (x != None) is True  # noqa: E711
    assert x in [x]
    with pytest.raises(TypeError, match="'<' not supported"):
        _ = x < "a"
    with pytest.raises(TypeError, match=r"eq\(\): argument 'other'"):
        tg.eq(x, "a")


def test_errors():
    with pytest.raises(RuntimeError, match=r"size of tensor a \(2\).*\(3\) at non-singleton"):
        _ = tg.ones(2) < tg.ones(3)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        tg.tensor([1]) % 0
    with pytest.raises(RuntimeError, match="Float did not match Double"):
        tg.allclose(tg.ones(1), tg.ones(1).double())
    with pytest.raises(RuntimeError, match=r"works on bits"):
        tg.ones(1) & tg.ones(1)
    with pytest.raises(RuntimeError, match="non-negative"):
        tg.bincount(tg.tensor([-1]))
    with pytest.raises(RuntimeError, match="bool"):
        tg.floor(tg.tensor([True]))


def test_devices_do_not_mix(device):
    if device == "cpu":
        return
    with pytest.raises(RuntimeError, match="same device"):
        _ = tg.ones(2) == tg.ones(2).to(device)


def test_gradients_of_steps_and_rests():
    x = tg.tensor([5.5, -5.5], dtype=tg.float64, requires_grad=True)
    y = tg.tensor([2.0, 2.0], dtype=tg.float64, requires_grad=True)
    (x % y).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0] and y.grad.tolist() == [-2.0, 3.0]
    x.grad = y.grad = None
    x.fmod(y).sum().backward()
    assert y.grad.tolist() == [-2.0, 2.0]
    x.grad = None
    (x.floor() + x.round() + x.sign()).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


@given(st.lists(st.integers(-5, 5), max_size=20))
def test_unique_puts_back_together(values):
    x = tg.tensor(values, dtype=tg.int64)
    unique, inverse, counts = tg.unique(x, return_inverse=True, return_counts=True)
    assert unique.tolist() == sorted(set(values))
    assert [unique.tolist()[i] for i in inverse.tolist()] == values
    assert counts.tolist() == [values.count(v) for v in unique.tolist()]


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 12))
def test_bincount_counts(values, minlength):
    counts = tg.bincount(tg.tensor(values, dtype=tg.int64), minlength=minlength).tolist()
    assert counts == [values.count(i) for i in range(max([v + 1 for v in values] + [minlength]))]


def test_in_place_forms_write():
    x = tg.tensor([1.7, -1.7])
    view = x[:1]
    x.floor_()
    assert view.item() == 1.0
    x %= 2
    assert x.tolist() == [1.0, 0.0]
    mask = tg.tensor([True, False])
    other = mask
    mask &= False
    assert other.tolist() == [False, False]
    with pytest.raises(RuntimeError, match="leaf"):
        tg.ones(1, requires_grad=True).floor_()
