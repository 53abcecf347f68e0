"""What tensors print, against texts that stand here (tests/parity compares with PyTorch itself)."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as tg
import tinygrad_llm.nn as nn
from tinygrad_llm.tensor import printing


@pytest.fixture(autouse=True)
def default_options():
    yield
    tg.set_printoptions(profile="default")


CASES = [
    ([1.0, 2.5], "tensor([1.0000, 2.5000])"),
    ([1.0, 2.0], "tensor([1., 2.])"),
    ([1, -20], "tensor([  1, -20])"),
    ([True, False], "tensor([ True, False])"),
    (3, "tensor(3)"),
    (3.14159, "tensor(3.1416)"),
    ([], "tensor([])"),
    ([[], []], "tensor([], size=(2, 0))"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([1e9, 1.0], "tensor([1.0000e+09, 1.0000e+00])"),
    ([float("nan"), float("inf"), 1.0], "tensor([nan, inf, 1.])"),
    ([0.0, -0.0], "tensor([0., -0.])"),
    ([[1, 2], [3, 4]], "tensor([[1, 2],\n        [3, 4]])"),
    ([[[1]], [[2]]], "tensor([[[1]],\n\n        [[2]]])"),
]


@pytest.mark.parametrize(("data", "text"), CASES)
def test_texts(data, text):
    assert repr(tg.tensor(data)) == str(tg.tensor(data)) == text


def test_suffixes():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], grad_fn=<MulBackward0>)"
    assert repr(x.detach()) == "tensor([1., 2.])"
    assert repr(x.double()).endswith("dtype=torch.float64, grad_fn=<ToCopyBackward0>)")
    assert repr(tg.tensor([1], dtype=tg.int32)) == "tensor([1], dtype=torch.int32)"
    assert repr(tg.zeros(0, dtype=tg.int64)) == "tensor([], dtype=torch.int64)"
    assert repr(nn.Parameter(tg.ones(1))) == (
        "Parameter containing:\ntensor([1.], requires_grad=True)"
    )


def test_suffix_goes_to_a_line_of_its_own():
    x = tg.arange(12.0).requires_grad_()
    assert repr(x) == (
        "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11.],\n"
        "       requires_grad=True)"
    )


def test_summary_of_many_elements():
    assert repr(tg.arange(1001)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    lines = repr(tg.zeros(40, 40)).split("\n")
    assert lines[0] == "tensor([[0., 0., 0.,  ..., 0., 0., 0.],"
    assert lines[3] == "        ...,"
    assert len(lines) == 7


def test_options():
    x = tg.tensor([0.123456789, 10.0])
    tg.set_printoptions(precision=2)
    assert repr(x) == "tensor([ 0.12, 10.00])"
    tg.set_printoptions(sci_mode=True)
    assert repr(x) == "tensor([1.23e-01, 1.00e+01])"
    tg.set_printoptions(profile="default")
    with printing.printoptions(precision=1):
        assert repr(x) == "tensor([ 0.1, 10.0])"
    assert repr(x) == "tensor([ 0.1235, 10.0000])"
    with printing.printoptions(threshold=3, edgeitems=1):
        assert repr(tg.arange(5)) == "tensor([0,  ..., 4])"
    with printing.printoptions(linewidth=20):
        assert max(map(len, repr(tg.arange(30)).split("\n"))) <= 20


def test_options_come_back_after_an_error():
    before = printing.get_printoptions()
    with pytest.raises(ZeroDivisionError), printing.printoptions(precision=9, sci_mode=True):
        raise ZeroDivisionError
    assert printing.get_printoptions() == before


def test_formatting_of_one_number():
    loss = tg.tensor(2.345678, requires_grad=True)
    assert f"{loss:.3f}" == "2.346"
    assert f"{tg.tensor(2)}" == "2"
    assert f"{tg.tensor([2])}" == "tensor([2])"
    with pytest.raises(TypeError, match="format"):
        f"{tg.tensor([2.0]):.3f}"


def test_a_name_and_a_device_in_front():
    text = printing.array_repr(np.ones(2, np.float32), name="Mask", device="cuda:0")
    assert text == "Mask([1., 1.], device='cuda:0')"


def test_printing_changes_nothing():
    a = np.array([[1.0, np.nan], [np.inf, 2.0]], np.float16)
    a.flags.writeable = False
    before = a.tobytes()
    repr(tg.from_numpy(a.T))
    assert a.tobytes() == before


def test_a_tensor_on_a_gpu_names_it(device):
    text = repr(tg.tensor([1.5]).to(device))
    assert text == ("tensor([1.5000])" if device == "cpu" else "tensor([1.5000], device='cuda:0')")
