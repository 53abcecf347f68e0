"""Few numbers take shorter ways through the code: they return what the longer ways return."""

import warnings

import numpy as np
import pytest

import tinygrad_llm as tl
from tinygrad_llm.arrays import blas, ids, indexing, matmul, parallel, reductions
from tinygrad_llm.arrays.silence import is_silent, quiet, silently
from tinygrad_llm.autograd import engine

F = tl.nn.functional


# ------------------------------------------------------------------------------------ silence
def test_quiet_functions_may_be_nested_and_leave_the_callers_settings():
    zero, seen = np.zeros(2), []

    @quiet
    def inner():
        seen.append(is_silent())
        return 1.0 / zero

    @quiet
    def outer():
        return inner()

    with np.errstate(all="warn"), warnings.catch_warnings():
        warnings.simplefilter("error")
        before = np.geterr()
        assert np.isinf(outer()).all()
        assert np.isinf(inner()).all()
        assert np.isnan(silently(np.divide, zero, zero)).all()
        assert seen == [True, True]
        assert not is_silent()
        assert np.geterr() == before
        with pytest.raises(RuntimeWarning):
            1.0 / zero  # noqa: B018


def test_an_error_ends_the_silence():
    @quiet
    def failing():
        raise KeyError("x")

    with pytest.raises(KeyError):
        failing()
    assert not is_silent()


# ---------------------------------------------------------------------------------- ids, index
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("n", [0, 1, 64, 65, 300])
def test_ids_are_examined_alike_at_any_size(n, dtype):
    numbers = np.arange(n).astype(dtype) % 7
    assert ids.all_within(numbers, 7)
    assert ids.seen_within(numbers, 7)
    if n:
        assert ids.smallest_and_largest(numbers) == (0, min(n, 7) - 1)
        numbers[n // 2] = 7
        assert not ids.all_within(numbers, 7)
        if dtype != "uint8":
            numbers[n // 2] = -1
            assert not ids.all_within(numbers, 7)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_sort_topk_and_gather_are_the_same_with_and_without_a_gradient(shape):
    x = tl.randn(*shape)
    w = x.clone().requires_grad_()
    for dim in range(len(shape)):
        order = x.argsort(dim)
        calls = [
            lambda t, dim=dim: tl.sort(t, dim, descending=True),
            lambda t, dim=dim: tl.topk(t, 2, dim),
            lambda t, dim=dim, order=order: (t.gather(dim, order), order),
        ]
        for call in calls:
            (values, places), (other, other_places) = call(x), call(w)
            assert other.requires_grad and not values.requires_grad
            assert tl.equal(values, other.detach()) and tl.equal(places, other_places)
            assert values.is_contiguous()


def test_what_is_remembered_is_not_handed_out():
    """Steps and row starts are kept for the next call: a result shares no memory with them."""
    x = tl.randn(4, 5)
    index = tl.tensor([[0], [1], [2], [3]])
    first = x.gather(1, index)
    first.zero_()
    assert tl.equal(x.gather(1, index)[:, 0], x[tl.arange(4), tl.arange(4)])
    assert indexing.row_starts(np.zeros((3, 5))).tolist() == [0, 5, 10]


# ------------------------------------------------------------------------------------ products
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, k, m", [(1, 1, 1), (1, 9, 4), (5, 1, 3), (7, 30, 6), (33, 6, 27)])
def test_small_products_equal_numpys_to_the_last_bit(n, k, m, dtype):
    rng = np.random.default_rng(0)
    for a, b in (
        (rng.standard_normal((n, k)), rng.standard_normal((k, m))),
        (rng.standard_normal((k, n)).T, rng.standard_normal((m, k)).T),
        (rng.standard_normal((n, 2 * k))[:, ::2], rng.standard_normal((k, m))),
        (np.full((n, k), -0.0), np.ones((k, m))),
    ):
        a, b = a.astype(dtype, order="K"), b.astype(dtype, order="K")
        assert matmul._dot(a, b).tobytes() == (a @ b).tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (4, 5), (40, 33), (3000, 7)])
def test_sums_of_rows_equal_products_with_ones(shape):
    for x in (np.random.default_rng(1).standard_normal(shape), np.full(shape, -0.0)):
        expected = (x @ np.ones(shape[1]))[:, None]
        assert reductions.sum_along(x).tobytes() == expected.tobytes()
        np.testing.assert_allclose(reductions.row_sum(x), x.sum(0), rtol=1e-10, atol=1e-12)


def test_few_rows_are_one_block():
    def rows_of(n):
        x = np.zeros((n, 8), np.float32)
        return parallel.over_row_blocks(x, x, np.zeros(n))(lambda x, y: (len(x), len(y)))

    assert rows_of(3) == [(3, 3)]
    assert rows_of(blas.FEW) == [(blas.FEW, blas.FEW)]
    assert sum(n for n, _ in rows_of(100_000)) == 100_000


# -------------------------------------------------------------------------------------- losses
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rows, classes", [(1, 1), (4, 5), (65, 30), (3000, 3)])
def test_targets_that_all_count_equal_those_of_weight_one(rows, classes, reduction):
    """Without weights, smoothing and ignored targets no mask is made: equal to the last bit, except
    for cross_entropy's mean, whose few numbers are added up by BLAS: equal to rounding there."""
    tl.manual_seed(rows)
    x, t = tl.randn(rows, classes) * 5, tl.randint(0, classes, (rows,))
    upstream = tl.randn(rows) if reduction == "none" else tl.tensor(0.7)
    results = []
    for loss in (F.cross_entropy, lambda x, t, **o: F.nll_loss(F.log_softmax(x, 1), t, **o)):
        for weight in (None, tl.ones(classes)):
            leaf = x.clone().requires_grad_()
            y = loss(leaf, t, weight=weight, reduction=reduction)
            y.backward(upstream)
            results.append((y.detach(), leaf.grad))
        (y, g), (expected, expected_g) = results[-2:]
        if len(results) == 2 and reduction == "mean":
            np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(g.numpy(), expected_g.numpy(), rtol=2e-6, atol=1e-9)
        else:
            assert tl.equal(y, expected) and tl.equal(g, expected_g)


@pytest.mark.parametrize("dtype", [tl.float32, tl.float64])
@pytest.mark.parametrize("offset", [0.0, 7.0, 60.0, -60.0, 5000.0])
def test_few_rows_of_any_size(offset, dtype):
    """Large, small, infinite and missing logits: as with each row's own maximum, in NumPy."""
    tl.manual_seed(3)
    x = tl.randn(6, 5, dtype=dtype) * 3 + offset
    spoiled = [x.clone() for _ in range(6)]
    spoiled[1][2] -= 80.0
    spoiled[2][3, 1] = -np.inf
    spoiled[3][3] = -np.inf
    spoiled[4][0, 0] = np.inf
    spoiled[5][5, 4] = np.nan
    t = tl.tensor([0, 4, 2, 2, 1, 3])
    for logits in spoiled:
        a = logits.numpy().astype("float64")
        with np.errstate(all="ignore"):
            z = a - a.max(1, keepdims=True)
            p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
            log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        expected = -log_p[np.arange(6), t.numpy()].mean()
        close = {"rtol": 1e-5 if dtype is tl.float32 else 1e-12, "atol": 1e-30}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            leaf = logits.clone().requires_grad_()
            loss, shares = F.cross_entropy(leaf, t), F.softmax(logits, 1)
            loss.backward()
        np.testing.assert_allclose(shares.numpy(), p, **close)
        np.testing.assert_allclose(F.softmax(leaf, 1).detach().numpy(), p, **close)
        np.testing.assert_allclose(loss.item(), expected, rtol=close["rtol"])
        close["atol"] = 1e-7 if dtype is tl.float32 else 1e-15
        np.testing.assert_allclose(leaf.grad.numpy(), (p - np.eye(5)[t.numpy()]) / 6, **close)


@pytest.mark.parametrize("dtype", [tl.float32, tl.float64])
def test_a_row_of_a_few_does_not_depend_on_the_others(dtype):
    """To the last bit, whichever these are: causal attention counts on it."""
    tl.manual_seed(4)
    x = tl.randn(5, 5, dtype=dtype) * 2
    before = F.softmax(x, -1)
    for factor in (0.0, -3.0, 5.0, 9.0, 300.0, -1e4):
        changed = x.clone()
        changed[4] *= factor
        assert tl.equal(F.softmax(changed, -1)[:4], before[:4])
        leaf = changed.clone().requires_grad_()
        assert tl.equal(F.softmax(leaf, -1)[:4], before[:4])


@pytest.mark.parametrize("size", [0.5, 3.0, 20.0, 300.0])
@pytest.mark.parametrize("rows, classes", [(4, 5), (1, 2), (7, 33), (32, 27), (5, 40)])
def test_few_rows_equal_many_rows_code(rows, classes, size, monkeypatch):
    """log_softmax to the last bit, and cross_entropy where maxima are subtracted."""
    tl.manual_seed(rows)
    x, t = tl.randn(rows, classes) * size, tl.randint(0, classes, (rows,))
    upstream = tl.randn(rows, classes)

    def results():
        leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, loss = F.log_softmax(leaf, 1), F.cross_entropy(other, t)
        y.backward(upstream)
        (loss * 0.7).backward()
        return [v.detach().clone() for v in (y, leaf.grad, loss, other.grad)]

    short = results()
    for module in (tl.ops.loss, tl.ops.softmax):
        monkeypatch.setattr(module, "is_few", lambda *args: False)
    long = results()
    assert tl.equal(short[0], long[0]) and tl.equal(short[1], long[1])
    if x.max() >= 30.0:
        assert tl.equal(short[2], long[2]) and tl.equal(short[3], long[3])
    for a, b in zip(short, long, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("largest", [1e5, 1e30])
def test_large_rows_are_shifted_as_those_of_any_size(dtype, largest):
    x = np.random.default_rng(0).normal(size=(9, 7)).astype(dtype) * 20
    x[2], x[3], x[4, 1], x[5, 2], x[6, 3] = -np.inf, -300.0, np.inf, np.nan, 700.0
    ordinary = x[:1] / 100
    with np.errstate(all="ignore"):
        for rows in (x, x[7:], ordinary, np.concatenate([ordinary, x[4:5]])):
            e = np.empty_like(rows)
            z, total = reductions.exp_total(rows, e, largest=largest)
            results = reductions.exp_of_large(rows, largest)
            for a, b in zip(results, (z, e, total[:, 0]), strict=True):
                assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("size", [0.5, 30.0])
def test_a_loss_that_nobody_records_is_the_one_that_is_recorded(size, monkeypatch):
    tl.manual_seed(0)
    x, t = tl.randn(4, 5) * size, tl.tensor([1, 0, 3, 2])
    recorded = F.cross_entropy(x.clone().requires_grad_(), t)
    assert tl.equal(F.cross_entropy(x, t), recorded.detach())
    with tl.no_grad():
        leaf = x.clone().requires_grad_()
        assert not F.cross_entropy(leaf, t).requires_grad
    assert F.cross_entropy(leaf, t).requires_grad and F.cross_entropy(leaf[:2], t[:2]).requires_grad
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        F.cross_entropy(x, tl.tensor([1, 0, 5, 2]))
    seen = []
    engine.observers.append(lambda op, inputs, results: seen.append(op.name))
    try:
        F.cross_entropy(x, t)
    finally:
        engine.observers.pop()
    assert seen == ["cross_entropy"]
    monkeypatch.setattr(tl.ops.CrossEntropy, "forward", lambda self, x, t: x.sum())
    assert F.cross_entropy(x, t).item() == pytest.approx(x.sum().item())


@pytest.mark.parametrize("sizes", [(6, 2), (-1, 6), (3, -1), (12,), (-1,), (2, 3, 2)])
def test_a_view_has_the_sizes_that_reshape_has(sizes):
    x = tl.arange(12.0).requires_grad_()
    y, same = x.view(*sizes), x.detach().view(*sizes)
    assert y.shape == same.shape == x.reshape(*sizes).shape
    y.backward(same + 1.0)
    assert tl.equal(x.grad, tl.arange(12.0) + 1.0)


@pytest.mark.parametrize(
    "sizes, words",
    [
        ((-2, 6), "invalid shape dimension -2"),
        ((5, 2), "is invalid for input of size 12"),
        ((-1, -1), "only one dimension can be inferred"),
        ((0, -1), "unspecified dimension size -1"),
    ],
)
def test_a_view_of_other_sizes_is_pytorchs_error(sizes, words):
    with pytest.raises(RuntimeError, match=words):
        tl.zeros(12).view(*sizes)


def test_the_maximum_of_few_rows_is_numpys():
    x = np.random.default_rng(0).normal(size=(9, 7)).astype("float32")
    x[2] = -np.inf
    x[3, 4] = np.inf
    assert np.array_equal(reductions.max_along(x), x.max(1, keepdims=True))
    assert np.array_equal(reductions.max_along(x.T), x.T.max(1, keepdims=True))


# -------------------------------------------------------------------------------- arithmetic
ARITHMETIC = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
]


@pytest.mark.parametrize("f", ARITHMETIC)
@pytest.mark.parametrize("dtype", [tl.float32, tl.float64])
def test_arithmetic_that_nobody_records_equals_what_is_recorded(f, dtype):
    tl.manual_seed(0)
    x, y = tl.randn(3, 4, dtype=dtype), tl.randn(4, dtype=dtype)
    y[1] = 0.0  # no warning
    zero_d, turned = tl.tensor(0.3, dtype=dtype), tl.randn(4, 3, dtype=dtype).t()
    pairs = [(x, y), (y, x), (x, 0.1), (0.1, x), (x, zero_d), (zero_d, zero_d), (turned, x)]
    pairs += [(x, turned), (zero_d, 2.5), (x, 1e300)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for a, b in pairs:
            short = f(a, b)
            leaf = a.clone().requires_grad_() if isinstance(a, tl.Tensor) else a
            other = b if leaf is not a else b.clone().requires_grad_()
            long = f(leaf, other)
            assert long.requires_grad and not short.requires_grad
            assert type(short.array) is np.ndarray and short.dtype is long.dtype is dtype
            assert short.stride() == long.stride()
            assert tl.equal(short, long.detach()) or short.isnan().any()
            np.testing.assert_array_equal(short.numpy(), long.detach().numpy())


def test_arithmetic_is_observed_refused_and_replaced_as_ever(monkeypatch):
    from tinygrad_llm.autograd import engine

    x, seen = tl.ones(3), []
    engine.observers.append(lambda op, inputs, results: seen.append(op.name))
    try:
        x * 2.0 + x  # noqa: B018
    finally:
        engine.observers.pop()
    assert seen == ["mul", "add"]
    with pytest.raises(RuntimeError, match="must match the size"):
        x + tl.ones(2)
    monkeypatch.setattr(tl.ops.Mul, "forward", lambda op, a, b: a * b + 1.0)
    assert (x * 2.0).tolist() == [3.0] * 3


@pytest.mark.parametrize("make", [tl.zeros, tl.ones, tl.rand, tl.randn, tl.empty])
def test_a_size_is_several_numbers_a_tuple_a_list_or_another_shape(make):
    x = tl.ones(2, 3)
    for y in (make(2, 3), make((2, 3)), make([2, 3]), make(x.shape), make(size=x.shape)):
        assert y.shape == (2, 3)
    assert make(4).shape == (4,) and make(()).shape == ()


def test_an_ignored_target_and_one_that_is_out_of_range_are_still_noticed():
    x = tl.randn(3, 4)
    ignored = F.cross_entropy(x, tl.tensor([1, -100, 3]), reduction="none")
    assert ignored[1].item() == 0.0
    assert F.cross_entropy(x, tl.tensor([1, 2, 3]), ignore_index=2, reduction="none")[1] == 0.0
    with pytest.raises(IndexError, match="Target 4 is out of bounds"):
        F.cross_entropy(x, tl.tensor([1, 4, 3]))


# ------------------------------------------------------------------------- sums written in place
IN_PLACE = {
    "add_": lambda a, b: a + b,
    "sub_": lambda a, b: a - b,
    "mul_": lambda a, b: a * b,
    "div_": lambda a, b: a / b,
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8"])
@pytest.mark.parametrize("other", [3, -2, 0.5, "same", "row", "0-d", "wider"])
def test_in_place_is_the_function_of_new_tensors(name, dtype, other):
    """Where NumPy writes the result itself, and where it can't, the numbers are the same."""
    if dtype.startswith("int") and (name == "div_" or other in (0.5, "wider")):
        pytest.skip("the result is not an integer")
    x = tl.tensor([[1, -2, 3], [4, 5, -6]], dtype=getattr(tl, dtype))
    kinds = {"same": x + 1, "row": x[1], "0-d": x[1, 1], "wider": (x + 1).double()}
    y = kinds.get(other, other)
    expected = IN_PLACE[name](x, y).to(x.dtype)
    address = x.data_ptr()
    assert getattr(x, name)(y) is x and x.data_ptr() == address
    assert x.tolist() == expected.tolist() and x.dtype is expected.dtype


def test_in_place_reads_before_it_writes():
    x = tl.arange(6.0)
    expected = (x[1:] + x[:-1]).tolist()
    view = x[1:]
    view += x[:-1]  # the memory is partly the same
    assert x.tolist() == [0.0, *expected]
    x *= x
    assert x.tolist() == [v * v for v in [0.0, *expected]]


def test_in_place_is_noted_for_backward():
    w, x = tl.ones(3, requires_grad=True), tl.arange(3.0)
    y = (w * x).sum()  # saves x
    x += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation: mul saved"):
        y.backward()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        w += 1.0
    with tl.no_grad():
        w += 1.0
    assert w.tolist() == [2.0] * 3 and w.is_leaf and w.requires_grad
    z = x * w
    z += x  # recorded: the sum has a gradient
    z.sum().backward()
    assert w.grad.tolist() == x.tolist()


def test_in_place_errors_are_those_of_the_longer_way():
    fixed = np.ones(3, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        tl.from_numpy(fixed).add_(1.0)
    with pytest.raises(RuntimeError, match="must match the size"):
        tl.ones(3).add_(tl.ones(2))
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        tl.ones(3).mul_(tl.ones(2, 3))
    with pytest.raises(RuntimeError, match="more than one element"):
        tl.ones(1).expand(3).add_(1.0)
    with pytest.raises(RuntimeError, match="can't be cast"):
        tl.tensor([1, 2]).add_(0.5)


# ------------------------------------------------------------------------------ rows by position
@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3), (5, 0), (5, 1)])
@pytest.mark.parametrize("ids", [[0, 4, -1, 4], [[1, 1], [2, -5]], []])
@pytest.mark.parametrize("turned", [False, True])
def test_rows_are_picked_as_numpy_picks_them(shape, ids, turned):
    x = np.random.default_rng(0).normal(size=shape)
    x = np.asfortranarray(x) if turned else x
    at = np.array(ids, np.int64)
    assert np.array_equal((tl.from_numpy(x)[tl.from_numpy(at)]).numpy(), x[at])
    w = tl.from_numpy(x).requires_grad_()
    y = w[tl.from_numpy(at)]
    g = np.random.default_rng(1).normal(size=y.shape)
    y.backward(tl.from_numpy(g))
    expected = np.zeros(shape)
    np.add.at(expected, at, g)
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("wrong", [5, -6])
def test_a_row_that_is_not_there_is_pytorchs_error(wrong):
    w = tl.ones(5, 3)
    for x in (w, w.clone().requires_grad_()):
        with pytest.raises(IndexError, match=f"index {wrong} is out of bounds for dimension 0"):
            x[tl.tensor([0, wrong])]


@pytest.mark.parametrize("n", [0, 1, 12, 13, 64, 65])
def test_ids_out_of_range_are_noticed_at_any_size(n):
    for wrong in (-1, 7, 2**40):
        numbers = np.zeros(n, np.int64)
        assert ids.all_within(numbers, 7)
        if n:
            numbers[-1] = wrong
            assert not ids.all_within(numbers, 7)


# ------------------------------------------------------------------------------- random numbers
def test_a_generator_that_is_seeded_again_begins_anew():
    used = tl.Generator().manual_seed(1)
    used.randn(5)  # keeps the second number of a pair
    for seed in (0, 7, 2**32 - 1, 2**32 + 5, -3):
        used.manual_seed(seed)
        new = tl.Generator().manual_seed(seed)
        assert np.array_equal(used.state(), new.state())
        numbers = np.random.RandomState(seed % 2**32).random_sample(3)
        for generator in (used, new):
            assert np.array_equal(generator._stream.random_sample(3), numbers)
        assert np.array_equal(used.randn(7), new.randn(7))


@pytest.mark.parametrize("n", [16, 17, 31, 33, 100, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_few_normal_numbers_leave_the_stream_where_many_do(n, dtype):
    """The last 16 are drawn again: after whole sixteens, and one draw for each number left."""
    short, long = (tl.Generator().manual_seed(5) for _ in range(2))
    values = short.randn(n, np.dtype(dtype))
    whole = n - n % 16
    first = long.randn(whole, np.dtype(dtype))
    if n % 16:
        if dtype == "float32":
            long._draw32(n % 16)
        last = long.randn(16, np.dtype(dtype))
        assert np.array_equal(values[-16:], last)
        assert np.array_equal(values[: n - 16], first[: n - 16])
    else:
        assert np.array_equal(values, first)
    assert np.array_equal(short.state(), long.state())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_few_exponential_numbers_are_the_first_of_many(dtype):
    few, many = (tl.Generator().manual_seed(3) for _ in range(2))
    expected = many.exponential(200, 1.5, np.dtype(dtype))
    assert np.array_equal(
        np.concatenate([few.exponential(50, 1.5, np.dtype(dtype)) for _ in range(4)]), expected
    )
