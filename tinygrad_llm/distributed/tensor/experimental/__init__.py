"""Context parallelism: a long text divided among ranks, under PyTorch's name context_parallel."""

from ...not_offered import not_offered
from ._attention import context_parallel, context_parallel_unshard

__all__ = ["context_parallel", "context_parallel_unshard"]


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
