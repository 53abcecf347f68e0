"""Element types by themselves: identity, laziness, NumPy's dtypes."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.tensor import dtypes


def python(code: str) -> str:
    """What a fresh Python prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_names_and_identity():
    assert repr(tg.float32) == str(tg.float32) == "torch.float32"
    assert repr(tg.bool) == "torch.bool"
    assert tg.float is tg.float32 and tg.long is tg.int64 and tg.half is tg.float16
    assert isinstance(tg.float32, tg.dtype)
    assert tg.float32 != tg.float64 and len({*dtypes.ALL}) == len(dtypes.ALL)


@pytest.mark.parametrize("d", dtypes.ALL, ids=str)
def test_copies_are_the_same_object(d):
    assert copy.copy(d) is d
    assert copy.deepcopy({"dtype": [d]})["dtype"][0] is d


def test_from_numpy_types():
    assert dtypes.of(np.dtype(np.longlong)) is dtypes.int64
    assert dtypes.as_dtype(np.float16) is dtypes.float16
    assert dtypes.as_dtype(np.dtype("uint8")) is dtypes.uint8
    assert dtypes.as_dtype(None) is dtypes.get_default_dtype()
    assert dtypes.of(np.dtype(complex)) is dtypes.complex128
    with pytest.raises(TypeError, match="numpy.object_"):
        dtypes.of(np.dtype(object))
    with pytest.raises(TypeError, match="numpy.str_"):
        dtypes.of(np.dtype("U3"))
    swapped = np.dtype(np.float32).newbyteorder()
    with pytest.raises(ValueError, match="astype"):
        dtypes.of(swapped)
    with pytest.raises(TypeError, match="must be torch.dtype, not str"):
        dtypes.as_dtype("float32")


def test_bfloat16_finds_ml_dtypes_late():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert dtypes.bfloat16.numpy == np.dtype(ml_dtypes.bfloat16)
    assert dtypes.of(np.dtype(ml_dtypes.bfloat16)) is dtypes.bfloat16
    assert python("import sys, tinygrad_llm; print('ml_dtypes' in sys.modules)") == "False"
    first_seen_from_outside = (
        "import tinygrad_llm as tg, ml_dtypes, numpy as np;"
        "print(tg.from_numpy(np.ones(2, ml_dtypes.bfloat16)).dtype)"
    )
    assert python(first_seen_from_outside) == "torch.bfloat16"


def test_bfloat16_without_ml_dtypes():
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import tinygrad_llm as tg\n"
        "try: tg.zeros(2, dtype=tg.bfloat16)\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install ml_dtypes" in python(code)


def test_default_dtype_decides_what_floats_become():
    tg.set_default_dtype(tg.float64)
    try:
        assert tg.tensor(1.5).dtype is tg.float64
        assert tg.zeros(2).dtype is tg.float64
        assert tg.tensor(1).dtype is tg.int64
        assert (tg.tensor([1]) + 1.5).dtype is tg.float64
    finally:
        tg.set_default_dtype(tg.float32)
    assert tg.tensor(1.5).dtype is tg.float32


def test_promotion_is_symmetric_and_keeps_its_own():
    for a in dtypes.ALL:
        assert dtypes.promote_types(a, a) is a
        for b in dtypes.ALL:
            try:
                assert dtypes.promote_types(a, b) is dtypes.promote_types(b, a)
            except RuntimeError as error:
                assert "not supported" in str(error)


def test_categories_of_operands():
    row, point = tg.ones(2, dtype=tg.int8), tg.tensor(1, dtype=tg.int64)
    assert tg.result_type(row, point) is tg.int8
    assert tg.result_type(row, 300) is tg.int8
    assert tg.result_type(row, 0.5) is tg.float32
    assert tg.result_type(tg.tensor(True), 1, 2.0) is tg.float32
    assert tg.result_type(tg.ones(2), tg.tensor(1.0, dtype=tg.float64)) is tg.float32
    with pytest.raises(TypeError, match="not str"):
        tg.result_type(row, "x")
    with pytest.raises(TypeError, match="at least one"):
        tg.result_type()
