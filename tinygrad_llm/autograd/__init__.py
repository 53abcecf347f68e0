"""PyTorch's `autograd`: backward, grad, custom ops (Function), and gradcheck.

The engine is in engine.py. `finite_differences` holds gradcheck in full: a module named gradcheck
would hide PyTorch's function `autograd.gradcheck`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..arrays.devices import asarray
from ..arrays.silence import quiet
from ..tensor import Tensor, wrap
from .engine import accumulate, backward_steps
from .grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled

if TYPE_CHECKING:
    from . import anomaly_mode, function
    from .anomaly_mode import detect_anomaly, set_detect_anomaly
    from .function import Function

__all__ = [
    "Function",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "grad",
    "gradcheck",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]


class _IsTensor(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_IsTensor):
    """The name of a tensor with a gradient before PyTorch 0.4: Variable(x) is a tensor of x's data.

    isinstance(x, Variable) is true for every tensor.
    """

    def __new__(cls, data: Any, requires_grad: bool = False, volatile: Any = None) -> Any:
        x = data.detach()
        return x.requires_grad_() if requires_grad else x


@quiet
def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, inputs: Any = None,
) -> None:  # fmt: skip
    """Fill .grad of the leaves that one tensor, or each of several, was made from.

    grad_tensors holds ∂L/∂tensor for each; None is enough for a tensor of one element. `inputs`
    are the tensors whose .grad is wanted, leaves or not; no other .grad changes.
    Raises: RuntimeError as Tensor.backward.
    """
    if create_graph:
        raise RuntimeError("create_graph=True: there is no double backward here")
    one = isinstance(tensors, Tensor)
    roots = [tensors] if one else list(tensors)
    given = [grad_tensors] if one or grad_tensors is None else list(grad_tensors)
    given += [None] * (len(roots) - len(given))
    if one and isinstance(given[0], tuple | list):
        given = list(given[0])
    if inputs is None:
        for _ in backward_steps(roots, given, bool(retain_graph)):
            pass
        return
    targets = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not targets:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    gradients = grad(roots, targets, given, bool(retain_graph), allow_unused=True)
    for tensor, g in zip(targets, gradients, strict=True):
        if g is not None:
            accumulate(tensor, g.array, True)


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool = False,
    create_graph: bool = False, allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """∂outputs/∂inputs as a tuple of tensors; no .grad changes.

    Inputs may be any tensors of the graph, leaves or not.
    Raises: RuntimeError if one was not used, unless allow_unused, and for create_graph=True (there
    is no double backward).
    """
    if create_graph:
        raise RuntimeError("create_graph=True: there is no double backward here")
    targets = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not all(t.requires_grad for t in targets):
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    sums: dict[int, Any] = {}
    keep = {id(t) for t in targets}

    def collect(tensor: Tensor, g: Any, owned: bool) -> None:
        if id(tensor) in keep:
            before = sums.get(id(tensor))
            sums[id(tensor)] = g.copy() if before is None else asarray(before + g, g)

    extra: dict[int, dict[int, Tensor]] = {}
    for t in targets:
        if t._op is not None:
            extra.setdefault(t._op.order, {})[t._out] = t
    for _ in backward_steps(outputs, grad_outputs, retain_graph, collect, extra=extra):
        pass
    unused = [i for i, t in enumerate(targets) if id(t) not in sums]
    if unused and not allow_unused:
        raise RuntimeError(
            f"One of the differentiated Tensors appears to not have been used in the graph: input "
            f"{unused[0]}. Set allow_unused=True if this is the desired behavior."
        )
    return tuple(wrap(sums[id(t)]) if id(t) in sums else None for t in targets)


def gradcheck(
    func: Any, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:  # fmt: skip
    """Whether func's gradients agree with finite differences; inputs is a tensor or a tuple.

    The tensors that require grad must be float64. This is PyTorch's form of
    `finite_differences.gradcheck`, which has more options and says what it raises.
    """
    from .finite_differences import gradcheck as check

    given = inputs if isinstance(inputs, tuple | list) else (inputs,)
    return check(func, *given, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)


def __getattr__(name: str) -> Any:
    if name in ("Function", "function"):  # when first wanted: it takes time to import
        function = importlib.import_module(".function", __name__)
        globals().update(Function=function.Function, function=function)
        return globals()[name]
    if name in ("anomaly_mode", "detect_anomaly", "set_detect_anomaly"):
        anomaly_mode = importlib.import_module(".anomaly_mode", __name__)
        return anomaly_mode if name == "anomaly_mode" else getattr(anomaly_mode, name)
    from ..tensor.missing_names import missing

    raise missing(__name__, name, __all__)
