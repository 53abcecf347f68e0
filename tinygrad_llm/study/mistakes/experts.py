"""Named mistakes of experts, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import wrong_layer


def _gate_of_up(self: Any, gate: Any, up: Any) -> Any:
    return gate * self.layer.activation(up)


wrong_layer(
    "Experts",
    ("gate and up exchanged", "The activation is applied to the second half of gate_up: its first "
     "half is the gate.", {"factors": _gate_of_up}),
    ("activation forgotten", "The gate has no activation: f(W_g·x)·(W_u·x).",
     {"factors": lambda self, gate, up: gate * up}),
    ("the first row of an expert lost", "A row goes to the expert before if it is that expert's "
     "end: ends are where the next expert begins.",
     {"owner": lambda self, n, ends: sum(end < n for end in ends)}),
    ("one expert for all", "Every row goes through the first expert: ends say whose it is.",
     {"owner": lambda self, n, ends: 0}),
)  # fmt: skip


def _smallest(self: Any, scores: Any) -> list[int]:
    order = sorted(range(len(scores)), key=lambda e: float(scores[e].item()))
    return order[: self.layer.n_experts_per_token]


def _best_alone(self: Any, scores: Any) -> list[int]:
    return [max(range(len(scores)), key=lambda e: float(scores[e].item()))]


def _correction_in_weights(self: Any, scores: Any) -> Any:
    if self.layer.sigmoid:
        return scores.sigmoid() + self.layer.correction
    return self.softmax(scores)


def _no_correction(self: Any, scores: Any) -> list[float]:
    return scores.tolist()


def _token_by_token(self: Any, chosen: list[list[int]]) -> list[tuple[int, int]]:
    return [(n, i) for n, row in enumerate(chosen) for i in range(len(row))]


def _no_gate(self: Any, x: Any) -> Any:
    return self.layer.shared(x)


wrong_layer(
    "MixtureOfExperts",
    ("weights not applied", "The outputs of the experts are added up as they are: each is "
     "multiplied by its weight.",
     {"weights": lambda self, scores, chosen: scores[chosen] * 0.0 + 1.0}),
    ("scores for weights", "The scores themselves are the weights: they pass a softmax first.",
     {"weights": lambda self, scores, chosen: scores[chosen]}),
    ("sum of the weights always 1", "The weights are divided by their sum where norm_topk_prob is "
     "False: then they stay the probabilities among all experts.",
     {"weights": lambda self, scores, chosen: self.softmax(scores[chosen])}),
    ("sum of the weights never 1", "The weights are the probabilities among all experts: with "
     "norm_topk_prob, or a softmax over the chosen, their sum is 1.",
     {"weights": lambda self, scores, chosen: self.softmax(scores)[chosen]}),
    ("the smallest scores chosen", "The experts with the smallest scores are chosen: it is the "
     "largest.", {"chosen": _smallest}),
    ("the best expert alone", "Only one expert computes: k of them do.", {"chosen": _best_alone}),
    ("the correction weighs too", "The weights have the correction in them: it only chooses.",
     {"probabilities": _correction_in_weights}),
    ("the correction forgotten", "The experts are chosen by their scores alone: the correction is "
     "added to σ of them first.", {"choice": _no_correction}),
    ("softmax for the sigmoid", "The weights are a softmax of the scores: with sigmoid each is σ "
     "of one score.", {"probabilities": lambda self, scores: self.softmax(scores)}),
    ("all groups", "Experts of every group are chosen: only those of the best groups may be.",
     {"eligible": lambda self, choice: list(range(len(choice)))}),
    ("scale forgotten", "The weights are not multiplied by the scale.",
     {"scaled": lambda self, weights: weights}),
    ("shared experts forgotten", "The chosen experts compute alone: the shared module sees every "
     "token, and its output is added.", {"common": lambda self, x: x * 0.0}),
    ("shared gate forgotten", "The shared module's output is added as it is: with a gate it has "
     "the factor σ(w·x).", {"common": _no_gate}),
    ("no capacity", "An expert takes every token that chose it: with a capacity those that find no "
     "room are dropped.", {"with_room": lambda self, chosen: set(self.queue(chosen))}),
    ("second choices before first ones", "A token's second choice comes before the first choices "
     "of those behind it: all first choices come first.", {"queue": _token_by_token}),
)  # fmt: skip
