"""Named mistakes of the layers of models: wrong forward passes that people really write.

A mistake replaces methods of the layer's slow twin (study/check/layer_reference.py). Everything
else is as in the twin, so what the wrong layer returns is exactly what that mistake makes of it.
"""

from __future__ import annotations

from typing import Any

from . import binary_passages, chains, contrastive, experts, policy, recurrent, variants  # noqa: F401  their mistakes
from . import positions as _positions  # noqa: F401  and these
from .layer_mistake import LAYER_MISTAKES, REORDER, TRUNCATE, LayerMistake, twin_of, wrong_layer

__all__ = ["LAYER_MISTAKES", "LayerMistake", "wrong_layer"]


def _near_without_dilation(self: Any, i: int, j: int, window: int) -> bool:
    return abs(i - j) < window


def _reach_without_dilation(self: Any, i: int, j: int, window: int) -> bool:
    return abs(i - j) < window and (i - j) % self.layer.dilation == 0


def _one_sink(self: Any, h: int, scores: Any) -> Any:
    return twin_of(self).with_sink(0, scores)


def _key_head_in_turn(self: Any, h: int) -> int:
    return h % self.layer.n_kv_heads


def _heads_by_channel(self: Any, x: Any, n: int) -> list[Any]:
    return [x[..., h::n] for h in range(n)]


def _norm_last(self: Any, x: Any, norm: Any, positions: Any) -> Any:
    return self.normed(self.turned(x, positions), norm)


def _capped_weights(self: Any, scores: Any) -> Any:
    e = (scores - scores.detach().max(-1, keepdim=True)[0]).exp()
    weights, cap = e / e.sum(-1, keepdim=True), self.layer.softcap
    return weights if cap is None else (weights / cap).tanh() * cap


def _later_too(self: Any, i: int, j: int, with_mask: bool) -> bool:
    return self.layer.window is None or self.near(i, j, self.layer.window)


def _normed_apart(self: Any, rows: list[Any], norm: Any) -> list[Any]:
    factors = self.heads(norm.weight, len(rows))
    sizes = [((x * x).mean(-1, keepdim=True) + norm.eps).sqrt() for x in rows]
    return [x / size * w for x, size, w in zip(rows, sizes, factors, strict=True)]


def _of_memory(change: Any) -> Any:
    """`projected` with queries, keys and values of a cross-attention changed; the layer's own
    self-attention is as it was."""

    def projected(self: Any, x: Any, memory: Any) -> Any:
        rows = twin_of(self).projected(x, memory)
        return rows if memory is None else change(*rows)

    return projected


def _in_pairs(queries: Any, keys: Any, values: Any) -> Any:
    every = [*keys, *values]
    return [queries, every[::2], every[1::2]]


wrong_layer(
    "Attention",
    ("cross-attention is causal", "Query i of a cross-attention sees the keys up to i: the source "
     "is complete before the target begins, so every query sees all of it.",
     {"sees": lambda self, i, j, with_mask: twin_of(self).sees(i, j, with_mask)
      and (not self.layer.cross or j <= i)}),
    ("keys and values exchanged", "The first half of kv's rows are taken for values: they are the "
     "keys of all heads, and the values follow.",
     {"projected": _of_memory(lambda q, k, v: [q, v, k])}),
    ("keys and values in pairs", "kv's rows are taken as key, value, key, value: the keys of all "
     "heads come first.", {"projected": _of_memory(_in_pairs)}),
    ("keys for values", "The weights add up the keys of the memory: they say where to look, the "
     "values say what is read there.", {"projected": _of_memory(lambda q, k, v: [q, k, k])}),
    ("scores not scaled", "The scores are not multiplied by the scale, 1/√D unless given: softmax "
     "becomes too sharp.", {"scale": lambda self: 1.0}),
    ("scaled by the width", "The scores are divided by √C, the width of the model: it is √D, the "
     "channels of one head.",
     {"scale": lambda self: self.layer.out_proj.weight.shape[0] ** -0.5}),
    ("later tokens seen", "A token sees those behind it: query i may read the keys up to i alone.",
     {"sees": _later_too}),
    ("itself not seen", "A token sees the tokens before it, but not itself: the diagonal belongs "
     "to what it sees.", {"sees": lambda self, i, j, with_mask: j < max(i, 1)}),
    ("key heads interleaved", "Query head h reads key head h mod KV: neighbours share one, so it "
     "is h divided by H/KV, rounded down.", {"key_head": _key_head_in_turn}),
    ("heads cut the wrong way", "A head is made of every n-th channel: it is D channels that lie "
     "side by side, view(B, T, H, D).", {"heads": _heads_by_channel}),
    ("window one too wide", "A query sees one key more than the window holds: its own key counts, "
     "so i − j < window.", {"near": lambda self, i, j, window:
                               abs(i - j) <= window * self.layer.dilation
                               and (i - j) % self.layer.dilation == 0}),
    ("dilation forgotten", "The window is one run of keys: with a dilation d it is every d-th key.",
     {"near": _near_without_dilation}),
    ("window not stretched", "Every d-th key of the last `window` is seen: there are `window` of "
     "them, so that they reach d times as far.", {"near": _reach_without_dilation}),
    ("first keys forgotten", "The window alone is seen: the first keep_first keys of the text are "
     "seen by every query too.", {"first": lambda self, j: False}),
    ("sink forgotten", "The sink takes no part: its exp belongs to the sum under the softmax.",
     {"with_sink": lambda self, h, scores: scores}),
    ("one sink for all heads", "Every head uses the sink of head 0: each has its own.",
     {"with_sink": _one_sink}),
    ("qk-norm after the rotation", "Queries and keys are turned first and normalised then: the "
     "norm has a weight for each channel, so the order matters, and the norm comes first.",
     {"placed": _norm_last}),
    ("qk-norm forgotten", "Queries and keys do not go through q_norm and k_norm.",
     {"normed": lambda self, x, norm: x}),
    ("not turned", "Queries and keys are not turned by their positions: without that a token does "
     "not know where it stands.", {"turned": lambda self, x, positions: x}),
    ("position bias forgotten", "The position bias is not added to the scores.",
     {"biased": lambda self, scores, h, i, keys: scores}),
    ("gate forgotten", "The gate is not applied: its sigmoid multiplies what goes into out_proj.",
     {"gated": lambda self, y, x: y}),
    ("queries before all gates", "The first H heads are taken for queries and the next H for "
     "gates: each query head is followed by its own gate.",
     {"queries": lambda self, rows: rows[: self.layer.n_heads]}),
    ("heads normalised apart", "Each head is normalised alone: with qk_norm_flat one norm goes "
     "over the channels of all heads.", {"normed_together": _normed_apart}),
    ("cap after the softmax", "The soft cap is applied to the weights: it belongs to the scores, "
     "before softmax, and the weights must sum to 1.",
     {"capped": lambda self, scores: scores, "weights": _capped_weights}),
    ("cap without its factor", "The scores become tanh(scores/c), between −1 and 1: multiply by c "
     "again.", {"capped": lambda self, scores:
                scores if self.layer.softcap is None else (scores / self.layer.softcap).tanh()}),
)  # fmt: skip
wrong_layer(
    "Rotary",
    ("rotation with the wrong sign", "The pairs turn the other way: the minus stands before sin in "
     "the first row, (cos, −sin).", {"matrix": lambda self, cos, sin: ((cos, sin), (-sin, cos))}),
    ("layouts exchanged", "The pairs are those of the other layout: interleaved pairs are the "
     "neighbours 2j and 2j + 1, half-split ones j and j + R/2.",
     {"pair": lambda self, j: (j, j + self.layer.dim // 2) if self.layer.interleaved
      else (2 * j, 2 * j + 1)}),
    ("2 forgotten in the exponent", "ωⱼ is base^(−j/R) here: the exponent is −2j/R, because R "
     "channels make R/2 pairs.",
     {"omega": lambda self, j: self.layer.base ** (-float(j) / self.layer.dim)}),
    ("scaling forgotten", "The frequencies are those without a scaling.",
     {"mixed": lambda self, omega, kept, factor: omega}),
    ("all pairs divided", "Every ω is divided by the factor: llama3 and YaRN leave the fast pairs "
     "as they are.", {"mixed": lambda self, omega, kept, factor: omega / factor}),
    ("fast and slow exchanged", "The fast pairs are slowed down and the slow ones kept: it is the "
     "slow ones that never made a whole turn in training.",
     {"mixed": lambda self, omega, kept, factor: kept * omega / factor + (1.0 - kept) * omega}),
)  # fmt: skip


def _in_turn(self: Any, x: Any, first: Any, second: Any, norm: Any) -> Any:
    x = x + first(norm(x))
    return x + second(norm(x))


wrong_layer(
    "Block",
    ("residual taken after the norm", "The normalised x is added instead of x: the path around the "
     "branch must stay free of norms.",
     {"pre": lambda self, x, part, norm, after: norm(x) + part(norm(x)),
      "sandwich": lambda self, x, part, norm, after: norm(x) + after(part(norm(x)))}),
    ("residual forgotten", "The branch alone is returned: x + f(x), x must be added.",
     {"pre": lambda self, x, part, norm, after: part(norm(x)),
      "post": lambda self, x, part, norm, after: norm(part(x)),
      "sandwich": lambda self, x, part, norm, after: after(part(norm(x)))}),
    ("norm before the branch", "\"after\" normalises what the branch returns, x + norm(f(x)); here "
     "its input is normalised.",
     {"after": lambda self, x, part, norm, after: x + part(norm(x))}),
    ("one after the other", "The feed forward reads the result of the attention: in parallel both "
     "read the same norm(x).", {"parallel": _in_turn}),
    ("norm before the sum", "post-norm normalises the branch and adds x then: the norm is over the "
     "sum, norm(x + f(x)).",
     {"post": lambda self, x, part, norm, after: x + norm(part(x))}),
    ("second norm over the sum", "The second norm of the sandwich is applied to the sum: it "
     "belongs to the branch, x + after(f(norm(x))).",
     {"sandwich": lambda self, x, part, norm, after: after(x + part(norm(x)))}),
)  # fmt: skip


def _without_activation(self: Any, x: Any) -> Any:
    first, _, second = self.layer.layers
    return second(first(x))


def _activated_last(self: Any, x: Any) -> Any:
    first, f, second = self.layer.layers
    return f(second(first(x)))


def _activated_first(self: Any, x: Any) -> Any:
    first, f, second = self.layer.layers
    return second(first(f(x)))


wrong_layer(
    "FeedForward",
    ("activation forgotten", "There is nothing between the two matrices: then they are one matrix.",
     {"token": _without_activation}),
    ("activation at the end", "The activation comes after the second matrix: it stands between the "
     "two.", {"token": _activated_last}),
    ("activation at the beginning", "The activation comes before the first matrix: it stands "
     "between the two.", {"token": _activated_first}),
)  # fmt: skip
wrong_layer(
    "GatedFeedForward",
    ("gate and up exchanged", "The activation is applied to the second half of gate_up: its first "
     "half is the gate, f(W_g·x)·(W_u·x).",
     {"factors": lambda self, gate, up: gate * self.layer.activation(up)}),
    ("sum for the product", "Gate and up are added: they are multiplied, element by element.",
     {"factors": lambda self, gate, up: self.layer.activation(gate) + up}),
    ("activation of the product", "The activation is applied to the product: it belongs to the "
     "gate alone.", {"factors": lambda self, gate, up: self.layer.activation(gate * up)}),
    ("activation forgotten", "The gate has no activation: f(W_g·x)·(W_u·x).",
     {"factors": lambda self, gate, up: gate * up}),
)  # fmt: skip
wrong_layer(
    "OffsetRMSNorm",
    ("offset forgotten", "The factor is w alone: it is offset + w, and w starts near zero.",
     {"factor": lambda self: self.layer.weight}),
    ("mean subtracted", "The root is of the variance: RMSNorm subtracts no mean, its root is of "
     "mean(x²).",
     {"size": lambda self, x: (((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
                               + self.layer.eps).sqrt()}),
    ("sum for the mean", "The squares are added up: it is their mean.",
     {"size": lambda self, x: ((x * x).sum(-1, keepdim=True) + self.layer.eps).sqrt()}),
    ("eps outside the root", "eps is added to the root: it is added under it.",
     {"size": lambda self, x: (x * x).mean(-1, keepdim=True).sqrt() + self.layer.eps}),
)  # fmt: skip
wrong_layer(
    "QuantizedLinear",
    ("rows exchanged", "Each row has the weights of the row before it: a row and its scale stay "
     "together.", {"weight": lambda self: self.rows().roll(1, 0)}),
    ("signs lost", "The codes are read as unsigned numbers: they are signed, or have an offset.",
     {"weight": lambda self: self.rows().abs()}),
    ("columns reversed", "The weights of a row are read from its end: the first code belongs to "
     "the first column.", {"weight": lambda self: self.rows().flip(1)}),
)  # fmt: skip
wrong_layer(
    "QuantizedEmbedding",
    ("the row before", "The rows are counted from one: id 0 is the first row.",
     {"weight": lambda self: self.rows().roll(1, 0)}),
    ("signs lost", "The codes are read as unsigned numbers: they are signed, or have an offset.",
     {"weight": lambda self: self.rows().abs()}),
    ("scale forgotten", "The rows are codes: multiply each row by its scale.",
     {"weight": lambda self: self.rows() / self.rows().abs().amax(1, keepdim=True)}),
)  # fmt: skip
wrong_layer(
    "SoftCappedHead",
    ("cap forgotten", "The logits are not capped: c·tanh(logits/c).",
     {"capped": lambda self, logits, c: logits}),
    ("factor forgotten", "The logits stay between −1 and 1: multiply tanh by c.",
     {"capped": lambda self, logits, c: (logits / c).tanh()}),
    ("not divided", "tanh is of the logits themselves: divide them by c first.",
     {"capped": lambda self, logits, c: logits.tanh() * c}),
    ("cut instead of bent", "The logits are cut at −c and c: tanh bends them, so that the gradient "
     "is never exactly zero.", {"capped": lambda self, logits, c: logits.clamp(-c, c)}),
)  # fmt: skip
wrong_layer(
    "head_loss",
    ("ignored targets counted", "The sum is divided by the number of all targets: those that are "
     "ignored do not count.", {"mean": lambda self, losses, n: losses.sum() / n}),
    ("sum for the mean", "The losses are added up: the loss is their mean.",
     {"mean": lambda self, losses, n: losses.sum()}),
    ("mean of the chunks' means", "The mean of two chunks' means is taken: chunks with fewer "
     "targets then count for more; add their sums and divide once.",
     {"mean": lambda self, losses, n: (losses[:1].mean() + losses[1:].mean()) / 2.0}),
    ("targets moved once more", "Each logit is compared with the next target: targets are moved by "
     "one already when the batch is made.",
     {"pairs": lambda self, logits, targets: (logits[:-1], targets[1:])}),
)  # fmt: skip
LORA_FACTORS = (
    ("scale forgotten", "The factor α/r of the product B·A is missing.",
     {"factor": lambda self, lora: 1.0}),
    ("scaled by α", "The factor is α: it is α/r, so that another rank needs no other learning "
     "rate.", {"factor": lambda self, lora: lora.alpha}),
    ("scaled by α/√r", "The factor is α/√r, rank-stabilised LoRA's: here it is α/r.",
     {"factor": lambda self, lora: lora.alpha / lora.rank**0.5}),
)  # fmt: skip
wrong_layer("LoRALayer", *LORA_FACTORS)
wrong_layer(
    "LinearWithLoRA",
    *LORA_FACTORS,
    ("frozen weight forgotten", "Only ΔW is used: the frozen W is part of the sum.",
     {"weight": lambda self: self.delta(self.layer.lora)}),
)  # fmt: skip


def _cut_from_the_front(self: Any, length: int) -> None:
    self.tokens = self.tokens[len(self.tokens) - length :]


def _positions_again(self: Any, keys: Any, values: Any) -> Any:
    k, v, _ = twin_of(self).append(keys, values)
    return k, v, 0


wrong_layer(
    "AttentionCache",
    *TRUNCATE,
    *REORDER,
    ("the last tokens kept", "truncate(n) keeps the last n tokens: it keeps the first n.",
     {"truncate": _cut_from_the_front}),
    ("window one too wide", "append returns one key more than the first new token sees: its own "
     "key is one of `window`.", {"oldest": lambda self, position: 0 if self.window is None
                             else max(0, position - self.window)}),
    ("window one too narrow", "The first new token does not get the oldest key that it sees.",
     {"oldest": lambda self, position: 0 if self.window is None
      else max(0, position - self.window + 2)}),
    ("positions start at 0 again", "append says that its first key stands at position 0: where a "
     "window dropped some, it is the position of the first key that is left.",
     {"append": _positions_again}),
)  # fmt: skip


def _not_kept(self: Any, keys: Any, values: Any) -> Any:
    return keys, values, 0


def _memory_cut(self: Any, length: int) -> None:
    if self.kept is not None:
        self.kept = self.kept[0][:, :, :length], self.kept[1][:, :, :length]


wrong_layer(
    "CrossCache",
    *REORDER,
    ("memory not kept", "append returns the memory but does not keep it.", {"append": _not_kept}),
    ("memory truncated", "truncate cuts the memory: a shorter text still looks at all of it.",
     {"truncate": _memory_cut}),
)  # fmt: skip
wrong_layer(
    "DecoderCache",
    *TRUNCATE,
    ("only the text's rows moved", "reorder moves the rows of the text alone: each row has its own "
     "memory, which moves with it.", {"reorder": lambda self, indices: self.own.reorder(indices)}),
    ("only the memory's rows moved", "reorder moves the rows of the memory alone: the text's move "
     "with them.", {"reorder": lambda self, indices: self.cross.reorder(indices)}),
)  # fmt: skip
wrong_layer(
    "Cache",
    *TRUNCATE,
    ("only the first layer truncated", "truncate shortens the first layer alone: every layer must "
     "forget the same tokens.", {"truncate": lambda self, n: self.layers[0].truncate(n)}),
    ("only the first layer's rows moved", "reorder moves the first layer's rows alone: it is every "
     "layer's.", {"reorder": lambda self, indices: self.layers[0].reorder(indices)}),
)  # fmt: skip
