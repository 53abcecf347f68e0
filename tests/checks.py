"""The checks that every op must pass. Each takes a row of cases.py and one call that it drew.

`op` may be another class that takes the place of the row's op, such as one with a wrong backward:
then check_gradient raises a GradcheckError whose `worst.excess` says how far off it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Call, Case, on_device
from draw import subsets

from tinygrad_llm.arrays.devices import to_numpy
from tinygrad_llm.arrays.memory import is_array, storage_of
from tinygrad_llm.autograd.engine import ENGINE_FIELDS, FREED, Op, backward_steps
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.tensor import Tensor, wrap

TOLERANCE = 1e-6  # of a gradient, absolute and relative, against finite differences


class Run:
    """One forward and backward: outputs, the op that was recorded, and its gradients."""

    def __init__(
        self,
        case: Case,
        call: Call,
        op: type[Op] | None = None,
        needs: tuple[int, ...] | None = None,
        dtype: str = "float64",
        convert: Any = None,  # applied to every array before it becomes an input
        upstream: Any = None,
    ) -> None:
        inputs, options = call
        self.needs = tuple(case.differentiable(inputs)) if needs is None else needs
        convert = convert or (lambda a: a)
        self.inputs = []
        for i, x in enumerate(inputs):
            if not is_array(x):
                self.inputs.append(x)
                continue
            x = x.astype(dtype) if x.dtype.kind == "f" else x
            tensor = wrap(convert(x))
            tensor.requires_grad = i in self.needs
            self.inputs.append(tensor)
        like = next((x.array for x in self.inputs if isinstance(x, Tensor)), None)
        y = case.run(op or case.op, *self.inputs, **on_device(options, like))
        self.outputs = list(y) if isinstance(y, tuple) else [y]
        self.op = self.outputs[0]._op
        if upstream is None:
            rng = np.random.default_rng(len(inputs))
            upstream = [np.asarray(rng.uniform(0.5, 1.5, o.shape) * rng.choice([-1, 1], o.shape))
                        for o in self.outputs]  # fmt: skip
        self.upstream = [
            convert(u.astype(o.array.dtype)) for u, o in zip(upstream, self.outputs, strict=True)
        ]

    def backward(self) -> list[Any]:
        """The op's own gradients, as it returns them, for the inputs that need one."""
        gs = tuple(self.upstream)
        grads = self.op.backward(gs[0] if len(gs) == 1 else gs)
        return list(grads) if isinstance(grads, tuple) else [grads]

    def gradients(self) -> dict[int, np.ndarray]:
        """The engine's gradients of the inputs that need one."""
        sums: dict[int, Any] = {}

        def collect(leaf: Tensor, g: Any, owned: bool) -> None:
            sums[id(leaf)] = g if id(leaf) not in sums else sums[id(leaf)] + g

        for _ in backward_steps(self.outputs, [wrap(u) for u in self.upstream], deliver=collect):
            pass
        return {i: to_numpy(sums[id(self.inputs[i])]) for i in self.needs}


def close(got: Any, expected: Any, what: str, tolerance: float = 1e-9) -> None:
    """Equal within a tolerance of the largest number; NaN where NaN is."""
    got, expected = to_numpy(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, should be {expected.shape}"
    finite = expected[np.isfinite(expected)] if expected.dtype.kind == "f" else expected
    scale = max(1.0, float(np.abs(finite).max())) if finite.size else 1.0
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=what)


def check_gradient(case: Case, call: Call, op: type[Op] | None = None) -> None:
    """∂L/∂input against finite differences, for a random upstream gradient."""
    inputs, options = call
    which = case.differentiable(inputs)
    if not which:
        return
    args = [wrap(x) if is_array(x) and i not in which else x for i, x in enumerate(inputs)]

    def fn(*xs: Any) -> Any:
        return case.run(op or case.op, *xs, **options)

    fn.__name__ = case.id
    gradcheck(fn, *args, atol=TOLERANCE, rtol=TOLERANCE)


def check_values(case: Case, call: Call, op: type[Op] | None = None) -> None:
    """The result against NumPy's expression, and against the slow twin with its gradient."""
    inputs, options = call
    run = Run(case, call, op)
    if case.oracle is not None:
        expected = case.oracle(*inputs, **options)
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert len(run.outputs) == len(expected), f"{case.id}: {len(run.outputs)} outputs"
        for i, (got, value) in enumerate(zip(run.outputs, expected, strict=True)):
            close(got.array, value, f"{case.id}: output {i}")
    if case.twin is not None:
        check_twin(case, call, run)


def check_twin(case: Case, call: Call, run: Run) -> None:
    twin = Run(Case(case.op, case.draw, constant=case.constant,
                    apply=lambda op, *xs, **options: case.twin(*xs, **options)), call,
               upstream=run.upstream)  # fmt: skip
    close(run.outputs[0].array, twin.outputs[0].array, f"{case.id}: the twin's result")
    if run.op is None or twin.op is None:
        return
    gradients, expected = run.gradients(), twin.gradients()
    for i in run.needs:
        close(
            gradients[i], expected[i], f"{case.id}: the twin's gradient of {case.name_of(i)}", 1e-7
        )


def check_dtype(case: Case, call: Call, dtype: str, op: type[Op] | None = None) -> None:
    """Small floats in, the same dtype out and for gradients; and about the same numbers."""
    if "dtype" in call[1]:
        call = call[0], {**call[1], "dtype": dtype}
    run, exact = Run(case, call, op, dtype=dtype), Run(case, call, op)
    for y, z in zip(run.outputs, exact.outputs, strict=True):
        assert y.array.dtype == dtype, f"{case.id}: {dtype} in, {y.array.dtype} out"
        if dtype == "float32":
            close(y.array, z.array, f"{case.id}: in float32", 2e-5)
    if run.op is None:
        return
    for i, g in enumerate(run.backward()):
        if i in run.needs and g is not None:
            assert g.dtype == dtype, f"{case.id}: {dtype} in, a {g.dtype} gradient of " + (
                case.name_of(i)
            )
    if dtype == "float32":
        exact.upstream = [u.astype(dtype).astype("float64") for u in run.upstream]
        expected, got = exact.gradients(), run.gradients()
        for i in run.needs:
            close(
                got[i], expected[i], f"{case.id}: the float32 gradient of {case.name_of(i)}", 5e-5
            )


def check_pure(case: Case, call: Call, op: type[Op] | None = None) -> None:
    """Neither forward nor backward changes an input, g, or what is saved."""
    run = Run(case, call, op)
    written = () if case.apply is None else (0,)  # write_view writes into its base
    for i, (x, before) in enumerate(zip(run.inputs, call[0], strict=True)):
        if is_array(before) and i not in written:
            assert x.array.tobytes() == before.tobytes(), f"{case.id}: forward changed input {i}"
    if run.op is None:
        return
    saved = [a.tobytes() if is_array(a) else None for a in run.op.saved]
    upstream = [u.tobytes() for u in run.upstream]
    first = [None if g is None else g.tobytes() for g in run.backward()]
    for u, before in zip(run.upstream, upstream, strict=True):
        assert u.tobytes() == before, f"{case.id}: backward changed g"
    for i, (a, before) in enumerate(zip(run.op.saved, saved, strict=True)):
        assert before is None or a.tobytes() == before, f"{case.id}: backward changed saved[{i}]"
    again = [None if g is None else g.tobytes() for g in run.backward()]
    assert first == again, f"{case.id}: a second backward of the same op returns something else"


def check_aliases(case: Case, call: Call, op: type[Op] | None = None) -> None:
    """Results and gradients share no memory with others, except views, and except g itself."""
    run = Run(case, call, op)
    cls = op or case.op
    arrays = [x.array for x in run.inputs if isinstance(x, Tensor)]
    if not cls.views and case.apply is None:
        for y in run.outputs:
            for a in arrays:
                assert not np.shares_memory(y.array, a), f"{case.id}: the result is an input's view"
    if run.op is None:
        return
    grads = [(i, g) for i, g in enumerate(run.backward()) if g is not None and i in run.needs]
    for n, (i, g) in enumerate(grads):
        if any(np.shares_memory(g, u) for u in run.upstream):
            continue  # g itself, or a view of it: the engine knows that it is borrowed
        name = case.name_of(i)
        for k, a in enumerate(run.op.saved):
            assert not is_array(a) or not np.shares_memory(g, a), (
                f"{case.id}: the gradient of {name} is saved[{k}]'s memory"
            )
        for a in arrays:
            assert not np.shares_memory(g, a), f"{case.id}: the gradient of {name} is an input's"
        for j, other in grads[n + 1 :]:
            assert not np.shares_memory(g, other), (
                f"{case.id}: the gradients of {name} and {case.name_of(j)} are one memory"
            )


def check_layouts(case: Case, call: Call, layout: str, op: type[Op] | None = None) -> None:
    """The same numbers in another memory layout, and read-only, have the same results."""
    inputs, options = call
    if layout == "broadcast":
        inputs = [np.broadcast_to(x.flat[:1].reshape((1,) * x.ndim), x.shape).copy()
                  if is_array(x) and x.size and x.dtype.kind == "f" else x
                  for x in inputs]  # fmt: skip
        if case.op.name in ("std", "extreme", "layer_norm", "norm", "maximum", "minimum",
                            "solve", "logabsdet"):  # fmt: skip
            return  # all values equal: a kink, or a singular matrix
    plain = Run(case, (inputs, options), op)
    if layout == "broadcast":
        plain.upstream = [np.ones_like(u) for u in plain.upstream]
    moved = Run(case, (inputs, options), op, convert=lambda a: laid_out(a, layout),
                upstream=plain.upstream)  # fmt: skip
    for y, z in zip(plain.outputs, moved.outputs, strict=True):
        close(z.array, y.array, f"{case.id}: {layout}", 1e-12)
    if plain.op is None:
        return
    expected, got = plain.gradients(), moved.gradients()
    for i in plain.needs:
        close(got[i], expected[i], f"{case.id}: {layout} gradient of {case.name_of(i)}", 1e-12)


LAYOUTS = ("strided", "reversed", "fortran", "broadcast")


def laid_out(a: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another order of memory; read-only."""
    if a.ndim == 0:
        b = a.copy()
    elif layout == "broadcast" and a.size and (a == a.flat[0]).all():
        b = np.broadcast_to(a.flat[0], a.shape)
    elif layout == "reversed":
        b = np.flip(np.flip(a).copy())
    elif layout == "fortran":
        b = np.array(a, order="F")
    else:
        wide = np.full([3 * n + 1 for n in a.shape], a.flat[0] if a.size else 0, a.dtype)
        b = wide[tuple(slice(1, 3 * n + 1, 3) for n in a.shape)]
        b[...] = a
    b.flags.writeable = False
    return b


def check_needs(case: Case, call: Call, op: type[Op] | None = None) -> None:
    """An input's gradient does not depend on which other inputs need one."""
    every = Run(case, call, op)
    if not every.needs:
        return
    expected = every.gradients()
    for which in subsets(every.needs)[1:]:
        got = Run(case, call, op, needs=which, upstream=every.upstream).gradients()
        for i in which:
            close(got[i], expected[i], f"{case.id}: {case.name_of(i)} when {which} need gradients",
                  1e-12)  # fmt: skip


def check_memory_bill(case: Case, call: Call, op: type[Op] | None = None) -> None:
    """`saved` is the whole bill: no other attribute keeps an array, and backward empties it."""
    run = Run(case, call, op)
    if run.op is None:
        return
    saved = {id(storage_of(a)) for a in run.op.saved if is_array(a)}
    for path, a in arrays_in(run.op):
        assert id(storage_of(a)) in saved, (
            f"{case.id}: {path}, {a.nbytes} bytes, is kept but not in saved"
        )
    op_instance, had = run.op, bool(run.op.saved)
    run.gradients()
    assert not had or op_instance.saved is FREED, f"{case.id}: saved survives backward"
    left = [path for path, _ in arrays_in(op_instance)]
    assert not left, f"{case.id}: {', '.join(left)} survive backward"


def arrays_in(op: Op) -> list[tuple[str, Any]]:
    """Every array that an op keeps outside `saved`, with the attributes that lead to it."""
    arrays: list[tuple[str, Any]] = []

    def visit(value: Any, path: str, depth: int) -> None:
        if is_array(value):
            arrays.append((path, value))
        elif isinstance(value, tuple | list):
            for i, v in enumerate(value):
                visit(v, f"{path}[{i}]", depth)
        elif depth and hasattr(value, "__dict__") and not isinstance(value, type):
            for k, v in vars(value).items():
                visit(v, f"{path}.{k}", depth - 1)

    for key, value in vars(op).items():
        if key not in ENGINE_FIELDS:
            visit(value, key, 2)
    return arrays


def check_device(case: Case, call: Call, device: str, op: type[Op] | None = None) -> None:
    """Another array library has the same results: no NumPy function is called in the op."""
    here = Run(case, call, op)
    there = Run(case, call, op, upstream=here.upstream,
                convert=lambda a: wrap(a).to(device).array)  # fmt: skip
    for y, z in zip(here.outputs, there.outputs, strict=True):
        close(z.array, y.array, f"{case.id}: on {device}")
        if case.op.name != "move":
            assert z.device.type == device, f"{case.id}: the result is on {z.device}"
    if here.op is None:
        return
    expected, got = here.gradients(), there.gradients()
    for i in here.needs:
        close(got[i], expected[i], f"{case.id}: gradient of {case.name_of(i)} on {device}")
