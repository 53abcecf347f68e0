"""The slow twins of experts: one token after the other, by the definition.

Shapes: B batch, T tokens, C channels, F channels within an expert, E experts, k of them per token.
"""

from __future__ import annotations

import math
from typing import Any

from ...functions.shape.join import stack
from ...tensor import Tensor

__all__ = ["SlowExperts", "SlowMixtureOfExperts"]


class SlowExperts:
    """Each row alone, through its own expert."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def owner(self, n: int, ends: list[int]) -> int:
        """The expert of row n."""
        return sum(end <= n for end in ends)

    def factors(self, gate: Tensor, up: Tensor) -> Tensor:
        """The product of the two: f of the gate, the other as it is."""
        return self.layer.activation(gate) * up

    def expert(self, e: int, x: Tensor) -> Tensor:
        """Expert e of one token: (C) -> (C)."""
        both = (self.layer.gate_up[e] * x).sum(-1)  # (2F, C) -> (2F)
        F = both.shape[0] // 2
        return (self.layer.down[e] * self.factors(both[:F], both[F:])).sum(-1)  # (C, F) -> (C)

    def __call__(self, x: Tensor, ends: Tensor) -> Tensor:
        """As the layer: x (N, C), ends (E) -> (N, C)."""
        owners = [self.owner(n, ends.tolist()) for n in range(x.shape[0])]
        return stack([self.expert(e, x[n]) for n, e in enumerate(owners)])


class SlowMixtureOfExperts:
    """For each token the sum over its experts."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.experts = layer, SlowExperts(layer.experts)

    def softmax(self, scores: Tensor) -> Tensor:
        """exp(s) / Σ exp(s) of a row of scores."""
        e = (scores - scores.detach().max()).exp()
        return e / e.sum()

    def choice(self, scores: Tensor) -> list[float]:
        """By which numbers the experts are chosen, (E)."""
        if not self.layer.sigmoid:
            return scores.tolist()
        return (scores.sigmoid() + self.layer.correction).tolist()

    def goodness(self, group: list[float]) -> float:
        """How good a group of experts is: the sum of its best two."""
        return sum(sorted(group)[-2:])

    def eligible(self, choice: list[float]) -> list[int]:
        """The experts that may be chosen: all, or those of the best groups."""
        if self.layer.groups is None:
            return list(range(len(choice)))
        n, m = self.layer.groups
        size = len(choice) // n
        groups = sorted(range(n), key=lambda g: -self.goodness(choice[g * size : (g + 1) * size]))
        return [e for g in sorted(groups[:m]) for e in range(g * size, (g + 1) * size)]

    def chosen(self, scores: Tensor) -> list[int]:
        """The k experts with the largest scores (E)."""
        choice = self.choice(scores)
        order = sorted(self.eligible(choice), key=lambda e: -choice[e])
        return order[: self.layer.n_experts_per_token]

    def probabilities(self, scores: Tensor) -> Tensor:
        """What the weights are taken from, (E)."""
        return scores.sigmoid() if self.layer.sigmoid else self.softmax(scores)

    def weights(self, scores: Tensor, chosen: list[int]) -> Tensor:
        """The weights of the chosen experts, (k)."""
        if not self.layer.softmax_first and not self.layer.sigmoid:
            return self.softmax(scores[chosen])
        p = self.probabilities(scores)[chosen]
        return p / p.sum() if self.layer.norm_topk_prob else p

    def scaled(self, weights: Tensor) -> Tensor:
        """The weights times the layer's scale."""
        return weights * self.layer.scale

    def queue(self, chosen: list[list[int]]) -> list[tuple[int, int]]:
        """(token, place among its k) of every choice, in the order in which experts take them."""
        return [(n, i) for i in range(len(chosen[0])) for n in range(len(chosen))]

    def with_room(self, chosen: list[list[int]]) -> set[tuple[int, int]]:
        """The choices that find room: all without a capacity."""
        layer, queue = self.layer, self.queue(chosen)
        if layer.capacity_factor is None:
            return set(queue)
        room = [math.ceil(layer.capacity_factor * len(queue) / layer.n_experts)] * layer.n_experts
        kept = set()
        for n, i in queue:
            if room[chosen[n][i]]:
                room[chosen[n][i]] -= 1
                kept.add((n, i))
        return kept

    def common(self, x: Tensor) -> Tensor:
        """What the shared module adds to the token's experts: (C) -> (C)."""
        y = self.layer.shared(x)
        gate = self.layer.shared_gate
        return y if gate is None else y * (gate.weight[0] * x).sum().sigmoid()

    def token(self, x: Tensor, weights: Tensor, experts: list[tuple[int, int]]) -> Tensor:
        """One token through its experts, pairs (place among the k, expert): (C) -> (C)."""
        parts = [self.experts.expert(e, x) * weights[i] for i, e in experts]
        y = stack([*parts, x * 0.0]).sum(0)  # (…, C) -> (C)
        return y if self.layer.shared is None else y + self.common(x)

    def __call__(self, x: Tensor) -> Tensor:
        """As the layer: x (B, T, C) -> (B, T, C)."""
        rows = x.reshape(-1, x.shape[-1])  # (B, T, C) -> (N, C)
        scores = [(self.layer.router.weight * row).sum(-1) for row in rows]  # (E, C) -> (E)
        chosen = [self.chosen(s) for s in scores]
        kept, outputs = self.with_room(chosen), []
        for n, row in enumerate(rows):
            weights = self.scaled(self.weights(scores[n], chosen[n]))
            experts = [(i, e) for i, e in enumerate(chosen[n]) if (n, i) in kept]
            outputs.append(self.token(row, weights, experts))
        return stack(outputs).view(x.shape)
