"""The compiled loops of ops/loops: `backends.loops.enabled = False` turns them off."""

from __future__ import annotations

import numpy as np

from ..arrays.twins import NEVER, cpu_twins, large, switch

__all__ = ["loops"]


class _Loops:
    """Whether ops on large arrays of the CPU run as loops that Numba compiles.

    They do so when Numba is installed, unless the environment variable TINYGRAD_LLM_LOOPS is 0.
    """

    @property
    def enabled(self) -> bool:
        """Whether large arrays get loops, as far as is known: Numba is looked for when needed."""
        return large.least != NEVER

    @enabled.setter
    def enabled(self, value: bool) -> None:
        switch(bool(value))

    def is_available(self) -> bool:
        """Whether the loops can be compiled here: imports Numba. They need not be enabled."""
        before, large.least = large.least, 0
        try:
            return cpu_twins(np.empty(0)) is not None
        finally:
            large.least = before if large.missing is None else NEVER


loops = _Loops()
