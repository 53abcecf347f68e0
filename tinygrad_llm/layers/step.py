"""A few new tokens through blocks by compiled loops, where the layers are ones that those know.

`through` reads what the blocks compute, once for a cache and a number of new tokens, as stages
(layers.stages_of). Each later token checks only that nothing has changed: the same parameters and
submodules, no hooks, no observers. A part of a block that the loops do not know (experts, a
DeltaNet, an adapter) is called as the module that it is, between two runs of stages.

Shapes: B batch, T new tokens, C channels, S keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays.twins import cpu_twins
from ..autograd import engine
from ..autograd.grad_mode import is_grad_enabled
from ..nn.module import HOOKS, Module
from ..tensor import Tensor, dtypes, wrap
from .attention import Attention
from .block import Block
from .cache import AttentionCache, DecoderCache
from .feed_forward import FeedForward, GatedFeedForward
from .stages_of import Called, Reader, is_packed, largest_weight
from .texts_cache import TextsCache, TextsPart

__all__ = ["through"]

MOST_ROWS = 16  # new tokens, B·T; more are faster as products of BLAS
MOST_PACKED_ROWS = 128  # the same of several texts, for matrices of few bits
OPTIONS = {"mask", "positions", "real"}


class Plan:
    """The stages of all blocks for B·T new tokens of one dtype, and what they were read from."""

    def __init__(self, blocks: Sequence[Block], B: int, T: int, dtype: Any, decoder: Any) -> None:
        self.dtype, self.n_blocks, self.first = dtype, len(blocks), blocks[0]
        self.places: list[Any] = []  # a dict, a key, its object, its array
        self.hooks: list[Any] = []
        self.modules = [m for block in blocks for m in block.modules()]
        for module in self.modules:
            self._remember(module)
        self.dropping = [m for m in self.modules if getattr(m, "p", 0.0) or _rate(m)]
        reader = Reader(blocks, B, T, dtype)
        self.x, self.angles = reader.x, reader.angles
        self.parts = reader.parts  # of the cache, that stages use
        self.steps: list[Any] = [
            step if isinstance(step, Called) else decoder(step, B * T, dtype)
            for step in reader.runs()
        ]
        self.serves = reader.n_known > 0

    def _remember(self, module: Module) -> None:
        self.hooks += [getattr(module, hooks) for hooks in HOOKS]
        held = vars(module)
        if "forward" in held:
            raise LookupError("a forward that was set on the module")
        for name in module._kinds:  # its parameters and submodules are attributes
            self.places.append((held, name, held[name], getattr(held[name], "array", None)))
        if "matrix" in held:  # a quantised one
            self.places.append((held, "matrix", held["matrix"], None))

    def __deepcopy__(self, memo: Any) -> None:
        """None: a plan holds the addresses of its arrays; a copied cache makes another."""

    def is_valid(self, blocks: Sequence[Module], dtype: Any) -> bool:
        """Whether it still says what these blocks compute."""
        if self.dtype != dtype or len(blocks) != self.n_blocks or blocks[0] is not self.first:
            return False
        if any(self.hooks) or any(m.training for m in self.dropping):
            return False
        for held, name, value, array in self.places:
            if held.get(name) is not value or (array is not None and value.array is not array):
                return False
        return True

    def run(self, x: Tensor, cache: Any, options: dict[str, Any], seen: Any) -> Tensor:
        """x (B, T, C) through the blocks: (B, T, C)."""
        B, T, C = x.shape
        self.x[: B * T] = x.array.reshape(B * T, C)  # (B, T, C) -> (B·T, C); others mean nothing
        self._write_angles(options.get("positions"), cache, B, T)
        for step in self.steps:
            if isinstance(step, Called):
                step.run(cache, options, B, T)
            elif isinstance(cache, TextsCache):
                step.with_texts(cache.caches, cache.counts)
                step.run()
            else:
                step.with_cache(cache.layers, seen)
                step.run()
        return wrap(self.x[: B * T].reshape(B, T, C).copy())  # (B·T, C) -> (B, T, C)

    def _write_angles(self, positions: Tensor | None, cache: Any, B: int, T: int) -> None:
        """The cos and sin of each Rotary of the blocks, (B, T, pairs)."""
        for rotary, cos, sin in self.angles:
            if positions is None:
                past = cache.layers[0].length
                positions = wrap(np.arange(past, past + T))  # (T)
            both = rotary.angles(positions, dtypes.of(self.dtype))
            for array, tensor in zip((cos, sin), both, strict=True):
                array[:, :T] = tensor.array  # (T or B, T, pairs) -> (B, T, pairs)


def through(blocks: Any, x: Tensor, cache: Any, options: dict[str, Any]) -> Tensor | None:
    """x (B, T, C) through the blocks, with a models' Cache; None if the loops do not serve it.

    options: mask, positions and real, as Block takes them
    """
    B, T, C = x.shape
    if isinstance(cache, TextsCache):
        return _through_texts(list(blocks), x, cache, options)
    if not 0 < B * T <= MOST_ROWS or is_grad_enabled() or options.keys() - OPTIONS:
        return None
    if engine.observers or engine.start_observers or type(x.array) is not np.ndarray:
        return None
    mask = options.get("mask")
    if mask is not None and (mask.dtype is not dtypes.bool_ or mask.dim() != 4):
        return None
    if mask is not None and mask.shape[1] != 1:
        return None
    blocks, dtype = list(blocks), x.array.dtype
    plan = _plan_of(cache, blocks, B, T, dtype)
    if plan is None or cpu_twins(largest_weight(blocks[0])) is None:
        return None
    past = cache.layers[0].length
    if past + T > cache.max_length or any(part.length != past for part in cache.layers):
        return None  # the ordinary path says what is wrong
    return plan.run(x, cache, options, _seen(mask, B, T, past))


def _through_texts(blocks: Any, x: Tensor, cache: TextsCache, options: Any) -> Tensor | None:
    """x (1, N, C), the new tokens of several texts, through the blocks; None without loops.

    A plan serves up to three tokens more than there are: the loops take four together.
    """
    N, dtype = x.shape[1], x.array.dtype
    if not blocks or is_grad_enabled() or engine.observers or engine.start_observers:
        return None
    if type(x.array) is not np.ndarray or options.get("mask") is not None:
        return None
    if options.keys() - OPTIONS:
        return None
    most = MOST_PACKED_ROWS if MOST_ROWS and is_packed(blocks[0]) else MOST_ROWS
    if not 0 < N <= most or cpu_twins(largest_weight(blocks[0])) is None:
        return None
    known = N if N < 4 else -(-N // 4) * 4
    plan = _plan_of(cache, blocks, 1, known, dtype)
    return None if plan is None else plan.run(x, cache, options, None)


def _plan_of(cache: Any, blocks: list[Any], B: int, T: int, dtype: Any) -> Plan | None:
    """The plan for B·T new tokens, from the cache or made now; None if there is none."""
    if cache.plan is None:
        cache.plan = {}
    plans: dict[tuple[int, int], Plan | None] = cache.plan
    plan = plans.get((B, T))
    if plan is None or not plan.is_valid(blocks, dtype):
        plans[B, T] = plan = _plan(blocks, cache, B, T, dtype)
    return plan


def _plan(blocks: list[Any], cache: Any, B: int, T: int, dtype: Any) -> Plan | None:
    if not blocks or dtype.char not in "fd" or any(not _is_known(block) for block in blocks):
        return None
    if any(isinstance(part, DecoderCache) for part in cache.layers):
        return None
    for block, part in zip(blocks, cache.layers, strict=True):
        if type(block.att) is Attention and type(part) not in (AttentionCache, TextsPart):
            return None
    loops = cpu_twins(largest_weight(blocks[0]))
    if loops is None or loops.decoder is None:
        return None
    try:
        plan = Plan(blocks, B, T, dtype, loops.decoder)
    except LookupError:
        return None
    return plan if plan.serves and plan.is_valid(blocks, dtype) else None


def _is_known(block: Any) -> bool:
    """Whether a block is called as layers.block.Block is, without cross-attention."""
    return (
        isinstance(block, Block)
        and type(block).forward is Block.forward
        and type(block)._added is Block._added
        and block.cross is None
    )


def _rate(module: Module) -> float:
    return module.dropout if isinstance(module, Attention | FeedForward | GatedFeedForward) else 0.0


def _seen(mask: Tensor | None, B: int, T: int, past: int) -> Callable[[int], Any]:
    """A function of the first key in memory -> None, or bool (B, T, keys in memory)."""
    made: dict[int, Any] = {}

    def seen(start: int) -> Any:
        if mask is not None and start not in made:
            S = mask.shape[-1] if mask.shape[-1] != 1 else past + T
            full = np.broadcast_to(mask.array, (B, 1, T, S))[:, 0, :, start:]  # (B, T, S)
            made[start] = np.array(full, order="C")
        return made.get(start)

    return seen
