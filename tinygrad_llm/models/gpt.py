"""GPT-2: the transformer of "Language Models are Unsupervised Multitask Learners" (2019).

Token ids become vectors, position vectors are added, and a stack of blocks changes them: in each
block every token looks at the tokens before it (attention), then each is processed alone (feed
forward). The last layer turns each vector into logits, a score for every token that could be next.

Shapes: B batch, T time (tokens), C channels (emb_dim), H heads, D head_dim, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import nn
from ..functions.creation.filled import ones
from ..functions.creation.ranges import arange
from ..layers.cache import AttentionCache, Cache
from ..layers.head import head_loss
from ..nn import functional as F
from ..tensor import Tensor
from ..tensor.dtypes import bool_
from ..utils.checkpoint import checkpoint
from .base import require_flags, require_integers

__all__ = ["GPT", "FeedForward", "GPTConfig", "MultiHeadAttention", "TransformerBlock"]


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT; the defaults are GPT-2 small with its biases and tied weights.

    vocab_size      how many different tokens there are
    context_length  the most tokens that the model sees
    emb_dim         channels of a token's vector; a multiple of n_heads
    n_heads         attention heads in a block
    n_layers        blocks
    drop_rate       dropout in training: 0 for none
    qkv_bias        whether queries, keys and values have a bias (GPT-2: yes, the book: no)
    tie_weights     whether the output layer shares the token embedding's weight (GPT-2: yes)

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = 50257
    context_length: int = 1024
    emb_dim: int = 768
    n_heads: int = 12
    n_layers: int = 12
    drop_rate: float = 0.1
    qkv_bias: bool = True
    tie_weights: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers")
        for name in sizes:
            require_integers("GPTConfig", self, name)
            if getattr(self, name) < 1:
                raise ValueError(f"GPTConfig: {name} must be at least 1, got {getattr(self, name)}")
        if self.emb_dim % self.n_heads:
            raise ValueError(
                f"GPTConfig: emb_dim must be a multiple of n_heads, got emb_dim={self.emb_dim} "
                f"and n_heads={self.n_heads}"
            )
        if isinstance(self.drop_rate, bool) or not isinstance(self.drop_rate, int | float):
            raise TypeError(f"GPTConfig: drop_rate must be a number, got {self.drop_rate!r}")
        if not 0.0 <= self.drop_rate < 1.0:
            raise ValueError(
                f"GPTConfig: drop_rate must be at least 0 and less than 1, got {self.drop_rate}"
            )
        require_flags("GPTConfig", self, "qkv_bias", "tie_weights")

    @classmethod
    def gpt2_small(cls, **changes: Any) -> GPTConfig:
        """124 million parameters; `changes` replaces any field."""
        return cls(**{"emb_dim": 768, "n_heads": 12, "n_layers": 12, **changes})

    @classmethod
    def gpt2_medium(cls, **changes: Any) -> GPTConfig:
        """355 million parameters; `changes` replaces any field."""
        return cls(**{"emb_dim": 1024, "n_heads": 16, "n_layers": 24, **changes})

    @classmethod
    def gpt2_large(cls, **changes: Any) -> GPTConfig:
        """774 million parameters; `changes` replaces any field."""
        return cls(**{"emb_dim": 1280, "n_heads": 20, "n_layers": 36, **changes})

    @classmethod
    def gpt2_xl(cls, **changes: Any) -> GPTConfig:
        """1,558 million parameters; `changes` replaces any field."""
        return cls(**{"emb_dim": 1600, "n_heads": 25, "n_layers": 48, **changes})


class MultiHeadAttention(nn.Module):
    """Every token looks at the tokens before it, in n_heads ways in parallel.

    A token's query is compared with the keys of itself and all tokens before; the softmax of these
    scores weights their values: softmax(Q·Kᵀ/√D)·V. One matrix computes queries, keys and values.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C = config.emb_dim
        self.n_heads = config.n_heads
        self.head_dim = C // config.n_heads
        self.drop_rate = config.drop_rate
        self.qkv = nn.Linear(C, 3 * C, bias=config.qkv_bias)
        self.out_proj = nn.Linear(C, C)

    def forward(
        self, x: Tensor, cache: AttentionCache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        B, T, C = x.shape
        H, D = self.n_heads, self.head_dim
        qkv = self.qkv(x).view(B, T, 3 * H, D).transpose(1, 2)  # (B, T, 3C) -> (B, 3H, T, D)
        queries, keys, values = qkv.split(H, dim=1)  # (B, H, T, D) each
        if cache is not None:
            past = cache.length
            keys, values, _ = cache.append(keys, values)  # (B, H, past + T, D)
            if past and T > 1:  # new token i looks at the past and at new tokens 0 … i
                mask = ones(T, past + T, dtype=bool_, device=x.device).tril(past)
        context = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask,
            dropout_p=self.drop_rate if self.training else 0.0,
            is_causal=mask is None and T > 1,
        )  # (B, H, T, D)  # fmt: skip
        context = context.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return self.out_proj(context)


class FeedForward(nn.Module):
    """Processes each token alone: to four times the channels, GELU, and back to C."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C = config.emb_dim
        self.layers = nn.Sequential(
            nn.Linear(C, 4 * C),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * C, C),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # (B, T, C) -> (B, T, 4C) -> (B, T, C)


class TransformerBlock(nn.Module):
    """Attention, then feed forward, each on normalised input and added to its input."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.emb_dim)
        self.att = MultiHeadAttention(config)
        self.norm2 = nn.LayerNorm(config.emb_dim)
        self.ff = FeedForward(config)
        self.drop_shortcut = nn.Dropout(config.drop_rate)

    def forward(
        self, x: Tensor, cache: AttentionCache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        x = x + self.drop_shortcut(self.att(self.norm1(x), cache, mask))
        x = x + self.drop_shortcut(self.ff(self.norm2(x)))
        return x


class GPT(nn.Module):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a GPTConfig, or a dict of its fields. Weights start as GPT-2's do: normal(0, 0.02),
    biases zero, and the two layers of each block that add to the shortcut smaller by √(2·n_layers),
    so that the sum over all blocks has the same size at any depth.
    """

    def __init__(self, config: GPTConfig | dict[str, Any]) -> None:
        super().__init__()
        if isinstance(config, dict):
            config = GPTConfig(**config)
        self.config = config
        self.gradient_checkpointing = False
        V, C = config.vocab_size, config.emb_dim
        self.tok_emb = nn.Embedding(V, C)
        self.pos_emb = nn.Embedding(config.context_length, C)
        self.drop_emb = nn.Dropout(config.drop_rate)
        self.trf_blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(C)
        self.out_head = nn.Linear(C, V, bias=False)
        if config.tie_weights:
            self.out_head.weight = self.tok_emb.weight
        self.init_weights()

    def init_weights(self) -> None:
        """Draws all weights again, as GPT-2's were drawn."""
        small = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" in name:
                nn.init.ones_(parameter)
            elif name.endswith(("att.out_proj.weight", "ff.layers.2.weight")):
                nn.init.normal_(parameter, 0.0, small)
            else:
                nn.init.normal_(parameter, 0.0, 0.02)

    def gradient_checkpointing_enable(self) -> None:
        """From now on blocks save only their inputs; the backward pass runs each forward again.

        Less memory for more time, and the same gradients to the last bit (see utils.checkpoint).
        """
        self.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """From now on blocks save all that the backward pass needs."""
        self.gradient_checkpointing = False

    def hidden_states(
        self, idx: Tensor, cache: Cache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The blocks' output for the tokens idx (B, T): (B, T, C), normalised, before out_head.

        mask: in place of the causal mask, bool, True where a token may look; broadcasts to
        (B, H, T, T).
        Raises: ValueError if idx does not have 2 dimensions or is longer than the context, or if
        both a mask and a cache are given.
        """
        if mask is not None and cache is not None:
            raise ValueError("pass a mask or a KV cache, not both: a cache needs the causal mask")
        if idx.dim() != 2:
            raise ValueError(f"idx must have the shape (batch, time), got {tuple(idx.shape)}")
        past = 0 if cache is None else len(cache)
        T = idx.shape[1]
        if past + T > self.config.context_length:
            raise ValueError(
                f"{past + T} tokens are longer than the context_length of "
                f"{self.config.context_length}: pass the last ones only, idx[:, -context_length:]"
            )
        positions = arange(past, past + T, device=idx.device)  # (T)
        x = self.tok_emb(idx) + self.pos_emb(positions)  # (B, T, C) + (T, C) -> (B, T, C)
        x = self.drop_emb(x)
        for i, block in enumerate(self.trf_blocks):
            if self.gradient_checkpointing and cache is None:
                x = checkpoint(block, x, None, mask)
            else:
                x = block(x, None if cache is None else cache.layers[i], mask)
        return self.final_norm(x)

    def forward(self, idx: Tensor, cache: Cache | None = None, last_only: bool = False) -> Tensor:
        """The logits of the next token after each token of idx: (B, T) -> (B, T, V).

        cache: keys and values of the tokens before idx; those of idx are appended (see
        `new_cache`). last_only: logits of the last token only, (B, 1, V), as generation needs.
        """
        x = self.hidden_states(idx, cache)
        if last_only:
            x = x[:, -1:]  # (B, 1, C)
        return self.out_head(x)

    def loss(self, idx: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The mean cross-entropy of targets (B, T), the tokens that follow idx (B, T); 0-d.

        Equals cross_entropy(model(idx), targets), but the logits of the whole batch are never in
        memory together. Targets equal to ignore_index do not count.
        Raises: RuntimeError if the shapes differ.
        """
        if tuple(targets.shape) != tuple(idx.shape):
            raise RuntimeError(
                f"loss: targets must be the tokens that follow idx, of the same shape: idx is "
                f"{tuple(idx.shape)}, targets is {tuple(targets.shape)}"
            )
        return head_loss(self.out_head, self.hidden_states(idx), targets, ignore_index)

    def new_cache(self) -> Cache:
        """An empty KV cache for `forward`, with room for context_length tokens."""
        length = self.config.context_length
        return Cache([AttentionCache(length) for _ in self.trf_blocks], length)

    def num_parameters(self) -> int:
        """How many numbers are trained; tied weights count once."""
        return sum(p.numel() for p in self.parameters())
