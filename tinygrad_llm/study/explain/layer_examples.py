"""A worked example for every layer and loss; those of models are in model_examples.py.

`make` builds the module from sizes, `inputs` says what it is called with ("BTC": a tensor (B, T,
C); "BT<V": ids below V). The small sizes are for the example and its gradient check, the primes are
for the measurement of its memory (memory/at_size.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ... import nn
from ...functions.shape.join import cat
from ...layers.attention import Attention
from ...layers.binary_passages import BinaryPassageLoss
from ...layers.block import Block
from ...layers.cache import AttentionCache, Cache, CrossCache, DecoderCache, RecurrentCache
from ...layers.contrastive import ContrastiveLoss
from ...layers.crf import CRF
from ...layers.delta_net import GatedDeltaNet
from ...layers.distillation import DistillationLoss
from ...layers.feed_forward import FeedForward, GatedFeedForward
from ...layers.head import SoftCappedHead
from ...layers.indexer import Indexer
from ...layers.latent_attention import LatentAttention
from ...layers.latent_cache import LatentCache
from ...layers.linear_attention import LinearAttention
from ...layers.lora import LinearWithLoRA, LoRALayer
from ...layers.mamba import Mamba
from ...layers.moe import Experts, MixtureOfExperts
from ...layers.norm import OffsetRMSNorm
from ...layers.policy import PolicyLoss
from ...layers.positions import Alibi, RelativeBias, SinusoidalPositions
from ...layers.quantized import QuantizedEmbedding, QuantizedLinear
from ...layers.rotary import Rotary
from ...layers.streaming_cache import StreamingCache
from ...layers.value import ValueLoss
from ...tensor import Tensor, wrap
from .example import Holding, LayerExample, Sizes
from .model_examples import MODELS

__all__ = ["LAYERS"]

LAYERS: dict[str, LayerExample] = {}


def layer(
    kind: type, make: Callable[[Sizes], Any], inputs: str = "BTC", setting: str = "", **more: Any
) -> None:
    """Enter a module's example in LAYERS; with a setting as NAME(setting), beside the plain one."""
    name = f"{kind.__name__}({setting})" if setting else kind.__name__
    LAYERS[name] = LayerExample(kind, make, inputs, setting=setting, **more)


def _constants(like: Tensor, low: float, high: float) -> Tensor:
    """Numbers from low to high, shaped as a tensor: no gradient reaches them."""
    values = np.linspace(low, high, like.numel()).reshape(like.shape)
    return wrap(values.astype(like.array.dtype))


def _policy_loss(module: Any, log_p: Tensor) -> Any:
    old = _constants(log_p, -1.0, 1.1)  # (B, T)
    return module(log_p, old, _constants(log_p[:, 0], 0.8, -0.9), old + 0.1)


def _value_loss(module: Any, values: Tensor) -> Any:
    return module(values, _constants(values, -0.6, 0.7), _constants(values, 1.2, -0.8))


def _hinge_embedding_loss(module: Any, distances: Tensor) -> Any:
    return module(
        distances, _constants(distances, -1.0, 1.0).sign()
    )  # 1: the pair belongs together


def _distillation_loss(module: Any, student: Tensor) -> Any:
    return module(student, _constants(student, 1.0, -1.3))


def _plainly(kind: Any, s: Sizes) -> Any:
    return kind()


for simple in (
    *(nn.ELU, nn.GELU, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.ReLU, nn.ReLU6, nn.SiLU),
    *(nn.Sigmoid, nn.Softplus, nn.Tanh, nn.Identity, nn.Flatten),
    *(nn.CELU, nn.Hardsigmoid, nn.Hardswish, nn.Mish, nn.SELU, nn.Softsign, nn.Tanhshrink),
):
    layer(simple, partial(_plainly, simple))
layer(
    nn.GLU,
    lambda s: nn.GLU(),
    "BTC BTC",
    call=lambda module, x, y: module(cat([x, y], -1)),
    call_text="module(torch.cat([x, y], -1))",
)
layer(nn.Softmax, lambda s: nn.Softmax(dim=-1))
# no example has a number at these corners
layer(nn.Threshold, lambda s: nn.Threshold(0.45, 0.25))
layer(nn.Hardshrink, lambda s: nn.Hardshrink(0.45))
layer(nn.Softshrink, lambda s: nn.Softshrink(0.45))
layer(nn.Softmin, lambda s: nn.Softmin(dim=-1))
layer(nn.Unflatten, lambda s: nn.Unflatten(-1, (s["C"], 1)))
layer(nn.LogSoftmax, lambda s: nn.LogSoftmax(dim=-1))
layer(nn.Linear, lambda s: nn.Linear(s["C"], s["F"]))
layer(nn.Dropout, lambda s: nn.Dropout(0.25))
layer(nn.LayerNorm, lambda s: nn.LayerNorm(s["C"]))
layer(nn.GroupNorm, lambda s: nn.GroupNorm(1, s["T"]))
layer(nn.BatchNorm1d, lambda s: nn.BatchNorm1d(s["C"]), "TC")
layer(nn.PReLU, lambda s: nn.PReLU())
layer(nn.RReLU, lambda s: nn.RReLU().eval())
layer(nn.EmbeddingBag, lambda s: nn.EmbeddingBag(s["V"], s["C"]), "BT<V")
layer(nn.RMSNorm, lambda s: nn.RMSNorm(s["C"], eps=1e-6))
layer(nn.Embedding, lambda s: nn.Embedding(s["V"], s["C"]), "BT<V")
layer(nn.Conv1d, lambda s: nn.Conv1d(s["C"], s["F"], kernel_size=1), "BCT")
layer(
    nn.Sequential,
    lambda s: nn.Sequential(nn.Linear(s["C"], s["F"]), nn.ReLU(), nn.Linear(s["F"], s["C"])),
)
layer(
    nn.MultiheadAttention,
    lambda s: nn.MultiheadAttention(s["C"], s["H"], batch_first=True),
    call=lambda module, x: module(x, x, x, need_weights=False)[0],
    call_text="module(x, x, x, need_weights=False)",
)
_wide: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True}
layer(
    nn.TransformerEncoderLayer,
    lambda s: nn.TransformerEncoderLayer(s["C"], s["H"], s["F"], **_wide),
)
layer(
    nn.TransformerDecoderLayer,
    lambda s: nn.TransformerDecoderLayer(s["C"], s["H"], s["F"], **_wide),
    "BTC BTC",
)
layer(
    nn.TransformerEncoder,
    lambda s: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(s["C"], s["H"], s["F"], **_wide), 1, nn.LayerNorm(s["C"])
    ),
)
layer(
    nn.TransformerDecoder,
    lambda s: nn.TransformerDecoder(
        nn.TransformerDecoderLayer(s["C"], s["H"], s["F"], **_wide), 1, nn.LayerNorm(s["C"])
    ),
    "BTC BTC",
)
layer(
    nn.Transformer,
    lambda s: nn.Transformer(s["C"], s["H"], 1, 1, s["F"], **_wide),
    "BTC BTC",
)
layer(nn.CrossEntropyLoss, lambda s: nn.CrossEntropyLoss(), "TV T<V")
layer(
    nn.CrossEntropyLoss,
    lambda s: nn.CrossEntropyLoss(label_smoothing=0.1),
    "TV T<V",
    "label_smoothing=0.1",
)
layer(nn.NLLLoss, lambda s: nn.NLLLoss(), "TV T<V")
for loss in (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.CosineSimilarity):
    layer(loss, partial(_plainly, loss), "TC TC")
layer(
    nn.HingeEmbeddingLoss,
    lambda s: nn.HingeEmbeddingLoss(),
    "TC",
    call=_hinge_embedding_loss,
    call_text="module(distances, same)",
)
layer(nn.PairwiseDistance, lambda s: nn.PairwiseDistance(), "TC TC")
layer(nn.TripletMarginLoss, lambda s: nn.TripletMarginLoss(), "TC TC TC")
layer(
    PolicyLoss,
    lambda s: PolicyLoss(beta=0.1),
    "BT",
    call=_policy_loss,
    call_text="module(log_p, old, advantages, reference)",
    method="output",
)
layer(
    ValueLoss,
    lambda s: ValueLoss(0.5),
    "BT",
    call=_value_loss,
    call_text="module(values, old, returns)",
)
layer(
    DistillationLoss,
    lambda s: DistillationLoss(2.0),
    "TV",
    call=_distillation_loss,
    call_text="module(student, teacher)",
)
layer(ContrastiveLoss, lambda s: ContrastiveLoss(0.5), "TC TC TC")
layer(BinaryPassageLoss, lambda s: BinaryPassageLoss(1.5, 1.0, 0.5), "TC TC")
for pair_loss, pairs in ((nn.MarginRankingLoss, "T T T?"), (nn.CosineEmbeddingLoss, "TC TC T?")):
    layer(
        pair_loss,
        partial(_plainly, pair_loss),
        pairs,
        call=lambda module, x, y, same: module(x, y, same.to(x.dtype) * 2 - 1),
        call_text="module(x, y, same.to(x.dtype) * 2 - 1)",
    )
for kind, domain in ((nn.BCELoss, "share"), (nn.BCEWithLogitsLoss, "real")):
    layer(
        kind,
        partial(_plainly, kind),
        "TC TC?",
        domain=domain,
        call=lambda module, x, t: module(x, t.to(x.dtype)),
        call_text="module(x, t.to(x.dtype))",
    )
layer(
    nn.KLDivLoss,
    lambda s: nn.KLDivLoss(reduction="batchmean"),
    "TC TC",
    domain="share",
    call=lambda module, x, t: module(x.log(), t),
    call_text="module(x.log(), t)",
)

layer(LoRALayer, lambda s: LoRALayer(s["C"], s["F"], rank=2, alpha=4.0))
layer(LinearWithLoRA, lambda s: LinearWithLoRA(nn.Linear(s["C"], s["F"]), rank=2, alpha=4.0))
layer(Attention, lambda s: Attention(s["C"], s["H"]))
layer(
    Attention,
    lambda s: Attention(s["C"], s["H"], cross=True),
    "BTC BFC",
    "cross=True",
    call=lambda module, x, memory: module(x, memory=memory),
    call_text="module(x, memory=y)",
)
layer(
    LatentAttention,
    lambda s: LatentAttention(
        s["C"], s["H"], kv_rank=s["F"], head_dim=s["D"], rotary=Rotary(2 * s["R"]), absorb=False
    ),
)
layer(Indexer, lambda s: Indexer(s["C"], s["H"], s["D"], top_k=2))
layer(FeedForward, lambda s: FeedForward(s["C"]))
layer(
    Block,
    lambda s: Block(Attention(s["C"], s["H"]), FeedForward(s["C"]), partial(nn.LayerNorm, s["C"])),
)
layer(GatedFeedForward, lambda s: GatedFeedForward(s["C"], s["F"]))
layer(
    Experts,
    lambda s: Experts(s["C"], s["F"], 2),
    "TC",
    call=lambda module, x: module(x, wrap(np.array([1, x.shape[0]]))),
    call_text="module(x, torch.tensor([1, T]))",
)
layer(MixtureOfExperts, lambda s: MixtureOfExperts(s["C"], s["F"], 4, 2))
layer(GatedDeltaNet, lambda s: GatedDeltaNet(s["C"], s["H"], head_dim=s["D"]))
layer(LinearAttention, lambda s: LinearAttention(s["C"], s["H"]))
layer(Mamba, lambda s: Mamba(s["C"], inner_dim=s["F"], state_dim=s["R"], dt_rank=s["H"]))
layer(CRF, lambda s: CRF(s["R"], batch_first=True), "BTR BT<R")
layer(OffsetRMSNorm, lambda s: OffsetRMSNorm(s["C"]))
layer(
    QuantizedLinear,
    lambda s: QuantizedLinear(nn.Linear(s["C"], s["F"]).weight, kind="int8"),
)
layer(
    QuantizedEmbedding,
    lambda s: QuantizedEmbedding(nn.Embedding(s["V"], s["C"]).weight, "int8"),
    "BT<V",
    gradients=False,
)
layer(SoftCappedHead, lambda s: SoftCappedHead(s["C"], s["V"], softcap=30.0))
layer(
    Rotary,
    lambda s: Holding(Rotary(2 * s["R"]), f"Rotary({2 * s['R']})"),
    "BHTR BHTR",
    call=lambda module, x, y: module.held(cat([x, y], -1), positions=wrap(np.arange(x.shape[2])))[
        0
    ],
    call_text="rotary(torch.cat([x, y], -1), positions=torch.arange(T))[0]",
    method="__call__",
)


def _places(x: Tensor) -> Tensor:
    return wrap(np.arange(x.shape[-2]))


layer(
    SinusoidalPositions,
    lambda s: SinusoidalPositions(s["C"]),
    call=lambda module, x: x + module(_places(x), x.dtype),
    call_text="x + module(torch.arange(T), x.dtype)",
)


def _bias(kind: Any, sizes: Sizes) -> nn.Module:
    made: nn.Module = kind(sizes["H"])
    return made


for bias_kind in (Alibi, RelativeBias):
    layer(
        bias_kind,
        partial(_bias, bias_kind),
        "BHTT",
        call=lambda module, x: x + module(_places(x), _places(x), x.dtype),
        call_text="x + module(torch.arange(T), torch.arange(T), x.dtype)",
    )


def _with_window(cache: Any, keys: Tensor, values: Tensor) -> Any:
    """All tokens except the last one, then the last one: what append returns for it."""
    cache.append(keys[:, :, :-1], values[:, :, :-1])
    return cache.append(keys[:, :, -1:], values[:, :, -1:])[:2]


def _decoder(module: Any, x: Tensor, y: Tensor) -> Any:
    module.held.cross.append(y, y)
    return module.held.own.append(x, x)[0], module.held.cross.stored()[0]


def _whole(module: Any, x: Tensor, y: Tensor) -> Any:
    for part in module.held.layers:
        part.append(x, y)
    module.held.truncate(1)
    return [part.append(x[:, :, :1], y[:, :, :1])[0] for part in module.held.layers]


cached: dict[str, Any] = {"inputs": "BHTD BHTD", "gradients": False, "method": "append"}
layer(
    AttentionCache,
    lambda s: Holding(AttentionCache(s["T"], 2), f"AttentionCache(max_length={s['T']}, window=2)"),
    call=lambda module, x, y: _with_window(module.held, x, y),
    call_text="cache.append(x[:, :, :-1], y[:, :, :-1])\n"
    "cache.append(x[:, :, -1:], y[:, :, -1:])[:2]",
    **cached,
)
layer(
    StreamingCache,
    lambda s: Holding(
        StreamingCache(s["T"], 1, 1),
        f"StreamingCache(max_length={s['T']}, window=1, keep_first=1)",
    ),
    call=lambda module, x, y: _with_window(module.held, x, y),
    call_text="cache.append(x[:, :, :-1], y[:, :, :-1])\n"
    "cache.append(x[:, :, -1:], y[:, :, -1:])[:2]",
    **cached,
)
layer(
    LatentCache,
    lambda s: Holding(LatentCache(s["T"]), f"LatentCache({s['T']})"),
    call=lambda module, x, y: module.held.append(x[:, 0], y[:, 1]),
    call_text="cache.append(x[:, 0], y[:, 1])",
    **cached,
)
layer(
    RecurrentCache,
    lambda s: Holding(
        RecurrentCache(s["T"], 4), f"RecurrentCache(max_length={s['T']}, conv_size=4)"
    ),
    call=lambda module, x, y: module.held.append(x, y, y, -x[..., 0], y[..., 0]),
    call_text="cache.append(x, y, y, -x[..., 0], y[..., 0])",
    **cached,
)
layer(
    CrossCache,
    lambda s: Holding(CrossCache(), "CrossCache()"),
    call=lambda module, x, y: (module.held.append(x, y), module.held.stored())[1],
    call_text="cache.append(x, y)\ncache.stored()",
    **cached,
)
layer(
    DecoderCache,
    lambda s: Holding(
        DecoderCache(AttentionCache(s["T"]), CrossCache()),
        f"DecoderCache(AttentionCache({s['T']}), CrossCache())",
    ),
    call=_decoder,
    call_text="cache.cross.append(y, y)\ncache.own.append(x, x)[0], cache.cross.stored()[0]",
    **{**cached, "method": "reorder"},
)
layer(
    Cache,
    lambda s: Holding(
        Cache([AttentionCache(s["T"]) for _ in range(2)], s["T"]),
        f"Cache([AttentionCache({s['T']}), AttentionCache({s['T']})], {s['T']})",
    ),
    call=_whole,
    call_text="for layer in cache.layers: layer.append(x, y)\ncache.truncate(1)\n"
    "[layer.append(x[:, :, :1], y[:, :, :1])[0] for layer in cache.layers]",
    **{**cached, "method": "truncate"},
)

LAYERS.update(MODELS)
