"""Reducer: averages the gradients of all ranks, bucket by bucket, while backward still runs.

The parameters are divided into buckets of some megabytes, in the order in which their gradients
become complete. As soon as the last gradient of a bucket is complete its sum over the ranks is
started, and the backward pass continues with older layers. Every rank starts the buckets in the
same order.

When is a gradient complete? The forward pass has left a graph; the reducer counts in it the edges
that lead to each parameter, and then counts the gradients that pass along them. Where a graph is
not walked, or walked twice, the count does not end, and the gradient is complete when the walk
ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import distributed as dist
from ...autograd.engine import Op, backward_observers
from ...autograd.hooks import after_walk, leaf_hooks
from ...distributed.gradients import arrival_of, begin_mean, put_gradient
from ...distributed.groups import member_group
from ...tensor import Tensor, wrap

__all__ = ["Reducer", "Watch"]

FIRST_BUCKET = 1 << 20  # bytes: a small one, so that the first sum starts early


class Watch(Op, listed=False):
    """y = x for the outputs of a module; its backward is the first of the module's.

    Backward:  ∂L/∂x = ∂L/∂y
    """

    def forward(self, *arrays: Any, reducer: Any) -> Any:
        self.reducer = reducer
        shown = tuple(a.view() for a in arrays)
        return shown if len(shown) > 1 else shown[0]

    def backward(self, g: Any) -> Any:
        self.reducer.begin()
        return g


def _apart(p: Tensor, q: Tensor) -> bool:
    """Whether the gradients of two parameters cannot travel together."""
    return p.dtype is not q.dtype or type(p.array) is not type(q.array)


class Reducer:
    """The buckets of a module's parameters in a group of ranks.

    named           (name, parameter) of each that requires a gradient
    group           a process group, None for that of all processes
    bucket_bytes    the most of one bucket, except where a single parameter is larger
    find_unused     parameters without a gradient count as zeros, where another rank has one
    """

    def __init__(
        self, named: Sequence[tuple[str, Tensor]], group: Any, bucket_bytes: int, find_unused: bool
    ) -> None:
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.place = {id(p): i for i, p in enumerate(self.parameters)}
        self.group, self.bucket_bytes, self.find_unused = group, bucket_bytes, find_unused
        self.ranks: Any = member_group(group, "DistributedDataParallel")
        self.rebuilt = False
        self.expected: dict[int, int] = {}  # per parameter: edges of the graphs not walked yet
        self._divide(list(range(len(self.parameters)))[::-1])
        self._reset()

    def _divide(self, order: Sequence[int]) -> None:
        """Put the parameters into buckets in this order; each has one dtype."""
        self.buckets: list[list[int]] = []
        size = limit = 0
        for i in order:
            p = self.parameters[i]
            last = self.parameters[self.buckets[-1][0]] if self.buckets else None
            if last is None or size + p.array.nbytes > limit or _apart(p, last):
                limit = self.bucket_bytes if self.buckets else min(FIRST_BUCKET, self.bucket_bytes)
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(i)
            size += p.array.nbytes
        self.bucket_of = {i: b for b, bucket in enumerate(self.buckets) for i in bucket}

    def _reset(self) -> None:
        self.active = False
        self.new: list[bool] = []  # per parameter: whether its .grad is made by this walk
        self.complete: dict[int, None] = {}  # parameters whose gradient is complete, in order
        self.arrived: set[int] = set()  # those that got one
        self.remaining: dict[int, int] = {}
        self.missing = [len(bucket) for bucket in self.buckets]
        self.just_completed: list[int] = []
        self.works: list[tuple[Any, list[Any]]] = []  # of the buckets that were started

    # --------------------------------------------------------------------------- in the forward
    def watch(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, from which a backward pass tells this reducer that it begins."""
        ends = [y for y in outputs if y.requires_grad]
        if not ends:
            return list(outputs)
        self._count(ends)
        made = Watch.apply(*ends, reducer=self)
        for y, shown in zip(ends, made if isinstance(made, tuple) else (made,), strict=True):
            if "_columns" in y.__dict__:  # divided logits stay so, for loss_parallel
                shown.__dict__["_columns"] = y.__dict__["_columns"]
        watched = iter(made if isinstance(made, tuple) else (made,))
        return [next(watched) if y.requires_grad else y for y in outputs]

    def _count(self, ends: Sequence[Tensor]) -> None:
        """Add up how many edges of the graph behind the outputs lead to each parameter."""
        seen: set[int] = set()
        waiting: list[Op] = []
        for y in ends:
            op = y._up_to_date()._op
            if op is None and id(y) in self.place:
                i = self.place[id(y)]
                self.expected[i] = self.expected.get(i, 0) + 1
            elif op is not None:
                waiting.append(op)
        while waiting:
            op = waiting.pop()
            if id(op) in seen:
                continue
            seen.add(id(op))
            for edge in op.edges:
                if edge is None:
                    continue
                if edge.output is not None:
                    waiting.append(edge.target)
                elif id(edge.target) in self.place:
                    i = self.place[id(edge.target)]
                    self.expected[i] = self.expected.get(i, 0) + 1

    # -------------------------------------------------------------------------- in the backward
    def begin(self) -> None:
        """The backward pass has come to the module's outputs."""
        if self.active:
            return  # another call of the module, in the same walk
        self.stop()
        self._reset()
        self.active = True
        self.new = [p.grad is None for p in self.parameters]
        self.remaining = dict(self.expected)
        backward_observers.append(self.observe)
        after_walk.append(self.finish)

    def stop(self) -> None:
        """Watch no more: the walk has ended, or the last one failed in the middle."""
        if self.observe in backward_observers:
            backward_observers.remove(self.observe)
        if self.finish in after_walk:
            after_walk.remove(self.finish)
        self.active = False

    def observe(self, op: Op, g: Any, grads: tuple) -> None:
        """After the backward of an op, before its gradients are added to .grad.

        Raises: RuntimeError for a gradient that comes after its bucket was started.
        """
        self._start_complete()
        for edge, grad in zip(op.edges, grads, strict=False):
            if edge is None or edge.output is not None or id(edge.target) not in self.place:
                continue
            i = self.place[id(edge.target)]
            if i in self.complete:
                raise RuntimeError(
                    f"DistributedDataParallel: parameter {self.names[i]} got another gradient "
                    "after its sum over the ranks was started: it is used outside of the module's "
                    "forward"
                )
            if grad is not None or op.adder is not None:  # which has added to .grad itself
                self.arrived.add(i)
            self.remaining[i] = self.remaining.get(i, 0) - 1
            if self.remaining[i] == 0 and id(edge.target) not in leaf_hooks:
                self.just_completed.append(i)

    observe.without_leaves = True  # type: ignore[attr-defined]  # see leaves.added

    def _start_complete(self) -> None:
        """Start the buckets of which the op before has delivered the last gradient."""
        for i in self.just_completed:
            self._mark(i)
        self.just_completed.clear()

    def _mark(self, i: int) -> None:
        if i in self.complete:
            return
        self.complete[i] = None
        self.missing[self.bucket_of[i]] -= 1
        while len(self.works) < len(self.buckets) and self.missing[len(self.works)] == 0:
            self._start(self.buckets[len(self.works)])

    def _start(self, bucket: Sequence[int]) -> None:
        """Begin the mean of a bucket's gradients over the ranks."""
        parameters = [self.parameters[i] for i in bucket]
        self.works.append(begin_mean(parameters, self.ranks, in_place=not self.find_unused))

    # ------------------------------------------------------------------------------ at its end
    def finish(self, accumulated: bool) -> None:
        """The walk has ended: start what is left, wait, put the means into .grad.

        On a GPU nothing waits for the last bucket until somebody reads its gradients, if this walk
        has made them and no hook has seen them: a program may hold the memory of others.
        Raises: RuntimeError for a parameter without a gradient unless find_unused, and for
        autograd.grad, which does not fill .grad.
        """
        self.stop()
        self.expected = {}
        if not accumulated:
            raise RuntimeError(
                "DistributedDataParallel: autograd.grad does not fill .grad, whose mean over the "
                "ranks is taken: call backward()"
            )
        unused = sorted(set(range(len(self.parameters))) - self.arrived)
        if unused and not self.find_unused:
            raise RuntimeError(self._about(unused))
        for i in range(len(self.parameters)):
            self._mark(i)
        used = self._used_anywhere(unused)
        for bucket, (work, parts) in zip(self.buckets, self.works, strict=True):
            arrival = arrival_of(work) if self._may_be_late(bucket) else None
            if arrival is None:
                work.wait()
            for i, part in zip(bucket, parts, strict=True):
                if used is None or used[i]:
                    put_gradient(self.parameters[i], part, "DistributedDataParallel", arrival,
                                 kept=not self.new[i])  # fmt: skip
        self.works = []
        if not self.rebuilt and not self.find_unused:
            self._rebuild()

    def _may_be_late(self, bucket: Sequence[int]) -> bool:
        """Whether nobody but .grad holds these gradients, which are the last ones."""
        own = all(self.new[i] and id(self.parameters[i]) not in leaf_hooks for i in bucket)
        return own and bucket is self.buckets[-1] and not self.find_unused

    def _used_anywhere(self, unused: Sequence[int]) -> np.ndarray | None:
        """Which parameters got a gradient on any rank; None if that was not asked for."""
        if not self.find_unused:
            return None
        used = np.ones(len(self.parameters), np.uint8)
        used[list(unused)] = 0
        dist.all_reduce(wrap(used), dist.ReduceOp.MAX, self.group)
        return used

    def _rebuild(self) -> None:
        """After the first backward pass: buckets in the order of completion on the first rank.

        A weight that is used twice, as the embedding that is also the head, gets its first gradient
        early and its last one late: buckets before its own do not wait for it.
        """
        order = wrap(np.array(list(self.complete), np.int64))
        dist.broadcast(order, dist.get_global_rank(self.group, 0), self.group)
        self._divide(order.tolist())
        self.rebuilt = True

    def _about(self, unused: Sequence[int]) -> str:
        names = ", ".join(self.names[i] for i in unused)
        return (
            "Expected to have finished reduction in the prior iteration before starting a new one. "
            "This error indicates that your module has parameters that were not used in producing "
            "loss. You can enable unused parameter detection by passing the keyword argument "
            "`find_unused_parameters=True` to `torch.nn.parallel.DistributedDataParallel`.\n"
            f"Parameters which did not receive grad for rank {dist.get_rank(self.group)}: {names}"
        )
