"""A search: trials, one after the other, each a whole run in a separate folder.

search = Search(runs, space, options)
search.run(print)
search.best()
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...files.json_files import write_json
from ...files.paths import local_path
from ...files.plain_text import one_line
from ..autopsy import NonFiniteError
from ..checkpoint import Checkpoint, StorageError, checkpoints_in, find_checkpoint
from ..ledger import Ledger
from ..metrics import read_metrics
from ..options import OptionError, Options
from .options import SearchOptions
from .space import Space
from .strategies import propose, rounds_of, tpe

__all__ = ["Runs", "Search", "Trial"]

_SAME_REFUSALS = 3  # at the beginning: then no trial will work


class Runs(NamedTuple):
    """A kind of runs: its name on the command line, its options, how one is made and continued.

    make: values of options, by their fields -> a run with prepare() and complete(until, report)
    """

    name: str
    options: type[Options]
    make: Callable[[dict[str, Any]], Any]
    continued: Callable[[Checkpoint], Any]


class Trial(NamedTuple):
    """What is known of a trial: number, values, score (None without one), steps that it made,
    seconds, and what went wrong.
    """

    number: int
    values: dict[str, Any]
    score: float | None
    steps: int
    seconds: float
    problem: str = ""


class Search:
    """A search over the options of a kind of runs; what is done is read from its folder.

    runs: see Runs; space: ranges and fixed values; options: checked
    Raises: OptionError for a grid that is too large, or halving without steps.
    """

    def __init__(self, runs: Runs, space: Space, options: SearchOptions) -> None:
        self.runs, self.space, self.o = runs, space, options
        self.folder = local_path(options.folder or "runs/search")
        self.trials: dict[int, Trial] = {}
        self.count = options.trials
        if options.strategy == "grid":
            self.count = len(space.grid(options.points))
        self.rounds: list[tuple[int, int | None]] = [(self.count, None)]
        if options.strategy == "halving":
            steps = space.fixed.get("steps")
            if steps is None:
                raise OptionError("`strategy` halving needs `steps`, those of a whole run")
            self.rounds = list(rounds_of(self.count, steps, options.eta, options.first_steps))

    def _about(self) -> dict[str, Any]:
        o = self.o
        searched = {name: list(each) for name, each in self.space.searched.items()}
        return {
            "runs": self.runs.name, "searched": searched, "fixed": self.space.fixed,
            "strategy": o.strategy, "trials": o.trials, "points": o.points, "eta": o.eta,
            "first_steps": o.first_steps, "metric": o.metric, "maximise": o.maximise,
            "search_seed": o.search_seed,
        }  # fmt: skip

    # -------------------------------------------------------------------------------- the trials
    def run(self, note: Callable[[str], None]) -> list[Trial]:
        """Makes the trials that are missing; returns all, the best first.

        note: called with a line for each. After an interruption the trials so far can be read from
        `trials`, and another run continues.
        Raises: OptionError if no trial could run; ImportError for a strategy without its package.
        """
        # More trials of halving would change who goes on: only the others may get more
        changing = ("trials",) if self.o.strategy != "halving" else ()
        with Ledger(self.folder, "search", self._about(), changing) as ledger:
            numbers = list(range(self.count))
            for level, (n, until) in enumerate(self.rounds):
                numbers = self._promoted(numbers, n)
                last = level == len(self.rounds) - 1
                for place, number in enumerate(numbers):
                    self._one(ledger, number, level, until, note)
                    self._stop_if_hopeless()
                    self._tidy(numbers[place + 1 :] if last else numbers)
            if self.best() is None:
                raise OptionError(f"no trial had a score: {self._problems()[0]}")
            self._write_best()
        return self.ranked()

    def _promoted(self, numbers: list[int], n: int) -> list[int]:
        """Those with the best scores of the round before, in the order of their numbers."""
        known = [k for k in numbers if k in self.trials]
        if not known:
            return numbers[:n]
        good = [trial.number for trial in self.ranked() if trial.score is not None]
        return sorted([k for k in good if k in known][:n])

    def _one(
        self, ledger: Ledger, number: int, level: int, until: int | None,
        note: Callable[[str], None],
    ) -> None:  # fmt: skip
        """A trial's run up to `until` steps, unless the ledger has it already."""
        begun = ledger.find(trial=number, state="begun")
        if begun is None:
            begun = ledger.add(trial=number, state="begun", values=self._values(number))
        values = begun["values"]
        row = ledger.find(trial=number, level=level)
        if row is None or row["state"] == "refused":  # a file that was missing may be there now
            row = self._train(number, values, until)
            row = ledger.add(trial=number, level=level, **row)
        self.trials[number] = Trial(
            number, values, row["score"], row["steps"], row["seconds"], row["problem"]
        )
        best = self.best()
        mark = "  best so far" if best is not None and best.number == number else ""
        score = "no score: " + row["problem"] if row["score"] is None else f"{row['score']:.4f}"
        of = "" if until is None else f" at {row['steps']:,} steps"
        note(f"trial {number:<4} {_shown(values)}  {score}{of}{mark}")

    def _values(self, number: int) -> dict[str, Any]:
        if self.o.strategy != "tpe":
            return propose(self.space, self.o, number)
        sign = -1.0 if self.o.maximise else 1.0
        before = [trial for _, trial in sorted(self.trials.items())]
        known = [(t.values, sign * t.score) for t in before if t.score is not None]
        return tpe(self.space, self.o, number, known)

    def folder_of(self, number: int) -> Path:
        """Where a trial's run is."""
        return self.folder / "trials" / f"{number:04}"

    def _train(self, number: int, values: Mapping[str, Any], until: int | None) -> dict[str, Any]:
        """Runs a trial on from its last checkpoint; a row for the ledger."""
        began = time.perf_counter()
        folder = self.folder_of(number)
        score, steps, problem, state = None, 0, "", "done"
        try:
            if checkpoints_in(folder / "checkpoints"):
                run = self.runs.continued(find_checkpoint(folder))
            else:
                shutil.rmtree(folder, ignore_errors=True)
                run = self.runs.make({**self.space.fixed, **values, "folder": str(folder)})
            run.prepare()
            result = run.complete(until, report=False)
            steps = result.step
            score = self._score(folder)
        except NonFiniteError as error:
            problem, state = one_line(str(error)), "diverged"
        except (OptionError, StorageError, MemoryError) as error:
            problem, state = one_line(str(error)) or "not enough memory", "refused"
        seconds = time.perf_counter() - began
        return {"state": state, "score": score, "steps": steps, "seconds": seconds,
                "problem": problem}  # fmt: skip

    def _score(self, folder: Path) -> float:
        """The last value of the metric.

        Raises: OptionError if the run has no such number.
        """
        lines = read_metrics(folder / "metrics.jsonl")
        values = [line[self.o.metric] for line in lines if self.o.metric in line]
        if not values or not isinstance(values[-1], int | float):
            validations = (line for line in lines if "val_loss" in line)
            names = sorted({name for line in validations for name in line} - {"step"})
            raise OptionError(
                f"`metric`: a run has no {self.o.metric}; it has {', '.join(names) or 'none'}"
            )
        return float(values[-1])

    def _problems(self) -> list[str]:
        return [t.problem for t in self.trials.values() if t.score is None]

    def _stop_if_hopeless(self) -> None:
        """Raises: OptionError if the first trials were all refused for the same reason."""
        problems = self._problems()
        if len(problems) == len(self.trials) >= _SAME_REFUSALS and len(set(problems)) == 1:
            raise OptionError(problems[0])

    # ------------------------------------------------------------------------------- its results
    def _key(self, trial: Trial) -> tuple[float, ...]:
        """Trials that made more steps come first, then better scores, then lower numbers."""
        if trial.score is None:
            return (1.0, 0.0, math.inf, trial.number)
        level = -float(trial.steps) if self.o.strategy == "halving" else 0.0
        return (0.0, level, -trial.score if self.o.maximise else trial.score, trial.number)

    def ranked(self) -> list[Trial]:
        """All trials, the best first."""
        return sorted(self.trials.values(), key=self._key)

    def best(self) -> Trial | None:
        """The best trial so far; None if none has a score."""
        first = next(iter(self.ranked()), None)
        return None if first is None or first.score is None else first

    def _tidy(self, waiting: Sequence[int]) -> None:
        """Removes the checkpoints of trials that cannot go on, except the best one's.

        waiting: numbers of those that may
        """
        if self.o.keep_all:
            return
        best = self.best()
        for trial in self.trials.values():
            goes_on = trial.number in waiting and trial.score is not None
            if not goes_on and (best is None or trial.number != best.number):
                shutil.rmtree(self.folder_of(trial.number) / "checkpoints", ignore_errors=True)

    def _write_best(self) -> None:
        """best.json: the options of the best trial, as --config reads them."""
        best = self.best()
        if best is not None:
            values = {**self.space.fixed, **best.values}
            declared = self.runs.options.declared()
            named = {declared[name].name: v for name, v in values.items() if name != "folder"}
            write_json(self.folder / "best.json", named)

    def table(self) -> str:
        """The trials as Markdown, the best first."""
        names = list(self.space.searched)
        lines = [f"| trial | {' | '.join(names)} | {self.o.metric} | steps | s |",
                 "|---" * (len(names) + 4) + "|"]  # fmt: skip
        for t in self.ranked():
            values = " | ".join(_text(t.values[name]) for name in names)
            score = t.problem.replace("|", "/") if t.score is None else f"{t.score:.4f}"
            lines.append(f"| {t.number} | {values} | {score} | {t.steps:,} | {t.seconds:.0f} |")
        return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())
