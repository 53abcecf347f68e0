"""draw: the graph behind a tensor, as an SVG and as a page that steps through the backward pass.

    study.draw(lambda: model.loss(x, y), model, file="graph")     # graph.svg and graph.html

The steps are the engine's: every gradient on the page is what `backward_steps` computed, every line
of code is the op's source with the values of its variables.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...arrays.devices import xp_of
from ...files.paths import local_path
from ...nn.module import Module
from ...tensor import Tensor
from ..common.html import FilePath, InNotebooks, written
from .graph import Box, Graph, Recorder, collect
from .steps import Step, backward_pass

__all__ = ["Drawing", "draw"]

ROOM = 26  # how many nodes and closed boxes a drawing shows before it folds more
MOST = 28  # the same of a diagram whose only module would otherwise be one closed box


class Drawing(InNotebooks):
    """What `study.draw` returns: `svg()` and `html()` return its text, and write it to a file.

    graph    the Graph: nodes, edges, boxes
    steps    the backward pass, a Step for every op; empty if the graph had been freed
    folded   numbers of the boxes that are closed at first
    """

    def __init__(self, graph: Graph, steps: list[Step], folded: set[int], title: str) -> None:
        self.graph, self.steps, self.folded, self.title = graph, steps, folded, title

    def svg(self, file: FilePath | None = None) -> str:
        """The drawing as SVG, which is written if `file` is given."""
        from .svg import svg

        return written(svg(self.graph, self.steps, self.folded, self.title), file)

    def diagram(self, room: int = 12) -> str:
        """A small SVG: at most about `room` nodes and closed boxes, gradients as second arrows."""
        from .svg import svg

        folded = _folded(self.graph, None, room)
        whole = self.graph.boxes[0]
        inside = [item for item in whole.items if isinstance(item, Box)]
        if len(inside) == 1 and inside[0].id in folded:  # it would be one closed box
            opened = {box.id for box in self.graph.boxes if box.depth >= 2}
            folded = opened if _shown(whole, opened) <= MOST else folded
        return svg(self.graph, self.steps, folded, self.title, back=True)

    def html(self, file: FilePath | None = None, links: Mapping[str, str] | None = None) -> str:
        """The drawing as an HTML page, which is written if `file` is given.

        links: word -> address, shown at the top
        """
        from .page import page

        return written(page(self, links), file)

    def save(self, file: FilePath) -> list[Path]:
        """Write FILE.svg and FILE.html, or only one of them if `file` has that ending; their paths.

        Raises: ValueError for another ending.
        """
        path = local_path(file)
        if path.suffix not in (".svg", ".html", ""):
            raise ValueError(f"draw writes .svg and .html, not {path.suffix}: {path}")
        endings = [path.suffix] if path.suffix else [".svg", ".html"]
        written = []
        for ending in endings:
            place = path.with_name(path.stem + ending)
            (self.svg if ending == ".svg" else self.html)(place)
            written.append(place)
        return written

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        ops = sum(node.kind == "op" for node in self.graph.nodes)
        return f"<Drawing of {ops} ops: .html(file) and .svg(file) write it>"


def draw(
    what: Tensor | Callable[[], Tensor],
    *models: Module,
    file: FilePath | None = None,
    gradient: Any = None,
    names: Mapping[str, Any] | None = None,
    fold: int | None = None,
    title: str | None = None,
    recorder: Recorder | None = None,
) -> Drawing:
    """Draw the graph behind a tensor, and the backward pass through it.

    what       a tensor, usually the loss; or a function without arguments that computes it, which
               is better: then every value in between is known, and where modules begin and end
    models     their modules and parameters are named (with a tensor: only the parameters)
    file       writes FILE.svg and FILE.html, or only one of them if it has that ending
    gradient   ∂L/∂what; None for ones
    names      variables by name; None for those where draw is called
    fold       boxes at this depth and deeper are closed at first; None: as many as needed
    title      a heading
    recorder   a draw.graph.Recorder that was on while a tensor was computed

    No .grad changes, and backward() can still be called.
    Raises: RuntimeError if the tensor has no graph; TypeError if `what` is neither a tensor nor a
    function that returns one.
    """
    frame = sys._getframe(1)
    names = {**frame.f_locals} if names is None else names
    recorder = Recorder(*models) if recorder is None else recorder
    if isinstance(what, Tensor):
        root = what
    elif callable(what):
        with recorder, _Locals(what) as within:
            root = what()
        names = {**within.names, **names}
        if not isinstance(root, Tensor):
            raise TypeError(f"draw: the function returned {type(root).__name__}, not a tensor")
    else:
        raise TypeError(
            f"draw: expected a tensor, or a function that computes one, got {type(what).__name__}"
        )
    graph = collect(root, recorder, names)
    if gradient is None and root.array.size != 1:
        gradient = Tensor(xp_of(root.array).ones_like(root.array))
    steps = backward_pass(graph, root, gradient)
    folded = _folded(graph, fold)
    drawing = Drawing(graph, steps, folded, title or _title(graph))
    if file is not None:
        drawing.save(file)
    return drawing


class _Locals:
    """The variables of a function when it returned, which name the nodes of a drawing."""

    def __init__(self, function: Any) -> None:
        self.code = getattr(function, "__code__", None)
        self.names: dict[str, Any] = {}

    def __enter__(self) -> _Locals:
        self.free = sys.getprofile() is None  # a profiler that is running is left alone
        if self.free:
            sys.setprofile(self._see)
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.free:
            sys.setprofile(None)

    def _see(self, frame: Any, event: str, arg: Any) -> None:
        if event == "return" and frame.f_code is self.code:
            self.names.update(frame.f_locals)


def _title(graph: Graph) -> str:
    ops = sum(node.kind == "op" for node in graph.nodes)
    kinds = [item.kind for item in graph.boxes[0].items if isinstance(item, Box)]
    name = ", ".join(graph.root.names) or graph.root.label
    where = f" of {kinds[0]}" if len(kinds) == 1 else ""
    return f"The backward pass from {name}{where}: {ops} ops"


def _folded(graph: Graph, fold: int | None, room: int = ROOM) -> set[int]:
    """Numbers of the boxes that are closed: from depth `fold` on, or as many as `room` asks for."""
    inner = [box for box in graph.boxes if box.parent is not None]
    if fold is not None:
        return {box.id for box in inner if box.depth >= fold}
    deepest = max((box.depth for box in inner), default=0)
    for depth in range(deepest + 1, 1, -1):
        folded = {box.id for box in inner if box.depth >= depth}
        if _shown(graph.boxes[0], folded) <= room:
            return folded
    return {box.id for box in inner}


def _shown(box: Box, folded: set[int]) -> int:
    """How many nodes and closed boxes are visible."""
    return sum(
        1 if not isinstance(item, Box) or item.id in folded else _shown(item, folded)
        for item in box.items
    )
