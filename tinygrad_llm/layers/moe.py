"""Mixture of experts: a router sends each token to a few of many feed-forward layers.

Shapes: N tokens, C channels (dim), F hidden_dim, E experts, k experts per token.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..arrays.devices import xp_of
from ..distributed.nn.functional import all_reduce
from ..distributed.parts import everyones_number, summed
from ..functions.creation.filled import zeros, zeros_like
from ..functions.shape.join import cat
from ..nn import functional as F
from ..nn import init
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import new_parameter
from ..tensor import Tensor, dtypes, wrap
from .feed_forward import activation_module, gated
from .routing import check_routing, counted, outside_groups, within_capacity

__all__ = [
    "Experts", "MixtureOfExperts", "balanced_over", "collected_router_logits",
    "load_balancing_loss", "router_z_loss",
]  # fmt: skip

_HALVES = (dtypes.float16, dtypes.bfloat16)
# .current: the list that collects router logits, or None; .group: that of balanced_over
_lists = threading.local()


@contextmanager
def collected_router_logits() -> Iterator[list[Tensor]]:
    """Within it each MixtureOfExperts appends its scores (N, E), with their graph, to the list.

    with collected_router_logits() as logits:
        y = model(ids)
    loss = loss_of(y) + 0.001 * load_balancing_loss(logits, n_experts_per_token)
    """
    before = getattr(_lists, "current", None)
    collected: list[Tensor] = []
    _lists.current = collected
    try:
        yield collected
    finally:
        _lists.current = before


@contextmanager
def balanced_over(group: Any) -> Iterator[None]:
    """Within it load_balancing_loss and router_z_loss count the tokens of all ranks of the group.

    group: of distributed, such as distributed.group.WORLD. Each rank has its own tokens, and its
    gradients are averaged over the ranks afterwards, as DistributedDataParallel does: together they
    are those of one process with all tokens.
    """
    before, _lists.group = getattr(_lists, "group", None), group
    try:
        yield
    finally:
        _lists.group = before


def _over_ranks(*sums: Any) -> tuple:
    """The sums over the ranks of balanced_over, of tensors (with gradient), arrays and numbers."""
    group = getattr(_lists, "group", None)
    if group is None:
        return sums
    return tuple(
        all_reduce(x, group=group) if isinstance(x, Tensor)
        else sum(everyones_number(group, x)) if isinstance(x, int)
        else summed(group, x)
        for x in sums
    )  # fmt: skip


class Experts(Module):
    """E feed-forward layers W_d·(f(W_g·x)·(W_u·x)): rows sorted by expert (N, dim) -> (N, dim).

    `gate_up` (E, 2·hidden_dim, dim) and `down` (E, dim, hidden_dim) hold the matrices of all
    experts; expert e's are those of a GatedFeedForward. An expert without rows costs nothing.
    distributed.tensor.parallel.ExpertParallel divides the experts among ranks.
    Source: Shazeer et al. (2017), "Outrageously Large Neural Networks", equation 1.
    """

    def __init__(
        self, dim: int, hidden_dim: int, n_experts: int, *, activation: str = "silu"
    ) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.gate_up = new_parameter(n_experts, 2 * hidden_dim, dim)
        self.down = new_parameter(n_experts, dim, hidden_dim)
        self.activation = activation_module(activation)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as n_experts nn.Linear would be: uniform within 1/√(channels in)."""
        for weight in (self.gate_up, self.down):
            bound = 1.0 / math.sqrt(weight.shape[-1])
            init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """x (N, dim), the rows of expert 0 first; ends (E): where each expert's rows end."""
        both = F.grouped_mm(x, self.gate_up.transpose(1, 2), offs=ends)  # (N, C) -> (N, 2F)
        hidden = gated(both, self.activation)  # (N, 2F) -> (N, F)
        return F.grouped_mm(hidden, self.down.transpose(1, 2), offs=ends)  # (N, F) -> (N, C)

    def extra_repr(self) -> str:
        _, C, hidden = self.down.shape
        return f"n_experts={self.n_experts}, dim={C}, hidden_dim={hidden}"


class MixtureOfExperts(Module):
    """y = Σₑ pₑ·expertₑ(x) over the k experts that the router chose: x (..., dim) -> (..., dim).

    hidden_dim       F, channels within an expert
    n_experts        E; n_experts_per_token: k
    norm_topk_prob   whether the weights of the chosen experts are divided by their sum
    softmax_first    True: p = softmax over all E experts, then the k largest, as in Qwen3.
                     False: softmax over the k largest scores, as in Mixtral; their sum is 1
    activation       the name of f, see layers.feed_forward.ACTIVATIONS
    sigmoid          True: p = σ of each score. The k largest of p + `correction` are chosen, a
                     buffer (E) that `balance` changes and no gradient reaches, as in DeepSeek-V3
    groups           (n, m), with sigmoid: experts are in n groups, and only those of the m groups
                     whose best two have the largest sum can be chosen
    scale            all weights are multiplied by it
    shared           a feed-forward module that every token passes, added to the chosen experts
    shared_gate      True: with the factor σ(w·x), as in Qwen3-Next
    capacity_factor  in training an expert takes at most ⌈factor·k·N/E⌉ of N tokens: first choices
                     before second ones, earlier tokens before later ones. The others are dropped,
                     their weight becomes 0. None, and evaluation: no token is dropped

    `router` is a Linear (E, dim) without bias, `experts` an Experts. `tokens_per_expert` (E) counts
    the choices of the last call and `tokens_dropped` those that found no room, for the instruments;
    `collected_router_logits` collects the scores.
    Raises: ValueError if k, groups, capacity_factor or shared_gate do not fit the rest.
    Sources: Shazeer et al. (2017), section 2; Fedus et al. (2021), "Switch Transformers"; shared
    experts, Dai et al. (2024), "DeepSeekMoE"; sigmoid, DeepSeek-AI (2024), equations 12 to 16.
    """

    correction: Tensor

    def __init__(
        self, dim: int, hidden_dim: int, n_experts: int, n_experts_per_token: int, *,
        norm_topk_prob: bool = True, softmax_first: bool = True, activation: str = "silu",
        sigmoid: bool = False, groups: tuple[int, int] | None = None, scale: float = 1.0,
        shared: Module | None = None, shared_gate: bool = False,
        capacity_factor: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_routing(n_experts, n_experts_per_token, sigmoid, groups, capacity_factor)
        if shared_gate and shared is None:
            raise ValueError("MixtureOfExperts: shared_gate needs a shared module")
        self.n_experts, self.n_experts_per_token = n_experts, n_experts_per_token
        self.norm_topk_prob, self.softmax_first = norm_topk_prob, softmax_first
        self.sigmoid, self.groups, self.scale = sigmoid, groups, float(scale)
        self.capacity_factor = capacity_factor
        self.router = Linear(dim, n_experts, bias=False)
        self.experts = Experts(dim, hidden_dim, n_experts, activation=activation)
        if sigmoid:
            self.register_buffer("correction", zeros(n_experts))
        self.shared = shared
        self.shared_gate = Linear(dim, 1, bias=False) if shared_gate else None
        self.tokens_per_expert: Any = None  # an array (E) after the first call
        self.tokens_dropped: Any = 0  # an array (0-d) after a call with a capacity

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (..., C) -> (N, C)
        logits = self.router(rows)  # (N, C) -> (N, E)
        if getattr(_lists, "current", None) is not None:
            _lists.current.append(logits)
        weights, chosen = self.routed(logits)
        self.tokens_per_expert = counted(chosen.array, self.n_experts)
        kept = None
        if self.capacity_factor is not None and self.training:
            share = self.capacity_factor * chosen.array.size / self.n_experts
            kept = within_capacity(chosen.array, self.n_experts, math.ceil(share))  # (N, k)
            self.tokens_dropped = (~kept).sum()
        y = dispatched(rows, weights, chosen, self.experts, kept)  # (N, C)
        if self.shared is not None:
            common = self.shared(rows)  # (N, C)
            if self.shared_gate is not None:
                common = self.shared_gate(rows).sigmoid() * common  # (N, 1) · (N, C)
            y = y + common
        return y.view(x.shape)  # (N, C) -> (..., C)

    def routed(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of the chosen experts and which they are, (N, k) each, from scores (N, E)."""
        k = self.n_experts_per_token
        wide = logits.float() if logits.dtype in _HALVES else logits
        if self.sigmoid:
            p = wide.sigmoid()  # (N, E)
            best = p.detach() + self.correction.to(p.dtype)
            if self.groups is not None:
                best = best.masked_fill(outside_groups(best, *self.groups), float("-inf"))
            chosen = best.topk(k, dim=-1)[1]  # (N, E) -> (N, k)
            weights = p.gather(1, chosen)
            if self.norm_topk_prob:
                weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        elif self.softmax_first:
            weights, chosen = F.softmax(wide, dim=-1).topk(k, dim=-1)  # (N, E) -> (N, k) twice
            if self.norm_topk_prob:
                weights = weights / weights.sum(-1, keepdim=True)
        else:
            best, chosen = wide.topk(k, dim=-1)  # (N, E) -> (N, k) twice
            weights = F.softmax(best, dim=-1)
        if self.scale != 1.0:
            weights = weights * self.scale
        return weights.to(logits.dtype), chosen

    def balance(self, rate: float = 0.001) -> None:
        """After a step: those whom few chose in the last call are chosen more, without a loss.

        `correction` of each expert grows by rate if fewer chose it than the mean, and falls by rate
        if more did. Within balanced_over the choices of all ranks count.
        Wang et al. (2024), "Auxiliary-Loss-Free Load Balancing", algorithm 1.
        Raises: RuntimeError without sigmoid, or before the first call.
        """
        if not self.sigmoid or self.tokens_per_expert is None:
            raise RuntimeError("MixtureOfExperts.balance: needs sigmoid=True and a call before it")
        (counts,) = _over_ranks(self.tokens_per_expert)
        self.correction.array[...] += rate * xp_of(counts).sign(counts.mean() - counts)

    def extra_repr(self) -> str:
        text = f"n_experts_per_token={self.n_experts_per_token}, "
        text += f"norm_topk_prob={self.norm_topk_prob}, softmax_first={self.softmax_first}"
        options = {
            "sigmoid": self.sigmoid, "groups": self.groups, "capacity_factor": self.capacity_factor
        }  # fmt: skip
        text += "".join(f", {name}={value}" for name, value in options.items() if value)
        return text + (f", scale={self.scale}" if self.scale != 1.0 else "")


def dispatched(
    x: Tensor, weights: Tensor, chosen: Tensor, experts: Experts, kept: Any = None
) -> Tensor:
    """Σ weights·expert(x) over the chosen experts: x (N, C), weights and chosen (N, k) -> (N, C).

    kept: an array of bools (N, k), False where an expert has no room for a token; None for all.
    Tokens are sorted by expert, so that each expert that somebody chose computes one product for
    all of its tokens. The one place where tokens travel to experts and back.
    """
    xp, (N, k), E = xp_of(chosen.array), chosen.shape, experts.n_experts
    flat = chosen.array.reshape(-1)  # (N, k) -> (N·k)
    if kept is not None:
        flat = xp.where(kept.reshape(-1), flat, E)  # behind the last expert
    order = xp.argsort(flat, kind="stable")  # (N·k), by expert
    back = xp.empty_like(order)
    back[order] = xp.arange(len(order))
    ends = xp.cumsum(counted(flat, E)[:E])  # (E)
    n = N * k if kept is None else int(ends[-1])
    rows = experts(x[wrap(order[:n] // k)], wrap(ends))  # (n, C), sorted by expert
    if kept is not None:
        rows = cat([rows, zeros_like(x[:1])])  # what a dropped token gets: (n + 1, C)
        back = xp.minimum(back, n)
    rows = rows[wrap(back)].view(N, k, x.shape[1])  # (…, C) -> (N, k, C), by token
    return (weights.unsqueeze(1) @ rows).squeeze(1)  # (N, 1, k) @ (N, k, C) -> (N, C)


def load_balancing_loss(
    router_logits: Sequence[Tensor], n_experts_per_token: int, mask: Any = None
) -> Tensor:
    """E·Σₑ fₑ·Pₑ: small if each expert gets as many tokens as the others; 0-d.

    fₑ is how many of its k experts a token sends to e on average, Pₑ the mean of e's probability;
    only P has a gradient. Equal shares cost k.
    router_logits: of each layer, (N, E); the averages are over the tokens of all layers
    mask: bool, N elements, True for the tokens that count; None for all
    Over the tokens of several ranks: see balanced_over.
    Raises: ValueError if there are no layers.
    Source: Fedus et al. (2021), "Switch Transformers", equations 4 to 6.
    """
    if not router_logits:
        raise ValueError("load_balancing_loss: pass the router logits of at least one layer")
    E = router_logits[0].shape[-1]
    xp = xp_of(router_logits[0].array)
    counts, total, n = xp.zeros(E), None, 0
    for logits in router_logits:
        p = F.softmax(logits.float() if logits.dtype in _HALVES else logits, dim=-1)  # (N, E)
        chosen = p.detach().topk(n_experts_per_token, dim=-1)[1].array  # (N, k)
        if mask is not None:
            rows = mask.flatten()
            p, chosen = p[rows], chosen[rows.array]  # (n, E), (n, k)
        counts = counts + counted(chosen, E)  # (E)
        total = p.sum(0) if total is None else total + p.sum(0)  # (E)
        n += len(p)
    assert total is not None
    counts, total, n = _over_ranks(counts, total, n)
    shares = wrap((counts / max(n, 1)).astype(total.array.dtype))  # (E)
    return (shares * total).sum() * (E / max(n, 1))


def router_z_loss(router_logits: Sequence[Tensor], mask: Any = None) -> Tensor:
    """The mean over tokens of logsumexp(scores)²: small scores, which round less; 0-d.

    router_logits, mask: see load_balancing_loss. Multiply it by a small number, such as 0.001.
    Raises: ValueError if there are no layers.
    Source: Zoph et al. (2022), "ST-MoE", equation 5.
    """
    if not router_logits:
        raise ValueError("router_z_loss: pass the router logits of at least one layer")
    total, n = None, 0
    for logits in router_logits:
        z = (logits.float() if logits.dtype in _HALVES else logits).logsumexp(-1)  # (N, E) -> (N)
        if mask is not None:
            z = z[mask.flatten()]
        total = z.square().sum() if total is None else total + z.square().sum()
        n += len(z)
    assert total is not None
    total, n = _over_ranks(total, n)
    return total / max(n, 1)
