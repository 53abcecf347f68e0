"""Functions and the special numbers that they are called with, for the tests beside PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

inf, nan = math.inf, math.nan

# What special inputs are drawn from: ends of the range, zeros of both signs, halves, NaN.
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.5, 0.1, 1e-12, -1e-12, 30.0, -30.0, 60.0,
          -60.0, 3.0, -3.0, 6.0, 1e15, -1e15, inf, -inf, nan]  # fmt: skip
GRADIENTS = [1.0, -2.0, 0.0, inf, -inf, nan]

Call = Callable[..., Any]  # (torch or tinygrad_llm, *tensors) -> tensor or tensors


def method(name: str, *args: Any, **kwargs: Any) -> Call:
    return lambda lib, *xs: getattr(xs[0], name)(*xs[1:], *args, **kwargs)


def function(name: str, *args: Any, **kwargs: Any) -> Call:
    return lambda lib, *xs: getattr(lib.nn.functional, name)(*xs, *args, **kwargs)


def detached(name: str, *args: Any) -> Call:
    """For functions that PyTorch does not differentiate."""
    return lambda lib, *xs: getattr(xs[0].detach(), name)(*[x.detach() for x in xs[1:]], *args)


def reflected(name: str, number: Any) -> Call:
    return lambda lib, x: getattr(x, name)(number)


# ------------------------------------------------------------------ one tensor, element by element
UNARY: dict[str, Call] = {
    name: method(name)
    for name in (
        "neg abs square reciprocal exp expm1 log log1p log2 log10 sqrt rsqrt tanh sigmoid sin cos "
        "tan asin acos atan asinh acosh atanh lgamma digamma erfinv sinc "
        "erf exp2 erfc sinh cosh logit floor ceil trunc round frac sign relu nan_to_num "
        "deg2rad rad2deg isnan isinf isfinite isposinf isneginf signbit clone"
    ).split()
}
UNARY |= {
    f"F.{name}": function(name)
    for name in (
        "leaky_relu elu gelu silu softplus logsigmoid hardtanh relu6 mish hardsigmoid hardswish "
        "selu celu softsign tanhshrink"
    ).split()
}
UNARY |= {
    "gelu_tanh": function("gelu", approximate="tanh"),
    "leaky_relu_0": function("leaky_relu", 0.0),
    "softplus_3": function("softplus", 3.0, 5.0),
    "logit_eps": method("logit", 1e-6),
    **{
        f"special.{name}": (lambda lib, x, name=name: getattr(lib.special, name)(x))
        for name in ("entr", "ndtr", "ndtri", "log_ndtr")
    },
    "float_power_0.5": lambda lib, x: lib.float_power(x, 0.5),
    "round_2": method("round", decimals=2),
    **{f"clamp_{low}_{high}": method("clamp", low, high)
       for low, high in ((0.0, None), (None, 1.0), (-1.0, 1.0), (1.0, -1.0), (nan, None),
                         (None, nan), (-inf, inf), (0, 6), (nan, 1.0))},
    **{f"pow_{p}": method("pow", p) for p in (0, 1, 2, 3, -1, 0.5, -0.5, 2.5, -2, 0.0, inf, nan)},
    **{f"rpow_{b}": reflected("__rpow__", b) for b in (0.0, 1.0, 2.0, 0.5, inf)},
    **{f"{op}_{n}": method(op, n)
       for op in ("add", "sub", "mul", "div", "remainder", "fmod")
       for n in (0.0, 0.1, -2.0, 3, inf, nan)},
    **{f"floor_divide_{n}": detached("floor_divide", n) for n in (0.0, 0.1, -2.0, 3, inf, nan)},
    **{f"div_{mode}_{n}": method("div", n, rounding_mode=mode)
       for mode in ("floor", "trunc") for n in (0.0, 0.1, -0.3, 3, inf, -inf, nan)},
    **{f"rdiv_{n}": reflected("__rtruediv__", n) for n in (0.0, 1.0, -2, inf)},
    **{f"compare_{op}_{n}": method(op, n) for op in ("eq", "ne", "lt", "ge") for n in (0.0, nan)},
}  # fmt: skip

# ----------------------------------------------------------------- two tensors, element by element
BINARY: dict[str, Call] = {
    name: method(name)
    for name in (
        "add sub mul div maximum minimum remainder fmod pow logaddexp logaddexp2 "
        "hypot atan2 copysign "
        "eq ne lt le gt ge isclose"
    ).split()
}
BINARY |= {
    "floor_divide": detached("floor_divide"),
    "div_floor": method("div", rounding_mode="floor"),
    "div_trunc": method("div", rounding_mode="trunc"),
    "where": lambda lib, x, y: lib.where(x > 0, x, y),
    "where_number": lambda lib, x, y: lib.where(y > 0, x, 2.0),
    "masked_fill": lambda lib, x, y: x.masked_fill(y > 0, 0.5),
    "masked_fill_": lambda lib, x, y: (x * 1.0).masked_fill_(y > 0, 0.5),
    "clamp_tensors": lambda lib, x, y: x.clamp(y, y.detach() + 1.0),
    "clamp_min_tensor": lambda lib, x, y: x.clamp(min=y),
    "clamp_max_tensor": lambda lib, x, y: x.clamp(max=y),
    "lerp_0": lambda lib, x, y: lib.lerp(x, y, 0.0),
    "lerp_1": lambda lib, x, y: lib.lerp(x, y, 1.0),
    "lerp_0.3": lambda lib, x, y: lib.lerp(x, y, 0.3),
    "lerp_0.7": lambda lib, x, y: lib.lerp(x, y, 0.7),
    "lerp_-2": lambda lib, x, y: lib.lerp(x, y, -2.0),
    "xlogy": lambda lib, x, y: lib.xlogy(x, y),
    "xlog1py": lambda lib, x, y: lib.special.xlog1py(x, y),
    "heaviside": detached("heaviside"),
    "float_power": lambda lib, x, y: x.float_power(y),
    "mse_loss": function("mse_loss", reduction="none"),
    "l1_loss": function("l1_loss", reduction="none"),
    "smooth_l1_loss": function("smooth_l1_loss", reduction="none"),
    "huber_loss": function("huber_loss", reduction="none"),
    "bce_with_logits": lambda lib, x, y: lib.nn.functional.binary_cross_entropy_with_logits(
        x, y.detach().abs().clamp(0, 1), reduction="none"
    ),
}

# ---------------------------------------------------------------------- along a dimension: (4, 6)
ROWS: dict[str, Call] = {
    **{
        name: method(name)
        for name in (
            "sum mean var std max min amax amin median nansum nanmean prod argmax argmin any all"
        ).split()
    },
    **{
        f"{name}_dim": method(name, 1)
        for name in (
            "sum mean var std max min amax amin median nansum nanmean logsumexp prod cumsum argmax "
            "argmin softmax log_softmax sort argsort"
        ).split()
    },
    "sort_down": method("sort", 1, True),
    "topk_1": method("topk", 1), "topk_3": method("topk", 3),
    "topk_small": method("topk", 2, 1, False),
    "quantile": lambda lib, x: x.quantile(0.3, 1),
    "var_0": method("var", 1, correction=0), "var_6": method("var", 1, correction=6),
    "std_0": method("std", correction=0), "var_30": method("var", correction=30),
    "softmax_0": method("softmax", 0), "logsumexp_both": method("logsumexp", (0, 1)),
    "layer_norm": lambda lib, x: lib.nn.functional.layer_norm(x, (6,)),
    "rms_norm": lambda lib, x: lib.nn.functional.rms_norm(x, (6,)),
    "normalize": lambda lib, x: lib.nn.functional.normalize(x),
    "cosine": lambda lib, x: lib.nn.functional.cosine_similarity(x, x.flip(0)),
    "diff": method("diff"), "tril": method("tril"), "triu": method("triu", 1),
    "masked_softmax": lambda lib, x: x.masked_fill(x > 1, -inf).softmax(-1).masked_fill(x > 1, 0.0),
    "masked_log_softmax": lambda lib, x: x.log_softmax(-1).masked_fill(x < 0, 0.0),
    "cross_entropy": lambda lib, x: lib.nn.functional.cross_entropy(
        x, lib.tensor([0, 5, -100, 2]), reduction="none"),
    "nll_loss": lambda lib, x: lib.nn.functional.nll_loss(
        x, lib.tensor([0, 5, -100, 2]), reduction="none"),
    "gather": lambda lib, x: x.gather(1, lib.tensor([[0, 1], [2, 2], [3, 0], [5, 4]])),
    "matmul": lambda lib, x: x @ x.T,
    **{f"norm_{p}": method("norm", p, 1) for p in (0, 0.5, 1, 1.5, 2, 3, inf, -inf, -1)},
}  # fmt: skip


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, calm: float) -> np.ndarray:
    """Special numbers; a share of them ordinary ones."""
    x = rng.choice(np.array(FLOATS), shape)
    ordinary = rng.standard_normal(shape).round(2)
    with np.errstate(all="ignore"):
        return np.where(rng.random(shape) < calm, ordinary, x).astype(dtype)


def draw_rows(rng: np.random.Generator, dtype: str) -> np.ndarray:
    """(4, 6) different numbers: which of equal ones comes first is not defined everywhere."""
    if rng.random() < 0.5:
        x = rng.permutation(FLOATS[:1] + FLOATS[2:] + [7.0, -0.25])
    else:
        x = rng.standard_normal(24)
        places = rng.permutation(24)[:5]
        x[places] = [0.0, inf, -inf, nan, 40.0]
        kept = rng.integers(6)
        x[places[kept:]] = rng.standard_normal(5 - kept)
    return np.asarray(x[:24]).reshape(4, 6).astype(dtype)
