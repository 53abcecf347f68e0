"""Optimizer: parameter groups, state, and the loop that every optimizer shares.

A subclass defines in `update` how one parameter changes by its gradient. Groups and state have
PyTorch's format, so that a state dict saved there can be loaded here.
"""

from __future__ import annotations

import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np

from ..arrays.capture import refuse_in_capture
from ..arrays.devices import device_of, move, use_gpu_of, xp_of
from ..arrays.parallel import on_every_core
from ..arrays.silence import quiet
from ..autograd.grad_mode import enable_grad
from ..autograd.inplace_versions import mark_modified
from ..tensor import Tensor, wrap
from ..tensor.arriving import arrived_first
from ..tensor.numbers import unboxed

__all__ = ["Optimizer"]

Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]

BLOCK = 1 << 16  # elements: six float32 arrays of this length nearly fit a core's cache
SHARED = 1 << 17  # elements from which on the cores share an update


def in_blocks(change: Callable[..., None], g: Any, *arrays: Any) -> None:
    """Call change(g, *arrays) on pieces of the arrays, which all have one shape.

    An update makes many passes over a piece while it is in the cache, and so only one over memory.
    Half-precision pieces on a GPU are passed as float32 copies, and all except the gradient
    are written back. On a GPU the arrays are passed whole.
    """
    if g.dtype.itemsize < 4 and not isinstance(g, np.ndarray):
        change = _in_float32(change)
    pieces = _pieces(g, *arrays)
    if g.size < SHARED or not isinstance(g, np.ndarray):
        for piece in pieces:
            change(*piece)
        return
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            change(*piece)

    on_every_core(work)


def in_tensors(change: Callable[..., None], g: Any, *arrays: Any) -> None:
    """in_blocks, but the pieces are passed as tensors.

    For half precision on a CPU: PyTorch rounds each of its kernels' results there, and so do the
    methods of tensors, which an update calls in PyTorch's order.
    """
    in_blocks(lambda *pieces: change(*map(wrap, pieces)), g, *arrays)


def rounds(p: Any) -> bool:
    """Whether an update of the array p rounds after each step: in half precision on a CPU."""
    return p.dtype.itemsize < 4 and isinstance(p, np.ndarray)


def _in_float32(change: Callable[..., None]) -> Callable[..., None]:
    """`change` for arrays of half precision: computed on float32 copies."""

    def changed(*piece: Any) -> None:
        copies = [a.astype("float32") for a in piece]
        change(*copies)
        for array, copy in zip(piece[1:], copies[1:], strict=True):
            array[...] = copy

    return changed


def _pieces(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    """Views of the arrays, about BLOCK elements at a time, the same part of each."""
    first = arrays[0]
    if first.size <= BLOCK or not isinstance(first, np.ndarray):
        yield arrays
    elif all(a.flags.c_contiguous for a in arrays):
        flat = [a.reshape(-1) for a in arrays]  # (N), views
        for start in range(0, first.size, BLOCK):
            yield tuple([a[start : start + BLOCK] for a in flat])
    else:
        rows = max(1, BLOCK * len(first) // first.size)
        for start in range(0, len(first), rows):
            yield tuple([a[start : start + rows] for a in arrays])


def _plain(value: Any) -> Any:
    """A hyperparameter's NumPy numbers as Python numbers, also within a tuple such as betas."""
    return tuple([unboxed(v) for v in value]) if type(value) is tuple else unboxed(value)


def number(value: Any) -> float:
    """A hyperparameter as a Python float; learning rates may be 0-d tensors."""
    return value if type(value) is float else float(value)  # np.float64 is a float too


def check_range(name: str, value: Any, low: float = 0.0, below: float | None = None) -> None:
    """Raises: ValueError unless low <= value, and value < below if that is given."""
    if not low <= number(value) or (below is not None and not number(value) < below):
        raise ValueError(f"Invalid {name}: {value}")


def full_gradient(g: Any, p: Any, maximize: bool, decay: float) -> Any:
    """The gradient to descend along: g (−g to maximize) plus that of decay·p²/2, weight decay."""
    if maximize:
        g = -g
    if decay != 0:
        g = g.add(p, alpha=decay) if isinstance(g, Tensor) else g + p * decay
    return g


# Hyperparameters that states of older PyTorch versions lack, and what their absence means.
_ADDED_LATER: dict[str, Any] = {
    "amsgrad": False,
    "capturable": False,
    "centered": False,
    "decoupled_weight_decay": False,
    "differentiable": False,
    "foreach": None,
    "fused": None,
    "maximize": False,
    "momentum": 0,
    "nesterov": False,
}


class Optimizer:
    """The base of all optimizers.

    params: an iterable of tensors, of (name, tensor) pairs, or of dicts, each a group: "params" and
    hyperparameters of this group. defaults: the hyperparameters of groups that do not set them.
    Raises: ValueError if there are no parameters, one is not a leaf, or one is in two groups;
    TypeError if one is not a tensor.
    """

    fixed: ClassVar[dict[str, Any]] = {}  # hyperparameters that no loaded state changes
    scalars: ClassVar[tuple[str, ...]] = ("step",)  # entries of the state that are one number

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                "but got torch.Tensor"
            )
        self.defaults = {k: _plain(v) for k, v in defaults.items()}
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._opt_called = False  # schedules warn if they step before the optimizer
        self.gradient_norm: Any = None  # on a GPU, Adam changes nothing if this is not finite
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: a dict with "params" and the hyperparameters that are not the defaults.

        Raises: TypeError if the group is not a dict, its parameters are in a set or one is not a
        tensor; ValueError if one is not a leaf, is in another group, or only some have names.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        members = param_group["params"]
        if isinstance(members, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        members = [members] if isinstance(members, Tensor) else list(members)
        names = [m[0] for m in members if isinstance(m, tuple)]
        params = [m[1] if isinstance(m, tuple) else m for m in members]
        if names and len(names) != len(params):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing"
            )
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is "
                    f"{type(p).__module__}.{type(p).__name__}"
                )
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        if len({id(p) for p in params}) != len(params):
            warnings.warn("optimizer contains a parameter group with duplicates", stacklevel=3)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        if self.param_groups and bool(names) != ("param_names" in self.param_groups[0]):
            raise ValueError("all optimizer param groups should be with/without names")
        group = {k: _plain(v) for k, v in param_group.items()} | {"params": params}
        if names:
            group["param_names"] = names
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self.param_groups.append(group)

    # --------------------------------------------------------------------------- one step
    @quiet
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; closure, if given, computes the loss first.

        Returns what closure returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._opt_called = True
        name = f"{type(self).__name__}.step()"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for part in arrived_first(params):
                self._update(part, group, name)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any], name: str) -> None:
        """Change these parameters of a group, which have gradients."""
        updated = self.update_together(params, group)
        for p in params:
            if not updated:
                if p.is_cuda:
                    refuse_in_capture(f"{name}, except Adam's and AdamW's of float32 parameters,")
                use_gpu_of(p.array)
                assert p.grad is not None
                self.update(p.array, p.grad.array, self.state[p], group)
            mark_modified(p.array, name)

    def update_together(self, params: list[Tensor], group: dict[str, Any]) -> bool:
        """Change all parameters of a group together, if that is faster; returns whether it did."""
        return False

    def update(self, p: Any, g: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change the array p in place by its gradient g. Never changes g.

        Raises: TypeError if the class defines neither update() nor step().
        """
        raise TypeError(f"{type(self).__name__} defines neither update() nor step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradient of every parameter, or fill it with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    use_gpu_of(p.grad.array)
                    p.grad.array[...] = 0

    # ----------------------------------------------------------------- saving and loading
    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {...}}, "param_groups": [...]}: numbers stand for the parameters.

        The tensors in it are not copies: they change with the next step.
        """
        numbers: dict[int, int] = {}  # by the parameter's id
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
        groups = [
            {**{k: v for k, v in group.items() if k != "params"},
             "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]  # fmt: skip
        state = {
            numbers[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items() if v
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state and hyperparameters that `state_dict` returned; tensors are copied.

        A hyperparameter that the state lacks, because PyTorch did not have it yet, is off; a `step`
        that was kept as a number becomes a tensor.
        Raises: ValueError if groups, their sizes or a tensor's shape differ; then nothing has
        changed.
        """
        saved = [
            {name: value for name, value in _ADDED_LATER.items() if name in self.defaults}
            | deepcopy({k: v for k, v in g.items() if k != "params"})
            | self.fixed
            | {"params": list(g["params"])}
            for g in state_dict["param_groups"]
        ]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for i, (old, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    f"optimizer's group: group {i} has {len(new['params'])} parameters there and "
                    f"{len(old['params'])} here"
                )
        by_number: dict[Any, Tensor] = {
            number: p
            for old, new in zip(self.param_groups, saved, strict=True)
            for number, p in zip(new["params"], old["params"], strict=True)
        }
        state: dict[Any, dict[str, Any]] = defaultdict(dict)
        for key, entry in state_dict["state"].items():
            p = by_number.get(key)
            if p is None:
                state[key] = entry
            else:
                state[p] = {
                    name: self._loaded(p, key, name, value) for name, value in entry.items()
                }
        for old, new in zip(self.param_groups, saved, strict=True):
            new["params"] = old["params"]
            if "param_names" in old:
                new.setdefault("param_names", old["param_names"])
        self.state, self.param_groups = state, saved

    def shape_of(self, name: str, p: Any) -> tuple[int, ...]:
        """The shape of an entry of p's state."""
        return tuple(p.shape)

    def _loaded(self, p: Tensor, key: Any, name: str, value: Any) -> Any:
        """One entry of a parameter's state: a copy in the parameter's dtype and on its device."""
        if name == "step" and isinstance(value, int | float):
            return wrap(np.asarray(value, np.float32))
        if not isinstance(value, Tensor):
            return deepcopy(value)
        if name in self.scalars and value.ndim == 0:
            return wrap(value.array.copy())
        expected = () if name in self.scalars else self.shape_of(name, p)
        if tuple(value.shape) != expected:
            raise ValueError(
                f"loaded state dict: {name} of parameter {key} has shape {tuple(value.shape)}, "
                f"for a parameter of shape {tuple(p.shape)} it is {expected}"
            )
        array = move(value.array, *device_of(p.array))
        return wrap(array.astype(p.array.dtype, copy=True))

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            for key in sorted(group):
                if key != "params":
                    text += f"    {key}: {group[key]}\n"
        return text + ")"


def steps_done(state: dict[str, Any]) -> float:
    """The number of steps made with this state."""
    return float(state["step"].array) if "step" in state else 0.0


def step_count(state: dict[str, Any]) -> float:
    """Add one to the state's step (a float32 0-d tensor, as in PyTorch) and return it."""
    if "step" not in state:
        state["step"] = wrap(np.zeros((), np.float32))
    state["step"].array += 1
    return float(state["step"].array)


def zeros_like(p: Any) -> Tensor:
    """A tensor of zeros of the array's shape and dtype, on its device."""
    use_gpu_of(p)
    return wrap(xp_of(p).zeros_like(p))
