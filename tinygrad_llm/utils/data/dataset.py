"""Data sets: something with `[i]` and `len`, or something to iterate over."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from ...functions.random import default_generator
from ...tensor import Tensor

T = TypeVar("T", covariant=True)


class Dataset(Generic[T]):
    """A map from an index to an example. A subclass defines __getitem__, and mostly __len__.

    It may define `__getitems__(indices)` too, which returns all examples of a batch in one call.
    """

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T], ABC):
    """A stream of examples. A subclass defines __iter__, and with it the order."""

    @abstractmethod
    def __iter__(self) -> Iterator[T]: ...

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Example i is the tuple of the tensors' rows i: TensorDataset(x, y)[i] is (x[i], y[i]).

    Raises: AssertionError unless the tensors have the same number of rows.
    """

    def __init__(self, *tensors: Tensor) -> None:
        assert all(len(tensors[0]) == len(t) for t in tensors), "Size mismatch between tensors"
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class StackDataset(Dataset[Any]):
    """Example i is the tuple (or dict, for keyword arguments) of the data sets' examples i.

    Raises: ValueError unless the data sets have the same length.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError("StackDataset takes data sets either by position or by name")
        self.datasets: Any = args or kwargs
        each = list(kwargs.values() if kwargs else args)
        if any(len(each[0]) != len(d) for d in each):
            raise ValueError("Size mismatch between datasets")
        self._length = len(each[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {key: d[index] for key, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[Any]):
    """Several data sets one after the other.

    Raises: AssertionError if there are none, or if one is an IterableDataset.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        assert self.datasets, "datasets should not be an empty iterable"
        for d in self.datasets:
            assert not isinstance(d, IterableDataset), (
                "ConcatDataset does not support IterableDataset"
            )
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            if -index > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            index += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        if which == len(self.datasets):
            raise IndexError(f"index {index} is out of range: there are {len(self)} examples")
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class ChainDataset(IterableDataset[Any]):
    """Several iterable data sets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for d in self.datasets:
            assert isinstance(d, IterableDataset), "ChainDataset only supports IterableDataset"
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self.datasets)


class Subset(Dataset[T]):
    """The examples of a data set whose indices are listed."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        chosen = [self.indices[i] for i in indices]
        if hasattr(self.dataset, "__getitems__"):
            return self.dataset.__getitems__(chosen)
        return [self.dataset[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """Disjoint random subsets; lengths: numbers of examples, or fractions that add up to 1.

    With fractions each length is rounded down, and the examples that are left go to the subsets one
    by one, from the first on.
    Raises: ValueError if the lengths do not add up.
    """
    total = sum(lengths)
    if math.isclose(total, 1.0) and total <= 1.0:
        sizes = []
        for i, fraction in enumerate(lengths):
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
            sizes.append(math.floor(len(dataset) * fraction))
        for i in range(len(dataset) - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.",
                    stacklevel=2,
                )
    else:
        sizes = [int(length) for length in lengths]
        if total != len(dataset):
            raise ValueError(
                "Sum of input lengths does not equal the length of the input dataset! "
                f"{total} expected, the dataset has {len(dataset)}"
            )
    order = (generator or default_generator).randperm(sum(sizes)).tolist()
    ends = itertools.accumulate(sizes)
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
