"""Is it right: two models compared, wrong gradients and layers diagnosed, slow twins of both.

diagnose("layer_norm", Mine)              what is wrong with an op's backward
diagnose_layer(Attention(12, 4), y, x)    which known mistake made a layer return y for x
"""

from .compare import Divergence, compare
from .diagnose import Finding, diagnose
from .diagnose_layer import diagnose_layer
from .reference import TWINS

__all__ = ["TWINS", "Divergence", "Finding", "compare", "diagnose", "diagnose_layer"]
