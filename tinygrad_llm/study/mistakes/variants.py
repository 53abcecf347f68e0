"""Named mistakes of attention's other forms, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import REORDER, TRUNCATE, twin_of, wrong_layer


def _latent_not_normed(self: Any, x: Any) -> tuple[Any, Any]:
    L = self.layer
    both = x @ L.kv_down.weight.T
    both = both if L.kv_down.bias is None else both + L.kv_down.bias
    return both[..., : L.kv_rank], both[..., L.kv_rank :]


def _keys_of_all_heads_first(self: Any, h: int) -> tuple[Any, Any]:
    L, weight = self.layer, self.layer.kv_up.weight
    D, W, start = L.head_dim, L.value_head_dim, L.n_heads * L.head_dim
    return weight[h * D : (h + 1) * D], weight[start + h * W : start + (h + 1) * W]


def _position_in_front(self: Any, h: int, x: Any) -> tuple[Any, Any]:
    L = self.layer
    n = L.head_dim + L.rotary_dim
    rows = (L.q if L.q_rank is None else L.q_up).weight[h * n : (h + 1) * n]
    q = self.narrow(x) @ rows.T
    return q[..., L.rotary_dim :], q[..., : L.rotary_dim]


def _other_pairs(self: Any, x: Any, positions: Any) -> Any:
    rotary = self.layer.rotary
    if rotary is None:
        return x
    rotary.interleaved = not rotary.interleaved
    y = twin_of(self).turned(x, positions)
    rotary.interleaved = not rotary.interleaved
    return y


wrong_layer(
    "LatentAttention",
    ("scaled by head_dim alone", "The scores are divided by √D: a key has D + P channels, and the "
     "root is over all of them.", {"scale": lambda self: self.layer.head_dim**-0.5}),
    ("latent not normalised", "c goes into kv_up as it is: kv_norm stands between the two.",
     {"latent": _latent_not_normed}),
    ("position not turned", "The P channels of the position are not turned: without that they say "
     "nothing about where a token stands.", {"turned": lambda self, x, positions: x}),
    ("pairs of the other layout", "The rotation takes the other pairs: interleaved ones are the "
     "neighbours 2j and 2j + 1, as in DeepSeek's weights.", {"turned": _other_pairs}),
    ("keys of all heads first", "kv_up is cut into all keys, then all values: each head has its D "
     "rows of the key followed by its W rows of the value.", {"rows": _keys_of_all_heads_first}),
    ("position in front", "The first P rows of a query are taken for the position: they are the "
     "last, after the D rows without one.", {"query": _position_in_front}),
    ("later tokens seen", "A token sees those behind it: query i may read the keys up to i alone.",
     {"sees": lambda self, i, j: True}),
)  # fmt: skip


def _last_call_alone(self: Any, *parts: Any) -> Any:
    every = twin_of(self).append(*parts)
    return [p[:, -parts[0].shape[1] :] for p in every]


wrong_layer(
    "LatentCache",
    *TRUNCATE,
    *REORDER,
    ("past not returned", "append returns the new tokens alone: attention needs all of them.",
     {"append": _last_call_alone}),
)  # fmt: skip

wrong_layer(
    "StreamingCache",
    *TRUNCATE,
    *REORDER,
    ("first tokens dropped", "append returns the window alone: the first keep_first tokens stand "
     "before it.", {"first": lambda self, begin: 0}),
    ("one too few of the first", "One of the first keep_first tokens is missing.",
     {"first": lambda self, begin: max(min(self.keep_first, begin) - 1, 0)}),
)  # fmt: skip
wrong_layer(
    "Indexer",
    ("relu forgotten", "Negative scores take part: only the positive part of q·k counts.",
     {"positive": lambda self, scores: scores}),
    ("heads not weighted", "The heads are added up as they are: each token has a weight for every "
     "head, from `weights`.", {"weight": lambda self, x, j: x[:, :1] * 0.0 + 1.0}),
    ("keys not normalised", "Keys go into the product as they are: k_norm comes before.",
     {"normed": lambda self, k: k}),
    ("not turned", "Queries and keys are not turned by their positions.",
     {"turned": lambda self, x: x}),
    ("heads not in the root", "The scores are divided by √D: it is √(D·H).",
     {"factor": lambda self: self.layer.head_dim**-0.5}),
)  # fmt: skip
