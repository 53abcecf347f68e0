"""compare: two models or functions, layer by layer, and the first place where they differ.

    print(study.compare(model, model_in_float64, inputs))
    print(study.compare(model, lambda idx: token_by_token(model, idx), idx))

Every op and every module call of both sides is a station. Stations with the same name are compared,
in the order in which `a` reached them. Where one side calls a module once per sequence and the
other once per token, the outputs of the calls are concatenated along the dimension that grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import random
from ...autograd.engine import Op
from ...autograd.grad_mode import no_grad
from ...files.notebooks import cell_table
from ...nn.module import Module
from ...tensor import Tensor
from ...tensor.dtypes import of as dtype_of
from ...tensor.nested import tensors_in
from ..common.numbers import number_text, plain, shape_text
from ..common.terminal import Text, render
from ..common.watch import Call, Line, Place, Watch

__all__ = ["Divergence", "Station", "compare"]

Key = tuple[str, str, str, int, int]  # of a station: kind, path, op name, number, output
_COLUMNS = ("output", "largest |a - b|", "relative", "allowed")


@dataclass
class Station:
    """One op or module that both sides ran, and the difference of their outputs there."""

    name: str  # "trf_blocks.0.att" or "trf_blocks.0.att linear"
    kind: str  # "op", "module" or "result"
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    difference: float  # largest |a − b|; infinite where only one of them is NaN
    relative: float  # the same, divided by the largest |b|
    allowed: float  # atol + rtol·largest |b|
    index: tuple[int, ...]  # where the difference is largest
    values: tuple[float, float]  # a and b there
    line: Line | None = None  # of the user's code that called the op in a

    @property
    def differs(self) -> bool:
        """Whether the difference is larger than allowed."""
        return not self.difference <= self.allowed

    def __str__(self) -> str:
        if self.shapes[0] != self.shapes[1]:
            return (
                f"{self.name}: shape {shape_text(self.shapes[0])} and {shape_text(self.shapes[1])}"
            )
        a, b = (number_text(v, 7) for v in self.values)
        return (
            f"{self.name}: |a − b| is up to {number_text(self.difference, 3)} where "
            f"{number_text(self.allowed, 3)} is allowed; at {self.index} a = {a}, b = {b}"
        )


@dataclass
class Divergence:
    """What `study.compare` returns: print it, or read `first` and `stations`.

    first       the first station where the two differ by more than is allowed, or None
    stations    all stations that were compared, in the order of a
    unmatched   stations that only one side has, or whose shapes do not fit
    """

    stations: list[Station]
    unmatched: list[str]

    @property
    def first(self) -> Station | None:
        """The first station where the two differ by more than is allowed."""
        return next((s for s in self.stations if s.differs), None)

    @property
    def same(self) -> bool:
        """Whether no station, nor the result, differs by more than is allowed."""
        return self.first is None

    def __bool__(self) -> bool:
        return self.same

    def __str__(self) -> str:
        last = self.stations[-1]
        if self.same:
            worst = max(self.stations, key=lambda s: s.difference / (s.allowed or 1.0))
            return (
                f"the same at all {len(self.stations)} stations, within what is allowed; the "
                f"largest difference is at {worst.name}: {number_text(worst.difference, 3)} "
                f"({number_text(worst.relative, 3)} of the largest element)"
            )
        first = self.first
        lines = [f"they differ first at {first}"]
        if first is not None and first.line is not None:
            lines.append(f"  called at {first.line}")
        before = self.stations[: self.stations.index(first)] if first is not None else []
        if before:
            lines.append(
                f"  before it {len(before)} stations agree, the last of them {before[-1].name}: "
                f"largest difference {number_text(before[-1].difference, 3)}"
            )
        lines.append(f"  the results differ by {number_text(last.difference, 3)}")
        return "\n".join(lines)

    def table(self, width: int | None = None) -> Text:
        """Every station with its difference; ">" marks the first one that is too large."""
        from rich import box
        from rich.table import Table

        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        shown.add_column("")
        shown.add_column("station", overflow="fold")
        for head in _COLUMNS:
            shown.add_column(head, justify="right")
        for mark, name, *cells in self._rows():
            shown.add_row(mark, name, *cells)
        return render(shown, str(self), width=width)

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """Of each station its mark, name, shape and numbers."""
        first = self.first
        for s in self.stations:
            numbers = (number_text(v, 3) for v in (s.difference, s.relative, s.allowed))
            mark = ">" if s is first else "*" if s.differs else ""
            yield mark, s.name, shape_text(s.shapes[0]), *numbers

    def _repr_html_(self) -> str:
        """The same in a notebook: what str() says, and the table of all stations."""
        rows = ((name, *cells, mark) for mark, name, *cells in self._rows())
        table = cell_table(rows, ("station", *_COLUMNS, ""))
        return f"{Text(str(self))._repr_html_()}{table}"


class _Stations(Watch):
    """The outputs of every station, one per call, and the order of the stations.

    A station's key is (kind, path, op name, number of that name within its call, output).
    """

    def __init__(self, *models: Module) -> None:
        super().__init__(*models)
        self.outputs: dict[Key, list[np.ndarray]] = {}
        self.order: list[tuple[Key, int]] = []  # (station, number of its call), as they ran
        self.lines: dict[Key, Line | None] = {}
        self._counts: dict[tuple[Call | None, str], int] = {}  # runs of an op or module in a call

    def op_done(self, op: Op, place: Place, inputs: tuple, results: list) -> None:
        n = self._count(place.call, op.name)
        for out, y in enumerate(results):
            path = "" if place.call is None else place.path or type(place.call.module).__name__
            key = ("op", path, op.name, n, out)
            self._add(key, y)
            self.lines.setdefault(key, place.line)

    def module_done(self, call: Call, out: Any) -> None:
        n = 1 if call.parent is None else self._count(call.parent, call.path)
        for i, y in enumerate(tensors_in(out)):
            key = ("module", call.path or type(call.module).__name__, "", n, i)
            self._add(key, y)

    def _count(self, call: Call | None, name: str) -> int:
        n = self._counts[call, name] = self._counts.get((call, name), 0) + 1
        return n

    def _add(self, key: Key, y: Tensor) -> None:
        calls = self.outputs.setdefault(key, [])
        self.order.append((key, len(calls)))
        calls.append(plain(y.array).copy())


def compare(
    a: Callable[..., Any],
    b: Callable[..., Any],
    inputs: Any,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    match: Mapping[str, str] | None = None,
) -> Divergence:
    """Run both on the same inputs and find the first station where their numbers differ.

    a, b      Modules or functions
    inputs    a tensor, or several in a tuple; they are moved to a module's device, floating ones
              also cast to its dtype, so that float32 can meet float64 and CPU can meet GPU
    rtol      the difference that is allowed, as a share of the largest |element| of b's output
    atol      the difference that is allowed in addition, as an absolute number
    match     module paths of a that have another name in b: {"trf_blocks.0": "h.0"}

    Both run without gradients and from the same state of the random generator.
    Raises: TypeError if a or b can't be called, or does not return a tensor.
    """
    args = inputs if isinstance(inputs, tuple | list) else (inputs,)
    before = random.get_rng_state()
    one, result_a = _run(a, args)
    random.set_rng_state(before)
    two, result_b = _run(b, args)
    stations: list[Station] = []
    unmatched: list[str] = []
    pair: tuple[np.ndarray, np.ndarray] | None
    for key, call in one.order:
        outputs, other = one.outputs[key], two.outputs.get(_renamed(key, match or {}), [])
        name = _name(key)
        if len(outputs) == len(other):
            pair = outputs[call], other[call]
            name += f", call {call + 1}" if call else ""
        elif call:
            continue
        else:
            pair = _concatenated(outputs, other)
        if pair is None:
            unmatched.append(name)
            continue
        station = _station(name, key[0], *pair, rtol, atol)
        station.line = one.lines.get(key)
        stations.append(station)
    known = {_renamed(key, match or {}) for key in one.outputs}
    unmatched += [_name(key) for key in two.outputs if key not in known]
    for i, (x, y) in enumerate(zip(result_a, result_b, strict=False)):
        name = "the result" if len(result_a) == 1 else f"result {i}"
        stations.append(_station(name, "result", plain(x.array), plain(y.array), rtol, atol))
    return Divergence(stations, unmatched)


def _run(what: Callable[..., Any], args: Sequence[Any]) -> tuple[_Stations, list[Tensor]]:
    if not callable(what):
        raise TypeError(f"compare: expected a model or a function, got {type(what).__name__}")
    watch = _Stations(*([what] if isinstance(what, Module) else []))
    if isinstance(what, Module):
        args = [_like_parameters(x, what) for x in args]
    with no_grad(), watch:
        results = list(tensors_in(what(*args)))
    if not results:
        raise TypeError("compare: the model or function returned no tensor")
    return watch, results


def _like_parameters(x: Any, model: Module) -> Any:
    """A tensor on the device, and if it is floating in the dtype, of a model's parameters."""
    first = next(iter(model.parameters()), None)
    if not isinstance(x, Tensor) or first is None:
        return x
    x = x.to(first.device)
    return x.to(dtype_of(first.array.dtype)) if x.is_floating_point() else x


def _renamed(key: Key, match: Mapping[str, str]) -> Key:
    kind, path, op, n, out = key
    for mine, theirs in match.items():
        if path == mine or path.startswith(f"{mine}."):
            path = theirs + path[len(mine) :]
            break
    return kind, path, op, n, out


def _name(key: Key) -> str:
    kind, path, op, n, out = key
    words = [path] if path else []
    if kind == "op":
        words.append(op)
    if n > 1:
        words.append(f"({n})")
    if out:
        words.append(f"output {out}")
    return " ".join(words)


def _concatenated(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """The outputs of each side's calls as one array, equal in shape; None if they do not fit."""
    if not b:
        return None
    if len({x.ndim for x in (*a, *b)}) != 1:
        return None
    for axis in range(a[0].ndim):
        try:
            whole_a, whole_b = np.concatenate(a, axis), np.concatenate(b, axis)
        except ValueError:
            continue
        if whole_a.shape == whole_b.shape:
            return whole_a, whole_b
    return None


def _station(
    name: str, kind: str, a: np.ndarray, b: np.ndarray, rtol: float, atol: float
) -> Station:
    if a.shape != b.shape:
        return Station(
            name, kind, (a.shape, b.shape), math.inf, math.inf, 0.0, (), (math.nan, math.nan)
        )
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(wide_a - wide_b)
    alike = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))  # infinities too
    apart = np.where(alike, 0.0, np.where(np.isnan(apart), np.inf, apart))
    if not apart.size:
        return Station(name, kind, (a.shape, b.shape), 0.0, 0.0, atol, (), (0.0, 0.0))
    at = np.unravel_index(int(apart.argmax()), apart.shape)
    finite = np.abs(wide_b[np.isfinite(wide_b)])
    scale = float(finite.max()) if finite.size else 0.0
    difference = float(apart[at])
    return Station(
        name,
        kind,
        (a.shape, b.shape),
        difference,
        difference / scale if scale else (0.0 if not difference else math.inf),
        atol + rtol * scale,
        tuple(int(i) for i in at),
        (float(wide_a[at]), float(wide_b[at])),
    )
