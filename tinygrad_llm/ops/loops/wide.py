"""Loops in the widest registers of an Intel processor: 16 float32 at a time instead of 8.

LLVM takes half of AVX-512's registers on Intel's processors, because the first of them lowered
their clock for the whole; those since Ice Lake hardly do. A function's attribute
"prefer-vector-width" says otherwise, and Numba has no option for it: so kernels are compiled by
Numba's own pipeline with one pass replaced, which writes the attribute.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

__all__ = ["has", "options"]

SINCE = "avx512vbmi2"  # an instruction set that came with Ice Lake


@functools.cache
def has(instructions: str) -> bool:
    """Whether Numba compiles for a processor with this set of instructions, by LLVM's name.

    That is this machine's processor, unless NUMBA_CPU_FEATURES describes another one.
    """
    features = importlib.import_module("numba").config.CPU_FEATURES
    if features is None:
        features = importlib.import_module("numba.core.codegen").get_host_cpu_features()
    return f"+{instructions}" in features.split(",")


@functools.cache
def options() -> dict[str, Any]:
    """njit's options for wide loops: none where the processor or this Numba knows no others."""
    if not has(SINCE):
        return {}
    try:
        return {"pipeline_class": _pipeline()}
    except (ImportError, AttributeError):  # another Numba's inner parts
        return {}


def _pipeline() -> Any:
    """A subclass of Numba's compiler whose functions have the attribute."""
    compiler = importlib.import_module("numba.core.compiler")
    passes = importlib.import_module("numba.core.typed_passes")
    lowering = importlib.import_module("numba.core.lowering")
    registered = importlib.import_module("numba.core.compiler_machinery").register_pass

    class Lower(lowering.Lower):  # type: ignore[name-defined]
        def pre_lower(self) -> None:
            super().pre_lower()
            # the set's own `add` knows the attributes that are words, not those with a value
            set.add(self.function.attributes, '"prefer-vector-width"="512"')

    @registered(mutates_CFG=True, analysis_only=False)
    class WideLowering(passes.BaseNativeLowering):  # type: ignore[name-defined]
        _name = "wide_native_lowering"
        lowering_class = Lower

    class Compiler(compiler.CompilerBase):  # type: ignore[name-defined]
        def define_pipelines(self) -> list[Any]:
            manager = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            manager.passes = [
                (WideLowering if step is passes.NativeLowering else step, text)
                for step, text in manager.passes
            ]
            manager.finalize()
            return [manager]

    return Compiler
