"""The stand-in for CuPy is strict: it refuses NumPy's arrays and functions in every place."""

from __future__ import annotations

import numpy as np
import pytest
import strict_array as cupy

from tinygrad_llm.arrays import devices, memory
from tinygrad_llm.tensor import wrap


@pytest.mark.parametrize(
    "stray",
    [
        lambda a: np.exp(a),
        lambda a: np.sum(a),
        lambda a: np.where(a > 0, a, a),
        lambda a: np.asarray(a),
        lambda a: a + np.ones(2),
        lambda a: np.ones(2) + a,
        lambda a: a * np.float64(2.0),
        lambda a: np.float32(2.0) * a,
        lambda a: a.__iadd__(np.ones(2)),
        lambda a: a[np.array([0])],
        lambda a: a[[0, 1]],
        lambda a: a.__setitem__(0, np.ones(2)),
        lambda a: a.sum(np.int64(0)),
        lambda a: cupy.maximum(a, np.float64(0.0)),
        lambda a: cupy.where(np.ones(2, bool), a, a),
        lambda a: cupy.concatenate([a, np.ones((2, 2))]),
        lambda a: cupy.exp([1.0, 2.0]),
        lambda a: cupy.add.at(a, np.array([0]), 1.0),
    ],
)
def test_numpy_is_refused(stray):
    with pytest.raises(TypeError):
        stray(cupy.array([[1.0, 2.0], [3.0, 4.0]]))


def test_what_cupy_lacks_is_missing():
    assert not hasattr(cupy, "apply_along_axis") and not hasattr(cupy.add, "reduceat")
    assert not hasattr(cupy.array([1.0]), "ctypes")


def test_results_are_arrays_never_scalars():
    a = cupy.array([[1.0, 2.0], [3.0, 4.0]])
    for value in (a.sum(), a.max(), a[0, 0], a[0] @ a[1], cupy.exp(a).mean()):
        assert type(value) is cupy.ndarray and value.shape == ()
    assert float(a.sum()) == 10.0


def test_views_know_their_owner():
    a = cupy.array([[1.0, 2.0], [3.0, 4.0]])
    assert a.base is None
    for view in (a[0], a.T, a.reshape(4), a[1][0:1]):
        assert view.base is a and memory.storage_of(view) is a
    a[0][1] = 9.0
    assert a.tolist() == [[1.0, 9.0], [3.0, 4.0]]
    assert memory.storage_of(a.copy()) is not a


def test_backend_takes_it_for_another_device(device):
    if device == "cpu":
        assert devices.device_of(np.ones(2)) == ("cpu", 0) and devices.xp_of(np.ones(2)) is np
        return
    x = wrap(np.arange(3.0)).to(device)
    assert devices.device_of(x.array) == ("cuda", 0)
    assert devices.xp_of(x.array) is not np and x.is_cuda
    assert x.cpu().tolist() == [0.0, 1.0, 2.0]


def test_mixed_devices_are_one_clear_line(device):
    if device == "cpu":
        pytest.skip("one device does not mix")
    with pytest.raises(RuntimeError, match="add: Expected all tensors to be on the same device"):
        wrap(np.ones(2)).to(device) + wrap(np.ones(2))
