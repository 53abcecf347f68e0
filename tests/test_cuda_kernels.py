"""The GPU's own kernels against the ops that they stand for: same numbers, forward and backward.

These need a GPU (tests/gpu.md says how they are run). What can be known without one is tested here
too: that every kernel file is in the package, and that each twin belongs to an op.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import real_gpu
from gpu_arrays import GpuArray

import tinygrad_llm as tg
from tinygrad_llm import ops
from tinygrad_llm.arrays.twins import twins
from tinygrad_llm.autograd import engine
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops import cuda as kernels
from tinygrad_llm.ops.cuda import (
    attention,
    cudnn_attention,
    epilogues,
    feed_forward,
    launch,
    products,
    rows,
)
from tinygrad_llm.ops.cuda import loss as loss_kernels

gpu = pytest.mark.skipif(not real_gpu(), reason="needs CuPy and a GPU")
DTYPES = ("float32", "bfloat16")
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2}


def test_every_twin_stands_for_an_op():
    for op, twin in kernels.TWINS.items():
        assert issubclass(twin, op) and twin.name == op.name and op in engine.OPS.values()
    assert set(kernels.NARROW) <= set(kernels.TWINS)


def test_the_linear_of_autocast_takes_bfloat16_as_it_is():
    """Else the engine would widen x and W, and a GPU would multiply in float32."""
    assert not products.CudaMixedLinear.in_float32
    assert not feed_forward.CudaMixedFeedForward.in_float32


def test_kernel_files_are_in_the_package():
    assert {p.name for p in launch.KERNELS.iterdir()} >= {
        "common.cuh", "elementwise.cu", "rows.cu", "norm.cu", "attention.cu"
    }  # fmt: skip


@pytest.fixture
def launched(monkeypatch):
    """What the norms launch, without a GPU: (file, kernel, -D..., grid, arguments)."""
    calls = []

    def kernel(file, name, *defines):
        def call(grid, block, args):
            macro = re.sub("^(layer|rms)_norm", "NAME", name).replace("NAME_", "NAME##_")
            code = (launch.KERNELS / f"{file}.cu").read_text(encoding="utf-8")
            parameters = re.search(rf"\b({name}|{macro})\(([^)]*)\)", code)[2]
            assert len(args) == parameters.count(",") + 1, name
            calls.append((file, name, defines, grid, args))

        return call

    for name, stub in {
        "kernel": kernel, "empty": np.empty, "contiguous": np.ascontiguousarray,
        "float32": lambda *arrays: True, "gpu": lambda: 0, "processors": lambda gpu: 132,
    }.items():  # fmt: skip
        monkeypatch.setattr(rows, name, stub)
    return calls


@pytest.mark.parametrize(("n", "c", "in_one"), [(3000, 768, True), (5, 768, True), (1, 4, True),
                                                (40, 7, False), (40, 1028, False)])  # fmt: skip
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_what_the_norms_launch(norm, n, c, in_one, launched):
    op = {"layer_norm": rows.CudaLayerNorm, "rms_norm": rows.CudaRmsNorm}[norm]()
    x, w, g, total = (np.ones(s, np.float32) for s in ((n, c), c, (n, c), (n, c)))
    op.needs = [True, True]
    op.forward(x, w, eps=1e-5)
    names = ["norm_of_rows_back", "sum_blocks"]
    if not in_one:  # the sums first, because ∂L/∂x may be written into g
        names = ["sum_rows_hat", "sum_pairs", norm + "_back"]
    for owned in (None, False, True):
        grads = op.backward(g) if owned is None else op.adder(g, total, owned)
        assert [call[1] for call in launched[1:]] == names
        assert {call[0] for call in launched} == {"norm" if in_one else "rows"}
        (*_, grid, arguments) = next(call for call in launched if call[1].endswith("_back"))
        assert arguments[6] is grads[0] and grads[1].shape == (c,)
        assert (arguments[5] is total) == (owned is not None)
        assert (grads[0] is total) == (owned is True)
        if in_one:
            assert grid == (min(132 * (2 if c > 4 else 4), -(-n // 8)),)
            assert arguments[7].shape == (*grid, 2 if norm == "layer_norm" else 1, c)
        del launched[1:]
    op.fast = False
    assert op.adder(g, total, True) is None


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_a_norm_whose_result_is_bfloat16(norm, launched):
    op = {"layer_norm": rows.CudaRoundedLayerNorm, "rms_norm": rows.CudaRoundedRmsNorm}[norm]()
    x, w = np.ones((40, 768), np.float32), np.ones(768, np.float32)
    op.needs = [True, True]
    y = op.forward(x, w, eps=1e-5)
    grads = op.backward(np.ones_like(y))
    assert y.dtype == launch.BF16 and all(a.dtype == np.float32 for a in grads)
    assert all("Y=bf16" in defines for _, _, defines, _, _ in launched) and len(launched) == 3
    assert not op.takes(x[:, :7], w) and not op.takes(np.ones((2, 1028), np.float32))
    assert op.takes(x, None) and not op.takes(x[:0], w)


@pytest.mark.parametrize("first", [0, 1, 2, 4])
def test_what_is_loaded_by_four_is_aligned(first, monkeypatch):
    """A view may be in row order and begin anywhere, as each gradient that `cat` returns."""
    memory = np.arange(72, dtype=np.float32)
    memory = memory[-(memory.ctypes.data // 4) % 4 :].view(GpuArray)  # at a multiple of 16
    monkeypatch.setattr(
        launch, "xp",
        SimpleNamespace(ascontiguousarray=lambda x: np.ascontiguousarray(x).view(GpuArray)),
    )  # fmt: skip
    x = memory[first : first + 64].reshape(1, 2, 2, 16)
    assert x.flags.c_contiguous and launch.dense(x) == (first % 4 == 0)
    for y in (launch.contiguous(x), attention.aligned(x)):
        assert launch.dense(y) and np.array_equal(x, y)
        assert np.shares_memory(x, y) == (first % 4 == 0)


def run(function, arrays, device, dtype, seed=0):
    """function's results and its tensors' gradients, as float64 arrays."""
    tensors = []
    for a in arrays:
        t = tg.from_numpy(np.array(a))
        if t.is_floating_point():
            t = t.to(getattr(tg, dtype)).to(device).requires_grad_()
        else:
            t = t.to(device)
        tensors.append(t)
    y = function(*tensors)
    g = tg.from_numpy(np.random.default_rng(seed).standard_normal(tuple(y.shape)))
    y.backward(g.to(y.dtype).to(device))
    results = [y, *(t.grad for t in tensors if t.requires_grad)]
    return [x.detach().cpu().to(tg.float64).numpy() for x in results]


def compare(function, arrays, dtype, tolerance=None):
    """On the GPU in dtype, against float64 on the CPU from the same rounded inputs."""
    rounded = [
        a if a.dtype.kind in "iub"
        else tg.from_numpy(a).to(getattr(tg, dtype)).to(tg.float64).numpy()
        for a in arrays
    ]  # fmt: skip
    expected = run(function, rounded, "cpu", "float64")
    got = run(function, rounded, "cuda", dtype)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape
        error = np.linalg.norm(a - b) / max(np.linalg.norm(b), 0.1 * b.size**0.5)  # 0 among them
        assert error < (tolerance or TOLERANCE[dtype]), f"result {i}: {error:.2e}"


def normal(*shape, seed=1):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


@pytest.fixture(autouse=True)
def precise():
    tg.set_float32_matmul_precision("highest")
    yield
    tg.set_float32_matmul_precision("highest")


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 8, 12), (2, 130, 64, 96), (1, 1, 7, 5)])
def test_linear(shape, dtype):
    a, n, i, o = shape
    compare(F.linear, [normal(a, n, i), normal(o, i), normal(o)], dtype)
    compare(lambda x, w: F.linear(x, w), [normal(a, n, i), normal(o, i)], dtype)


@pytest.fixture(params=[True, False], ids=["by cuBLASLt", "by cuBLAS"])
def by_cublaslt(request, monkeypatch):
    """Linear layers with cuBLASLt's epilogues, where it takes them, and without; yields which."""
    monkeypatch.setattr(products, "SUMS_IN_PRODUCT", True)
    multiplied = []
    if request.param:
        multiply = epilogues.multiply
        monkeypatch.setattr(
            epilogues, "multiply",
            lambda *args: multiply(*args) and multiplied.append(args[0]) is None,
        )  # fmt: skip
    else:
        monkeypatch.setattr(epilogues, "multiply", lambda *args: False)
    yield multiplied
    if request.param:
        assert multiplied


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tf32", [False, True])
def test_linear_with_epilogues(by_cublaslt, dtype, tf32):
    tg.set_float32_matmul_precision("high" if tf32 else "highest")
    tolerance = 2e-3 if tf32 and dtype == "float32" else None
    for a, n, i, o in ((2, 96, 64, 128), (1, 1, 768, 8), (5, 3, 40, 24), (1, 300, 33, 7)):
        arrays = [normal(a, n, i), normal(o, i), normal(o)]
        compare(F.linear, arrays, dtype, tolerance)
        compare(lambda x, w, b: F.linear(x.transpose(0, 1), w, b), arrays, dtype, tolerance)
    wide = [normal(50, 128), normal(32, 64), normal(32)]
    compare(lambda x, w, b: F.linear(x[:, 64:], w, b), wide, dtype, tolerance)
    compare(lambda x, w, b: F.linear(x[::2, 32:96], w, b), wide, dtype, tolerance)
    compare(lambda x, w, b: F.linear(x[:, :64], w.T.contiguous().T, b), wide, dtype, tolerance)
    compare(lambda x, w, b: F.linear(x[:, ::2], w, b.flip(0)), wide, dtype, tolerance)
    compare(lambda x, w, b: F.linear(x[:, ::2], w, b), wide, dtype, tolerance)


@gpu
def test_linear_of_no_rows_and_in_other_dtypes():
    w, b = (tg.ones(*shape, device="cuda", requires_grad=True) for shape in ((4, 8), (4,)))
    y = F.linear(tg.ones(0, 8, device="cuda"), w, b)
    assert y.shape == (0, 4)
    y.sum().backward()
    assert float(w.grad.abs().sum() + b.grad.abs().sum()) == 0.0
    compare(F.linear, [normal(9, 8), normal(4, 8), normal(4)], "float64", 1e-12)
    compare(F.linear, [normal(9, 8), normal(8, 8), normal(8)], "float16", 2e-3)


@gpu
@pytest.mark.parametrize("needs", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0, 0, 1), (1, 1, 0)])
@pytest.mark.parametrize("mixed", [True, False])
def test_each_gradient_of_linear_alone(by_cublaslt, needs, mixed):
    arrays = [tg.from_numpy(a).float() for a in (normal(3, 64, 32), normal(48, 32), normal(48))]
    results = []
    for device in ("cpu", "cuda"):
        inputs = [a.clone().to(device) for a in arrays]
        for x, need in zip(inputs, needs, strict=True):
            x.requires_grad_(bool(need))
        with tg.autocast("cuda", enabled=mixed and device == "cuda"):
            y = F.linear(*inputs)
        assert y.dtype is (tg.bfloat16 if mixed and device == "cuda" else tg.float32)
        (y.float() * tg.arange(48, device=device)).sum().backward()
        results.append([y.detach(), *(x.grad for x in inputs)])
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            a, b = a.numpy(), b.float().cpu().numpy()
            assert np.linalg.norm(a - b) < (1e-2 if mixed else 2e-5) * np.linalg.norm(a)


@gpu
@pytest.mark.parametrize("mixed", [True, False])
def test_linear_in_a_graph_is_the_same(by_cublaslt, mixed):
    layer = tg.nn.Linear(64, 128).to("cuda")

    def step(x):
        with tg.autocast("cuda", enabled=mixed):
            y = layer(x)
        layer.zero_grad(set_to_none=False)
        y.float().square().sum().backward()
        return y.detach().clone()

    x = tg.from_numpy(normal(256, 64)).float().to("cuda")
    expected = [step(x), *(p.grad.clone() for p in layer.parameters())]
    for _ in range(2):  # no sum depends on which thread was first
        results = [step(x), *(p.grad.clone() for p in layer.parameters())]
        assert all(tg.equal(a, b) for a, b in zip(results, expected, strict=True))
    graphed = tg.cuda.graphed(step)
    for _ in range(6):
        results = [graphed(x).clone(), *(p.grad.clone() for p in layer.parameters())]
    assert all(tg.equal(a, b) for a, b in zip(results, expected, strict=True))


def in_parts(x, w, b, v, c):
    return F.linear(F.gelu(F.linear(x, w, b), approximate="tanh"), v, c)


@gpu
@pytest.mark.parametrize(("n", "i", "hidden", "o"), [(96, 64, 256, 64), (5, 24, 44, 7)])
def test_feed_forward_in_one_op(by_cublaslt, n, i, hidden, o):
    x, w, b = normal(2, n, i), normal(hidden, i) * i**-0.5, normal(hidden)
    v, c = normal(o, hidden) * hidden**-0.5, normal(o)
    f = lambda *inputs: F.linear_gelu_linear(*inputs, approximate="tanh")  # noqa: E731
    compare(f, [x, w, b, v, c], "bfloat16", 3e-2)
    compare(lambda x, w, v: f(x, w, None, v, None), [x, w, v], "bfloat16", 3e-2)
    compare(f, [x, w, b, v, c], "float32")
    compare(F.linear_gelu_linear, [x, w, b, v, c], "bfloat16", 3e-2)  # the form by erf
    with tg.no_grad():
        tensors = [tg.from_numpy(a).to(tg.bfloat16).to("cuda") for a in (x, w, b, v, c)]
        y, apart = f(*tensors), in_parts(*tensors)
    assert float((y - apart).float().norm() / apart.float().norm()) < 2e-2


@gpu
@pytest.mark.parametrize("needs", [(1, 1, 1, 1, 1), (0, 1, 1, 0, 0), (1, 0, 0, 0, 0),
                                   (0, 0, 1, 0, 1), (0, 0, 0, 1, 1)])  # fmt: skip
def test_feed_forward_within_autocast(by_cublaslt, needs):
    arrays = (
        normal(3, 64, 32),
        normal(128, 32) * 0.2,
        normal(128),
        normal(24, 128) * 0.1,
        normal(24),
    )
    x, w, b, v, c = (tg.from_numpy(a).float() for a in arrays)
    results = []
    for device in ("cpu", "cuda"):
        inputs = [a.clone().to(device) for a in (x, w, b, v, c)]
        for a, need in zip(inputs, needs, strict=True):
            a.requires_grad_(bool(need))
        with tg.autocast("cuda", enabled=device == "cuda"):
            y = F.linear_gelu_linear(*inputs, approximate="tanh")
        assert y.dtype is (tg.bfloat16 if device == "cuda" else tg.float32)
        (y.float() * tg.arange(24, device=device)).sum().backward()
        assert all(a.grad is None or a.grad.dtype is tg.float32 for a in inputs)
        results.append([y.detach(), *(a.grad for a in inputs)])
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            a, b = a.numpy(), b.float().cpu().numpy()
            assert np.linalg.norm(a - b) < 3e-2 * np.linalg.norm(a)


@gpu
def test_a_layer_is_one_op_where_nobody_watches():
    from tinygrad_llm.layers.feed_forward import FeedForward

    layer, x = FeedForward(32).to("cuda"), tg.from_numpy(normal(4, 32)).float().to("cuda")

    def op_of(y):
        return y._op.name

    assert op_of(layer(x)) == "linear"
    with tg.autocast("cuda"):
        assert op_of(layer(x)) == "linear_gelu_linear"
        y = layer(x)
        seen = []
        hook = layer.layers[1].register_forward_hook(lambda *args: seen.append(args))
        assert op_of(layer(x)) == "linear" and seen
        near = float((layer(x) - y).detach().float().norm() / y.detach().float().norm())
        assert near < 2e-2
        hook.remove()
        engine.observers.append(lambda op, inputs, results: seen.append(op.name))
        try:
            assert op_of(layer(x)) == "linear" and seen[-3:] == ["linear", "gelu", "linear"]
        finally:
            engine.observers.pop()
    layer.to(tg.bfloat16)
    assert op_of(layer(x.to(tg.bfloat16))) == "linear_gelu_linear"


def block_of(name):
    from tinygrad_llm.layers.attention import Attention
    from tinygrad_llm.layers.block import Block
    from tinygrad_llm.layers.feed_forward import FeedForward, GatedFeedForward

    tg.manual_seed(0)
    c = 96
    att, norm = Attention(c, 4), lambda: tg.nn.LayerNorm(c)
    if name == "gated":
        return Block(att, GatedFeedForward(c, 128), lambda: tg.nn.RMSNorm(c, eps=1e-6))
    if name == "cross":
        return Block(att, FeedForward(c), norm, cross=Attention(c, 4, cross=True))
    if name in ("sandwich", "post", "after", "parallel"):
        return Block(att, FeedForward(c), norm, norm_place=name)
    return Block(att, FeedForward(c, activation="relu" if name == "relu" else "gelu_new"), norm)


@gpu
@pytest.mark.parametrize(("name", "rounded"), [("pre", 2), ("gated", 2), ("relu", 2), ("cross", 3),
                         ("sandwich", 2), ("post", 0), ("after", 0), ("parallel", 0)])  # fmt: skip
def test_a_norm_before_a_product_is_rounded_while_it_is_computed(name, rounded, monkeypatch):
    block = block_of(name).to("cuda")
    start, g = (tg.from_numpy(normal(2, 64, 96)).float().to("cuda") for _ in range(2))
    options = {"memory": start.detach() * 0.5} if name == "cross" else {}

    def step():
        x = start.detach().clone().requires_grad_()
        block.zero_grad()
        with tg.autocast("cuda"):
            y = block(x, **options)
        y.backward(g)
        return y.detach(), x.grad, *(p.grad for p in block.parameters())

    seen = []

    def forward(op, *args, **options):
        seen.append(op.name)
        return rows._Norm.forward_fast(op, *args, **options)

    monkeypatch.setattr(rows._RoundedNorm, "forward_fast", forward, raising=False)
    rounded_norms = step()
    assert len(seen) == rounded
    for module in block.modules():
        module.register_forward_hook(lambda *args: None)
    apart = step()  # somebody watches: float32 between
    assert len(seen) == rounded
    if name in ("gated", "relu"):  # in the others GELU is in a product, or is not
        assert tg.equal(rounded_norms[0], apart[0])
    for a, b in zip(rounded_norms, apart, strict=True):
        assert a.dtype is b.dtype is tg.float32
        assert float((a - b).norm()) <= 2e-2 * float(b.norm())


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul(dtype):
    compare(tg.matmul, [normal(3, 4, 16, 24), normal(3, 4, 24, 40)], dtype)
    compare(lambda a, b: a @ b.transpose(-1, -2), [normal(6, 9, 7), normal(6, 11, 7)], dtype)
    compare(lambda a, b: a.transpose(0, 1) @ b, [normal(24, 16), normal(24, 40)], dtype)
    compare(tg.matmul, [normal(3, 8, 16), normal(16, 24)], dtype)
    compare(tg.matmul, [normal(3, 1, 8, 16), normal(2, 16, 24)], dtype)


@gpu
def test_matmul_float64():
    compare(tg.matmul, [normal(3, 8, 16), normal(3, 16, 24)], "float64", 1e-12)


@gpu
@pytest.mark.parametrize("c", [1, 7, 64, 65, 384, 768, 1023, 4096])
def test_norms(c):
    x = normal(37, c) * 3 + 1
    compare(lambda x, w, b: F.layer_norm(x, (c,), w, b), [x, normal(c), normal(c)], "float32", 1e-4)
    compare(lambda x, w: F.rms_norm(x, (c,), w, 1e-6), [x, normal(c)], "float32", 1e-4)
    compare(lambda x: F.layer_norm(x, (c,)) + x, [x], "float32", 1e-4)
    many = normal(1500, c)
    compare(lambda x, w: F.rms_norm(x, (c,), w, 1e-6), [many, normal(c)], "float32", 1e-4)


@gpu
@pytest.mark.parametrize("c", [4, 64, 768, 1000, 1024, 7, 1028])
def test_norms_add_to_what_has_arrived(c):
    """x goes around the norm: its gradient is the sum, to the last bit that of two launches."""
    x, w, b = normal(37, c) * 3 + 1, normal(c), normal(c)
    for f in (
        lambda x, w, b: (lambda p: F.layer_norm(p, (c,), w, b) + p)(x * 2),
        lambda x, w, b: (lambda p: F.layer_norm(p, (c,), w, b) + F.rms_norm(p, (c,), w) + p)(x * 2),
    ):
        compare(f, [x, w, b], "float32", 1e-4)
    results = []
    for adder in (rows._Norm.adder, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows._Norm, "adder", adder)
            results.append(run(f, [x, w, b], "cuda", "float32"))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def begun_late(x):
    """x as a view that begins at the second element of its memory."""
    return tg.cat([tg.zeros(1, dtype=x.dtype, device=x.device), x.flatten()])[1:].view(x.shape)


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_and_inputs_that_begin_anywhere(dtype):
    """A load of four elements fails at an address that is not a multiple of its size."""
    tanh = {"approximate": "tanh"}
    for f, shapes in (
        (F.gelu, [(5, 64)]),
        (lambda x: F.layer_norm(x, (64,)), [(5, 64)]),
        (lambda x: F.layer_norm(x, (1028,)), [(5, 1028)]),
        (F.linear, [(5, 64), (32, 64), (32,)]),
        (lambda *a: F.linear_gelu_linear(*a, **tanh), [(5, 16), (32, 16), (32,), (8, 32), (8,)]),
        (F.scaled_dot_product_attention, [(1, 2, 128, 16)] * 3),
    ):
        arrays = [normal(*s, seed=i) for i, s in enumerate(shapes)]
        tolerance = None if dtype == "float32" else 3e-2

        def f_is_second(first, *a, f=f):  # cat gives it a gradient that begins at its second number
            return tg.cat([first, f(*a).flatten()])

        compare(f_is_second, [normal(1), *arrays], dtype, tolerance)
        compare(lambda *a, f=f: f(*map(begun_late, a)), arrays, dtype, tolerance)


@gpu
def test_weights_that_begin_anywhere_within_autocast():
    x, w, b = (tg.from_numpy(normal(*s)).float().to("cuda") for s in ((9, 64), (32, 64), (32,)))
    with tg.autocast("cuda"):
        y, late = F.linear(x, w, b), F.linear(x, begun_late(w), begun_late(b))
    assert float((y - late).float().norm() / y.float().norm()) < 1e-2


@gpu
def test_layer_norm_of_large_values():
    x = normal(9, 256) + 1e4
    compare(lambda x: F.layer_norm(x, (256,)), [np.float32(x).astype(np.float64)], "float32", 1e-2)


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate, dtype):
    for shape in ((5,), (33, 64), (7, 1025)):
        compare(lambda x: F.gelu(x, approximate=approximate), [normal(*shape) * 3], dtype)


@gpu
def test_softmax():
    for shape in ((5,), (33, 64), (3, 7, 1025)):
        compare(lambda x: F.softmax(x, -1), [normal(*shape) * 3], "float32")


@gpu
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("v", [3, 65, 1000, 5003])
def test_cross_entropy(v, reduction):
    t = np.random.default_rng(v).integers(0, v, 41)
    t[3] = -100
    f = lambda x, t: F.cross_entropy(x, t, reduction=reduction)  # noqa: E731
    compare(f, [normal(41, v) * 3, t], "float32")


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("v", [65, 1000, 5003])
def test_linear_cross_entropy(v, dtype, monkeypatch):
    monkeypatch.setattr(loss_kernels, "LOGITS_BYTES", 4 * v * 128)  # several blocks of rows
    t = np.random.default_rng(v).integers(0, v, (3, 100))
    t[0, 5] = -100
    x, w, b = normal(3, 100, 64), normal(v, 64) * 0.3, normal(v)
    compare(lambda x, w, t: F.linear_cross_entropy(x, w, t), [x, w, t], dtype)
    f = lambda x, w, t, b: F.linear_cross_entropy(x, w, t, linear_bias=b, reduction="sum")  # noqa: E731
    compare(f, [x, w, t, b], dtype)


@gpu
def test_targets_that_all_are_ignored():
    t = tg.from_numpy(np.full(7, -100)).to("cuda")
    x = tg.from_numpy(normal(7, 10).astype(np.float32)).to("cuda").requires_grad_()
    loss = F.cross_entropy(x, t)
    loss.backward()
    assert np.isnan(loss.item()) and float(x.grad.abs().sum()) == 0.0


ATTENTION = [  # query shape, key shape
    ((2, 3, 64, 64), (2, 3, 64, 64)),
    ((1, 2, 200, 64), (1, 2, 200, 64)),
    ((2, 2, 1, 64), (2, 2, 77, 64)),
    ((1, 2, 129, 32), (1, 2, 300, 32)),
    ((1, 2, 300, 32), (1, 2, 129, 32)),
    ((1, 2, 150, 128), (1, 2, 150, 128)),
    ((2, 6, 140, 64), (2, 2, 140, 64)),
    ((3, 33, 16), (3, 33, 16)),
]


@gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shapes", ATTENTION, ids=str)
def test_attention(shapes, causal, precision):
    q, k = shapes
    if precision == "tf32":
        tg.set_float32_matmul_precision("high")
    f = lambda q, k, v: F.scaled_dot_product_attention(  # noqa: E731
        q, k, v, is_causal=causal, enable_gqa=True
    )
    arrays = [normal(*q, seed=1), normal(*k, seed=2), normal(*k, seed=3)]
    tolerance = {"float32": 2e-5, "tf32": 3e-3, "bfloat16": 2e-2}[precision]
    compare(f, arrays, "bfloat16" if precision == "bfloat16" else "float32", tolerance)


@gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["bool", "number", "row", "nowhere"])
@pytest.mark.parametrize("shapes", ATTENTION[:4] + ATTENTION[5:7], ids=str)
def test_attention_with_a_mask(shapes, kind, precision):
    (B, H, L, _), (_, _, S, _) = shapes
    rng = np.random.default_rng(L + S)
    mask = rng.random((B, 1, L, S)) < 0.7
    if kind == "row":
        mask = rng.random((B, 1, 1, S)) < 0.7
    elif kind == "nowhere":
        mask = mask[0, 0] & (np.arange(L) % 3 > 0)[:, None]
    elif kind == "number":
        mask = np.float32(rng.standard_normal((H, L, S)) * 2)

    def f(q, k, v):
        m = tg.from_numpy(np.array(mask)).to(q.device)
        return F.scaled_dot_product_attention(
            q, k, v, m if m.dtype is tg.bool else m.to(q.dtype), enable_gqa=True
        )

    arrays = [normal(*shapes[0], seed=1), normal(*shapes[1], seed=2), normal(*shapes[1], seed=3)]
    compare(f, arrays, precision, {"float32": 2e-5, "bfloat16": 3e-2}[precision])


@gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shapes", ATTENTION, ids=str)
def test_attention_with_dropout_from_the_cpus_stream(shapes, causal, precision):
    def f(q, k, v):
        tg.manual_seed(11)
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=0.3, is_causal=causal, enable_gqa=True
        )

    q, k = shapes
    arrays = [normal(*q, seed=1), normal(*k, seed=2), normal(*k, seed=3)]
    compare(f, arrays, precision, {"float32": 2e-5, "bfloat16": 5e-2}[precision])


@gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("L, S, D, causal", [(70, 70, 64, True), (33, 150, 32, False),
                                             (130, 130, 128, True)])  # fmt: skip
def test_dropout_drawn_within_attention(L, S, D, causal, precision):
    """v as the unit matrix shows the weights, and so what stayed; the gradients must fit to it."""
    p, H = 0.3, 2
    dtype = tg.bfloat16 if precision == "bfloat16" else tg.float32
    if precision == "tf32":
        tg.set_float32_matmul_precision("high")
    rng = np.random.default_rng(0)
    q, k, v, g = (tg.from_numpy(np.float32(rng.standard_normal((1, H, n, D)))).to(dtype)
                  for n in (L, S, S, L))  # fmt: skip
    tg.cuda.fast_dropout()
    try:

        def attend(v):
            tg.manual_seed(3)
            return F.scaled_dot_product_attention(
                q.to("cuda"), k.to("cuda"), v.to("cuda"), dropout_p=p, is_causal=causal
            ).detach()

        parts = []
        for first in range(0, S, D):  # D columns of the weights at a time
            unit = np.zeros((1, H, S, D), np.float32)
            unit[..., range(first, min(S, first + D)), range(min(S, first + D) - first)] = 1.0
            parts.append(attend(tg.from_numpy(unit).to(dtype)).cpu().float().numpy())
        stayed = np.concatenate(parts, -1)[..., :S] != 0
        inputs = [x.to("cuda").requires_grad_() for x in (q, k, v)]
        tg.manual_seed(3)
        y = F.scaled_dot_product_attention(*inputs, dropout_p=p, is_causal=causal)
        y.backward(g.to("cuda"))
    finally:
        tg.cuda.fast_dropout(False)
    seen = np.tril(np.ones((L, S), bool)) if causal else np.ones((L, S), bool)
    share = stayed[..., seen].mean()
    assert abs(share - (1 - p)) < 4 * (p * (1 - p) / (H * seen.sum())) ** 0.5 + 0.003
    assert not np.array_equal(stayed[0, 0], stayed[0, 1])  # each head has its own
    exact = [x.to(tg.float64).requires_grad_() for x in (q, k, v)]
    expected = ops.ScaledDotProductAttention.apply(
        *exact, None, stayed, is_causal=causal, dropout_p=p
    )
    expected.backward(g.to(tg.float64))
    tolerance = {"float32": 2e-5, "tf32": 3e-3, "bfloat16": 3e-2}[precision]
    for a, b in zip(
        [y, *(x.grad for x in inputs)], [expected, *(x.grad for x in exact)], strict=True
    ):
        a, b = a.detach().cpu().to(tg.float64).numpy(), b.detach().numpy()
        assert np.linalg.norm(a - b) / np.linalg.norm(b) < tolerance


@gpu
def test_a_mask_that_wants_a_gradient_and_float64_go_to_the_op():
    tg.cuda.fast_dropout()
    try:
        q = tg.randn(1, 2, 9, 16).to("cuda")
        mask = tg.zeros(9, 9, device="cuda").requires_grad_()
        F.scaled_dot_product_attention(q, q, q, mask, dropout_p=0.2).sum().backward()
        assert float(mask.grad.abs().sum()) > 0
        double = q.to(tg.float64)
        assert (
            F.scaled_dot_product_attention(double, double, double, dropout_p=0.2).shape == q.shape
        )
    finally:
        tg.cuda.fast_dropout(False)


@gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_of_one_matrix_split_in_three(dtype):
    def f(x):
        q, k, v = x.view(2, 50, 6, 32).transpose(1, 2).split(2, dim=1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(
            2, 50, 64)  # fmt: skip

    compare(f, [normal(2, 50, 192)], dtype)


@pytest.fixture
def cudnn_plans():
    """cuDNN's plans, none at first; skips where cuDNN cannot be used."""
    tg.ones(1, device="cuda")  # CuPy is used first
    why = cudnn_attention.why_not() or ("" if cudnn_attention._capability(0) >= 90 else "old GPU")
    if why:
        pytest.skip(why)
    cudnn_attention._plans.clear()
    yield cudnn_attention._plans
    cudnn_attention._plans.clear()


def packed(H, K, D):  # noqa: N803
    """Attention of one matrix (B, T, (H + 2K) D), as most models call it."""

    def f(x):
        B, T, _ = x.shape
        q, k, v = x.view(B, T, H + 2 * K, D).transpose(1, 2).split([H, K, K], dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return y.transpose(1, 2).reshape(B, T, H * D)

    return f


@gpu
@pytest.mark.parametrize(
    ("shapes", "causal"),
    [(((2, 4, 256, 64), (2, 4, 256, 64)), True), (((2, 4, 256, 128), (2, 2, 256, 128)), True),
     (((1, 6, 128, 80), (1, 2, 384, 80)), False)],
)  # fmt: skip
def test_attention_by_cudnn(cudnn_plans, shapes, causal):
    q, k = shapes
    f = lambda q, k, v: F.scaled_dot_product_attention(  # noqa: E731
        q, k, v, is_causal=causal, enable_gqa=True
    )
    compare(f, [normal(*q, seed=1), normal(*k, seed=2), normal(*k, seed=3)], "bfloat16")
    assert len(cudnn_plans) == 2 and not [p for p in cudnn_plans.values() if isinstance(p, str)]


@gpu
def test_cudnn_with_one_matrix_and_switched_off(cudnn_plans):
    arrays = [normal(2, 256, (4 + 2 * 2) * 32)]
    with tg.backends.cudnn.flags(enabled=False):
        compare(packed(4, 2, 32), arrays, "bfloat16")
    assert not cudnn_plans
    compare(packed(4, 2, 32), arrays, "bfloat16")
    assert len(cudnn_plans) == 2
    first, *others = (run(packed(4, 2, 32), arrays, "cuda", "bfloat16") for _ in range(4))
    for other in others:  # the same in every run
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@gpu
def test_cudnn_and_the_own_kernels_fit_together(cudnn_plans):
    """The sums that one of them saved serve the other's backward pass."""
    tensors = [tg.from_numpy(normal(1, 4, 128, 64, seed=i)).to(tg.bfloat16) for i in range(4)]
    results = []
    for first, second in ((False, False), (False, True), (True, False)):
        q, k, v = (t.to("cuda").requires_grad_() for t in tensors[:3])
        with tg.backends.cudnn.flags(enabled=first):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        with tg.backends.cudnn.flags(enabled=second):
            y.backward(tensors[3].to("cuda"))
        results.append([x.grad.cpu().to(tg.float64).numpy() for x in (q, k, v)])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert np.linalg.norm(a - b) < 1e-2 * np.linalg.norm(b)


@gpu
def test_cudnn_in_a_cuda_graph(cudnn_plans):
    def step(q, g):
        x = q.detach().requires_grad_()
        y = packed(4, 4, 64)(x)
        y.backward(g)
        return y.detach(), x.grad

    shapes = [(2, 128, 12 * 64), (2, 128, 4 * 64)]
    batches = [[tg.from_numpy(normal(*s, seed=i)).to(tg.bfloat16).to("cuda") for s in shapes]
               for i in range(5)]  # fmt: skip
    expected = [[x.cpu() for x in step(*batch)] for batch in batches]
    assert len(cudnn_plans) == 2
    graphed = tg.cuda.graphed(step, warmup=1)
    got = [[x.cpu() for x in graphed(*batch)] for batch in batches]
    for a, b in zip(got, expected, strict=True):
        assert all(tg.equal(x, y) for x, y in zip(a, b, strict=True))
    graph = tg.cuda.CUDAGraph()
    cudnn_plans.clear()  # a plan is not made in a capture: the own kernels serve there
    with tg.cuda.graph(graph):
        results = step(*batches[0])
    graph.replay()
    assert not cudnn_plans
    for a, b in zip(results, expected[0], strict=True):
        error = (a.cpu().float() - b.float()).norm() / b.float().norm()
        assert float(error) < 1e-2


@gpu
@pytest.mark.parametrize("c", [1, 70, 256, 600])
@pytest.mark.parametrize("n", [1, 8, 9, 360, 3000])  # an id has one row, some, or many
def test_embedding_is_deterministic_and_right(n, c):
    ids = np.random.default_rng(n).integers(0, 50, n) ** 2 % 50
    compare(lambda w, i: F.embedding(i, w), [normal(50, c), ids], "float32")
    results = [run(lambda w, i: F.embedding(i, w), [normal(50, c), ids], "cuda", "float32")[1]
             for _ in range(3)]  # fmt: skip
    assert all(np.array_equal(results[0], f) for f in results)


@gpu
def test_attention_with_a_negative_scale():
    q, k, v = (normal(2, 4, 256, 64) * 2 for _ in range(3))
    for causal in (False, True):
        f = lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=causal, scale=-0.125)  # noqa: B023, E731
        compare(f, [q, k, v], "bfloat16", 3e-2)


@gpu
@pytest.mark.parametrize("shape", [(5, 7), (64, 33), (3, 100, 64)])
def test_gradients_of_several_uses_are_added(shape):
    compare(lambda x: x * 2 + F.gelu(x) + x.exp() + x, [normal(*shape)], "float32", 1e-5)
    compare(lambda x: F.gelu(x).T + x.exp().T, [normal(5, 7)], "float32", 1e-5)


@gpu
@pytest.mark.parametrize("c", [1, 5, 12, 128, 132, 500])
def test_the_gradient_of_a_bias(c):
    arrays = [normal(1500, 3), normal(c, 3), normal(c)]
    for dtype in DTYPES:
        compare(F.linear, arrays, dtype)


@gpu
@pytest.mark.parametrize("op", ["AdamW", "Adam"])
def test_adam_in_one_launch(op):
    results = []
    for device in ("cpu", "cuda"):
        tg.manual_seed(0)
        model = tg.nn.Sequential(tg.nn.Linear(33, 130), tg.nn.Tanh(), tg.nn.Linear(130, 7))
        model.to(device)
        optimizer = getattr(tg.optim, op)(model.parameters(), lr=1e-2, weight_decay=0.1)
        x = tg.from_numpy(normal(20, 33).astype(np.float32)).to(device)
        for _ in range(5):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()
        results.append([p.detach().cpu().numpy() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@gpu
def test_dropout_drawn_on_the_gpu():
    tg.cuda.fast_dropout()
    try:
        masks = []
        for _ in range(2):
            tg.manual_seed(5)
            x = tg.ones(1000, 1001, device="cuda")
            masks.append([F.dropout(x, 0.3).cpu().numpy() for _ in range(2)])
        assert np.array_equal(masks[0][0], masks[1][0])
        assert not np.array_equal(masks[0][0], masks[0][1])
        kept = masks[0][0] != 0
        assert abs(kept.mean() - 0.7) < 2e-3 and np.allclose(masks[0][0][kept], 1 / 0.7)
        both = (masks[0][0] != 0) & (masks[0][1] != 0)
        assert abs(both.mean() - 0.49) < 3e-3
    finally:
        tg.cuda.fast_dropout(False)


@gpu
def test_wrong_ids_are_detected():
    w = tg.ones(10, 4, device="cuda")
    for bad in ([3, 10], [-1, 2]):
        ids = tg.tensor(bad).to("cuda")
        with pytest.raises(IndexError, match="index out of range"):
            F.embedding(ids, w)
        with pytest.raises(IndexError, match="out of bounds"):
            F.cross_entropy(tg.ones(2, 10, device="cuda"), ids)
    ids = tg.tensor([3, 4]).to("cuda")
    ids[0] = 12  # known to be fine before
    with pytest.raises(IndexError):
        F.embedding(ids, w)


@gpu
def test_training_in_each_precision_follows_the_cpu():
    from tinygrad_llm.models.gpt import GPT, GPTConfig

    tokens = np.random.default_rng(0).integers(0, 65, (4, 65)) % 7
    curves = {}
    for precision in ("cpu", "float32", "tf32", "bfloat16"):
        device = "cpu" if precision == "cpu" else "cuda"
        tg.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        tg.manual_seed(1)
        model = GPT(GPTConfig(65, 64, 128, 2, 2, drop_rate=0.0)).to(device)
        optimizer = tg.optim.AdamW(model.parameters(), lr=1e-3)
        idx, targets = (tg.from_numpy(a.copy()).to(device) for a in (tokens[:, :-1], tokens[:, 1:]))
        losses = []
        for _ in range(30):
            with tg.autocast("cuda", enabled=precision == "bfloat16"):
                loss = model.loss(idx, targets)
            assert loss.dtype is tg.float32
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert all(p.dtype is tg.float32 for p in model.parameters())
        curves[precision] = np.array(losses)
    for precision, tolerance in (("float32", 1e-3), ("tf32", 2e-2), ("bfloat16", 5e-2)):
        assert np.abs(curves[precision] - curves["cpu"]).max() < tolerance, precision


@gpu
def test_the_pool_does_not_grow():
    model = tg.nn.Sequential(tg.nn.Linear(64, 256), tg.nn.GELU(), tg.nn.Linear(256, 64)).to("cuda")
    optimizer = tg.optim.AdamW(model.parameters())
    x = tg.ones(128, 64, device="cuda")
    sizes = []
    for _ in range(20):
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        sizes.append(tg.cuda.memory_reserved())
    assert sizes[4] == sizes[-1]


@gpu
def test_without_the_kernels_the_numbers_are_the_same(monkeypatch):
    x, w = normal(3, 40, 64), normal(10, 64)
    f = lambda x, w: F.gelu(F.linear(F.layer_norm(x, (64,)), w))  # noqa: E731
    fast = run(f, [x, w], "cuda", "float32")
    monkeypatch.setattr(twins, "gpu", None)
    for a, b in zip(fast, run(f, [x, w], "cuda", "float32"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_autocast_says_what_it_does_not_offer():
    with pytest.raises(RuntimeError, match="float16"):
        tg.autocast("cuda", dtype=tg.float16)
    with pytest.raises(RuntimeError, match="device_type"):
        tg.autocast("tpu")
    with pytest.raises(RuntimeError, match="highest"):
        tg.set_float32_matmul_precision("low")


def test_autocast_on_the_cpu_follows_its_table():
    x, w = tg.ones(2, 3), tg.ones(4, 3, requires_grad=True)
    with tg.autocast("cpu", dtype=tg.bfloat16):
        assert tg.is_autocast_enabled("cpu") and not tg.is_autocast_enabled("cuda")
        y = F.linear(x, w)
        assert y.dtype is tg.bfloat16 and (x @ w.T).dtype is tg.bfloat16
        assert F.gelu(y).dtype is tg.bfloat16
        assert F.layer_norm(y, (4,)).dtype is tg.float32
        assert F.softmax(y, -1).dtype is tg.float32
        assert (y + F.softmax(y, -1)).dtype is tg.float32
        loss = F.cross_entropy(y, tg.tensor([0, 1]))
        with tg.autocast("cpu", enabled=False):
            assert F.linear(x, w).dtype is tg.float32
    assert loss.dtype is tg.float32 and F.linear(x, w).dtype is tg.float32
    loss.backward()
    assert w.grad.dtype is tg.float32


def test_rules_name_functions_that_exist():
    from tinygrad_llm.functions.autocast import RULES

    for names in RULES.values():
        for name in names:
            assert hasattr(F, name) or hasattr(tg, name), name
    assert {ops.Linear, ops.LinearGeluLinear} <= kernels.NARROW


@gpu
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("length", "channels"), [(5, 16), (64, 64), (65, 64), (200, 128)])
@pytest.mark.parametrize("which", "qkvg")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_later_reaches_an_earlier_row(precision, length, channels, which, value):
    """Causal attention with one number that is not finite: forward and backward."""
    rng = np.random.default_rng(length)
    clean = {c: rng.standard_normal((2, 2, length, channels)) for c in "qkvg"}
    at = int(rng.integers(1, length))
    dirty = {c: a.copy() for c, a in clean.items()}
    dirty[which][0, 0, at, 1] = value

    def results(arrays):
        q, k, v, g = (tg.tensor(arrays[c]).to(getattr(tg, precision)).to("cuda") for c in "qkvg")
        inputs = [x.requires_grad_() for x in (q, k, v)]
        y = F.scaled_dot_product_attention(*inputs, is_causal=True)
        y.backward(g)
        return [x.detach().cpu().to(tg.float64).numpy() for x in (y, *(i.grad for i in inputs))]

    expected, got = results(clean), results(dirty)
    tolerance = 1e-4 if precision == "float32" else 3e-2
    for a, b in zip(got[:2], expected[:2], strict=True):
        np.testing.assert_allclose(a[0, 0, :at], b[0, 0, :at], tolerance, tolerance)
    for a, b in zip(got, expected, strict=True):  # other heads and batches
        np.testing.assert_allclose(a[1], b[1], tolerance, tolerance)
        np.testing.assert_allclose(a[0, 1], b[0, 1], tolerance, tolerance)
    if which in "qg":  # a query has no part in the keys after it
        for a, b in zip(got[2:], expected[2:], strict=True):
            np.testing.assert_allclose(a[0, 0, at + 1 :], b[0, 0, at + 1 :], tolerance, tolerance)
    elif np.isnan(value):  # the weight of an infinite key may be 0
        assert not np.isfinite(got[0][0, 0, at:]).all()
