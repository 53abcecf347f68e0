"""KL(p‖q) = E_p[log p − log q]: by a formula for each pair of distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..functions.activation import softplus
from ..functions.creation.filled import full_like
from ..functions.elementary import log
from ..functions.selection import where
from ..tensor import Tensor
from .bernoulli import Bernoulli
from .categorical import Categorical
from .distribution import Distribution
from .normal import Normal
from .uniform import Uniform

__all__ = ["kl_divergence", "register_kl"]

Formula = Callable[[Any, Any], Tensor]
_FORMULAS: dict[tuple[type, type], Formula] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Formula], Formula]:
    """A decorator that enters f(p, q) as the formula for a pair of distributions.

    Raises: TypeError if one is not a distribution.
    """
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected a subclass of Distribution but got {kind!r}")

    def enter(formula: Formula) -> Formula:
        _FORMULAS[type_p, type_q] = formula
        return formula

    return enter


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p‖q) in nats, for every element of the batch.

    Raises: NotImplementedError for a pair of distributions without a formula.
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            formula = _FORMULAS.get((kind_p, kind_q))
            if formula is not None:
                return formula(p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


def _part(p: Tensor, difference: Tensor, impossible: Tensor) -> Tensor:
    """p·difference; infinite where q has 0 for it, and 0 where p has."""
    part = where(impossible, math.inf, p * difference)
    return where(p == 0, 0.0, part)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    """Σ p·(log p − log q)."""
    return _part(p.probs, p.logits - q.logits, q.probs == 0).sum(-1)  # (..., K) -> (...)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    """The same for both sides of the coin, with log p = −softplus(−logits)."""
    ones = _part(p.probs, softplus(-q.logits) - softplus(-p.logits), q.probs == 0)
    zeros = _part(1 - p.probs, softplus(q.logits) - softplus(p.logits), q.probs == 1)
    return ones + zeros


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    """½·(r + ((μ_p − μ_q) / σ_q)² − 1 − log r) with r = (σ_p / σ_q)²."""
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).square() - 1 - log(ratio))


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    """The logarithm of the intervals' ratio; infinite if p's reaches out of q's."""
    kl = log((q.high - q.low) / (p.high - p.low))
    return where((q.low > p.low) | (q.high < p.high), math.inf, kl)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    """log(σ·√(2π) / (b − a)) + ((b − a)² / 12 + ((a + b) / 2 − μ)²) / 2σ²."""
    length = p.high - p.low
    middle = ((p.high + p.low - 2 * q.loc) / 2).square()
    spread = 0.5 * (length.square() / 12 + middle) / q.scale.square()
    return log(math.sqrt(2 * math.pi) * q.scale / length) + spread


@register_kl(Normal, Uniform)
def _normal_uniform(p: Normal, q: Uniform) -> Tensor:
    """Infinite: the bell curve reaches out of every interval."""
    return full_like((p.loc + q.low).detach(), math.inf)
