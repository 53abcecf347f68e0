"""The engine: Op, which records what was computed, and backward, which computes the gradients.

Creation order is a topological order, because an op can only use what already exists. Each op that
takes part in a gradient is stamped with a counter. Backward starts at the loss and always takes the
newest op whose gradient has arrived: every op that used its output is newer, so nothing is missing.
There is no recursion and therefore no limit of depth.

Who may write into a gradient? The first one that arrives somewhere is *borrowed*: the array may
also be saved by an op, be shown to an observer, or be on its way to another input, so nobody
changes it. When a second one arrives, the sum is a new array that belongs to the engine alone: it
is *owned*, and later arrivals are added to it in place. An array that `backward` has just allocated
is owned from the beginning. An op with an `adder` may compute the sum itself while it computes its
gradient: into an owned array, which is then the sum, or else into a new one.

There is no double backward: gradients are plain arrays, outside the graph.

Several threads may run backward at the same time. Gradients that arrive at one leaf are added one
after the other, so none is lost. Two walks through one graph must keep it (retain_graph=True): one
that finds, before or after an op's backward, that the other has freed what the op saved raises an
error, and delivers nothing from that op.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from ..arrays.devices import asarray, follow, gpus, on_gpu, use_gpu
from ..arrays.memory import as_array, generic, is_array, ndarray, storage_of
from ..arrays.meta import meta
from ..arrays.reductions import unbroadcast
from ..arrays.silence import is_silent, quiet, silent
from ..arrays.twins import cpu_op, large, twins
from ..tensor import Tensor, attach, shapes, wrap
from .grad_mode import mode
from .half_precision import half_op, is_half
from .hooks import LeafHooks, deliver_retained, leaf_hooks, pass_hooks, walk
from .inplace_versions import check_unmodified, clock, modified
from .leaves import Arrivals, accumulate, added

Deliver = Callable[[Tensor, Any, bool], None]  # (leaf, gradient, whether the gradient is owned)

OPS: dict[str, type[Op]] = {}  # every op by name, such as "layer_norm"
# (the op's class, inputs, options) before each forward
start_observers: list[Callable[[type[Op], tuple, dict[str, Any]], None]] = []
observers: list[Callable[[Op, tuple, Any], None]] = []  # (op, inputs, results) after each forward
# (op, ∂L/∂output, ∂L/∂inputs) after each backward, before the gradients are delivered
backward_observers: list[Callable[[Op, Any, tuple], None]] = []
FREED: Any = ("freed",)  # what `saved` becomes when the backward pass has used it
# What the engine keeps on an op; everything else on an instance was put there by forward.
ENGINE_FIELDS = frozenset("half saved needs edges outputs order gpu hooks retained".split())


class Edge(NamedTuple):
    """Where the gradient of one input of an op goes, and what it must look like."""

    target: Any  # the leaf (a Tensor), or the Op that made the input
    output: int | None  # which output of that op the input is; None for a leaf
    shape: tuple[int, ...]
    dtype: Any


_new = object.__new__
_new_edge = tuple.__new__  # half the time of calling Edge(...): every op makes one per input


class Op:
    """One operation: forward and its derivative. The instance is what forward leaves to backward.

    A subclass defines `forward(self, *arrays, **options)`, raw arrays in and out, and
    `backward(self, g)`, which receives ∂L/∂output and returns ∂L/∂input for each input (an array
    or None; a tuple if there are several inputs). `self.needs[i]` says whether input i wants one.
    """

    signature: ClassVar[str] = "x(...) -> y(...)"
    broadcasts: ClassVar[bool] = False  # the engine sums the broadcast dimensions away
    views: ClassVar[bool] = False  # the output may show the input's memory
    in_rows: ClassVar[bool] = False  # the output is in row order, however the inputs lie
    in_float32: ClassVar[bool] = False  # half precisions are computed in float32, rounded once
    as_stored: ClassVar[tuple[int, ...]] = ()  # inputs that forward takes in half precision then
    takes_complex: ClassVar[bool] = False  # backward is right for complex numbers too
    # adder(g, total, owned): what backward returns, but with total + ∂L/∂(first input), in total
    # itself if that is owned, else in a new array; or None, if it does not do that here
    adder: ClassVar[Any] = None
    name: ClassVar[str] = "op"

    half: Any = None  # float16 or bfloat16, while in_float32 computes such inputs
    saved: tuple = ()  # the arrays that backward needs: the op's whole memory bill
    needs: Sequence[bool] = ()  # per input: whether its gradient is wanted
    edges: Sequence[Edge | None] = ()  # per input, None where no gradient is wanted; () if none is
    outputs: Sequence[Any] = (None,)  # shape and dtype of each output, if there are several
    order = 0
    gpu: int | None = None  # where it runs, on a machine with several GPUs
    hooks: dict[int, dict] | None = None  # by output: the hooks that its gradient passes
    retained: dict[int, Any] | None = None  # outputs whose .grad is wanted: weak references
    _sizes_named: ClassVar[bool]
    _shapes_checked: ClassVar[set]
    _written: ClassVar[tuple]  # forward and backward, as the class's file has them
    _traits: ClassVar[tuple]  # what `apply` asks of the class, in one attribute

    def __init_subclass__(cls, listed: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._sizes_named = bool(shapes.dimensions(cls.signature))
        cls._shapes_checked = set()
        cls._written = cls.forward, cls.backward
        cls._traits = cls._sizes_named, cls.in_float32, cls.views, cls.in_rows
        if "name" not in cls.__dict__:
            if any(parent in OPS.values() for parent in cls.__mro__[1:]):
                return  # a faster twin keeps its parent's name
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if listed:
            OPS.setdefault(cls.name, cls)

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """The output from the input arrays.

        Raises: TypeError if the class does not define it.
        """
        raise TypeError(f"{type(self).__name__} defines no forward")

    def backward(self, g: Any) -> Any:
        """The gradients of the inputs from the gradient g of the output.

        Raises: TypeError if the class does not define it.
        """
        raise TypeError(f"{type(self).__name__} defines no backward")

    def stored(self, a: Any, only: str = "") -> Any:
        """What PyTorch keeps between two of its kernels: in half precision a is rounded here.

        only: the one half precision in which it is. Float32 and wider numbers are as they are.
        """
        return a

    def precise(self, function: Callable[[Any], Any], x: Any) -> Any:
        """function(x); where x was in half precision, to the last bit of float32."""
        return function(x)

    @classmethod
    def is_changed(cls) -> bool:
        """Whether somebody gave the class another forward or backward, as study.lesson.broken does:
        its faster twins are not its equals then.
        """
        return (cls.forward, cls.backward) != cls._written

    def __repr__(self) -> str:
        name = self.__dict__.get("name")  # where it was asked for as a tensor's grad_fn
        return f"<{type(self).__name__}Backward0>" if name is None else f"<{name()}>"

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run forward on the inputs' arrays; record the op if a gradient is wanted.

        Inputs that are not tensors (numbers, arrays, None) are passed on and get no gradient.
        Raises: RuntimeError or TypeError if forward fails, with the inputs' shapes and dtypes.
        """
        for watch_start in start_observers:
            watch_start(cls, inputs, options)
        arrays, needs, edges = [], [], []
        record, two_bytes, (named, in_float32, views, in_rows) = mode.grad, False, cls._traits
        for x in inputs:
            edge = None
            if isinstance(x, Tensor):
                array = x.array
                two_bytes = two_bytes or (in_float32 and array.itemsize == 2)
                if record:
                    if x._view_of is not None and x._view_of._tick > x._tick:
                        x._refresh_history()
                    if x._needs:
                        maker, output = (x, None) if x._op is None else (x._op, x._out)
                        edge = _new_edge(Edge, (maker, output, array.shape, array.dtype))
                x = array
            arrays.append(x)
            needs.append(edge is not None)
            edges.append(edge)
        chosen = half_op(cls, arrays, options) if two_bytes else cls
        many = arrays and type(first := arrays[0]) is ndarray and first.size >= large.least
        many = many or (cls.broadcasts and type(x) is ndarray and x.size >= large.least)  # 2 * x
        op = _twin_op(chosen, arrays, options) if many or gpus.used else chosen()
        op.needs = needs
        key = tuple([getattr(a, "shape", None) for a in arrays]) if named else ()
        if named and key not in cls._shapes_checked:
            _check_shapes(cls, key)
        try:
            if meta.used:
                from . import on_meta  # imported when first needed

                out = on_meta.forward_of_any(op, arrays, options)
            elif views or is_silent():  # nothing is computed; or an op within an op
                out = op.forward(*arrays, **options)
            elif options or not 0 < len(arrays) < 3:
                out = silent.run(op.forward, *arrays, **options)
            elif len(arrays) == 1:  # without a tuple and a dict to unpack: a tenth of a small op
                out = silent.run(op.forward, arrays[0])
            else:
                out = silent.run(op.forward, arrays[0], arrays[1])
        except (ValueError, TypeError) as error:
            raise shapes.explained(op.name, op.signature, arrays, error) from error
        if type(out) is not ndarray and isinstance(out, generic):  # NumPy's, for 0-d arrays
            out = as_array(out)
        if type(out) is not ndarray:
            return _results(op, inputs, arrays, edges, out)
        if in_rows and not out.flags.c_contiguous:
            out = out.copy()
        y = _new(Tensor)  # wrap(out), without the call
        y.array = out
        if True in needs:
            if out.dtype.kind in "fV":
                op.edges, op.order, y._needs, y._op = edges, next(clock), True, op
            elif out.dtype.kind == "c":
                _record(op, edges, [y])
        if views:
            _note_view(inputs[0], y)
        for watch in observers:
            watch(op, inputs, [y])
        return y


def any_changed(*names: str) -> bool:
    """Whether the forward or backward of one of the ops of these names is not as written."""
    return any([name in OPS and OPS[name].is_changed() for name in names])


def _results(op: Op, inputs: tuple, arrays: list[Any], edges: list[Edge | None], out: Any) -> Any:
    """The tensors of an op that returned several arrays, or one that is not NumPy's; recorded."""
    outs = out if isinstance(out, tuple) else (out,)
    results = [wrap(o if is_array(o) else asarray(o, arrays[0])) for o in outs]
    _record(op, edges, results)
    for y in results if op.views else ():
        _note_view(inputs[0], y)
    for watch in observers:
        watch(op, inputs, results)
    return tuple(results) if isinstance(out, tuple) else results[0]


def _twin_op(cls: type[Op], arrays: list[Any], options: dict[str, Any]) -> Op:
    """The op for a large array, or for arrays of a GPU: a faster twin where there is one.

    On a GPU it runs on the one that has the arrays. A class that is changed runs itself.
    """
    replaced = cls.is_changed()
    if not (gpus.used and on_gpu(arrays)):
        return cls() if replaced else cpu_op(cls, arrays, options)
    op = (cls if replaced or twins.gpu is None else twins.gpu.ops.get(cls, cls))()
    if gpus.several:
        op.gpu = follow(arrays, cls.name)
    return op


def _check_shapes(cls: type[Op], key: tuple) -> None:
    """Check the inputs' shapes against the signature, and remember those that passed.

    Raises: RuntimeError if the sizes of a dimension disagree.
    """
    shapes.check(cls.name, cls.signature, key)
    if len(cls._shapes_checked) < 10_000:
        cls._shapes_checked.add(key)


def _record(op: Op, edges: list[Edge | None], results: list[Tensor]) -> None:
    """Record an op with several outputs, or one on a GPU, as the maker of its results.

    Where no gradient is wanted nothing is recorded.
    Raises: RuntimeError for a complex result of an op whose backward is for real numbers.
    """
    if True not in op.needs:
        return
    op.edges, op.order = edges, next(clock)
    op.outputs = [(y.array.shape, y.array.dtype) for y in results]
    for i, y in enumerate(results):
        if y.array.dtype.kind == "c" and not op.takes_complex:
            raise RuntimeError(
                f"{op.name} has no gradient for complex tensors here: take view_as_real(x), or "
                "x.detach()"
            )
        if y.array.dtype.kind in "fVc":  # integers, such as topk's indices, have no gradient
            y._needs, y._op, y._out = True, op, i


def _note_view(x: Any, y: Tensor) -> None:
    """Note that y shows x's memory, or that of the tensor whose view x is, where it does."""
    if not isinstance(x, Tensor):
        return
    base = x if x._view_of is None else x._view_of
    memory, array = base.array, y.array
    if type(memory) is ndarray is type(array):  # as nearly always: who owns what array shows
        owner = array.base
        shown = owner is not None and (owner is memory or owner is memory.base)
        if owner is None and array is not memory:
            return  # a copy
    else:
        shown = False
    if shown or storage_of(array) is storage_of(memory):
        y._view_of, y._tick = base, next(clock)


# ------------------------------------------------------------------------------------ backward
def backward_steps(
    root: Tensor | Sequence[Tensor],
    gradient: Any = None,
    retain_graph: bool = False,
    deliver: Deliver | None = None,
    add_in_place: bool = False,
    extra: dict[int, dict[int, Tensor]] | None = None,
) -> Iterator[tuple[Op, Any, tuple]]:
    """Walk from the root to the leaves, one op per step: yields (op, ∂L/∂output, ∂L/∂inputs).

    `backward()` exhausts this generator; single-stepping it shows the same walk. gradient is
    ∂L/∂root, needed unless root has one element. Saved arrays are dropped as the walk passes
    unless retain_graph. Copy what you want to keep of a step: later steps may add to it in place.
    `deliver(leaf, gradient, owned)` replaces accumulation into .grad. add_in_place: nobody looks
    at the steps, so an op may add to what has arrived at its input itself (see Op.adder). extra:
    outputs of ops whose gradients this walk delivers too, by the op's order and the output's place.
    Raises: RuntimeError if the saved arrays of an op were dropped by an earlier walk.
    """
    to_leaf: Any = LeafHooks(deliver or accumulate) if leaf_hooks else deliver or accumulate
    arrivals = _start(root, gradient, to_leaf)
    with walk(to_leaf, deliver is None):
        while arrivals.waiting:
            op, g = arrivals.newest()
            if op.saved is FREED:
                raise RuntimeError(_SECOND_TIME.format(op.name))
            if modified and op.saved:
                check_unmodified(op)
            if op.hooks or op.retained or extra:
                g = pass_hooks(op, g)
                deliver_retained(op, g, to_leaf, extra)
            if op.gpu is not None:
                use_gpu(op.gpu)
            try:
                if op.adder and add_in_place:
                    grads: Any = added(op, g, arrivals, to_leaf, backward_observers)
                else:
                    grads = op.backward(g)
                grads = grads if type(grads) is tuple else (grads,)
            finally:
                if op.saved is FREED:  # by another thread, meanwhile
                    raise RuntimeError(_SECOND_TIME.format(op.name))
            for watch in backward_observers:
                watch(op, g, grads)
            for edge, grad in zip(op.edges, grads):  # noqa: B905
                if edge is None or grad is None:
                    continue
                to, output, shape, dtype = edge
                if type(grad) is not ndarray or grad.shape != shape or grad.dtype is not dtype:
                    grad = _fitted(grad, edge, op, g)
                owned = grad.base is None and grad is not g and not _one_of(grad, g)
                if output is None:
                    to_leaf(to, grad, owned)
                else:
                    arrivals.add(grad, owned, to, output)
            if not retain_graph and op.saved:
                op.saved = FREED
            yield op, g, grads


def _start(root: Tensor | Sequence[Tensor], gradient: Any, deliver: Deliver) -> Arrivals:
    """The arrivals at the ops that made the roots; a root that is a leaf gets its gradient now."""
    if isinstance(root, Tensor):
        pairs: Any = ((root, gradient),)
    else:
        roots = list(root)
        pairs = zip(roots, list(gradient or [None] * len(roots)), strict=True)
    arrivals = Arrivals()
    for tensor, g in pairs:
        if not tensor._up_to_date()._needs:
            raise RuntimeError(
                "element 0 of tensors does not require grad and does not have a grad_fn: nothing "
                "that it was made from has requires_grad=True, or it was made under no_grad()"
            )
        g = _seed(tensor, g)
        if tensor._op is None:
            deliver(tensor, g, False)
        else:
            arrivals.add(g, False, tensor._op, tensor._out)
    return arrivals


def _seed(root: Tensor, gradient: Any) -> Any:
    """∂L/∂root as an array of the root's shape and dtype: 1 where L is the root itself."""
    a = root.array
    if gpus.several:
        follow([a], "backward")
    if gradient is None:
        if a.size != 1:
            raise RuntimeError(
                f"grad can be implicitly created only for scalar outputs: this one has shape "
                f"{tuple(a.shape)}. Reduce it with .sum() or .mean(), or pass "
                "backward(gradient=...) of the same shape"
            )
        if a.dtype.kind == "c":
            raise RuntimeError(
                "grad can be implicitly created only for real scalar outputs but got torch."
                + a.dtype.name
            )
        one = a.copy()
        one.fill(1)
        return one
    g = gradient.array if isinstance(gradient, Tensor) else asarray(gradient, a)
    if g.shape != a.shape:
        raise RuntimeError(
            f"Mismatch in shape: gradient has shape {tuple(g.shape)} and the output "
            f"{tuple(a.shape)}: they must be equal"
        )
    return g if g.dtype == a.dtype else g.astype(a.dtype)


_SECOND_TIME = (
    "Trying to backward through the graph a second time: what {} saved was freed. "
    "Call backward(retain_graph=True) the first time, or compute the loss again."
)


def _fitted(grad: Any, edge: Edge, op: Op, g: Any) -> Any:
    """What an op's backward returned, as an array of the shape and dtype that the edge expects.

    Sums the copies of an input that was broadcast, if the op declares it.
    Raises: RuntimeError for any other shape, and for another dtype.
    """
    if not is_array(grad):
        grad = asarray(grad, g[0] if isinstance(g, tuple) else g)
    if grad.shape != edge.shape:
        if not op.broadcasts:
            raise RuntimeError(
                f"{op.name}: its backward returned a gradient of shape {grad.shape} for an input "
                f"of shape {edge.shape}"
            )
        grad = unbroadcast(grad, edge.shape)
    if grad.dtype != edge.dtype:
        if not (is_half(edge.dtype) or is_half(grad.dtype)):
            raise RuntimeError(
                f"{op.name}: its backward returned {grad.dtype} for an input of {edge.dtype}"
            )
        grad = grad.astype(edge.dtype)  # a 0-d input may be wider than the others
    return grad


def _one_of(grad: Any, g: Any) -> bool:
    """Whether a gradient is one of those that arrived at an op with several outputs."""
    return type(g) is tuple and any(grad is arrived for arrived in g)


@quiet
def backward(
    self: Any, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False
) -> None:
    """Fill .grad of every leaf that the tensor was made from: ∂self/∂leaf, added to what is there.

    gradient is ∂L/∂self, needed unless self has one element.
    Raises: RuntimeError for a second backward through a freed graph, if a saved tensor was changed
    in place, and for create_graph=True.
    """
    if create_graph:
        raise RuntimeError(
            "create_graph=True: there is no double backward, gradients are outside the graph"
        )
    for _ in backward_steps(self, gradient, retain_graph, add_in_place=True):
        pass


attach("backward", backward)
