"""A trace as an HTML page in one file: charts, both tables, the autopsy."""

from __future__ import annotations

from typing import Any

from ..common.html import escape, line_chart, table
from ..common.html import page as whole
from ..common.numbers import bytes_text
from .text import (
    MODULE_HEAD,
    OP_HEAD,
    RANKS_HEAD,
    ROUTER_HEAD,
    marks,
    module_rows,
    op_rows,
    ranks_rows,
    router_rows,
    summary,
)  # fmt: skip

__all__ = ["page"]


def page(trace: Any, title: str = "Trace") -> str:
    """The page as HTML."""
    parts = [f"<main>\n<h1>{escape(title)}</h1>", f"<p>{escape(summary(trace))}</p>"]
    if trace.first_bad is not None:
        parts.append(
            f'<h2 class="bad">NaN or infinity</h2><pre>{escape(str(trace.first_bad))}</pre>'
        )
    flow = [(op.number, op.grad_in) for op in trace.ops if op.grad_in is not None]
    if flow:
        parts += [
            "<h2>Gradient flow: the norm of the gradient that arrives at each op</h2>",
            line_chart(
                flow,
                label="norm of the arriving gradient, op by op",
                x_label="op, in order of execution: input on the left, loss on the right",
                log=True,
                marks=[(n, word.rpartition(".")[2]) for n, word in marks(trace, 9)],
            ),
        ]
    if trace.peak:
        parts += [
            f"<h2>Memory kept for backward: at most {bytes_text(trace.peak)}</h2>",
            line_chart(
                [(t * 1e3, float(n)) for t, n in trace.memory],
                label="bytes kept for backward over time",
                x_label="ms",
                steps=True,
                y_text=bytes_text,
            ),
        ]
    if trace.modules:
        rows = [[row[0].replace("  ", "\u2003"), *row[1:]] for row in module_rows(trace)]
        parts += ["<h2>Modules</h2>", table(MODULE_HEAD, rows, (0, 1, 3))]
    routers = router_rows(trace)
    if routers:
        parts += ["<h2>Routers</h2>", table(ROUTER_HEAD, routers, (0, 3))]
    if trace.exchanges:
        parts += ["<h2>Between the ranks</h2>", table(RANKS_HEAD, ranks_rows(trace), (0, 1))]
    lines = [str(op.line) if op.line else "" for op in trace.ops]
    rows = [[*row, line] for row, line in zip(op_rows(trace), lines, strict=True)]
    parts += ["<h2>Ops</h2>", table((*OP_HEAD, "your line"), rows, (1, 2, 3, 11)), "</main>"]
    return whole(title, "\n".join(parts))
