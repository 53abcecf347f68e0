"""Making tensors: what is copied, what is shared, where it lives."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as tg


def test_tensor_copies():
    a = np.array([1.0, 2.0])
    x = tg.tensor(a)
    a[0] = 9
    assert x.tolist() == [1.0, 2.0]
    with pytest.warns(UserWarning, match="clone"):
        y = tg.tensor(x)
    y[0] = 7
    assert x.tolist() == [1.0, 2.0]


def test_from_numpy_shares():
    a = np.arange(6.0).reshape(2, 3)
    x = tg.from_numpy(a)
    a[0, 0] = 9
    assert x[0, 0].item() == 9
    x[1, 2] = -1
    assert a[1, 2] == -1
    assert tg.from_numpy(a.T).stride() == (1, 3)
    mapped = tg.from_numpy(a.view(np.matrix) if False else np.asfortranarray(a))
    assert mapped.stride() == (1, 2)


def test_from_numpy_refuses():
    with pytest.raises(TypeError, match="got list"):
        tg.from_numpy([1])
    with pytest.raises(TypeError, match="got numpy.float32"):
        tg.from_numpy(np.float32(1))
    with pytest.raises(ValueError, match="stride"):
        tg.from_numpy(np.arange(3)[::-1])
    with pytest.raises(TypeError, match="object_"):
        tg.from_numpy(np.array([None]))


def test_as_tensor_copies_only_if_it_must():
    a = np.arange(3, dtype=np.float32)
    assert np.shares_memory(tg.as_tensor(a).array, a)
    assert not np.shares_memory(tg.as_tensor(a, dtype=tg.float64).array, a)
    x = tg.tensor([1.0])
    assert tg.as_tensor(x) is x
    assert tg.as_tensor([1, 2]).dtype is tg.int64


def test_asarray():
    a = np.arange(3)
    assert np.shares_memory(tg.asarray(a).array, a)
    assert not np.shares_memory(tg.asarray(a, copy=True).array, a)
    assert tg.asarray(a, copy=False).array is a
    with pytest.raises(ValueError, match="alias"):
        tg.asarray(a, copy=False, dtype=tg.float32)
    with pytest.raises(ValueError, match="alias"):
        tg.asarray([1, 2], copy=False)
    assert tg.asarray([1.0], requires_grad=True).requires_grad


def test_objects_with_arrays_inside():
    class Column:
        def __array__(self, dtype=None, copy=None):
            return np.array([1, 2], dtype)

    assert tg.tensor(Column()).tolist() == [1, 2]
    assert tg.tensor(np.array([1, 2]).data).tolist() == [1, 2]


def test_like_keeps_the_layout():
    x = tg.zeros(2, 3).t()
    assert tg.zeros_like(x).stride() == x.stride() == (1, 3)
    assert tg.ones_like(x, dtype=tg.int64).dtype is tg.int64
    assert tg.full_like(x, 2).tolist() == [[2.0, 2.0]] * 3
    assert tg.empty_like(x).shape == (3, 2)
    assert tg.zeros_like(tg.ones(1).expand(3)).tolist() == [0.0] * 3


def test_requires_grad():
    for x in (
        tg.tensor([1.0], requires_grad=True),
        tg.zeros(2, requires_grad=True),
        tg.full((2,), 1.0, requires_grad=True),
        tg.arange(3.0, requires_grad=True),
        tg.linspace(0, 1, 3, requires_grad=True),
        tg.eye(2, requires_grad=True),
        tg.ones_like(tg.zeros(2), requires_grad=True),
    ):
        assert x.requires_grad and x.is_leaf
    with pytest.raises(RuntimeError, match="floating point"):
        tg.tensor([1], requires_grad=True)


def test_new_tensors_follow_their_origin(device):
    x = tg.ones(2, dtype=tg.float64).to(device)
    for y in (
        x.new_zeros(2, 3),
        x.new_ones((2, 3)),
        x.new_empty(2, 3),
        x.new_full((2, 3), 5),
        x.new_tensor([[1, 2, 3]] * 2),
    ):
        assert (y.dtype, y.device.type, y.shape) == (tg.float64, device, (2, 3))
    assert x.new_full((2,), 5).tolist() == [5.0, 5.0]
    assert x.new_zeros(1, dtype=tg.int64).dtype is tg.int64


def test_on_a_device(device):
    made = {
        "tensor": tg.tensor([1.0, 0.0], device=device),
        "as_tensor": tg.as_tensor([1.0, 0.0], device=device),
        "zeros": tg.zeros(2, device=device),
        "ones": tg.ones(2, device=device),
        "empty": tg.empty(2, device=device),
        "full": tg.full((2,), 7.0, device=device),
        "arange": tg.arange(2.0, device=device),
        "linspace": tg.linspace(0, 1, 2, device=device),
        "eye": tg.eye(2, device=device),
        "zeros_like": tg.zeros_like(tg.ones(2), device=device),
        "of_a_device": tg.ones_like(tg.ones(2).to(device)),
    }
    for name, x in made.items():
        assert x.device.type == device, name
    assert made["full"].tolist() == [7.0, 7.0]
    assert made["eye"].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_no_gpu_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="pip install"):
        tg.zeros(2, device="cuda")
    with pytest.raises(RuntimeError, match="device type at start"):
        tg.zeros(2, device="gpu")


def test_errors_say_where():
    with pytest.raises(ValueError, match=r"length 2 at dim 1 \(got 1\)"):
        tg.tensor([[1, 2], [3]])
    with pytest.raises(ValueError, match=r"length 1 at dim 2 \(got 2\)"):
        tg.tensor([[[1], [2]], [[3], [4, 5]]])
    with pytest.raises(TypeError, match="not a sequence"):
        tg.tensor([[1, 2], 3])
    with pytest.raises(RuntimeError, match=r"300 is outside \[0, 255\]"):
        tg.tensor([1, 300], dtype=tg.uint8)
    with pytest.raises(ValueError, match=r"stack\(\) or cat\(\)"):
        tg.tensor([tg.ones(2), tg.ones(2)])


def test_long_lists_keep_every_number():
    rows = [[i * 3 + j for j in range(3)] for i in range(2000)]
    assert np.array_equal(tg.tensor(rows).array, np.array(rows))
    assert tg.tensor([2**63 - 1, -(2**63)]).tolist() == [2**63 - 1, -(2**63)]


def test_gradients_flow_through_meshgrid():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    a, b = tg.meshgrid(x, x, indexing="ij")
    (a * b).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]
