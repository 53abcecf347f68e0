"""Loops for an operand of rows or columns, and what the engine does with their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.arrays import parallel, twins
from tinygrad_llm.autograd import engine, leaves
from tinygrad_llm.ops import loops as folder

# x, the operand, and whether it has one number for each row (else each column)
OPERANDS = [
    ((6, 33), (6, 1), True), ((2, 5, 40), (2, 5, 1), True), ((2, 5, 40), (2, 1, 1), True),
    ((6, 33), (1, 1), True), ((6, 33), (), True), ((1, 6, 33), (6, 1), True),
    ((6, 33), (33,), False), ((2, 5, 40), (5, 40), False), ((2, 5, 40), (1, 1, 40), False),
    ((2, 5, 40), (1, 5, 40), False),
]  # fmt: skip
FUNCTIONS = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "add, small first": lambda x, y: y + x, "mul, small first": lambda x, y: y * x,
}  # fmt: skip
KERNELS = [
    folder.broadcast.add_rows, folder.broadcast.add_columns, folder.broadcast.multiply_rows,
    folder.broadcast.divide_rows, folder.arithmetic.multiply,
]  # fmt: skip


def both_ways(function, arrays, g, needs, monkeypatch):
    """The result and the gradients, with loops and without; and the classes that ran first."""
    results, ran = [], []
    for least in (0, twins.NEVER):
        monkeypatch.setattr(twins.large, "least", least)
        tensors = [
            tg.from_numpy(a.copy()).requires_grad_(need) if isinstance(a, np.ndarray) else a
            for a, need in zip(arrays, needs, strict=True)
        ]
        watch = lambda op, inputs, outputs: ran.append(type(op))  # noqa: E731
        engine.observers.append(watch)
        try:
            y = function(*tensors)
        finally:
            engine.observers.remove(watch)
        if any(needs):
            y.backward(tg.from_numpy(g.astype(y.detach().numpy().dtype)))
        grads = [t.grad.numpy() for t, need in zip(tensors, needs, strict=True) if need]
        results.append((y.detach().numpy(), grads))
    return results, ran[0]


def check(function, arrays, needs, dtype, monkeypatch):
    """Equal values and gradients of what is not summed; sums as CLOSENESS.md promises."""
    g = np.random.default_rng(2).standard_normal(arrays[0].shape)
    (got, expected), ran = both_ways(function, arrays, g, needs, monkeypatch)
    np.testing.assert_array_equal(got[0], expected[0])
    assert got[0].dtype == dtype
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for a, b in zip(got[1], expected[1], strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if a.shape == g.shape:
            np.testing.assert_array_equal(a, b)
        else:
            assert abs(a - b).max() <= bound * abs(b).max() + 1e-7
    return ran


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape, operand, of_rows", OPERANDS)
def test_an_operand(shape, operand, of_rows, name, needs, dtype, loops, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    y = np.asarray(rng.random(operand) + 0.5, dtype)
    ran = check(FUNCTIONS[name], [x, y], needs, dtype, monkeypatch)
    assert ran in folder.TWINS.values() or (name == "div" and not of_rows)


@pytest.mark.parametrize("number", [2, -0.1, 3e38, np.float64(0.3)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number(name, number, loops, monkeypatch):
    x = np.random.default_rng(0).standard_normal((6, 33)).astype("float32")
    check(FUNCTIONS[name], [x, number], (True, False), "float32", monkeypatch)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums_of_long_rows_are_numpys(name, loops, monkeypatch):
    """A plain sum of very many numbers has too few digits."""
    monkeypatch.setattr(folder.broadcast, "LONGEST", 32)
    for kernel in ("row_sums", "row_dots", "divide_rows_back"):
        monkeypatch.setattr(folder.broadcast, kernel, None)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 33)), rng.random((6, 1)) + 0.5
    ran = check(FUNCTIONS[name], [x, y], (True, True), "float64", monkeypatch)
    assert ran in folder.TWINS.values()


@pytest.mark.parametrize("operand", [(33,), (6, 1)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_narrow_rows_are_numpys(name, operand, loops, monkeypatch):
    monkeypatch.setattr(folder.broadcast, "NARROW", 34)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 33)), rng.random(operand) + 0.5
    ran = check(FUNCTIONS[name], [x, y], (True, True), "float64", monkeypatch)
    assert ran not in folder.TWINS.values()


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.function.__name__)
def test_every_core_may_begin_inside_a_row(kernel, loops):
    """Elements are shared, not rows: a part may begin and end anywhere."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(5 * 7), rng.random(7) + 0.5
    more = {"multiply": (7, 7, 0)}.get(kernel.function.__name__, (7,))
    if kernel.function.__name__.startswith("add"):
        more = (-1.0, 7)
    whole, parts = np.zeros(35), np.zeros(35)
    kernel.compiled(x, y, whole, *more, 0, 35)(x, y, whole, *more, 0, 35)
    for start, stop in ((0, 3), (3, 4), (4, 20), (20, 21), (21, 35)):
        kernel.compiled(x, y, parts, *more, 0, 35)(x, y, parts, *more, start, stop)
    np.testing.assert_array_equal(whole, parts)
    assert whole.all()


# --------------------------------------------------------------------------------- other loops
@pytest.mark.parametrize("shape", [(3, 8), (8,), (1, 1, 3, 8), (2, 4, 3, 8), (2, 1, 1, 8)])
@pytest.mark.parametrize("value", [-np.inf, 0, 7, 1e38])
def test_masks(shape, value, loops, monkeypatch):
    """The last dims of x, or all; a mask of other dims is NumPy's."""
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((2, 4, 3, 8)).astype("float32"), rng.random(shape) < 0.5

    def function(x):
        return x.masked_fill(tg.from_numpy(mask), value)

    ran = check(function, [x], (True,), "float32", monkeypatch)
    assert (ran in folder.TWINS.values()) == (shape != (2, 1, 1, 8))


def test_a_value_that_wants_a_gradient(loops, monkeypatch):
    rng = np.random.default_rng(0)
    x, mask, value = rng.standard_normal((4, 9)), tg.from_numpy(rng.random(9) < 0.5), np.array(2.0)
    check(lambda x, v: x.masked_fill(mask, v), [x, value], (True, True), "float64", monkeypatch)


LAYOUTS = {
    "plain": lambda a: a,
    "transposed": lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "heads": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1),
    "every other": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_products_of_matrices_that_lie_in_many_ways(first, second, sizes, loops):
    n, k, m = sizes
    rng = np.random.default_rng(0)
    a = LAYOUTS[first](rng.standard_normal((2, 3, n, k)))
    b = LAYOUTS[second](rng.standard_normal((2, 3, k, m)))
    g = rng.standard_normal((2, 3, n, m))
    x, y = tg.from_numpy(a).requires_grad_(), tg.from_numpy(b).requires_grad_()
    z = x @ y
    z.backward(tg.from_numpy(g))
    np.testing.assert_allclose(z.detach().numpy(), a @ b, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(x.grad.numpy(), g @ b.swapaxes(-1, -2), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(y.grad.numpy(), a.swapaxes(-1, -2) @ g, rtol=1e-12, atol=1e-13)
    usual = {"plain", "transposed", "heads"}
    if {first, second} <= usual:
        assert folder.matmul.serves(a, b)


def test_the_keys_gradient_is_in_row_order(loops):
    """Of q @ kᵀ: it needs no copy into another layout."""
    q, k = (tg.randn(2, 3, 5, 4).requires_grad_() for _ in range(2))
    *_, (op, g, grads) = [
        step for step in engine.backward_steps(q @ k.transpose(2, 3), tg.ones(2, 3, 5, 5))
    ]
    assert op.name == "permute" and grads[0].flags.c_contiguous


def test_added_in_place(loops, monkeypatch):
    """total += g: the same bits for every layout; a gradient with a number per row is a loop's."""
    rng, taken = np.random.default_rng(0), []
    monkeypatch.setattr(
        twins.twins.cpu, "add_into",
        lambda total, g: taken.append(folder.arithmetic.add_into(total, g)) or taken[-1],
    )  # fmt: skip
    repeated = np.broadcast_to(rng.standard_normal((3, 7, 1)), (3, 7, 9))
    plain = rng.standard_normal((3, 7, 9))
    across = np.ascontiguousarray(plain.T).T
    for g in (
        plain,
        repeated,
        across,
        plain.astype("float32"),
        np.broadcast_to(plain[0], (3, 7, 9)),
    ):
        total = rng.standard_normal((3, 7, 9))
        expected = total + g
        leaves.add_into(total, g)
        np.testing.assert_array_equal(total, expected)
    assert taken == [True, True, False, False, False]
    total = rng.standard_normal((3, 7, 9))
    expected = total + total
    leaves.add_into(total, total)
    np.testing.assert_array_equal(total, expected)
    monkeypatch.setattr(parallel, "_threads", 1)
    assert not folder.arithmetic.add_into(total, plain)


def test_the_variance_of_equal_numbers_is_exactly_0(loops):
    for number in (0.1, 1e30, -7.3):
        x = tg.full((20, 65), number)
        assert (x.var(-1) == 0).all() and (x.var(-1, keepdim=True, unbiased=False) == 0).all()
    assert (tg.full((4, 65), 1e30) * tg.linspace(-1, 1, 65)).var(-1).isfinite().logical_not().all()


def test_layer_norm_as_the_books_write_it(loops, monkeypatch):
    """All of its steps are loops, except those of one number for each row."""

    def norm(x, scale, shift):
        mean = x.mean(dim=-1, keepdim=True)
        var = x.var(dim=-1, keepdim=True, unbiased=False)
        return scale * ((x - mean) / (var + 1e-5) ** 0.5) + shift

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((2, 30, 48), (48,), (48,))]
    g = rng.standard_normal((2, 30, 48))
    (got, expected), _ = both_ways(norm, arrays, g, (True, True, True), monkeypatch)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-12, atol=1e-12)
    for a, b in zip(got[1], expected[1], strict=True):
        assert abs(a - b).max() <= 1e-12 * abs(b).max()


@pytest.mark.parametrize("ids", ["int64", "int32"])
def test_rows_of_a_table(ids, loops):
    table, rng = tg.randn(9, 40).requires_grad_(), np.random.default_rng(0)
    at = rng.integers(0, 9, (5, 7)).astype(ids)
    y = tg.nn.functional.embedding(tg.from_numpy(at), table, padding_idx=2)
    np.testing.assert_array_equal(y.detach().numpy(), table.detach().numpy()[at])
    y.backward(tg.ones(5, 7, 40))
    counts = np.bincount(at.reshape(-1), minlength=9).astype("float32")
    counts[2] = 0
    np.testing.assert_array_equal(table.grad.numpy(), counts[:, None] + np.zeros(40, "float32"))
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            tg.nn.functional.embedding(tg.tensor([[wrong] * 7]), table)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("dim", [1, 2])
def test_pieces_are_joined_by_a_loop(dim, dtype, loops, monkeypatch):
    """What the backward of split does: the same bits as NumPy's, in new memory."""
    monkeypatch.setattr(folder.arithmetic, "WORTH", 0)
    monkeypatch.setattr(parallel, "_threads", 3)
    rng, made = np.random.default_rng(0), []
    loop = folder.arithmetic.joined
    monkeypatch.setattr(
        twins.twins.cpu, "joined", lambda *args: made.append(loop(*args)) or made[-1]
    )
    for sizes in ((3, 3), (1, 5, 2), (4, 0, 3)):
        shapes = [(6, *((n, 7) if dim == 1 else (7, n))) for n in sizes]
        pieces = [(9 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]
        whole = tg.ops.shape.joined(pieces, dim)
        np.testing.assert_array_equal(whole, np.concatenate(pieces, dim))
        assert whole.dtype == dtype and not any(np.shares_memory(whole, a) for a in pieces)
        strided = [np.moveaxis(a, 0, 1).copy().swapaxes(0, 1) for a in pieces]
        np.testing.assert_array_equal(tg.ops.shape.joined(strided, dim), whole)
    assert [a is not None for a in made] == [dtype != "int64", False] * 3
    monkeypatch.setattr(parallel, "_threads", 1)
    assert loop(pieces, dim) is None


def test_split_backward_with_and_without_the_loop(loops, monkeypatch):
    """Halves of a wide array, one of which is used twice and one not at all."""
    monkeypatch.setattr(folder.arithmetic, "WORTH", 0)
    x = np.random.default_rng(0).standard_normal((4, 30, 24))
    grads = []
    for threads in (1, 3):
        monkeypatch.setattr(parallel, "_threads", threads)
        leaf = tg.from_numpy(x.copy()).requires_grad_()
        first, _, last = leaf.split(8, -1)
        (first.sin() * last * last).sum().backward()
        grads.append(leaf.grad.numpy())
    np.testing.assert_array_equal(*grads)
