"""Names that PyTorch's Tensor has: each is here, or its error says so and gives a hint."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.tensor import missing_names  # noqa: E402

PUBLIC = [name for name in dir(torch.Tensor) if not name.startswith("_")]


def test_every_name_is_here_or_its_error_has_a_hint():
    x = tg.ones(2)
    for name in PUBLIC:
        try:
            getattr(x, name)
        except AttributeError as error:
            assert "PyTorch's tensors have it" in str(error) and repr(name) in str(error), name
        except RuntimeError as error:  # imag of a real tensor, mT of a vector
            assert name in ("imag", "mT", "H", "mH"), error


def test_what_is_called_missing_is_pytorchs():
    assert set(missing_names._OF_TENSOR.split()) <= set(PUBLIC)
    assert set(missing_names._INSTEAD) <= set(missing_names._OF_TENSOR.split())


@pytest.mark.parametrize("name,hint", [
    ("svd", "numpy.linalg.svd"), ("unfold", "torch.stack"), ("cumprod", "cumsum"),
    ("erfc_", "nearest is erfc"), ("ldexp", ""), ("qscheme", ""), ("nanmedian", "nearest is"),
    ("storage", "untyped_storage"), ("to_dense", "itself"), ("select_scatter", ""),
    ("sinc", "nearest is"), ("swapaxes_", "nearest is swapaxes"),
])  # fmt: skip
def test_hints(name, hint):
    if name not in missing_names.names_of(tg.Tensor):
        for x in (tg.ones(2), tg.nn.Parameter(tg.ones(2))):
            with pytest.raises(AttributeError, match="PyTorch's tensors have it") as error:
                getattr(x, name)
            assert hint in str(error.value) and type(x).__name__ in str(error.value)
            assert not hasattr(x, name) and name not in dir(x)
    assert not hasattr(tg.ones(2), "nothing_like_this") and "softmax" in dir(tg.ones(2))
    assert copy.copy(tg.ones(2)).tolist() == [1.0, 1.0]


def test_other_wrong_names_have_pythons_error():
    with pytest.raises(AttributeError, match="^'Tensor' object has no attribute 'sofmax'$"):
        tg.ones(2).sofmax()
