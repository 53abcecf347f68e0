"""The compiled loops of ops/loops against the ops that they stand for, and how they are chosen.

The checks of test_ops run here with loops, for every op that has them.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from cases import CASES, Case
from checks import (
    LAYOUTS,
    Run,
    check_aliases,
    check_dtype,
    check_gradient,
    check_layouts,
    check_memory_bill,
    check_needs,
    check_pure,
    check_values,
)
from hypothesis import given, settings

import tinygrad_llm as tg
from tinygrad_llm import backends
from tinygrad_llm.arrays import indexing, twins
from tinygrad_llm.arrays.silence import quiet
from tinygrad_llm.autograd import engine
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops import ScaledDotProductAttention, SelectiveScan
from tinygrad_llm.ops import loops as folder
from tinygrad_llm.study.lesson import broken

TWINS = folder.TWINS
every_loop = pytest.mark.parametrize(
    "case", [case for case in CASES if case.op in TWINS], ids=lambda case: case.id
)

# those whose inputs are rows; test_loops_attention and test_loops_scan have the same for the others
row_loop = pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.op in TWINS and case.op not in (ScaledDotProductAttention, SelectiveScan)
    ],
    ids=lambda case: case.id,
)


def run(check, case: Case, *more, share: float = 1.0) -> None:
    """Run the check on several calls; some of them must reach the loop."""
    reached: list[type] = []

    @settings(max_examples=max(5, int(settings().max_examples * share)))
    @given(call=case.calls)
    def on(call):
        check(case, call, *more)

    def watch(op, inputs, results):
        reached.append(type(op))

    engine.observers.append(watch)
    try:
        on()
    finally:
        engine.observers.remove(watch)
    assert TWINS[case.op] in reached or more, "no call reached the loop"


@every_loop
def test_gradient(case, loops):
    run(check_gradient, case)


@every_loop
def test_values(case, loops):
    run(check_values, case)


@every_loop
def test_float32(case, loops):
    run(check_dtype, case, "float32")


@every_loop
@pytest.mark.parametrize("check", [check_pure, check_aliases, check_needs, check_memory_bill])
def test_rules_of_an_op(case, check, loops):
    run(check, case, share=0.5)


@every_loop
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(case, layout, loops):
    run(check_layouts, case, layout, share=0.25)


def test_every_loop_has_a_case():
    assert {case.op for case in CASES} >= set(TWINS)
    for op, twin in TWINS.items():
        assert issubclass(twin, op) and twin.name == op.name and twin.__name__ == op.__name__


# -------------------------------------------------------------------------- beside the NumPy class
SHAPES = [(1, 1), (3, 7), (5, 33), (2, 3, 64), (40, 129), (2, 4, 300), (200, 31)]


@quiet  # as the engine, which calls forward and backward without NumPy's warnings
def both(case: Case, call, dtype):
    """The results and gradients with loops and without, and whether a loop ran."""
    with_loops = Run(case, call, dtype=dtype)
    least, twins.large.least = twins.large.least, twins.NEVER
    try:
        plain = Run(case, call, dtype=dtype, upstream=with_loops.upstream)
    finally:
        twins.large.least = least
    assert type(with_loops.op) is TWINS[case.op] and type(plain.op) is case.op
    pairs = zip(with_loops.outputs, plain.outputs, strict=True)
    numbers = [(a.array, b.array) for a, b in pairs]
    gradients, expected = with_loops.gradients(), plain.gradients()
    return numbers, [(gradients[i], expected[i]) for i in with_loops.needs]


def options_of(case: Case, shape) -> list[dict]:
    last = {"dims": (len(shape) - 1,)}
    return {
        "sum": [last, {**last, "keepdim": True}],
        "mean": [last, {**last, "keepdim": True}],
        "var": [{**last, "correction": 0}, {**last, "correction": 0, "keepdim": True}],
        "gelu": [{}, {"approximate": "tanh"}],
        "gated_activation": [{"activation": name} for name in ("silu", "gelu", "gelu_tanh")],
        "rope": [{"interleaved": False}, {"interleaved": True}],
        "cross_entropy": [{"ignore_index": 1}, {"reduction": "none"}, {"reduction": "sum"}],
    }.get(case.op.name, [{}])


def inputs_of(case: Case, shape, rng) -> list:
    """Random inputs: x, what the signature says has C numbers, and a mask, classes or ids."""
    if case.op is tg.ops.Div:
        return [rng.standard_normal((*shape, 3)), rng.random((*shape, 1)) + 0.5]
    if case.op is tg.ops.MaskedFill:
        return [rng.standard_normal(shape), rng.random(shape[-2:]) < 0.3, -2.5]
    if case.op in (tg.ops.Sum, tg.ops.Mean, tg.ops.Var):
        return [rng.standard_normal((*shape[:-1], shape[-1] + 1))]
    if case.op is tg.ops.Embedding:
        return [rng.standard_normal((9, shape[-1])), rng.integers(0, 9, shape[:-1])]
    if case.op is tg.ops.Matmul:
        second = (9, *shape[:-2], shape[-1], 5)
        return [rng.standard_normal((9, *shape)), rng.standard_normal(second)]
    if case.op is tg.ops.CrossEntropy:
        return [rng.standard_normal(shape) * 2, rng.integers(0, shape[-1], shape[:-1])]
    if case.op is tg.ops.GatedActivation:
        shape = (*shape[:-1], 2 * shape[-1])
    if case.op is tg.ops.Rope:
        shape = (1, *shape) if len(shape) == 1 else shape
        angle = rng.standard_normal((*shape[-2:-1], shape[-1] // 2))
        return [rng.standard_normal(shape), np.cos(angle), np.sin(angle)]
    if "keep" in case.op.signature:
        return [rng.standard_normal(shape) * 2, rng.random(shape) < 0.7]
    count = case.op.signature.partition("->")[0].count("(") - 1
    rest = shape[-1:] if "C" in case.op.signature else shape
    return [rng.standard_normal(shape) * 2, *(rng.standard_normal(rest) for _ in range(count))]


@row_loop
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_close_to_the_op(case, dtype, loops):
    bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
    rng = np.random.default_rng(5)
    for shape in SHAPES:
        for options in options_of(case, shape):
            values, gradients = both(case, (inputs_of(case, shape, rng), options), dtype)
            for got, expected in values:
                assert got.dtype == expected.dtype and got.shape == expected.shape
                noise = np.finfo(dtype).eps  # of a loss that is truly 0: of one class
                assert abs(got - expected).max() <= bound * abs(expected).max() + noise
            for got, expected in gradients:
                assert got.dtype == expected.dtype and got.shape == expected.shape
                assert abs(got - expected).max() <= bound * abs(expected).max() + 1e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if c.op in TWINS
        and c.op.name in ("add", "sub", "mul", "relu", "dropout", "rope", "masked_fill")
    ],
    ids=lambda case: case.id,
)
def test_one_rounding_for_each_operation(case, dtype, loops):
    """tests/CLOSENESS.md: these loops and NumPy agree to the last bit."""
    rng = np.random.default_rng(8)
    for shape in SHAPES:
        values, gradients = both(case, (inputs_of(case, shape, rng), {}), dtype)
        for got, expected in values + gradients:
            np.testing.assert_array_equal(got, expected)


@row_loop
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("special", ["nan", "inf", "-inf", "1e-42", "-1e-42", "300", "-300", "0"])
def test_special_numbers(case, dtype, special, loops):
    """NaN, infinities, denormal and large numbers, among others and alone in a row."""
    rng = np.random.default_rng(6)
    for options in options_of(case, (9, 40)):
        first, *rest = inputs_of(case, (9, 40), rng)
        first[1, 3] = first[4, ::2] = first[7] = float(special)
        values, gradients = both(case, ([first, *rest], options), dtype)
        for got, expected in values + gradients:
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
            np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
            np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-5)


@row_loop
def test_the_number_of_threads_changes_nothing(case, loops, monkeypatch):
    rng = np.random.default_rng(7)
    call = inputs_of(case, (150, 70), rng), options_of(case, (150, 70))[0]
    results = []
    for n in (1, 2, 3):
        monkeypatch.setattr("tinygrad_llm.arrays.parallel._threads", n)
        once = Run(case, call, dtype="float32")
        results.append([y.array for y in once.outputs] + list(once.gradients().values()))
    for others in results[1:]:
        for a, b in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------ what is not an op
OPTIMIZERS = [
    ("Adam", {}), ("AdamW", {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}), ("AdamW", {"amsgrad": True}),
    ("SGD", {}), ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True}), ("RMSprop", {"weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9}), ("RMSprop", {"centered": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True}), ("Adagrad", {"weight_decay": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.2}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_optimizers(name, options, maximize, dtype, loops, monkeypatch):
    """Ten steps, with loops and without: the parameter, and all that the optimizer keeps."""
    results, taken = [], []
    monkeypatch.setattr(
        folder.optimizers, "shared", lambda loop, *a: taken.append(loop) or run_(loop, *a)
    )
    run_ = folder.compiling.shared
    for least in (0, twins.NEVER):
        monkeypatch.setattr(twins.large, "least", least)
        rng = np.random.default_rng(0)
        p = tg.nn.Parameter(tg.from_numpy(rng.standard_normal((7, 33)).astype(dtype)))
        optimizer = getattr(tg.optim, name)([p], lr=0.01, maximize=maximize, **options)
        for _ in range(10):
            p.grad = tg.from_numpy(rng.standard_normal((7, 33)).astype(dtype))
            optimizer.step()
        state = optimizer.state[p]
        kept = [state[k].numpy() for k in sorted(state) if k != "step" and state[k] is not None]
        results.append([p.detach().numpy(), *kept])
    for got, expected in zip(*results, strict=True):
        bound = {"float32": 1e-5, "float64": 1e-12}[dtype]
        assert got.dtype == dtype and abs(got - expected).max() <= bound * abs(expected).max()
    assert len(taken) == 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("special", [1.0, math.nan, math.inf])
def test_gradient_clipping(special, dtype, loops, monkeypatch):
    """The norm, and the gradients that it scales; of a matrix that lies otherwise NumPy's."""
    results = []
    for least in (0, twins.NEVER):
        monkeypatch.setattr(twins.large, "least", least)
        rng = np.random.default_rng(0)
        parameters = []
        for shape in ((7, 33), (1,), (0, 4), (300, 90)):
            p = tg.nn.Parameter(tg.zeros(*shape, dtype=getattr(tg, dtype)))
            p.grad = tg.from_numpy(rng.standard_normal(shape).astype(dtype))
            parameters.append(p)
        parameters[0].grad = tg.from_numpy(rng.standard_normal((33, 7)).astype(dtype).T)
        parameters[3].grad[1, 2] = special
        norm = tg.nn.utils.clip_grad_norm_(parameters, 0.7)
        results.append([norm.numpy(), *(p.grad.numpy() for p in parameters)])
    bound = {"float32": 1e-6, "float64": 1e-13}[dtype]
    for got, expected in zip(*results, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=bound)
    assert dtype in {str(key[0]) for key in folder.optimizers.squares.by_types}
    assert dtype in {str(key[0]) for key in folder.optimizers.scale_loop.by_types}


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_nan_in_a_gradient_stays_in_the_state(amsgrad, loops):
    p = tg.nn.Parameter(tg.ones(4, 9))
    optimizer = tg.optim.Adam([p], amsgrad=amsgrad)
    for value in (math.nan, 1.0):
        p.grad = tg.ones(4, 9)
        p.grad[1, 2] = value
        optimizer.step()
    arrays = [p, *(v for k, v in optimizer.state[p].items() if k != "step")]
    assert all(tg.isnan(a).sum() == 1 and tg.isnan(a[1, 2]) for a in arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ids", ["int64", "int32"])
def test_rows_added_to_a_table(ids, dtype, loops):
    rng = np.random.default_rng(0)
    for n, v, c in ((1, 1, 1), (50, 7, 33), (7, 50, 5), (0, 3, 4)):
        index, rows = rng.integers(0, v, n).astype(ids), rng.standard_normal((n, c)).astype(dtype)
        out = rng.standard_normal((v, c)).astype(dtype)
        expected = out.astype("float64")
        np.add.at(expected, index, rows)
        indexing.scatter_add_rows(out, index, rows)
        np.testing.assert_allclose(out, expected, atol=1e-5 if dtype == "float32" else 1e-13)
    assert dtype in {str(key[0]) for key in folder.update.scatter_loop.by_types}


DRAWN = {
    "randn": lambda g, n: [g.randn(n), g.normal(n, 0.5, 2.0, "float64"), g.randn(n, "float16")],
    "rand": lambda g, n: [g.rand(n), g.rand(n, "float64"), g.uniform(n, -3.0, 2.0)],
    "bernoulli": lambda g, n: [g.bernoulli(0.3, n, bool), g.bernoulli(1.0, n), g.bernoulli(0.0, n)],
    "randint": lambda g, n: [g.randint(-5, 60000, n), g.randint(0, 1 << 40, n), g.randperm(n)],
    "exponential": lambda g, n: [g.exponential(n)],
}


@pytest.mark.parametrize("name", DRAWN)
def test_random_numbers_are_the_same_bits(name, loops, monkeypatch):
    """Also where a call stops in the midst of the twister's words, and in the state afterwards."""
    results = []
    for least in (0, twins.NEVER):
        monkeypatch.setattr(twins.large, "least", least)
        g = tg.random.Generator().manual_seed(11)
        arrays = [a for n in (1, 15, 700, 17, 3000, 140_001) for a in DRAWN[name](g, n)]
        results.append([*arrays, g.state()])
    for got, expected in zip(*results, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert folder.twister.twist.by_types and folder.twister._Layout.known


def test_a_twister_laid_out_otherwise_is_left_alone(loops, monkeypatch):
    expected = tg.random.Generator().randn(500)
    monkeypatch.setattr(folder.twister._Layout, "known", False)
    np.testing.assert_array_equal(tg.random.Generator().randn(500), expected)


# -------------------------------------------------------------------------------- the functions
def exact(name: str, x: float) -> float:
    if name == "tanh":
        return math.tanh(x)
    if name.startswith("exp"):
        return math.exp(x) if x < 709.7 else math.inf
    return 1 / (1 + exact("exp", -x))


@pytest.mark.parametrize("char", "fd")
@pytest.mark.parametrize(
    "name, units", [("exp", 2), ("exp_normal", 2), ("sigmoid", 4), ("tanh", 4)]
)
def test_functions_are_right_to_a_few_units(name, units, char, loops):
    """Over the whole range, with results below the smallest normal number; and at the edges."""
    from tinygrad_llm.ops.loops import elementary

    function = getattr(elementary, name).compiled(char)
    dtype = np.dtype(char).type
    least, most = (-104, 88.7) if char == "f" else (-745.2, 709.7)
    if name == "sigmoid":  # below, e⁻ˣ is infinite
        least = -most
    if name == "tanh":
        least, most = -25, 25
    if name == "exp_normal":  # normal results
        least, most = (-87.2, 88.7) if char == "f" else (-708.2, 709.7)
    rng = np.random.default_rng(0)
    spread = [rng.uniform(least, most, 4000), rng.standard_normal(4000), np.linspace(-1, 1, 999)]
    for x in np.concatenate([*spread, rng.uniform(-1e-6, 1e-6, 99)]).astype(dtype):
        expected = exact(name, float(x))
        unit = abs(float(np.spacing(dtype(expected))))
        assert abs(float(function(x)) - expected) <= units * unit, (x, expected)
    edges = {"exp": (0.0, 1.0, math.inf), "sigmoid": (0.0, 0.5, 1.0), "tanh": (-1.0, 0.0, 1.0)}
    for x, expected in zip((-math.inf, 0.0, math.inf), edges.get(name, (0.0, 1.0)), strict=False):
        assert function(dtype(x)) == expected
    for x, expected in zip((-1e30, 1e-42, 1e30), edges.get(name, (0.0,)), strict=False):
        assert function(dtype(x)) == expected or abs(function(dtype(x)) - expected) <= 2e-42
    assert math.isnan(function(dtype(math.nan)))
    if name == "tanh":
        assert [math.copysign(1.0, function(dtype(x))) for x in (-0.0, 0.0)] == [-1.0, 1.0]
    if name == "exp":
        assert math.isinf(function(dtype(most + 0.3))) and function(dtype(least - 0.4)) == 0


@pytest.mark.parametrize(("double", "least", "most"), [(False, 1.4e-8, 1.5e-8), (True, 0, 4e-16)])
def test_the_largest_error_of_the_polynomial_of_exp(double, least, most):
    """Computed in float64; its own formula says which one."""
    from tinygrad_llm.ops.loops import elementary

    code = elementary.series.function.__code__
    series = types.FunctionType(code, {"DOUBLE": double, "f": float})
    r = np.linspace(-0.3466, 0.3466, 20_000)
    assert least <= abs(series(r) * r / np.expm1(r) - 1).max() <= most


@pytest.mark.parametrize("char", "fd")
def test_the_largest_of_a_row(char, loops):
    from tinygrad_llm.ops.loops import elementary

    largest, rng = elementary.largest.compiled(char), np.random.default_rng(0)
    for n in (1, 2, 15, 100):
        for shift in (-9, 0, 9):
            row = (rng.standard_normal(n) + shift).astype(char)
            assert largest(row) == row.max()
    for row in ([-0.0, -1.0], [-np.inf, -3.0], [np.inf, 3.0], [-np.inf, -np.inf], [1e-42, 0.0]):
        assert largest(np.array(row, char)) == np.array(row, char).max()


@pytest.mark.parametrize("norm", [F.layer_norm, F.rms_norm])
def test_a_norm_whose_input_was_changed_in_place_raises(norm, loops):
    """The loops save x itself, as PyTorch does."""
    x = tg.ones(5, 8, requires_grad=True) * 2.0
    y = norm(x, (8,))
    x += 1.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# ----------------------------------------------------------------------------------- the choice
def norm_of(n: int):
    x = tg.ones(n, 64, requires_grad=True)
    return type(F.layer_norm(x, (64,))._op)


def test_small_arrays_and_other_dtypes_take_the_op(loops, monkeypatch):
    assert norm_of(600) is TWINS[tg.ops.LayerNorm]
    monkeypatch.setattr(twins.large, "least", twins.LEAST)
    assert norm_of(600) is TWINS[tg.ops.LayerNorm] and norm_of(500) is tg.ops.LayerNorm


def test_switch(loops):
    assert backends.loops.enabled
    backends.loops.enabled = False
    assert norm_of(600) is tg.ops.LayerNorm and not backends.loops.enabled
    backends.loops.enabled = True
    assert norm_of(600) is TWINS[tg.ops.LayerNorm] and twins.large.least == twins.LEAST


@row_loop
def test_a_wrong_backward_is_not_hidden_by_a_loop(case, loops):
    """A class that was given another backward runs itself; afterwards its loop runs again."""
    call = inputs_of(case, (5, 33), np.random.default_rng(8)), options_of(case, (5, 33))[0]
    with broken(case.op.name, lambda self, g: g):
        assert type(Run(case, call, dtype="float32").op) is case.op
    assert type(Run(case, call, dtype="float32").op) is TWINS[case.op]


def program(code: str, **environment: str) -> str:
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


LARGE = """
import sys
import tinygrad_llm as tg
tg.nn.functional.layer_norm(tg.ones(8, 64), (64,))
print("numba" in sys.modules)
y = tg.nn.functional.layer_norm(tg.ones(600, 64, requires_grad=True), (64,))
print("numba" in sys.modules, type(y._op).__module__.split(".")[2])
"""


def test_numba_is_imported_by_the_first_large_op(loops):
    assert program(LARGE).split() == ["False", "True", "loops"]


def test_the_environment_turns_loops_off():
    assert program(LARGE, TINYGRAD_LLM_LOOPS="0").split() == ["False", "False", "norm"]


COMPILED = """
import tinygrad_llm as tg
x = tg.arange(40000.0).view(400, 100).DTYPE() / 40000
print(float(tg.nn.functional.softmax(x, -1).sum()))
"""


def test_processes_that_compile_at_the_same_time(loops, tmp_path):
    """Three with one empty cache folder, and one that follows: each has the right numbers."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    codes = [COMPILED.replace("DTYPE", dtype) for dtype in ("float", "double", "float")]
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for code in codes
    ]
    outputs = [process.communicate()[0] for process in started]
    outputs.append(program(codes[0], NUMBA_CACHE_DIR=str(tmp_path)))
    assert all(abs(float(output) - 400) < 1e-3 for output in outputs)
    files = [path.name for path in tmp_path.rglob("softmax.softmax_*.nbc")]
    assert len(files) == 2  # one for each dtype, which the last process only read


def test_a_cache_folder_that_cannot_be_written(loops, tmp_path):
    """The machine code is then kept in another folder or in memory; the numbers are right."""
    (tmp_path / "file").write_text("a file, so no folder can be made below it")
    output = program(COMPILED.replace("DTYPE", "float"), NUMBA_CACHE_DIR=str(tmp_path / "file/in"))
    assert abs(float(output) - 400) < 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_any_cache_folder_the_code_stays_in_memory(loops, monkeypatch):
    compiling = folder.compiling
    njit, refused = compiling.numba.njit, []

    def without_cache(*args, cache=False, **options):
        if cache:
            refused.append(args)
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(compiling.numba, "njit", without_cache)
    add = compiling.Kernel(folder.arithmetic.add.function, set())
    x = np.arange(5.0)
    add(x, x, y := np.zeros(5), 0, 5)
    assert refused and y.tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("version", ["missing", "0.50.1", "broken"])
def test_without_numba_the_op_runs_in_silence(version, tmp_path):
    """Also with one that is too old, and one that refuses to be imported."""
    if version == "missing":
        start = "import importlib.util as u; f = u.find_spec; u.find_spec = "
        start += "lambda name, *a: None if name == 'numba' else f(name, *a)"
    else:
        (tmp_path / "numba.py").write_text("raise ImportError('needs another NumPy')")
        number = "0.70.0" if version == "broken" else version
        start = "import importlib.metadata as m; v = m.version; m.version = "
        start += f"lambda name: {number!r} if name == 'numba' else v(name)"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{start}\n{LARGE}"
    code += "print(tg.backends.loops.is_available(), tg.arrays.twins.large.missing)"
    output = program(code).split("\n")
    assert output[1] == "False norm" or output[1] == "True norm"
    assert output[2].startswith("False Numba")
