"""Anomaly detection: the first op whose backward returns NaN, and the line that called its forward.

    with torch.autograd.set_detect_anomaly(True):
        loss = model(x).sum()
        loss.backward()     # RuntimeError: Function 'SqrtBackward0' returned nan values ...

The error comes with a warning that shows where the op's forward was called. It costs a pass over
every gradient, and the forward has to run within it too: use it to find a mistake, not to train.
"""

from __future__ import annotations

import traceback
import warnings
import weakref
from pathlib import Path
from typing import Any

from ..arrays.devices import to_numpy, xp_of
from ..arrays.memory import is_array
from ..tensor.grad_fn_names import grad_fn_name
from .engine import Op, backward_observers, observers

__all__ = [
    "detect_anomaly",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "set_detect_anomaly",
]

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_calls: Any = weakref.WeakKeyDictionary()  # op: its name in PyTorch, the lines that called it
_check = True  # whether NaN is an error


def _note_call(op: Op, inputs: tuple, results: Any) -> None:
    """After a forward: note who called it, if the op is recorded."""
    if not op.edges:
        return
    stack = [f for f in traceback.extract_stack() if not f.filename.startswith(_PACKAGE)]
    _calls[op] = grad_fn_name(results[0]), stack


def _refuse_nan(op: Op, g: Any, grads: tuple) -> None:
    """After a backward: look at the gradients that are wanted.

    Raises: RuntimeError if one holds NaN.
    """
    if not _check:
        return
    for i, (edge, grad) in enumerate(zip(op.edges, grads, strict=False)):
        if edge is None or not is_array(grad) or not grad.size:
            continue
        if bool(to_numpy(xp_of(grad).isnan(grad).any())):
            name, stack = _calls.get(op, (repr(op)[1:-1], None))
            where = (
                "No forward pass information available. Enable detect anomaly during forward pass "
                "for more information."
                if stack is None
                else "Traceback of forward call that caused the error:\n"
                + "".join(traceback.format_list(stack))
            )
            warnings.warn(f"Error detected in {name}. {where}", stacklevel=2)
            raise RuntimeError(f"Function '{name}' returned nan values in its {i}th output.")


def _set(enabled: bool, check_nan: bool) -> None:
    """Watch every op from now on, or no longer."""
    global _check
    _check = check_nan
    if enabled == is_anomaly_enabled():
        return
    if enabled:
        observers.append(_note_call)
        backward_observers.append(_refuse_nan)
    else:
        observers.remove(_note_call)
        backward_observers.remove(_refuse_nan)


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return _refuse_nan in backward_observers


def is_anomaly_check_nan_enabled() -> bool:
    """Whether NaN in a gradient is an error while anomaly detection is on."""
    return _check


class set_detect_anomaly:
    """Turn anomaly detection on or off: from now on, or within a `with`.

    mode       whether it is on
    check_nan  whether NaN in a gradient is an error
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = is_anomaly_enabled(), _check
        self.mode, self.check_nan = bool(mode), bool(check_nan)
        _set(self.mode, self.check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        _set(*self.before)


class detect_anomaly(set_detect_anomaly):
    """Anomaly detection within a `with`.

    check_nan  whether NaN in a gradient is an error
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.before = is_anomaly_enabled(), _check
        self.mode, self.check_nan = True, bool(check_nan)

    def __enter__(self) -> None:
        self.before = is_anomaly_enabled(), _check
        _set(True, self.check_nan)
