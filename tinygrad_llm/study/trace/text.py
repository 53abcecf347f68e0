"""A trace as tables, as a plot and as plain numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ...files.paths import local_path
from ..common.numbers import bytes_text, number_text, seconds_text, shape_text
from ..common.terminal import Text, render, terminal_width

__all__ = [
    "as_dict",
    "module_rows",
    "op_rows",
    "plot",
    "ranks_rows",
    "router_rows",
    "summary",
    "table",
]

OP_HEAD = (
    *("#", "module", "op", "output", "fwd ms", "bwd ms", "saved", "grad in", "grad out"),
    *("zeros", "largest"),
)
MODULE_HEAD = (
    *("module", "class", "calls", "output", "fwd ms", "bwd ms", "saved", "grad in"),
    *("zeros", "largest"),
)

FLOPS_HEAD = ("op", "calls", "FLOPs by convention", "executed", "executed / convention")

RANKS_HEAD = ("collective", "ranks", "calls", "ms waited", "sent", "per call", "agreements")

ROUTER_HEAD = ("router", "experts without a token", "busiest expert", "tokens per expert")


def _norm(value: float | None) -> str:
    return "" if value is None else number_text(value, 3)


def _share(value: float) -> str:
    return f"{value:.0%}" if value else "0"


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes in one line, equal ones with their number: "3 × (2, 4)"."""
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return f"{len(shapes)} × {shape_text(shapes[0])}"
    return " ".join(map(shape_text, shapes))


def shortened(word: str, n: int, keep_end: bool = False) -> str:
    """The word, or n characters of it, one of them "…" for what is left out."""
    if len(word) <= n:
        return word
    return "…" + word[len(word) - n + 1 :] if keep_end else word[: n - 1] + "…"


def op_rows(trace: Any) -> list[list[str]]:
    """One row per op, with the columns of OP_HEAD."""
    return [
        [
            str(op.number),
            op.path,
            op.name,
            _shapes(op.outputs),
            seconds_text(op.forward),
            seconds_text(op.backward),
            bytes_text(op.saved) if op.saved else "",
            _norm(op.grad_in),
            _norm(op.grad_out),
            _share(op.zeros),
            number_text(op.largest, 3),
        ]
        for op in trace.ops
    ]


def module_rows(trace: Any) -> list[list[str]]:
    """One row per module, with the columns of MODULE_HEAD; a row includes the modules inside it."""
    return [
        [
            "  " * m.depth + m.label,
            m.kind,
            str(m.calls),
            _shapes(m.outputs),
            seconds_text(m.forward),
            seconds_text(m.backward),
            bytes_text(m.saved) if m.saved else "",
            _norm(m.grad),
            _share(m.zeros),
            number_text(m.largest, 3),
        ]
        for m in trace.modules.values()
    ]


def flops_rows(trace: Any) -> list[list[str]]:
    """One row per kind of op with matrix products, and their sum: the columns of FLOPS_HEAD."""
    kinds: dict[str, list[int]] = {}
    for op in trace.ops:
        if op.convention:
            for name in (op.name, "in all"):
                counts = kinds.setdefault(name, [0, 0, 0])
                counts[0] += 1
                counts[1] += op.convention * (3 if op.tracked else 1)
                counts[2] += op.executed
    if "in all" in kinds:
        kinds["in all"] = kinds.pop("in all")  # the last row
    return [
        [name, str(calls), f"{convention:,}", f"{executed:,}", f"{executed / convention:.2f}"]
        for name, (calls, convention, executed) in kinds.items()
    ]


def ranks_rows(trace: Any) -> list[list[str]]:
    """One row per kind of collective or message and group of ranks, with RANKS_HEAD's columns."""
    kinds: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
    for exchange in trace.exchanges:
        kinds.setdefault((exchange.name, exchange.ranks), []).append(exchange)
    rows = []
    for (name, ranks), exchanges in kinds.items():
        sent = sum(e.bytes for e in exchanges)
        lines = sum(sum(e.sent(agreement=True).values()) for e in exchanges) - sent
        waited = sum(e.blocked for e in exchanges)
        rows.append(
            [name, " ".join(map(str, ranks)), str(len(exchanges)), seconds_text(waited),
             bytes_text(sent), bytes_text(sent / len(exchanges)), bytes_text(lines)]
        )  # fmt: skip
    return rows


def router_rows(trace: Any) -> list[list[str]]:
    """One row per mixture of experts, with the columns of ROUTER_HEAD."""
    rows = []
    for m in trace.modules.values():
        counts = m.tokens_per_expert
        if counts:
            mean = max(sum(counts) / len(counts), 1e-30)
            busiest = f"{max(counts) / mean:.2f} × the mean"
            rows.append(
                [m.path, str(sum(n == 0 for n in counts)), busiest, " ".join(map(str, counts))]
            )
    return rows


def summary(trace: Any) -> str:
    """The totals in one line."""
    forward = sum(op.forward for op in trace.ops)
    backward = sum(op.backward or 0.0 for op in trace.ops)
    text = (
        f"{len(trace.ops)} ops: {seconds_text(forward)} ms forward, {seconds_text(backward)} ms "
        f"backward; at most {bytes_text(trace.peak)} kept for backward"
    )
    if trace.exchanges:
        sent = bytes_text(sum(e.bytes for e in trace.exchanges))
        share = trace.communication / max(trace.seconds, 1e-12)
        text += (
            f"\n{len(trace.exchanges)} collectives and messages: {sent} sent, "
            f"{seconds_text(trace.communication)} ms waited, {share:.0%} of the time"
        )
    return text


def table(trace: Any, by: str = "op", width: int | None = None) -> Text:
    """The table of ops or modules with the totals, and the autopsy if a number was not finite.

    by="flops": the operations of matrix products instead, by convention and as executed.
    by="communication": what went between ranks, by kind and group.
    Raises: ValueError if `by` is none of the four.
    """
    from rich import box
    from rich.table import Table

    tables = {"op": (OP_HEAD, op_rows), "module": (MODULE_HEAD, module_rows),
              "flops": (FLOPS_HEAD, flops_rows),
              "communication": (RANKS_HEAD, ranks_rows)}  # fmt: skip
    if by not in tables:
        raise ValueError(f'table(by={by!r}): by is "op", "module", "flops" or "communication"')
    head, rows = tables[by][0], tables[by][1](trace)
    width = width or terminal_width()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    words = {"module", "class", "op", "output", "collective", "ranks"}
    for name in head:
        shown.add_column(
            name,
            justify="left" if name in words else "right",
            overflow="fold",
            no_wrap=name != "output",
            min_width=14 if name == "output" else None,
        )
    room = max(10, (width - 89) // 2)  # columns left for the two names
    for row in rows:
        if by == "op":
            row[1], row[2] = shortened(row[1], room, True), shortened(row[2], room)
        shown.add_row(*row)
    parts = [shown, summary(trace)]
    for path, idle, busiest, counts in router_rows(trace):
        parts.append(f"{path}: busiest expert {busiest}, {idle} without a token; tokens: {counts}")
    if trace.first_bad is not None:
        parts.append(str(trace.first_bad))
    return render(*parts, width=width)


def as_dict(trace: Any) -> dict[str, Any]:
    """All records as dicts of numbers and strings."""
    modules = [
        {
            "path": m.path,
            "class": m.kind,
            "calls": m.calls,
            "outputs": m.outputs,
            "forward": m.forward,
            "backward": m.backward,
            "saved": m.saved,
            "grad_in": m.grad,
            "ops": [op.number for op in m.ops],
            "tokens_per_expert": m.tokens_per_expert,
        }
        for m in trace.modules.values()
    ]
    ops = [{**dataclasses.asdict(op), "line": op.line and str(op.line)} for op in trace.ops]
    return {
        "ops": ops,
        "modules": modules,
        "parameters": trace.parameters,
        "memory": trace.memory,
        "peak": trace.peak,
        "first_bad": trace.first_bad and str(trace.first_bad),
        "seconds": trace.seconds,
        "exchanges": [
            {"what": e.what, "ranks": list(e.ranks), "blocked": e.blocked, "sent": e.sent()}
            for e in trace.exchanges
        ],
        "flops": {"convention": trace.convention, "executed": trace.executed},
    }


def plot(trace: Any, file: Any = None) -> Any:
    """Gradient flow by depth, and memory over time; returns `file`, or matplotlib's figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    flow, memory = figure.subplots(2, 1)
    norms = [(op.number, op.grad_in) for op in trace.ops if op.grad_in]
    flow.semilogy([n for n, _ in norms], [g for _, g in norms], marker=".", lw=1, label="arriving")
    flow.set_title("gradient flow: norm of ∂L/∂output of each op")
    flow.set_xlabel("op, in order of execution (the input on the left, the loss on the right)")
    flow.grid(alpha=0.3)
    places = marks(trace)
    flow.set_xticks([n for n, _ in places], [word for _, word in places], rotation=30, ha="right")
    times = [t * 1e3 for t, _ in trace.memory]
    held = [n / 2**20 for _, n in trace.memory]
    memory.step(times, held, where="post")
    memory.fill_between(times, held, step="post", alpha=0.2)
    memory.set_title(f"memory kept for backward: at most {bytes_text(trace.peak)}")
    memory.set_xlabel("ms since the start")
    memory.set_ylabel("MiB")
    memory.grid(alpha=0.3)
    if file is None:
        return figure
    figure.savefig(local_path(file), dpi=120)
    return file


def marks(trace: Any, most: int = 8) -> list[tuple[int, str]]:
    """(number of the first op, path) of the outer modules, as deep as `most` marks allow."""
    chosen: list[tuple[int, str]] = []
    for depth in range(8):
        deeper = [
            (m.ops[0].number, m.path)
            for m in trace.modules.values()
            if m.ops and (m.depth == depth or (m.depth < depth and not _has_below(trace, m)))
        ]
        if not deeper or len(deeper) > most:
            break
        if deeper == chosen:
            break
        chosen = deeper
    return chosen


def _has_below(trace: Any, module: Any) -> bool:
    prefix = f"{module.path}." if module.path else ""
    return any(m.path != module.path and m.path.startswith(prefix) for m in trace.modules.values())
