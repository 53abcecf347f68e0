"""A picture in plain characters, for the terminal: what goes in and out, and what comes back.

forward   x (2, 3) ─┐
          w (3) ────┼─▶ layer_norm ─▶ y (2, 3)
          b (3) ────┘
backward  ∂L/∂x (2, 3) ◀─┐
          ∂L/∂w (3) ◀────┼─ layer_norm ◀─ ∂L/∂y (2, 3)
          ∂L/∂b (3) ◀────┘
saved     xhat (2, 3), r (2, 1), w (3)
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from ..common.numbers import shape_text

__all__ = ["picture"]

BARS = "▁▂▃▄▅▆▇█"
MOST = 5  # rows of inputs or of gradients


def picture(data: dict[str, Any]) -> str:
    """The picture of an explanation's example; "" if it has none."""
    if data["example"] is None:
        return ""
    kinds = {"schedule": _rates, "optimizer": _step, "collective": _ranks}
    return "\n".join(kinds.get(data["kind"], _graph)(data))


def _graph(data: dict[str, Any]) -> list[str]:
    """Forward and backward of an op's or a layer's example."""
    example, name = data["example"], data["name"]
    inputs = _named(example["inputs"])
    parameters = example.get("parameters", [])
    if parameters:
        inputs.append(f"{len(parameters)} parameter{'s' * (len(parameters) > 1)}")
    outputs = _named([{"name": _output(i, example), "value": y} for i, y in
                      enumerate(example["output"])])  # fmt: skip
    lines = _under("forward   ", _joined(inputs, name, "─▶ ", outputs))
    if not example["gradients"]:
        return [*lines, "backward  no gradient"]
    back = _named([{**g, "name": f"∂L/∂{g['name']}"} for g in example["gradients"]])
    arriving = [f"∂L/∂{output}" for output in outputs]
    lines += _under("backward  ", _joined([f"{b} ◀" for b in back], name, "◀─ ", arriving, "─ "))
    saved = _named(example.get("saved", []))
    if saved:
        lines += _under("saved     ", wrap(", ".join(saved), 78))
    return lines


def _step(data: dict[str, Any]) -> list[str]:
    kept = list(data["example"]["steps"][-1]["state"])
    inputs = ["parameter p", "gradient g = ∂L/∂p"]
    outputs = ["p after the step"]
    if kept:
        inputs.append("what it keeps: " + ", ".join(kept))
        outputs.append("the same, changed")
    return _joined(inputs, data["name"], "─▶ ", outputs)


def _ranks(data: dict[str, Any]) -> list[str]:
    ranks = range(len(data["example"]["inputs"]))
    name = data["name"]
    forward = _joined(
        [f"x on rank {r}" for r in ranks], name, "─▶ ", [f"y on rank {r}" for r in ranks]
    )
    back = _joined([f"∂L/∂x on rank {r} ◀" for r in ranks], name, "◀─ ",
                   [f"∂L/∂y on rank {r}" for r in ranks], "─ ")  # fmt: skip
    return [*_under("forward   ", forward), *_under("backward  ", back)]


def _rates(data: dict[str, Any]) -> list[str]:
    """A bar for each step, as high as its learning rate."""
    rates = data["example"]["rates"]
    bars = "".join(BARS[round((len(BARS) - 1) * rate / max(rates))] for rate in rates)
    return [
        f"learning rate  {bars}",
        f"               step 1{f'step {len(rates)}':>{len(bars) - 6}}",
    ]


def _output(index: int, example: dict[str, Any]) -> str:
    return "y" if len(example["output"]) == 1 else f"output {index}"


def _named(values: Sequence[dict[str, Any]]) -> list[str]:
    """Names with shapes; many of them end in how many more there are."""
    shown = [f"{v['name']} {shape_text(v['value'].shape)}" if hasattr(v["value"], "shape")
             else f"{v['name']}" for v in values]  # fmt: skip
    return shown if len(shown) <= MOST else [*shown[: MOST - 1], f"{len(shown) - MOST + 1} more"]


def _joined(
    left: list[str], name: str, arrow: str, right: list[str], into: str = "─▶ "
) -> list[str]:
    """Lines of characters from each text at the left to the name, and from it to those at right."""
    rows = max(len(left), len(right))
    middle = (rows - 1) // 2
    tops = [(rows - len(side)) // 2 for side in (left, right)]
    wide = max(map(len, left)) + 2
    lines = []
    for i in range(rows):
        line = " " * (wide + 1)
        if 0 <= i - tops[0] < len(left):
            text = left[i - tops[0]]
            line = (text if text.endswith("◀") else f"{text} ").ljust(wide, "─")
            line += _corner(i - tops[0], len(left), i == middle, "─┐┘┤┬┴┼")
        line += f"{into}{name} " if i == middle else " " * (len(into) + len(name) + 1)
        if 0 <= i - tops[1] < len(right):
            line += _corner(i - tops[1], len(right), i == middle, "─┌└├┬┴┼")
            line += f"{arrow}{right[i - tops[1]]}"
        lines.append(line.rstrip())
    return lines


def _corner(row: int, count: int, named: bool, signs: str) -> str:
    """The sign between text number `row` of `count` and the name.

    named   whether the name is in this row
    signs   alone; then the first, the last and those between in rows without the name, and with it
    """
    if count == 1:
        return signs[0]
    place = 0 if row == 0 else 1 if row == count - 1 else 2
    return signs[1 + place + 3 * named]


def _under(word: str, lines: list[str]) -> list[str]:
    return [(word if i == 0 else " " * len(word)) + line for i, line in enumerate(lines)]
