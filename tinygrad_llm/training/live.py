"""What a run writes for those who watch it while it trains, and how they ask it to pause.

Beside metrics.jsonl a run's folder has, as long as it trains and afterwards:

    samples.jsonl     {"step": 100, "text": "..."}                  texts by the model
    gradients.jsonl   {"step": 10, "norms": {"trf_blocks.0": 0.7}}  each layer's gradient norm
    state.json        {"state": "running", "step": 0, "steps": 500, "process": 4711}
    pause             while this file exists the run waits between two steps

`tinygrad-llm serve --run FOLDER` shows them in a browser. `touch FOLDER/pause` and
`rm FOLDER/pause` do the same without it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..arrays.devices import to_numpy, xp_of
from ..files.json_files import write_json
from .metrics import Metrics

__all__ = ["GRADIENT_STEPS", "LiveFiles", "layer_norms"]

GRADIENT_STEPS = 10  # gradient norms of layers are written at every such step
SAMPLES, GRADIENTS, STATE, PAUSE = "samples.jsonl", "gradients.jsonl", "state.json", "pause"


class LiveFiles:
    """The files of a run that is watched; without a folder nothing is written.

    A full disk stops these files, never the run.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._pause = None if folder is None else str(folder / PAUSE)
        self.samples, self.gradients = (
            Metrics(None if folder is None else folder / name) for name in (SAMPLES, GRADIENTS)
        )

    def begin(self, step: int, steps: int) -> None:
        """The run trains from `step` on; what was written after it, or asked before it, goes."""
        for lines in (self.samples, self.gradients):
            with suppress(OSError):
                lines.truncate(step)
        if self._pause is not None:
            with suppress(OSError):
                os.unlink(self._pause)
        self.state("running", max(0, step), steps)

    def state(self, word: str, step: int, steps: int) -> None:
        """Write what the run does now: "running", "paused", "stopped" or "ended"."""
        if self.folder is None:
            return
        fields = {"state": word, "step": step, "steps": steps, "process": os.getpid()}
        with suppress(OSError):
            write_json(self.folder / STATE, fields)

    def pause_asked(self) -> bool:
        """Whether somebody asks the run to wait."""
        return self._pause is not None and os.path.exists(self._pause)

    def end(self, step: int, steps: int) -> None:
        """The run trains no more, at its end or before it."""
        self.state("ended" if step >= steps else "stopped", step, steps)
        self.samples.close()
        self.gradients.close()


def layer_norms(parameters: Iterable[tuple[str, Any]], factor: float = 1.0) -> dict[str, float]:
    """The Euclidean norm of the gradients of each layer, times `factor`.

    A layer is a block with its number ("trf_blocks.0"), or what stands beside the blocks
    ("tok_emb"). Parameters without a gradient, and layers that have none, are left out; a norm that
    is not finite is left out too.
    """
    squares: dict[str, list[Any]] = {}
    for name, parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            g = gradient.array.ravel()  # (...) -> (N)
            squares.setdefault(_layer(name), []).append(xp_of(g).vdot(g, g))
    norms = {}
    for layer, parts in squares.items():
        total = sum(float(part) for part in to_numpy(xp_of(parts[0]).stack(parts)))
        norm = math.sqrt(total) * factor if total >= 0 else math.nan
        if math.isfinite(norm):
            norms[layer] = float(f"{norm:.5g}")
    return norms


def _layer(name: str) -> str:
    """ "trf_blocks.0.att.qkv.weight" -> "trf_blocks.0"; "tok_emb.weight" -> "tok_emb"."""
    parts = name.split(".")
    for i, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return ".".join(parts[:-1]) or name
