"""A decoder as numbers and arrays, for programs that compute it without this package."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..arrays.devices import to_numpy
from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.feed_forward import FeedForward, GatedFeedForward
from ..layers.rotary import Rotary
from .base import LanguageModel
from .bert import Bert, DistilBert
from .encoder import Encoder
from .gpt import GPT
from .llama import Llama
from .qwen2 import Qwen2
from .qwen3 import Qwen3

__all__ = ["Described", "describe_decoder", "describe_encoder"]

_KNOWN = (GPT, Llama, Qwen2, Qwen3)  # logits = W·norm(blocks(embedding)), nothing in between
_NOT_OFFERED = {"gate": False, "position_bias": None, "dilation": 1, "keep_first": 0, "sinks": None,
                "softcap": None, "value_gate": None, "qk_norm_flat": False, "cross": False,
                "causal": True}  # fmt: skip


class Described(NamedTuple):
    """A decoder of pre-norm blocks: x += att(norm1(x)), x += ff(norm2(x)), then norm and head.

    settings  context_length, vocab_size, emb_dim, n_layers, n_heads, n_kv_heads, head_dim, scale;
              norm "layer" or "rms" and norm_eps; feed_forward "gelu_new" (W₂·f(W₁·x)) or "silu"
              (with a gate); windows, a number or None for each block; attention_factor of cos and
              sin; qk_norm, whether queries and keys are normalised
    weights   float32, by the names of the model's state_dict. `out_head.weight` is missing if it is
              `tok_emb.weight`; `frequencies` (D/2) are the ω of rotary positions, if there are some
    """

    settings: dict[str, Any]
    weights: dict[str, np.ndarray]


def describe_decoder(model: LanguageModel, head: bool = True) -> Described:
    """The settings and arrays of a GPT, Llama, Qwen2 or Qwen3.

    head: False for the body of a classifier, which has lost its own
    A GPT may have grouped queries, a window, and learned, rotary or no positions.
    Raises: ValueError, which names the part that is not known, for any other model.
    """
    name = type(model).__name__
    if type(model) not in _KNOWN:
        known = ", ".join(kind.__name__ for kind in _KNOWN)
        raise ValueError(f"{name} is not among the models that can be written so: {known}")
    blocks: list[Any] = list(getattr(model, "trf_blocks"))  # noqa: B009  all of _KNOWN have it
    for i, block in enumerate(blocks):
        part = _unknown_part(block)
        if part:
            raise ValueError(f"{name}: block {i} has {part}, which cannot be written so")
    positions = getattr(model, "pos_emb", None)
    if positions is not None and type(positions) is not nn.Embedding:
        raise ValueError(f"{name}: positions of {type(positions).__name__} cannot be written so")
    if type(model.head) is not (nn.Linear if head else nn.Identity) or model.width_multiplier != 1:
        raise ValueError(f"{name}: logit_softcap and mup_base cannot be written so")
    config: Any = model.config  # of one of _KNOWN
    att = blocks[0].att
    settings = {
        "context_length": config.context_length, "vocab_size": config.vocab_size,
        "emb_dim": config.emb_dim, "n_layers": len(blocks), "n_heads": att.n_heads,
        "n_kv_heads": att.n_kv_heads, "head_dim": att.head_dim,
        "scale": att.head_dim**-0.5 if att.scale is None else float(att.scale),
        "norm": "rms" if type(blocks[0].norm1) is nn.RMSNorm else "layer",
        "norm_eps": float(blocks[0].norm1.eps),
        "feed_forward": "silu" if type(blocks[0].ff) is GatedFeedForward else "gelu_new",
        "windows": [block.att.window for block in blocks], "qk_norm": att.q_norm is not None,
        "attention_factor": 1.0,
    }  # fmt: skip
    state = model.state_dict()
    weights = {key: np.asarray(to_numpy(v.array), np.float32) for key, v in state.items()}
    if config.tie_weights:
        weights.pop("out_head.weight", None)
    if att.rotary is not None:
        settings["attention_factor"] = float(att.rotary.attention_factor)
        weights["frequencies"] = np.asarray(att.rotary.frequencies, np.float32)  # (D/2)
    return Described(settings, weights)


def describe_encoder(model: Encoder) -> Described:
    """The settings and arrays of a BERT or DistilBERT without its head.

    settings: context_length, vocab_size, emb_dim, n_layers, n_heads, norm_eps, activation "gelu"
    (exact) or "gelu_new"; weights: by the names of the state_dict, float32
    Raises: ValueError, which names the part, for any other model.
    """
    body, name = model.body(), type(model).__name__
    if type(body) not in (Bert, DistilBert):
        raise ValueError(f"{name} is not an encoder that can be written so: Bert, DistilBert")
    config: Any = body.config
    if config.pad_token_id is not None or config.activation not in ("gelu", "gelu_new"):
        raise ValueError(f"{name}: its positions or its activation cannot be written so")
    settings = {
        "context_length": config.context_length, "vocab_size": config.vocab_size,
        "emb_dim": config.emb_dim, "n_layers": config.n_layers, "n_heads": config.n_heads,
        "activation": config.activation, "norm_eps": float(config.norm_eps),
    }  # fmt: skip
    state = body.state_dict()
    weights = {key: np.asarray(to_numpy(v.array), np.float32) for key, v in state.items()}
    return Described({**settings, "encoder": True}, weights)


def _unknown_part(block: Any) -> str | None:
    """What of a block is not among the parts that Described has; None if all are."""
    if not isinstance(block, Block) or block.norm_place != "pre" or block.cross is not None:
        return f"a {type(block).__name__}"
    if type(block.att) is not Attention:
        return type(block.att).__name__
    for name, value in _NOT_OFFERED.items():
        if getattr(block.att, name) != value:
            return f"attention with {name}"
    if block.att.q_norm is not None and type(block.att.q_norm) is not type(block.norm1):
        return f"a {type(block.att.q_norm).__name__} of queries beside {type(block.norm1).__name__}"
    return _unknown_rotary(block.att.rotary) or _unknown_feed_forward(block.ff)


def _unknown_rotary(rotary: Rotary | None) -> str | None:
    if rotary is None:
        return None
    kind = rotary.scaling.get("rope_type")
    if rotary.dim != rotary.head_dim or rotary.interleaved or kind in ("dynamic", "longrope"):
        return "rotary positions of part of a head, of neighbours, or that depend on the length"
    return None


def _unknown_feed_forward(ff: Any) -> str | None:
    act = ff.layers[1] if type(ff) is FeedForward else getattr(ff, "activation", None)
    if type(ff) is FeedForward and type(act) is nn.GELU and act.approximate == "tanh":
        return None
    if type(ff) is GatedFeedForward and type(act) is nn.SiLU:
        return None
    return f"a {type(ff).__name__} with {type(act).__name__}"
