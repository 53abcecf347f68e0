"""Run one expression here and by PyTorch: the same values, dtypes, gradients and errors."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_llm
from tinygrad_llm.autograd.engine import observers

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}
HALF = {"torch.float16": 4e-3, "torch.bfloat16": 3e-2}  # of results, and of what flows through


def run(lib: Any, fn: Any, arrays: Any, watch: Any) -> tuple[list, list, Exception | None]:
    """(results, gradients, error) of fn(lib, *tensors); `watch` sees the ops within fn."""
    tensors = []
    for a in arrays:
        t = lib.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a
        tensors.append(t.requires_grad_() if isinstance(a, np.ndarray) and floating(t) else t)
    observers.append(watch)
    try:
        y = fn(lib, *tensors)
    except Exception as error:
        return [], [], error
    finally:
        observers.remove(watch)
    outs = list(flat(lib, y))
    total = None
    for i, o in enumerate(outs):
        if o.requires_grad:
            u = np.random.default_rng(i).uniform(0.5, 1.5, tuple(o.shape))
            part = (o * lib.from_numpy(np.asarray(u)).to(o.dtype)).sum().to(lib.float64)
            total = part if total is None else total + part
    if total is not None:
        total.backward()
    grads = [t.grad for t, a in zip(tensors, arrays, strict=True)
             if isinstance(a, np.ndarray) and floating(t)]  # fmt: skip
    return outs, grads, None


def floating(t: Any) -> bool:
    return t.is_floating_point()


def flat(lib: Any, value: Any) -> Any:
    if isinstance(value, lib.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for v in value:
            yield from flat(lib, v)
    else:
        yield lib.tensor(value)


def agree(torch: Any, fn: Any, *arrays: Any) -> set[str]:
    """Assert that both give the same; the names of the ops that took part here."""
    seen: set[str] = set()

    def watch(op: Any, inputs: Any, results: Any) -> None:
        seen.add(op.name)

    arrays = [np.asarray(a) if isinstance(a, np.generic) else a for a in arrays]
    theirs, their_grads, their_error = run(torch, fn, arrays, watch)
    ours, grads, error = run(tinygrad_llm, fn, arrays, watch)
    if their_error is not None:
        assert error is not None, f"PyTorch raises {their_error!r}"
        assert isinstance(error, type(their_error)), f"{error!r}, but PyTorch {their_error!r}"
        return seen
    if error is not None:
        raise error
    assert len(ours) == len(theirs)
    loose = 0.0
    for i, (y, z) in enumerate(zip(ours, theirs, strict=True)):
        assert str(y.dtype) == str(z.dtype), f"result {i} is {y.dtype}, PyTorch's is {z.dtype}"
        assert y.requires_grad == z.requires_grad, f"result {i}: requires_grad {y.requires_grad}"
        half = HALF.get(str(z.dtype))
        if half:
            y, z, loose = y.float(), z.float(), max(loose, half)
        equal(y.detach().numpy(), z.detach().numpy(), f"result {i}", loose)
    for i, (g, h) in enumerate(zip(grads, their_grads, strict=True)):
        if g is None or h is None:
            nothing = (g is None or not g.numpy().any()) and (h is None or not h.numpy().any())
            assert nothing, f"gradient {i} is {g}, PyTorch's is {h}"
            continue
        assert str(g.dtype) == str(h.dtype), f"gradient {i} is {g.dtype}, PyTorch's is {h.dtype}"
        equal(g.numpy(), h.numpy(), f"gradient {i}", loose)
    return seen


def equal(got: np.ndarray, expected: np.ndarray, what: str, loose: float = 0.0) -> None:
    """Equal within the dtype's tolerance of the largest number, infinities and NaN included."""
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, PyTorch's is {expected.shape}"
    tolerance = max(loose, TOLERANCE.get(str(expected.dtype), 0.0))
    finite = np.abs(expected[np.isfinite(expected)]) if tolerance else np.zeros(0)
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale, err_msg=what)
