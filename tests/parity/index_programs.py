"""Random index tuples, read, written and differentiated here and by PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

DTYPES = ["float32", "float64", "int64", "uint8", "bool"]


def positions(rng: Any, n: int, shape: tuple[int, ...], wild: float) -> np.ndarray:
    """Positions along a dimension of size n, rarely one outside."""
    ids = rng.integers(-n, n, shape) if n else np.zeros(shape, "int64")
    if ids.size and rng.random() < wild:
        ids.flat[rng.integers(ids.size)] = n + int(rng.integers(3))
    return ids


def part(rng: Any, sizes: tuple[int, ...], ids_shape: tuple[int, ...]) -> tuple[str, Any, int]:
    """(kind, value, dimensions used) of one part of an index for dimensions of these sizes."""
    n = sizes[0] if sizes else int(rng.integers(3))
    kind = rng.choice(KINDS)
    if kind in ("None", "Ellipsis", "True", "False", "0-d mask", "0-d bytes"):
        return kind, bool(rng.random() < 0.8), 0
    if kind in ("int", "0-d tensor", "0-d int16", "numpy int", "numpy 0-d"):
        return kind, int(positions(rng, n, (), 0.02)), 1
    if kind in ("slice", "tensor slice"):
        ends = [None if rng.random() < 0.4 else int(rng.integers(-n - 1, n + 2)) for _ in range(2)]
        step = None if rng.random() < 0.6 else int(rng.integers(1, 4))
        if rng.random() < 0.01 and kind == "slice":
            step = int(rng.integers(-2, 1))
        return kind, (*ends, step), 1
    if kind in ("mask", "byte mask", "list mask", "numpy mask"):
        used = 2 if len(sizes) > 1 and kind in ("mask", "byte mask") and rng.random() < 0.4 else 1
        shape = list(sizes[:used]) or [n]
        if rng.random() < 0.03:
            shape[-1] += 1
        return kind, rng.random(shape) < 0.6, used
    shape = (len(rng.choice([0, 1, 2], 2)),) if kind == "range" else ids_shape
    if kind == "range":
        return kind, (0, min(n, 2)), 1
    if rng.random() < 0.3:
        shape = shape[1:] or (1,)
    if rng.random() < 0.02:
        shape = (*shape, 3)
    return kind, positions(rng, n, shape, 0.02), 1


KINDS = (
    ["None"] * 2 + ["Ellipsis"] * 3 + ["int"] * 5 + ["slice"] * 5 + ["tensor"] * 5 + ["mask"] * 2
    + ["True", "False", "0-d mask", "0-d bytes", "0-d tensor", "0-d int16", "numpy int"]
    + ["numpy 0-d", "tensor slice", "byte mask", "list mask", "numpy mask", "range", "list"]
    + ["int32", "int8", "numpy", "nested list"]
)  # fmt: skip


def made(lib: Any, kind: str, value: Any) -> Any:
    """A part of an index with the library's tensors."""
    if kind in ("None", "Ellipsis"):
        return None if kind == "None" else Ellipsis
    if kind in ("True", "False"):
        return kind == "True"
    if kind in ("slice", "tensor slice"):
        start, stop, step = value
        if kind == "tensor slice":
            start = start if start is None else lib.tensor(start)
            stop = stop if stop is None else lib.tensor([stop])
        return slice(start, stop, step)
    if kind == "range":
        return range(*value)
    if kind in ("list", "nested list", "list mask"):
        return value.tolist()
    if kind in ("int", "numpy int", "numpy 0-d", "numpy", "numpy mask"):
        return {"int": int, "numpy int": np.int64}.get(kind, np.asarray)(value)
    dtypes = {"0-d mask": "bool", "0-d bytes": "uint8", "0-d int16": "int16", "byte mask": "uint8",
              "mask": "bool", "int32": "int32", "int8": "int8"}  # fmt: skip
    return lib.from_numpy(np.array(value, dtypes.get(kind, "int64")))


def program(rng: Any) -> dict[str, Any]:
    """A tensor's numbers, an index, and what to do with them."""
    ndim = int(rng.choice([0, 1, 2, 2, 3, 3, 4]))
    shape = tuple(
        int(n) for n in rng.choice([0, 1, 2, 3, 3, 4, 5], ndim, p=[0.03] + [0.97 / 6] * 6)
    )
    left, parts = list(shape), []
    ids_shape = tuple(rng.integers(1, 4, int(rng.integers(1, 3))))
    while rng.random() < 0.8 and len(parts) < 6:
        kind, value, used = part(rng, tuple(left), ids_shape)
        if kind in ("Ellipsis",) and any(k == "Ellipsis" for k, _ in parts):
            continue
        if used > len(left) and rng.random() < 0.97:
            continue
        parts.append((kind, value))
        del left[:used]
        if kind == "Ellipsis":
            del left[: int(rng.integers(len(left) + 1))]
    bare = len(parts) == 1 and rng.random() < 0.7
    return {
        "shape": shape, "dtype": str(rng.choice(DTYPES, p=[0.4, 0.3, 0.1, 0.1, 0.1])),
        "parts": parts, "bare": bare, "action": str(rng.choice(["read", "write", "write"])),
        "value": str(rng.choice(["number", "same", "row", "ones", "0-d", "other dtype", "wrong"])),
        "transposed": bool(rng.random() < 0.2), "grad": bool(rng.random() < 0.5),
        "value_grad": bool(rng.random() < 0.5), "seed": int(rng.integers(2**31)),
    }  # fmt: skip


def value_for(lib: Any, p: dict[str, Any], shape: tuple[int, ...], rng: Any) -> Any:
    """What is written to a place of this shape: a number or a tensor."""
    kind, dtype = p["value"], p["dtype"]
    if kind == "number":
        return float(rng.choice([2.5, 3, 1])) if dtype[:5] == "float" else int(rng.integers(-3, 90))
    given = tuple(shape)
    if kind == "row":
        given = given[1:]
    elif kind == "ones":
        given = (1, *[1 if rng.random() < 0.3 else n for n in given])
    elif kind == "0-d":
        given = ()
    elif kind == "wrong":
        given = (*given[:-1], (given[-1] if given else 1) + 1)
    if kind == "other dtype":
        dtype = "float32" if dtype != "float32" else "float64"
    return lib.from_numpy(np.asarray(rng.integers(0, 50, given)).astype(dtype))


def run(lib: Any, p: dict[str, Any]) -> tuple[Any, ...]:
    """(arrays that result, error) of a program."""
    rng = np.random.default_rng(p["seed"])
    numbers = np.asarray(rng.integers(0, 100, p["shape"])).astype(p["dtype"])
    floating = p["dtype"][:5] == "float"
    x = leaf = lib.from_numpy(numbers)
    if p["grad"] and floating:
        leaf.requires_grad_(True)
        x = leaf * 1.0
    if p["transposed"] and x.ndim > 1:
        x = x.transpose(0, -1)
    leaves = [leaf] if leaf.requires_grad else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            index = tuple(made(lib, k, v) for k, v in p["parts"])
            index = index[0] if p["bare"] else index
            y = x[index]
            if p["action"] == "write":
                v = value_for(lib, p, tuple(y.shape), rng)
                if p["value_grad"] and floating and isinstance(v, lib.Tensor):
                    leaves.append(v.requires_grad_(True))
                x[index] = v
                y = x
            shares = y.numel() > 0 and _shares(y, x)
        except (IndexError, TypeError, ValueError, RuntimeError) as error:
            return [], error
    results = [y, lib.tensor([shares])]
    if y.requires_grad and y.numel():
        weights = np.asarray(rng.integers(1, 9, tuple(y.shape))).astype(p["dtype"])
        (y * lib.from_numpy(weights)).sum().backward()
        results += [z.grad if z.grad is not None else lib.zeros(()) for z in leaves]
    return [r.detach().numpy() for r in results], None


def _shares(y: Any, x: Any) -> bool:
    return np.shares_memory(y.detach().numpy(), x.detach().numpy())


def difference(ours: Any, theirs: Any, p: dict[str, Any]) -> str:
    """How the two libraries differ on a program; "" if they do not."""
    got, error = run(ours, p)
    expected, their_error = run(theirs, p)
    if (error is None) != (their_error is None):
        return f"here {error!r}, PyTorch {their_error!r}"
    if error is not None:
        same = isinstance(error, type(their_error)) or isinstance(their_error, type(error))
        return "" if same else f"here {error!r}, PyTorch {their_error!r}"
    for a, b in zip(got, expected, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype or not np.array_equal(a, b):
            return f"here {a.shape} {a.dtype}\n{a}\nPyTorch {b.shape} {b.dtype}\n{b}"
    return ""
