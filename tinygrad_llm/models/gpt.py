"""GPT-2: the transformer of "Language Models are Unsupervised Multitask Learners" (2019).

Token ids become vectors, position vectors are added, and a stack of blocks changes them: in each
block every token looks at the tokens before it (attention), then each is processed alone (feed
forward). The last layer turns each vector into logits, a score for every token that could be next.

Shapes: B batch, T time (tokens), C channels (emb_dim), H heads, D head_dim, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import nn
from ..layers.block import Block
from ..layers.cache import Cache
from ..tensor import Tensor
from ..weights.families.gpt2 import module_names
from . import switch
from .base import LanguageModel
from .config import flag, fraction, integer
from .mup import hidden_matrices

__all__ = ["PRESETS", "GPT", "GPTConfig", "TransformerBlock"]


@dataclass(frozen=True)
class GPTConfig(switch.SwitchConfig):
    """The shape of a GPT; the defaults are GPT-2 small with its biases and tied weights.

    vocab_size      how many different tokens there are
    context_length  the most tokens that the model sees
    emb_dim         channels of a token's vector; a multiple of n_heads
    n_heads         attention heads in a block
    n_layers        blocks
    drop_rate       dropout in training: 0 for none
    qkv_bias        whether queries, keys and values have a bias (GPT-2: yes, the book: no)
    tie_weights     whether the output layer shares the token embedding's weight (GPT-2: yes)

    SwitchConfig's fields put other parts into the blocks: attention="gqa", positions="rotary".
    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer(50257)
    context_length: int = integer(1024)
    emb_dim: int = integer(768)
    n_heads: int = integer(12)
    n_layers: int = integer(12, at_most=1 << 16)
    drop_rate: float = fraction(0.1)
    qkv_bias: bool = flag(True)
    tie_weights: bool = flag(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.emb_dim % self.n_heads and self.head_dim is None:
            raise ValueError(
                f"{type(self).__name__}: emb_dim must be a multiple of n_heads, got "
                f"emb_dim={self.emb_dim} and n_heads={self.n_heads}"
            )

    def least_parameters(self) -> int:
        """The embeddings, and the matrices of the blocks."""
        C = self.emb_dim
        if self.is_switched:
            return self.vocab_size * C
        return (self.vocab_size + self.context_length) * C + 12 * self.n_layers * C * C

    def summary(self) -> str:
        """Layers, heads, channels and context, for one line of output."""
        return f"{self.n_layers} layers, {self.n_heads} heads, {super().summary()}"

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


# The layers whose output is added to the shortcut
_ADDED = ("att.out_proj.weight", "ff.layers.2.weight", "ff.down.weight", "experts.down")


class TransformerBlock(Block):
    """Attention, then feed forward, each on normalised input and added to its input (pre-norm).

    x (B, T, C) -> (B, T, C). Dropout acts on the attention weights and on what is added.
    i: which block it is; shared: what the blocks share
    """

    def __init__(
        self, config: GPTConfig, i: int = 0, shared: switch.Shared = switch.Shared()
    ) -> None:
        att, ff = switch.attention(config, i, shared), switch.feed_forward(config)
        super().__init__(att, ff, partial(switch.norm, config), dropout=config.drop_rate)


class GPT(LanguageModel):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    config: a GPTConfig, or a dict of its fields. Weights start as GPT-2's do: normal(0, 0.02),
    biases zero, and the two layers of each block that add to the shortcut smaller by √(2·n_layers),
    so that the sum over all blocks has the same size at any depth; the config's `init` and
    `mup_base` change that.
    """

    config: GPTConfig

    def __init__(self, config: GPTConfig | dict[str, Any]) -> None:
        if isinstance(config, dict):
            config = GPTConfig(**config)
        super().__init__(config)
        V, C = config.vocab_size, config.emb_dim
        self.tok_emb = nn.Embedding(V, C)
        self.pos_emb = switch.position_layer(config)
        self.drop_emb = nn.Dropout(config.drop_rate)
        shared = switch.shared_positions(config)
        blocks = (TransformerBlock(config, i, shared) for i in range(config.n_layers))
        self.trf_blocks = nn.ModuleList(blocks)
        self.final_norm = switch.norm(config)
        self.out_head, last = switch.output_layer(config)
        if config.tie_weights:
            last.weight = self.tok_emb.weight
        self.value_emb: nn.Module | None = None
        if config.value_embeddings:
            att: Any = self.trf_blocks[0].att
            self.value_emb = nn.Embedding(V, att.n_kv_heads * att.head_dim)
        if config.init != "torch":
            self.init_weights()

    def init_weights(self) -> None:
        """Draws all weights again, by the config's `init`; "gpt2" as GPT-2's were drawn."""
        kind = self.config.init
        if kind == "torch":
            switch.as_pytorch_draws(self)
            return
        depth = math.sqrt(2 * self.config.n_layers)
        others = switch.starts_itself(self)
        hidden = hidden_matrices(self)
        for name, parameter in self.named_parameters():
            if id(parameter) in others:
                continue
            std = 0.02
            if id(parameter) in hidden:
                std /= math.sqrt(self.width_multiplier)
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" in name:
                nn.init.ones_(parameter)
            elif name.endswith(_ADDED):
                std = std if kind == "normal" else 0.0 if kind == "zero" else std / depth
                nn.init.normal_(parameter, 0.0, std)
            else:
                nn.init.normal_(parameter, 0.0, std)

    @property
    def width_multiplier(self) -> float:
        """emb_dim / mup_base, see models/mup.py; 1 without one."""
        base = self.config.mup_base
        return 1.0 if base is None else self.config.emb_dim / base

    def embed(self, idx: Tensor, positions: Tensor) -> Tensor:
        """The vectors of tokens and of their positions, added: (B, T) -> (B, T, C)."""
        return self.drop_emb(switch.add_positions(self.tok_emb(idx), self.pos_emb, positions))

    def hidden_states(
        self, idx: Tensor, cache: Cache | None = None, *, mask: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The blocks' output for the tokens idx (B, T): (B, T, C); see LanguageModel.

        Raises: ValueError for a mask too if some block has a memory in place of attention, and for
        padding if the config has keep_first.
        """
        if padding is not None and self.config.keep_first:
            raise ValueError(
                f"keep_first={self.config.keep_first} keeps the first columns, and with padding "
                "these are not the first tokens: pass texts of one length together, without padding"
            )
        positions, seen = self.places(idx, cache, mask, padding)
        x = self.embed(idx, positions)
        options: dict[str, Any] = {"mask": seen, "positions": positions}
        if any(block.is_recurrent for block in self.trf_blocks):
            options["real"] = switch.real_tokens(idx, cache, mask, padding)  # (B, T)
        if self.value_emb is not None:
            options["values"] = self.value_emb(idx)  # (B, T, KV·D)
        x = self.final_norm(self.through_blocks(self.trf_blocks, x, cache, **options))
        m = self.width_multiplier
        return x if m == 1.0 else x * (1.0 / m)

    def loss(self, idx: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """See LanguageModel.loss; experts in training add balance·load_balancing_loss."""
        return switch.balanced(self, lambda: super(GPT, self).loss(idx, targets, ignore_index))

    def published_modules(self) -> dict[str, tuple[str, bool]]:
        """Our name of each module -> (transformers' name, whether its matrix is transposed).

        LoRA adapters for the published GPT-2 are read and written under these names; {} for a GPT
        with other parts.
        """
        return {} if self.config.is_switched else module_names(self.config.n_layers)

    def new_cache(self) -> Cache:
        """An empty KV cache for `forward`, with room for context_length tokens."""
        n = self.context_length
        return Cache([block.new_cache(n) for block in self.trf_blocks], n)


PRESETS: dict[str, GPTConfig] = {
    "tiny": GPTConfig(512, 64, 64, 4, 2),
    "gpt2": GPTConfig.gpt2_small(),
    "gpt2-medium": GPTConfig.gpt2_medium(),
    "gpt2-large": GPTConfig.gpt2_large(),
    "gpt2-xl": GPTConfig.gpt2_xl(),
}
