"""The tape and the walk back: Op and backward.

Creation order is a topological order, because an op can only use what already exists. Each op that
takes part in a gradient is stamped with a counter. Backward starts at the loss and always takes the
newest op whose gradient has arrived: every op that used its output is newer, so nothing is missing.
There is no recursion and so no limit of depth.

There is no double backward: gradients are plain arrays, outside the graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, ClassVar

from ..arrays.devices import asarray, on_gpu, quiet, xp_of
from ..arrays.memory import is_array, ndarray, storage_of
from ..arrays.reductions import unbroadcast
from ..arrays.twins import twins
from ..tensor import Tensor, shapes, wrap
from .grad_mode import mode
from .hooks import LeafHooks, leaf_hooks, pass_hooks
from .inplace_versions import check_unmodified, clock, modified

OPS: dict[str, type[Op]] = {}  # every op by name, such as "layer_norm"
observers: list[Callable[[Op, tuple, Any], None]] = []  # called after each forward
backward_observers: list[Callable[[Op], None]] = []  # called before each backward
FREED: Any = ("freed",)  # what `saved` becomes when backward has passed


class Op:
    """One operation: forward and its derivative. The instance is what forward leaves to backward.

    A subclass defines `forward(self, *arrays, **options)`, raw arrays in and out, and
    `backward(self, g)`, which gets ∂L/∂output and returns ∂L/∂input for each input (an array or
    None; not a tuple if there is one input). `self.needs[i]` says whether input i wants one.
    """

    signature: ClassVar[str] = "x(...) -> y(...)"
    broadcasts: ClassVar[bool] = False  # the engine sums the broadcast dimensions away
    views: ClassVar[bool] = False  # the output may show the input's memory
    adder: ClassVar[Any] = None  # adder(g, total) adds ∂L/∂(first input) to total, or is False
    name: ClassVar[str] = "op"

    saved: tuple = ()  # the arrays that backward needs: the op's whole memory bill
    needs: Sequence[bool] = ()
    roads: Sequence[Any] = ()  # None or (leaf, -1, shape, dtype) or (op, output, shape, dtype)
    outputs: Sequence[Any] = (None,)  # shape and dtype of each output, if there are several
    order = 0
    hooks: dict[int, dict] | None = None  # by output: functions that its gradient passes
    retained: dict[int, Any] | None = None  # outputs whose .grad is wanted: weak references
    _sizes_named: ClassVar[bool]
    _shapes_seen: ClassVar[set]

    def __init_subclass__(cls, listed: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._sizes_named = bool(shapes.dimensions(cls.signature))
        cls._shapes_seen = set()
        if "name" not in cls.__dict__:
            if any(parent in OPS.values() for parent in cls.__mro__[1:]):
                return  # a faster twin keeps its parent's name
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if listed:
            OPS.setdefault(cls.name, cls)

    def forward(self, *arrays: Any, **options: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward")

    def backward(self, g: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no backward")

    # where each input's gradient goes, None, a leaf or (op, output), and its shape and dtype
    edges = property(lambda self: [r and (r[0] if r[1] < 0 else r[:2]) for r in self.roads])
    expects = property(lambda self: [r and r[2:] for r in self.roads])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}Backward0>"

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run forward on the inputs' arrays; remember the op if a gradient is wanted.

        Inputs that are no tensors (numbers, arrays, None) are passed on and get no gradient.
        """
        arrays: list[Any] = []
        needs: list[bool] = []
        roads: list[Any] = []  # where gradients go: the inputs' places in the graph, no arrays
        record = mode.grad
        for x in inputs:
            if isinstance(x, Tensor):
                if x._view_of is not None and x._view_of._tick > x._tick and record:
                    x._look_again()
                array = x.array
                arrays.append(array)
                if record and x._needs:
                    needs.append(True)
                    made, out = (x, -1) if x._op is None else (x._op, x._out)
                    roads.append((made, out, array.shape, array.dtype))
                    continue
            else:
                arrays.append(x)
            needs.append(False)
            roads.append(None)
        gpu = twins.gpu
        op = (cls if gpu is None or not on_gpu(arrays) else gpu.ops.get(cls, cls))()
        op.needs = needs
        if cls._sizes_named:
            key = tuple([getattr(a, "shape", None) for a in arrays])
            if key not in cls._shapes_seen:
                shapes.check(cls.name, cls.signature, key)
                if len(cls._shapes_seen) < 10_000:
                    cls._shapes_seen.add(key)
        try:
            if options or len(arrays) != 2:
                out = op.forward(*arrays, **options)
            else:  # without a tuple and a dict to unpack: a tenth of what a small op costs
                out = op.forward(arrays[0], arrays[1])
        except (ValueError, TypeError) as error:
            raise shapes.explained(cls.name, cls.signature, arrays, error) from error
        if type(out) is ndarray:  # one output, as nearly always
            y = wrap(out)
            results = [y]
            if True in needs and out.dtype.kind in "fV":
                op.roads, op.order = roads, next(clock)
                y._needs, y._op = True, op
        else:
            outs = out if isinstance(out, tuple) else (out,)
            results = [wrap(o if is_array(o) else asarray(o, arrays[0])) for o in outs]
            if True in needs:
                op.roads, op.order = roads, next(clock)
                op.outputs = [(y.array.shape, y.array.dtype) for y in results]
                for i, y in enumerate(results):
                    if y.array.dtype.kind in "fV":  # integers, such as topk's indices, have none
                        y._needs, y._op, y._out = True, op, i
        if cls.views and isinstance(inputs[0], Tensor):
            base = inputs[0] if inputs[0]._view_of is None else inputs[0]._view_of
            for y in results:
                if storage_of(y.array) is storage_of(base.array):
                    y._view_of, y._tick = base, next(clock)
        for watch in observers:
            watch(op, inputs, results)
        return tuple(results) if isinstance(out, tuple) else results[0]


# -------------------------------------------------------------------------------- the walk back
def backward_steps(
    root: Tensor | Sequence[Tensor],
    gradient: Any = None,
    retain_graph: bool = False,
    deliver: Callable[[Any, Any, bool], None] | None = None,
    unseen: bool = False,
) -> Iterator[tuple[Op, Any, tuple]]:
    """Walk from the root back to the leaves, one op a step: yields (op, ∂L/∂output, ∂L/∂inputs).

    `backward()` exhausts this generator; single-stepping it shows the same walk. gradient is
    ∂L/∂root, needed unless root has one element. A gradient that arrives first is borrowed, the
    second allocates the sum, later ones add in place. Saved arrays are dropped as the walk passes
    unless retain_graph; copy what you want to keep of a step, later steps add to it in place.
    `deliver(leaf, gradient, fresh)` replaces accumulation; unseen: an op may add to leaf.grad.
    """
    deliver = deliver or accumulate
    if leaf_hooks:
        deliver = LeafHooks(deliver)
    roots = [root] if isinstance(root, Tensor) else list(root)
    given = [gradient] if isinstance(root, Tensor) else list(gradient or [None] * len(roots))
    waiting: list[int] = []  # a heap of -order: the newest first
    arrived: dict[int, list] = {}  # order: [op, gradient, owned, gradient, owned, ...]

    def arrive(g: Any, fresh: bool, op: Op, out: int) -> None:
        order = op.order
        slots = arrived.get(order)
        if slots is None:
            heappush(waiting, -order)
            if len(op.outputs) == 1:
                arrived[order] = [op, g, fresh]
                return
            slots = arrived[order] = [op] + [None, False] * len(op.outputs)
        at = 1 + 2 * out
        if slots[at] is None:
            slots[at], slots[at + 1] = g, fresh
        elif slots[at + 1]:
            slots[at] += g
        elif fresh:
            g += slots[at]
            slots[at], slots[at + 1] = g, True
        else:
            slots[at], slots[at + 1] = asarray(slots[at] + g, g), True

    for tensor, g in zip(roots, given, strict=True):
        if not tensor.requires_grad:
            raise RuntimeError(
                "element 0 of tensors does not require grad and does not have a grad_fn: nothing "
                "that it was made from has requires_grad=True, or it was made under no_grad()"
            )
        g, op = _seed(tensor, g), tensor._op
        arrive(g, False, op, tensor._out) if op is not None else deliver(tensor, g, False)

    while waiting:
        slots = arrived.pop(-heappop(waiting))
        op, alone = slots[0], len(slots) == 3  # one output, as nearly always
        g = slots[1] if alone else tuple(slots[1::2])
        if op.saved is FREED:
            raise RuntimeError(
                f"Trying to backward through the graph a second time: what {op.name} saved was "
                "freed. Say backward(retain_graph=True) the first time, or compute the loss again."
            )
        if modified and op.saved:
            check_unmodified(op)
        if op.hooks or op.retained:
            gs = pass_hooks(op.hooks or {}, (g,) if alone else g)
            g = gs[0] if alone else gs
            for out, ref in (op.retained or {}).items():
                tensor = ref()
                if tensor is not None and gs[out] is not None:
                    deliver(tensor, gs[out], False)
        for watch in backward_observers:
            watch(op)
        total = _gradient_there(op) if op.adder and unseen and deliver is accumulate else None
        grads = None if total is not None and op.adder(g, total) else op.backward(g)
        grads = grads if type(grads) is tuple else (grads,)
        for road, grad in zip(op.roads, grads):  # noqa: B905
            if road is None or grad is None:
                continue
            to, out, shape, dtype = road
            if type(grad) is not ndarray and not is_array(grad):
                grad = asarray(grad, g if alone else g[0])
            if grad.shape != shape:
                if not op.broadcasts:
                    got = f"a gradient of shape {grad.shape} for an input of shape {shape}"
                    raise RuntimeError(f"{op.name}: its backward returned {got}")
                grad = unbroadcast(grad, shape)
            if grad.dtype is not dtype and grad.dtype != dtype:
                if dtype.kind != "V":
                    got = f"{grad.dtype} for an input of {dtype}"
                    raise RuntimeError(f"{op.name}: its backward returned {got}")
                grad = grad.astype(dtype)  # NumPy makes float32 of bfloat16 and a number
            fresh = grad.base is None and grad is not g
            fresh = fresh and (alone or id(grad) not in map(id, g))
            deliver(to, grad, fresh) if out < 0 else arrive(grad, fresh, to, out)
        if not retain_graph and op.saved:
            op.saved = FREED
        yield op, g, grads
    if isinstance(deliver, LeafHooks):
        deliver.release(deliver.deliver is accumulate)


def _gradient_there(op: Op) -> Any:
    """The .grad of the leaf that is the op's first input, if it has one and nobody looks on."""
    road: Any = op.roads[0] if op.roads[0] and not backward_observers else (None, 0)
    return road[0].grad.array if road[1] < 0 and road[0].grad is not None else None


def _seed(root: Tensor, gradient: Any) -> Any:
    """∂L/∂root as an array of the root's shape and dtype: 1 where L is the root itself."""
    a = root.array
    if gradient is None:
        if a.size != 1:
            raise RuntimeError(
                f"grad can be implicitly created only for scalar outputs: this one has shape "
                f"{tuple(a.shape)}. Reduce it with .sum() or .mean(), or pass "
                "backward(gradient=...) of the same shape"
            )
        return xp_of(a).ones_like(a)
    g = gradient.array if isinstance(gradient, Tensor) else asarray(gradient, a)
    if g.shape != a.shape:
        raise RuntimeError(
            f"Mismatch in shape: gradient has shape {tuple(g.shape)} and the output "
            f"{tuple(a.shape)}: they must be equal"
        )
    return g if g.dtype == a.dtype else g.astype(a.dtype)


def accumulate(leaf: Tensor, g: Any, fresh: bool) -> None:
    """leaf.grad += g. A fresh array is adopted; one that somebody else holds is copied."""
    if leaf.grad is None:
        leaf.grad = wrap(g if fresh else g.copy())
    else:
        total = leaf.grad.array
        total += g


@quiet
def backward(
    self: Any, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False
) -> None:
    """Fill .grad of every leaf that the tensor was made from: ∂self/∂leaf, added to what is there.

    gradient is ∂L/∂self, needed unless self has one element. RuntimeError for a second backward
    through a freed graph, for a saved tensor that was changed in place, and for create_graph=True.
    """
    if create_graph:
        raise RuntimeError(
            "create_graph=True: there is no double backward, gradients are outside the graph"
        )
    for _ in backward_steps(self, gradient, retain_graph, unseen=True):
        pass


Tensor.backward = backward  # type: ignore[attr-defined]
