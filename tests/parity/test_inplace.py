"""Random programs of views and in-place changes, run here and by PyTorch.

For every program the values and the gradients must be PyTorch's, or there must be an error: never a
wrong gradient.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm

torch = pytest.importorskip("torch")

SHAPE = (3, 4)

# Each step takes the library, the tensors made so far and two of them, and may add one.
STEPS = {
    "select": lambda t, a, b, n: a[n % a.shape[0]],
    "slice": lambda t, a, b, n: a[n % 2 :],
    "columns": lambda t, a, b, n: a[..., n % 2 :: 2],
    "transpose": lambda t, a, b, n: a.transpose(0, -1),
    "reshape": lambda t, a, b, n: a.reshape(-1),
    "view of a view": lambda t, a, b, n: a[1:][0],
    "expand": lambda t, a, b, n: a.unsqueeze(0).expand(2, *a.shape),
    "narrow": lambda t, a, b, n: a.narrow(0, n % a.shape[0], 1),
    "clone": lambda t, a, b, n: a.clone(),
    "detach": lambda t, a, b, n: a.detach(),
    "exp": lambda t, a, b, n: (a * 0.1).exp(),
    "mul": lambda t, a, b, n: a * b,
    "add": lambda t, a, b, n: a + b,
    "square": lambda t, a, b, n: a * a,
    "weight": lambda t, a, b, n: a * (0.5 + n),
    "fancy": lambda t, a, b, n: a[t.tensor([0, 0, n % a.shape[0]])],
    "add_": lambda t, a, b, n: a.add_(b),
    "mul_": lambda t, a, b, n: a.mul_(b),
    "mul_ number": lambda t, a, b, n: a.mul_(0.5),
    "exp_": lambda t, a, b, n: a.mul_(0.1).exp_(),
    "zero_": lambda t, a, b, n: a.zero_(),
    "copy_": lambda t, a, b, n: a.copy_(b),
    "set row": lambda t, a, b, n: a.__setitem__(n % a.shape[0], 0.25),
    "set part": lambda t, a, b, n: a.__setitem__(slice(1, None), b[1:]),
    "add to row": lambda t, a, b, n: _iadd(a, n % a.shape[0], b),
    "masked_fill_": lambda t, a, b, n: a.masked_fill_(a.detach() > 0.3456, 0.7),
    "no_grad add_": lambda t, a, b, n: _within_no_grad(t, a),
}


READS_AND_WRITES = ("add_", "mul_", "copy_", "set part", "add to row")


def _iadd(a, i, b):
    a[i] += b[0]


def _within_no_grad(t, a):
    with t.no_grad():
        a.add_(1.0)


def run(t, leaves, program):
    """The program's tensors, its loss, and the leaves; None for a step that raised."""
    tensors = [leaf * 1.0 if needs else leaf.clone() for leaf, needs in leaves]
    errors = []
    for name, i, j, n in program:
        a, b = tensors[i % len(tensors)], tensors[j % len(tensors)]
        if name in READS_AND_WRITES and a.shape != b.shape:
            if np.shares_memory(a.detach().numpy(), b.detach().numpy()):
                continue  # PyTorch reads what it has just written
        try:
            got = STEPS[name](t, a, b, n)
        except (RuntimeError, IndexError, ValueError, ZeroDivisionError) as error:
            errors.append((name, str(error)))
            continue
        if got is not None and not name.endswith("_") and all(got is not x for x in tensors):
            tensors.append(got)
    return tensors, errors


def start(t):
    """Two leaves that require grad and a tensor that does not."""
    rows = np.linspace(-0.5, 0.6, 12).reshape(SHAPE)
    x = t.tensor(rows.tolist(), dtype=t.float64, requires_grad=True)
    w = t.tensor((0.3 * rows + 0.2).tolist(), dtype=t.float64, requires_grad=True)
    plain = t.tensor((1.0 - rows).tolist(), dtype=t.float64)
    return [(x, True), (w, True), (plain, False)]


def total(tensors, weight):
    """A loss of most of the tensors, each with a different factor."""
    chosen = [x for i, x in enumerate(tensors) if i % 4 != weight or i == len(tensors) - 1]
    return sum((x * (i + 1.0)).sum() for i, x in enumerate(chosen))


def assert_slope(leaves, program, weight):
    """The gradients against finite differences of the whole program."""
    if any(name == "detach" for name, *_ in program):
        return  # a write through it changes values without a history, as it should
    for k in range(2):
        for place in np.ndindex(*SHAPE):
            ends = []
            for step in (1e-6, -1e-6):
                moved = start(tinygrad_llm)
                moved[k][0].array[place] += step
                ends.append(total(run(tinygrad_llm, moved, program)[0], weight).item())
            derivative = (ends[0] - ends[1]) / 2e-6
            g = leaves[k][0].grad
            assert abs((0.0 if g is None else g.array[place]) - derivative) < 1e-5 * max(
                1, abs(derivative)
            )


steps = st.tuples(
    st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)
)


programs = st.lists(steps, min_size=1, max_size=8)
expanded = pytest.mark.filterwarnings("ignore:Use of masked_fill_ on expanded")


@expanded
@settings(max_examples=settings().max_examples * 15)
@given(program=programs, weight=st.integers(0, 3))
def test_never_a_wrong_gradient(program, weight):
    check(program, weight)


@pytest.mark.slow
@expanded
@settings(max_examples=5_000, derandomize=False)
@given(program=programs, weight=st.integers(0, 3))
def test_never_a_wrong_gradient_in_many_more_programs(program, weight):
    check(program, weight)


def check(program, weight):
    """The same values and gradients as PyTorch's, or an error."""
    ours, theirs = start(tinygrad_llm), start(torch)
    got, my_errors = run(tinygrad_llm, ours, program)
    want, their_errors = run(torch, theirs, program)
    if [name for name, _ in my_errors] != [name for name, _ in their_errors]:
        # Here a write may read the memory that it changes: the new values are computed first.
        # In PyTorch zero_ and copy_ may write into a tensor that repeats its elements.
        more = my_errors if len(my_errors) > len(their_errors) else their_errors
        # There a view that did not require grad before its base did counts as a leaf.
        refused = ("single memory location", "memory is read-only", "a leaf Variable")
        assert any(r in text for _, text in more for r in refused), (my_errors, their_errors)
        return
    mine, other = total(got, weight), total(want, weight)
    assert mine.item() == pytest.approx(other.item(), rel=1e-12, abs=1e-12)
    try:
        if mine.requires_grad:
            mine.backward()
    except RuntimeError as error:
        assert "inplace" in str(error), error
        with pytest.raises(RuntimeError, match="inplace"):
            other.backward()
        return
    try:
        if other.requires_grad:
            other.backward()
    except RuntimeError as error:
        # An in-place op of PyTorch saves its result, which is in the memory of the tensor; ours
        # saves a copy, and can compute backward after further changes.
        assert "inplace" in str(error), error
        assert_slope(ours, program, weight)
        return
    for (leaf, _), (their_leaf, _) in zip(ours[:2], theirs[:2], strict=True):
        g = np.zeros(SHAPE) if leaf.grad is None else leaf.grad.numpy()
        want_g = np.zeros(SHAPE) if their_leaf.grad is None else their_leaf.grad.numpy()
        np.testing.assert_allclose(g, want_g, atol=1e-10)
