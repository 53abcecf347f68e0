"""trace: what every op and every module did, forward and backward, with numbers.

    with study.trace(model) as t:
        loss = model.loss(inputs, targets)
        loss.backward()
    print(t.table())

It costs nothing when it is off. While it is on, it also computes norms and shares, which are not
included in the times that it reports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from ...autograd.engine import Op
from ...distributed.traffic import Exchange, watching
from ...layers.moe import MixtureOfExperts
from ...nn.module import Module
from ...tensor.nested import tensors_in
from ...training import autopsy
from ..common.html import FilePath, InNotebooks, written
from ..common.numbers import largest, norm, zeros
from ..common.terminal import Text
from ..common.watch import Call, Line, Place, Watch
from ..memory.kept import Ledger
from .flops import conventional_flops, executed_flops, product_flops

__all__ = ["Bad", "ModuleRecord", "OpRecord", "Trace", "trace"]


@dataclass
class OpRecord:
    """One op that ran. Times in seconds; the gradients are None until its backward has run."""

    number: int  # counted from 1, in order of execution
    name: str
    path: str  # of the module that called it; "" outside of any
    line: Line | None  # of the user's code
    inputs: tuple[tuple[int, ...] | None, ...]  # shapes; None if it is not an array
    outputs: tuple[tuple[int, ...], ...]  # shapes
    dtype: str
    forward: float
    tracked: bool  # whether it takes part in backward
    saved: int = 0  # bytes that it keeps for backward
    # What is computed from its outputs, and later from its gradients.
    new: int = field(default=0, init=False)  # of `saved`, bytes that no earlier op keeps
    zeros: float = field(default=0.0, init=False)  # share of the output's elements that are 0
    largest: float = field(default=0.0, init=False)  # largest |output|
    flops: int = field(default=0, init=False)  # of matrix products, forward, of what is seen
    convention: int = field(default=0, init=False)  # the same, masked pairs too
    executed: int = field(default=0, init=False)  # what it did, forward and, if it ran, backward
    executed_back: int = field(default=0, init=False)  # what its backward does
    backward: float | None = field(default=None, init=False)
    grad_in: float | None = field(default=None, init=False)  # norm of ∂L/∂outputs, which arrives
    grad_out: float | None = field(default=None, init=False)  # norm of ∂L/∂inputs, which leaves
    grad_zeros: float | None = field(default=None, init=False)  # share of 0 in ∂L/∂inputs
    grad_largest: float | None = field(default=None, init=False)  # largest |∂L/∂inputs|


@dataclass
class ModuleRecord:
    """One module: all its calls, with the modules inside it. Times in seconds."""

    path: str
    label: str  # the path within the module that called it
    kind: str  # its class
    depth: int
    calls: int = 0
    outputs: tuple[tuple[int, ...], ...] = ()  # shapes of its last output
    ops: list[OpRecord] = field(default_factory=list)
    last: list[OpRecord] = field(default_factory=list)  # the ops that made its outputs
    tokens_per_expert: list[int] | None = None  # of a MixtureOfExperts, over all calls

    @property
    def forward(self) -> float:
        """Seconds of all its ops, forward."""
        return sum(op.forward for op in self.ops)

    @property
    def backward(self) -> float:
        """Seconds of all its ops, backward."""
        return sum(op.backward or 0.0 for op in self.ops)

    @property
    def saved(self) -> int:
        """Bytes that its ops keep for backward, each once."""
        return sum(op.new for op in self.ops)

    @property
    def largest(self) -> float:
        """Largest |element| of its last output."""
        return max((op.largest for op in self.last), default=0.0)

    @property
    def zeros(self) -> float:
        """The share of 0 in its last output."""
        return sum(op.zeros for op in self.last) / len(self.last) if self.last else 0.0

    @property
    def grad(self) -> float | None:
        """Norm of the gradient that arrived at the module's output."""
        norms = [op.grad_in for op in self.last if op.grad_in is not None]
        return sum(g * g for g in norms) ** 0.5 if norms else None


@dataclass
class Bad:
    """The first op that made a NaN or an infinity, and its inputs."""

    op: OpRecord
    direction: str  # "forward" or "backward"
    given: list[str]  # description of each input (each arriving gradient)
    made: list[str]  # description of each output (each leaving gradient)

    def __str__(self) -> str:
        op = self.op
        text = (
            f"{op.name} (op {op.number}) made the first number that is not finite, {self.direction}"
        )
        if op.path:
            text += f", in {op.path}"
        given = "gradient" if self.direction == "backward" else "input"
        lines = [text]
        lines += [f"  {given} {i}: {description}" for i, description in enumerate(self.given)]
        lines += [f"  made {description}" for description in self.made]
        if op.line is not None:
            lines.append(f"  called at {op.line}")
        return "\n".join(lines)


class Trace(Watch, InNotebooks):
    """What `study.trace` returns: records of ops and modules, tables, plots, a page.

    ops              an OpRecord for every op, in order of execution
    modules          path -> ModuleRecord, in order of the first call
    parameters       name -> norm of its gradient when the context ended (None if it has none)
    memory           (seconds, bytes held for backward) at each change; peak, its largest
    first_bad        the first op that made a NaN or an infinity (Bad), or None
    flops            floating-point operations of matrix products, forward
    convention       as papers count them: with the masked half, and backward twice forward
    executed         those that were done, forward and backward; see table("flops")
    seconds          how long the context lasted, with the time of the tracing itself
    exchanges        what this rank sent others, in order; see table("communication")
    """

    def __init__(self, *models: Module) -> None:
        super().__init__(*models)
        self.models = list(models)
        self.ops: list[OpRecord] = []
        self.modules: dict[str, ModuleRecord] = {}
        self.parameters: dict[str, float | None] = {}
        self.memory: list[tuple[float, int]] = []
        self.peak = 0
        self.first_bad: Bad | None = None
        self.seconds = 0.0
        self.exchanges: list[Exchange] = []
        self._ledger = Ledger()
        self._record_of: WeakKeyDictionary[Op, OpRecord] = WeakKeyDictionary()

    # ------------------------------------------------------------------------- while it is on
    def __enter__(self) -> Trace:
        self._ledger = Ledger()
        self._began = perf_counter()
        self._watching = watching(self.exchanges.append)
        self._watching.__enter__()
        return super().__enter__()

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)
        self._watching.__exit__(None, None, None)
        self.seconds += perf_counter() - self._began
        self.memory = self._ledger.times
        self.peak = self._ledger.peak
        self._ledger.close()
        for model in self.models:
            prefix = self.names[id(model)][0]
            for name, p in model.named_parameters(prefix):
                self.parameters[name] = None if p.grad is None else norm(p.grad.array)

    def op_done(self, op: Op, place: Place, inputs: tuple, results: list) -> None:
        arrays = [y.array for y in results]
        tracked = any(op.needs)
        saved, new = self._ledger.add(op) if tracked else (0, 0)
        record = OpRecord(
            place.number,
            op.name,
            place.path,
            place.line,
            tuple(tuple(x.shape) if hasattr(x, "shape") else None for x in inputs),
            tuple(tuple(a.shape) for a in arrays),
            str(arrays[0].dtype) if arrays else "",
            place.seconds,
            tracked,
            saved,
        )
        record.new, record.zeros = new, _mean([zeros(a) for a in arrays])
        record.largest = max((largest(a) for a in arrays), default=0.0)
        shapes = op.name, record.inputs, record.outputs, place.options
        record.flops, record.convention = product_flops(*shapes), conventional_flops(*shapes)
        record.executed, record.executed_back = executed_flops(*shapes, op.needs)
        self.ops.append(record)
        self._record_of[op] = record
        call = place.call
        while call is not None:
            self._module(call).ops.append(record)
            call = call.parent
        if self.first_bad is None and autopsy.made_here((*inputs, *place.options.values()), arrays):
            given = [autopsy.describe(a) for a in autopsy.arrays_of(list(inputs))]
            made = [autopsy.describe(a) for a in arrays]
            self.first_bad = Bad(record, "forward", given, made)

    def module_begins(self, call: Call, args: tuple) -> None:
        if call.parent is None and call.module not in self.models:
            self.models.append(call.module)
        self._module(call).calls += 1

    def module_done(self, call: Call, out: Any) -> None:
        record = self._module(call)
        tensors = list(tensors_in(out))
        record.outputs = tuple(tuple(y.shape) for y in tensors)
        ops = [self._record_of.get(y._op) for y in tensors if y._op is not None]
        record.last = [op for op in ops if op is not None] or record.ops[-1:]
        if isinstance(call.module, MixtureOfExperts):
            counts = call.module.tokens_per_expert.tolist()
            before = record.tokens_per_expert or [0] * len(counts)
            record.tokens_per_expert = [a + b for a, b in zip(before, counts, strict=True)]

    def backward_done(self, op: Op, place: Place | None, g: Any, grads: Any, s: float) -> None:
        record = self._record_of.get(op)
        if record is None:  # it ran forward before the context
            return
        arriving = [a for a in (g if isinstance(g, tuple) else (g,)) if a is not None]
        every = grads if isinstance(grads, tuple) else (grads,)
        leaving = [
            a
            for a, edge in zip(every, op.edges, strict=False)
            if a is not None and edge is not None and hasattr(a, "shape")
        ]
        record.backward = (record.backward or 0.0) + s
        record.executed += record.executed_back
        record.grad_in = norm(*arriving)
        record.grad_out = norm(*leaving)
        record.grad_zeros = _mean([zeros(a) for a in leaving])
        record.grad_largest = max((largest(a) for a in leaving), default=0.0)
        if self.first_bad is None and autopsy.made_here(arriving, leaving):
            self.first_bad = Bad(
                record,
                "backward",
                [autopsy.describe(a) for a in arriving],
                [autopsy.describe(a) for a in leaving],
            )

    def _module(self, call: Call) -> ModuleRecord:
        record = self.modules.get(call.path)
        if record is None:
            kind = type(call.module).__name__
            depth, outer = 0, call.parent
            while outer is not None:
                depth, outer = depth + 1, outer.parent
            above = "" if call.parent is None else call.parent.path
            below = call.path[len(above) + 1 :] if above and call.path.startswith(above) else ""
            record = ModuleRecord(call.path, below or call.path or kind, kind, depth)
            self.modules[call.path] = record
        return record

    # ------------------------------------------------------------------------------ afterwards
    def autopsy(self) -> Text:
        """Which op made the first NaN or infinity, its inputs, and your line that called it."""
        if self.first_bad is None:
            return Text(f"none of {len(self.ops)} ops made a NaN or an infinity")
        return Text(self.first_bad)

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products of all ops, forward."""
        return sum(op.flops for op in self.ops)

    @property
    def convention(self) -> int:
        """Operations by convention: three times forward for ops that take part in backward."""
        return sum(op.convention * (3 if op.tracked else 1) for op in self.ops)

    @property
    def executed(self) -> int:
        """Operations that were done, forward and backward."""
        return sum(op.executed for op in self.ops)

    @property
    def communication(self) -> float:
        """Seconds in which this rank waited for others, copied and added what they sent."""
        return sum(exchange.blocked for exchange in self.exchanges)

    def table(self, by: str = "op", width: int | None = None) -> Text:
        """A table of the ops (by="op"), the modules ("module") or their operations ("flops").

        by="communication": the collectives and messages between ranks, with their bytes.
        """
        from .text import table

        return table(self, by, width)

    def plot(self, file: FilePath | None = None) -> Any:
        """A plot: gradient flow by depth, and memory over time; a PNG if `file` is given.

        Returns `file`, or matplotlib's figure if it is None.
        """
        from .text import plot

        return plot(self, file)

    def html(self, file: FilePath | None = None) -> str:
        """An HTML page with charts and both tables, which is written if `file` is given."""
        from .page import page

        return written(page(self), file)

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, lists and dicts, in JSON's types."""
        from .text import as_dict

        return as_dict(self)


def trace(*models: Module) -> Trace:
    """A context that records every op and module call within it, forward and backward.

    models: their modules are named by their paths (`trf_blocks.0.att`); none is needed. After the
    context the Trace has `table()`, `plot()`, `html()`, `autopsy()`, and the records in `ops` and
    `modules`. An error that a backward pass raises within it says which line had called the op.
    Raises: TypeError if a model is not a Module.
    """
    return Trace(*models)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
