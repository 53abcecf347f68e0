"""PyTorch's random numbers on a CPU: the same seed gives the same numbers here, as NumPy arrays.

A Generator draws from the Mersenne twister MT19937 (Matsumoto and Nishimura, 1998), seeded as
`numpy.random.RandomState` and PyTorch seed it. A draw is 32 bits. How the distributions use them:

    rand         float32: the low 24 bits · 2⁻²⁴; float64: the low 53 bits of two draws · 2⁻⁵³;
                 float16 and bfloat16 are float32 rounded, where 1 becomes 0
    uniform      x·(high − low) + low, rounded once
    normal       16 numbers or more: all uniforms first, then Box-Muller in blocks of 16; the last
                 16 are drawn again if the size is not a multiple of 16. Fewer, or memory with gaps:
                 in pairs, in float64, and the second of a pair is kept for the next call
    randint      low + draw mod (high − low); two draws per number if high − low is 2²⁸ or more
    randperm     Fisher-Yates: i changes places with i + draw mod (n − i)
    bernoulli    a float64 uniform < p for a number p, a float32 uniform < p for an array of float32
    exponential  −log1p(−u)/λ, u a float64 uniform
    multinomial  the largest p/q, q exponential (Gumbel-max); with replacement: a float64 uniform
                 looked up in the cumulative sums

Two draws a, b make the 64 bits a·2³² + b. The order of the draws is the order of memory: a tensor
that was transposed is filled column by column (`in_memory_order`).

Integers and masks are equal to PyTorch's on every machine. Floats are equal to the last bit if
PyTorch runs on an x86 processor with AVX2; on others it uses other functions for 16 float32 normals
or more, which may differ in the last bit or two.

generator.py   the Generator: seeds, states, distributions
normal.py      normal numbers from uniform ones
sequences.py   permutations, bounds, cumulative sums, order in memory
sharing.py     one generator for several threads, and for a forked process
state.py       the bytes of a state, as PyTorch writes them
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .generator import Generator
from .sequences import in_memory_order

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "in_memory_order",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]

default_generator = Generator()
default_generator.seed()


def manual_seed(seed: Any) -> Generator:
    """Begin the stream of `seed` in the default generator; returns the generator.

    Raises: ValueError if seed, made an int, is not between −2⁶³ and 2⁶⁴ − 1.
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Begin an unpredictable stream in the default generator; returns its seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator's stream began with."""
    return default_generator.initial_seed()


def get_rng_state() -> np.ndarray:
    """The default generator's state: 5056 bytes (uint8)."""
    return default_generator.state()


def set_rng_state(new_state: Any) -> None:
    """Make the default generator continue where `new_state` was taken, here or in PyTorch."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(*args: Any, enabled: bool = True, **kwargs: Any) -> Iterator[None]:
    """A `with` block after which the default generator has the state from before the block.

    enabled: False does nothing. Other arguments are PyTorch's and make no difference here.
    """
    if not enabled:
        yield
        return
    before = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(before)
