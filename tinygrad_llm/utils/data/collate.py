"""One batch from many examples: tensors are stacked, numbers become tensors, containers stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...functions.creation.from_data import as_tensor, tensor
from ...functions.shape.join import stack
from ...tensor import Tensor


def default_collate(batch: Any) -> Any:
    """A batch from a list of examples of the same structure.

    Tensors and NumPy arrays are stacked along a new first dimension; numbers become a tensor
    (floats float64, as PyTorch makes them); strings and bytes stay a list. Mappings, lists, tuples
    and named tuples are batched element by element; a tuple becomes a list.
    Raises: TypeError for anything else; RuntimeError if shapes or lengths differ.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        _refuse_text(first)
        return stack([as_tensor(x) for x in batch], 0)
    if isinstance(first, np.bool_ | np.number):
        return as_tensor(np.asarray(batch))
    if isinstance(first, float):
        return tensor(list(batch), dtype=np.float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        values = {key: default_collate([example[key] for example in batch]) for key in first}
        return _rebuilt(first, values)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*map(default_collate, zip(*batch)))  # noqa: B905
    if isinstance(first, Sequence):
        if any(len(example) != len(first) for example in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple | list) else _rebuilt(first, columns)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}"
    )


def default_convert(data: Any) -> Any:
    """An example with its NumPy arrays and NumPy numbers as tensors; everything else stays."""
    if isinstance(data, np.ndarray | np.bool_ | np.number):
        return data if isinstance(data, np.ndarray) and _is_text(data) else as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple | list):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _rebuilt(data, [default_convert(value) for value in data])
    return data


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "USO"


def _refuse_text(array: np.ndarray) -> None:
    if _is_text(array):
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found {array.dtype}"
        )


def _rebuilt(like: Any, values: Any) -> Any:
    """The values in a container of like's type, or as they are if that type does not take them."""
    container: Callable[[Any], Any] = type(like)
    if type(like) in (dict, list):
        return values
    try:
        return container(values)
    except TypeError:
        return values
