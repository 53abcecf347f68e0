"""Rotary positions: the angles by which a token's queries and keys are turned.

Pair j of a head turns by position·ωⱼ with ωⱼ = base^(−2j/R). A scaling changes the ωⱼ, so that a
model that was trained on short texts reads longer ones. Names and numbers are those of Hugging
Face's `rope_parameters` and ROPE_INIT_FUNCTIONS.

Shapes: T tokens, D head_dim, R of its channels are turned (R = D unless partial), R/2 pairs.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.devices import device_of, move, xp_of
from ..files.untrusted import describe
from ..nn import functional as F
from ..tensor import Tensor, dtypes, wrap
from ..tensor.dtypes import DtypeLike

__all__ = ["SCALINGS", "Rotary", "rope_angles"]

Frequencies = tuple[Any, float]  # ω (R/2) in float32, and the factor of cos and sin


def _powers(dim: int, base: float) -> np.ndarray:
    """base^(2j/dim), j < dim/2, in float32, each rounded once: (dim/2)."""
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)  # (dim/2)
    return (base ** exponents.astype(np.float64)).astype(np.float32)


def default_frequencies(dim: int, base: float) -> Frequencies:
    """ωⱼ = base^(−2j/dim). Su et al. (2021), "RoFormer", section 3.2.2."""
    return np.float32(1.0) / _powers(dim, base), 1.0


def linear_frequencies(dim: int, base: float, *, factor: float) -> Frequencies:
    """ωⱼ / factor: positions are pressed together (Chen et al., 2023, "Position Interpolation")."""
    return default_frequencies(dim, base)[0] / np.float32(factor), 1.0


def llama3_frequencies(
    dim: int, base: float, *, factor: float, low_freq_factor: float, high_freq_factor: float,
    original_max_position_embeddings: int,
) -> Frequencies:  # fmt: skip
    """Slow pairs turn `factor` times slower, fast ones as before, between them a mixture.

    With n = original_max_position_embeddings·ωⱼ/2π, the turns of a pair over the original context:
    ωⱼ/factor where n < low_freq_factor, ωⱼ where n > high_freq_factor, between them
    (1 − s)·ωⱼ/factor + s·ωⱼ with s = (n − low)/(high − low).
    Raises: ValueError unless low_freq_factor < high_freq_factor.
    Llama team (2024), "The Llama 3 Herd of Models", section 3.4.
    """
    if not low_freq_factor < high_freq_factor:
        raise ValueError(
            "Rotary: scaling 'llama3' needs a high_freq_factor above low_freq_factor, got "
            f"{high_freq_factor} and {low_freq_factor}"
        )
    omega = default_frequencies(dim, base)[0]
    low = np.float32(original_max_position_embeddings / low_freq_factor)
    high = np.float32(original_max_position_embeddings / high_freq_factor)
    wavelength = np.float32(2 * math.pi) / omega
    slow = omega / np.float32(factor)
    turns = np.float32(original_max_position_embeddings) / wavelength
    share = (turns - np.float32(low_freq_factor)) / np.float32(high_freq_factor - low_freq_factor)
    mixture = (np.float32(1.0) - share) * omega / np.float32(factor) + share * omega
    scaled = np.where(wavelength > low, slow, np.where(wavelength < high, omega, mixture))
    return scaled.astype(np.float32), 1.0


def yarn_frequencies(
    dim: int, base: float, *, factor: float, original_max_position_embeddings: int,
    attention_factor: float | None = None, beta_fast: float | None = 32.0,
    beta_slow: float | None = 1.0, mscale: float | None = None,
    mscale_all_dim: float | None = None, truncate: bool = True,
) -> Frequencies:  # fmt: skip
    """YaRN: pairs that turn beta_slow times or less over the original context are slowed down.

    Those that turn beta_fast times or more stay as they are; between the two a ramp over j.
    cos and sin are multiplied by attention_factor, 0.1·ln(factor) + 1 unless given.
    Raises: ValueError unless base is above 1.
    Peng et al. (2023), "YaRN", equations 17 to 22.
    """
    if not base > 1.0:
        raise ValueError(f"Rotary: scaling 'yarn' needs a base above 1, got {base}")

    def ln_factor(scale: float | None) -> float:
        scale = 1.0 if scale is None else scale
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    if attention_factor is None:
        attention_factor = ln_factor(None)
        if mscale and mscale_all_dim:
            attention_factor = ln_factor(mscale) / ln_factor(mscale_all_dim)

    def pair_that_turns(times: float) -> float:
        """j, not rounded, of the pair that turns so often over the original context."""
        return (dim * math.log(original_max_position_embeddings / (times * 2 * math.pi))) / (
            2 * math.log(base)
        )

    low, high = pair_that_turns(beta_fast or 32.0), pair_that_turns(beta_slow or 1.0)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = (np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    fast = np.float32(1.0) - ramp.clip(0.0, 1.0)  # (dim/2): 1 where ω stays as it is
    powers = _powers(dim, base)
    slow = np.float32(1.0) / (np.float32(factor) * powers)
    return slow * (np.float32(1.0) - fast) + np.float32(1.0) / powers * fast, attention_factor


def dynamic_frequencies(
    dim: int, base: float, *, factor: float, original_max_position_embeddings: int, length: int = 0
) -> Frequencies:
    """A larger base for texts that are longer than the original context, n tokens.

    base·(factor·T/n − factor + 1)^(dim/(dim − 2)) for a text of T = max(length, n) tokens, so that
    shorter texts are as before.
    Raises: ValueError if dim is less than 4. Peng et al. (2023), "YaRN", section 3.2 ("Dynamic
    NTK").
    """
    if dim < 4:
        raise ValueError(f"Rotary: scaling 'dynamic' needs at least 4 turned channels, got {dim}")
    n = original_max_position_embeddings
    stretched = factor * max(length, n) / n - (factor - 1.0)
    return default_frequencies(dim, base * stretched ** (dim / (dim - 2)))


def longrope_frequencies(
    dim: int, base: float, *, short_factor: Sequence[float], long_factor: Sequence[float],
    original_max_position_embeddings: int, factor: float = 1.0,
    attention_factor: float | None = None, length: int = 0,
) -> Frequencies:  # fmt: skip
    """ωⱼ / fⱼ with a factor for each pair: long_factor for texts over the original context of n.

    Other texts have short_factor. cos and sin are multiplied by attention_factor,
    √(1 + ln(factor)/ln(n)) unless given.
    Raises: ValueError unless n is above 1. Ding et al. (2024), "LongRoPE".
    """
    n = original_max_position_embeddings
    if not n > 1:
        raise ValueError(
            f"Rotary: scaling 'longrope' needs an original_max_position_embeddings above 1, got {n}"
        )
    factors = np.asarray(long_factor if length > n else short_factor, np.float32)
    if attention_factor is None:
        attention_factor = 1.0 if factor <= 1 else math.sqrt(1.0 + math.log(factor) / math.log(n))
    return np.float32(1.0) / (factors * _powers(dim, base)), attention_factor


SCALINGS: dict[str, Callable[..., Frequencies]] = {
    "default": default_frequencies,
    "linear": linear_frequencies,
    "dynamic": dynamic_frequencies,
    "llama3": llama3_frequencies,
    "longrope": longrope_frequencies,
    "yarn": yarn_frequencies,
}
LENGTH = "length"  # the argument of those that depend on the text's length
SMALLEST, LARGEST = 1e-30, 1e30  # of a base or a factor: float32 holds what is computed of them


def _scaled(dim: int, base: float, scaling: Mapping[str, Any]) -> Frequencies:
    """What the function of SCALINGS returns that the mapping names, called with the rest of it."""
    options = {name: value for name, value in scaling.items() if name != "rope_type"}
    kind = scaling.get("rope_type", "default")
    if kind not in SCALINGS:
        raise ValueError(f"Rotary: rope_type must be {', '.join(SCALINGS)}, got {describe(kind)}")
    parameters = list(inspect.signature(SCALINGS[kind]).parameters.values())[2:]
    known = [p for p in parameters if p.name != LENGTH]
    unknown = set(options) - {p.name for p in known}
    missing = {p.name for p in known if p.default is p.empty} - set(options)
    if unknown or missing:
        raise ValueError(
            f"Rotary: scaling {kind!r} takes {', '.join(p.name for p in known) or 'no numbers'}; "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}, "
            f"missing: {', '.join(sorted(missing)) or 'none'}"
        )
    for name, value in options.items():
        if name == "truncate" or value is None:
            continue
        if name in ("short_factor", "long_factor"):
            if not isinstance(value, list | tuple) or len(value) != dim // 2:
                raise ValueError(
                    f"Rotary: {name} must be {dim // 2} numbers, one for each pair, got "
                    f"{describe(value)}"
                )
            each: Sequence[Any] = value
        else:
            each = (value,)
        for number in each:
            numeric = not isinstance(number, bool) and isinstance(number, int | float)
            if not numeric or not SMALLEST <= number <= LARGEST:
                raise ValueError(
                    f"Rotary: {name} must be a positive number, from {SMALLEST:g} to {LARGEST:g}, "
                    f"got {describe(number)}"
                )
    return SCALINGS[kind](dim, base, **options)


class Rotary:
    """(xₐ, x_b) -> (xₐ·cos φ − x_b·sin φ, x_b·cos φ + xₐ·sin φ),   φ = position·ωⱼ for pair j.

    head_dim      D, channels of a head
    base          θ of the paper: how slowly the slowest pair turns
    partial       the share of D that is turned, its first int(D·partial) channels; the rest stays
    scaling       None, or what Hugging Face calls rope_parameters: {"rope_type": "llama3", …}, a
                  name in SCALINGS and the numbers of its function
    interleaved   pairs are neighbours (x₂ⱼ, x₂ⱼ₊₁) as in Meta's files; otherwise (xⱼ, xⱼ₊R/2) as in
                  Hugging Face's. Weights trained with one do not work with the other

    It has no parameters: layers share one. Angles are computed in float32, as transformers does.
    With "dynamic" and "longrope" the angles of a text longer than the original context depend on
    its length, the highest position of a call: keys in a cache stay as they were turned.
    Raises: ValueError if the number of turned channels is not even and positive, or if scaling has
    a wrong name or number. Source: Su et al. (2021), "RoFormer", equation 34.
    """

    def __init__(
        self, head_dim: int, base: float = 10000.0, *, partial: float = 1.0,
        scaling: Mapping[str, Any] | None = None, interleaved: bool = False,
    ) -> None:  # fmt: skip
        if not 0.0 < partial <= 1.0:
            raise ValueError(f"Rotary: partial must be above 0 and at most 1, got {partial!r}")
        dim = int(head_dim * partial)
        if dim % 2 or dim < 2:
            raise ValueError(f"Rotary: dim is {dim}, must be even: it counts pairs")
        if not SMALLEST <= base <= LARGEST:
            raise ValueError(
                f"Rotary: base must be a positive number, from {SMALLEST:g} to {LARGEST:g}, got "
                f"{describe(base)}"
            )
        self.head_dim, self.dim, self.base, self.interleaved = head_dim, dim, base, interleaved
        self.scaling = dict(scaling or {})
        self.frequencies, self.attention_factor = _scaled(dim, base, self.scaling)
        self._on_device = {("cpu", 0): self.frequencies}  # copied once to each device
        self._by_length = self.scaling.get("rope_type") in ("dynamic", "longrope")

    def angles(self, positions: Tensor, dtype: DtypeLike = None) -> tuple[Tensor, Tensor]:
        """(cos φ, sin φ) of every pair, times the attention factor: (..., R/2) each.

        positions: integers (...); dtype: of the result, the default dtype if None
        """
        xp, device = xp_of(positions.array), device_of(positions.array)
        if self._by_length:
            frequencies = move(self._frequencies_for(positions), *device)
        else:
            if device not in self._on_device:
                self._on_device[device] = move(self.frequencies, *device)
            frequencies = self._on_device[device]
        angle = positions.array[..., None].astype("float32") * frequencies  # (...) -> (..., R/2)
        angle = angle.astype("float64")  # so that cos and sin are rounded once
        factor, kind = self.attention_factor, dtypes.numpy_dtype(dtype)
        cos, sin = (f(angle).astype("float32") for f in (xp.cos, xp.sin))
        return wrap((cos * factor).astype(kind)), wrap((sin * factor).astype(kind))

    def _frequencies_for(self, positions: Tensor) -> Any:
        """ω (R/2) for a text that ends at the highest of these positions."""
        length = int(positions.array.max()) + 1 if positions.array.size else 0
        if length <= self.scaling["original_max_position_embeddings"]:
            return self.frequencies
        options = {name: value for name, value in self.scaling.items() if name != "rope_type"}
        make = SCALINGS[self.scaling["rope_type"]]
        return make(self.dim, self.base, **options, length=length)[0]

    def __call__(self, *xs: Tensor, positions: Tensor) -> list[Tensor]:
        """Each x (B, H, T, D) turned by its positions, (T) or (B, T): the same shape."""
        cos, sin = self.angles(positions, xs[0].dtype)
        if positions.dim() == 2:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # (B, T, R/2) -> (B, 1, T, R/2)
        return [F.rope(x, cos, sin, self.interleaved) for x in xs]

    def __repr__(self) -> str:
        return (
            f"Rotary({self.head_dim}, base={self.base:g}, dim={self.dim}, "
            f"scaling={self.scaling or None}, interleaved={self.interleaved})"
        )


def rope_angles(
    positions: Tensor, dim: int, base: float = 10000.0, dtype: DtypeLike = None
) -> tuple[Tensor, Tensor]:
    """(cos, sin) of position·base^(−2j/dim), j < dim/2: (..., dim/2) each, for nn.functional.rope.

    positions: (...), integers; dim: how many channels of a head are turned; base: θ of the paper
    dtype: of the result, the default dtype if None (the angles are computed in float32)
    Raises: ValueError if dim is odd. Su et al. (2021), "RoFormer", section 3.2.2.
    """
    return Rotary(dim, base).angles(positions, dtype)
