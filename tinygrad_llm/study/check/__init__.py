"""Is it right: two models compared, a wrong gradient diagnosed, the slow twin of each fused op."""

from .compare import Divergence, compare
from .diagnose import Finding, diagnose
from .reference import TWINS

__all__ = ["TWINS", "Divergence", "Finding", "compare", "diagnose"]
