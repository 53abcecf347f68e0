"""Tensor parallelism: layers divided among ranks, which compute parts of one model together.

styles     matrices and embeddings divided        sequence   norms and dropout on a part of T
layouts    from one layout to another             loss       logits divided by classes
experts    experts divided, tokens sent to them   streams    random numbers within a part
plans      a style for each of a model's layers
"""

from ...not_offered import not_offered
from .experts import ExpertParallel
from .loss import loss_parallel
from .plans import parallelize_module
from .sequence import (
    PrepareModuleInput,
    PrepareModuleInputOutput,
    PrepareModuleOutput,
    SequenceParallel,
)
from .streams import own_random_stream
from .styles import ColwiseParallel, ParallelStyle, RowwiseParallel

__all__ = [
    "ColwiseParallel",
    "ExpertParallel",
    "ParallelStyle",
    "PrepareModuleInput",
    "PrepareModuleInputOutput",
    "PrepareModuleOutput",
    "RowwiseParallel",
    "SequenceParallel",
    "loss_parallel",
    "own_random_stream",
    "parallelize_module",
]


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
