"""The Generator: a stream of random numbers, and how each distribution uses its bits.

normal.py and state.py are imported by the methods that need them: a program that only looks up
names, such as `tinygrad-llm --help`, draws no number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.silence import silently
from ..arrays.twins import cpu_twins, large
from .sequences import (
    check_weights,
    cumulative,
    digits,
    in_memory_order,
    representable,
    shuffled,
    shuffled_few,
)
from .sharing import new_lock, one_at_a_time

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Generator"]

_FEW = 64  # numbers that are drawn and computed in one piece
_CHUNK = 1 << 16  # draws handled at a time, so that they stay in the cache
_LOW24, _LOW53 = np.uint32((1 << 24) - 1), np.uint64((1 << 53) - 1)
_INT64, _UINT64 = np.dtype("int64"), np.dtype("uint64")
_BITS32 = np.uint64(32)
_FIRST_SEED = 67280421310721  # the seed of a new Generator in PyTorch
_LONGEST_PERMUTATION = (1 << 32) // 20

Shape = int | tuple[int, ...]


class Generator:
    """A stream of random numbers: `Generator().manual_seed(123).randn((2, 3))`.

    Every method that draws takes a shape and a NumPy dtype, and returns a NumPy array. Threads may
    share a generator: each call draws alone, so that no number is lost or repeated; which thread
    gets which numbers depends on who comes first. device: "cpu" or "cuda"; a GPU gets the numbers
    of the CPU.
    Raises: RuntimeError for another device.
    """

    def __init__(self, device: Any = "cpu") -> None:
        kind = str(device).partition(":")[0]
        if kind not in ("cpu", "cuda"):
            raise RuntimeError(
                f"Expected one of cpu, cuda device type at start of device string: {device}"
            )
        self._device = str(device)
        self._lock = new_lock()
        self._twister: np.random.RandomState | None = None
        self.manual_seed(_FIRST_SEED)

    def __getstate__(self) -> tuple[str, np.ndarray]:
        """For copy.deepcopy and for other processes: the device and the state."""
        return self._device, self.state()

    def __setstate__(self, copied: tuple[str, np.ndarray]) -> None:
        self.__init__(copied[0])  # type: ignore[misc]
        self.set_state(copied[1])

    # ------------------------------------------------------------------------- seed and state
    @one_at_a_time
    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of `seed`, from −2⁶³ to 2⁶⁴ − 1; returns the generator.

        The stream depends only on the low 32 bits of the seed, as in PyTorch.
        Raises: RuntimeError if seed is not an integer; ValueError if it is out of range.
        """
        if not hasattr(seed, "__index__"):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        seed = seed.__index__()
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError(
                f"Overflow when unpacking long long: seed {seed} must be between -2**63 and 2**64"
            )
        self._seed = seed % (1 << 64)
        if self._twister is not None:
            self._twister.seed(self._seed & 0xFFFFFFFF)
        self._kept: float | None = None  # the second number of a pair of normals
        return self

    @one_at_a_time
    def seed(self) -> int:
        """Begin an unpredictable stream; returns its seed, of 64 bits."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        return self._seed

    @one_at_a_time
    def state(self) -> np.ndarray:
        """The generator's whole state in 5056 bytes (uint8), in PyTorch's layout."""
        from .state import packed_state

        inner = self._stream.get_state(legacy=False)["state"]
        return packed_state(self._seed, inner["key"], int(inner["pos"]), self._kept)

    @one_at_a_time
    def set_state(self, new_state: Any) -> None:
        """Continue from a state that `state()`, or PyTorch's get_state, returned.

        Raises: TypeError if it is not an array or tensor of uint8; RuntimeError if it is not a
        state.
        """
        from .state import unpacked_state

        self._seed, key, position, self._kept = unpacked_state(np.asarray(new_state))
        self._stream.set_state(("MT19937", key, position, 0, 0.0))

    # -------------------------------------------------------------------------------- the bits
    @property
    def _stream(self) -> np.random.RandomState:
        """NumPy's Mersenne twister, created (and numpy.random imported) when it is first needed."""
        if self._twister is None:
            from .state import new_twister

            self._twister = new_twister(self._seed & 0xFFFFFFFF)
        return self._twister

    def _draw32(self, n: int) -> np.ndarray:
        """The next n draws (uint32)."""
        if n <= _FEW:  # the same draws with less overhead
            return self._stream._bit_generator.random_raw(n).astype(np.uint32)
        if n >= large.least:
            out = np.empty(n, np.uint32)
            loops = cpu_twins(out)
            if loops is not None and loops.draws and loops.draws(self._stream, out):
                return out
        return self._stream.randint(0, 1 << 32, n, np.uint32)

    def _draw64(self, n: int) -> np.ndarray:
        """n pairs of draws (uint64), the first of a pair in the high bits."""
        if n <= _FEW:  # as in _draw32
            draws = self._stream._bit_generator.random_raw(2 * n)
            high = draws[::2] << _BITS32
            high |= draws[1::2]
            return high
        if n >= large.least:
            pairs = self._draw32(2 * n).reshape(n, 2).astype(np.uint64)
            return (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]
        return self._stream.randint(0, 1 << 64, n, np.uint64)

    @one_at_a_time
    def random_int64(self) -> int:
        """An integer in [0, 2⁶³): PyTorch's torch.empty((), dtype=int64).random_().item()."""
        return int(self._draw64(1)[0]) & ((1 << 63) - 1)

    def _uniform64(self, n: int) -> np.ndarray:
        """n float64 uniforms in [0, 1)."""
        if n <= _FEW:  # the same with less overhead
            bits = self._draw64(n)
            bits &= _LOW53
            few = bits.view(np.int64).astype(np.float64)
            few *= 2.0**-53
            return few
        out = np.empty(n)
        for part in _parts(out):
            bits = self._draw64(part.size)
            bits &= _LOW53
            np.copyto(part, bits.view(np.int64))
            part *= 2.0**-53
        return out

    # -------------------------------------------------------------------------------- uniforms
    def rand(self, shape: Shape, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Uniform numbers in [0, 1)."""
        return self.uniform(shape, 0.0, 1.0, dtype)

    @one_at_a_time
    def uniform(
        self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> np.ndarray:
        """Uniform numbers in [low, high)."""
        dtype = np.dtype(dtype)
        unit = low == 0.0 and high == 1.0
        if not unit:
            from .normal import fused_multiply_add
        if dtype == np.float64:
            out = self._uniform64(_size(shape))
            if not unit:
                out = fused_multiply_add(out, high - low, low)
        else:
            out = np.empty(_size(shape), np.float32)
            width = float(np.float32(high) - np.float32(low))
            low, high = float(np.float32(low)), float(np.float32(high))
            for part in _parts(out):
                bits = self._draw32(part.size)
                loops = cpu_twins(part)
                if loops is not None and loops.uniforms:
                    loops.uniforms(bits, part)
                else:
                    bits &= _LOW24
                    np.copyto(part, bits.view(np.int32), casting="unsafe")
                    part *= 2.0**-24
                if not unit:
                    part[:] = fused_multiply_add(part, width, low)
            out = _narrowed(out, dtype)
        if not unit or dtype.itemsize == 2:
            out[out == np.asarray(high, dtype)] = low  # rounded up to the end of the interval
        return out.reshape(shape)

    def _normal_pairs(self, n: int) -> np.ndarray:
        """n standard normals in float64; the second number of the last pair may be kept."""
        from .normal import pairs64

        values = [] if self._kept is None or n == 0 else [self._kept]
        n -= len(values)
        if values:
            self._kept = None
        new = pairs64(self._uniform64(n + n % 2))
        if n % 2:
            self._kept = float(new[-1])
        return np.concatenate([values, new[:n]])

    def randn(self, shape: Shape, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Standard normal numbers."""
        return self.normal(shape, 0.0, 1.0, dtype)

    @one_at_a_time
    def normal(
        self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32,
        contiguous: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """Normal numbers with this mean and standard deviation.

        contiguous: False if they are for memory with gaps or in another order, for which PyTorch
        draws them in pairs (see __init__.py).
        """
        from .normal import fused_multiply_add, normals32, normals64

        dtype = np.dtype(dtype)
        n = _size(shape)
        n_left = n % 16
        if n < 16 or not contiguous:
            out = self._normal_pairs(n)
        elif dtype == np.float64:
            out = np.empty(n)
            for part in _parts(out[: n - n_left]):
                part[:] = normals64(self._uniform64(part.size))
            self._draw64(n_left)  # all uniforms are drawn before the last 16 are drawn again
            if n_left:
                out[n - 16 :] = normals64(self._uniform64(16))
        else:
            out = np.empty(n, np.float32)
            if n_left and n < _CHUNK:
                self._few_normals(dtype, out)
                n_left = 0
            else:
                normals32(self._draw32, out[: n - n_left])
            if n_left:
                if dtype == np.float32:  # as above; PyTorch does not do it for half precision
                    self._draw32(n_left)
                normals32(self._draw32, last := np.empty(16, np.float32))
                out[n - 16 :] = last
        if out.dtype == np.float32:
            mean, std = float(np.float32(mean)), float(np.float32(std))
        if mean == 0.0:
            if std != 1.0:
                out *= std
        else:
            for part in _parts(out):
                part[:] = fused_multiply_add(part, std, mean)
        return _narrowed(out, dtype).reshape(shape)

    def _few_normals(self, dtype: np.dtype, out: np.ndarray) -> None:
        """Fill `out` as `normal` does, whose last 16 are drawn again; all in one piece."""
        from .normal import normals32

        whole = out.size - out.size % 16
        first = self._draw32(whole)
        if dtype == np.float32:
            self._draw32(out.size - whole)
        draws = np.concatenate([first, self._draw32(16)])
        numbers = np.empty(whole + 16, np.float32)
        normals32(lambda n: draws, numbers)
        out[:whole] = numbers[:whole]
        out[-16:] = numbers[whole:]

    # ------------------------------------------------------------------------- other densities
    @one_at_a_time
    def exponential(
        self, shape: Shape, lambd: float = 1.0, dtype: DTypeLike = np.float32
    ) -> np.ndarray:
        """Exponential numbers of mean 1/lambd.

        Raises: RuntimeError unless lambd > 0.
        """
        if not lambd > 0.0:
            raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
        dtype = np.dtype(dtype)
        log: Any = np.log1p
        if dtype == np.float64:
            from .normal import log1p as log
        n, kind = _size(shape), np.float64 if dtype == np.float64 else np.float32
        if n <= _FEW:  # the same with less overhead
            few = ((-1.0 / lambd) * log(-self._uniform64(n))).astype(kind, copy=False)
            return _narrowed(few, dtype).reshape(shape)
        out = np.empty(n, kind)
        for part in _parts(out):
            u = self._uniform64(part.size)
            np.copyto(part, (-1.0 / lambd) * log(-u), casting="same_kind")
        return _narrowed(out, dtype).reshape(shape)

    @one_at_a_time
    def bernoulli(
        self, p: float | np.ndarray, shape: Shape | None = None, dtype: DTypeLike = np.float32
    ) -> np.ndarray:
        """1 with probability p, else 0. p is a number, or an array of floats of the shape.

        `dtype=bool` is the fastest.
        Raises: RuntimeError if a p is outside [0, 1].
        """
        if isinstance(p, np.ndarray):
            if not bool(((p >= 0) & (p <= 1)).all()):
                raise RuntimeError("bernoulli: every probability must be in [0, 1]")
            shape = p.shape if shape is None else shape
            kind = np.dtype(np.float64 if p.dtype == np.float64 else np.float32)
            u = self._uniform64(_size(shape)) if kind == np.float64 else self.rand(_size(shape))
            return (u.reshape(shape) < p.astype(kind, copy=False)).astype(dtype, copy=False)
        if not 0.0 <= p <= 1.0:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
        out = np.empty(_size(() if shape is None else shape), np.bool_)
        self._coins(p, out)
        return out.astype(dtype, copy=False).reshape(() if shape is None else shape)

    def _coins(self, p: float, out: np.ndarray) -> None:
        """out (1-D, bool) is True where a float64 uniform is below p."""
        below = math.ceil(math.ldexp(p, 53))  # k·2⁻⁵³ < p exactly if k < below
        for part in _parts(out):
            loops = cpu_twins(part)
            if loops is not None and loops.coins:
                loops.coins(self._draw32(2 * part.size), below, part)
                continue
            bits = self._draw64(part.size)
            bits <<= np.uint64(11)  # the low 53 bits, moved to the top
            if below < 1 << 53:
                np.less(bits, np.uint64(below << 11), out=part)
            else:
                part[:] = True

    @one_at_a_time
    def randint(
        self, low: int, high: int | None, shape: Shape, dtype: DTypeLike = np.int64
    ) -> np.ndarray:
        """Integers in [low, high) of any dtype; high None: up to the largest that the dtype holds.

        Raises: RuntimeError unless low < high and both fit the dtype.
        """
        dtype = np.dtype(dtype)
        low, high = representable(low, high, dtype)
        return self._modulo(high - low, low, shape, dtype, high - low >= 1 << 28)

    @one_at_a_time
    def random(self, shape: Shape, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Integers from 0 to the largest of dtype, or to 2^(bits of the mantissa) for floats."""
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            modulus = 2
        elif dtype.kind in "iu":
            modulus = int(np.iinfo(dtype).max) + 1
        else:
            modulus = (1 << digits(dtype)) + 1
        return self._modulo(modulus, 0, shape, dtype, modulus >= 1 << 53)

    @one_at_a_time
    def random_full(self, shape: Shape, dtype: DTypeLike = np.int64) -> np.ndarray:
        """Integers from −2⁶³ to 2⁶³ − 1."""
        return self._draw64(_size(shape)).view(np.int64).astype(dtype).reshape(shape)

    def _modulo(
        self, modulus: int, base: int, shape: Shape, dtype: np.dtype, wide: bool
    ) -> np.ndarray:
        """base + draw mod modulus, with two draws per number if `wide`."""
        n = _size(shape)
        if n <= 16 * _FEW and not wide:  # the same with less overhead
            numbers = self._stream._bit_generator.random_raw(n)
            numbers %= np.array(modulus, _UINT64)  # in two thirds of the time of a Python number
            numbers = numbers.view(_INT64)
            if base:
                numbers += base
            if dtype is not _INT64:
                numbers = numbers.astype(dtype, copy=False)
            return numbers if shape == numbers.shape else numbers.reshape(shape)
        out = np.empty(n, dtype)
        kind: Any = np.uint64 if wide else np.uint32
        divisor = kind(modulus) if modulus < 1 << (64 if wide else 32) else None
        for part in _parts(out):
            draws = self._draw64(part.size) if wide else self._draw32(part.size)
            if divisor is not None:
                draws -= draws // divisor * divisor  # faster than the remainder
            numbers = part if dtype == np.int64 else np.empty(part.size, np.int64)
            np.copyto(numbers, draws.view(np.int64) if wide else draws)
            if base:
                numbers += base
            if numbers is not part:
                part[:] = numbers
        return out.reshape(shape)

    def randperm(self, n: int, dtype: DTypeLike = np.int64) -> np.ndarray:
        """The numbers 0, ..., n − 1 in random order: (n).

        Raises: RuntimeError if n ≥ 2³² / 20.
        """
        if n >= _LONGEST_PERMUTATION:
            raise RuntimeError(f"randperm: n must be below {_LONGEST_PERMUTATION}, got {n}")
        if n < 2:
            return np.arange(n).astype(dtype)
        if n <= 4 * _FEW:  # the same draws with less overhead
            with self._lock.inner:
                draws = self._stream._bit_generator.random_raw(n - 1)
            order = shuffled_few(draws)
            return order if dtype is _INT64 else order.astype(dtype)
        choices = np.arange(n, 1, -1, dtype=np.uint32)  # n − i for step i
        with self._lock.inner:
            draws = self._draw32(n - 1)
        partner = (draws % choices).astype(np.int64)
        partner += np.arange(n - 1)
        return shuffled(partner).astype(dtype, copy=False)

    def multinomial(self, probs: np.ndarray, n: int, replacement: bool = False) -> np.ndarray:
        """n indices for each row of weights: (V) -> (n), (B, V) -> (B, n), int64.

        The weights need not add up to 1. Without replacement, and with fewer than n weights above
        zero, those that are zero follow in the order of their indices (in PyTorch in any order).
        Raises: RuntimeError if a weight is negative, infinite or NaN, or a row is all zeros.
        """
        if n > 1 and replacement:
            return self._with_replacement(probs, n)
        check_weights(probs)
        q = in_memory_order(lambda shape: self.exponential(shape, 1.0, probs.dtype), probs)
        silently(np.divide, probs, q, q)
        if n == 1:
            return q.argmax(-1)[..., None] if q.size else np.empty((*q.shape[:-1], 1), np.int64)
        return np.argsort(-q, axis=-1, kind="stable")[..., :n]

    @one_at_a_time
    def _with_replacement(self, probs: np.ndarray, n: int) -> np.ndarray:
        """multinomial for n > 1: uniforms, looked up in the cumulative sums."""
        sums = cumulative(probs.reshape(-1, probs.shape[-1]))  # (V) -> (1, V)
        out = np.empty((len(sums), n), np.int64)
        for row, row_sums in zip(out, sums, strict=True):
            row[:] = row_sums.astype(np.float64).searchsorted(self._uniform64(n))
        return out.reshape(*probs.shape[:-1], n)


# ------------------------------------------------------------------------------------- helpers
def _size(shape: Shape) -> int:
    """The number of elements."""
    return shape if isinstance(shape, int) else math.prod(shape)


def _parts(out: np.ndarray) -> Iterator[np.ndarray]:
    """The array in pieces that fit the cache."""
    return (out[i : i + _CHUNK] for i in range(0, out.size, _CHUNK))


def _narrowed(out: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`out` in dtype; to half precision through float32, as PyTorch. Too large becomes inf."""
    if out.dtype == dtype:
        return out
    with np.errstate(over="ignore"):
        if dtype.itemsize == 2:
            out = out.astype(np.float32, copy=False)
        return out.astype(dtype)
