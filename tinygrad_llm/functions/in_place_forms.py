"""In-place forms that few programs use: x.cosh_() is cosh(x), written into x."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import arithmetic, elementary, inverse, linalg, rare, reductions, rounding, running
from .inplace import in_place
from .selection import nan_to_num
from .special import heaviside, mvlgamma

__all__ = ["in_place_function"]

for _function, *_names in (
    (arithmetic.abs, "absolute_"), (arithmetic.neg, "negative_"),
    (arithmetic.div, "true_divide_"), (elementary.cosh, "cosh_"), (elementary.sinh, "sinh_"),
    (elementary.deg2rad, "deg2rad_"), (elementary.rad2deg, "rad2deg_"),
    (elementary.erfc, "erfc_"), (elementary.exp2, "exp2_"), (elementary.hypot, "hypot_"),
    (elementary.logit, "logit_"), (elementary.xlogy, "xlogy_"), (inverse.acos, "arccos_"),
    (inverse.acosh, "arccosh_"), (inverse.asin, "arcsin_"), (inverse.asinh, "arcsinh_"),
    (inverse.atan, "arctan_"), (inverse.atanh, "arctanh_"), (inverse.atan2, "atan2_", "arctan2_"),
    (inverse.copysign, "copysign_"), (linalg.addmm, "addmm_"), (linalg.baddbmm, "baddbmm_"),
    (reductions.cumsum, "cumsum_"), (running.cumprod, "cumprod_"), (rounding.fix, "fix_"),
    (rounding.sgn, "sgn_"), (rare.addmv, "addmv_"), (rare.addr, "addr_"),
    (rare.gcd, "gcd_"), (rare.lcm, "lcm_"), (nan_to_num, "nan_to_num_"),
    (heaviside, "heaviside_"), (mvlgamma, "mvlgamma_"),
):  # fmt: skip
    in_place(_function, *_names, saves_input=True)
    for _name in _names:
        vars(Tensor)[_name].__module__ = __name__

# torch.exp_(x) is x.exp_(): PyTorch has such a function for these.
FUNCTIONS = frozenset(
    """
    abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_
    atanh_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ cos_ cosh_ deg2rad_ detach_ erf_ erfc_ exp_
    exp2_ expm1_ fill_ fix_ floor_ frac_ gcd_ index_put_ lcm_ log10_ log1p_ log2_ log_ logit_
    nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_
    square_ tan_ tanh_ trunc_ xlogy_ zero_
    """.split()
)


def in_place_function(name: str) -> Any:
    """torch.exp_ for "exp_": a function that calls the method of its first argument."""

    def call(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{name}(): argument 'input' (position 1) must be Tensor, not "
                f"{type(input).__name__}"
            )
        return getattr(input, name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name.strip('_')} of a tensor, in its own memory."
    return call
