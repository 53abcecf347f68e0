"""save and load: nested dicts, lists, numbers and tensors in one file that cannot run code.

`save` writes what PyTorch's `torch.load(weights_only=True)` reads: a zip archive of numbers and of
byte code that only builds tensors and plain containers (see weights/formats/torch_writer.py).
`load` reads it back, and so it does the files of PyTorch's `torch.save`: a reader that refuses
everything else by name (weights/formats/torch_file.py). A safetensors file becomes a dict of
tensors, or what was saved, if it is one that `save` wrote in its first form: the structure as JSON
in the file's metadata. For safetensors files use weights.save_file and save_model.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from .arrays import devices
from .arrays.availability import is_available
from .files.atomic import atomic_write
from .files.json_files import parse_json
from .files.paths import local_path
from .files.untrusted import describe, element_count, is_flat, translated
from .tensor import Size, Tensor, device, dtypes, wrap
from .weights.formats.safetensors import SafeTensorsFile
from .weights.formats.torch_file import TorchFile, TorchFileError, is_torch_file
from .weights.formats.torch_values import StoredArray, StoredDtype, StoredTensor
from .weights.formats.torch_writer import write_torch_file
from .weights.formats.tree import unpack

__all__ = ["LoadError", "load", "save"]

T = TypeVar("T")

_KEY = "tinygrad_llm.structure"
_KIND = "$type"  # the key that marks a value that JSON does not have


class LoadError(RuntimeError):
    """A file that `load` cannot read: damaged, cut short, of an unknown format, or refused."""


# ---------------------------------------------------------------------------------------- saving
def save(obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: Any = None) -> None:
    """Write obj to f, a path or an open binary file; a path is written whole or not at all.

    obj: tensors, parameters, dict, OrderedDict, list, tuple, set, str, bytes, numbers, bool, None,
    Size, device, dtypes and NumPy arrays, nested. Tensors that are the same memory (tied
    weights) are stored once and share it again when loaded. PyTorch reads the file with
    torch.load; with weights_only=True if there is no NumPy array and no frozenset in it.
    The last two arguments are accepted and unused: the file's form is fixed.
    Raises: TypeError, with the place, if it holds anything else (of a model, save
    model.state_dict()); RuntimeError if the folder does not exist; ValueError if obj is nested too
    deeply.
    """
    if hasattr(f, "write"):
        buffer = io.BytesIO()
        write_torch_file(obj, buffer)
        f.write(buffer.getvalue())
        return
    path = local_path(f)
    if not path.absolute().parent.is_dir():
        raise RuntimeError(f"Parent directory {path.parent} does not exist.")
    with atomic_write(path) as file:
        write_torch_file(obj, file)


# --------------------------------------------------------------------------------------- loading
def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
    **unused: Any,
) -> Any:
    """Read what `save` or PyTorch's `torch.save` wrote to f, a path or an open binary file.

    map_location: the device to put tensors on, as a device, its name, a dict from the device they
    were saved on to another, or a function of (tensor, saved device's name). None: the device they
    were on, or the CPU if there is no GPU here. mmap: map the tensors of a PyTorch file into memory
    instead of reading them. weights_only is accepted; False makes no difference: no file runs code.

    A safetensors file from elsewhere becomes a dict of tensors.
    Raises: OSError if f cannot be read; LoadError or TorchFileError (both RuntimeErrors) that say
    what is wrong with the file: damaged, cut short, of an unknown format, or with a value that is
    refused here.
    """
    source: Any
    if hasattr(f, "read"):
        data = f.read()
        source, head, where = io.BytesIO(data), data[:16], getattr(f, "name", "the file")
    else:
        source = where = os.fspath(local_path(f))
        with open(source, "rb") as opened:
            head = opened.read(16)
    place = _placing(map_location)
    safetensors = head[8:9] == b"{"
    if not safetensors and is_torch_file(head):
        with translated(where, TorchFileError):
            return _from_torch(TorchFile(source, mmap=bool(mmap) and source is where), place)
    if not safetensors and head[:1] == b"\x80":
        raise TorchFileError(
            f"{where} is a pickle, which is not read because reading it can run any code: "
            "load it where you trust it and save its numbers as a safetensors file"
        )
    with translated(
        where, LoadError, "was written neither by save() nor by PyTorch, or it is damaged"
    ):
        file = SafeTensorsFile.from_bytes(data) if source is not where else SafeTensorsFile(source)
        if _KEY in file.metadata:
            structure = parse_json(file.metadata[_KEY], "its structure")
            return _Builder(file, place).value(unpack(structure, {}))
        return {name: place(wrap(np.array(array)), "cpu") for name, array in file.items()}


def _placing(map_location: Any) -> Callable[[Tensor, str], Tensor]:
    """The function (tensor, name of the device it was saved on) -> the tensor on its new device."""
    if callable(map_location):

        def by_function(tensor: Tensor, location: str) -> Tensor:
            moved = map_location(tensor, location)
            return moved if isinstance(moved, Tensor) else tensor

        return by_function

    def by_name(tensor: Tensor, location: str) -> Tensor:
        target = map_location
        if isinstance(map_location, Mapping):
            target = map_location.get(location, location)
        if target is None:
            target = location if location.startswith("cuda") and is_available() else "cpu"
        target = device(target)
        array = devices.move(tensor.array, target.type, target.index)
        if array is not tensor.array:
            tensor.array = array
        return tensor

    return by_name


def _tensor_of(array: np.ndarray, parameter: bool, requires_grad: bool) -> Tensor:
    """The array as a tensor or parameter."""
    if parameter:
        from .nn.parameter import Parameter

        return Parameter(wrap(array), requires_grad)
    return wrap(array).requires_grad_(requires_grad)


class _Builder:
    """Builds the value that a safetensors file of `save`'s first form holds."""

    def __init__(self, file: SafeTensorsFile, place: Callable[[Tensor, str], Tensor]) -> None:
        self.file, self.place = file, place
        self.arrays: dict[str, np.ndarray] = {}

    def array(self, name: str) -> np.ndarray:
        """An array of the file, read once."""
        if name not in self.arrays:
            self.arrays[name] = np.array(self.file[name])
        return self.arrays[name]

    def value(self, tree: Any) -> Any:
        """The value that `tree` stands for: a dict {"$type": ...} is a value that JSON lacks.

        Raises: LoadError for a type that is not known.
        """
        if isinstance(tree, list | tuple):
            return type(tree)(self.value(item) for item in tree)
        if not isinstance(tree, dict):
            return tree
        if _KIND not in tree:
            return {key: self.value(item) for key, item in tree.items()}
        kind = tree[_KIND]
        if kind in ("Tensor", "Parameter"):
            array = self.array(_field(tree, "name", str))
            requires_grad = _field(tree, "requires_grad", bool, False)
            tensor = _tensor_of(array, kind == "Parameter", requires_grad)
            return self.place(tensor, _field(tree, "device", str, "cpu"))
        if kind in ("array", "scalar"):
            return self.array(_field(tree, "name", str))[() if kind == "scalar" else ...]
        if kind in ("dict", "OrderedDict"):
            values: dict[Any, Any] = OrderedDict() if kind == "OrderedDict" else {}
            for key, item in _field(tree, "items", list):
                values[_flat(key)] = self.value(item)
            return values
        if kind == "Size":
            sizes = _field(tree, "items", list)
            element_count(sizes)
            return Size(sizes)
        if kind in ("set", "frozenset"):
            container = {"set": set, "frozenset": frozenset}[kind]
            return container(_flat(self.value(item)) for item in _field(tree, "items", list))
        if kind == "device":
            return device(_field(tree, "name", str))
        if kind == "dtype":
            return dtypes.BY_NAME[_field(tree, "name", str)]
        if kind == "bytearray":
            return bytearray(_field(tree, "data", bytes))
        if kind == "complex":
            return complex(_field(tree, "real", float), _field(tree, "imag", float))
        raise LoadError(f"the file holds {describe(kind)}, which this version does not know")


def _field(tree: dict[Any, Any], name: str, kind: type[T], default: T | None = None) -> T:
    """An entry of a dict that stands for a value of the file.

    Raises: ValueError if it is not of this type.
    """
    value = tree.get(name, default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"{name} should be a {kind.__name__}, not {describe(value)}")
    return value


def _flat(key: Any) -> Any:
    """The key of a dict or member of a set.

    Raises: ValueError if it is nested: to hash it can take forever.
    """
    if not is_flat(key):
        raise ValueError(f"{describe(key)} as a key or a member of a set")
    return key


def _from_torch(file: TorchFile, place: Callable[[Tensor, str], Tensor]) -> Any:
    """The value in a file of `torch.save`, with its StoredTensors as tensors."""
    known: dict[int, Any] = {}  # by id of the object: some are in two places, and are built once

    def build(value: Any, path: tuple) -> Any:
        if isinstance(value, StoredArray):
            return value.array()
        if isinstance(value, StoredDtype):
            raise TorchFileError(f"{file.where}: refused a NumPy dtype as a value")
        if not isinstance(value, StoredTensor | dict | list | tuple):
            return value
        if id(value) in known:
            return known[id(value)]
        if isinstance(value, StoredTensor):
            known[id(value)] = tensor(value, path)
        elif isinstance(value, dict | list):
            known[id(value)] = value  # its elements are replaced in place
            container: Any = value
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                container[key] = build(container[key], (*path, key))
        elif type(value) is tuple:
            known[id(value)] = tuple(build(item, (*path, i)) for i, item in enumerate(value))
        else:
            return value  # a Size
        return known[id(value)]

    def tensor(stored: StoredTensor, path: tuple) -> Tensor:
        array = stored.array()
        if stored.dtype not in dtypes.BY_NAME:
            name = "".join(f"[{describe(key)}]" for key in path) or "the tensor"
            raise TorchFileError(
                f"{file.where}: {name} is {stored.dtype}, which no tensor here can "
                "hold; weights.formats.torch_file.TorchFile returns it as an array"
            )
        return place(_tensor_of(array, stored.is_parameter, stored.requires_grad), stored.location)

    return build(file.tree, ())
