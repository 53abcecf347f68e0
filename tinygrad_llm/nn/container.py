"""Modules that hold modules or parameters: Sequential, ModuleList, ModuleDict and the like."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from ..tensor import Tensor
from .module import Module
from .parameter import Parameter

__all__ = ["Flatten", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


class _List(Module):
    """Members named "0", "1", ...: indexing, slicing, insertion. _kind is what the members are."""

    _kind = "module"

    def _at_index(self, index: Any) -> str:
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range")
        return list(self._all(self._kind))[i]

    def _values(self) -> list[Any]:
        return list(self._all(self._kind).values())

    def _replace(self, values: Iterable[Any]) -> None:
        new = list(values)
        for name in list(self._all(self._kind)):
            delattr(self, name)
        for i, value in enumerate(new):
            self._note(self._kind, str(i), value)

    def __len__(self) -> int:
        return len(self._all(self._kind))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            make: Any = type(self)
            return make(self._values()[index])
        return getattr(self, self._at_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        setattr(self, self._at_index(index), value)

    def append(self, value: Any) -> Any:
        """Add one member at the end and return the container."""
        self._note(self._kind, str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Add members at the end and return the container."""
        for value in list(values):
            self.append(value)
        return self


class _Modules(_List):
    def __delitem__(self, index: Any) -> None:
        keep = self._values()
        if isinstance(index, slice):
            del keep[index]
        else:
            self._at_index(index)
            del keep[index]
        self._replace(keep)

    def insert(self, index: int, module: Module) -> Any:
        """Put a module in front of the one at index."""
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        values = self._values()
        values.insert(index, module)
        self._replace(values)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take a module out and return it."""
        module = self[index]
        del self[index]
        return module

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


class Sequential(_Modules):
    """Calls its modules one after the other.

    Sequential(a, b, c), or Sequential(OrderedDict(name=module, ...)) to name them.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        for module in self._values():
            input = module(input)
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            names = list(self._all("module"))[index]
            return type(self)({name: getattr(self, name) for name in names})
        return super().__getitem__(index)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(
                "add operator supports only objects of Sequential class, "
                f"but {type(other).__name__} is given."
            )
        return Sequential(*self, *other)


class ModuleList(_Modules):
    """A list of modules that the module which owns it finds."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def __repr__(self) -> str:
        lines = []
        numbered = enumerate(repr(module) for module in self)
        for text, same in groupby(numbered, key=lambda pair: pair[1]):
            at = [i for i, _ in same]
            label = f"({at[0]}): " if len(at) == 1 else f"({at[0]}-{at[-1]}): {len(at)} x "
            lines.append("  " + (label + text).replace("\n", "\n  "))
        return (
            f"{self._get_name()}("
            + "".join("\n" + line for line in lines)
            + ("\n)" if lines else ")")
        )


class _Dict(Module):
    """Members by name, in the order of insertion. _kind is what the members are."""

    _kind = "module"

    def __init__(self, members: Any = None) -> None:
        super().__init__()
        if members is not None:
            self.update(members)

    def __getitem__(self, key: str) -> Any:
        return self._all(self._kind)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._note(self._kind, key, value)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._all(self._kind))

    def __iter__(self) -> Iterator[str]:
        return iter(self._all(self._kind))

    def __contains__(self, key: str) -> bool:
        return key in self._all(self._kind)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._all(self._kind).keys()

    def values(self) -> Iterable[Any]:
        """The members."""
        return self._all(self._kind).values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, member) pairs."""
        return self._all(self._kind).items()

    def update(self, members: Any) -> None:
        """Add the members of a mapping or of an iterable of (name, member) pairs."""
        pairs = members.items() if hasattr(members, "items") else members
        for name, value in pairs:
            self[name] = value


class ModuleDict(_Dict):
    """A dict of modules, in the order of insertion, that the module which owns it finds."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__(modules)

    def pop(self, key: str) -> Module:
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take every module out."""
        for name in list(self):
            del self[name]


def _as_parameter(value: Any) -> Any:
    is_plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
    return Parameter(value) if is_plain else value


class ParameterList(_List):
    """A list of parameters; a plain tensor becomes one when it is put in."""

    _kind = "parameter"

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def append(self, value: Any) -> Any:
        """Add one parameter at the end and return the list."""
        return super().append(_as_parameter(value))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, _as_parameter(value))

    def __repr__(self) -> str:
        return _listed(self, ((str(i), p) for i, p in enumerate(self)))


class ParameterDict(_Dict):
    """A dict of parameters, in the order of insertion; a plain tensor becomes one."""

    _kind = "parameter"

    def __init__(self, parameters: Any = None) -> None:
        super().__init__(parameters)

    def __setitem__(self, key: str, value: Any) -> None:
        self.register_parameter(key, _as_parameter(value))

    def __repr__(self) -> str:
        return _listed(self, self.items())


def _listed(container: Module, named: Iterable[tuple[str, Any]]) -> str:
    lines = "\n".join(
        f"  ({name}): Parameter containing: [{p.dtype} of size {'x'.join(map(str, p.shape))}]"
        for name, p in named
    )
    return f"{container._get_name()}({lines})"


class Flatten(Module):
    """Makes one dimension of those from start_dim to end_dim: (N, C, H, W) -> (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension as several: the inverse of Flatten."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
