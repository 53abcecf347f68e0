"""A unit of fully_shard: parameters that are gathered and dropped together, one unit ahead.

While a unit computes, the ranks gather the parameters of the one that comes next, forward and
backward: over NCCL on the communication stream, over MPI as a collective that does not block, which
moves on whenever an op ends. Which unit comes next is what followed it in the last pass, so the
first step gathers nothing ahead. Where a pass differs from the last one, the rest of it gathers
when a unit needs its parameters. What is gathered ahead lives until the pass ends: a forward of the
outermost unit, or a walk of backward.

The gradients of a unit are averaged over the ranks in the same way, while the units before it
compute theirs: one unit's at a time. They are in .grad when the walk has ended.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import asarray, xp_of
from ..arrays.memory import address, is_array
from ..autograd.engine import Op
from ..autograd.grad_mode import mode
from ..autograd.hooks import after_walk, late_gradients
from ..autograd.observing import observing
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..tensor import wrap
from .agreement import require_same_parameters
from .collectives import broadcast
from .groups import run
from .parts import sent_from
from .process_group import divided_within
from .reductions import ReduceOp
from .sharded import ShardedParameter, divide_parameter
from .steps import all_gathered, divided, reduced_part
from .transport import Steps

__all__ = ["Unit", "Unshard"]


class Order:
    """Which unit follows another: as in the last pass, as long as this one goes the same way.

    Ranks whose passes are equal gather the same units ahead, in the same order.
    """

    def __init__(self) -> None:
        self.last: list[Unit] = []
        self.now: list[Unit] = []
        self.same = False

    def begin(self) -> None:
        """A pass begins. What an error has left of the one before is forgotten."""
        for unit in (*self.last, *self.now):
            unit.ahead = unit.again = None
        self.now, self.same = [], True

    def follower(self, unit: Unit) -> Unit | None:
        """Note that the pass has come to a unit; the one that followed it in the last pass."""
        place = len(self.now)
        self.now.append(unit)
        self.same = self.same and place < len(self.last) and self.last[place] is unit
        return self.last[place + 1] if self.same and place + 1 < len(self.last) else None

    def end(self) -> None:
        """The pass has ended: what was gathered and not used is dropped."""
        for unit in (*self.last, *self.now):
            for _, work in unit.ahead or ():
                work.wait()
            unit.ahead = None
        self.last, self.now = self.now, []


class Exchange(NamedTuple):
    """Parameters of one dtype that are gathered together: their numbers, and what is to be done."""

    chosen: list[int]
    flat: Any  # this rank's parts, one after the other
    counts: np.ndarray  # (parameters, ranks): elements
    steps: Steps
    what: str


_under_way: ContextVar[Unit | None] = ContextVar("unit", default=None)  # the outermost


class Unshard(Op, listed=False):
    """The whole parameters of a unit from the ranks' parts: y_i = [p_i0; p_i1; ...] along dim 0.

    Backward, with g_ir = ∂L_r/∂y_i on rank r of R:   ∂L/∂p_iq = part q of (1/R)·Σ_r g_ir
    L is the mean of the ranks' losses L_r, as with DistributedDataParallel.
    """

    def forward(self, *parts: Any, unit: Any) -> Any:
        self.unit = unit
        whole = tuple(unit.gathered(parts))
        return whole if len(whole) > 1 else whole[0]

    def backward(self, g: Any) -> Any:
        gs = g if isinstance(g, tuple) else (g,)
        self.unit.drop()
        present = [None if not need else a for need, a in zip(self.needs, gs, strict=True)]
        whole = self.unit.added_to_kept(present)
        if self.unit.synchronises:
            late_gradients.append(self.unit.average(whole))
        else:
            self.unit.kept = [None if a is None else a.copy() for a in whole]
        return (None,) * len(gs)  # they are delivered when the walk ends


class Averages:
    """The gradients of a unit, whose mean over the ranks is formed while backward continues.

    They travel behind each other, in the order of the units in this walk, which all ranks share.
    """

    def __init__(self, unit: Unit, gradients: Sequence[Any]) -> None:
        self.unit = unit
        self.works: list[tuple[list[int], Any]] = []
        self.means: list[tuple[int, Any]] = []  # which parameter, this rank's part
        group = unit.group
        present = [i for i, g in enumerate(gradients) if g is not None]
        for chosen in unit._by_dtype(present):
            counts = np.array([unit._counts(i) for i in chosen])  # (parameters, ranks)
            flat = [sent_from(group, gradients[i]).reshape(-1) for i in chosen]
            cut = [_cut(a, c.cumsum()[:-1]) for a, c in zip(flat, counts, strict=True)]
            ordered = [cut[p][r] for r in range(group.size()) for p in range(len(chosen))]
            # rank 0's parts of all parameters, rank 1's, ...
            numbers = xp_of(flat[0]).concatenate(ordered)
            steps = unit.average_steps(chosen, numbers, counts)
            what = f"average of the gradients {chosen} of {numbers.size} elements"
            work = run(group, what, steps, async_op=True, array=numbers)
            self.works.append((chosen, work))

    def finish(self) -> None:
        """Wait for the means."""
        for chosen, work in self.works:
            for i, mean in zip(chosen, work.result(), strict=True):
                self.means.append((i, asarray(mean, self.unit.parts[i].array)))
        self.works = []

    def __call__(self, deliver: Any) -> None:
        """Deliver them to the parameters."""
        self.finish()
        for i, mean in self.means:
            deliver(self.unit.parts[i], mean, True)


class Unit:
    """Parameters that are gathered and dropped together, and where the modules hold them."""

    def __init__(self, modules: Sequence[Module], group: Any, reshard: bool) -> None:
        self.group, self.reshard = group, reshard
        self.parts: list[ShardedParameter] = []
        self.sites: list[tuple[Module, str, int]] = []  # (module, name, which part)
        self.depth = 0  # calls of the unit's methods that are under way
        self.again: list[Any] | None = None  # the whole parameters, gathered for backward
        self.ahead: list[tuple[Exchange, Any]] | None = None  # what was begun before it is needed
        self.synchronises = True  # whether backward averages gradients over the ranks
        self.kept: list[Any] = []  # the whole gradients of the backward passes that did not
        self.averages: Averages | None = None  # of the outermost: what was begun last in its walk
        self.outermost: Unit = self  # the one in whose forward pass this one was called last
        self.forwards, self.backwards = Order(), Order()  # of the units in it
        numbers: dict[int, int] = {}
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

    def _exchanges(self, parts: Sequence[Any]) -> Iterator[Exchange]:
        """What the ranks exchange so that each has the whole parameters."""
        for chosen in self._by_dtype(range(len(parts))):
            here = [sent_from(self.group, parts[i]) for i in chosen]
            xp = xp_of(here[0])
            flat = xp.concatenate([xp.ascontiguousarray(a).reshape(-1) for a in here])
            counts = np.array([self._counts(i) for i in chosen])  # (parameters, ranks)
            steps = all_gathered(self.group, flat, counts.sum(0).tolist())
            what = f"unshard of {len(chosen)} parameters"
            yield Exchange(chosen, flat, counts, steps, what)

    def gather(self, parts: Sequence[Any]) -> list[Any]:
        """The whole parameters, each in its own new array."""
        return self._joined(
            (each, run(self.group, each.what, each.steps, array=each.flat))
            for each in self._exchanges(parts)
        )

    def gather_ahead(self) -> None:
        """Begin to gather the whole parameters, unless they are here; `gathered` returns them."""
        if self.depth or self.ahead is not None or self.again is not None:
            return
        self.ahead = [
            (each, run(self.group, each.what, each.steps, async_op=True, array=each.flat))
            for each in self._exchanges([p.array for p in self.parts])
        ]

    def gathered(self, parts: Sequence[Any]) -> list[Any]:
        """The whole parameters: those that were gathered ahead, or gathered now."""
        ahead, self.ahead = self.ahead, None
        if ahead is None:
            return self.gather(parts)
        return self._joined((each, work.result()) for each, work in ahead)

    def _joined(self, exchanged: Iterable[tuple[Exchange, Any]]) -> list[Any]:
        """The whole parameters from the ranks' numbers of each exchange."""
        shapes = self._shapes()
        whole: list[Any] = [None] * len(self.parts)
        for (chosen, _, counts, _, _), everyones in exchanged:
            xp = xp_of(everyones)
            ends = counts.T.reshape(-1).cumsum()[:-1]  # (ranks, parameters) -> (R * P,)
            pieces = _cut(everyones, ends)  # in rank order, each with all parameters
            for place, i in enumerate(chosen):
                own = pieces[place :: len(chosen)]
                joined = xp.empty(shapes[i], everyones.dtype)
                xp.concatenate(own, out=joined.reshape(-1))  # (n0,), (n1,), ... -> (N,)
                whole[i] = asarray(joined, self.parts[i].array)
        return whole

    def added_to_kept(self, gradients: list[Any]) -> list[Any]:
        """These gradients and those that are kept, which are kept no longer."""
        kept, self.kept = self.kept or [None] * len(gradients), []
        return [b if a is None else a if b is None else a + b
                for a, b in zip(kept, gradients, strict=True)]  # fmt: skip

    def average(self, gradients: Sequence[Any]) -> Averages:
        """Begin the mean over the ranks of each gradient that is there."""
        self.outermost._walked()
        if self.outermost.averages is not None:  # one unit's at a time, so that memory is bounded
            self.outermost.averages.finish()
        self.outermost.averages = begun = Averages(self, gradients)
        return begun

    def average_steps(self, chosen: Sequence[int], numbers: Any, counts: np.ndarray) -> Steps:
        """This rank's part of the mean of each of these parameters' gradients, in its own array."""
        rank = self.group.rank()
        mine = yield from reduced_part(self.group, numbers, ReduceOp.AVG, counts.sum(0).tolist())
        parts = _cut(mine, counts[:, rank].cumsum()[:-1])
        shapes = [self.parts[i].array.shape for i in chosen]
        return [a.reshape(shape).copy() for a, shape in zip(parts, shapes, strict=True)]

    # ------------------------------------------------------------------------- during a forward
    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A block in which the modules hold the whole parameters."""
        if self.depth:
            self.depth += 1
            try:
                yield
            finally:
                self.depth -= 1
            return
        with self._in_order() as follower:
            made = Unshard.apply(*self.parts, unit=self) if self.parts else ()
            full = made if isinstance(made, tuple) else (made,)
            if follower is not None:
                follower.gather_ahead()
            with self._holding(full), self._dropped_from_what_is_saved(full):
                yield

    @contextlib.contextmanager
    def _in_order(self) -> Iterator[Unit | None]:
        """A block for the call of this unit; the one that is called next, where that is known."""
        outermost = _under_way.get()
        self.outermost = outermost or self
        if outermost is not None:
            yield outermost.forwards.follower(self)
            return
        self.forwards.begin()
        token = _under_way.set(self)
        try:
            yield self.forwards.follower(self)
        finally:
            _under_way.reset(token)
        self.forwards.end()

    @contextlib.contextmanager
    def _dropped_from_what_is_saved(self, full: Sequence[Any]) -> Iterator[None]:
        """A block whose ops do not keep the whole parameters for backward, if reshard says so."""
        if not (self.reshard and mode.grad and full):
            yield
            return
        ops: list[Op] = []
        me = threading.get_ident()

        def note(op: Op, inputs: tuple, results: Any) -> None:
            if threading.get_ident() == me:
                self.group.queue.move_on()
                if any(op.needs):
                    ops.append(op)

        with observing(note):
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
        self.group.queue.move_on()
        if self.again is None:
            walked = self.outermost._walked()
            self.again = self.gathered([p.array for p in self.parts])
            follower = walked.follower(self)
            if follower is not None:
                follower.gather_ahead()
        return self.again

    def _walked(self) -> Order:
        """The order of units in the walk of backward that is under way."""
        if self._walk_ended not in after_walk:
            self.backwards.begin()
            self.averages = None  # of a walk that an error has ended
            after_walk.append(self._walk_ended)
        return self.backwards

    def _walk_ended(self, accumulated: bool) -> None:
        after_walk.remove(self._walk_ended)
        self.averages = None
        self.backwards.end()

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
