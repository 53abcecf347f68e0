"""The training state of a checkpoint is checked before it is believed.

The file may be whole and still wrong: written by another program, edited, or of a run that had
diverged. A wrong number in it (a NaN among AdamW's moments, a step of −5) would show much later.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files.untrusted import describe
from ..nn.parameter import Parameter
from ..optim import Optimizer
from ..tensor import Tensor, wrap
from .optimizer_state import inner
from .step import Setup

__all__ = ["check_state"]

_MOST_STEPS = 1e15
_NEVER_NEGATIVE = (
    "step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "row_var", "col_var", "variance",
    "weight_sum", "lr_max",
)  # fmt: skip


def check_state(state: Mapping[str, Any], setup: Setup) -> None:
    """Check what a checkpoint says about a run, except its weights.

    Raises: ValueError with the entry that is missing, of another type, or impossible.
    """
    for name in ("tokens", "seconds", "last_loss", "val_loss", "optimizer", "random", "data"):
        if name not in state:
            raise ValueError(f"{name} is missing")
    if type(state["tokens"]) is not int or state["tokens"] < 0:
        raise ValueError(f"tokens is {describe(state['tokens'])}")
    if not _is_number(state["seconds"]) or not 0.0 <= state["seconds"] < math.inf:
        raise ValueError(f"seconds is {describe(state['seconds'])}")
    for name in ("last_loss", "val_loss"):
        if state[name] is not None and not _is_number(state[name]):
            raise ValueError(f"{name} is {describe(state[name])}")
    _check_optimizer(state["optimizer"], inner(setup.optimizer))
    if not isinstance(state.get("random_of_ranks", []), list):
        raise ValueError(f"random_of_ranks is {describe(state['random_of_ranks'])}")
    if setup.scheduler is not None and state.get("scheduler") is not None:
        _check_like(state["scheduler"], setup.scheduler.state_dict(), "scheduler")
    _check_like(state["data"], setup.stream.state_dict(), "data")
    if setup.average is not None:
        setup.average.check(state.get("average"))
    elif state.get("average") is not None:
        raise ValueError("average: the run had an average of its weights (ema), and this has none")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_optimizer(state: Any, optimizer: Optimizer) -> None:
    """Raises: ValueError for hyperparameters that the constructor refuses, and broken moments."""
    if not isinstance(state, dict) or not {"state", "param_groups"} <= set(state):
        raise ValueError(f"optimizer is {describe(state)}")
    groups, entries = state["param_groups"], state["state"]
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError(f"optimizer: param_groups is {describe(groups)}")
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise ValueError(f"optimizer: state is {describe(entries)}")
    ours = optimizer.param_groups
    kept = [
        _check_group(group, optimizer, ours[i]["params"] if i < len(ours) else [])
        for i, group in enumerate(groups)
    ]
    for number, entry in entries.items():
        for name, value in entry.items():
            _check_entry(name, value, f"optimizer: {describe(name)} of parameter {number!r:.40}")
    for group, names in zip(groups, kept, strict=True):
        for number, (expected, averaged) in zip(group["params"], names, strict=False):
            if isinstance(number, int | str):
                entry = entries.get(number) or {}
                _check_complete(entry, expected | averaged & set(entry), number)


def _check_group(
    group: dict[str, Any], optimizer: Optimizer, params: list[Tensor]
) -> list[tuple[set[str], set[str]]]:
    """Check the hyperparameters of a group, whose parameters are params.

    Returns what a step with them keeps of each of these, by name, and what its eval() adds; nothing
    for an optimizer that is not of this package, which may need another parameter than the one that
    is tried here.
    Raises: ValueError for a hyperparameter of another type, or one that the constructor refuses.
    """
    if not isinstance(group.get("params"), list):
        raise ValueError(f"optimizer: params is {describe(group.get('params'))}")
    for name, default in optimizer.defaults.items():  # flags came with later versions of PyTorch
        if type(default) in (int, float, tuple) and name not in group:
            raise ValueError(f"optimizer: {name} is missing")
    for name, value in group.items():
        default = optimizer.defaults.get(name)
        parts = value if isinstance(value, tuple) else (value,)
        none = isinstance(default, tuple) and None in default  # as in Adafactor's eps
        right = not isinstance(default, int | float | tuple) or all(
            isinstance(part, int | float)
            or (isinstance(part, Tensor) and part.numel() == 1)
            or (none and part is None)
            for part in parts
        )
        numbers = [part for part in parts if isinstance(part, int | float | Tensor)]
        finite = all(math.isfinite(float(part)) for part in numbers)
        if not right or not finite or isinstance(default, bool) and not isinstance(value, bool):
            raise ValueError(f"optimizer: {describe(name)} is {describe(value)}")
    accepted = inspect.signature(type(optimizer).__init__).parameters
    known = {name: value for name, value in group.items() if name in accepted}
    known.pop("params", None)
    more = {k: v for k, v in group.items() if k in optimizer.defaults and k not in accepted}
    dimensions = {p.ndim for p in params} or {1}
    names = {n: _names_kept(type(optimizer), known, more, n) for n in dimensions}
    return [names[p.ndim] for p in params]


def _names_kept(
    kind: type[Optimizer], options: dict[str, Any], more: dict[str, Any], dimensions: int
) -> tuple[set[str], set[str]]:
    """The names in the state of a parameter of so many dimensions, from a step of ours.

    The second set: names that it has only while an average is in the parameter, after eval().

    options: those of the constructor; more: those that only a group has.
    Raises: ValueError for hyperparameters that the constructor refuses.
    """
    parameter = Parameter(wrap(np.zeros((1,) * dimensions, np.float32)))
    trial = kind([{"params": [parameter], **more}], **options)
    if not kind.__module__.startswith(Optimizer.__module__.partition(".")[0]):
        return set(), set()
    parameter.grad = wrap(np.ones((1,) * dimensions, np.float32))
    trial.step()
    kept = set(trial.state[parameter])
    if hasattr(trial, "eval"):
        trial.eval()
    return kept, set(trial.state[parameter]) - kept


def _check_entry(name: Any, value: Any, where: str) -> None:
    """Raises: ValueError unless one entry of a parameter's state is finite numbers that fit."""
    if value is None and name == "momentum_buffer":
        return  # PyTorch writes it before the first step
    array = value.array if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise ValueError(f"{where} is {describe(value)}")
    finite = np.isfinite(array.astype(np.float32) if array.dtype.kind == "V" else array)
    if not finite.all():
        raise ValueError(f"{where} is infinite or not a number")
    if name == "step" and (array.ndim or array > _MOST_STEPS):
        raise ValueError(f"{where} is {describe(value)} of shape {array.shape}")
    if name in _NEVER_NEGATIVE and (array < 0).any():
        raise ValueError(f"{where} is negative")


def _check_complete(entry: dict[str, Any], names: set[str], number: int | str) -> None:
    """Raises: ValueError for a parameter with only a part of what a step keeps of it."""
    for name in names if entry else ():
        value = entry.get(name)
        if name == "momentum_buffer" and value is None:
            continue  # it is made when it is first needed
        if name not in entry or name != "step" and not isinstance(value, Tensor):
            raise ValueError(f"optimizer: {name} of parameter {number!r:.40} is {describe(value)}")


def _check_like(value: Any, expected: Any, where: str) -> None:
    """Check that a value has the types of another one, and finite numbers.

    Raises: ValueError with the place of the first that differs.
    """
    if isinstance(expected, dict):
        if not isinstance(value, dict) or set(value) != set(expected):
            raise ValueError(f"{where} should hold {', '.join(map(str, expected)) or 'nothing'}")
        for name in expected:
            _check_like(value[name], expected[name], f"{where}: {name}")
    elif isinstance(expected, list | tuple):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is {describe(value)}")
        for item in value:
            if expected:
                _check_like(item, expected[0], where)
    elif _is_number(expected):
        if (
            not _is_number(value)
            or not math.isfinite(value)
            or (isinstance(expected, int) and isinstance(value, float) and not value.is_integer())
        ):
            raise ValueError(f"{where} is {describe(value)}")
    elif expected is not None and value is not None and type(value) is not type(expected):
        raise ValueError(f"{where} is {describe(value)}")
