"""Element types: all of PyTorch's tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.tensor import dtypes  # noqa: E402

NAMES = [d.name for d in dtypes.ALL]
PAIRS = list(itertools.product(NAMES, repeat=2))
# These have no rule with other integers; PyTorch raises for them.
KNOWN = [d.name for d in dtypes.ALL if d not in (dtypes.uint16, dtypes.uint32, dtypes.uint64)]


def result(function, *arguments):
    """What a function returns, as text, or its error."""
    try:
        return str(function(*arguments))
    except (RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", NAMES)
def test_attributes(name):
    theirs, ours = getattr(torch, name), dtypes.BY_NAME[name]
    assert repr(ours) == repr(theirs)
    for attribute in ("itemsize", "is_floating_point", "is_complex", "is_signed"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    for limits in ("finfo", "iinfo"):
        assert result(getattr(dtypes, limits), ours) == result(getattr(torch, limits), theirs)


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_the_same_numbers(name):
    ours, theirs = dtypes.BY_NAME[name], getattr(torch, name)
    if ours is dtypes.bool_:
        return
    kind = "finfo" if ours.is_floating_point else "iinfo"
    fields = ["bits", "min", "max"]
    if ours.is_floating_point:
        fields += ["eps", "tiny", "smallest_normal", "resolution"]
    for name in fields:
        a, b = (
            getattr(getattr(dtypes, kind)(ours), name),
            getattr(getattr(torch, kind)(theirs), name),
        )
        assert a == b, name


def test_aliases():
    for name, ours in dtypes.ALIASES.items():
        assert str(ours) == str(getattr(torch, name))
        assert getattr(tg, name) is ours or name == "bool"
    assert tg.bool is dtypes.bool_


def test_promotion_table():
    for a, b in PAIRS:
        ours = result(dtypes.promote_types, dtypes.BY_NAME[a], dtypes.BY_NAME[b])
        assert ours == result(torch.promote_types, getattr(torch, a), getattr(torch, b)), (a, b)


def test_cast_table():
    for a, b in PAIRS:
        ours = dtypes.can_cast(dtypes.BY_NAME[a], dtypes.BY_NAME[b])
        assert ours == torch.can_cast(getattr(torch, a), getattr(torch, b)), (a, b)


operands = st.one_of(
    st.sampled_from([True, 3, 2.5]),
    st.tuples(st.sampled_from(KNOWN), st.sampled_from([(), (1,), (2, 1)])),
)


@given(operands, operands, st.sampled_from(["float32", "float64", "float16"]))
def test_result_type(a, b, default):
    def made(lib, operand):
        if not isinstance(operand, tuple):
            return operand
        return lib.zeros(operand[1], dtype=getattr(lib, operand[0]))

    results = []
    for lib in (torch, tg):
        before = lib.get_default_dtype()
        lib.set_default_dtype(getattr(lib, default))
        try:
            results.append(str(lib.result_type(made(lib, a), made(lib, b))))
        finally:
            lib.set_default_dtype(before)
    assert results[0] == results[1]


@given(st.sampled_from(KNOWN), st.sampled_from(KNOWN), st.integers(0, 3), st.integers(0, 3))
def test_arithmetic_has_the_promoted_dtype(a, b, dims, other):
    x = [lib.ones((2,) * dims, dtype=getattr(lib, a)) for lib in (torch, tg)]
    y = [lib.ones((2,) * other, dtype=getattr(lib, b)) for lib in (torch, tg)]
    assert str((x[1] * y[1]).dtype) == str((x[0] * y[0]).dtype)
    assert str((x[1] * 2).dtype) == str((x[0] * 2).dtype)
    assert str((x[1] * 2.5).dtype) == str((x[0] * 2.5).dtype)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "bfloat16"])
def test_numpy_round_trip(name):
    theirs = torch.zeros(2, dtype=getattr(torch, name)).numpy().dtype
    assert dtypes.numpy_dtype(dtypes.BY_NAME[name]) == theirs
    assert dtypes.of(theirs) is dtypes.BY_NAME[name]
    assert dtypes.of(np.dtype(theirs)) is dtypes.BY_NAME[name]


@pytest.mark.parametrize("bad", [1, "float32", None, [1]])
def test_default_dtype_refuses(bad):
    for lib in (torch, tg):
        with pytest.raises(TypeError, match="only floating-point types"):
            lib.set_default_dtype(bad)
    with pytest.raises(TypeError, match="only floating-point types"):
        tg.set_default_dtype(tg.int32)


def test_python_types_as_dtypes():
    for kind in (float, int, bool):
        assert str(tg.zeros(2, dtype=kind).dtype) == str(torch.zeros(2, dtype=kind).dtype)
