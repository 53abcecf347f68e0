"""Linear layers through cuBLASLt: what it is asked for, with a library in NumPy in its place.

The stand-in reads addresses, layouts and attributes as cuBLASLt's documentation describes them.
tests/test_cuda_kernels.py runs the library itself.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from gpu_arrays import GpuArray

from tinygrad_llm.arrays.devices import settings
from tinygrad_llm.ops.cuda import epilogues, feed_forward, launch, products

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPE = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16), 14: BF16}
SIZE_OF = {3: 4, 4: 4, 7: 4, 8: 8, 11: 8, 12: 8}  # bytes of a product's attributes, in cublasLt.h


def on_gpu(a, dtype=np.float32):
    """A copy of the array at an address that is a multiple of 256."""
    a = np.asarray(a).astype(dtype)
    memory = np.zeros(a.nbytes + 256, np.int8)
    first = -memory.ctypes.data % 256
    copy = memory[first : first + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy.view(GpuArray)


def normal(*shape, dtype=np.float32):
    return on_gpu(np.random.default_rng(sum(shape)).standard_normal(shape), dtype)


def by_columns(address, layout):
    """The matrix at an address as cuBLASLt's layout describes it, a view."""
    dtype, rows, columns, step = layout
    dtype = DTYPE[dtype]
    count = (columns - 1) * step + rows
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    flat = np.frombuffer(memory, dtype)
    return np.lib.stride_tricks.as_strided(
        flat, (rows, columns), (dtype.itemsize, step * dtype.itemsize)
    )


def gelu(h):
    """gelu(h) by tanh, and its derivative."""
    c = (2.0 / np.pi) ** 0.5
    t = np.tanh(c * (h + 0.044715 * h**3))
    derivative = c * (1.0 + 3.0 * 0.044715 * h**2)
    return 0.5 * h * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * h * (1.0 - t * t) * derivative


class Library:
    """cuBLASLt's functions on NumPy's arrays; `calls` lists what was multiplied."""

    def __init__(self):
        self.made, self.calls, self.asked, self.algorithm, self.status = {}, [], 0, True, 0

    def _make(self, reference, made):
        reference._obj.value = len(self.made) + 1
        self.made[len(self.made) + 1] = made
        return 0

    def cublasLtCreate(self, reference):
        return self._make(reference, "handle")

    def cublasLtMatmulDescCreate(self, reference, compute, scale):
        assert scale == 0  # float32
        return self._make(reference, {"compute": compute})

    def cublasLtMatmulPreferenceCreate(self, reference):
        return self._make(reference, {})

    def cublasLtMatrixLayoutCreate(self, reference, *layout):
        dtype, rows, columns, step = layout
        assert step >= rows
        return self._make(reference, layout)

    def cublasLtMatmulDescSetAttribute(self, description, attribute, value, size):
        attribute = getattr(attribute, "value", attribute)
        assert size.value == SIZE_OF[attribute] == ctypes.sizeof(value._obj)
        self.made[description.value][attribute] = value._obj.value
        return 0

    def cublasLtMatmulPreferenceSetAttribute(self, preference, attribute, value, size):
        assert size.value == (8 if attribute == 1 else 4)
        self.made[preference.value][attribute] = value._obj.value
        return 0

    def cublasLtMatmulAlgoGetHeuristic(self, handle, description, a, b, c, d, preference, n, *out):
        assert self.made[handle.value] == "handle" and n == 1
        choice, count = (reference._obj for reference in out)
        self.asked, self.aligned = self.asked + 1, self.made[preference.value][5]
        count.value, choice.workspace = int(self.algorithm), 1024
        return 0

    def cublasLtMatmul(self, handle, description, alpha, a, A, b, B, beta, c, C, d, D, algorithm,
                       workspace, size, stream):  # fmt: skip
        assert (alpha._obj.value, beta._obj.value, stream) == (1.0, 0.0, 77)
        assert size == 1024 and workspace and c == d and C is D
        if self.status:
            return self.status
        asked = self.made[description.value]
        A, B, D = (by_columns(p, self.made[lies.value]) for p, lies in ((a, A), (b, B), (d, D)))
        A, B = (x.T if asked[t] else x for x, t in ((A, 3), (B, 4)))
        A, B = (x.astype(np.float64) for x in (A, B))
        assert A.shape[1] == B.shape[0] and D.shape == (A.shape[0], B.shape[1])
        epilogue, result, vector, other = asked[7], A @ B, None, None
        if epilogue & (4 | 512):
            count = D.shape[1] if epilogue == 512 else D.shape[0]
            memory = (ctypes.c_char * (count * D.itemsize)).from_address(asked[8])
            vector = np.frombuffer(memory, D.dtype)
        if epilogue & 128:
            assert asked[12] % 8 == 0  # the matrix's step from column to column
            dtype = next(number for number, dtype in DTYPE.items() if dtype == D.dtype)
            other = by_columns(asked[11], (dtype, *D.shape, asked[12]))
        if epilogue == 512:
            vector[...] = B.sum(0)
        elif epilogue == 192:
            result *= gelu(other.astype(np.float64))[1]
        else:
            assert epilogue in (4, 32, 32 | 4, 32 | 128, 32 | 128 | 4)
            result += vector.astype(np.float64)[:, None] if epilogue & 4 else 0.0
            if epilogue & 128:
                other[...] = result
            result = gelu(result)[0] if epilogue & 32 else result
        D[...] = result
        self.calls.append((epilogue, asked["compute"]))
        return 0


@pytest.fixture
def library(monkeypatch):
    """cuBLASLt's stand-in, arrays on the CPU as if on the GPU, cuBLAS as NumPy's product."""
    library = Library()
    xp = SimpleNamespace(
        empty=lambda shape, dtype: on_gpu(np.full(shape, np.nan), dtype),
        ascontiguousarray=lambda x: on_gpu(x, x.dtype),
        cuda=SimpleNamespace(
            alloc=lambda size: SimpleNamespace(ptr=12345),
            get_current_stream=lambda: SimpleNamespace(ptr=77),
        ),
    )

    def product(a, b, out=None, add=False):
        out = xp.empty((len(a), b.shape[1]), a.dtype) if out is None else out
        total = a.astype(np.float64) @ b.astype(np.float64)
        out[...] = out.astype(np.float64) * add + total if add else total
        library.calls.append(("cuBLAS", out.dtype))
        return out

    def kernel(file, name):
        def round_five(grid, block, args):
            assert (file, name, len(args)) == ("elementwise", "round_five", 15)
            assert grid == (sum(-(-n // 1024) for n in args[2::3]),) and block == (256,)
            for x, y, n in zip(args[::3], args[1::3], args[2::3], strict=True):
                if n:
                    y[...] = x

        return round_five

    monkeypatch.setattr(products, "kernel", kernel)
    monkeypatch.setattr(launch, "xp", xp)
    monkeypatch.setattr(launch, "several", False)
    monkeypatch.setattr(epilogues, "_plans", {})
    monkeypatch.setattr(epilogues, "_library", lambda: library)
    for module in (products, feed_forward):
        monkeypatch.setattr(module, "product", product)
    monkeypatch.setattr(feed_forward, "gelu", lambda h, form: on_gpu(gelu(wide(h))[0], BF16))
    back = lambda h, g, form: on_gpu(gelu(wide(h))[1] * wide(g), BF16)  # noqa: E731
    monkeypatch.setattr(feed_forward, "gelu_back", back)
    monkeypatch.setattr(products, "dense", lambda *arrays: False)  # no kernel fills y
    for cached in (epilogues.handle, epilogues._preference):
        cached.cache_clear()
    yield library
    for cached in (epilogues.handle, epilogues._preference):
        cached.cache_clear()


def wide(a):
    return a.astype(np.float64)


def exact(x, w, b):
    return x.astype(np.float64) @ w.astype(np.float64).T + b.astype(np.float64)


def close(a, expected):
    tolerance = {4: 1e-6, 2: 1e-2}[a.itemsize]
    np.testing.assert_allclose(a.astype(np.float64), expected, tolerance, tolerance)


@pytest.mark.parametrize("dtype", [np.float32, BF16])
@pytest.mark.parametrize("shape", [(24, 16, 8), (7, 5, 3), (1, 64, 32), (33, 8, 1)])
def test_the_bias_is_added_in_the_product(library, shape, dtype):
    n, i, o = shape
    x, w, b = normal(n, i, dtype=dtype), normal(o, i, dtype=dtype), normal(o, dtype=dtype)
    close(products.affine(x, w, b), exact(x, w, b))
    assert library.calls == [(4, 68)] and library.aligned == 256
    out = normal(n + 1, o, dtype=dtype)[1:]
    assert products.affine(x, w, b, out) is out
    close(out, exact(x, w, b))


def test_a_bias_in_float32_is_narrowed_for_bfloat16(library):
    x, w, b = normal(6, 8, dtype=BF16), normal(4, 8, dtype=BF16), normal(4)
    y = products.affine(x, w, b)
    close(y, exact(x, w, b))
    assert y.dtype == BF16 and library.calls == [(4, 68)]


def test_tf32_is_asked_for(library, monkeypatch):
    monkeypatch.setattr(settings, "tf32", True)
    products.affine(normal(6, 8), normal(4, 8), normal(4))
    assert library.calls == [(4, 77)]


def test_views_are_read_as_they_lie(library):
    wide, w, b = normal(12, 40), normal(16, 20), normal(16)
    for x in (wide[:, 8:28], normal(20, 12).T, wide[::2, :20], wide[:, ::2]):
        close(products.affine(x, w, b), exact(x, w, b))
        close(products.affine(x, normal(20, 16).T, b), exact(x, normal(20, 16).T, b))
    assert set(library.calls) == {(4, 68)}


def test_a_kind_of_product_is_planned_once(library):
    w = normal(8, 16)
    for _ in range(3):
        x, b = normal(24, 16), normal(8)  # other addresses
        close(products.affine(x, w, b), exact(x, w, b))
    assert library.asked == 1
    shifted = on_gpu(np.zeros((25, 16)))[1:]  # by 64 bytes
    products.affine(shifted, w, b)
    assert library.asked == 2 and library.aligned == 64


def test_what_cublaslt_does_not_take_goes_the_other_way(library, monkeypatch):
    x, w, b = normal(6, 8), normal(4, 8), normal(4)
    library.status = 15
    close(products.affine(x, w, b), exact(x, w, b))
    library.status = 0
    close(products.affine(x, w, b), exact(x, w, b))  # it is not asked again
    library.algorithm = False
    close(products.affine(x[:5], w, b), exact(x[:5], w, b))
    monkeypatch.setattr(epilogues, "MOST", 0)
    close(products.affine(x[:3], w, b), exact(x[:3], w, b))
    monkeypatch.undo()
    assert {call[0] for call in library.calls} == {"cuBLAS"} and library.asked == 2


def test_without_the_library_the_numbers_are_the_same(library, monkeypatch):
    monkeypatch.setattr(epilogues, "_library", lambda: None)
    epilogues.handle.cache_clear()
    x, w, b = normal(6, 8), normal(4, 8), normal(4)
    close(products.affine(x, w, b), exact(x, w, b))
    assert library.calls == [("cuBLAS", np.float32)]


def test_strided_biases_float64_and_no_rows_go_the_other_way(library):
    x, w, b = normal(6, 8), normal(4, 8), normal(8)[::2]
    close(products.affine(x, w, b), exact(x, w, b))
    double = [a.astype(np.float64).view(GpuArray) for a in (x, w, b)]
    np.testing.assert_allclose(products.affine(*double), exact(*double), 1e-12)
    assert products.affine(x[:0], w, normal(4)).shape == (0, 4)
    assert {call[0] for call in library.calls} == {"cuBLAS"}


def test_no_outputs_launch_nothing(library, monkeypatch):
    monkeypatch.setattr(products, "dense", lambda *arrays: True)
    monkeypatch.setattr(products, "kernel", lambda *args: pytest.fail("launched"))
    assert products.affine(normal(6, 8), normal(0, 8), normal(0)).shape == (6, 0)


def test_an_error_of_a_launch_is_raised(library):
    library.status = 13
    with pytest.raises(RuntimeError, match="cublasLtMatmul failed with status 13"):
        products.affine(normal(6, 8), normal(4, 8), normal(4))


@pytest.mark.parametrize("needs", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0, 0, 1), (0, 1, 0)])
@pytest.mark.parametrize("weights", [np.float32, BF16])
@pytest.mark.parametrize("summed", [True, False])
def test_the_product_for_w_sums_for_the_bias(library, monkeypatch, needs, weights, summed):
    monkeypatch.setattr(products, "SUMS_IN_PRODUCT", summed)
    op = products._CudaLinear()
    op.needs, op.dtypes = needs, (np.dtype(np.float32), np.dtype(weights))
    x, w, b = normal(2, 12, 8, dtype=BF16), normal(4, 8, dtype=BF16), normal(4, dtype=BF16)
    close(op.multiply(x, w, b), exact(x.reshape(24, 8), w, b).reshape(2, 12, 4))
    g = normal(24, 4, dtype=BF16)
    gx, gw, gb = op.gradients(g, lambda rows: rows.astype(np.float64).sum(0).astype(weights))
    exact_g = g.astype(np.float64)
    expected = (
        (exact_g @ w.astype(np.float64)).reshape(x.shape),
        exact_g.T @ x.reshape(24, 8).astype(np.float64), exact_g.sum(0),
    )  # fmt: skip
    for i, (a, value) in enumerate(zip((gx, gw, gb), expected, strict=True)):
        assert (a is not None) == bool(needs[i])
        if a is not None:
            assert a.dtype == (np.float32, weights, weights)[i]
            close(a, value)
    assert ((512, 68) in library.calls) == (summed and needs[1] and needs[2] == 1)


NEEDS = [(1, 1, 1, 1, 1), (0, 1, 1, 1, 1), (1, 0, 0, 0, 0), (0, 0, 1, 0, 1), (0, 0, 0, 1, 1),
         (0, 0, 0, 0, 0)]  # fmt: skip


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("hidden", [32, 12])
@pytest.mark.parametrize("mixed", [True, False])
def test_gelu_is_part_of_the_products(library, needs, hidden, mixed):
    dtype = np.float32 if mixed else BF16
    x, w, b = normal(3, 8, 16), normal(hidden, 16) * 0.3, normal(hidden)
    v, c = normal(24, hidden) * 0.3, normal(24)
    x, w, b, v, c = (on_gpu(a, BF16 if a is x else dtype) for a in (x, w, b, v, c))
    op = feed_forward.CudaMixedFeedForward() if mixed else feed_forward.CudaFeedForward()
    op.needs = tuple(map(bool, needs))
    y = op.forward(x, w, b, v, c, approximate="tanh")
    rounded = [wide(on_gpu(a, BF16)) for a in (x, w, b, v, c)]
    exact_x, exact_w, exact_b, exact_v, exact_c = rounded
    h = exact_x.reshape(24, 16) @ exact_w.T + exact_b
    a, derivative = gelu(h)
    near(y, (a @ exact_v.T + exact_c).reshape(3, 8, 24))
    assert y.dtype == BF16
    fused = hidden % 8 == 0  # cuBLASLt's rule for a matrix that an epilogue reads or writes
    kinds = [call[0] for call in library.calls]
    assert kinds == ([36 | 128 * any(needs), 4] if fused or not any(needs) else [4, 4])
    if not any(needs):
        assert op.saved == ()
        return
    assert [s.dtype for s in op.saved] == [BF16] * 5
    library.calls.clear()
    g = normal(3, 8, 24, dtype=BF16)
    if mixed:
        grads = op.gradients(g.reshape(24, 24), lambda rows: wide(rows).sum(0).astype(np.float32))
    else:
        grads = op.gradients(g.reshape(24, 24), lambda rows: wide(rows).sum(0).astype(BF16))
    exact_g = wide(g).reshape(24, 24)
    u = (exact_g @ exact_v) * derivative
    expected = (
        (u @ exact_w).reshape(3, 8, 16), u.T @ exact_x.reshape(24, 16), u.sum(0),
        exact_g.T @ a, exact_g.sum(0),
    )  # fmt: skip
    for gradient, value, need, like in zip(grads, expected, needs, (x, w, b, v, c), strict=True):
        assert (gradient is not None) == bool(need)
        if need:
            assert gradient.shape == value.shape and gradient.dtype == like.dtype
            near(gradient, value)
    assert (192 in [call[0] for call in library.calls]) == (fused and any(needs[:3]))


def near(a, expected):
    """Within bfloat16's rounding in two steps."""
    assert np.linalg.norm(wide(a) - expected) < 1e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize("inputs", ["b", "c"])
def test_feed_forward_without_a_bias(library, inputs):
    op = feed_forward.CudaFeedForward()
    op.needs = (True,) * 5
    x, w, v = normal(8, 16, dtype=BF16), normal(32, 16, dtype=BF16), normal(24, 32, dtype=BF16)
    b, c = (None if n in inputs else normal(size, dtype=BF16) for n, size in (("b", 32), ("c", 24)))
    y = op.forward(x, w, b, v, c, approximate="tanh")
    h = wide(x) @ wide(w).T + (0.0 if b is None else wide(b))
    near(y, gelu(h)[0] @ wide(v).T + (0.0 if c is None else wide(c)))


def test_nothing_is_taken_without_ml_dtypes(monkeypatch):
    """NumPy's float64 == None is True."""
    monkeypatch.setattr(feed_forward, "BF16", None)
    for dtype in (np.float64, np.float32):
        inputs = (normal(*s, dtype=dtype) for s in ((8, 16), (32, 16), (32,), (24, 32), (24,)))
        assert not feed_forward.CudaFeedForward.takes(*inputs, approximate="tanh")


def test_only_bfloat16_and_the_tanh_form_are_taken():
    x, w, b = normal(8, 16, dtype=BF16), normal(32, 16, dtype=BF16), normal(32, dtype=BF16)
    v = normal(24, 32, dtype=BF16)
    takes = feed_forward.CudaFeedForward.takes
    assert takes(x, w, b, v, None, approximate="tanh")
    assert not takes(x, w, b, v, None, approximate="none")
    assert not takes(x, w, b.astype(np.float32), v, None, approximate="tanh")
    assert not takes(x[:0], w, b, v, None, approximate="tanh")
    mixed = feed_forward.takes_mixed_feed_forward
    w, b, v = (a.astype(np.float32) for a in (w, b, v))
    assert mixed(x, w, b, v, None) and mixed(x.astype(np.float32), w, None, v, None)
    assert not mixed(x, w, b, v[:, 1:], None) and not mixed(x, w[:, 1:], b, v, None)
    assert not mixed(x, w, b[1:], v, None) and not mixed(x, w.astype(BF16), b, v, None)
