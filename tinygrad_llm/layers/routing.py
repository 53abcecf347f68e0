"""Who may go where: groups of experts, and how many tokens an expert has room for.

Shapes: N tokens, E experts, k experts per token. Arrays and bools only: no gradient passes here.
"""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..functions.creation.filled import ones_like
from ..tensor import Tensor, dtypes

__all__ = ["check_routing", "counted", "outside_groups", "within_capacity"]


def check_routing(
    n_experts: int, k: int, sigmoid: bool, groups: tuple[int, int] | None,
    capacity_factor: float | None,
) -> None:  # fmt: skip
    """Raises: ValueError if the arguments of a MixtureOfExperts do not fit each other."""
    if not 1 <= k <= n_experts:
        raise ValueError(
            f"MixtureOfExperts: n_experts_per_token must be from 1 to the {n_experts} experts, "
            f"got {k!r}"
        )
    if capacity_factor is not None and not capacity_factor > 0:
        raise ValueError(
            f"MixtureOfExperts: capacity_factor must be positive, got {capacity_factor!r}"
        )
    if groups is None:
        return
    n, m = groups
    if not sigmoid:
        raise ValueError("MixtureOfExperts: groups need sigmoid=True")
    if not 1 <= m <= n or n_experts % n or n_experts // n < 2 or k > m * (n_experts // n):
        raise ValueError(
            f"MixtureOfExperts: groups (n, m) are n equal parts of the {n_experts} experts, each "
            f"of two at least, of which m hold {k} experts or more, got {groups!r}"
        )


def counted(chosen: Any, n_experts: int) -> Any:
    """How often each expert is in the array of ids `chosen`: (E)."""
    return xp_of(chosen).bincount(chosen.ravel(), minlength=n_experts)


def outside_groups(scores: Tensor, n_groups: int, n_kept: int) -> Tensor:
    """True for the experts that are not in the n_kept best groups: scores (N, E) -> bool (N, E).

    A group is as good as the sum of its two largest scores. DeepSeek-AI (2024), section 2.1.2.
    """
    N, E = scores.shape
    best = scores.view(N, n_groups, E // n_groups).topk(2, dim=-1)[0].sum(-1)  # (N, groups)
    kept = best.topk(n_kept, dim=-1)[1]  # (N, n_kept)
    outside = ones_like(best, dtype=dtypes.bool_).scatter(1, kept, False)  # (N, groups)
    return outside.repeat_interleave(E // n_groups, dim=1)  # (N, groups) -> (N, E)


def within_capacity(chosen: Any, n_experts: int, capacity: int) -> Any:
    """Which choices find room: the array of ids (N, k) -> bools (N, k).

    Each expert takes the first `capacity` of those that chose it: first choices of all tokens
    come before second ones, and earlier tokens before later ones.
    """
    xp, (N, k) = xp_of(chosen), chosen.shape
    flat = chosen.T.reshape(-1)  # (N, k) -> (k·N), first choices first
    order = xp.argsort(flat, kind="stable")  # by expert
    ends = xp.cumsum(counted(flat, n_experts))
    starts = ends - counted(flat, n_experts)  # (E)
    place = xp.empty_like(order)
    place[order] = xp.arange(len(flat)) - starts[flat[order]]  # its place in the expert's queue
    return (place < capacity).reshape(k, N).T  # (k·N) -> (N, k)
