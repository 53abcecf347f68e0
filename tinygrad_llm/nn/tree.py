"""What a module consists of: the names of what is assigned to it, and iteration over them.

An attribute that holds a Parameter or a module is noted by name when it is set, and a tensor when
it is registered as a buffer. Everything else, from `parameters()` to `state_dict()`, iterates over
the noted names in the order of assignment, first here, then in the submodules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor
from .parameter import Parameter

__all__ = ["ModuleTree"]


class ModuleTree:
    """The attributes of a Module and of the modules below it. Use Module, which builds on this."""

    _kinds: dict[str, str]  # noted names in order: "parameter", "buffer" or "module"
    _unsaved: set[str]  # the buffers that state_dict leaves out
    _movable: tuple[str, ...] = ()  # attributes with on(device), as tensors have

    def __init__(self) -> None:
        self.__dict__.update(_kinds={}, _unsaved=set())

    if TYPE_CHECKING:  # attributes are found at run time, and so is forward

        def __getattr__(self, name: str) -> Any: ...

    # ----------------------------------------------------------------- noting what is assigned
    def __setattr__(self, name: str, value: Any) -> None:
        kinds = self.__dict__.get("_kinds")
        if isinstance(value, Parameter):
            kind = "parameter"
        elif isinstance(value, ModuleTree):
            kind = "module"
        else:
            known = kinds.get(name) if kinds else None
            if known and value is not None and not (known == "buffer" and _is_tensor(value)):
                description, type_name = _KINDS[known]
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as {description} '{name}' "
                    f"({type_name} or None expected)"
                )
            object.__setattr__(self, name, value)
            return
        if kinds is None:
            raise AttributeError(
                f"cannot assign {_KINDS[kind][0]}s before Module.__init__() call: "
                "begin the constructor with super().__init__()"
            )
        if kinds.get(name) != kind:  # another kind of attribute until now: it goes to the end
            kinds.pop(name, None)
            self._unsaved.discard(name)
            kinds[name] = kind
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._kinds.pop(name, None)
        self._unsaved.discard(name)

    def _note(self, kind: str, name: str, value: Any) -> None:
        description, type_name = _KINDS[kind]
        if "_kinds" not in self.__dict__:
            raise AttributeError(f"cannot assign {description} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{description} name should be a string, got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{description} name can\'t contain ".", got: "{name}"')
        if name == "":
            raise KeyError(f'{description} name can\'t be empty string ""')
        if hasattr(self, name) and self._kinds.get(name) != kind:
            raise KeyError(f"attribute '{name}' already exists")
        kind_of_value = {"parameter": Parameter, "module": ModuleTree, "buffer": Tensor}[kind]
        if value is not None and not isinstance(value, kind_of_value):
            raise TypeError(
                f"cannot assign '{type(value).__name__}' object to {description} '{name}' "
                f"({type_name} or None required)"
            )
        self._kinds[name] = kind
        object.__setattr__(self, name, value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter by name; None keeps its place (a layer without bias).

        Raises: KeyError for a name that is taken, empty or has a dot; TypeError if param is not a
        Parameter.
        """
        if param is not None and isinstance(param, Parameter) and param.grad_fn is not None:
            raise ValueError(f"cannot assign a non-leaf Tensor to parameter '{name}'")
        self._note("parameter", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves with the module and is saved (if persistent), but not trained.

        Raises: KeyError for a name that is taken, empty or has a dot; TypeError if tensor is not a
        Tensor.
        """
        self._note("buffer", name, tensor)
        (self._unsaved.discard if persistent else self._unsaved.add)(name)

    def add_module(self, name: str, module: Any) -> None:
        """Add a submodule by name: the same as setting an attribute, for names such as "0"."""
        self._note("module", name, module)

    register_module = add_module

    def _all(self, kind: str) -> dict[str, Any]:
        attributes = self.__dict__
        return {name: attributes[name] for name, k in self._kinds.items() if k == kind}

    @property
    def _parameters(self) -> dict[str, Any]:
        return self._all("parameter")

    @property
    def _buffers(self) -> dict[str, Any]:
        return self._all("buffer")

    @property
    def _modules(self) -> dict[str, Any]:
        return self._all("module")

    # ------------------------------------------------------------------------------ walking
    def named_children(self) -> Iterator[tuple[str, Any]]:
        """(name, module) of each direct submodule, each module once."""
        seen = set()
        for name, module in self._all("module").items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
        """The direct submodules, each once."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """(dotted name, module) of this module ("") and of all below it, depth first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._all("module").items():
            if module is not None:
                yield from module.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Any]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _named(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, tensor in module._all(kind).items():
                if tensor is None or id(tensor) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(tensor))
                yield _join(path, name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of this module and those below; a tied parameter comes once."""
        return self._named("parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and those below; a tied parameter comes once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) of this module and those below."""
        return self._named("buffer", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and those below."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Any:
        """The module at a dotted path, such as "trf_blocks.0.att".

        Raises: AttributeError if there is no module at the path.
        """
        module: Any = self
        for part in target.split(".") if target else ():
            if not hasattr(module, part):
                raise AttributeError(f"{module._get_name()} has no attribute `{part}`")
            module = getattr(module, part)
            if not isinstance(module, ModuleTree):
                raise AttributeError(f"`{part}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Any) -> None:
        """Put a module at a dotted path, in place of the one that is there.

        Raises: ValueError if the path is empty or `module` is not a module.
        """
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, ModuleTree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module).__name__}")
        path, _, name = target.rpartition(".")
        setattr(self.get_submodule(path), name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path.

        Raises: AttributeError if there is no parameter at the path.
        """
        return self._at(target, "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path.

        Raises: AttributeError if there is no buffer at the path.
        """
        return self._at(target, "buffer")

    def _at(self, target: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if module._kinds.get(name) != kind:
            raise AttributeError(f"`{name}` is not a {kind}, that is an nn.{kind.capitalize()}")
        return getattr(module, name)

    def _get_name(self) -> str:
        return self.__class__.__name__


_KINDS = {
    "parameter": ("parameter", "torch.nn.Parameter"),
    "module": ("child module", "torch.nn.Module"),
    "buffer": ("buffer", "torch.Tensor"),
}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
