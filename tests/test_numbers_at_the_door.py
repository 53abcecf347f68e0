"""NumPy's scalars, 0-d arrays and 0-d tensors as numbers: the same result as a Python number's.

The functions and their arguments are enumerated by machine: everything public of the library, of
nn.functional and of Tensor that has an argument which is a number.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn, optim
from tinygrad_llm.functions.method import _takes_numbers
from tinygrad_llm.tensor import Tensor

X = torch.arange(24.0).reshape(2, 3, 4) / 10.0 + 0.05
IDS = torch.tensor([[0, 2, 1], [1, 0, 2]])

# What a required argument gets, by name; and by function where the name is not enough.
VALUES: dict[str, Any] = {
    **{
        "input": X,
        "other": X,
        "end": X,
        "tensor1": X,
        "tensor2": X,
        "dim": 1,
        "dim0": 0,
        "dim1": 1,
    },
    **{"k": 2, "n": 3, "m": 3, "chunks": 2, "p": 2, "min": 0.5, "max": 1.5, "weight": 0.25},
    **{"exponent": 2, "diagonal": 1, "shifts": 1, "repeats": 2, "start": 1, "length": 2, "q": 0.3},
    **{"split_size_or_sections": 2, "mask": X > 1, "value": 0.5, "condition": X > 1, "row": 3},
    **{"col": 3, "steps": 4, "fill_value": 2.5, "size": (2, 3), "target": X, "x1": X, "x2": X},
    **{"input1": X, "input2": X, "query": X, "key": X, "tensor": X, "logits": X, "axis": 1},
    **{"normalized_shape": 4, "source": 0, "destination": 1, "num_classes": 4, "dimension": 1},
    **{"step": 1, "sections": 2, "offset": 0, "decimals": 1, "low": 0, "high": 5, "index": IDS[0]},
    **{"other_dim": 1, "axis0": 0, "axis1": 1, "unbiased": None, "a": X, "b": X, "select": 1},
}
BY_FUNCTION: dict[str, dict[str, Any]] = {
    "select": {"index": 1},
    "diag": {"input": X[0]},
    "vander": {"input": X[0, 0]},
    "tril": {"diagonal": 0}, "triu": {"diagonal": 0},
    "addmm": {"input": X[0, :, :3], "mat1": X[0], "mat2": X[0].T},
    "one_hot": {"input": IDS}, "embedding": {"input": IDS, "weight": X[0]},
    "cross_entropy": {"input": X, "target": torch.zeros(2, 4, dtype=torch.int64)},
    "nll_loss": {"input": X, "target": torch.zeros(2, 4, dtype=torch.int64)},
    "scaled_dot_product_attention": {"value": X},
    "triplet_margin_loss": {"anchor": X, "positive": X + 0.5, "negative": X - 0.25},
    "unflatten": {"dim": 2, "sizes": (2, 2)},
    "hsplit": {"indices_or_sections": 3}, "vsplit": {"indices_or_sections": 2},
    "dsplit": {"indices_or_sections": 2}, "tensor_split": {"indices_or_sections": 2},
    "expand": {}, "linspace": {"start": 0.0, "end": 1.0}, "logspace": {"start": 0.0, "end": 1.0},
    "multinomial": {"input": X[0], "num_samples": 2},
    "isin": {"elements": IDS, "test_elements": IDS[0]},
    "bucketize": {"boundaries": X[0, 0]}, "cat": {"tensors": [X, X]}, "concat": {"tensors": [X, X]},
    "stack": {"tensors": [X, X]}, "asarray": {"obj": [1, 2]},
    "scatter_add": {"index": X.long() * 0, "src": X}, "gather": {"index": X.long() * 0},
    "scatter": {"index": X.long() * 0, "src": X}, "take_along_dim": {"indices": X.long() * 0},
    "index_add": {"source": X[:, : IDS[0].numel()]}, "bernoulli": {"p": 0.5},
    "index_copy": {"source": X[:, : IDS[0].numel()]}, "conv1d": {"weight": X[:, :, :2]},
    "normal": {"mean": 0.0}, "pad": {"pad": (1, 1)},
}  # fmt: skip
STARS = {
    "reshape": (6, 4), "view": (6, 4), "permute": (1, 0, 2), "expand": (2, 3, 4),
    "repeat": (1, 2, 1), "tile": (1, 2, 1), "flip": (0, 1), "zeros": (2, 3), "ones": (2, 3),
    "empty": (2, 0), "rand": (2, 3), "randn": (2, 3), "randint": (5, (2,)), "arange": (1, 7, 2),
}  # fmt: skip


def kinds(value: Any) -> list[Any]:
    """A Python number as each of NumPy's scalars that hold it, a 0-d array and a 0-d tensor."""
    if isinstance(value, bool):
        return [np.bool_(value), np.asarray(value)]
    if isinstance(value, int):
        more = [np.uint8(value)] if value >= 0 else []
        return [np.int64(value), np.int32(value), *more, np.asarray(value), torch.tensor(value)]
    if isinstance(value, float):
        exact = [np.float32(value)] if float(np.float32(value)) == value else []
        box = torch.tensor(value, dtype=torch.float64)
        return [np.float64(value), *exact, np.asarray(value), box]
    return []


def public() -> dict[str, Any]:
    """Every public function with an argument that is a number, by name."""
    functions: dict[str, Any] = {}
    for module in (torch, F, Tensor):
        for name in dir(module):
            function = getattr(module, name, None)
            plain = inspect.isfunction(function) and "functions" in function.__module__
            if name.startswith("_") or not plain:
                continue
            places, names = _takes_numbers(function)
            if (places or names) and not name.endswith("_"):
                functions.setdefault(f"{getattr(module, '__name__', '')}.{name}", function)
    return functions


def baseline(name: str, function: Any) -> dict[str, Any] | None:
    """Arguments by name for a call; None if one is not known."""
    known = {**VALUES, **BY_FUNCTION.get(name, {})}
    given = {}
    for p in inspect.signature(function).parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.name == "self":
            given[p.name] = X
        elif p.default is p.empty or p.name in BY_FUNCTION.get(name, {}):
            if p.name not in known:
                return None
            given[p.name] = known[p.name]
        elif isinstance(p.default, bool | int | float) and p.name != "_stacklevel":
            given[p.name] = p.default
        elif p.default is None and p.name in ("dim", "scale") and "arg" not in name:
            given[p.name] = {"dim": 1, "scale": 0.5}[p.name]
    return given


def call(function: Any, given: dict[str, Any], more: tuple = ()) -> Any:
    """The results of a call: positional as far as possible, from the same random state."""
    torch.manual_seed(0)
    parameters = inspect.signature(function).parameters.values()
    positional, named, still = [], {}, True
    for p in parameters:
        still &= p.name in given and p.kind == p.POSITIONAL_OR_KEYWORD
        if still:
            positional.append(given[p.name])
        elif p.name in given:
            named[p.name] = given[p.name]
    return flat(function(*positional, *more, **named))


def flat(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [w for v in value for w in flat(v)]
    return [(value.dtype, value.tolist()) if isinstance(value, Tensor) else value]


FUNCTIONS = public()
# Functions that are tested elsewhere or whose number is not the caller's.
WITHOUT = set("tensor empty empty_like empty_strided empty_permuted new_empty".split())


def known_call(full_name: str) -> tuple[str, dict[str, Any], tuple, list[Any]]:
    """Its name, arguments by name, those of its star, and what a call with them returns."""
    function, name = FUNCTIONS[full_name], full_name.rpartition(".")[2]
    given = baseline(name, function)
    more = STARS.get(name, ())
    if given is None or name in WITHOUT:
        pytest.skip("its arguments are not known here")
    if more:
        given = {k: v for k, v in given.items() if k in ("input", "self")}
    try:
        return name, given, more, call(function, given, more)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        pytest.skip(f"no call of it is known here: {error}")


@pytest.mark.parametrize("full_name", sorted(FUNCTIONS))
def test_function(full_name):
    function = FUNCTIONS[full_name]
    name, given, more, expected = known_call(full_name)
    for key, value in given.items():
        for other in kinds(value):
            if name in ("max", "min") and isinstance(other, Tensor):
                continue  # the maximum of two tensors
            assert call(function, {**given, key: other}, more) == expected, (key, repr(other))
    for i, value in enumerate(more):
        for other in kinds(value):
            changed = (*more[:i], other, *more[i + 1 :])
            assert call(function, given, changed) == expected, (i, repr(other))


def test_most_functions_are_called():
    """The table knows arguments for nearly everything that takes a number."""
    called = 0
    for full_name, function in FUNCTIONS.items():
        name = full_name.rpartition(".")[2]
        given = baseline(name, function)
        more = STARS.get(name, ())
        if given is None:
            continue
        if more:
            given = {k: v for k, v in given.items() if k in ("input", "self")}
        try:
            call(function, given, more)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
            continue
        called += 1
    assert called > 150 and called > 0.8 * len(FUNCTIONS), (called, len(FUNCTIONS))


# ------------------------------------------------------------------------------------ operators
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip
NUMBERS = [np.float64(2.5), np.float32(2.5), np.float16(2.5), np.int64(3), np.int8(3), np.uint8(3),
           np.bool_(True), np.float64(np.inf), np.longdouble(0.5)]  # fmt: skip


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "uint8"])
def test_operators(op, dtype):
    x = torch.tensor([1, 2, 5], dtype=getattr(torch, dtype))
    for number in NUMBERS:
        plain = float(number) if isinstance(number, np.longdouble) else number.item()
        if op in (operator.sub,) and plain is True:
            continue  # refused in both
        for a, b, c, d in ((x, number, x, plain), (number, x, plain, x)):
            got, expected = op(a, b), op(c, d)
            assert got.dtype is expected.dtype, (op, dtype, repr(number))
            np.testing.assert_array_equal(got.numpy(), expected.numpy())


@pytest.mark.parametrize("name", "add_ sub_ mul_ div_ pow_ fill_ clamp_min_ remainder_".split())
def test_in_place(name):
    for number in (np.float64(1.5), np.float32(1.5), np.int64(2), torch.tensor(2)):
        x = torch.tensor([1.0, 2.0])
        y = getattr(x.clone(), name)(number)
        assert y.dtype is torch.float32
        assert y.tolist() == getattr(x.clone(), name)(number.item()).tolist()


def test_gradient_of_a_scaled_product_stays_float32():
    q = torch.ones(2, 4, requires_grad=True)
    for scale in (np.sqrt(64), np.float32(8), np.int64(8), np.float64(8)):
        q.grad = None
        scores = q / scale
        assert scores.dtype is torch.float32
        scores.sum().backward()
        assert q.grad.dtype is torch.float32 and q.grad.tolist() == [[0.125] * 4] * 2


LAYERS = {
    "Linear": lambda n, f: nn.Linear(n(4), n(3))(X),
    "LayerNorm": lambda n, f: nn.LayerNorm(n(4), eps=f(0.5))(X),
    "LayerNorm_tuple": lambda n, f: nn.LayerNorm((n(3), n(4)))(X),
    "RMSNorm": lambda n, f: nn.RMSNorm(n(4), eps=f(0.5))(X),
    "Embedding": lambda n, f: nn.Embedding(n(5), n(4))(IDS),
    "Dropout": lambda n, f: nn.Dropout(f(0.5))(X),
    "LeakyReLU": lambda n, f: nn.LeakyReLU(f(0.25))(-X),
    "ELU": lambda n, f: nn.ELU(f(0.5))(-X),
    "Softplus": lambda n, f: nn.Softplus(f(0.5), f(8.0))(X),
    "Softmax": lambda n, f: nn.Softmax(n(1))(X),
    "Hardtanh": lambda n, f: nn.Hardtanh(f(-0.5), f(0.5))(X),
    "Flatten": lambda n, f: nn.Flatten(n(1))(X),
    "SmoothL1Loss": lambda n, f: nn.SmoothL1Loss(beta=f(0.5))(X, X * 2.0),
    "HuberLoss": lambda n, f: nn.HuberLoss(delta=f(0.5))(X, X * 2.0),
    "CrossEntropyLoss": lambda n, f: nn.CrossEntropyLoss(
        ignore_index=n(0), label_smoothing=f(0.5))(X[0], IDS[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    torch.manual_seed(0)
    expected = LAYERS[name](int, float)
    for n, f in ((np.int64, np.float64), (np.int32, np.float32), (np.asarray, np.asarray)):
        torch.manual_seed(0)
        got = LAYERS[name](n, f)
        assert got.dtype is expected.dtype
        np.testing.assert_array_equal(got.detach().numpy(), expected.detach().numpy())


OPTIMIZERS = {
    "SGD": {"lr": 0.5, "momentum": 0.25, "weight_decay": 0.125, "nesterov": True},
    "Adam": {"lr": 0.5, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.25},
    "AdamW": {"lr": 0.5, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.25},
    "Adagrad": {"lr": 0.5, "lr_decay": 0.25, "eps": 0.125},
    "RMSprop": {"lr": 0.5, "alpha": 0.75, "eps": 0.125, "momentum": 0.5},
    "Adafactor": {"lr": 0.5, "beta2_decay": -0.5, "eps": (0.125, 0.25), "d": 2.0},
    "Lion": {"lr": 0.5, "betas": (0.5, 0.75), "weight_decay": 0.25},
    "SGDScheduleFree": {"lr": 0.5, "momentum": 0.75, "weight_decay": 0.125},
    "AdamWScheduleFree": {"lr": 0.5, "betas": (0.5, 0.75), "eps": 0.125, "weight_decay": 0.25},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.asarray])
def test_optimizers(name, kind):
    def as_kind(v: Any) -> Any:
        if isinstance(v, tuple):
            return tuple(map(as_kind, v))
        return np.bool_(v) if isinstance(v, bool) else kind(v)

    results = []
    for to in (lambda v: v, as_kind):
        options = {k: to(v) for k, v in OPTIMIZERS[name].items()}
        p = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        optimizer = getattr(optim, name)([p], **options)
        for _ in range(3):
            p.grad = torch.tensor([0.5, 0.25, -1.0])
            optimizer.step()
            optimizer.param_groups[0]["lr"] = to(0.25)
        assert p.dtype is torch.float32
        results.append(p.tolist())
        hyper = {k: v for k, v in optimizer.param_groups[0].items() if k not in ("params", "lr")}
        assert not any(isinstance(v, np.generic | np.ndarray) for v in hyper.values()), hyper
    assert results[0] == results[1]


def test_result_type_and_nan():
    assert torch.result_type(torch.ones(2), np.float64(2)) is torch.float32
    assert torch.result_type(torch.ones(2, dtype=torch.int8), np.int64(2)) is torch.int8
    x = torch.tensor([1.0, math.nan])
    assert (x * np.float64("nan")).dtype is torch.float32


def test_preferences():
    from tinygrad_llm.finetune.preferences import dpo_loss

    scores = [torch.tensor([-1.0, -2.5]) * k for k in (1.0, 1.5, 0.75, 1.25)]
    expected = dpo_loss(*scores, beta=0.25, label_smoothing=0.125)
    for kind in (np.float64, np.float32):
        got = dpo_loss(*scores, beta=kind(0.25), label_smoothing=kind(0.125))
        for a, b in zip(got, expected, strict=True):
            assert a.dtype is b.dtype is torch.float32 and a.tolist() == b.tolist()


@pytest.mark.parametrize("kind", [np.bool_, np.int64, np.uint8, np.float32, np.float64])
def test_full_and_arange_of_numpys_scalars(kind):
    """The dtype of the Python number; of np.bool_ it is float32, as in PyTorch."""
    value = kind(3)
    plain = 1.0 if kind is np.bool_ else value.item()
    for got, want in (
        (torch.full((2, 2), value), torch.full((2, 2), plain)),
        (torch.full((), value), torch.full((), plain)),
        (torch.full((2,), value, dtype=torch.bool), torch.full((2,), plain, dtype=torch.bool)),
        (torch.full_like(X, value), torch.full_like(X, plain)),
        (torch.full_like(IDS, value), torch.full_like(IDS, plain)),
        (torch.zeros(2).new_full((3,), value), torch.zeros(2).new_full((3,), plain)),
        (torch.arange(value), torch.arange(plain)),
        (torch.arange(0, value, value), torch.arange(0, plain, plain)),
        (torch.arange(value, dtype=torch.int64), torch.arange(plain, dtype=torch.int64)),
    ):
        assert got.dtype is want.dtype and got.tolist() == want.tolist()


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_a_tensor_of_a_size(kind):
    """torch.Tensor(3) has three elements, and NumPy's whole numbers are sizes too."""
    assert torch.Tensor(kind(3)).shape == (3,) == torch.Tensor(3).shape
    assert torch.Tensor(kind(3), 2).shape == (3, 2) == torch.Tensor(3, kind(2)).shape


# -------------------------------------------------------------------------------- not a number
ONES = torch.ones(6)
COMPLEX = "value cannot be converted to type {} without overflow: 1j is complex, expected a real"
REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    *((call, 1j, RuntimeError, COMPLEX.format("float")) for call in (
        lambda v: ONES.masked_fill(ONES > 0, v), lambda v: ONES.clone().masked_fill_(ONES > 0, v),
        lambda v: ONES.clone().fill_(v), lambda v: torch.add(ONES, ONES, alpha=v),
    )),
    (lambda v: ONES.long().masked_fill(ONES > 0, v), 1j, RuntimeError, COMPLEX.format("int64_t")),
    (lambda v: ONES.double().fill_(v), 1j, RuntimeError, COMPLEX.format("double")),
    (lambda v: torch.ones(1).half().fill_(v), 1j, RuntimeError, COMPLEX.format("c10::Half")),
    *((call, v, TypeError, f"[nN]umber, (got|not) {type(v).__name__}") for call in (
        lambda v: ONES.masked_fill(ONES > 0, v), lambda v: ONES.clone().fill_(v),
    ) for v in ("a", None, [1.0], np.ones(1))),
    *((call, v, TypeError, rf"argument 'eps' must be float, not {type(v).__name__}")
      for call in (lambda v: F.layer_norm(ONES, (6,), eps=v),
                   lambda v: F.layer_norm(ONES, (6,), ONES, ONES, eps=v))
      for v in (1j, "a", None, [1.0], np.ones(1))),
    *((lambda v: F.rms_norm(ONES, (6,), eps=v), v, TypeError, "argument 'eps' must be float, not")
      for v in (1j, "a", [1.0], np.ones(1))),
    *((call, v, OverflowError, "int too big to convert") for call in (
        lambda v: ONES.clamp(min=v), lambda v: ONES.clamp(max=v), lambda v: ONES.clamp_min(v),
        lambda v: F.hardtanh(ONES, v), lambda v: ONES.masked_fill(ONES > 0, v),
    ) for v in (2**70, 10**400, -(10**400))),
    *((call, v, TypeError, "must be float, not") for call in (
        lambda v: F.dropout(ONES, v), lambda v: F.pad(ONES, (1, 1), value=v or "none"),
        lambda v: F.cross_entropy(X[0], torch.tensor([0, 1, 2]), label_smoothing=v or "none"),
        lambda v: F.leaky_relu(ONES, v), lambda v: F.elu(ONES, v), lambda v: F.softplus(ONES, v),
        lambda v: F.softplus(ONES, 1.0, v),
    ) for v in (1j, None, "a", [1.0])),
    *((lambda v, f=f: f(ONES, v), v, TypeError, f"{f.__name__}.*expected a tensor or a number, got")
      for f in (torch.atan2, torch.hypot, torch.copysign, torch.logaddexp, torch.logaddexp2,
                torch.xlogy, torch.fmax, torch.special.xlog1py)
      for v in (None, "a", [1.0])),
    *((lambda v, f=f: f(ONES, v), 1j, NotImplementedError, "is not implemented for complex")
      for f in (torch.atan2, torch.hypot, torch.xlogy, torch.fmin, operator.lt, torch.ge)),
    (lambda v: ONES.long() < v, 1j, NotImplementedError, "is not implemented for complex"),
    *((lambda v, x=x: x**v, 1j, NotImplementedError, "the exponent 1j is complex")
      for x in (ONES, ONES.long(), torch.ones(2, dtype=torch.complex64))),
    *((call, 1j, NotImplementedError, "clamp is not supported for complex types") for call in (
        lambda v: ONES.clamp(min=v), lambda v: ONES.long().clamp(max=v),
    )),
]  # fmt: skip


def refuse(calls: list[Any]) -> None:
    for call, value, error, message in calls:
        with pytest.raises(error, match=message):
            call(value)


def test_what_is_not_a_number_is_refused_in_one_way():
    refuse(REFUSED)


def test_what_is_not_a_number_is_refused_in_one_way_in_loops(loops):
    refuse(REFUSED)


def test_a_complex_number_is_compared_with_real_ones():
    for x in (ONES, ONES.long(), ONES.half(), ONES > 0):
        assert not (x == 1j).any() and (x != 1j).all() and (x == 1 + 0j).all()


def test_a_complex_number_that_is_real_fits():
    assert ONES.masked_fill(ONES > 0, 2 + 0j).tolist() == [2.0] * 6
    assert ONES.long().fill_(3 + 0j).tolist() == [3] * 6
    assert (ONES > 2).fill_(1j).tolist() == [True] * 6
    assert torch.ones(2, dtype=torch.complex64).fill_(1j).tolist() == [1j] * 2
    for half in (0.5 + 0j, np.complex64(0.5), torch.tensor(0.5 + 0j)):
        assert torch.equal(F.leaky_relu(-ONES, half), F.leaky_relu(-ONES, 0.5))
        assert torch.equal(F.layer_norm(ONES, (6,), eps=half), F.layer_norm(ONES, (6,), eps=0.5))
    for half in (0.5 + 0j, np.complex64(0.5)):
        for x in (ONES, ONES.long(), ONES.half()):
            got, expected = x.clamp(max=half), x.clamp(max=0.5)
            assert torch.equal(got, expected) and got.dtype is expected.dtype


ROWS = torch.arange(12.0).reshape(3, 4)
WHERE_A_NUMBER_IS = {  # name of the argument: calls with a value in its place
    "dim": [
        lambda v: F.softmax(ROWS, v), lambda v: ROWS.sum(v), lambda v: torch.sum(ROWS, dim=v),
        lambda v: ROWS.unsqueeze(v), lambda v: ROWS.cumsum(v), lambda v: ROWS.narrow(v, 0, 1),
        lambda v: ROWS.gather(v, torch.zeros(3, 4).long()), lambda v: torch.cat([ROWS, ROWS], v),
    ],
    "k": [lambda v: ROWS.topk(v), lambda v: torch.topk(ROWS, v)],
    "diagonal": [lambda v: torch.tril(ROWS, v), lambda v: ROWS.diag(v)],
    "decimals": [lambda v: torch.round(ROWS, decimals=v)],
    "shifts": [lambda v: torch.roll(ROWS, v)],
    "chunks": [lambda v: ROWS.chunk(v)],
    "split_size_or_sections": [lambda v: ROWS.split(v)],
    "start": [lambda v: ROWS.narrow(0, v, 1)],
    "num_classes": [lambda v: F.one_hot(torch.tensor([1, 2]), v)],
    "mean": [lambda v: ROWS.clone().normal_(v, 1.0)],
    "rtol": [lambda v: torch.isclose(ROWS, ROWS, rtol=v)],
    "eps": [
        lambda v: F.cosine_similarity(ROWS, ROWS, eps=v), lambda v: F.layer_norm(ROWS, (4,), eps=v),
    ],
    "beta": [lambda v: F.smooth_l1_loss(ROWS, ROWS, beta=v), lambda v: F.softplus(ROWS, v)],
    "delta": [lambda v: F.huber_loss(ROWS, ROWS, delta=v)],
    "min_val": [lambda v: F.hardtanh(ROWS, v, 1.0)],
    "threshold": [lambda v: F.threshold(ROWS, v, 0.0)],
    "weight": [lambda v: torch.lerp(ROWS, ROWS, v)],
    "q": [lambda v: torch.quantile(ROWS, v)],
    "p": [lambda v: ROWS.clone().bernoulli_(v)],
    "alpha": [lambda v: torch.addmm(ROWS[:, :3], ROWS, ROWS.T, alpha=v)],
    "nan": [lambda v: torch.nan_to_num(ROWS, v)],
}  # fmt: skip


@pytest.mark.parametrize("name", WHERE_A_NUMBER_IS)
def test_what_is_no_number_is_named(name):
    """Not a comparison of a number with a text, deep inside."""
    for call in WHERE_A_NUMBER_IS[name]:
        for value in ("a", object()):
            with pytest.raises(TypeError) as caught:
                call(value)
            kind = type(value).__name__
            pattern = rf"\w+\(\): argument '{name}'( \(position \d\))? must be .+, not {kind}"
            assert re.fullmatch(pattern, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("value", [{}, {0: 1}, set(), {0}, "", "0", b""], ids=repr)
@pytest.mark.parametrize("name", "sum mean amax amin var std logsumexp nansum norm all any".split())
def test_a_dim_is_a_number_or_several(name, value):
    """An empty dict is not (), which means all dimensions."""
    with pytest.raises(TypeError, match=rf"dim'? .*not {type(value).__name__}"):
        getattr(ROWS, name)(dim=value)


RAW = re.compile(
    "not supported between|cannot be interpreted|could not convert|invalid literal|bad operand|"
    "ufunc|unsupported operand|no len|not iterable|unhashable|string or a real number"
)
# Arguments that a call with the other defaults does not look at.
NOT_READ = {"embedding": ("norm_type",), "gumbel_softmax": ("eps",), "set_num_interop_threads": "n"}


@pytest.mark.parametrize("full_name", sorted(FUNCTIONS))
def test_a_text_in_the_place_of_a_number(full_name):
    function = FUNCTIONS[full_name]
    name, given, more, _ = known_call(full_name)
    for key in _takes_numbers(function)[1] & set(given):
        if isinstance(given[key], bool) or key in (*NOT_READ.get(name, ()), "_stacklevel"):
            continue
        with pytest.raises((TypeError, RuntimeError, ValueError, IndexError)) as caught:
            call(function, {**given, key: "a"}, more)
        message = str(caught.value)
        assert key in message or "'a'" in message or "str" in message, (key, message)
        assert not RAW.search(message), (key, message)


def test_what_is_no_number_is_at_its_position():
    with pytest.raises(TypeError, match=r"softmax\(\): argument 'dim' \(position 2\) must be int,"):
        torch.softmax(ROWS, "rows")
    with pytest.raises(TypeError, match=r"softmax\(\): argument 'dim' \(position 1\) must be int,"):
        ROWS.softmax("rows")
    with pytest.raises(TypeError, match=r"sum\(\): argument 'dim' must be int or several, not str"):
        ROWS.sum(axis="rows")
    with pytest.raises(TypeError, match=r"mean\(\): argument 'dim' .* int or several, not str"):
        ROWS.mean((0, "rows"))


def test_alpha_of_whole_numbers_is_a_whole_number():
    """0.5 + 0j and a tensor of 0.5 were taken as 0."""
    for alpha in (0.5, 0.5 + 0j, torch.tensor(0.5), torch.tensor(0.5 + 0j), np.complex64(2)):
        with pytest.raises(RuntimeError, match="alpha must not be a floating point number"):
            torch.add(ONES.long(), ONES.long(), alpha=alpha)
    assert torch.add(ONES.long(), ONES.long(), alpha=torch.tensor(2)).tolist() == [3] * 6


def test_large_whole_numbers_as_options_that_are_floats():
    large = 2**70
    assert F.huber_loss(ONES, ONES + 1, delta=large).item() == 0.5
    assert F.normalize(ONES, dim=0, eps=large).tolist() == [2.0**-70] * 6
    assert torch.logit(ONES, eps=large).isnan().all()
