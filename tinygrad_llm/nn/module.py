"""Module: the base of every layer and model.

Calling it, changing all of it, saving, loading and printing. tree.py holds what it consists of.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np

from ..arrays.devices import device_of, move
from ..autograd.hooks import HookHandle
from ..autograd.inplace_versions import mark_modified
from ..functions.creation.filled import empty_like
from ..tensor import Tensor, dtypes
from ..tensor import device as Device
from ..tensor.device import DeviceLike
from .backward_hooks import ModuleHooks
from .parameter import Parameter
from .tree import ModuleTree

__all__ = ["HOOKS", "IncompatibleKeys", "Module", "is_watched"]

M = TypeVar("M", bound="Module")
Inputs = ParamSpec("Inputs")
Output = TypeVar("Output", covariant=True)
# Each runs a module's call: observer(module, call, *args, **kwargs) returns call(*args, **kwargs).
call_observers: list[Callable[..., Any]] = []
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class IncompatibleKeys(NamedTuple):
    """The keys that load_state_dict lacked (missing_keys), and the unexpected ones."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


class HasForward(Protocol[Inputs, Output]):
    """For checkers of types: a module's call takes what its forward takes, and returns the same."""

    @property
    def forward(self) -> Callable[Inputs, Output]: ...


def _no_forward(self: Module, *args: Any, **kwargs: Any) -> Any:
    """The error of a module that defines no forward, when it is called."""
    raise NotImplementedError(
        f'Module [{type(self).__name__}] is missing the required "forward" function: define '
        "forward(self, ...) in the class, at the level of its __init__"
    )


class Module(ModuleTree):
    """Parameters, buffers, submodules and a `forward`.

    Subclasses call `super().__init__()` first, assign Parameters and Modules to attributes, and
    define `forward(...)`, which calling the module runs. A module or a parameter inside a plain
    list or dict is not found: use ModuleList, ModuleDict, ParameterList or ParameterDict.
    """

    forward: Callable[..., Any] = _no_forward
    training: bool
    _forward_hooks: dict[int, Any]
    _forward_pre_hooks: dict[int, Any]
    _backward_hooks: dict[int, Any]
    _backward_pre_hooks: dict[int, Any]

    def __init__(self) -> None:
        super().__init__()
        hooks: dict[str, Any] = {name: {} for name in HOOKS}
        self.__dict__.update(training=True, **hooks)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let help(layer.forward) describe the layer, where forward has no docstring."""
        super().__init_subclass__(**kwargs)
        forward = cls.__dict__.get("forward")
        if isinstance(forward, FunctionType) and forward.__doc__ is None:
            forward.__doc__ = cls.__dict__.get("__doc__")

    # --------------------------------------------------------------------------- calling it
    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._forward_hooks or self._forward_pre_hooks
            or self._backward_hooks or self._backward_pre_hooks or call_observers
        ):  # fmt: skip
            return self.forward(*args, **kwargs)
        call: Callable[..., Any] = self._call_with_hooks
        for observe in call_observers:
            call = partial(observe, self, call)
        return call(*args, **kwargs)

    if TYPE_CHECKING:  # a call has the types of the layer's forward

        def __call__(
            self: HasForward[Inputs, Output], *args: Inputs.args, **kwargs: Inputs.kwargs
        ) -> Output: ...

    else:
        __call__ = _call

    def _call_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = None
        if self._backward_hooks or self._backward_pre_hooks:
            watch = ModuleHooks(self, self._backward_hooks, self._backward_pre_hooks)
            args = watch.inputs(args)
        out = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
            if changed is not None:
                out = changed
        return out if watch is None else watch.outputs(out)

    def register_forward_pre_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call hook(module, args) before forward; what it returns, if not None, replaces args.

        with_kwargs: it is hook(module, args, kwargs), and returns both in a tuple.
        """
        return HookHandle(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call hook(module, args, output) after forward; its result, if any, replaces output.

        with_kwargs: it is hook(module, args, kwargs, output).
        """
        return HookHandle(self._forward_hooks, (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> HookHandle:
        """Call hook(module, grad_input, grad_output) in the backward pass, once the gradients of
        the module's positional inputs are there.

        Both are tuples, with None for a value that is not a tensor or requires no gradient; a tuple
        that the hook returns replaces grad_input.
        """
        return HookHandle(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> HookHandle:
        """Call hook(module, grad_output) before the module's backward; a tuple that it returns
        takes grad_output's place."""
        return HookHandle(self._backward_pre_hooks, hook, prepend)

    # ------------------------------------------------------------------- changing everything
    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call fn on every module below, and last on this one: for initialising weights."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Set training on this module and all below: dropout acts only then.

        Raises: ValueError if mode is not a bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: M) -> M:
        """Set training to False on this module and all below."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set requires_grad of every parameter: False freezes the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of every parameter, or fill them with zeros."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.array[...] = 0

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Replace the numbers of every parameter, gradient and buffer by fn of them, in place.

        All are made before the first is replaced: if one fails, because a GPU is full, the module
        stays as it was.
        """
        parameters = [
            (p, fn(p.data), None if p.grad is None else fn(p.grad))
            for p in self.parameters(recurse)
        ]
        buffers = [
            (module.__dict__, name, fn(buffer))
            for module in (self.modules() if recurse else [self])
            for name, buffer in module._all("buffer").items()
            if buffer is not None
        ]
        for param, data, grad in parameters:
            param.data, param.grad = data, grad
        for names, name, buffer in buffers:
            names[name] = buffer
        return self

    def _others_on(self, place: Device) -> list[tuple[dict[str, Any], str, Any]]:
        """What modules have beside tensors (`_movable`), on a device: (attributes, name, value).

        What several modules share is moved once.
        """
        known: dict[int, Any] = {}
        result = []
        for module in self.modules():
            for name in module._movable:
                value = module.__dict__[name]
                if id(value) not in known:
                    known[id(value)] = value.on(place.type, place.index)
                result.append((module.__dict__, name, known[id(value)]))
        return result

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Move every parameter and buffer to a device and cast the floating ones to a dtype.

        to(device), to(dtype), to(device, dtype), to(tensor): in place, and returns the module.
        Raises: TypeError for a dtype that is not floating-point; NotImplementedError from the meta
        device to another one.
        """
        target, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        kwargs.pop("non_blocking", None)
        format = kwargs.pop("memory_format", None)
        if kwargs:
            raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
        for arg in args:
            if isinstance(arg, Tensor):
                target, dtype = arg.device, arg.dtype
            elif isinstance(arg, dtypes.dtype):
                dtype = arg
            elif arg is not None and not isinstance(arg, bool):  # a bool is non_blocking
                target = arg
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, "
                f"but got desired dtype={dtype}"
            )
        place = None if target is None else Device(target)

        def moved(tensor: Tensor) -> Tensor:
            if place is not None and tensor.is_meta and place.type != "meta":
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use "
                    "torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving module "
                    "from meta to a different device."
                )
            if place is not None:
                tensor = tensor.to(place)
            if dtype is not None and tensor.is_floating_point():
                tensor = tensor.to(dtype)
            if format is not None and tensor.ndim in (4, 5):
                tensor = tensor.to(memory_format=format)
            return tensor

        others = [] if place is None else self._others_on(place)
        self._apply(moved)
        for names, name, value in others:
            names[name] = value
        return self

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """Move every parameter and buffer to a device without its numbers: they can be any.

        A module that was made on the meta device gets its memory so; then its weights are loaded.
        Raises: TypeError without a device.
        """
        if device is None:
            raise TypeError("to_empty() needs device=")
        return self._apply(lambda tensor: empty_like(tensor, device=device), recurse)

    def type(self: M, dst_type: Any) -> M:
        """Cast every parameter and buffer, the integer ones too, to a dtype, as Tensor.type."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self: M) -> M:
        """Cast every floating parameter and buffer to float32."""
        return self.to(dtypes.float32)

    def double(self: M) -> M:
        """Cast every floating parameter and buffer to float64."""
        return self.to(dtypes.float64)

    def half(self: M) -> M:
        """Cast every floating parameter and buffer to float16."""
        return self.to(dtypes.float16)

    def bfloat16(self: M) -> M:
        """Cast every floating parameter and buffer to bfloat16."""
        return self.to(dtypes.bfloat16)

    def cpu(self: M) -> M:
        """Move every parameter and buffer to the CPU."""
        return self.to("cpu")

    def cuda(self: M, device: DeviceLike = None) -> M:
        """Move every parameter and buffer to a GPU."""
        return self.to("cuda" if device is None else Device(device))

    # --------------------------------------------------------------------- saving and loading
    def _named_state(self, prefix: str = "") -> Iterator[tuple[Module, str, str, Any]]:
        """(module, name, dotted name, tensor) of everything that is saved, in PyTorch's order."""
        for name, tensor in self._all("parameter").items():
            if tensor is not None:
                yield self, name, prefix + name, tensor
        for name, tensor in self._all("buffer").items():
            if tensor is not None and name not in self._unsaved:
                yield self, name, prefix + name, tensor
        for name, module in self._all("module").items():
            if module is not None:
                yield from module._named_state(prefix + name + ".")

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Dotted name -> tensor for every parameter and persistent buffer.

        The tensors share memory with the module's; with keep_vars=True they are the parameters
        themselves. A tied parameter is listed under each of its names.
        """
        state = OrderedDict() if destination is None else destination
        for _, _, key, tensor in self._named_state(prefix):
            state[key] = tensor if keep_vars else tensor.detach()
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the tensors (or arrays) of a state dict into this module, by name.

        strict: missing and unexpected keys are errors. assign: put the given tensors in place of
        the module's, rather than copy their numbers. Everything is checked before a change.
        Raises: one RuntimeError that lists all missing, unexpected and wrong-shaped keys.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        own = list(self._named_state())
        keys = {key for _, _, key, _ in own}
        missing = [key for _, _, key, _ in own if key not in state_dict]
        unexpected = [key for key in state_dict if key not in keys]
        errors = []
        for what, names in (("Missing", missing), ("Unexpected", unexpected)):
            if strict and names:
                listed = ", ".join(f'"{name}"' for name in names)
                errors.append(f"{what} key(s) in state_dict: {listed}. ")
        for _, _, key, tensor in own:
            if key not in state_dict:
                continue
            given = state_dict[key]
            if not hasattr(given, "shape"):
                errors.append(
                    f'While copying the parameter named "{key}", expected torch.Tensor or '
                    f"Tensor-like object from checkpoint but received {type(given)}"
                )
            elif tuple(given.shape) != tuple(tensor.shape):
                errors.append(
                    f"size mismatch for {key}: copying a param with shape "
                    f"torch.Size({list(given.shape)}) from checkpoint, the shape in current model "
                    f"is torch.Size({list(tensor.shape)})."
                )
        if errors:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {self._get_name()}:\n\t" + "\n\t".join(errors)
            )
        for module, name, key, tensor in own:
            if key in state_dict:
                module._load(name, tensor, state_dict[key], assign)
        return IncompatibleKeys(missing, unexpected)

    def _load(self, name: str, tensor: Tensor, given: Any, assign: bool) -> None:
        if assign and isinstance(given, Tensor):
            if isinstance(tensor, Parameter) and not isinstance(given, Parameter):
                given = Parameter(given, requires_grad=tensor.requires_grad)
            self.__dict__[name] = given
            return
        if tensor.is_meta and not (isinstance(given, Tensor) and given.is_meta):
            warnings.warn(
                f"for {name}: copying from a non-meta parameter in the checkpoint to a meta "
                "parameter in the current model, which is a no-op. (Did you mean to pass "
                "`assign=True` to assign items in the state dictionary to their corresponding key "
                "in the module instead of copying them in place?)",
                stacklevel=3,
            )
        source = given.array if isinstance(given, Tensor) else np.asarray(given)
        tensor.array[...] = move(source, *device_of(tensor.array))
        mark_modified(tensor.array, "load_state_dict")

    # ------------------------------------------------------------------------------ printing
    def extra_repr(self) -> str:
        """The text in the brackets when the module is printed: its arguments."""
        return ""

    def __repr__(self) -> str:
        extra = [line for line in self.extra_repr().split("\n") if line]
        below = [
            f"({name}): " + repr(module).replace("\n", "\n  ")
            for name, module in self._all("module").items()
        ]
        if not below and len(extra) <= 1:
            return f"{self._get_name()}({''.join(extra)})"
        return f"{self._get_name()}(\n  " + "\n  ".join(extra + below) + "\n)"


def is_watched(module: Module) -> bool:
    """Whether a call does more than the class's forward: hooks, or a forward set on the module."""
    return "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS)
