"""Where the weights of a model come from: a folder, a file, or arrays in memory.

    source = open_huggingface("folder")
    source.config["model_type"], source.names(), source.shape(name), source.read(name)

The loader (models/loading.py) sees a Source only. Names are those of Hugging Face's files; every
weight is read when it is asked for, one at a time, so that a model is in memory once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..arrays.devices import to_numpy
from ..files.json_files import read_json_object
from ..files.paths import local_path
from ..files.untrusted import describe
from .formats.pages import drop_pages
from .formats.safetensors import SafeTensorsFile
from .formats.torch_file import TorchFile, is_torch_file

__all__ = [
    "ArraySource",
    "DirectSource",
    "HuggingFaceFolder",
    "MappedSource",
    "Source",
    "open_huggingface",
    "read_float",
]

FLOATS = ("float16", "bfloat16", "float32", "float64")
WHOLE_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


class Source(Protocol):
    """What the loader asks of weights.

    config  the object of config.json; {} if there is none
    where   what error messages call them: the path
    """

    config: dict[str, Any]
    where: str

    def names(self) -> list[str]:
        """The names of all weights."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight, without reading it if that is possible."""

    def read(self, name: str) -> np.ndarray:
        """A weight as a floating-point array.

        Raises: TypeError if it is of another kind.
        """


@runtime_checkable
class MappedSource(Source, Protocol):
    """A source whose weights are in a mapped file."""

    def drop(self, name: str) -> None:
        """Let the pages of a weight go that has been read; it can be read again."""


@runtime_checkable
class DirectSource(Source, Protocol):
    """A source that can decode a weight where it belongs, without another array."""

    def read_into(self, name: str, out: np.ndarray) -> bool:
        """Write a weight into `out`, rounded to its dtype; False if that is not possible."""


def read_float(value: Any, where: str, name: str) -> np.ndarray:
    """A weight, a tensor or an array of any library, as a NumPy array in its own dtype.

    Raises: TypeError if it is not float16, bfloat16, float32 or float64.
    """
    array = getattr(value, "array", value)
    dtype = getattr(array, "dtype", type(array).__name__)
    if str(dtype) not in FLOATS:
        raise TypeError(f"{where}: {name} is {dtype}, but weights are {', '.join(FLOATS)}")
    return to_numpy(array)


class ArraySource:
    """Arrays in memory, or a file that reads as a mapping from names to arrays.

    weights: name -> array or tensor; config: as in config.json
    """

    def __init__(
        self, weights: Mapping[str, Any], config: Mapping[str, Any] | None = None,
        where: str = "the weights",
    ) -> None:  # fmt: skip
        self.config, self.where = dict(config or {}), where
        self._weights = weights

    def names(self) -> list[str]:
        """The names of all weights."""
        return list(self._weights)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight; of one in a file without reading it."""
        weights = self._weights
        if isinstance(weights, SafeTensorsFile):
            return weights.shape(name)
        stored = weights.tree[name] if isinstance(weights, TorchFile) else weights[name]
        return tuple(getattr(stored, "shape", ()))

    def read(self, name: str) -> np.ndarray:
        """A weight as a NumPy array.

        Raises: TypeError if it is not floating-point.
        """
        return read_float(self._weights[name], self.where, name)

    def drop(self, name: str) -> None:
        """Let the pages of a weight go that has been read from a mapped file."""
        if isinstance(self._weights, SafeTensorsFile):
            drop_pages(self._weights[name])


class HuggingFaceFolder:
    """A folder in Hugging Face's layout whose weights are in several files (shards).

    index: the path of model.safetensors.index.json, or of the same for .bin files. Its weight_map
    says which file holds which weight.
    Raises: ValueError if the index is not as it should be, or a shard holds other weights than the
    index says; FileNotFoundError if a shard is missing; SafeTensorsError or TorchFileError if one
    is cut short or damaged.
    """

    def __init__(self, index: str | Path) -> None:
        index = Path(index)
        self.where = str(index.parent)
        self.config = read_config(index.parent)
        placed = read_json_object(index).get("weight_map")
        if not isinstance(placed, dict) or not all(isinstance(v, str) for v in placed.values()):
            raise ValueError(f"{index}: weight_map should map names to files, got "
                             f"{describe(placed)}")  # fmt: skip
        self._shard_of: dict[str, str] = placed
        self._shards = {}
        for file in sorted(set(placed.values())):
            if Path(file).name != file:
                raise ValueError(f"{index}: {describe(file)} is not the name of a file beside it")
            if not (index.parent / file).is_file():
                raise FileNotFoundError(f"{index} names the file {file}, which is missing")
            arrays = open_arrays(index.parent / file)
            self._shards[file] = ArraySource(arrays, where=str(index.parent / file))
        present = {(name, file) for file, shard in self._shards.items() for name in shard.names()}
        for name, file in sorted(set(placed.items()) ^ present):
            fault = "does not hold" if placed.get(name) == file else "also holds"
            raise ValueError(f"{index}: {file} {fault} {describe(name)}, unlike weight_map says")

    def names(self) -> list[str]:
        """The names of all weights."""
        return list(self._shard_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight, from its file's header."""
        return self._shards[self._shard_of[name]].shape(name)

    def read(self, name: str) -> np.ndarray:
        """A weight as a NumPy array.

        Raises: TypeError if it is not floating-point.
        """
        return self._shards[self._shard_of[name]].read(name)

    def drop(self, name: str) -> None:
        """Let the pages of a weight go that has been read."""
        self._shards[self._shard_of[name]].drop(name)


def read_config(folder: Path) -> dict[str, Any]:
    """The object of config.json in a folder; {} if there is none.

    Raises: ValueError, with the path, if it is not JSON or not an object.
    """
    path = folder / "config.json"
    return read_json_object(path) if path.is_file() else {}


def open_arrays(path: Path) -> Mapping[str, Any]:
    """The arrays of a .safetensors file, or of a .bin or .pth file of torch.save, by name.

    Nothing in the file runs.
    Raises: SafeTensorsError or TorchFileError if it is cut short or damaged; ValueError if it is
    not a state dict.
    """
    with open(path, "rb") as file:
        head = file.read(16)
    if not is_torch_file(head):
        return SafeTensorsFile(path)
    arrays = TorchFile(path)
    if not isinstance(arrays.tree, dict):
        raise ValueError(f"{path} holds a {type(arrays.tree).__name__}, not a state dict")
    return arrays


def open_huggingface(path: str | Path) -> Source:
    """The weights in a folder as transformers writes it, or in one file of it.

    path: a folder with model.safetensors or pytorch_model.bin, whole or in shards with an index;
        or one of these files, with config.json beside it
    Raises: FileNotFoundError if there is no such file; ValueError if a file is cut short, damaged,
    or not what it should be.
    """
    path = given = local_path(path)
    if path.is_dir():
        names = [WHOLE_FILES[0], INDEX_FILES[0], WHOLE_FILES[1], INDEX_FILES[1]]
        present = [path / name for name in names if (path / name).is_file()]
        if not present:
            raise FileNotFoundError(f"{path} has neither {' nor '.join(WHOLE_FILES)}")
        path = present[0]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.name in INDEX_FILES:
        return HuggingFaceFolder(path)
    return ArraySource(open_arrays(path), read_config(path.parent), str(given))
