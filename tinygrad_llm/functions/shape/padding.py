"""Elements added around a tensor."""

from __future__ import annotations

from collections.abc import Sequence

from ... import ops
from ...tensor import Tensor
from ...tensor.numbers import fitted
from ..checks import real_number
from ..method import function


@function
def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Elements of a value (0) around x.

    pad is (left, right) of the last dimension, then of the one before it, and so on. A negative
    number cuts elements off.
    Raises: RuntimeError for other modes than "constant".
    """
    n = input.array.ndim
    if len(pad) % 2 or len(pad) > 2 * n:
        raise RuntimeError(
            f"Padding length must be divisible by 2 and at most twice the number of dimensions of "
            f"the input: got {len(pad)} numbers for {n} dimensions"
        )
    if mode != "constant":
        raise RuntimeError(f"pad: mode {mode!r} is not offered here, only 'constant'")
    before, after = [0] * n, [0] * n
    for i, (left, right) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        d = n - 1 - i
        start, length = max(-left, 0), input.array.shape[d] - max(-left, 0) - max(-right, 0)
        if length < 0:
            raise RuntimeError(f"pad: {left} and {right} leave nothing of dimension {d}, "
                               f"whose size is {input.array.shape[d]}")  # fmt: skip
        input = input.narrow(d, start, length) if left < 0 or right < 0 else input
        before[d], after[d] = max(left, 0), max(right, 0)
    if not any(before) and not any(after):
        return input.clone()
    value = 0 if value is None else fitted(real_number("pad", "value", value), input.array.dtype)
    return ops.Pad.apply(input, before=before, after=after, value=value)
