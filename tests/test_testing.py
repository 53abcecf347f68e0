"""assert_close: what passes, what fails, and what the failure says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm.testing import assert_close


@pytest.mark.parametrize(
    ("dtype", "passes", "fails"),
    [
        ("float32", 1e-6, 1e-4),
        ("float64", 1e-8, 1e-5),
        ("float16", 5e-4, 5e-3),
        ("bfloat16", 1e-2, 5e-2),
    ],
)
def test_tolerance_of_each_dtype(dtype, passes, fails):
    d = getattr(tg, dtype)
    one = tg.ones(3, dtype=d)
    assert_close((tg.ones(3, dtype=tg.float64) + passes).to(d), one)
    with pytest.raises(AssertionError, match="not close"):
        assert_close((tg.ones(3, dtype=tg.float64) + fails).to(d), one)


def test_integers_must_be_equal():
    assert_close(tg.tensor([1, 2]), tg.tensor([1, 2]))
    with pytest.raises(AssertionError, match="not equal"):
        assert_close(tg.tensor([1, 2]), tg.tensor([1, 3]))
    assert_close(tg.tensor([1, 2]), tg.tensor([1, 3]), rtol=0, atol=1)


def test_message_names_count_difference_and_place():
    a, b = tg.zeros(2, 3), tg.zeros(2, 3)
    b[1, 2], b[0, 1] = 4.0, 1.0
    with pytest.raises(AssertionError) as caught:
        assert_close(a, b)
    text = str(caught.value)
    assert "Mismatched elements: 2 / 6 (33.3%)" in text
    assert "Greatest absolute difference: 4.0 at index (1, 2) (up to 1e-05 allowed)" in text
    assert "Greatest relative difference: 1.0 at index (0, 1) (up to 1.3e-06 allowed)" in text


def test_nested():
    assert_close({"a": [1.0, tg.ones(2)]}, {"a": [1.0, tg.ones(2)]})
    with pytest.raises(AssertionError, match=r"item \['a'\]\[1\]"):
        assert_close({"a": [1.0, tg.ones(2)]}, {"a": [1.0, tg.zeros(2)]})
    with pytest.raises(AssertionError, match="Missing keys"):
        assert_close({"a": 1}, {"b": 1})
    with pytest.raises(AssertionError, match="length of the sequences"):
        assert_close([1], [1, 2])


def test_attributes():
    with pytest.raises(AssertionError, match="'dtype' do not match"):
        assert_close(tg.ones(1), tg.ones(1).double())
    assert_close(tg.ones(1), tg.ones(1).double(), check_dtype=False)
    with pytest.raises(AssertionError, match="'shape' do not match"):
        assert_close(tg.ones(1), tg.ones(2))
    with pytest.raises(AssertionError, match="stride"):
        assert_close(tg.zeros(2, 3).t(), tg.zeros(3, 2), check_stride=True)


def test_across_devices(device):
    a, b = tg.ones(2), tg.ones(2).to(device)
    assert_close(b, b)
    assert_close(a, b, check_device=False)
    if device != "cpu":
        with pytest.raises(AssertionError, match="'device' do not match"):
            assert_close(a, b)
    with pytest.raises(AssertionError, match="index"):
        assert_close(b, b + 1)


def test_nan_and_infinity():
    nan, inf = tg.tensor([float("nan")]), tg.tensor([float("inf")])
    assert_close(inf, inf)
    assert_close(nan, nan, equal_nan=True)
    for a, b in ((nan, nan), (inf, -inf), (inf, nan)):
        with pytest.raises(AssertionError):
            assert_close(a, b)


def test_misuse():
    with pytest.raises(ValueError, match="no atol"):
        assert_close(1.0, 1.0, rtol=1.0)
    with pytest.raises(TypeError, match="No comparison pair"):
        assert_close(tg.ones(1), [1.0])
    with pytest.raises(AssertionError, match="^mine$"):
        assert_close(1.0, 2.0, msg="mine")
    with pytest.raises(AssertionError, match="(?s)^mine: Scalars"):
        assert_close(1.0, 2.0, msg=lambda text: "mine: " + text)


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=5),
    st.integers(0, 4),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_the_rule(values, place, rtol, atol):
    """Fails just where |a − b| > atol + rtol·|b| for one element."""
    b = np.array(values)
    a = b.copy()
    a[place % len(a)] += 0.5
    expected = bool((np.abs(a - b) <= atol + rtol * np.abs(b)).all())
    try:
        assert_close(tg.from_numpy(a), tg.from_numpy(b), rtol=rtol, atol=atol)
        passed = True
    except AssertionError:
        passed = False
    assert passed == expected
