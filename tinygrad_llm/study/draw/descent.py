"""An optimizer's path over a loss surface of two numbers, step by step, with its state.

    study.draw_descent(lambda p: optim.AdamW(p, lr=0.1), file="adamw.html")
    study.draw_descent(lambda p: optim.SGD(p, lr=0.1), lambda o: lr_scheduler.StepLR(o, 10))

The page replays numbers that the engine computed; it computes nothing itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...files.paths import local_path
from ...functions.shape.join import cat
from ...nn.parameter import Parameter
from ...optim import Optimizer
from ...optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from ...tensor import Tensor, wrap
from ..common.formulas import with_lines
from ..common.html import FilePath, InNotebooks, data, escape, leads, written
from ..common.html import page as whole
from ..common.lines import LineRun, shown_values, watch_lines
from ..common.numbers import number_text, value_text
from ..common.plain_steps import OPTIMIZER_WORDS, SCHEDULE_WORDS
from .contours import contours

__all__ = ["Descent", "changing_function", "draw_descent", "valley"]

START = (-2.2, 0.9)
VIEW = ((-2.7, 1.3), (-1.35, 1.35))  # of x and of y, the least that is drawn
GRID = (49, 37)  # columns and rows of the surface's heights
LEVELS = 9  # contours, each at half the height of the one around it

CONTROLS = """<nav class="controls" aria-label="steps">
<button id="first" type="button" aria-label="to the start">|◀</button>
<button id="back" type="button" aria-label="one step back">◀</button>
<input id="slider" type="range" min="0" value="0" step="1" aria-label="step">
<button id="next" type="button" aria-label="one step forward">▶</button>
<button id="whole" type="button" aria-label="ten steps forward">▶▶ ten</button>
<button id="play" type="button">play</button>
<output id="where" for="slider"></output>
<span class="soft words">← → one step, Page Up and Page Down ten steps, Home and End</span>
</nav>"""

Loss = Callable[[Tensor, Tensor], Tensor]


def valley(x: Tensor, y: Tensor) -> Tensor:
    """½·(x² + 12·y²): a long valley, twelve times as steep across as along."""
    return (x * x + y * y * 12.0) * 0.5


class Descent(InNotebooks):
    """What `study.draw_descent` returns.

    points   (x, y) at the start and after each step: one more than steps
    losses   the loss at each of the points; rates: the learning rate of each step
    data     what the page shows
    """

    frame_height = 860

    def __init__(self, recorded: _Recording, title: str, view: Any) -> None:
        self.points, self.losses = recorded.points, recorded.losses
        self.rates, self.steps = recorded.rates, recorded.steps
        self.title = title
        self.data = {
            **recorded.contents(),
            **_surface(recorded.loss, self.points + recorded.averages, view),
        }

    def html(self, file: FilePath | None = None, links: Mapping[str, str] | None = None) -> str:
        """The page as HTML, which is written if `file` is given.

        links: word -> address, shown at the top
        """
        body = f"""<main class="training descent">
{leads(links)}<h1>{escape(self.title)}</h1>
<p class="soft">Every number was computed by the engine when this page was made; the page replays
it.</p>
{CONTROLS}
<div class="layout">
<section id="now" aria-live="polite"></section>
<section id="charts"><figure id="surface"></figure><figure id="rates"></figure>
<figure id="losses"></figure></section>
</div>
<section><h2>The code of this step, with the values of its variables</h2>
<div id="code"></div></section>
</main>
{data("descent", self.data)}"""
        text = whole(
            self.title,
            body,
            styles=("heat.css", "draw.css", "training.css", "descent.css"),
            scripts=("heat.js", "charts.js", "descent.js"),
        )
        return written(text, file)

    def save(self, file: FilePath) -> list[Any]:
        """Write FILE, which ends in .html or gets that ending; returns its path in a list.

        Raises: ValueError for another ending.
        """
        path = local_path(file)
        if path.suffix not in (".html", ""):
            raise ValueError(f"a descent is written as .html, not {path.suffix}: {path}")
        path = path.with_suffix(".html")
        self.html(path)
        return [path]

    def __repr__(self) -> str:
        return f"<Descent of {len(self.steps)} steps: .html(file) writes it>"


def draw_descent(
    optimizer: Callable[[list[Tensor]], Optimizer],
    schedule: Callable[[Any], LRScheduler] | None = None,
    *,
    loss: Loss = valley,
    start: tuple[float, float] = START,
    shapes: Sequence[tuple[int, ...]] = ((2,),),
    steps: int = 40,
    view: tuple[tuple[float, float], tuple[float, float]] | None = None,
    title: str | None = None,
    file: FilePath | None = None,
) -> Descent:
    """Let an optimizer move two numbers downhill, and show every step of it.

    optimizer   a function that makes it for a list of parameters: `lambda p: optim.SGD(p, lr=0.1)`
    schedule    a function that makes the learning rate's schedule for that optimizer, or None
    loss        a function of x and y, made of ops that work elementwise; start: where it begins
    shapes      of the parameters, which have two numbers together: ((1, 2),) for Muon's matrix
    steps       how many updates
    view        the least ranges of x and of y that are drawn; None: around the path
    file        where to write the page

    Raises: ValueError if steps is not positive, the parameters do not have two numbers, or the path
    leaves the numbers that are finite.
    """
    if steps < 1:
        raise ValueError(f"draw_descent: steps must be positive, got {steps}")
    if sum(int(np.prod(s)) for s in shapes) != 2:
        raise ValueError(
            f"draw_descent: the parameters have two numbers together, x and y; got {shapes}"
        )
    recorded = _Recording(optimizer, schedule, loss, start, shapes)
    for _ in range(steps):
        recorded.step()
    name = type(recorded.optimizer).__name__
    if recorded.schedule is not None:
        name = f"{type(recorded.schedule).__name__} with {name}"
    descent = Descent(recorded, title or f"{name}, step by step", view)
    if file is not None:
        descent.save(file)
    return descent


def changing_function(kind: type[Any]) -> Callable[..., Any]:
    """The function of an optimizer's or a schedule's class that computes what a step changes."""
    if issubclass(kind, Optimizer):
        return kind.update
    return kind.step if kind.get_lr is LRScheduler.get_lr else kind.get_lr


class _Recording:
    """The steps of an optimizer, as data for the page."""

    def __init__(
        self, optimizer: Any, schedule: Any, loss: Loss, start: Sequence[float],
        shapes: Sequence[tuple[int, ...]],
    ) -> None:  # fmt: skip
        self.loss = loss
        self.parameters, at = [], 0
        for shape in shapes:
            n = int(np.prod(shape))
            values = np.array(start[at : at + n], np.float64).reshape(shape)
            self.parameters.append(Parameter(wrap(values)))
            at += n
        self.optimizer = optimizer(self.parameters)
        self.schedule = None if schedule is None else schedule(self.optimizer)
        self.texts: list[str] = []  # of the lines of code, each once
        self.steps: list[dict[str, Any]] = []
        self.rates: list[float] = []
        self.points = [self._point()]
        self.losses = [self._value().item()]
        self.averages: list[tuple[float, float]] = []  # of optimizers that keep an average

    def _point(self) -> tuple[float, float]:
        x, y = np.concatenate([p.array.reshape(-1) for p in self.parameters]).tolist()  # (2)
        return x, y

    def _value(self) -> Tensor:
        both = cat([p.reshape(-1) for p in self.parameters])  # (2)
        return self.loss(both[0], both[1])

    def step(self) -> None:
        """One forward pass, backward pass and update, and a step of the schedule."""
        self.optimizer.zero_grad()
        value = self._value()
        value.backward()
        gradient = np.concatenate([_gradient(p) for p in self.parameters])  # (2)
        options = self._options()
        kept = self._state()
        with watch_lines(changing_function(type(self.optimizer))) as seen:
            self.optimizer.step()
        self.rates.append(options["lr"])
        self.points.append(self._point())
        self.losses.append(self._value().item())
        if not np.isfinite([*self.points[-1], self.losses[-1]]).all():
            raise ValueError(
                f"draw_descent: after step {len(self.rates)} the loss is {self.losses[-1]}: use a "
                "smaller learning rate"
            )
        shown = {
            "gradient": _short(gradient),
            "options": options,
            "before": kept,
            "after": self._state(),
            "lines": self._lines(seen.lines),
            "words": self._words(gradient),
        }
        self._average()
        if self.schedule is not None:
            shown["scheduled"] = self._lines(self._scheduled())
        self.steps.append(shown)

    def _scheduled(self) -> list[LineRun]:
        """The step of the schedule, which sets the rate of the next step: its lines."""
        assert self.schedule is not None
        with watch_lines(changing_function(type(self.schedule))) as seen:
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(self.losses[-1])
            else:
                self.schedule.step()
        return seen.lines

    def _options(self) -> dict[str, Any]:
        """The learning rate, and what else a schedule changes."""
        group = self.optimizer.param_groups[0]
        options = {"lr": float(group["lr"])}
        for name in ("momentum", "betas"):
            if self.schedule is not None and name in group:
                value = group[name]
                options[name] = value if isinstance(value, float | int) else value[0]
        return options

    def _state(self) -> list[list[Any]]:
        """[name, [numbers] or text] of everything that the optimizer keeps."""
        rows = []
        for p, name in zip(self.parameters, "xy", strict=False):
            prefix = f"{name}: " if len(self.parameters) > 1 else ""
            for key, value in self.optimizer.state.get(p, {}).items():
                array = np.asarray(value.array if isinstance(value, Tensor) else value)
                shown = _short(array) if array.size <= 2 else value_text(array, 8)
                rows.append([prefix + key, shown])
        return rows

    def _average(self) -> None:
        """The average of the points, if the optimizer has one, as Schedule-Free has."""
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval()
            self.averages.append(self._point())
            self.optimizer.train()

    def _lines(self, lines: list[LineRun]) -> list[list[Any]]:
        shown = []
        for line, values in zip(lines[:60], shown_values(lines[:60], 8), strict=True):
            if line.text not in self.texts:
                self.texts.append(line.text)
            shown.append([self.texts.index(line.text), [list(pair) for pair in values]])
        return shown

    def _words(self, gradient: np.ndarray) -> str:
        """The step in one sentence, with its numbers."""
        (x0, y0), (x1, y1) = self.points[-2:]
        moved = f"x moves by {_signed(x1 - x0)} and y by {_signed(y1 - y0)}"
        before, after = (number_text(v, 4) for v in self.losses[-2:])
        how = "the loss stays" if before == after else f"the loss goes from {before} to {after}"
        return f"Here {moved}; {how}."

    def contents(self) -> dict[str, Any]:
        """Everything that the page's script needs, in JSON's types."""
        kind: type[Any] = type(self.optimizer)
        plain, head = OPTIMIZER_WORDS.get(kind.__name__, ""), ""
        if self.schedule is not None:
            kind = type(self.schedule)
            plain, head = SCHEDULE_WORDS.get(kind.__name__, ""), kind.__name__
        exact = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
        return {
            "points": [_short(p) for p in self.points],
            "losses": _short(self.losses),
            "rates": _short(self.rates),
            "averages": [_short(p) for p in self.averages],
            "steps": self.steps,
            "texts": self.texts,
            "plain": plain,
            "exact": with_lines(exact),
            "optimizer": type(self.optimizer).__name__,
            "schedule": head,
        }


def _gradient(parameter: Parameter) -> np.ndarray:
    """Its numbers in a row; zeros if the loss does not use the parameter."""
    if parameter.grad is None:
        return np.zeros(parameter.array.size)
    return np.asarray(parameter.grad.array).reshape(-1)


def _short(values: Any) -> list[float]:
    """Numbers with six digits."""
    return [float(f"{float(v):.6g}") for v in np.asarray(values).reshape(-1)]


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−" if value < 0 else "") + number_text(abs(value), 3)


def _surface(loss: Loss, points: Sequence[tuple[float, float]], view: Any) -> dict[str, Any]:
    """The ranges of x and y that are drawn, and the contours of the loss there."""
    ranges = []
    for i in range(2):
        low, high = min(p[i] for p in points), max(p[i] for p in points)
        room = 0.15 * (high - low) or 1.0
        least = (low, high) if view is None else view[i]
        ranges.append([min(low - room, least[0]), max(high + room, least[1])])
    xs, ys = (np.linspace(r[0], r[1], n) for r, n in zip(ranges, GRID, strict=True))
    with no_grad():
        grid = np.meshgrid(xs, ys)  # two of (rows, columns)
        heights = np.asarray(loss(wrap(grid[0]), wrap(grid[1])).array)  # (rows, columns)
    low, high = float(heights.min()), float(heights.max())
    levels = [low + (high - low) * 0.5**k for k in range(1, LEVELS + 1)]
    return {
        "x": ranges[0],
        "y": ranges[1],
        "contours": [
            _short(contours(xs.tolist(), ys.tolist(), heights, level)) for level in levels
        ],
        "levels": _short(levels),
    }
