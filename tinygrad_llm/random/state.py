"""A new Mersenne twister, and the state of a CPU generator as bytes, in PyTorch's layout."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

__all__ = ["new_twister", "packed_state", "unpacked_state"]

# The seed; draws left of the 624 in the state, whether seeded, draws taken; the 624 numbers, each
# in 8 bytes; a kept normal of float64 as the second of three numbers, and whether there is one; the
# same for float32, which a CPU never keeps.
_LAYOUT = struct.Struct("<QiiQ4992sdddiifi")
_N = 624


class _NotSeeded(np.random.bit_generator.ISeedSequence):
    """In the place of a seed: numbers that seed() replaces, so that NumPy mixes none.

    NumPy reads them one by one, which a list answers in a tenth of the time of an array.
    """

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        """n_words zeros."""
        return [0] * n_words


def new_twister(seed: int) -> np.random.RandomState:
    """RandomState(seed) for a seed of 32 bits, in a twentieth of the time."""
    twister = np.random.RandomState(np.random.MT19937(_NotSeeded()))  # type: ignore[arg-type]
    twister.seed(seed)
    return twister


def packed_state(seed: int, key: np.ndarray, position: int, kept: float | None) -> np.ndarray:
    """The state of a Mersenne twister (624 numbers, `position` of them used up) as bytes (5056)."""
    fresh = position == _N and int(key[0]) == seed & 0xFFFFFFFF
    packed = _LAYOUT.pack(
        *(seed, _N + 1 - position, 1, 0 if fresh else position, key.astype("<u8").tobytes()),
        *(0.0, 0.0 if kept is None else kept, 0.0, kept is not None, 0, 0.0, 0),
    )
    return np.frombuffer(packed, np.uint8).copy()


def unpacked_state(state: np.ndarray) -> tuple[int, np.ndarray, int, float | None]:
    """(seed, key, position, kept) from the bytes.

    Raises: TypeError if they are not uint8; RuntimeError if they are not a state.
    """
    if state.dtype != np.uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    if state.size != _LAYOUT.size:
        raise RuntimeError(
            f"Expected a CPUGeneratorImplState of size {_LAYOUT.size} but found the input RNG "
            f"state size to be {state.size}"
        )
    seed, left, seeded, used, key, _, kept, _, is_kept, *_ = _LAYOUT.unpack(state.tobytes())
    if not (1 <= left <= _N and seeded and used <= _N):
        raise RuntimeError("Invalid mt19937 state: the bytes are not a generator's state")
    numbers = np.frombuffer(key, "<u8").astype(np.uint32)
    return seed, numbers, _N + 1 - left, kept if is_kept else None
