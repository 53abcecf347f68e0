"""The strategies and assert_gradients that others use for their own ops."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

import tinygrad_llm
from tinygrad_llm import ops, testing
from tinygrad_llm.autograd.engine import OPS, Op
from tinygrad_llm.testing.strategies import DOMAINS


@given(st.data())
def test_sizes_follow_the_signature(data):
    x, w, b = data.draw(testing.sizes("x(...,T,C) w(C,2) b(C)? -> y(...)", smallest={"C": 1}))
    assert x[-1] == w[0] == b[0] >= 1 and w[1] == 2 and len(x) >= 2


@given(st.data())
def test_broadcast_sizes_broadcast(data):
    a, b = data.draw(testing.sizes("a(...,N,K) b(...,K,M) -> c(...,N,M)", broadcasts=True))
    np.broadcast_shapes(a[:-2], b[:-2])
    assert a[-1] == b[-2]


def test_every_kind_of_size_is_drawn():
    signature = "x(...,C) w(C)? -> y(...,C)"
    for condition in (
        lambda t: t[0].ndim == 1,
        lambda t: t[0].ndim == 3,
        lambda t: 0 in t[0].shape,
        lambda t: 1 in t[0].shape,
        lambda t: t[1] is None,
        lambda t: t[1] is not None and t[1].shape[0] > 2,
    ):
        find(testing.tensors(signature), condition)


@pytest.mark.parametrize("domain", DOMAINS)
@given(st.data())
def test_domains_keep_their_word(domain, data):
    x = data.draw(testing.arrays((3, 4), domain))
    assert x.shape == (3, 4) and x.dtype == np.float64
    if domain == "positive":
        assert x.min() >= 0.3
    if domain == "unit":
        assert 0.05 <= x.min() and x.max() <= 0.95
    if domain == "nonzero":
        assert np.abs(x).min() >= 0.3
    if domain == "distinct":
        assert np.diff(np.sort(x, axis=None)).min() > 0.1 and np.abs(x).min() > 0.005


def test_unknown_domain():
    with pytest.raises(ValueError, match="no domain is called 'large': there are normal,"):
        testing.arrays((2,), "large")


@given(testing.tensors("x(N,M) y(M) -> z(N)", dtype="float32", requires_grad=False))
def test_tensors_take_a_dtype(inputs):
    x, y = inputs
    assert x.dtype is tinygrad_llm.float32 and not x.requires_grad and y.shape[0] == x.shape[1]


def my_op(backward, forward=None):
    """Somebody's own op: y = x·w over the last dimension."""

    def plain(self, x, w):
        self.saved = x, w
        return x * w

    cls = type("Mine", (Op,), {"name": "mine", "signature": "x(...,C) w(C) -> y(...,C)",
                               "forward": forward or plain, "backward": backward})  # fmt: skip
    OPS.pop("mine", None)
    return cls


def right(self, g):
    x, w = self.saved
    gw = (g * x).reshape(-1, len(w)).sum(0) if g.size else w * 0.0
    return g * w, gw


def test_a_right_op_passes():
    testing.assert_gradients(my_op(right))
    testing.assert_gradients(ops.LayerNorm, smallest={"C": 1}, domains={"x": "distinct"})
    testing.assert_gradients(ops.Mul)
    testing.assert_gradients(lambda x, y: x @ y, "x(N,K) y(K,M) -> z(N,M)", max_examples=10)


def test_a_wrong_gradient_fails():
    def forgot_a_factor(self, g):
        return g, right(self, g)[1]

    with pytest.raises(AssertionError, match=r"input 0\[.*ratio"):
        testing.assert_gradients(my_op(forgot_a_factor))


def test_a_forgotten_sum_fails():
    def per_row(self, g):
        x, w = self.saved
        return g * w, g * x

    with pytest.raises(RuntimeError, match="mine: its backward returned a gradient of shape"):
        testing.assert_gradients(my_op(per_row))


def test_a_changed_input_fails():
    def careless(self, x, w):
        self.saved = x.copy(), w
        y = x * w
        x += 1.0
        return y

    with pytest.raises((AssertionError, ValueError)):
        testing.assert_gradients(my_op(right, careless))


def test_a_float64_constant_fails():
    def widening(self, x, w):
        self.saved = x, w
        return x * w * np.float64(1.0)

    with pytest.raises(AssertionError, match="float32 in, torch.float64 out"):
        testing.assert_gradients(my_op(right, widening))


def test_a_signature_is_needed():
    with pytest.raises(ValueError, match="needs a signature"):
        testing.assert_gradients(lambda x: x)


def test_hypothesis_is_imported_when_it_is_used():
    code = "import sys, tinygrad_llm.testing as t; assert t.assert_close and "
    code += "'hypothesis' not in sys.modules; sys.modules['hypothesis'] = None\n"
    code += "try: t.assert_gradients\nexcept ImportError as e: assert 'pip install' in str(e)\n"
    code += "else: raise SystemExit('no error')"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        testing.nothing  # noqa: B018
