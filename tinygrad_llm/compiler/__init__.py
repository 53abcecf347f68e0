"""PyTorch's public compiler switches: nothing is compiled here, functions stay as they are."""

from __future__ import annotations

from .._dynamo import allow_in_graph, disable, is_compiling, reset
from ..functions.settings import compile

__all__ = [
    "allow_in_graph",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "is_compiling",
    "is_dynamo_compiling",
    "reset",
    "set_stance",
]

is_dynamo_compiling = is_compiling


def cudagraph_mark_step_begin() -> None:
    """Note that a new step begins, which needs no note here."""


class set_stance:
    """How compiled functions behave, as a call or a block: there are none, so nothing changes."""

    def __init__(self, stance: str = "default", **options: object) -> None:
        self.stance = stance

    def __enter__(self) -> set_stance:
        return self

    def __exit__(self, *exc: object) -> None:
        return None
