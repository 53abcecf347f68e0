"""A worked example for every model and its block, at any sizes of the letters B, T, C, ...

The small ones have two heads of queries and one of keys; the larger ones, of which the memory is
measured, have as many heads of keys as of queries, as GPT-2 has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ... import nn
from ...models.bert import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)
from ...models.cohere2 import Cohere2, Cohere2Block, Cohere2Config
from ...models.config import ModelConfig
from ...models.gemma3 import Gemma3, Gemma3Block, Gemma3Config
from ...models.gpt import GPT, GPTConfig, TransformerBlock
from ...models.llama import Llama, LlamaBlock, LlamaConfig
from ...models.modernbert import ModernBertConfig, ModernBertForMaskedLM
from ...models.olmo3 import Olmo3, Olmo3Block, Olmo3Config
from ...models.qwen2 import Qwen2, Qwen2Block, Qwen2Config
from ...models.qwen3 import Qwen3, Qwen3Block, Qwen3Config
from ...models.qwen3_5 import Qwen35, Qwen35Block, Qwen35Config
from ...models.qwen3_moe import Qwen3Moe, Qwen3MoeBlock, Qwen3MoeConfig
from ...models.t5 import T5, T5Config
from ...models.transformer import Transformer, TransformerConfig
from .example import SMALL, LayerExample, Sizes

__all__ = ["MODELS"]

MODELS: dict[str, LayerExample] = {}


def _model(
    kind: Any, block: type[nn.Module], config: Callable[..., Any],
    made: Callable[[Any], nn.Module],
) -> None:  # fmt: skip
    """Enter a model's example and that of its block, which `made` makes from a config."""
    MODELS[block.__name__] = LayerExample(block, lambda s: made(config(s, 1)), "BTC")
    MODELS[kind.__name__] = LayerExample(
        kind,
        lambda s: kind(config(s, 1 if s is SMALL else 12)),
        "BT<V BT<V",
        call=lambda module, idx, targets: module.loss(idx, targets),
        call_text="module.loss(idx, targets)",
    )


def _gpt(s: Sizes, n_layers: int) -> GPTConfig:
    return GPTConfig(
        vocab_size=s["V"], context_length=s["T"], emb_dim=s["C"], n_heads=s["H"],
        n_layers=n_layers, drop_rate=0.0,
    )  # fmt: skip


def _decoder(kind: type[ModelConfig], s: Sizes, n_layers: int, **more: Any) -> Any:
    """A config of one of GPT-2's successors; rotary positions turn pairs, so a head has 2·R."""
    return kind(
        vocab_size=s["V"], context_length=s["T"], emb_dim=s["C"],
        **{
            "hidden_dim": s["F"], "n_layers": n_layers, "n_heads": s["H"], "head_dim": 2 * s["R"],
            "n_kv_heads": 1 if s is SMALL else s["H"], **more,
        },
    )  # fmt: skip


def _deltas(s: Sizes, n_layers: int) -> Any:
    """One block of each kind in the small model."""
    linear = {f"linear_{name}": s["H"] for name in ("n_heads", "n_key_heads")}
    linear |= {f"linear_{name}": s["D"] for name in ("head_dim", "key_head_dim")}
    kinds = ("linear_attention", "full_attention")
    return _decoder(
        Qwen35Config, s, 2 if n_layers == 1 else n_layers, head_dim=4 * s["R"], partial_rotary=0.5,
        layer_types=kinds if n_layers == 1 else None, **linear,
    )  # fmt: skip


_model(GPT, TransformerBlock, _gpt, TransformerBlock)
_model(Llama, LlamaBlock, partial(_decoder, LlamaConfig), lambda c: LlamaBlock(c, c.rotary()))
_model(Qwen2, Qwen2Block, partial(_decoder, Qwen2Config), lambda c: Qwen2Block(c, c.rotary(), 0))
_model(Qwen3, Qwen3Block, partial(_decoder, Qwen3Config), lambda c: Qwen3Block(c, c.rotary(), 0))
_model(
    Qwen3Moe,
    Qwen3MoeBlock,
    partial(_decoder, Qwen3MoeConfig, n_experts=4, n_experts_per_token=2),
    lambda c: Qwen3MoeBlock(c, c.rotary(), 0),
)
_model(
    Gemma3,
    Gemma3Block,
    partial(_decoder, Gemma3Config, window=2),
    lambda c: Gemma3Block(c, c.rotaries()[False], 0),
)
_model(
    Olmo3,
    Olmo3Block,
    partial(_decoder, Olmo3Config, window=2),
    lambda c: Olmo3Block(c, c.rotaries()[False], 0),
)
_model(
    Cohere2,
    Cohere2Block,
    partial(_decoder, Cohere2Config, window=2, logit_scale=0.25),
    lambda c: Cohere2Block(c, c.rotary(interleaved=True), 0),
)
_model(Qwen35, Qwen35Block, _deltas, lambda c: Qwen35Block(c, c.rotary(), 1))


def _encoder(kind: type[ModelConfig], s: Sizes, n_layers: int, **more: Any) -> Any:
    """A config of an encoder, of an encoder-decoder, or of BERT without its kinds of tokens."""
    return kind(
        vocab_size=s["V"], context_length=s["T"], emb_dim=s["C"],
        **{"hidden_dim": s["F"], "n_layers": n_layers, "n_heads": s["H"], **more},
    )  # fmt: skip


def _enter(kind: Any, config: Callable[..., Any], inputs: str = "BT<V BT<V") -> None:
    """Enter the example of a model whose block is layers.Block."""
    MODELS[kind.__name__] = LayerExample(
        kind,
        lambda s: kind(config(s, 1 if s is SMALL else 12)),
        inputs,
        call=lambda module, idx, targets: module.loss(idx, targets),
        call_text="module.loss(ids, labels)",
    )


_no_dropout: dict[str, Any] = {"drop_rate": 0.0, "attention_drop_rate": 0.0}
_enter(BertForMaskedLM, partial(_encoder, BertConfig, n_token_types=1, **_no_dropout))
_enter(  # positions of places: an example has ids that are padding to a RoBERTa
    RobertaForMaskedLM, partial(_encoder, RobertaConfig, pad_token_id=None, **_no_dropout)
)
_enter(DistilBertForMaskedLM, partial(_encoder, DistilBertConfig, **_no_dropout))
_enter(  # rotary positions turn pairs, so a head has an even number of channels
    ModernBertForMaskedLM,
    lambda s, n: _encoder(ModernBertConfig, {**s, "C": 2 * s["C"]}, n, window=2),
)
_enter(
    T5,
    lambda s, n: _encoder(
        T5Config, s, n, n_decoder_layers=n, head_dim=s["D"], n_buckets=4, max_distance=8,
        drop_rate=0.0,
    ),
)  # fmt: skip
_enter(
    Transformer,
    lambda s, n: _encoder(TransformerConfig, s, n, n_decoder_layers=n, drop_rate=0.0),
)
