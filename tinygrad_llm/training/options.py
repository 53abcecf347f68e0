"""The options of training, each declared once: name, type, default, help, and what is allowed.

From these dataclasses follow the keywords of Trainer and of the fine-tuning trainers, the flags of
the command line, the names in configuration files (settings.py), and the tables of OPTIONS.md.

    options = TrainingOptions(steps=500, folder="runs/a")
    Trainer(model, optimizer, batches, options)
    Trainer(model, optimizer, batches, steps=500, folder="runs/a")      # the same

A subclass adds the options that a kind of training needs; `again` gives an inherited option
another default there.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from ..files.untrusted import describe
from .loggers import LOGGERS

__all__ = [
    "GROUPS",
    "Option",
    "OptionError",
    "Options",
    "OptimizerOptions",
    "Rule",
    "TrainingOptions",
    "About",
    "again",
    "blame",
    "did_you_mean",
    "from_keywords",
    "option",
]

O = TypeVar("O", bound="Options")

# The parts into which help and tables are ordered.
GROUPS = ("data", "length", "model", "adaptation", "training", "report", "machine", "files")

_ENDLESS = re.compile(r"(\S{60})\S{940,}")  # a word that fills the screen
_NAMED = re.compile(r"`([a-z][a-z0-9_]*)`")


class OptionError(ValueError):
    """A value of an option that cannot be used.

    message: one line, in which `name` is an option. str() shows the bare names; the command line
    shows its flags by `spelled`. Of a value of more than 1,000 letters only the first are shown.
    """

    def __init__(self, message: str) -> None:
        message = _ENDLESS.sub(r"\1...", message)
        super().__init__(_NAMED.sub(r"\1", message))
        self.message = message

    def spelled(self, spell: Callable[[str], str]) -> str:
        """The message with spell(name) in place of each option's name."""
        return _NAMED.sub(lambda match: spell(match[1]), self.message)


@contextmanager
def blame(option: str, *kinds: type[Exception]) -> Iterator[None]:
    """Within it, an error of these kinds becomes an OptionError that begins with the option.

    option: an option's name in backticks, or a flag

    Raises: OptionError in place of such an error.
    """
    try:
        yield
    except OptionError:
        raise
    except kinds as error:
        raise OptionError(f"{option}: {error}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean ...?)", or a list of the known words if none is similar."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f"; known: {', '.join(known)}"


# ------------------------------------------------------------------------------ what is allowed
class Rule(NamedTuple):
    """Which values an option may have, and that in words: "at least 1"."""

    allows: Callable[[Any], bool]
    words: str


AT_LEAST_1 = Rule(lambda v: v >= 1, "at least 1")
A_TOKEN_AND_THE_END = Rule(lambda v: v >= 2, "at least 2, a token and the end")
A_MILLION_AT_MOST = Rule(lambda v: 1 <= v <= 10**6, "between 1 and 1,000,000")
UP_TO_256 = Rule(lambda v: 1 <= v <= 256, "between 1 and 256")  # twice the deepest ones published
NOT_NEGATIVE = Rule(lambda v: 0 <= v < math.inf, "0 or more")
POSITIVE = Rule(lambda v: 0 < v < math.inf, "more than 0")
SHARE_BELOW_1 = Rule(lambda v: 0 <= v < 1, "0 or more and less than 1")
FRACTION = Rule(lambda v: 0 < v < 1, "more than 0 and less than 1")
SHARDS = ("none", "zero1", "zero2", "fsdp")
OPTIMIZERS = ("adamw", "muon", "lion", "adafactor", "schedule-free")
MUP_OPTIMIZERS = ("adamw", "lion")  # whose steps do not grow with the gradient
SCHEDULES = ("cosine", "wsd", "constant")
SEED = Rule(lambda v: 0 <= v < 2**63, "0 or more (below 2^63)")


# --------------------------------------------------------------------------------- declarations
@dataclasses.dataclass(frozen=True)
class About:
    """What is said of an option where it is declared.

    help: one line; rule: None allows every value of the type; group: one of GROUPS; name: in files
    and, with dashes, on the command line, None for the field's; argument: whether the command line
    takes it without a flag; may_change: whether a resumed run may have another value;
    about_default: what a default of None means, in words; shown: whether commands, files and tables
    have it.
    """

    help: str
    rule: Rule | None = None
    group: str = "training"
    name: str | None = None
    argument: bool = False
    may_change: bool = False
    about_default: str = ""
    shown: bool = True


class Option(NamedTuple):
    """A declared option: its field's name, its type with None left out, its default, whether None
    is a value of its type, and what was said of it.
    """

    field: str
    type: type
    default: Any
    optional: bool
    about: About

    @property
    def name(self) -> str:
        """As files spell it."""
        return self.about.name or self.field

    @property
    def flag(self) -> str:
        """As the command line spells it: --batch-size, or CORPUS for an argument."""
        return self.name.upper() if self.about.argument else f"--{self.name.replace('_', '-')}"


def option(
    default: Any, help: str, rule: Rule | None = None, group: str = "training", **more: Any
) -> Any:
    """A field of an options dataclass; see About for the arguments."""
    about = About(help, rule, group, **more)
    return dataclasses.field(default=default, metadata={"about": about})


def again(parent: type, name: str, default: Any, **changes: Any) -> Any:
    """An option of `parent` with another default; changes: of help, about_default, ..."""
    field = next(f for f in dataclasses.fields(parent) if f.name == name)
    about = dataclasses.replace(field.metadata["about"], **changes)
    return dataclasses.field(default=default, metadata={"about": about})


@cache
def _declared(kind: type) -> dict[str, Option]:
    hints = typing.get_type_hints(kind)
    options = []
    for field in dataclasses.fields(kind):
        kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
        about = field.metadata["about"]
        options.append(Option(field.name, kinds[0], field.default, type(None) in kinds, about))
    options.sort(key=lambda o: (GROUPS.index(o.about.group), o.field == "steps"))
    return {o.field: o for o in options}


_WORDS: dict[type, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text"
}  # fmt: skip


@dataclasses.dataclass
class Options:
    """What all dataclasses of options can do."""

    # The option that may stand in place of `steps`, such as epochs; each sets the other to None.
    instead_of_steps: ClassVar[str | None] = None

    @classmethod
    def declared(cls) -> dict[str, Option]:
        """The options by their field's name, group by group; those that are not shown too."""
        kind: Any = cls
        return _declared(kind)

    @classmethod
    def shown(cls) -> list[Option]:
        """The options that commands, files and tables have, group by group."""
        return [o for o in cls.declared().values() if o.about.shown]

    def check(self) -> None:
        """Turns every value into its type, and looks whether it is allowed.

        Raises: OptionError for the first value that is not, with what it must be.
        """
        for declared in self.declared().values():
            value = converted(declared, getattr(self, declared.field))
            setattr(self, declared.field, value)
            rule = declared.about.rule
            if value is not None and rule is not None and not rule.allows(value):
                text = f"{value:g}" if isinstance(value, float) else value
                raise OptionError(f"`{declared.field}` must be {rule.words}, got {text}")

    def stored(self) -> dict[str, Any]:
        """The values that a checkpoint and config.json keep: all except None and the folder."""
        values = {o.name: getattr(self, o.field) for o in self.shown()}
        return {k: v for k, v in values.items() if v is not None and k != "out"}


def converted(declared: Option, value: Any) -> Any:
    """The value as a Python number, truth or text of the option's type.

    Raises: OptionError if it is something else.
    """
    kind = declared.type
    if value is None and (declared.optional or declared.default is None):
        return None
    if isinstance(value, bool) or kind is bool:
        right = isinstance(value, bool) and kind is bool
    elif kind in (int, float):
        right = isinstance(value, numbers.Integral if kind is int else numbers.Real)
    else:
        right = isinstance(value, str | os.PathLike)
    if not right:
        raise OptionError(f"`{declared.field}` should be {_WORDS[kind]}, got {describe(value)}")
    try:
        return value if kind is str else kind(value)
    except OverflowError:  # an int of a thousand digits as a float
        raise OptionError(
            f"`{declared.field}` should be {_WORDS[kind]}, got {describe(value)}"
        ) from None


def from_keywords(owner: str, kind: type[O], options: O | None, keywords: Mapping[str, Any]) -> O:
    """A checked copy of the options (None: the defaults) in which the keywords take precedence.

    owner: what is called, for the message.
    Raises: TypeError for a keyword that is not an option, or options of another kind; OptionError
    for a value that is not allowed.
    """
    known = kind.declared()
    for name in keywords:
        if name not in known:
            raise TypeError(f"{owner} has no option {name!r}{did_you_mean(name, known)}")
    if options is None:
        made = kind(**keywords)
    elif isinstance(options, kind):
        made = dataclasses.replace(options, **keywords)
    else:
        raise TypeError(f"{owner}: options must be {kind.__name__}, got {type(options).__name__}")
    made.check()
    return made


# -------------------------------------------------------------------------- of every training
@dataclasses.dataclass
class TrainingOptions(Options):
    """The options of Trainer: how long, how a step is made, what is reported and stored."""

    steps: int | None = option(
        None, "Steps to train.", AT_LEAST_1, "length", may_change=True, about_default="required"
    )
    accumulation: int = option(1, "Batches in a step.", A_MILLION_AT_MOST)
    clip: float | None = option(
        1.0, "Largest gradient norm.", POSITIVE, about_default="does not clip"
    )
    batch_ramp: float = option(
        0.0, "Share of the steps in which --accumulation rises from 1.", SHARE_BELOW_1, shown=False
    )
    ema: float | None = option(
        None, "Decay of an average of the weights, measured and saved.", FRACTION,
        about_default="no average", shown=False,
    )  # fmt: skip
    noise_scale: bool = option(
        False, "With --accumulation: which batch size pays.", None, "report", may_change=True,
        shown=False,
    )  # fmt: skip
    eval_every: int | None = option(
        None, "Steps between validations.", AT_LEAST_1, "report", may_change=True,
        about_default="a tenth of the steps",
    )  # fmt: skip
    sample_every: int | None = option(
        None, "Steps between samples.", AT_LEAST_1, "report", may_change=True,
        about_default="a fifth of the steps",
    )  # fmt: skip
    log: str = option(
        "none", "Numbers beside metrics.jsonl: tensorboard, or wandb (offline).",
        Rule(lambda v: v in LOGGERS, "none, tensorboard or wandb"), "report", may_change=True,
    )  # fmt: skip
    graph: bool | None = option(
        False, "On a GPU: a step is one launch [if possible].", None, "machine", may_change=True,
        about_default="if it is possible",
    )  # fmt: skip
    folder: str | Path | None = option(
        None, "The run's folder [runs/NAME-N].", None, "files", name="out",
        about_default="Trainer writes nothing, a command takes runs/NAME-N",
    )  # fmt: skip
    checkpoint_every: int = option(
        100, "Steps between checkpoints.", AT_LEAST_1, "files", may_change=True
    )
    keep: int = option(3, "Checkpoints kept.", AT_LEAST_1, "files", may_change=True)

    def check(self) -> None:
        """Also: a captured step cannot accumulate.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.graph and self.accumulation > 1:
            raise OptionError(f"graph=True needs accumulation=1, got {self.accumulation}")
        for name in ("batch_ramp", "noise_scale"):
            if getattr(self, name) and self.accumulation == 1:
                raise OptionError(f"`{name}` needs several batches in a step: `accumulation` is 1")

    @property
    def validation_steps(self) -> int:
        """Steps between validations: eval_every, or a tenth of all."""
        return self.eval_every or max(1, (self.steps or 0) // 10)

    @property
    def sample_steps(self) -> int:
        """Steps between samples: sample_every, or a fifth of all."""
        return self.sample_every or max(1, (self.steps or 0) // 5)


@dataclasses.dataclass
class OptimizerOptions(TrainingOptions):
    """The options of those who make batches, AdamW and its schedule too."""

    batch_size: int = option(8, "Examples in a batch.", AT_LEAST_1)
    lr: float | None = option(
        None, "Highest learning rate.", POSITIVE, about_default="by the model's size"
    )
    min_lr: float | None = option(
        None, "Last learning rate [lr / 10].", NOT_NEGATIVE, about_default="lr / 10"
    )
    warmup: int | None = option(
        None, "Steps until the highest rate [a tenth].", NOT_NEGATIVE,
        about_default="a tenth of the steps",
    )  # fmt: skip
    beta1: float = option(0.9, "AdamW's first decay.", SHARE_BELOW_1)
    beta2: float = option(0.999, "AdamW's second decay.", SHARE_BELOW_1)
    weight_decay: float = option(0.1, "AdamW's, on matrices.", NOT_NEGATIVE)
    seed: int = option(123, "Of new weights, data order and dropout.", SEED)
    shard: str = option(
        "none", "What ranks divide: zero1, AdamW's state; zero2, gradients too; fsdp, weights too.",
        Rule(lambda v: v in SHARDS, "none, zero1, zero2 or fsdp"), "machine", may_change=True,
    )  # fmt: skip

    def check(self) -> None:
        """Also: the rate falls from lr to min_lr.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.min_lr is not None and self.lr is not None and self.min_lr > self.lr:
            raise OptionError(
                f"`min_lr` {self.min_lr:g} is above `lr` {self.lr:g}, from which it falls"
            )
