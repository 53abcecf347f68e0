"""What a run shows while it trains: plain lines in a file or pipe, a live bar in a terminal."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ..files.plain_text import printable, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["PlainProgress", "Progress", "RichProgress", "duration", "make_progress"]


@contextmanager
def lasting() -> Iterator[None]:
    """Within it a terminal that was closed raises no error: the run continues, and is saved.

    Raises: OSError of other kinds, BrokenPipeError for a closed pipe among them.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Shows nothing: the base of the other two, and what `progress=False` means.

    unit: what the rate counts, "tokens" unless the trainer sets another; utilization: the share of
    the machine's matrix products that the model's own operations are (MFU), None if not known.
    """

    unit = "tokens"
    utilization: float | None = None

    def note(self, text: str) -> None:
        """A line that stays."""

    def start(self, step: int, steps: int) -> None:
        """Training begins at `step` of `steps`."""

    def step(self, step: int, loss: float, lr: float, rate: float, left: float) -> None:
        """One step done: loss in nats, learning rate, units per second, seconds left."""

    def sample(self, text: str) -> None:
        """A text that the model wrote."""

    def stop(self) -> None:
        """Training ended, with or without an error."""


class PlainProgress(Progress):
    """One line every few seconds, plain text that may go to a file.

    stream: where the lines go; None for the standard output of the moment.
    """

    def __init__(self, seconds: float = 5.0, stream: TextIO | None = None) -> None:
        self.seconds = seconds
        self.stream = stream
        self._shown = 0.0
        self._steps = 0

    def note(self, text: str) -> None:
        stream = self.stream or sys.stdout
        with lasting():
            print(printable(text, stream), file=stream, flush=True)

    def start(self, step: int, steps: int) -> None:
        self._steps, self._shown = steps, 0.0

    def step(self, step: int, loss: float, lr: float, rate: float, left: float) -> None:
        now = time.monotonic()
        if now - self._shown < self.seconds and step < self._steps:
            return
        self._shown = now
        width = len(str(self._steps))
        self.note(
            f"step {step:{width}d}/{self._steps}  loss {loss:.4f}  lr {lr:.2e}  "
            f"{rate:,.0f} {self.unit}/s  {self._mfu()}{duration(left)} left"
        )

    def _mfu(self) -> str:
        return "" if self.utilization is None else f"MFU {self.utilization:.0%}  "

    def sample(self, text: str) -> None:
        self.note("\n".join("    | " + line for line in text.splitlines()))


class RichProgress(Progress):
    """A bar at the bottom of the terminal, lines that stay above it."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self.console = console or Console(highlight=False)
        self._live: Bar | None = None
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        with lasting():
            self.console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def start(self, step: int, steps: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._live = Bar(
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("loss [bold]{task.fields[loss]}[/]"),
            TextColumn("lr {task.fields[lr]}"),
            TextColumn("[cyan]{task.fields[rate]}[/] " + f"{self.unit}/s" + "{task.fields[used]}"),
            TextColumn("{task.fields[left]} left"),
            console=self.console,
            refresh_per_second=4,
        )
        fields: dict[str, Any] = {
            "loss": "...",
            "lr": "...",
            "rate": "...",
            "left": "...",
            "used": "",
        }
        self._task = self._live.add_task("training", total=steps, completed=step, **fields)
        with lasting():
            self._live.start()

    def step(self, step: int, loss: float, lr: float, rate: float, left: float) -> None:
        if self._live is not None and self._task is not None:
            fields: dict[str, Any] = {"loss": f"{loss:.4f}", "lr": f"{lr:.1e}"}
            used = "" if self.utilization is None else f", MFU {self.utilization:.0%}"
            fields |= {"rate": f"{rate:,.0f}", "used": used, "left": duration(left)}
            with lasting():
                self._live.update(self._task, completed=step, **fields)

    def sample(self, text: str) -> None:
        from rich.panel import Panel
        from rich.text import Text

        with lasting():
            self.console.print(Panel(Text(visible(text)), title="sample", style="dim"))

    def stop(self) -> None:
        if self._live is not None:
            with lasting():
                self._live.stop()
            self._live = None


def make_progress(kind: bool | Progress | None = None) -> Progress:
    """None: a bar in a terminal, lines elsewhere. True: lines. False: nothing. Else: itself."""
    if isinstance(kind, Progress):
        return kind
    if kind is False:
        return Progress()
    if kind is None and sys.stdout.isatty():
        try:
            return RichProgress()
        except ImportError:
            pass
    return PlainProgress()
