"""Named mistakes of experts and of a DeltaNet, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import REORDER, TRUNCATE, wrong_layer


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
)  # fmt: skip

MEMORY = (
    ("nothing forgotten", "The memory keeps everything: each token multiplies it by exp(decay) "
     "first.", {"kept": lambda self, decay: decay.exp() * 0.0 + 1.0}),
    ("decay not in the exponent", "The memory is multiplied by the logarithm: by exp(decay).",
     {"kept": lambda self, decay: decay}),
    ("β forgotten", "All that is missing is written: the share β of it.",
     {"written": lambda self, missing, beta: missing}),
)  # fmt: skip


def _later_taps(self: Any, k: int) -> int:
    return -k


wrong_layer(
    "GatedDeltaNet",
    *MEMORY,
    ("the future convolved", "The convolution sees later tokens: it is causal, its last tap is the "
     "token itself.", {"tap": _later_taps}),
    ("taps in the other order", "The first tap is the token itself: it is the last one.",
     {"tap": lambda self, k: k}),
    ("length not 1", "Queries and keys keep their length: both are divided by it.",
     {"unit": lambda self, x: x}),
    ("gate before the norm", "The output is multiplied by silu(z) and normalised then: the norm "
     "comes first.", {"gated": lambda self, y, z: self.layer.norm(y * (z * z.sigmoid()))}),
    ("gate by a sigmoid", "The gate is σ(z): it is silu(z).",
     {"gated": lambda self, y, z: self.layer.norm(y) * z.sigmoid()}),
    ("key heads interleaved", "Head h uses key head h mod G: neighbours share one.",
     {"key_head": lambda self, h: h % self.layer.n_key_heads}),
)  # fmt: skip


def _only_tokens(self: Any, length: int) -> None:
    self.tokens = self.tokens[:length]


def _only_zeros(self: Any, x: Any) -> list[Any]:
    return [x[:, :, :1] * 0.0] * (self.conv_size - 1)


wrong_layer(
    "RecurrentCache",
    *TRUNCATE,
    *REORDER,
    *MEMORY,
    ("inputs not taken back", "truncate goes back in the memory alone: what the convolution saw "
     "goes back too.", {"truncate": _only_tokens}),
    ("inputs not kept", "The convolution begins with zeros in each call: it begins with the "
     "conv_size − 1 inputs of the calls before.", {"before": _only_zeros}),
)  # fmt: skip
