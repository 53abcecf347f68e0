"""Random numbers written into tensors, and draws with probabilities that are tensors.

With the same seed they are the numbers that PyTorch draws on a CPU (see `tinygrad_llm.random`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays.devices import asarray, to_numpy, use_gpu_of
from ..arrays.layout import in_rows
from ..arrays.meta import is_meta, without_numbers
from ..random import Generator, default_generator
from ..random.sequences import in_memory_order
from ..tensor import Tensor, dtypes, wrap
from ..tensor.device import defaults
from ..tensor.numbers import NUMBERS, PLAIN
from .convert import place_of
from .inplace import refuse_leaf, write
from .method import method

__all__ = ["bernoulli", "multinomial"]

for _plain in (PLAIN, NUMBERS):
    _plain.add(Generator)  # an argument that is passed on as it is


# ----------------------------------------------------------------------------------- arguments
class _NoNumbers:
    """In a generator's place for the meta device: arrays without numbers, and nothing is drawn."""

    def rand(self, shape: Any, kind: Any) -> Any:
        return without_numbers(shape, kind)

    randn = rand

    def normal(self, shape: Any, mean: Any, std: Any, kind: Any) -> Any:
        return without_numbers(shape, kind)

    def randint(self, low: int, high: int, shape: Any, kind: Any) -> Any:
        return without_numbers(shape, kind)

    def randperm(self, n: int, kind: Any) -> Any:
        return without_numbers((n,), kind)


def stream(generator: Any, device: Any = "cpu") -> Any:
    """The generator given, or the default one; for the meta device one that draws nothing.

    Raises: TypeError if it is not a generator.
    """
    quick = isinstance(device, str) and device == "cpu" or (device is None and not defaults.changed)
    place = None if quick else place_of(device)
    if place is not None and place.type == "meta":
        return _NoNumbers()
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(
            f"argument 'generator' must be torch.Generator, not {type(generator).__name__}"
        )
    return generator


def floating(kernel: str, dtype: np.dtype) -> np.dtype:
    """The dtype, if it is a floating-point one.

    Raises: NotImplementedError, in PyTorch's words, if not.
    """
    if dtype.kind in "iub":
        title = dtypes.title(dtypes.of(dtype))
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title}'")
    return dtype


def integer(function: str, name: str, value: Any) -> int:
    """The value as a Python int.

    Raises: TypeError that names the function's argument if it is not an integer.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{function}(): argument '{name}' must be int, not {type(value).__name__}")
    return value.__index__()


def _check_uniform(low: float, high: float, dtype: np.dtype) -> None:
    floating("check_uniform_bounds", dtype)
    largest = {"float64": 1.7976931348623157e308, "float16": 65504.0}.get(
        dtype.name, (2.0 - 2.0 ** (-7 if dtype.itemsize == 2 else -23)) * 2.0**127
    )
    for name, value in (("from", low), ("to", high)):
        if not abs(value) <= largest:
            raise RuntimeError(f"{name} is out of bounds for {dtype.name}: got {value}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    if high - low > largest:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{dtype.name}>::max(), but found "
            f"to={high:g} and from={low:g} which result in to-from to exceed the limit"
        )


def check_std(std: float) -> None:
    """Raises: RuntimeError for a negative standard deviation."""
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")


# ------------------------------------------------------------------------------ probabilities
@method
def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None) -> Tensor:
    """1 with the probability in input, or with p, else 0; of input's shape and dtype.

    Raises: RuntimeError for a probability outside [0, 1].
    """
    kind = input.array.dtype
    if p is None:
        floating("bernoulli_tensor_cpu_p_", kind)
        chances = to_numpy(input.array)
    else:
        chances = p
    values = stream(generator).bernoulli(chances, input.array.shape, kind)
    return wrap(asarray(values, input.array))


@method
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Tensor:
    """Indices drawn with the weights in each row of input: (V) or (B, V) -> (..., n), int64.

    The weights need not add up to 1. Without replacement no index is drawn twice.
    Raises: RuntimeError for weights that are negative, infinite, NaN or all zero, and for more
    samples than weights without replacement.
    """
    n = integer("multinomial", "num_samples", num_samples)
    if input.array.dtype.kind in "iub":
        title = dtypes.title(input.dtype)
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {title}"
        )
    if input.array.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if n <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if input.array.shape[-1] < (1 if replacement else n):
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if input.array.shape[-1] > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    ids = stream(generator).multinomial(to_numpy(input.array), n, replacement)
    return wrap(in_rows(ids if type(input.array) is np.ndarray else asarray(ids, input.array)))


# -------------------------------------------------------------------------------------- in place
def _fill(x: Tensor, by: str, draw: Callable[..., Any], *others: Any) -> Tensor:
    """Write the values that draw(shape, *others) returns, in the order of x's memory, into x."""
    refuse_leaf(x)
    if is_meta(x.array):
        return x
    use_gpu_of(x)
    values = in_memory_order(draw, x.array, *others) if x.array.size else x.array
    return write(x, wrap(asarray(values, x.array)), by)


def _from_to(by: str, args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments `from` (a word of Python, which cannot name a parameter) and `to`, by name."""
    names = ("to",) if by == "random_" and len(args) == 1 and not given else ("from", "to")
    unknown = set(given) - {"from", "to"}
    if len(args) > 2 or unknown or any(name in given for name in names[: len(args)]):
        raise TypeError(f"{by}() takes (from, to), got {args} and {given}")
    return {**given, **dict(zip(names, args))}  # noqa: B905


@method
def uniform_(self: Tensor, *args: Any, generator: Any = None, **given: Any) -> Tensor:
    """Uniform numbers in [from, to) in place: uniform_(), uniform_(-1.0, 1.0), uniform_(to=2.0).

    Raises: RuntimeError unless from <= to and both fit the dtype.
    """
    bounds = {"from": 0.0, "to": 1.0, **_from_to("uniform_", args, given)}
    low, high = float(bounds["from"]), float(bounds["to"])
    kind = self.array.dtype
    _check_uniform(low, high, kind)
    return _fill(self, "uniform_", lambda s: stream(generator).uniform(s, low, high, kind))


@method
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Normal numbers of that mean and standard deviation in place."""
    check_std(std)
    kind = floating("normal_kernel_cpu", self.array.dtype)
    ordered = bool(self.array.flags.c_contiguous)
    return _fill(self, "normal_", lambda s: stream(generator).normal(s, mean, std, kind, ordered))


@method
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Exponential numbers of rate lambd, so of mean 1/lambd, in place.

    Raises: RuntimeError unless lambd > 0 and the dtype is floating-point.
    """
    kind = self.array.dtype
    if kind.kind in "iub":
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {dtypes.title(self.dtype)}"
        )
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    return _fill(self, "exponential_", lambda s: stream(generator).exponential(s, lambd, kind))


@method
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """1 with probability p, a number or a tensor that broadcasts, else 0, in place.

    Raises: RuntimeError for a probability outside [0, 1].
    """
    draw, kind = stream(generator), self.array.dtype
    if not isinstance(p, Tensor):
        if not 0.0 <= p <= 1.0:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
        return _fill(self, "bernoulli_", lambda s: draw.bernoulli(p, s, kind))
    floating("bernoulli_tensor_cpu_p_", p.array.dtype)
    chances = to_numpy(p.expand(self.array.shape).array)
    return _fill(self, "bernoulli_", lambda s, c: draw.bernoulli(c, s, kind), chances)


@method
def random_(self: Tensor, *args: Any, generator: Any = None, **given: Any) -> Tensor:
    """Integers in place: random_(to) in [0, to), random_(from, to) in [from, to).

    random_() draws from 0 to the largest number of the dtype, for a floating dtype to the largest
    up to which it holds every integer. random_(from, None) draws from `from` to there; for −2⁶³ to
    2⁶³ − 1.
    Raises: TypeError if `from` is named without `to`.
    """
    draw, kind = stream(generator), self.array.dtype
    bounds = _from_to("random_", args, given)
    if not bounds:
        return _fill(self, "random_", lambda s: draw.random(s, kind))
    if "to" not in bounds:
        raise TypeError("random_() with `from` needs `to` as well; to=None is the largest number")
    low = integer("random_", "from", bounds.get("from", 0))
    high = bounds["to"] if bounds["to"] is None else integer("random_", "to", bounds["to"])
    if high is None and low == -(1 << 63):
        return _fill(self, "random_", lambda s: draw.random_full(s, kind))
    return _fill(self, "random_", lambda s: draw.randint(low, high, s, kind))
