"""What the decoders after GPT-2 share: embedding, blocks, a last norm, and the output layer.

Shapes: B batch, T time (tokens), C channels (emb_dim), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from .. import nn
from ..layers.cache import Cache
from ..layers.rotary import Rotary
from ..tensor import Tensor
from .base import LanguageModel, init_normal
from .config import Config, ModelConfig, flag, fraction, integer, mapping, optional, positive

__all__ = ["Decoder", "DecoderConfig"]


_Same = TypeVar("_Same", bound="DecoderConfig")
MOST_HEAD_DIM = 1 << 16  # a config makes the frequencies of each pair of a head's channels


@dataclass(frozen=True)
class DecoderConfig(ModelConfig):
    """The fields that these families share.

    vocab_size      how many different tokens there are
    context_length  the most tokens that the model sees
    emb_dim         channels of a token's vector
    hidden_dim      channels in between in the feed forward
    n_layers        blocks
    n_heads         query heads in a block
    n_kv_heads      heads of keys and values; n_heads if None
    head_dim        channels of a head; emb_dim / n_heads if None
    rope_base       how slowly the slowest pair of channels turns (rope_theta)
    rope_scaling    None, or as Rotary takes it: {"rope_type": "llama3", "factor": 8.0, ...}
    norm_eps        ε of the norms
    drop_rate       dropout in training: 0 for none
    tie_weights     whether the output layer shares the token embedding's weight

    Raises: ValueError or TypeError, which names the wrong value.
    """

    vocab_size: int = integer(32000)
    context_length: int = integer(4096)
    emb_dim: int = integer(4096)
    hidden_dim: int = integer(11008)
    n_layers: int = integer(32, at_most=1 << 16)
    n_heads: int = integer(32)
    n_kv_heads: int = optional(integer(None))
    head_dim: int = optional(integer(None))
    rope_base: float = positive(10000.0)
    rope_scaling: Mapping[str, Any] | None = optional(mapping(None))
    norm_eps: float = positive(1e-5)
    drop_rate: float = fraction(0.0)
    tie_weights: bool = flag(False)

    def __post_init__(self) -> None:
        Config.__post_init__(self)  # every field alone, before they are used together
        if self.n_kv_heads is None:
            object.__setattr__(self, "n_kv_heads", self.n_heads)  # the dataclass is frozen
        if self.head_dim is None:
            if self.emb_dim % self.n_heads:
                raise ValueError(
                    f"{type(self).__name__}: emb_dim must be a multiple of n_heads unless head_dim "
                    f"is given, got emb_dim={self.emb_dim} and n_heads={self.n_heads}"
                )
            object.__setattr__(self, "head_dim", self.emb_dim // self.n_heads)
        super().__post_init__()
        if self.head_dim > MOST_HEAD_DIM:
            raise ValueError(
                f"{type(self).__name__}: head_dim must be at most {MOST_HEAD_DIM:,}, got "
                f"{self.head_dim}"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"{type(self).__name__}: n_heads must be a multiple of n_kv_heads, got "
                f"n_heads={self.n_heads} and n_kv_heads={self.n_kv_heads}"
            )
        self.rotary()  # raises for an odd head_dim, and for a scaling that is not known

    def rotary(self, **changes: Any) -> Rotary:
        """The angles that all blocks share; changes: other arguments of Rotary."""
        options = {"base": self.rope_base, "scaling": self.rope_scaling, **changes}
        return Rotary(self.head_dim, **options)

    def resized(self: _Same, **sizes: Any) -> _Same:
        """The config with these fields; others keep their proportions to emb_dim and n_heads.

        head_dim becomes emb_dim / n_heads, hidden_dim the nearest multiple of 8, and n_kv_heads the
        largest divisor of n_heads that is not larger in proportion.
        Raises: ValueError if emb_dim / n_heads is not an even number.
        """
        C, H = sizes.get("emb_dim", self.emb_dim), sizes.get("n_heads", self.n_heads)
        if C % H or C // H % 2:
            raise ValueError(
                f"emb_dim / n_heads must be an even number, because rotary positions turn pairs of "
                f"channels, got {C} / {H}"
            )
        most = max(1, H * self.n_kv_heads // self.n_heads)
        following = {
            "head_dim": C // H,
            "hidden_dim": max(8, round(self.hidden_dim * C / self.emb_dim / 8) * 8),
            "n_kv_heads": next(n for n in range(most, 0, -1) if H % n == 0),
        }
        return replace(self, **{**following, **sizes})

    def least_parameters(self) -> int:
        """The embedding, and the matrices of the blocks."""
        C = self.emb_dim
        attention = 2 * (self.n_heads + self.n_kv_heads) * self.head_dim * C
        return self.vocab_size * C + self.n_layers * (attention + 3 * C * self.hidden_dim)

    def summary(self) -> str:
        """Layers, heads, channels and context, for one line of output."""
        return f"{self.n_layers} layers, {self.n_heads} heads, {super().summary()}"


class Decoder(LanguageModel):
    """logits = W·norm(blocks(embedding)): a family passes its blocks and its last norm.

    config: the family's
    blocks: modules that are called as layers.block.Block is
    final_norm: a module (B, T, C) -> (B, T, C)
    Weights of matrices are drawn from normal(0, 0.02), as transformers does for these families.
    """

    def __init__(
        self, config: DecoderConfig, blocks: Iterable[nn.Module], final_norm: nn.Module
    ) -> None:
        super().__init__(config)
        V, C = config.vocab_size, config.emb_dim
        self.tok_emb = nn.Embedding(V, C)
        self.trf_blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm
        shared = config.tie_weights and nn.init.skipping  # it needs no memory
        self.out_head = nn.Linear(C, V, bias=False, device="meta" if shared else None)
        if config.tie_weights:
            self.out_head.weight = self.tok_emb.weight
        self.init_weights()

    def init_weights(self) -> None:
        """Draws the matrices again, from normal(0, 0.02); biases become zero."""
        init_normal(self)

    def embed(self, idx: Tensor) -> Tensor:
        """The vectors of tokens: (B, T) -> (B, T, C)."""
        return self.tok_emb(idx)

    def hidden_states(
        self, idx: Tensor, cache: Cache | None = None, *, mask: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The blocks' output for the tokens idx (B, T): (B, T, C); see LanguageModel."""
        positions, mask = self.places(idx, cache, mask, padding)
        options: dict[str, Any] = {"mask": mask, "positions": positions}
        x = self.through_blocks(self.trf_blocks, self.embed(idx), cache, **options)
        return self.normed(x)

    def normed(self, x: Tensor) -> Tensor:
        """What the head gets of the last block's output: (B, T, C) -> (B, T, C)."""
        return self.final_norm(x)

    def published_parts(self) -> dict[str, list[tuple[str, slice]]]:
        """Our name of each module -> the modules of transformers' model in its rows.

        {"trf_blocks.0.att.qkv": [("model.layers.0.self_attn.q_proj", slice(0, 64)), ...]}; LoRA
        adapters for published weights are read and written under these names. {} if the family has
        no table of names.
        """
        from .registry import of

        family = of(self)
        if family is None or family.names is None:
            return {}
        parts: dict[str, list[tuple[str, slice]]] = {}
        for theirs, weight in family.names.weights(asdict(self.config)).items():
            module, _, own = theirs.rpartition(".")
            name, _, ours = weight.name.rpartition(".")
            rows = weight.part[0] if weight.part else slice(None)
            if own == ours == "weight" and isinstance(rows, slice):
                parts.setdefault(name, []).append((module, rows))
        return parts

    def new_cache(self) -> Cache:
        """An empty cache for `forward`, with room for context_length tokens."""
        n = self.context_length
        return Cache([block.new_cache(n) for block in self.trf_blocks], n)
