"""Random numbers on tensor-parallel ranks: equal where they compute the same, else different.

After one manual_seed all ranks have the same stream, so that dropout of a whole tensor is the same
on all of them, as it must be. Where each rank computes a part, equal numbers would drop the same
places of every part, and parts of unequal sizes would use up different amounts of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....random import default_generator
from ... import groups

__all__ = ["own_random_stream"]


@contextmanager
def own_random_stream(device_mesh: Any = None) -> Iterator[None]:
    """A block in which each rank of a mesh of one dimension draws from a separate stream.

    Enter it where a rank computes a part, such as dropout of the weights of its heads. Afterwards
    the stream of before goes on, one draw further, on all ranks alike: it does not matter how much
    each of them drew within the block.
    """
    group = None if device_mesh is None else device_mesh.get_group()
    chosen = groups.member_group(group, "own_random_stream")
    seed = default_generator.random_int64()
    rank = 0 if chosen is None else chosen.rank()
    before = default_generator.state()
    default_generator.manual_seed((seed + rank) % 2**63)
    try:
        yield
    finally:
        default_generator.set_state(before)
