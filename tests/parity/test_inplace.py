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
    "diagonal": lambda t, a, b, n: a.diagonal(n % 2, 0, -1),
    "squeeze": lambda t, a, b, n: a[:1].squeeze(0),
    "view": lambda t, a, b, n: a.view(-1, a.shape[-1]),
    "sub_": lambda t, a, b, n: a.sub_(b),
    "div_ number": lambda t, a, b, n: a.div_(2.0),
    "clamp_": lambda t, a, b, n: a.clamp_(-0.7432, 0.9123 + n),
    "fill_": lambda t, a, b, n: a.fill_(0.5 * n),
    "fill_ 0-d": lambda t, a, b, n: a.fill_(b.sum() * 0.01),
    "neg_": lambda t, a, b, n: a.neg_(),
    "iadd": lambda t, a, b, n: a.__iadd__(b),
    "imul number": lambda t, a, b, n: a.__imul__(1.5),
    "set ids": lambda t, a, b, n: a.__setitem__(t.tensor([n % a.shape[0]]), b[:1] * 1.0),
    "set ids number": lambda t, a, b, n: a.__setitem__((..., t.tensor([0, -1])), 0.25 * n),
    "set int and ids": lambda t, a, b, n: a.__setitem__((0, ..., t.tensor([0, 0])), 0.125 * n),
    "set mask": lambda t, a, b, n: a.__setitem__(a.detach() > 0.2345, 0.75),
    "set mask 0-d": lambda t, a, b, n: a.__setitem__(a.detach() < 0.1234, b.sum() * 0.01),
    "set element": lambda t, a, b, n: a.__setitem__((-1,) * a.ndim, b.sum() * 0.1),
    "set 0-d": lambda t, a, b, n: a.__setitem__(0, a[-1].sum() * 0.1),
    "set last columns": lambda t, a, b, n: a.__setitem__((..., slice(1, None)), b[..., 1:]),
    "add to element": lambda t, a, b, n: _iadd_one(a, n),
    "add to ids": lambda t, a, b, n: _iadd_ids(t, a, n),
    "index_add_": lambda t, a, b, n: a.index_add_(0, t.tensor([0, 0]), _two(t, b)),
    "index_copy_": lambda t, a, b, n: a.index_copy_(0, t.tensor([n % a.shape[0]]), b[:1] * 2.0),
    "index_fill_": lambda t, a, b, n: a.index_fill_(-1, t.tensor([n % a.shape[-1]]), 0.3),
    "index_put_": lambda t, a, b, n: a.index_put_((t.tensor([0, 0]),), b[0] * 0.5, True),
    "scatter_": lambda t, a, b, n: a.scatter_(0, _zeros(t, a)[:1], b.expand_as(a)[:1] * 1.0),
    "scatter_add_": lambda t, a, b, n: a.scatter_add_(0, _zeros(t, a), b.expand_as(a) * 0.5),
    "masked_scatter_": lambda t, a, b, n: a.masked_scatter_(
        a.detach() > 0.1111, b.reshape(-1).repeat(24)
    ),
    "masked_fill_ 0-d": lambda t, a, b, n: a.masked_fill_(a.detach() > 0.5432, b.sum() * 0.1),
}


READS_AND_WRITES = (
    "add_", "mul_", "copy_", "set part", "add to row", "sub_", "iadd", "set last columns",
)  # fmt: skip


def _iadd_one(a, n):
    a[(n % a.shape[0],) + (0,) * (a.ndim - 1)] += 0.5


def _iadd_ids(t, a, n):
    a[t.tensor([n % a.shape[0]])] += 0.25


def _zeros(t, a):
    return t.zeros(a.shape, dtype=t.int64)


def _two(t, b):
    return t.stack([b[0], b[0] * 2.0])


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
        if name in READS_AND_WRITES and _reads_what_it_writes(name, a.detach(), b.detach()):
            continue
        if name in ("fill_", "fill_ 0-d", "zero_", "index_fill_", *ADVANCED) and _repeats(a):
            continue  # PyTorch writes them into memory that several elements share
        try:
            got = STEPS[name](t, a, b, n)
        except (RuntimeError, IndexError, ValueError, ZeroDivisionError) as error:
            errors.append((name, str(error)))
            continue
        if got is not None and not name.endswith("_") and all(got is not x for x in tensors):
            tensors.append(got)
    return tensors, errors


ADVANCED = [name for name in STEPS if name.startswith(("set ", "index", "masked", "scatter"))]


def _repeats(a):
    return any(s == 0 and n > 1 for s, n in zip(a.stride(), a.shape, strict=True))


def _reads_what_it_writes(name, a, b):
    """Whether b shows some of a's memory, and one has gaps: PyTorch sees overlaps of others only,
    and reads here what it has just written."""
    a, b = a.numpy(), b.numpy()
    if name == "set part" and a.ndim and b.ndim:
        a, b = a[1:], b[1:]
    elif name == "set last columns" and a.ndim and b.ndim:
        a, b = a[..., 1:], b[..., 1:]
    elif name == "add to row" and a.ndim and b.ndim:
        a, b = a[0], b[0]
    if not np.shares_memory(a, b):
        return False
    same = a.shape == b.shape and a.strides == b.strides and a.ctypes.data == b.ctypes.data
    return not same and not (_dense(a) and _dense(b) and a.shape == b.shape)


def _dense(a):
    length = sum((n - 1) * s for n, s in zip(a.shape, a.strides, strict=True)) + a.itemsize
    return all(s > 0 or n < 2 for n, s in zip(a.shape, a.strides, strict=True)) and (
        length == a.nbytes
    )


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


def random_program(rng):
    names = sorted(STEPS)
    n = int(rng.integers(1, 10))
    return [
        (names[rng.integers(len(names))], *[int(k) for k in rng.integers(0, (10, 10, 4))])
        for _ in range(n)
    ]


def check_programs(seed, n):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        program, weight = random_program(rng), int(rng.integers(4))
        try:
            check(program, weight)
        except Exception as error:
            raise AssertionError(f"{program}, {weight}: {error}") from error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_random_programs(seed):
    check_programs(seed, 300)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_more_random_programs(seed):
    check_programs(seed, 2_000)


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
