"""Calls on which a layer of models is compared with its slow twin: small, odd shapes, every option.

Shapes: B batch, T tokens, S tokens of a memory, C channels, H heads, D head_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ... import nn
from ...autograd.grad_mode import no_grad
from ...functions.shape.join import cat
from ...layers.attention import Attention
from ...layers.binary_passages import BinaryPassageLoss
from ...layers.block import NORM_PLACES, Block
from ...layers.cache import AttentionCache, Cache, CrossCache, DecoderCache, RecurrentCache
from ...layers.contrastive import ContrastiveLoss
from ...layers.crf import CRF
from ...layers.delta_net import GatedDeltaNet
from ...layers.feed_forward import FeedForward, GatedFeedForward
from ...layers.head import SoftCappedHead, head_loss
from ...layers.indexer import Indexer
from ...layers.latent_attention import LatentAttention
from ...layers.latent_cache import LatentCache
from ...layers.linear_attention import LinearAttention
from ...layers.lora import LinearWithLoRA, LoRALayer
from ...layers.mamba import Mamba
from ...layers.moe import Experts, MixtureOfExperts
from ...layers.norm import OffsetRMSNorm
from ...layers.positions import Alibi, RelativeBias, SinusoidalPositions
from ...layers.quantized import QuantizedEmbedding, QuantizedLinear
from ...layers.rotary import Rotary
from ...layers.streaming_cache import StreamingCache
from ...tensor import Tensor, wrap
from .layer_call import LayerCall, Use, same_values
from .policy_calls import policy_calls

__all__ = ["LayerCall", "Use", "largest_difference", "layer_calls", "same_values"]


# -------------------------------------------------------------------------------------- attention
def _attention(**options: Any) -> Attention:
    options = {"n_kv_heads": 2, "head_dim": 4, **options}
    return Attention(6, 4, **options).eval()


def _attention_calls() -> list[LayerCall]:
    rotary = {"rotary": Rotary(4)}
    kinds: list[dict[str, Any]] = [
        {}, {"n_kv_heads": None, "bias": False}, {"n_kv_heads": 1, "causal": False},
        {"window": 2}, {"window": 3, **rotary},
        {"qk_norm": partial(nn.RMSNorm, eps=1e-5), **rotary},
        {"softcap": 0.7, "scale": 0.9},
        {"gate": True, "bias": False, **rotary}, {"gate": True, "n_kv_heads": 4},
        {"qk_norm": partial(nn.RMSNorm, eps=1e-5), "qk_norm_flat": True, **rotary},
        {"rotary": Rotary(4, partial=0.5, interleaved=True), "window": 4, "softcap": 1.5},
        {"position_bias": Alibi(4)}, {"position_bias": Alibi(4), "window": 3, "softcap": 0.7},
        {"window": 2, "dilation": 2}, {"window": 2, "keep_first": 1},
        {"sinks": True, "scale": 0.9}, {"sinks": True, "window": 2, **rotary},
    ]  # fmt: skip
    calls = [LayerCall("Attention", partial(_attention, **o), ((2, 5, 6),)) for o in kinds]
    for more in ({}, {"causal": False}):
        calls.append(LayerCall("Attention", partial(_with_table, more), ((2, 5, 6),)))
    positions = wrap(np.array([[0, 0, 1, 2, 3], [0, 1, 2, 3, 4]]))
    calls.append(
        LayerCall(
            "Attention", partial(_attention, **rotary), ((2, 5, 6),), {"positions": positions}
        )
    )
    near = wrap(np.eye(5, dtype=bool) | (np.arange(5) % 2 == 0))  # (T, T)
    bias = wrap(np.linspace(-1.0, 2.0, 2 * 4 * 5).reshape(2, 4, 1, 5))  # added to the scores
    for mask in (near, bias):
        for options in ({}, {"window": 3}):
            make = partial(_attention, **options)
            calls.append(LayerCall("Attention", make, ((2, 5, 6),), {"mask": mask}))
    across = partial(_attention, cross=True, qk_norm=partial(nn.RMSNorm, eps=1e-5))
    calls.append(LayerCall("Attention", across, ((2, 3, 6), (2, 7, 6)), use=_with_memory))
    return calls


def _with_table(more: dict[str, Any]) -> Attention:
    both = not more.get("causal", True)
    bias = RelativeBias(4, n_buckets=6, max_distance=4, bidirectional=both)
    return _attention(position_bias=bias, **more)


def _with_memory(layer: Any, x: Tensor, memory: Tensor) -> Tensor:
    return layer(x, memory=memory)


def _latent_calls() -> list[LayerCall]:
    """Both forms, absorbed and expanded, of the same layers."""
    turned = {"rotary": Rotary(4, interleaved=True)}
    kinds: list[dict[str, Any]] = [
        {"head_dim": 4}, {**turned, "q_rank": 4, "bias": True},
        {**turned, "value_head_dim": 5, "scale": 0.7, "norm_eps": 0.1},
    ]  # fmt: skip
    calls = [
        LayerCall("LatentAttention", partial(LatentAttention, 6, 2, kv_rank=5, absorb=absorb, **k),
                  ((2, 5, 6),))
        for k in kinds
        for absorb in (False, True)
    ]  # fmt: skip
    calls += [
        LayerCall("Indexer", partial(Indexer, 6, 3, 4, top_k=2, rotary=rotary), ((2, 5, 6),))
        for rotary in (None, Rotary(4, partial=0.5))
    ]
    return [*calls, LayerCall("LatentCache", lambda: LatentCache(20), ((3, 2, 9, 4),),
                              use=partial(_text, append=_latents))]  # fmt: skip


def _latents(cache: Any, x: Tensor) -> Tensor:
    """All tokens of both parts of a latent cache, as one row of numbers."""
    parts = cache.append(x[:, 0], x[:, 1, :, :3])  # (B, H, T, D) -> (B, T, N) twice
    return cat([*(p.flatten() for p in parts), _number(cache.length, x)])


# ----------------------------------------------------------------------------------------- rotary
SCALINGS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 64},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
)  # fmt: skip


def _turned(layer: Any, x: Tensor) -> Tensor:
    (y,) = layer(x, positions=wrap(np.array([0, 1, 5, 11, 30])))
    return y


def _rotary_calls() -> list[LayerCall]:
    kinds: list[dict[str, Any]] = [{"scaling": s, "base": 500.0} for s in SCALINGS]
    kinds += [{"interleaved": True}, {"partial": 0.5}, {"partial": 0.75, "interleaved": True}]
    return [LayerCall("Rotary", partial(Rotary, 8, **k), ((2, 3, 5, 8),), use=_turned)
            for k in kinds]  # fmt: skip


# -------------------------------------------------------------------------------------- positions
def _times_positions(layer: Any, x: Tensor) -> Tensor:
    return x * layer(wrap(np.array([0, 1, 2, 7, 300])), x.dtype)


def _plus_bias(layer: Any, x: Tensor) -> Tensor:
    """Scores x (H, T, S) of queries and keys at odd places, plus their bias."""
    queries, keys = (wrap(np.array(n)) for n in ([0, 3, 9, 40], [0, 2, 3, 6, 9, 22, 70]))
    return x + layer(queries, keys, x.dtype)


def _position_calls() -> list[LayerCall]:
    calls = [LayerCall("SinusoidalPositions", partial(SinusoidalPositions, C, base), ((5, C),),
                       use=_times_positions) for C, base in ((6, 10000.0), (5, 50.0))]  # fmt: skip
    calls += [LayerCall("Alibi", partial(Alibi, H), ((H, 4, 7),), use=_plus_bias)
              for H in (4, 6, 1)]  # fmt: skip
    kinds: list[dict[str, Any]] = [
        {}, {"n_buckets": 8, "max_distance": 20},
        {"n_buckets": 12, "max_distance": 32, "bidirectional": True},
    ]  # fmt: skip
    calls += [LayerCall("RelativeBias", partial(RelativeBias, 3, **k), ((3, 4, 7),), use=_plus_bias)
              for k in kinds]  # fmt: skip
    return calls


# ------------------------------------------------------------------------------- blocks and others
def _block(place: str, cross: bool = False) -> Block:
    return Block(
        Attention(6, 2), GatedFeedForward(6, 5), partial(nn.RMSNorm, 6, eps=1e-5),
        norm_place=place, cross=Attention(6, 3, cross=True) if cross else None,
    ).eval()  # fmt: skip


class _HeadLoss:
    """head_loss with its head."""

    def __init__(self, head: nn.Module) -> None:
        self.head = head

    def __call__(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return head_loss(self.head, hidden, targets)


def _with_its_loss(make_head: Callable[[], Any]) -> _HeadLoss:
    return _HeadLoss(make_head())


def _tied() -> nn.Linear:
    """An output layer whose weight is an embedding's."""
    head = nn.Linear(6, 9, bias=False)
    head.weight = nn.Embedding(9, 6).weight
    return head


def _other_calls() -> list[LayerCall]:
    x = ((2, 3, 6),)
    calls = [LayerCall("Block", partial(_block, p), x) for p in NORM_PLACES]
    calls += [
        LayerCall("Block", partial(_block, p, True), ((2, 3, 6), (2, 4, 6)), use=_with_memory)
        for p in ("pre", "sandwich")
    ]
    for activation in ("gelu_new", "relu", "silu"):
        make = partial(FeedForward, 6, 5, activation=activation, bias=activation != "silu")
        calls.append(LayerCall("FeedForward", make, x))
        gated = partial(GatedFeedForward, 6, 5, activation=activation, bias=activation == "relu")
        calls.append(LayerCall("GatedFeedForward", gated, x))
    calls += [LayerCall("OffsetRMSNorm", partial(OffsetRMSNorm, 6, eps, offset), x)
              for eps, offset in ((1e-6, 1.0), (0.1, 0.5))]  # fmt: skip
    calls += [LayerCall("SoftCappedHead", partial(SoftCappedHead, 6, 9, cap, bias), x)
              for cap, bias in ((0.8, False), (3.0, True))]  # fmt: skip
    for make_head in (_tied, partial(nn.Linear, 6, 9), partial(SoftCappedHead, 6, 9, 0.8)):
        calls.append(
            LayerCall(
                "head_loss", partial(_with_its_loss, make_head), ((2, 3, 6), (2, 3)),
                ids_below=9,
            )
        )  # fmt: skip
    for shapes in (((4, 3), (4, 3)), ((4, 3), (4, 3), (4, 3)), ((3, 5), (3, 5), (2, 5))):
        for temperature in (0.7, 0.2):
            calls.append(
                LayerCall("ContrastiveLoss", partial(ContrastiveLoss, temperature), shapes)
            )
    calls += [
        LayerCall("BinaryPassageLoss", partial(BinaryPassageLoss, *settings), shapes)
        for settings in ((1.6, 0.8, 0.5), (0.7, 2.0, 1.2))
        for shapes in (((4, 3), (4, 3)), ((3, 5), (5, 5)))
    ]
    calls.append(LayerCall("LoRALayer", lambda: LoRALayer(6, 5, rank=3, alpha=8.0), x))
    calls += [
        LayerCall(
            "LinearWithLoRA",
            partial(lambda bias: LinearWithLoRA(nn.Linear(6, 5, bias=bias), 3, 8.0), bias),
            x,
        )
        for bias in (True, False)
    ]
    return calls + _quantized_calls()


def _quantized_calls() -> list[LayerCall]:
    calls = [
        LayerCall("QuantizedLinear", partial(_quantized_linear, n, kind, bias), ((2, 3, n),))
        for n, kind, bias in (
            (6, "int8", True), (32, "q8_0", False), (32, "q4_1", True), (64, "nf4", False)
        )
    ]  # fmt: skip

    def rows() -> QuantizedEmbedding:
        return QuantizedEmbedding(nn.Embedding(9, 6).weight, "int8")

    calls.append(
        LayerCall("QuantizedEmbedding", rows, ((2, 3, 6), (2, 3)), use=_times_rows, ids_below=9)
    )
    return calls


def _quantized_linear(columns: int, kind: str, bias: bool) -> QuantizedLinear:
    linear = nn.Linear(columns, 5, bias=bias)
    return QuantizedLinear(linear.weight, linear.bias, kind)


def _times_rows(layer: Any, x: Tensor, ids: Tensor) -> Tensor:
    """x times the rows of ids, which are at least 0: the gradient of x is the rows."""
    return x * layer(ids.clamp(min=0)).to(x.dtype)


# -------------------------------------------------------------------------- experts and DeltaNets
def _sorted_rows(layer: Any, x: Tensor) -> Tensor:
    return layer(x, wrap(np.array([2, 2, 5, 7])))


def _expert_calls() -> list[LayerCall]:
    calls = [
        LayerCall("Experts", partial(Experts, 6, 5, 4, activation=f), ((7, 6),), use=_sorted_rows)
        for f in ("silu", "gelu_new")
    ]
    kinds: list[dict[str, Any]] = [{}, {"norm_topk_prob": False}, {"softmax_first": False}]
    kinds += [
        {"sigmoid": True, "scale": 1.6},
        {"sigmoid": True, "groups": (2, 1), "norm_topk_prob": False},
        {"shared": True, "shared_gate": True}, {"shared": True, "capacity_factor": 0.5},
    ]  # fmt: skip
    calls += [LayerCall("MixtureOfExperts", partial(_mixture, **k), ((2, 5, 6),)) for k in kinds]
    sizes: list[dict[str, Any]] = [
        {"n_key_heads": 2, "head_dim": 3, "key_head_dim": 5},
        {"head_dim": 2, "conv_size": 2, "norm_eps": 1e-3},
    ]
    calls += [
        LayerCall("GatedDeltaNet", partial(GatedDeltaNet, 6, 4, **k), ((2, 7, 6),)) for k in sizes
    ]
    heads: list[dict[str, Any]] = [{}, {"head_dim": 4, "bias": False}]
    calls += [
        LayerCall("LinearAttention", partial(LinearAttention, 6, 2, **k), ((2, 7, 6),))
        for k in heads
    ]
    scans: list[dict[str, Any]] = [
        {"inner_dim": 5, "state_dim": 3, "dt_rank": 2, "bias": True},
        {"state_dim": 2, "conv_size": 2, "conv_bias": False},
    ]
    calls += [LayerCall("Mamba", partial(Mamba, 6, **k), ((2, 7, 6),)) for k in scans]
    return calls


def _tagged(layer: Any, x: Tensor, tags: Tensor, **options: Tensor) -> Tensor:
    return layer(x, tags.clamp(min=0), **options)


def _chain_calls() -> list[LayerCall]:
    mask = wrap(np.array([[1, 1, 1, 1], [1, 1, 0, 0]]))
    batch = partial(CRF, 3, batch_first=True)
    kinds = [
        LayerCall("CRF", batch, ((2, 4, 3), (2, 4)), options, use=_tagged, ids_below=3)
        for options in ({}, {"mask": mask})
    ]
    time_first = LayerCall("CRF", partial(CRF, 2), ((5, 3, 2), (5, 3)), use=_tagged, ids_below=2)
    return [*kinds, time_first]


def _mixture(shared: bool = False, **options: Any) -> MixtureOfExperts:
    """Six experts, two per token; with sigmoid a correction that changes who is chosen."""
    module = GatedFeedForward(6, 3) if shared else None
    layer = MixtureOfExperts(6, 5, 6, 2, shared=module, **options)
    if layer.sigmoid:
        layer.correction = wrap(np.array([0.5, -0.3, 0.0, 0.2, -0.4, 0.3], "float32"))
    return layer


# ----------------------------------------------------------------------------------------- caches
def _text(cache: Any, x: Tensor, append: Any = None) -> Tensor:
    """What append returns while a text (B, H, 9, D) is written, shortened, moved and continued."""
    append = append or _appended
    results = [append(cache, x[:, :, :4])]
    results.append(append(cache, x[:, :, 4:7]))
    cache.truncate(5)
    results.append(append(cache, x[:, :, 7:8]))
    cache.reorder([2, 0, 1])
    results.append(append(cache, x[:, :, 8:]))
    return cat([*results, _number(cache.length, x)])


def _appended(cache: Any, keys: Tensor) -> Tensor:
    """Keys, values (−keys) and the first position of an append, as one row of numbers."""
    keys, values, first = cache.append(keys, -keys)
    return cat([keys.flatten(), values.flatten(), _number(first, keys), _number(keys.shape[2],
                                                                                keys)])  # fmt: skip


def _remembered(cache: Any, x: Tensor) -> Tensor:
    """What a recurrent cache convolves and reads, as one row of numbers."""
    whole = cache.convolved(x.transpose(2, 3).flatten(1, 2))  # (B, H, T, D) -> (B, H·D, … + T)
    k = x / ((x * x).sum(-1, keepdim=True) + 1e-6).sqrt()
    y = cache.append(x, k, -x[..., 1:], -(x[..., 0] * x[..., 0]), x[..., 1].sigmoid())
    return cat([whole.flatten(), y.flatten()])


def _number(n: int, like: Tensor) -> Tensor:
    return wrap(np.array([n], like.array.dtype))


def _memory_kept(cache: Any, x: Tensor) -> Tensor:
    first = _appended(cache, x)
    cache.truncate(1)
    cache.reorder([1, 1, 0, 2])
    stored = cache.stored()
    if stored is None:
        return first
    return cat([first, *(s.flatten() for s in stored), _number(cache.length, x)])


def _decoder(cache: Any, x: Tensor) -> Tensor:
    cache.cross.append(x[:, :, :3], x[:, :, 2:5])
    cache.own.append(x[:, :, :4], x[:, :, 1:5])
    cache.truncate(2)
    cache.reorder([2, 0, 1])
    memory = [s.flatten() for s in cache.cross.stored()]
    return cat([_appended(cache.own, x[:, :, 5:]), *memory, _number(cache.length, x)])


def _model(cache: Any, x: Tensor) -> Tensor:
    for n, layer in enumerate(cache.layers):
        layer.append(x[:, :, :5] * (n + 1.0), x[:, :, :5])
    cache.truncate(3)
    cache.reorder([2, 0, 1])
    results = [_appended(layer, x[:, :, 5:]) for layer in cache.layers]
    return cat([*results, _number(len(cache), x)])


def _cache_calls() -> list[LayerCall]:
    x = ((3, 2, 9, 4),)
    calls = [
        LayerCall("AttentionCache", partial(AttentionCache, 20, window), x, use=_text)
        for window in (None, 3, 5)
    ]
    calls += [
        LayerCall(
            "RecurrentCache", partial(RecurrentCache, 20, taps), x,
            use=partial(_text, append=_remembered),
        )
        for taps in (3, 1)
    ]  # fmt: skip
    calls += [
        LayerCall("StreamingCache", partial(StreamingCache, 20, window, first), x, use=_text)
        for window, first in ((2, 1), (3, 2))
    ]
    calls.append(LayerCall("CrossCache", CrossCache, x, use=_memory_kept))
    calls.append(
        LayerCall(
            "DecoderCache", lambda: DecoderCache(AttentionCache(20), CrossCache()), x, use=_decoder
        )
    )
    calls.append(
        LayerCall("Cache", lambda: Cache([AttentionCache(20, w) for w in (None, 4)], 20), x,
                  use=_model)
    )  # fmt: skip
    return calls


def layer_calls(name: str | None = None) -> list[LayerCall]:
    """The calls of the layer of this name, or of all layers."""
    every = [
        *_attention_calls(), *_latent_calls(), *_rotary_calls(), *_position_calls(),
        *_other_calls(), *_expert_calls(), *_chain_calls(), *_cache_calls(), *policy_calls(),
    ]  # fmt: skip
    return [call for call in every if name is None or call.layer == name]


def largest_difference(name: str) -> float:
    """Between a layer's outputs and its slow twin's, over all of its calls, in float64."""
    differences = []
    for call in layer_calls(name):
        layer, inputs = call.made()
        with no_grad():
            expected, got = call.run(call.twin(layer), inputs), call.run(call.made()[0], inputs)
        differences.append(float(abs(got.array - expected.array).max(initial=0.0)))
    return max(differences)
