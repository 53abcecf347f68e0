"""LongTensor, FloatTensor and the other old constructors; what a tensor is not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tinygrad_llm as torch

DTYPES = {
    "FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16",
    "BFloat16Tensor": "bfloat16", "LongTensor": "int64", "IntTensor": "int32",
    "ShortTensor": "int16", "CharTensor": "int8", "ByteTensor": "uint8", "BoolTensor": "bool",
}  # fmt: skip
every_type = pytest.mark.parametrize("name", sorted(DTYPES))


@every_type
def test_what_they_make(name):
    kind, dtype = getattr(torch, name), getattr(torch, DTYPES[name])
    for x in (kind([[1, 0], [1, 1]]), kind(((1, 0), (1, 1))), kind(np.array([[1, 0], [1, 1]]))):
        assert x.dtype is dtype and x.tolist() == [[1, 0], [1, 1]] and type(x) is torch.Tensor
    assert kind(2, 3).shape == kind(torch.Size([2, 3])).shape == (2, 3)
    assert kind().shape == (0,) and kind(4).shape == (4,) and kind([]).dtype is dtype
    assert kind(range(1)).tolist() == [0] and kind(x).data_ptr() == x.data_ptr()
    assert repr(kind) == f"<class 'torch.{name}'>" and kind.dtype is dtype and not kind.is_cuda


@every_type
def test_isinstance(name):
    kind = getattr(torch, name)
    for other, dtype in DTYPES.items():
        x = torch.ones(2, dtype=getattr(torch, dtype))
        assert isinstance(x, kind) is (other == name)
        assert not isinstance(x, getattr(torch.cuda, name))
    assert not isinstance(3, kind) and not isinstance(torch.ones(1, device="meta"), kind)
    assert isinstance(torch.nn.Parameter(torch.ones(1)), torch.FloatTensor)
    assert kind is getattr(torch, name)  # one class


@every_type
def test_type(name):
    x, dtype = torch.ones(2), getattr(torch, DTYPES[name])
    for to in (getattr(torch, name), f"torch.{name}", dtype):
        assert x.type(to).dtype is dtype
    assert x.to(dtype).type() == f"torch.{name}"
    if dtype.is_floating_point:
        assert torch.nn.Linear(1, 1).type(getattr(torch, name)).weight.dtype is dtype


@pytest.mark.parametrize("error,call", [
    (TypeError, lambda: torch.LongTensor(1.5)),
    (TypeError, lambda: torch.LongTensor("text")),
    (TypeError, lambda: torch.LongTensor(torch.ones(2))),
    (TypeError, lambda: torch.FloatTensor({"a": 1}.items)),
    (ValueError, lambda: torch.ones(1).type("LongTensor")),
    (ValueError, lambda: torch.ones(1).type("torch.WrongTensor")),
    (ValueError, lambda: torch.ones(1).type("numpy.LongTensor")),
    (ValueError, lambda: torch.LongTensor([[1], [2, 3]])),
    (AttributeError, lambda: torch.LungTensor),
    (AttributeError, lambda: torch.cuda.LungTensor),
])  # fmt: skip
def test_errors(error, call):
    with pytest.raises(error):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_on_a_gpu_that_is_not_there():
    assert repr(torch.cuda.FloatTensor) == "<class 'torch.cuda.FloatTensor'>"
    with pytest.raises(RuntimeError, match="CuPy|GPU"):
        torch.cuda.FloatTensor([1.0])
    with pytest.raises(RuntimeError, match="CuPy|GPU"):
        torch.ones(1).type("torch.cuda.FloatTensor")


def test_set_default_tensor_type():
    try:
        with pytest.warns(UserWarning, match="deprecated"):
            torch.set_default_tensor_type(torch.DoubleTensor)
        assert torch.ones(1).dtype is torch.float64
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_default_tensor_type("torch.FloatTensor")
            for wrong in (torch.LongTensor, "torch.Wrong", 3):
                with pytest.raises(TypeError):
                    torch.set_default_tensor_type(wrong)
        assert torch.ones(1).dtype is torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_a_tensor_is_not():
    x = torch.ones(2, 3)
    for name in ("sparse", "sparse_csr", "quantized", "mkldnn", "nested", "mps", "xpu", "meta"):
        assert getattr(x, f"is_{name}") is False
    assert x.layout is torch.strided and repr(x.layout) == "torch.strided"
    assert isinstance(x.layout, torch.layout)
    assert not (x.is_complex() or x.is_conj() or x.is_neg() or x.is_shared() or x.is_pinned())
    assert x.is_signed() and not x.byte().is_signed() and x.is_same_size(torch.zeros(2, 3))
    assert x.is_set_to(x.view(2, 3)) and not x.is_set_to(x.view(3, 2))
    assert not x.is_set_to(x.clone()) and x.real is x and x.conj() is x
    assert not torch.is_complex(x) and torch.is_floating_point(x)
