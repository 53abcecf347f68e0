"""The CPU's vector instructions, as far as NumPy knows them."""

from __future__ import annotations


def get_cpu_capability() -> str:
    """The widest vector instructions that NumPy uses: "AVX512", "AVX2", "NEON" or "DEFAULT"."""
    try:
        from numpy._core._multiarray_umath import (
            __cpu_features__ as features,
        )
    except ImportError:
        return "DEFAULT"
    for name, feature in (("AVX512", "AVX512F"), ("AVX2", "AVX2"), ("NEON", "NEON")):
        if features.get(feature):
            return name
    return "DEFAULT"
