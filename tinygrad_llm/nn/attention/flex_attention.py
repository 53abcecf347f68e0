"""Attention with a function that changes scores and one that hides keys, under PyTorch's names.

    from tinygrad_llm.nn.attention.flex_attention import create_block_mask, flex_attention
    near = create_block_mask(lambda b, h, q, k: (q >= k) & (q - k < 256), None, None, T, T)
    y = flex_attention(query, key, value, block_mask=near)

The functions are called with whole tensors of indices, which broadcast to (B, H, L, S), not with
single numbers: operators, comparisons and indexing do the same for both. Blocks of keys that no
query of a block sees are never computed. Dong et al. (2024), "Flex Attention".

Shapes: B batch, H query heads, L queries, S keys, E channels of a key, D of a value.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from ...arrays.devices import xp_of
from ...functions.creation.filled import ones, zeros
from ...functions.creation.ranges import arange
from ...functions.shape.join import cat
from ...tensor import Tensor, dtypes, wrap
from ...tensor.device import DeviceLike
from .. import functional as F

__all__ = [
    "BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask",
    "or_masks",
]  # fmt: skip

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
BLOCK = 128


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """A mask_mod that hides nothing."""
    return ones(1, dtype=dtypes.bool_, device=token_q.device)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """A mask_mod that shows what all of these show.

    Raises: RuntimeError in PyTorch's words for what cannot be called.
    """
    _check_callable(mask_mods)

    def and_mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = noop_mask(b, h, q_idx, kv_idx)
        for mask in mask_mods:
            result = result & mask(b, h, q_idx, kv_idx)
        return result

    return and_mask


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """A mask_mod that shows what one of these shows.

    Raises: RuntimeError in PyTorch's words for what cannot be called.
    """
    _check_callable(mask_mods)

    def or_mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = ~noop_mask(b, h, q_idx, kv_idx)
        for mask in mask_mods:
            result = result | mask(b, h, q_idx, kv_idx)
        return result

    return or_mask


def _check_callable(mask_mods: tuple) -> None:
    if not all(callable(mod) for mod in mask_mods):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")


def _indices(B: int, H: int, rows: slice, columns: Any, device: Any) -> tuple[Tensor, ...]:
    """Indices of batch (B, 1, 1, 1), heads (H, 1, 1), queries (n, 1) and keys (m)."""
    b = arange(B, device=device).view(B, 1, 1, 1)
    h = arange(H, device=device).view(H, 1, 1)
    q = arange(rows.start, rows.stop, device=device).unsqueeze(1)
    return b, h, q, columns


def create_mask(
    mod_fn: Any, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: DeviceLike = None
) -> Tensor:
    """The mask of a mask_mod, or where a score_mod of zeros is not −∞: bool (B, H, Q_LEN, KV_LEN).

    B and H are 1 if None.
    Raises: AssertionError if mod_fn takes neither four nor five arguments.
    """
    B, H = B or 1, H or 1
    at = _indices(B, H, slice(0, Q_LEN), arange(KV_LEN, device=device), device)
    n = len(inspect.signature(mod_fn).parameters)
    if n == 5:
        scores = mod_fn(zeros(B, H, Q_LEN, KV_LEN, device=device), *at)
        seen = scores != -math.inf
    elif n == 4:
        seen = mod_fn(*at)
    else:
        raise AssertionError(f"Expected 4 or 5 positional args, got {n}")
    return seen.expand(B, H, Q_LEN, KV_LEN)


class BlockMask:
    """Which blocks of queries and keys meet, and the mask_mod that decides within them.

    seq_lengths    (Q_LEN, KV_LEN)
    kv_num_blocks  (B, H, blocks of queries), int32: how many blocks of keys are seen in part
    kv_indices     (B, H, blocks of queries, blocks of keys), int32: which, those that count first
    full_kv_num_blocks, full_kv_indices: the same of those that are seen wholly, or None
    BLOCK_SIZE     queries and keys of a block
    """

    def __init__(
        self, seq_lengths: tuple[int, int], kv_num_blocks: Tensor, kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None, full_kv_indices: Tensor | None,
        BLOCK_SIZE: tuple[int, int] = (BLOCK, BLOCK), mask_mod: MaskMod = noop_mask,
    ) -> None:  # fmt: skip
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, Q_LEN, KV_LEN)."""
        return (*self.kv_num_blocks.shape[:2], *self.seq_lengths)

    def numel(self) -> int:
        """How many pairs of queries and keys there are."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """How many of a hundred pairs are in blocks that are not computed."""
        blocks = int(self.kv_num_blocks.sum().item())
        if self.full_kv_num_blocks is not None:
            blocks += int(self.full_kv_num_blocks.sum().item())
        return 100.0 * (1.0 - blocks * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1] / self.numel())

    def to_dense(self) -> Tensor:
        """1 for each block that is computed: (B, H, blocks of queries, blocks of keys), int32."""
        dense = _marked(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None and self.full_kv_indices is not None:
            dense = dense | _marked(self.full_kv_num_blocks, self.full_kv_indices)
        return dense.to(dtypes.int32)

    def full(self) -> Tensor:
        """True for each block that is seen wholly: (B, H, blocks of queries, blocks of keys)."""
        if self.full_kv_num_blocks is None or self.full_kv_indices is None:
            return _marked(self.kv_num_blocks * 0, self.kv_indices)
        return _marked(self.full_kv_num_blocks, self.full_kv_indices)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def _marked(counts: Tensor, indices: Tensor) -> Tensor:
    """True at the first counts (B, H, n) of the indices (B, H, n, m): bool (B, H, n, m)."""
    xp = xp_of(indices.array)
    places = xp.argsort(indices.array, -1)  # where block j stands in the list
    return wrap(places < counts.array[..., None])


def _ordered(blocks: Any) -> tuple[Tensor, Tensor]:
    """How many blocks (B, H, n, m) are True in each row, and all of them, those first."""
    xp = xp_of(blocks)
    order = xp.argsort(~blocks, -1, kind="stable")
    return wrap(blocks.sum(-1).astype("int32")), wrap(order.astype("int32"))


def create_block_mask(
    mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
    device: DeviceLike = None, BLOCK_SIZE: int | tuple[int, int] = BLOCK, _compile: bool = False,
    separate_full_blocks: bool = True,
) -> BlockMask:  # fmt: skip
    """The BlockMask of a mask_mod(b, h, q_idx, kv_idx), which returns True where a query looks.

    B and H: None if the mask is the same for all. separate_full_blocks: False to ask mask_mod
    within every block. Nothing is compiled here.
    Raises: AssertionError if mask_mod is a score_mod.
    """
    if len(inspect.signature(mask_mod).parameters) != 4:
        raise AssertionError(f"create-block_mask requires a mask_mod function! Got {mask_mod}")
    n, m = BLOCK_SIZE if isinstance(BLOCK_SIZE, tuple) else (BLOCK_SIZE, BLOCK_SIZE)
    seen = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device).array
    xp, rows, columns = xp_of(seen), -(-Q_LEN // n), -(-KV_LEN // m)
    padded = xp.zeros((*seen.shape[:2], rows * n, columns * m), bool)
    padded[:, :, :Q_LEN, :KV_LEN] = seen
    counts = padded.reshape(*seen.shape[:2], rows, n, columns, m).sum((3, 5))  # (B, H, rows, …)
    full = counts == n * m if separate_full_blocks else counts < 0
    some, whole = _ordered((counts > 0) & ~full), _ordered(full)
    numbers, indices = whole if separate_full_blocks else (None, None)
    return BlockMask((Q_LEN, KV_LEN), *some, numbers, indices, BLOCK_SIZE=(n, m), mask_mod=mask_mod)


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None, scale: float | None = None, enable_gqa: bool = False,
    return_lse: bool = False, kernel_options: Any = None,
) -> Any:  # fmt: skip
    """softmax(score_mod(q·kᵀ·scale), hidden by the mask)·v: (B, H, L, D); scale 1/√E unless given.

    query (B, H, L, E), key (B, KV, S, E), value (B, KV, S, D). With enable_gqa KV may divide H.
    score_mod(score, b, h, q_idx, kv_idx) returns the new scores. What it uses, such as a learned
    bias, gets its gradient. A query that sees no key returns zeros.
    return_lse: also the logarithm of the sum under each softmax, (B, H, L)
    kernel_options: not used
    Raises: ValueError or NotImplementedError, as PyTorch's.
    """
    _check(query, key, value, block_mask, enable_gqa)
    B, H, L, E = query.shape
    S, D = key.shape[2], value.shape[3]
    scale = 1.0 / math.sqrt(max(E, 1)) if scale is None else scale
    if key.shape[1] != H:
        key, value = (a.repeat_interleave(H // key.shape[1], dim=1) for a in (key, value))
    n, m = (BLOCK, max(S, 1)) if block_mask is None else block_mask.BLOCK_SIZE
    computed, full = _blocks(block_mask, L, S, n, m)
    outputs, sums = [], []
    for i, start in enumerate(range(0, L, n)):
        rows = slice(start, min(start + n, L))
        blocks = [j for j, meets in enumerate(computed[i]) if meets]
        if not blocks:
            nothing = query.new_zeros(B, H, rows.stop - start, D)
            outputs.append(nothing)
            sums.append(nothing.sum(-1) - math.inf)
            continue
        k, v, columns = _columns(key, value, blocks, m)
        at = _indices(B, H, rows, columns, query.device)
        whole = block_mask is None or all(full[i][j] for j in blocks)
        mask = None if whole else block_mask.mask_mod(*at)  # type: ignore[union-attr]
        y, lse = _attended(query[:, :, rows], k, v, scale, score_mod, mask, at, return_lse)
        outputs.append(y)
        sums.append(lse)
    y = cat(outputs, 2) if outputs else query.new_zeros(B, H, L, D)  # (B, H, L, D)
    return (y, cat(sums, 2)) if return_lse else y


def _blocks(block_mask: BlockMask | None, L: int, S: int, n: int, m: int) -> tuple[Any, Any]:
    """Lists [block of queries][block of keys]: whether some (b, h) sees it, whether all wholly."""
    if block_mask is None:
        every = [[True] * -(-S // m) for _ in range(0, L, n)]
        return every, every
    computed = block_mask.to_dense().array.astype(bool)
    full = block_mask.full().array  # (B, H, blocks of queries, blocks of keys)
    return computed.any((0, 1)).tolist(), full.all((0, 1)).tolist()


def _columns(key: Tensor, value: Tensor, blocks: list[int], m: int) -> tuple[Tensor, ...]:
    """Keys and values of these blocks, (B, H, columns, ·), and the columns' numbers."""
    S, device = key.shape[2], key.device
    runs: list[list[int]] = []  # neighbours together
    for j in blocks:
        if runs and runs[-1][1] == j * m:
            runs[-1][1] = min((j + 1) * m, S)
        else:
            runs.append([j * m, min((j + 1) * m, S)])
    if len(runs) == 1:
        ((a, b),) = runs
        return key[:, :, a:b], value[:, :, a:b], arange(a, b, device=device)
    k, v = (cat([x[:, :, a:b] for a, b in runs], 2) for x in (key, value))
    return k, v, cat([arange(a, b, device=device) for a, b in runs])


def _attended(
    q: Tensor, k: Tensor, v: Tensor, scale: float, score_mod: ScoreMod | None,
    mask: Tensor | None, at: tuple[Tensor, ...], with_sums: bool,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Some queries (B, H, n, E) and keys (B, H, m, E): y (B, H, n, D) and log Σ exp, or None."""
    if score_mod is None and not with_sums:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), None
    scores = q @ k.transpose(-2, -1) * scale  # (B, H, n, m)
    if score_mod is not None:
        scores = score_mod(scores, *at)
    empty = None
    if mask is not None:
        hidden = ~mask.expand(scores.shape)
        empty = hidden.all(-1, keepdim=True)  # (B, H, n, 1)
        scores = scores.masked_fill(hidden & ~empty, -math.inf)
    weights = F.softmax(scores, dim=-1)
    sums = scores.logsumexp(-1) if with_sums else None  # (B, H, n)
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
        sums = None if sums is None else sums.masked_fill(empty.squeeze(-1), -math.inf)
    return weights @ v, sums


def _check(
    query: Tensor, key: Tensor, value: Tensor, block_mask: BlockMask | None, enable_gqa: bool
) -> None:
    """Raises: ValueError or NotImplementedError, in PyTorch's words."""
    if any(a.dim() != 4 for a in (query, key, value)):
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    H, KV = query.shape[1], key.shape[1]
    if not enable_gqa and H != KV:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={H} and "
            f"Hkv={KV}. Try setting enable_gqa=True for GQA."
        )
    if enable_gqa and (not KV or H % KV):
        raise ValueError(
            f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={H} "
            f"and Hkv={KV}."
        )
    if block_mask is not None and block_mask.seq_lengths != (query.shape[2], key.shape[2]):
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got "
            f"q_len={query.shape[2]} and kv_len={key.shape[2]}. As the block mask was created for "
            f"another length than you're using it for, create a new block mask."
        )
