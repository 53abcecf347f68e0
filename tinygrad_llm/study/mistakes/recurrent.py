"""Named mistakes of layers with a memory in place of attention, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import REORDER, TRUNCATE, twin_of, wrong_layer

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


CONVOLUTION = (
    ("the future convolved", "The convolution sees later tokens: it is causal, its last tap is the "
     "token itself.", {"tap": _later_taps}),
    ("taps in the other order", "The first tap is the token itself: it is the last one.",
     {"tap": lambda self, k: k}),
)  # fmt: skip

wrong_layer(
    "GatedDeltaNet",
    *MEMORY,
    *CONVOLUTION,
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


def _by_the_count(self: Any, weights: Any, values: Any) -> Any:
    return (weights * values).sum(0) / len(weights)


wrong_layer(
    "LinearAttention",
    ("later tokens seen", "A token sees those behind it too: the sums go up to the token itself.",
     {"sees": lambda self, i, j: True}),
    ("itself not seen", "A token sees the tokens before it, but not itself.",
     {"sees": lambda self, i, j: j < max(i, 1)}),
    ("sums not divided", "The weighted sum of the values is the output: it is divided by the sum "
     "of the weights.", {"mean": lambda self, weights, values: (weights * values).sum(0)}),
    ("divided by the count", "The weighted sum is divided by how many keys there are: it is "
     "divided by the sum of the weights.", {"mean": _by_the_count}),
    ("1 forgotten", "φ is elu: elu + 1 is positive, so that the weights are.",
     {"feature": lambda self, x: twin_of(self).feature(x) - 1.0}),
    ("exp for φ", "φ is exp: below zero it is, above zero it is x + 1.",
     {"feature": lambda self, x: x.exp()}),
)  # fmt: skip


wrong_layer(
    "Mamba",
    *CONVOLUTION,
    ("A positive", "A is exp(A_log): it is negative, so that what a channel keeps fades.",
     {"rates": lambda self: self.layer.A_log.exp()}),
    ("exp of A_log forgotten", "A is −A_log: it is −exp(A_log), negative for every parameter.",
     {"rates": lambda self: -self.layer.A_log}),
    ("Δ in the decay alone", "x·b is written as it is: Δ·x·b is, a token that keeps much writes "
     "little.", {"written": lambda self, delta, x, b: x * b}),
    ("softplus forgotten", "Δ is what dt_proj returns: softplus makes it positive.",
     {"step": lambda self, raw: raw}),
    ("D forgotten", "The output is c·h alone: D·x is added to it.",
     {"passed_on": lambda self, x: x * 0.0}),
    ("b and c exchanged", "c writes and b reads: b comes first in x_proj, and it writes.",
     {"chosen": lambda self, b, c: (c, b)}),
    ("gate by a sigmoid", "The gate is σ(z): it is silu(z).",
     {"gated": lambda self, y, z: y * z.sigmoid()}),
)  # fmt: skip
