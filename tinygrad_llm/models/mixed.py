"""Configs of models in which two kinds of blocks take turns, such as windows and full attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..functions.creation.ranges import arange
from ..layers.rotary import Rotary
from ..tensor import Tensor
from .config import choices, integer, optional, positive
from .decoder import DecoderConfig

__all__ = [
    "FULL",
    "LINEAR",
    "SLIDING",
    "AlternatingConfig",
    "SlidingConfig",
    "check_one_type_for_each_block",
    "real_tokens",
]

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"


def real_tokens(idx: Tensor, past: int, padding: Tensor | None) -> Tensor | None:
    """bool (B, T), False where idx (B, T) is padding at the left; None without padding.

    past: tokens in the cache; padding: how many stand at the left of each row, (B)
    """
    if padding is None:
        return None
    columns = arange(past, past + idx.shape[1], device=idx.device)
    return columns >= padding.unsqueeze(1)  # (T), (B, 1) -> (B, T)


def check_one_type_for_each_block(config: DecoderConfig, types: tuple[str, ...]) -> None:
    """Check that layer_types names the kind of each block.

    Raises: ValueError if there are more or fewer than n_layers.
    """
    if len(types) != config.n_layers:
        raise ValueError(
            f"{type(config).__name__}: layer_types must have one type for each of the "
            f"{config.n_layers} blocks, got {len(types)}"
        )


@dataclass(frozen=True)
class AlternatingConfig(DecoderConfig):
    """DecoderConfig's fields and the kind of each block.

    layer_types   for each block "full_attention" or the family's other kind; None if every
                  FULL_EVERY-th block is full, which a list that says just this becomes

    Raises: ValueError if layer_types does not fit n_layers, or names another kind.
    """

    FULL_EVERY: ClassVar[int] = 4
    OTHER: ClassVar[str] = SLIDING

    layer_types: tuple[str, ...] | None = optional(choices((FULL, SLIDING, LINEAR), None))

    def __post_init__(self) -> None:
        super().__post_init__()
        types = self.layer_types
        if types is None:
            return
        check_one_type_for_each_block(self, types)
        if set(types) - {FULL, self.OTHER}:
            raise ValueError(
                f"{type(self).__name__}: layer_types must be {FULL} or {self.OTHER}, got "
                f"{', '.join(sorted(set(types)))}"
            )
        if all((kind == FULL) == ((i + 1) % self.FULL_EVERY == 0) for i, kind in enumerate(types)):
            object.__setattr__(self, "layer_types", None)  # the dataclass is frozen

    def is_full(self, i: int) -> bool:
        """Whether block i sees all tokens before it by attention."""
        if self.layer_types is None:
            return (i + 1) % self.FULL_EVERY == 0
        return self.layer_types[i] == FULL


@dataclass(frozen=True)
class SlidingConfig(AlternatingConfig):
    """AlternatingConfig's fields and the window of the blocks that are not full.

    window            the most keys that a token sees in these blocks, its own included
    local_rope_base   rope_base of these blocks; their positions have no scaling
    """

    window: int = integer(4096)
    local_rope_base: float = positive(10000.0)

    def window_of(self, i: int) -> int | None:
        """The window of block i; None if it sees all tokens."""
        return None if self.is_full(i) else self.window

    def rotaries(self) -> dict[bool, Rotary]:
        """The angles of full blocks (True) and of the others (False)."""
        local = self.rotary(base=self.local_rope_base, scaling=None)
        return {True: self.rotary(), False: local}
