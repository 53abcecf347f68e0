"""fully_shard: every rank keeps a part of each parameter, and has the whole only while it computes.

A module that was given to fully_shard is a unit. Before its forward pass the ranks gather its
parameters; afterwards they drop them again, also from what the ops saved for backward. When the
backward pass arrives at the unit, the first op that needs a parameter gathers them once more; at
the unit's end their gradients are averaged over the ranks, of which each keeps its part, and the
whole parameters are dropped. So memory holds 1/R of parameters, gradients and optimizer state, and
one unit's whole parameters.

With R ranks, P parameters of b bytes each, and AdamW, each rank keeps besides activations

    stage 3   4·b·P/R: parameters, gradients, two moments; and in a backward pass up to
              b·(3·U + 2·V): the whole parameters and gradients, and what is sent, of the largest
              unit within, of U parameters; parameters and gradients of the outermost, of V
    stage 2   4·b·P/R, and from forward to backward b·P: reshard_after_forward=False. One exchange
              less; gradients are divided at the end of each unit's backward here too

Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", stage 3; Zhao et al. 2023, "PyTorch FSDP".
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ..arrays.devices import asarray, xp_of
from ..arrays.memory import address, is_array
from ..autograd.engine import Op
from ..autograd.grad_mode import mode
from ..autograd.observing import observing
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..tensor import wrap
from . import groups
from .agreement import require_same_parameters
from .collectives import broadcast
from .groups import run
from .not_offered import not_offered
from .parts import sent_from
from .process_group import divided_within
from .reductions import ReduceOp
from .sharded import ShardedParameter, divide_parameter
from .steps import all_gathered, divided, reduced_part

__all__ = ["FSDPModule", "fully_shard", "register_fsdp_forward_method", "whole_model"]

M = TypeVar("M", bound=Module)
# Methods of a language model that use its parameters as forward does.
ALSO_FORWARD = ("loss", "hidden_states")


class Unshard(Op, listed=False):
    """The whole parameters of a unit from the ranks' parts: y_i = [p_i0; p_i1; ...] along dim 0.

    Backward, with g_ir = ∂L_r/∂y_i on rank r of R:   ∂L/∂p_iq = part q of (1/R)·Σ_r g_ir
    L is the mean of the ranks' losses L_r, as with DistributedDataParallel.
    """

    def forward(self, *parts: Any, unit: Any) -> Any:
        self.unit = unit
        whole = tuple(unit.gather(parts))
        return whole if len(whole) > 1 else whole[0]

    def backward(self, g: Any) -> Any:
        gs = g if isinstance(g, tuple) else (g,)
        self.unit.drop()
        present = [None if not need else a for need, a in zip(self.needs, gs, strict=True)]
        return tuple(self.unit.average(present))


class Unit:
    """Parameters that are gathered and dropped together, and where the modules hold them."""

    def __init__(self, module: Module, group: Any, reshard: bool) -> None:
        self.group, self.reshard = group, reshard
        self.parts: list[ShardedParameter] = []
        self.sites: list[tuple[Module, str, int]] = []  # (module, name, which part)
        self.depth = 0  # calls of the unit's methods that are under way
        self.again: list[Any] | None = None  # the whole parameters, gathered for backward
        numbers: dict[int, int] = {}
        modules = list(_modules_of(module))
        named = [(f"{type(each).__name__}.{name}", p) for each in modules
                 for name, p in each._parameters.items()
                 if p is not None and not self._is_divided(p)]  # fmt: skip
        require_same_parameters("fully_shard", named, group)
        for each in modules:
            for name, parameter in each._parameters.items():
                if parameter is not None:
                    number = numbers.setdefault(id(parameter), len(numbers))
                    self._take(each, name, parameter, number)

    def _is_divided(self, parameter: Any) -> bool:
        return bool(parameter.__dict__.get("_parts") or divided_within(parameter, self.group))

    def _take(self, module: Module, name: str, parameter: Any, number: int) -> None:
        if number == len(self.parts):
            if self._is_divided(parameter):
                raise ValueError(
                    f"fully_shard: parameter {name} of {type(module).__name__} is divided already, "
                    "in another module that shares it: shard the module that contains both"
                )
            if parameter.ndim == 0:
                raise ValueError("fully_shard doesn't support scalar parameters. Change "
                                 f"{name} to a 1D tensor with numel equal to 1.")  # fmt: skip
            broadcast(parameter, self.group.ranks[0], self.group)
            self.parts.append(divide_parameter(parameter, self.group, 0))
        setattr(module, name, self.parts[number])
        self.sites.append((module, name, number))

    def _shapes(self) -> list[tuple[int, ...]]:
        """The whole parameters' shapes."""
        return [(p.division.length, *p.array.shape[1:]) for p in self.parts]

    def _by_dtype(self, chosen: Sequence[int]) -> list[list[int]]:
        """The numbers of parameters, those of one dtype together."""
        kinds: dict[Any, list[int]] = {}
        for i in chosen:
            kinds.setdefault(self.parts[i].array.dtype, []).append(i)
        return list(kinds.values())

    def _counts(self, i: int) -> list[int]:
        """How many elements of parameter i each rank has."""
        length, *rest = self._shapes()[i]
        row = int(np.prod(rest, dtype=np.int64))
        return [n * row for n in divided(length, self.group.size())]

    def gather(self, parts: Sequence[Any]) -> list[Any]:
        """The whole parameters, each in its own new array."""
        size, shapes = self.group.size(), self._shapes()
        whole: list[Any] = [None] * len(parts)
        for chosen in self._by_dtype(range(len(parts))):
            here = [sent_from(self.group, parts[i]) for i in chosen]
            xp = xp_of(here[0])
            flat = xp.concatenate([xp.ascontiguousarray(a).reshape(-1) for a in here])
            counts = np.array([self._counts(i) for i in chosen])  # (parameters, ranks)
            steps = all_gathered(self.group, flat, counts.sum(0).tolist())
            what = f"unshard of {len(chosen)} parameters"
            everyones = run(self.group, what, steps, array=flat)
            ends = counts.T.reshape(-1).cumsum()[:-1]  # (ranks, parameters) -> (R * P,)
            pieces = _cut(everyones, ends)  # in rank order, each with all parameters
            for place, i in enumerate(chosen):
                own = [pieces[rank * len(chosen) + place] for rank in range(size)]
                joined = xp.empty(shapes[i], everyones.dtype)
                xp.concatenate(own, out=joined.reshape(-1))  # (n0,), (n1,), ... -> (N,)
                whole[i] = asarray(joined, parts[i])
        return whole

    def average(self, gradients: Sequence[Any]) -> list[Any]:
        """This rank's part of the mean over the ranks, of each gradient that is there."""
        size, rank = self.group.size(), self.group.rank()
        result: list[Any] = [None] * len(gradients)
        present = [i for i, g in enumerate(gradients) if g is not None]
        for chosen in self._by_dtype(present):
            counts = np.array([self._counts(i) for i in chosen])  # (parameters, ranks)
            flat = [sent_from(self.group, gradients[i]).reshape(-1) for i in chosen]
            cut = [_cut(a, c.cumsum()[:-1]) for a, c in zip(flat, counts, strict=True)]
            ordered = [cut[p][r] for r in range(size) for p in range(len(chosen))]
            # rank 0's parts of all parameters, rank 1's, ...
            numbers = xp_of(flat[0]).concatenate(ordered)
            steps = reduced_part(self.group, numbers, ReduceOp.AVG, counts.sum(0).tolist())
            what = f"average of the gradients {chosen} of {numbers.size} elements"
            mine = run(self.group, what, steps, array=numbers)
            for i, part in zip(chosen, _cut(mine, counts[:, rank].cumsum()[:-1]), strict=True):
                shape = self.parts[i].array.shape
                result[i] = asarray(part.reshape(shape).copy(), gradients[i])  # (n,) -> shape
        return result

    # ------------------------------------------------------------------------- during a forward
    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A block in which the modules hold the whole parameters."""
        if self.depth or not self.parts:
            self.depth += 1
            try:
                yield
            finally:
                self.depth -= 1
            return
        made = Unshard.apply(*self.parts, unit=self)
        full = made if isinstance(made, tuple) else (made,)
        ops: list[Op] = []
        me = threading.get_ident()

        def note(op: Op, inputs: tuple, results: Any) -> None:
            if any(op.needs) and threading.get_ident() == me:
                ops.append(op)

        with self._holding(full):
            if self.reshard and mode.grad:
                with observing(note):
                    yield
            else:
                yield
        arrays = [tensor.array for tensor in full]
        for op in ops:
            self._forget(op, arrays)

    @contextlib.contextmanager
    def _holding(self, full: Sequence[Any]) -> Iterator[None]:
        """A block in which the modules hold these tensors in place of the parts."""
        self.depth = 1
        try:
            for module, name, number in self.sites:
                module.__dict__[name] = full[number]
            yield
        finally:
            self.depth = 0
            for module, name, number in self.sites:
                module.__dict__[name] = self.parts[number]

    def whole_leaves(self) -> contextlib.AbstractContextManager[None]:
        """A block in which the modules hold new parameters with the whole numbers."""
        whole = self.gather([p.array for p in self.parts])
        leaves = [
            Parameter(wrap(array), part.requires_grad)
            for array, part in zip(whole, self.parts, strict=True)
        ]
        return self._holding(leaves)

    def _forget(self, op: Op, arrays: list[Any]) -> None:
        """Replace whole parameters among what an op saved by a note to gather them again."""
        if type(op.saved) is not tuple:
            return
        entries: list[Any] = list(op.saved)
        for place, entry in enumerate(entries):
            for number, array in enumerate(arrays):
                if not is_array(entry):
                    continue
                if entry is array or entry.base is array:
                    entries[place] = _Dropped(number, entry, array)
        if any(isinstance(entry, _Dropped) for entry in entries):
            op.saved = _Saved(self, entries)  # type: ignore[assignment]

    # ------------------------------------------------------------------------ during a backward
    def gathered_again(self) -> list[Any]:
        """The whole parameters for the backward pass, until `drop`."""
        if self.again is None:
            self.again = self.gather([p.array for p in self.parts])
        return self.again

    def drop(self) -> None:
        """The backward pass has left the unit."""
        self.again = None


class _Dropped:
    """A view of a whole parameter, without its memory."""

    def __init__(self, number: int, view: Any, array: Any) -> None:
        self.number, self.shape, self.strides = number, view.shape, view.strides
        self.offset = address(view) - address(array)

    def of(self, array: Any) -> Any:
        """The same view of the parameter's new array."""
        if not isinstance(array, np.ndarray):
            place = array.data + self.offset
            return xp_of(array).ndarray(self.shape, array.dtype, place, self.strides)
        return np.ndarray(self.shape, array.dtype, array, self.offset, self.strides)


def _cut(array: Any, ends: np.ndarray) -> list[Any]:
    """The array's parts, which end at these places."""
    parts: list[Any] = xp_of(array).split(array, ends.tolist())
    return parts


class _Saved:
    """In op.saved: what the op saved, with the unit's parameters gathered when it is read."""

    def __init__(self, unit: Unit, entries: list[Any]) -> None:
        self.unit, self.entries = unit, entries

    def _all(self) -> tuple:
        whole = self.unit.gathered_again()
        return tuple(
            entry.of(whole[entry.number]) if isinstance(entry, _Dropped) else entry
            for entry in self.entries
        )

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __getitem__(self, i: Any) -> Any:
        return self._all()[i]

    def __len__(self) -> int:
        return len(self.entries)


def _modules_of(module: Module) -> Iterator[Module]:
    """A module and those below it, without units and divided experts: these have parts already."""
    yield module
    for child in module.children():
        if not isinstance(child, FSDPModule) and not getattr(child, "divided_experts", False):
            yield from _modules_of(child)


class FSDPModule:
    """What fully_shard makes of a module's class: its forward runs with the whole parameters."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward, between gathering and dropping its parameters."""
        with self.__dict__["_unit"].whole():
            return super().forward(*args, **kwargs)  # type: ignore[misc]


def fully_shard(
    module: M, *, mesh: Any = None, reshard_after_forward: bool | None = None,
    shard_placement_fn: Any = None, mp_policy: Any = None, offload_policy: Any = None,
    ignored_params: Any = None,
) -> M:  # fmt: skip
    """Divide a module's parameters among the ranks, except those of submodules done before.

    Call it for each block of a model, then for the model. The parameters become those of the first
    rank, and then this rank's parts along dim 0; an ordinary optimizer made afterwards works with
    them, and nn.utils.clip_grad_norm_ computes the global norm. Gradients are means over the ranks.
    Weights that two modules share must belong to one unit. Parts that parallelize_module has made
    over the other dimension of a mesh are divided further: fully_shard(block, mesh=mesh["dp"]).

    mesh                    a mesh of one dimension; None for all ranks
    reshard_after_forward   False keeps the whole parameters from forward to backward, which is
                            stage 2: only gradients and the optimizer's state are divided then
    Returns the module, whose class is new: it has forward, and `loss` and `hidden_states` where the
    module has them; for other methods that use parameters see register_fsdp_forward_method.
    Raises: ValueError for a mesh of several dimensions, a scalar parameter, shared weights in two
    units, and options that are not offered here (the last four).
    """
    for name, value in {
        "shard_placement_fn": shard_placement_fn, "mp_policy": mp_policy,
        "offload_policy": offload_policy, "ignored_params": ignored_params,
    }.items():  # fmt: skip
        if value is not None:
            raise ValueError(f"fully_shard: {name} is not offered here")
    if mesh is not None and mesh.ndim != 1:
        raise ValueError(f"fully_shard: expected a mesh of one dimension, got {mesh}")
    group = groups.member_group(None if mesh is None else mesh.get_group(), "fully_shard")
    if group is None:
        return module
    if isinstance(module, FSDPModule):
        raise ValueError(f"fully_shard was called before for this {type(module).__name__}")
    reshard = True if reshard_after_forward is None else bool(reshard_after_forward)
    module.__dict__["_unit"] = Unit(module, group, reshard)
    kind = type(module)
    methods = {name: _whole(name) for name in ALSO_FORWARD if hasattr(kind, name)}
    methods["undivided_class"] = kind
    module.__class__ = type(f"FSDP{kind.__name__}", (FSDPModule, kind), methods)
    return module


def _whole(name: str) -> Any:
    """A method that calls the module's own with the whole parameters."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.__dict__["_unit"].whole():
            return getattr(super(type(self), self), name)(*args, **kwargs)

    method.__name__ = name
    return method


def register_fsdp_forward_method(module: Module, method_name: str) -> None:
    """Let a method of a sharded module run with the whole parameters, as forward does.

    Raises: AttributeError if the module has no such method; nothing for a module that is not
    sharded.
    """
    method = getattr(module, method_name)
    if not isinstance(module, FSDPModule):
        return

    @functools.wraps(method)
    def with_parameters(*args: Any, **kwargs: Any) -> Any:
        with module.__dict__["_unit"].whole():
            return method(*args, **kwargs)

    module.__dict__[method_name] = with_parameters


@contextlib.contextmanager
def whole_model(module: Module) -> Iterator[None]:
    """A block in which a divided module has whole parameters, and its ranks exchange nothing.

    All ranks enter it together, outside of a forward pass, and then each does what it likes: rank 0
    samples or writes files while the others wait. Gradients stay with the whole parameters, which
    are gone after the block, and so are changes. A module that is not divided stays as it is.
    """
    units = [m.__dict__["_unit"] for m in module.modules() if isinstance(m, FSDPModule)]
    with contextlib.ExitStack() as stack:
        for unit in units:
            if unit.parts:
                stack.enter_context(unit.whole_leaves())
        yield


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
