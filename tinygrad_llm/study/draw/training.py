"""A training in a page: forward, backward and update, one op after the other, and the loss falls.

    study.draw_training(file="training.html")                      # a model of seven numbers
    study.draw_training(loss, model, optimizer, steps=20)          # yours, if it is as small

The page replays numbers that the engine computed; it computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import nn, optim, random
from ...autograd.grad_mode import no_grad
from ...files.paths import local_path
from ...nn.module import Module
from ...optim import SGD, Optimizer
from ...tensor import Tensor, wrap
from ..common.formulas import with_lines
from ..common.html import FilePath, InNotebooks, data, escape, leads, written
from ..common.html import page as whole
from ..common.numbers import number_text, shape_text
from ..common.plain_words import PLAIN_WORDS
from ..common.source import backward_text, first_line
from .data import Arrays, node_label
from .drawing import draw
from .graph import Graph
from .steps import Step

__all__ = ["Training", "draw_training"]

MOST_NUMBERS = 2000  # of a model: the page shows every one of them, at every step
Curve = tuple[Sequence[float], Callable[[], Any], Sequence[tuple[float, float]]]

CONTROLS = """<nav class="controls" aria-label="steps">
<button id="first" type="button" aria-label="to the start">|◀</button>
<button id="back" type="button" aria-label="one op back">◀</button>
<input id="slider" type="range" min="0" value="0" step="1" aria-label="op">
<button id="next" type="button" aria-label="one op forward">▶</button>
<button id="whole" type="button" aria-label="one training step forward">▶▶ step</button>
<button id="play" type="button">play</button>
<output id="where" for="slider"></output>
<span class="soft words">← → one op, Page Up and Page Down one training step, Home and End</span>
</nav>"""


class Training(InNotebooks):
    """What `study.draw_training` returns.

    losses   the loss of every step, before its update
    data     what the page shows: nodes, parameters, and for each step values and gradients
    """

    frame_height = 820

    def __init__(self, contents: dict[str, Any], losses: list[float], title: str) -> None:
        self.data, self.losses, self.title = contents, losses, title

    def html(self, file: FilePath | None = None, links: Mapping[str, str] | None = None) -> str:
        """The page as HTML, which is written if `file` is given.

        links: word -> address, shown at the top
        """
        body = f"""<main class="training">
{leads(links)}<h1>{escape(self.title)}</h1>
<p class="soft">Every number was computed by the engine while it trained; the page replays it.</p>
{CONTROLS}
<ol id="phases" aria-label="phase"><li id="forward">1 forward</li><li id="backward">2 backward</li>
<li id="update">3 update</li></ol>
<div class="layout">
<section id="now" aria-live="polite"></section>
<section id="charts"><figure id="losses"></figure><figure id="curve"></figure></section>
</div>
<section><h2>All numbers of this step</h2><div class="wide" id="nodes" tabindex="0"></div></section>
</main>
{data("training", self.data)}"""
        text = whole(
            self.title,
            body,
            styles=("heat.css", "draw.css", "training.css"),
            scripts=("heat.js", "charts.js", "training.js"),
        )
        return written(text, file)

    def save(self, file: FilePath) -> list[Any]:
        """Write FILE, which ends in .html or gets that ending; returns its path in a list.

        Raises: ValueError for another ending.
        """
        path = local_path(file)
        if path.suffix not in (".html", ""):
            raise ValueError(f"a training is written as .html, not {path.suffix}: {path}")
        path = path.with_suffix(".html")
        self.html(path)
        return [path]

    def __repr__(self) -> str:
        return f"<Training of {len(self.losses)} steps: .html(file) writes it>"


def draw_training(
    loss: Callable[[], Tensor] | None = None,
    model: Module | None = None,
    optimizer: Optimizer | None = None,
    *,
    steps: int = 30,
    names: Mapping[str, Any] | None = None,
    curve: Curve | None = None,
    title: str | None = None,
    file: FilePath | None = None,
) -> Training:
    """Train a tiny model and show every op of every step, forward, backward and update.

    loss        a function without arguments that computes the loss; None: a built-in example
    model       whose parameters are shown; optimizer: what changes them
    steps       how many updates
    names       variables by name, for inputs: {"x": x}
    curve       (x, f, points): f() returns the model's output at each x, which is drawn with the
                points (x, y) of the data; None: no such picture
    file        where to write the page

    Raises: ValueError if steps is not positive, only some of loss, model and optimizer are given,
    the model is too large to show, or its graph differs from step to step.
    """
    if steps < 1:
        raise ValueError(f"draw_training: steps must be positive, got {steps}")
    given = [x is not None for x in (loss, model, optimizer)]
    if any(given) and not all(given):
        raise ValueError("draw_training: loss, model and optimizer are given together, or none")
    if loss is None or model is None or optimizer is None:
        loss, model, optimizer, names, curve = _example()
        title = title or "A training of seven numbers"
    n = sum(p.numel() for p in model.parameters())
    if n > MOST_NUMBERS:
        raise ValueError(
            f"draw_training: the page shows every number, at most {MOST_NUMBERS:,} parameters, "
            f"got {n:,}"
        )
    recorded = _Recording(loss, model, optimizer, dict(names or {}), curve)
    for _ in range(steps):
        recorded.step()
    training = Training(recorded.contents(), recorded.losses, title or "A training")
    if file is not None:
        training.save(file)
    return training


def _example() -> tuple[Any, Module, Optimizer, dict[str, Tensor], Curve]:
    """y = w₂·tanh(w₁·x + b₁) + b₂ with two hidden numbers, four points of a curve, and SGD."""
    with random.fork_rng():
        random.manual_seed(3)
        model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    points = [(-1.5, 0.8), (-0.5, 0.6), (0.5, -0.5), (1.5, -0.7)]
    x = wrap(np.array([[a] for a, _ in points])).requires_grad_()  # (4, 1), to be in the drawing
    t = wrap(np.array([[b] for _, b in points]))  # (4, 1)
    grid = np.round(np.linspace(-2.0, 2.0, 41), 2)

    def loss() -> Tensor:
        return nn.functional.mse_loss(model(x), t)

    def outputs() -> Any:
        return model(wrap(grid[:, None])).array[:, 0]  # (41, 1) -> (41)

    optimizer = optim.SGD(model.parameters(), lr=0.3)
    return loss, model, optimizer, {"x": x, "t": t}, (grid.tolist(), outputs, points)


class _Recording:
    """The steps of a training, as data for the page."""

    def __init__(
        self, loss: Callable[[], Tensor], model: Module, optimizer: Optimizer,
        names: dict[str, Any], curve: Curve | None,
    ) -> None:  # fmt: skip
        self.loss, self.model, self.optimizer = loss, model, optimizer
        self.names, self.curve = names, curve
        self.arrays = Arrays()
        self.nodes: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.losses: list[float] = []

    def step(self) -> None:
        """One forward pass, backward pass and update, recorded."""
        drawing = draw(self.loss, self.model, names=self.names)
        nodes = [_described(node) for node in drawing.graph.nodes]
        if self.nodes and nodes != self.nodes:
            raise ValueError("draw_training: the graph of the loss differs from step to step")
        self.nodes = nodes
        value = self.loss()
        self.losses.append(value.item())
        before = {name: p.array.copy() for name, p in self.model.named_parameters()}
        self.optimizer.zero_grad()
        value.backward()
        outputs = self._outputs()
        self.optimizer.step()
        self.steps.append(
            {
                "values": [self.arrays.add(n.values[0]) for n in drawing.graph.nodes],
                "back": [self._back(step) for step in drawing.steps],
                "totals": self._totals(drawing.graph, drawing.steps),
                "update": [
                    self._update(name, before[name], p) for name, p in self.model.named_parameters()
                ],
                "loss": self.losses[-1],
                "curve": outputs,
            }
        )

    def _outputs(self) -> list[float] | None:
        if self.curve is None:
            return None
        with no_grad():
            return [float(f"{float(y):.5g}") for y in self.curve[1]()]

    def _back(self, step: Step) -> dict[str, Any]:
        return {
            "node": step.node.id,
            "arriving": self.arrays.add(next(g for g in step.arriving if g is not None)),
            "leaving": [
                [a.edge.source.id, a.edge.name, self.arrays.add(a.gradient)] for a in step.leaving
            ],
        }

    def _totals(self, graph: Graph, steps: list[Step]) -> list[Any]:
        """For each node: [after which backward op its gradient is there, the gradient]."""
        totals: list[Any] = [None] * len(graph.nodes)
        totals[graph.root.id] = [0, self.arrays.add(np.ones(graph.root.shapes[0]))]
        for at, step in enumerate(steps, 1):
            for a in step.leaving:
                totals[a.edge.source.id] = [at, self.arrays.add(a.total)]
        return totals

    def _update(self, name: str, before: Any, p: Any) -> dict[str, Any]:
        gradient = p.grad.array
        lr = self.optimizer.param_groups[0]["lr"]
        words = ""
        if self._is_plain():
            arrays = (before, gradient, p.array)
            old, g, new = (number_text(float(a.reshape(-1)[0]), 5) for a in arrays)
            first = name if before.size == 1 else f"the first number of {name}"
            words = with_lines(f"{first}: {old} − {number_text(lr)}·({g}) = {new}")
        return {
            "name": name,
            "before": self.arrays.add(before),
            "gradient": self.arrays.add(gradient),
            "after": self.arrays.add(p.array),
            "words": words,
        }

    def _is_plain(self) -> bool:
        """Whether the update is the learning rate times the gradient and nothing else."""
        group = self.optimizer.param_groups[0]
        options = ("momentum", "weight_decay", "maximize")
        return type(self.optimizer) is SGD and not any(group.get(k) for k in options)

    def _rule(self) -> str:
        name, lr = type(self.optimizer).__name__, self.optimizer.param_groups[0]["lr"]
        rule = (
            f"p − {number_text(lr)}·g takes the place of p" if self._is_plain() else "see its page"
        )
        return with_lines(f"{name}, learning rate {number_text(lr)}: {rule}")

    def contents(self) -> dict[str, Any]:
        """Everything that the page's script needs, in JSON's types."""
        return {
            "nodes": self.nodes,
            "parameters": [name for name, _ in self.model.named_parameters()],
            "optimizer": type(self.optimizer).__name__,
            "rule": self._rule(),
            "steps": self.steps,
            "arrays": self.arrays.list,
            "curve": None if self.curve is None else {"x": self.curve[0], "points": self.curve[2]},
        }


def _described(node: Any) -> dict[str, Any]:
    forward, backward = PLAIN_WORDS.get(node.label, ("", "")) if node.op is not None else ("", "")
    exact = ["", ""]
    if node.op is not None:
        texts = first_line(type(node.op)).partition("   Backward")[0], backward_text(type(node.op))
        exact = [with_lines(text) for text in texts]
    return {
        "id": node.id,
        "kind": node.kind,
        "label": node_label(node) if node.kind == "op" else node.label,
        "shape": " ".join(map(shape_text, node.shapes)),
        "plain": [forward, backward],
        "exact": exact,
    }
