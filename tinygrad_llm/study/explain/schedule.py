"""What explain says about a schedule: its rule, its code, and its rates in an example."""

from __future__ import annotations

import inspect
from typing import Any

from ...optim.lr_scheduler import LRScheduler
from ..common.html import line_chart
from ..common.plain_steps import SCHEDULE_WORDS
from ..common.source import constructor_of, first_line, place_of, source_of
from ..draw.descent import changing_function
from .descents import SCHEDULES, drawn_descent

__all__ = ["explain_schedule", "rates_chart"]


def explain_schedule(kind: type[LRScheduler]) -> dict[str, Any]:
    """Everything about a schedule's class as a dict of texts and numbers.

    Raises: ValueError if the class has no example.
    """
    name = kind.__name__
    if name not in SCHEDULES or SCHEDULES[name].kind is not kind:
        raise ValueError(
            f"explain: {name} has no example; draw it with study.draw_descent(optimizer, schedule)"
        )
    example, descent = SCHEDULES[name], drawn_descent(kind)
    momentum = f", momentum={example.momentum!r}" if example.momentum else ""
    return {
        "kind": "schedule",
        "name": name,
        "class": name,
        "family": "schedules",
        "file": place_of(kind),
        "title": first_line(kind),
        "doc": inspect.cleandoc(kind.__doc__ or ""),
        "plain": SCHEDULE_WORDS.get(name, ""),
        "constructor": constructor_of(kind),
        "rates_of": source_of(changing_function(kind)),
        "functions": [source_of(v) for v in example.options.values() if inspect.isfunction(v)],
        "example": {
            "made": str(example),
            "optimizer": f"SGD(params, lr={example.lr!r}{momentum})",
            "rates": descent.rates,
            "losses": descent.losses,
            "points": descent.points,
        },
        "check": [],
    }


def rates_chart(data: dict[str, Any]) -> str:
    """The learning rate of each step as SVG."""
    rates = data["example"]["rates"]
    return line_chart(
        list(enumerate(rates, 1)), label=f"the learning rate of each step with {data['name']}",
        x_label="step", y_text=lambda v: f"{v:.3g}",
        marks=[(step, f"step {step}") for step in range(10, len(rates), 10)],
    )  # fmt: skip
