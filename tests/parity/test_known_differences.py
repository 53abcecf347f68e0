"""Where this library and PyTorch once differed: sums at positions in half precision, kl_div, prod
and triplet losses at infinities and NaN, 0-d NumPy arrays as numbers."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest

from .compared import agree

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

DTYPES = ["float32", "float64"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, math.inf, -math.inf, math.nan]
inf, nan = math.inf, math.nan


def same(fn, arrays, g, tolerance=1e-5, nothing_selected=False):
    """The value and all gradients of fn(lib, *tensors) for the upstream gradient g, NaN included.

    Nothing is warned of. nothing_selected: PyTorch multiplies g by 0 where an element was not
    selected, which is NaN for an infinite g; ours may be a number there.
    """
    results = []
    for lib in (torch, tg):
        tensors = [lib.from_numpy(np.array(a)).requires_grad_() for a in arrays]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = fn(lib, *tensors)
            up = np.resize(g, tuple(y.shape)).astype(arrays[0].dtype)
            y.backward(lib.from_numpy(np.array(up)))
        results.append([y.detach().numpy(), *[t.grad.numpy() for t in tensors]])
    for k, (theirs, ours) in enumerate(zip(*results, strict=True)):
        assert ours.dtype == theirs.dtype
        if k and nothing_selected and not np.isfinite(g).all():
            theirs = np.where(np.isnan(theirs), ours, theirs)
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance, err_msg=f"{arrays}, {g}")


# ------------------------------------------------------------------- index_add in half precisions
VECTORS_OF_32 = "AVX512" in torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("alpha", [1, 2, 0.3, -2.7, 1e-3, 1000.0])
def test_index_add_rounds_where_pytorch_rounds(alpha, dtype):
    rng = np.random.default_rng(int(abs(alpha) * 1000))
    wide = [31, 32, 40, 64, 70] if VECTORS_OF_32 else [3, 7]
    for _ in range(60):
        shape = rng.integers(1, 6, rng.integers(0, 4)).tolist()
        if len(shape) > 1 and rng.random() < 0.4:
            shape[-1] = int(rng.choice(wide))
        dim, n = int(rng.integers(max(len(shape), 1))), int(rng.integers(1, 12)) if shape else 1
        index = rng.integers(0, shape[dim] if shape else 1, n)
        given = [*shape[:dim], n, *shape[dim + 1 :]] if shape else []
        x, source = (rng.normal(size=s).astype("float32") for s in (shape, given))
        results = []
        for lib in (torch, tg):
            a, b = (lib.from_numpy(np.array(v)).to(getattr(lib, dtype)) for v in (x, source))
            a.requires_grad_(), b.requires_grad_()
            ids = lib.from_numpy(index)
            y = a.index_add(dim, ids, b, alpha=alpha)
            z = (a * 1).index_add_(dim, ids, b, alpha=alpha)
            (y * y).float().sum().backward()
            results.append([v.detach().float().numpy() for v in (y, z, a.grad, b.grad)])
        for theirs, ours in zip(*results, strict=True):
            np.testing.assert_array_equal(ours, theirs, f"{shape}, {dim}, {index}")


def test_index_add_of_nothing_in_half_precision():
    for lib in (torch, tg):
        x = lib.ones(3, 2, dtype=lib.bfloat16)
        none = lib.tensor([], dtype=lib.int64)
        y = x.index_add(0, none, lib.ones(0, 2, dtype=lib.bfloat16), alpha=0.3)
        assert y.tolist() == [[1.0, 1.0]] * 3
        assert (
            lib.ones(0, 2).half().index_add(1, lib.tensor([1]), lib.ones(0, 1).half()).numel() == 0
        )


# ------------------------------------------------------------------------------------------ kl_div
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div_of_special_numbers(log_target, dtype):
    """Every pair of them, with every upstream gradient, as PyTorch: NaN at a target of 0 too."""
    x, t, g = np.array(list(itertools.product(SPECIAL, SPECIAL, [1.0, 0.0, -2.0, inf, nan]))).T

    def fn(lib, x, t):
        return lib.nn.functional.kl_div(x, t, reduction="none", log_target=log_target)

    same(fn, [x.astype(dtype), t.astype(dtype)], g)


# -------------------------------------------------------------------------------------------- prod
PRODUCTS = [
    [inf, 3.0, -0.5], [inf], [nan], [nan, 2.0], [3.0, nan], [nan, nan, -1.0], [inf, inf, 2.0],
    [-inf, 0.0], [-inf, 0.0, 2.0], [0.0, 2.0, -3.0], [0.0, -0.0, 3.0], [0.0, 0.0, nan],
    [0.0, inf, 0.0], [0.0, nan], [2.0, 0.0, inf, -1.0], [0.5, -0.25], [1.0],
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", PRODUCTS, ids=str)
def test_prod_of_special_numbers(x, dtype):
    for g in ([1.0], [0.0], [-2.0], [inf], [nan]):
        a = np.array(x, dtype)
        same(lambda lib, x: x.prod(), [a], g)
        same(lambda lib, x: x.prod(0), [a], g)
        same(lambda lib, x: lib.prod(x, -1, keepdim=True), [np.stack([a, a[::-1]])], g)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prod_of_rows_of_which_some_are_special(dtype):
    rng = np.random.default_rng(3)
    for _ in range(150):
        shape = (2, int(rng.integers(1, 5)))
        drawn = rng.normal(size=shape)
        x = np.where(rng.random(shape) < rng.random(), rng.choice(SPECIAL, shape), drawn)
        g = rng.choice([1.0, -0.3, 0.0, inf, nan], 4)
        same(lambda lib, x: x.prod(1), [x.astype(dtype)], g)
        same(lambda lib, x: x.prod(), [x.astype(dtype)], g)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prod_whose_finite_factors_overflow_or_vanish(dtype):
    """As PyTorch's y / x: infinite, NaN or 0 where the product left the range of numbers."""
    end = 1e20 if dtype == "float32" else 1e160
    rng = np.random.default_rng(4)
    for factors in (
        [end, 2.0, end], [end, -end], [end, end, 0.5, -1.0], [1 / end, 1 / end, end], [1 / end] * 3,
        [end, end, 1 / end], [1 / end, end, end], [end, 0.0, end], [end, end, 0.0, 0.0],
        [-end, 1 / end, 3.0], [end, 1e-3, end, 1 / end],
    ):  # fmt: skip
        a = np.array(factors, dtype)
        rows = np.stack([a, a[::-1], rng.normal(size=a.size).astype(dtype)])
        for g in ([1.0], [-0.5, 0.0, 2.0], [inf], [nan]):
            same(lambda lib, x: x.prod(), [a], g)
            same(lambda lib, x: x.prod(1), [rows], g)
            same(lambda lib, x: lib.prod(x, 0, keepdim=True), [rows.T.copy()], g)


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_running_sums_and_products_are_rounded_once(dtype):
    """Bits equal: PyTorch adds up and multiplies float32 in float64, half precisions in float32."""
    rng = np.random.default_rng(8)
    for shape, dim in (((5, 90), 1), ((90, 4), 0), ((3, 50, 2), 1), ((1,), 0)):
        x = rng.normal(size=shape) * 0.2
        for name, numbers in (("cumsum", x * 1e4), ("cumprod", x + np.sign(x))):
            results = []
            for lib in (torch, tg):
                a = lib.from_numpy(numbers).to(getattr(lib, dtype)).requires_grad_()
                y = getattr(a, name)(dim)
                y.backward(lib.from_numpy(x + 0.1).to(getattr(lib, dtype)))
                results.append([v.detach().double().numpy() for v in (y, a.grad)])
            for theirs, ours in zip(*results, strict=True):
                np.testing.assert_array_equal(ours, theirs, f"{name}, {shape}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_cumprod_that_leaves_the_range_of_numbers(dtype):
    end = 1e20 if dtype == "float32" else 1e160
    for factors in ([end, 2.0, end], [end, -end, 1 / end], [1 / end, 1 / end, end, end],
                    [end, end, end, 1 / end], [2.0, -end, end, 0.5]):  # fmt: skip
        a = np.array(factors, dtype)
        for g in ([1.0], [-2.0, 0.0, 1.0], [inf, 1.0]):
            same(lambda lib, x: x.cumprod(0), [a], g)
            same(lambda lib, x: x.cumprod(1), [np.stack([a, a[::-1]])], g)


# ----------------------------------------------------------------------------------- triplet losses
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, inf])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.suite_cases(8)
def test_triplet_margin_loss_of_special_numbers(p, swap, dtype):
    rng = np.random.default_rng([int(min(2 * p, 9)), swap])

    def fn(lib, *x):
        return lib.nn.functional.triplet_margin_loss(
            *x, margin=margin, p=p, swap=swap, reduction="none"
        )

    for k in range(60):
        shape, share = (3, 2), rng.random()
        drawn = [rng.normal(size=shape) for _ in range(3)]
        special = [rng.choice(SPECIAL, shape) for _ in range(3)]
        x = [np.where(rng.random(shape) < share, s, d) for s, d in zip(special, drawn, strict=True)]
        margin = float(rng.choice([0.3, 1.0, 20.0]))
        g = rng.normal(size=3) if k % 2 else rng.choice([1.0, -2.0, 0.0, inf, -inf, nan], 3)
        same(fn, [v.astype(dtype) for v in x], g, 1e-4, nothing_selected=p == inf)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [inf, -inf])
def test_extreme_norms_of_special_gradients(p, dtype):
    """Only the elements of that size get a gradient, in equal shares, and others exactly 0."""
    rng = np.random.default_rng(int(p > 0))
    for _ in range(60):
        x = np.where(rng.random((3, 4)) < rng.random(), rng.choice(SPECIAL, (3, 4)),
                     rng.integers(-2, 3, (3, 4)) / 2).astype(dtype)  # fmt: skip
        g = rng.choice([1.0, -2.0, 0.0, inf, -inf, nan], 3)
        same(lambda lib, x: x.norm(p, 1), [x], g, nothing_selected=True)
        same(lambda lib, x: lib.linalg.vector_norm(x, p), [x], g, nothing_selected=True)
        t = tg.from_numpy(x).requires_grad_()
        t.norm(p, 1).backward(tg.from_numpy(g.astype(dtype)))
        size = abs(x)
        ends = (size.max if p > 0 else size.min)(1, keepdims=True)
        others = (size != ends) & (ends == ends)
        assert (t.grad.numpy()[others] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_with_ties_and_nan(dtype):
    rng = np.random.default_rng(6)
    for n in (1, 3, 8, 19):
        x, y = (rng.integers(-2, 3, (k, n)).astype(dtype) for k in (4, 5))
        for p in (inf, 0.0, 1.0, 2.0, 1.5):
            same(lambda lib, x, y, p=p: lib.cdist(x, y, p), [x, y], rng.normal(size=20))
        x[1, 0] = y[2, 0] = nan
        same(lambda lib, x, y: lib.cdist(x, y, 0.0), [x, y], rng.normal(size=20))


# ------------------------------------------------------------------------- 0-d arrays as numbers
BOXED = {
    "norm": lambda t, x, n: x.norm(n(2.0)),
    "norm of rows": lambda t, x, n: x.norm(p=n(3), dim=n(1)),
    "dist": lambda t, x, n: t.dist(x, x * 2, n(2.0)),
    "sum": lambda t, x, n: x.sum(n(0)),
    "add": lambda t, x, n: t.add(x, x, alpha=n(0.3)),
    "multiplied": lambda t, x, n: x * n(0.3),
    "topk": lambda t, x, n: x.topk(n(2))[0],
    "leaky": lambda t, x, n: t.nn.functional.leaky_relu(x, n(0.1)),
    "clamp": lambda t, x, n: x.clamp(n(-0.5), n(0.5)),
    "power": lambda t, x, n: x.abs() ** n(1.5),
    "index_fill": lambda t, x, n: x.index_fill(0, t.tensor([1]), n(2.5)),
    "masked_fill": lambda t, x, n: x.masked_fill(x > 0, n(2.5)),
    "tensor_split": lambda t, x, n: x.tensor_split(n(2))[0],
    "full": lambda t, x, n: x * t.full((3, 1), n(2.5)),
    "softmax": lambda t, x, n: x.softmax(n(1)),
    "layer_norm": lambda t, x, n: t.nn.functional.layer_norm(x, (4,), eps=n(0.01)),
    "roll": lambda t, x, n: x.roll(n(1), n(0)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOXED)
def test_arrays_of_no_dimension_are_numbers(name, dtype):
    """As the number in PyTorch, which takes only some of these arrays."""
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    for box in (np.asarray, lambda v: np.asarray(v)[()], lambda v: v):
        agree(torch, lambda t, x, b=box: BOXED[name](t, x, b if t is tg else lambda v: v), x)


# ------------------------------------------------------------------- inverse functions, copysign
INSIDE = {"asin": 1.0, "acos": 1.0, "atanh": 1.0, "atan": 30.0, "asinh": 30.0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*INSIDE, "acosh"])
def test_inverse_functions(name, dtype):
    rng = np.random.default_rng(len(name))
    x = rng.uniform(-0.99, 0.99, (3, 7)) * INSIDE.get(name, 1.0)
    x = (np.abs(x) * 20 + 1.05 if name == "acosh" else x).astype(dtype)
    agree(torch, lambda t, x: getattr(t, name)(x), x)
    agree(torch, lambda t, x: getattr(x, name.replace("a", "arc", 1))().sum(1), x)
    agree(torch, lambda t, x: getattr(x.detach().T * 1, name + "_")(), x)
    agree(torch, lambda t, x: getattr(t, name)((x > 0).long()), x)
    agree(torch, lambda t, x: getattr(t, name)(x.detach(), out=t.zeros(0, dtype=x.dtype)), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_two(dtype):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(3, 1, 4)).astype(dtype), rng.normal(size=(2, 1)).astype(dtype)
    whole = rng.integers(-2, 3, (2, 4))
    for name in ("atan2", "arctan2", "copysign", "logaddexp2"):
        agree(torch, lambda t, x, y, n=name: getattr(t, n)(x, y), x, y)
        agree(torch, lambda t, x, y, n=name: getattr(x, n)(y), x, y)
    for name in ("atan2", "copysign"):
        agree(torch, lambda t, x, w, n=name: getattr(t, n)(x, w), x, whole)
        agree(torch, lambda t, w, n=name: getattr(t, n)(w, w.flip(0)), whole)
    agree(torch, lambda t, x: x.copysign(-0.0), x)
    agree(torch, lambda t, w: w.copysign(-1), whole)


def test_gradients_of_atan2_and_acosh_keep_their_range():
    """PyTorch squares, which is 0 or ∞ in float32 for such numbers."""
    y, x = (tg.tensor([v, 1e30], requires_grad=True) for v in (1e-30, 2e-30))
    tg.atan2(y, x).backward(tg.tensor([1e-10, 1e10]))
    np.testing.assert_allclose(y.grad.numpy(), [4e19, 5e-21], 1e-5)
    z = tg.tensor([1e25], requires_grad=True)
    z.acosh().backward()
    np.testing.assert_allclose(z.grad.numpy(), 1e-25, 1e-5)


# -------------------------------------------------------------- Γ's family, the normal distribution
EVERYWHERE = ("lgamma", "digamma", "sinc", "ndtr", "log_ndtr")
PARTLY = {
    "erfinv": lambda t, x: t.erfinv(t.tanh(x.clamp(-6, 6) / 3)),
    "ndtri": lambda t, x: t.special.ndtri(t.sigmoid(x.clamp(-9, 9))),
    "entr": lambda t, x: t.special.entr(x.abs()),
    "mvlgamma": lambda t, x: x.abs().add(1.5).mvlgamma(4),
    "xlog1py": lambda t, x: t.special.xlog1py(x, x.flip(0).abs()),
    "polygamma 0": lambda t, x: x.polygamma(0),
    "polygamma 2": lambda t, x: t.polygamma(2, x),
    "polygamma 7": lambda t, x: t.special.polygamma(7, x.abs() + 0.1),
    "float_power": lambda t, x: t.float_power(x.abs(), 2.5),
    "a number to a power": lambda t, x: t.float_power(1.5, x),
    **{name: (lambda t, x, n=name: getattr(t.special, n.replace("lgamma", "gammaln"))(x))
       for name in EVERYWHERE},
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PARTLY)
def test_special_functions(name, dtype):
    """float64 to 1e-12 (PyTorch's ψ′ is off by 5e-10), float32 closer to float64 than PyTorch's."""
    rng = np.random.default_rng(len(name))
    x = np.concatenate([
        rng.normal(size=60) * 3, 10.0 ** rng.uniform(-4, 2, 40), -rng.uniform(0.1, 20, 30),
        1 + rng.normal(size=9) * 1e-4, 2 + rng.normal(size=9) * 1e-4,
    ]).astype(dtype)  # fmt: skip
    g = rng.normal(size=x.size)
    results = []
    for lib, kind in ((torch, "float64"), (torch, dtype), (tg, dtype)):
        a = lib.from_numpy(x.astype(kind)).requires_grad_()
        y = PARTLY[name](lib, a)
        y.backward(lib.from_numpy(g).to(y.dtype))
        results.append([y.detach().numpy(), a.grad.numpy()])
    for k, (wide, theirs, ours) in enumerate(zip(*results, strict=True)):
        assert ours.dtype == theirs.dtype
        bound = 1e-8 if k and name in ("digamma", "polygamma 0") else 1e-12
        if dtype == "float64":
            np.testing.assert_allclose(ours, wide, bound, 1e-12 if name == "sinc" else 1e-14)
        else:
            off, least = (abs(v - wide) / np.maximum(abs(wide), 1e-3) for v in (ours, theirs))
            assert off.max() <= max(2.0 * least.max(), 2e-7)


def test_known_values_of_gamma_s_family():
    """Closed forms in Abramowitz and Stegun, chapter 6, and all of Γ's poles."""
    x = tg.tensor([1.0, 0.5, 5.0, -0.5], dtype=tg.float64)
    expected = [0.0, math.log(math.pi) / 2, math.log(24.0), math.log(2 * math.sqrt(math.pi))]
    np.testing.assert_allclose(x.lgamma().numpy(), expected, 1e-14, 1e-15)
    np.testing.assert_allclose(x[:2].polygamma(1).numpy(), [math.pi**2 / 6, math.pi**2 / 2], 1e-14)
    assert tg.polygamma(1, tg.tensor([-1.0, inf])).tolist() == [inf, 0.0]
    assert tg.polygamma(4, tg.tensor([0.0, -3.0])).tolist() == [-inf, -inf]
    assert tg.lgamma(tg.tensor([0.0, -7.0, -inf])).tolist() == [inf] * 3
    far = tg.tensor([-1e5], dtype=tg.float64, requires_grad=True)
    tg.special.log_ndtr(far).backward()
    np.testing.assert_allclose(far.grad.numpy(), 1e5, 1e-9)


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bfloat16"])
def test_special_functions_by_their_other_names(dtype):
    x = np.array([[3, 1, 2], [5, 4, 6]])

    def of(call):
        agree(torch, lambda t, x: call(t, x.to(getattr(t, dtype))), x)

    for name in ("lgamma", "digamma", "sinc"):
        of(lambda t, x, n=name: getattr(t, n)(x.T))
        of(lambda t, x, n=name: getattr(x.float(), n + "_")())
    of(lambda t, x: t.special.psi(x) + t.special.gammaln(x))
    of(lambda t, x: t.special.multigammaln(x, 2))
    of(lambda t, x: t.heaviside(x - 3, t.tensor([0, 1, 2]).to(x.dtype)))
    of(lambda t, x: (x - 3).heaviside(t.tensor(1).to(x.dtype)))
    of(lambda t, x: t.float_power(x, x))
    of(lambda t, x: x.double().float_power_(2))
    of(lambda t, x: x.float().float_power_(2))
    of(lambda t, x: t.float_power(2, x))
    of(lambda t, x: t.lgamma(x.float(), out=t.zeros(2, 3)))
    of(lambda t, x: t.polygamma(-1, x))
    of(lambda t, x: t.mvlgamma(x, 0))
    of(lambda t, x: t.heaviside(x, t.tensor(True)))


def test_heaviside_has_no_derivative():
    for lib in (torch, tg):
        x = lib.ones(3, requires_grad=True)
        y = lib.heaviside(x, lib.tensor(0.5)) * x
        with pytest.raises(RuntimeError, match="derivative for aten::heaviside is not implemented"):
            y.sum().backward()
