"""Linear layers through cuBLASLt: what it is asked for, with a library in NumPy in its place.

The stand-in reads addresses, layouts and attributes as cuBLASLt's documentation describes them.
tests/test_cuda_kernels.py runs the library itself.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_llm.arrays.devices import settings
from tinygrad_llm.ops.cuda import epilogues, launch, products

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)
DTYPE = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16), 14: BF16}
SIZE_OF = {3: 4, 4: 4, 7: 4, 8: 8, 11: 8, 12: 8}  # bytes of a product's attributes, in cublasLt.h


class GpuArray(np.ndarray):
    """A NumPy array with CuPy's pointer."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


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
        assert size == SIZE_OF[attribute] == ctypes.sizeof(value._obj)
        self.made[description.value][attribute] = value._obj.value
        return 0

    def cublasLtMatmulPreferenceSetAttribute(self, preference, attribute, value, size):
        assert size == (8 if attribute == 1 else 4)
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
        epilogue, address = asked[7], asked[8]
        result, count = A @ B, D.shape[1] if epilogue == 512 else D.shape[0]
        memory = (ctypes.c_char * (count * D.itemsize)).from_address(address)
        vector = np.frombuffer(memory, D.dtype)
        if epilogue == 4:
            result += vector.astype(np.float64)[:, None]
        else:
            assert epilogue == 512
            vector[...] = B.sum(0)
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

    monkeypatch.setattr(launch, "xp", xp)
    monkeypatch.setattr(launch, "several", False)
    monkeypatch.setattr(epilogues, "_plans", {})
    monkeypatch.setattr(epilogues, "_library", lambda: library)
    monkeypatch.setattr(products, "product", product)
    monkeypatch.setattr(products, "narrowed", lambda x: on_gpu(x, BF16))
    monkeypatch.setattr(products, "dense", lambda *arrays: False)  # no kernel fills y
    for cached in (epilogues.handle, epilogues._preference):
        cached.cache_clear()
    yield library
    for cached in (epilogues.handle, epilogues._preference):
        cached.cache_clear()


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
