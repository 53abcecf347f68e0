"""What holds on a machine with several GPUs: a tensor is worked on where it lives.

CuPy runs everything on its current GPU, wherever the arrays are. Here whoever looks at a tensor's
array makes the tensor's GPU the current one, and so does the walk back for each op; which GPU
"cuda" stands for is remembered apart (`cuda.set_device`). With one GPU nothing of this is there.
"""

from __future__ import annotations

from typing import Any

from ..arrays.devices import cupy, gpu_count, use_gpu
from ..arrays.memory import is_array, ndarray
from ..autograd.engine import Op, backward_observers, observers
from ..tensor import Tensor

__all__ = ["install"]


def gpu_of(array: Any) -> int | None:
    """The number of the array's GPU; None for what is no array of a GPU."""
    if isinstance(array, ndarray) or not is_array(array):
        return None
    return int(array.data.device_id)


def _array(tensor: Tensor) -> Any:
    array = tensor.__dict__["array"]
    if type(array) is not ndarray:
        index = gpu_of(array)
        if index is not None:
            use_gpu(index)
    return array


def _set_array(tensor: Tensor, array: Any) -> None:
    tensor.__dict__["array"] = array


def _remember(op: Any, inputs: tuple, results: Any) -> None:
    op.gpu = gpu_of(results[0].__dict__["array"])


def _go_there(op: Any) -> None:
    index = getattr(op, "gpu", None)
    if index is not None:
        use_gpu(index)


def install() -> None:
    """Follow tensors to their GPUs, if there are several."""
    if gpu_count(cupy()) < 2 or isinstance(Tensor.__dict__.get("array"), property):
        return
    apply = Op.apply.__func__  # type: ignore[attr-defined]

    def checked(cls: Any, *inputs: Any, **options: Any) -> Any:
        arrays = [x.__dict__["array"] if isinstance(x, Tensor) else x for x in inputs]
        gpus = [i for i in map(gpu_of, arrays) if i is not None]
        if len(set(gpus)) > 1:
            raise RuntimeError(
                f"{cls.name}: Expected all tensors to be on the same device, but found "
                f"{', '.join(f'cuda:{i}' for i in gpus)}: move them with .to(device)"
            )
        return apply(cls, *inputs, **options)

    Tensor.array = property(_array, _set_array)  # type: ignore[assignment]
    Op.apply = classmethod(checked)  # type: ignore[assignment, method-assign]
    observers.append(_remember)
    backward_observers.append(_go_there)
