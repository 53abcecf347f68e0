"""save and load: nested dicts, lists, numbers and tensors in one file that cannot run code.

`save` writes a safetensors file: the tensors under the names of their places in the structure, and
the structure itself as JSON in the file's metadata. So a plain state_dict becomes a file that every
safetensors reader opens. `load` reads it back, any other safetensors file as a dict of tensors, and
the files that PyTorch's `torch.save` writes, by a reader that builds tensors and plain containers
and refuses everything else by name (see weights/formats/torch_file.py).
"""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .arrays import devices
from .arrays.availability import is_available
from .arrays.memory import is_array
from .files.json_files import levels_in, parse_json
from .files.untrusted import DEEPEST, describe, element_count, is_flat, translated
from .tensor import Size, Tensor, device, dtypes, wrap
from .weights.formats.safetensors import SafeTensorsFile, memory_key, save_file
from .weights.formats.safetensors import save as save_bytes
from .weights.formats.torch_file import TorchFile, TorchFileError, is_torch_file
from .weights.formats.torch_values import StoredTensor
from .weights.formats.tree import pack, unpack

__all__ = ["LoadError", "load", "save"]

T = TypeVar("T")

_KEY = "tinygrad_llm.structure"
_KIND = "$type"  # the key that marks a value that JSON does not have
_LONGEST = 90_000_000  # bytes of JSON; readers allow 100 MB for a file's header


class LoadError(RuntimeError):
    """A file that `load` cannot read: damaged, cut short, of an unknown format, or refused."""


# ---------------------------------------------------------------------------------------- saving
def save(obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: Any = None) -> None:
    """Write obj to f, a path or an open binary file; a path is written whole or not at all.

    obj: tensors, parameters, dict, OrderedDict, list, tuple, set, str, bytes, numbers, bool, None,
    Size, device, dtypes and NumPy arrays, nested. Tensors that are the same memory (tied
    weights) are stored once and share it again when loaded.
    The last two arguments are accepted and unused: no pickle is written.
    Raises: TypeError, with the place, if it holds anything else (of a model, save
    model.state_dict()); RuntimeError if the folder does not exist; ValueError if obj holds itself
    or is nested too deeply.
    """
    arrays: dict[str, Any] = {}
    try:
        structure, _ = pack(_Packer(arrays).plain(obj, ""))
    except RecursionError as error:
        raise ValueError("save(): the structure holds itself, or is nested too deeply") from error
    text = json.dumps(structure, separators=(",", ":"), ensure_ascii=False)
    if levels_in(text) > DEEPEST:
        raise ValueError(f"save(): the structure is nested too deeply: {DEEPEST} levels at most")
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise ValueError(
            f"save(): {len(text):,} characters of numbers and texts are too many: put long lists "
            "of numbers into tensors"
        )
    if hasattr(f, "write"):
        f.write(save_bytes(arrays, {_KEY: text}))
        return
    path = Path(f)
    if not path.absolute().parent.is_dir():
        raise RuntimeError(f"Parent directory {path.parent} does not exist.")
    save_file(arrays, path, {_KEY: text})


class _Packer:
    """Replaces everything that `tree.pack` does not know by a dict {"$type": ...}."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays
        self.names: dict[Any, str] = {}  # memory_key of an array: its name

    def plain(self, value: Any, path: str) -> Any:
        """The value, made only of dicts, lists, tuples, numbers, texts and bytes."""
        if value is None or isinstance(value, str | bytes | bool | int | float):
            return value
        if isinstance(value, Tensor):
            return self.tensor(value, path)
        if is_array(value) or isinstance(value, np.generic):
            kind = "scalar" if isinstance(value, np.generic) else "array"
            return {_KIND: kind, "name": self.keep(np.asarray(value), path)}
        if isinstance(value, Size | set | frozenset):
            items = [self.plain(item, f"{path}.{i}") for i, item in enumerate(value)]
            return {_KIND: type(value).__name__, "items": items}
        if isinstance(value, device | dtypes.dtype):
            return {_KIND: type(value).__name__, "name": str(value).removeprefix("torch.")}
        if isinstance(value, bytearray):
            return {_KIND: "bytearray", "data": bytes(value)}
        if isinstance(value, complex):
            return {_KIND: "complex", "real": value.real, "imag": value.imag}
        if type(value) in (list, tuple):
            items = [self.plain(item, f"{path}.{i}") for i, item in enumerate(value)]
            return type(value)(items)
        if isinstance(value, Mapping):
            items = [
                (key, self.plain(item, f"{path}.{key}" if path else str(key)))
                for key, item in value.items()
            ]
            if type(value) is dict and _KIND not in value:
                return dict(items)
            kind = "OrderedDict" if isinstance(value, OrderedDict) else "dict"
            return {_KIND: kind, "items": items}
        raise TypeError(self.refusal(value, path))

    def tensor(self, value: Tensor, path: str) -> dict[str, Any]:
        """The dict that stands for a tensor."""
        fields: dict[str, Any] = {_KIND: "Tensor", "name": self.keep(value.array, path)}
        if type(value).__name__ == "Parameter":
            fields[_KIND] = "Parameter"
        if value.requires_grad:
            fields["requires_grad"] = True
        if value.is_cuda:
            fields["device"] = str(value.device)
        return fields

    def keep(self, array: Any, path: str) -> str:
        """Store an array under its place in the structure, once for each piece of memory."""
        memory = memory_key(array)
        known = self.names.get(memory) if array.size else None
        if known is not None:
            return known
        name = path or "tensor"
        while name in self.arrays or name == "__metadata__":
            name += "'"
        self.arrays[name] = array
        self.names[memory] = name
        return name

    def refusal(self, value: Any, path: str) -> str:
        """The error message for a value that is not saved."""
        where = f"save(): {path or 'obj'} is a {type(value).__name__}"
        if hasattr(value, "state_dict"):
            return f"{where}, which is not saved whole: save its state_dict() instead"
        return (
            f"{where}, which is not saved: tensors, dicts, lists, tuples, sets, numbers, texts, "
            "bytes and None are"
        )


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
        source = where = os.fspath(f)
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
    """Builds the values again that _Packer replaced."""

    def __init__(self, file: SafeTensorsFile, place: Callable[[Tensor, str], Tensor]) -> None:
        self.file, self.place = file, place
        self.arrays: dict[str, np.ndarray] = {}

    def array(self, name: str) -> np.ndarray:
        """An array of the file, read once."""
        if name not in self.arrays:
            self.arrays[name] = np.array(self.file[name])
        return self.arrays[name]

    def value(self, tree: Any) -> Any:
        """The value that _Packer.plain turned into `tree`.

        Raises: LoadError if it writes no such tree.
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
