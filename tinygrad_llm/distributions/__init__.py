"""Probability distributions with PyTorch's names, numbers and random streams.

Categorical, Normal, Bernoulli and Uniform: sample, log_prob, entropy, mean and variance, rsample
where a gradient can flow through the sample, and kl_divergence between two of them.
"""

from typing import TYPE_CHECKING

from ..tensor.missing_names import missing
from . import constraints, kl
from .bernoulli import Bernoulli
from .categorical import Categorical
from .distribution import Distribution
from .independent import Independent
from .kl import kl_divergence, register_kl
from .normal import Normal
from .uniform import Uniform

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Independent",
    "Normal",
    "Uniform",
    "constraints",
    "kl",
    "kl_divergence",
    "register_kl",
]


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
