"""Whether the ranks have the same model before its parameters are exchanged."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from .errors import DistError
from .objects import all_gather_object
from .process_group import ProcessGroup

__all__ = ["require_same_parameters"]


def require_same_parameters(
    who: str, named: Iterable[tuple[str, Any]], group: ProcessGroup
) -> None:
    """Check that parameters (name, tensor) have the same names, shapes and dtypes on all ranks.

    who: what needs it, for the message
    Raises: DistError on every rank, which names the first parameter that differs, on both sides.
    """
    mine = [f"{name}, {list(p.shape)} {p.dtype}" for name, p in named]
    everyones: list[Any] = [None] * group.size()
    all_gather_object(everyones, mine, group)
    for rank in range(1, group.size()):
        pairs = zip_longest(everyones[0], everyones[rank], fillvalue="nothing")
        for number, (first, other) in enumerate(pairs):
            if first != other:
                raise DistError(
                    f"{who} expects the same model on all ranks: parameter {number} is {first} on "
                    f"rank {group.ranks[0]} and {other} on rank {group.ranks[rank]}. Make the "
                    "model from one configuration everywhere"
                )
