"""Which attention, feed forward and positions a GPT has: tables from a name to what builds it.

    GPTConfig(attention="gqa", n_kv_heads=2, positions="rotary")
    GPTConfig(attention="swa", window=64, ratio=3)       # three blocks with a window, one without
    GPTConfig(feed_forward="moe", n_experts=8)
    GPTConfig(norm="rms", qk_norm=True, feed_forward="relu2", positions="rotary")

A new kind is a row of ATTENTION (name, the fields of SwitchConfig that it uses, its builder).
The defaults are GPT-2: full attention, a dense feed forward, learned positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple

from .. import nn
from ..layers.attention import Attention
from ..layers.delta_net import GatedDeltaNet
from ..layers.feed_forward import FeedForward, GatedFeedForward
from ..layers.head import SoftCappedHead
from ..layers.indexer import Indexer, collected_index_losses
from ..layers.latent_attention import LatentAttention
from ..layers.linear_attention import LinearAttention
from ..layers.mamba import Mamba
from ..layers.moe import (
    Experts,
    MixtureOfExperts,
    collected_router_logits,
    load_balancing_loss,
    router_z_loss,
)
from ..layers.positions import Alibi, RelativeBias, SinusoidalPositions
from ..layers.rotary import Rotary
from ..tensor import Tensor
from . import mixed
from .config import ModelConfig, choice, flag, fraction, integer, optional, positive

__all__ = [
    "ATTENTION",
    "FEED_FORWARD",
    "INIT",
    "NORMS",
    "POSITIONS",
    "Shared",
    "SwitchConfig",
    "add_positions",
    "as_pytorch_draws",
    "attention",
    "balanced",
    "feed_forward",
    "fields_used",
    "norm",
    "output_layer",
    "position_layer",
    "real_tokens",
    "shared_positions",
    "starts_itself",
]


class Shared(NamedTuple):
    """What the blocks of a model share to know positions: angles, or what is added to scores."""

    rotary: Rotary | None = None
    bias: nn.Module | None = None


class Kind(NamedTuple):
    """A kind of attention: the fields that it uses, and builder(config, shared) -> a module."""

    uses: tuple[str, ...]
    build: Callable[[Any, Shared], nn.Module]


# ------------------------------------------------------------------------------------- attention
def _attention(c: Any, shared: Shared, **more: Any) -> nn.Module:
    return Attention(
        c.emb_dim, c.n_heads, head_dim=c.head_dim, bias=c.qkv_bias, out_bias=True,
        dropout=c.drop_rate, rotary=shared.rotary, position_bias=shared.bias, sinks=c.sinks,
        qk_norm=_rms_norm if c.qk_norm else None, value_gate=c.value_embeddings, **more,
    )  # fmt: skip


def _grouped(c: Any, shared: Shared) -> nn.Module:
    return _attention(c, shared, n_kv_heads=c.key_heads)


def _one_key_head(c: Any, shared: Shared) -> nn.Module:
    return _attention(c, shared, n_kv_heads=1)


def _windowed(c: Any, shared: Shared) -> nn.Module:
    return _attention(
        c, shared, n_kv_heads=c.n_kv_heads, window=c.seen, dilation=c.dilation,
        keep_first=c.keep_first,
    )  # fmt: skip


def _delta_net(c: Any, shared: Shared) -> nn.Module:
    D = c.head_dim or c.emb_dim // c.n_heads
    return GatedDeltaNet(c.emb_dim, c.n_heads, n_key_heads=c.n_kv_heads, head_dim=D)


def _latent(c: Any, shared: Shared, **more: Any) -> nn.Module:
    rotary = None if shared.rotary is None else Rotary(c.rope_dim or c.head_width)
    return LatentAttention(
        c.emb_dim, c.n_heads, kv_rank=c.latent, head_dim=c.head_dim, rotary=rotary,
        dropout=c.drop_rate, **more,
    )  # fmt: skip


def _sparse(c: Any, shared: Shared) -> nn.Module:
    indexer = Indexer(c.emb_dim, 2, c.head_width, top_k=c.seen, rotary=shared.rotary)
    return _latent(c, shared, indexer=indexer)


def _linear(c: Any, shared: Shared) -> nn.Module:
    return LinearAttention(c.emb_dim, c.n_heads, head_dim=c.head_dim, bias=c.qkv_bias)


def _mamba(c: Any, shared: Shared) -> nn.Module:
    return Mamba(c.emb_dim, state_dim=c.state_dim)


_OF_SCORES = ("head_dim", "sinks", "qk_norm", "value_embeddings")
ATTENTION: dict[str, Kind] = {
    "mha": Kind(_OF_SCORES, _attention),
    "gqa": Kind((*_OF_SCORES, "n_kv_heads"), _grouped),
    "mqa": Kind(_OF_SCORES, _one_key_head),
    "swa": Kind(
        (*_OF_SCORES, "n_kv_heads", "window", "ratio", "dilation", "keep_first"), _windowed
    ),
    "mla": Kind(("head_dim", "latent_dim", "rope_dim"), _latent),
    "sparse": Kind(("head_dim", "latent_dim", "rope_dim", "window"), _sparse),
    "linear": Kind(("head_dim", "ratio"), _linear),
    "deltanet": Kind(("head_dim", "n_kv_heads", "ratio"), _delta_net),
    "mamba": Kind(("state_dim", "ratio"), _mamba),
}


# ---------------------------------------------------------------------------------- feed forward
def _experts(c: Any) -> nn.Module:
    return MixtureOfExperts(
        c.emb_dim, c.expert_dim or 4 * c.emb_dim, c.n_experts, c.n_experts_per_token
    )


def _rms_norm(dim: int) -> nn.Module:
    return nn.RMSNorm(dim, 1e-5)  # Llama's ε


def _gated(c: Any) -> nn.Module:
    """SwiGLU as wide as costs what a dense one does: 3·C·F = 8·C² numbers, F a multiple of 8."""
    return GatedFeedForward(c.emb_dim, max(8, round(c.emb_dim / 3) * 8))


FEED_FORWARD: dict[str, Callable[[Any], nn.Module]] = {
    "dense": lambda c: FeedForward(c.emb_dim),
    "relu2": lambda c: FeedForward(c.emb_dim, activation="relu2"),
    "swiglu": _gated,
    "moe": _experts,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "rms": _rms_norm}
INIT = ("gpt2", "normal", "torch", "zero")

# ------------------------------------------------------------------------------------- positions
# name: (what is added to the tokens' vectors, what the blocks share), each made from a config
Make = Callable[[Any], Any]
POSITIONS: dict[str, tuple[Make, Make]] = {
    "learned": (lambda c: nn.Embedding(c.context_length, c.emb_dim), lambda c: Shared()),
    "sinusoidal": (lambda c: SinusoidalPositions(c.emb_dim), lambda c: Shared()),
    "rotary": (lambda c: None, lambda c: Shared(rotary=Rotary(c.head_dim or c.head_width))),
    "alibi": (lambda c: None, lambda c: Shared(bias=Alibi(c.n_heads))),
    "t5": (lambda c: None, lambda c: Shared(bias=RelativeBias(c.n_heads))),
    "none": (lambda c: None, lambda c: Shared()),
}
_SCORES = ("mha", "gqa", "mqa", "swa")  # kinds to whose scores something can be added
IN_BLOCKS = {"rotary": (*_SCORES, "mla", "sparse"), "alibi": _SCORES, "t5": _SCORES}


# ----------------------------------------------------------------------------------- the config
@dataclass(frozen=True, kw_only=True)
class SwitchConfig(ModelConfig):
    """The fields that choose the parts of a block; each belongs to some choices only.

    attention     "mha", "gqa" (groups of query heads share keys), "mqa" (all share one), "swa" (a
                  window), "mla" (keys and values from a latent vector), "sparse" (that, with an
                  indexer that chooses keys), or a memory of fixed size: "linear", "deltanet",
                  "mamba"
    feed_forward  "dense" (GELU), "relu2" (relu(x)², So et al., 2021), "swiglu" (a gate, and two
                  thirds of the width), or "moe" (a mixture of experts)
    positions     "learned", "sinusoidal", "rotary", "alibi", "t5", "none"
    head_dim      channels of a head; emb_dim / n_heads if None
    n_kv_heads    heads of keys and values, of gqa, swa and deltanet; if None n_heads, and for gqa
                  the largest divisor of n_heads that is at most half of it
    window        of swa and sparse: the most keys that a token sees; a quarter of the context if
                  None
    dilation      of swa: the window holds every dilation-th key; keep_first: so many of the first
                  keys of the text are seen too
    sinks         of mha, gqa, mqa and swa: each head has a learned logit that takes part in softmax
    ratio         of swa, linear, deltanet and mamba: after so many such blocks one has full
                  attention; 0: none has
    latent_dim    of mla and sparse: channels of the latent vector; a quarter of emb_dim if None;
                  rope_dim: channels that turn, with rotary positions; those of a head if None
    state_dim     of mamba: numbers that a channel keeps
    n_experts     of moe; n_experts_per_token: how many of them a token meets; expert_dim: channels
                  within one, 4·emb_dim if None; balance: how much of load_balancing_loss is added
                  to the loss in training; z_loss: the same of router_z_loss
    norm          "layer" (LayerNorm) or "rms" (RMSNorm)
    qk_norm       of mha, gqa, mqa and swa: an RMSNorm of each query and each key
    value_embeddings  of the same: one more vector of each token, from a table that the blocks
                  share, times a learned factor of each head and block, is added to its values
    logit_softcap c: the logits are c·tanh(logits/c)
    init          how weights are drawn: "gpt2", "normal" (all from normal(0, 0.02)), "torch" (as
                  PyTorch's layers are), "zero" (gpt2, and 0 in layers that add to the shortcut)
    mup_base      the emb_dim at which the learning rate was found, for µP: see models/mup.py

    Raises: ValueError for a field that its choice does not use, or positions that no block knows.
    """

    attention: str = choice(tuple(ATTENTION), "mha")
    feed_forward: str = choice(tuple(FEED_FORWARD), "dense")
    positions: str = choice(tuple(POSITIONS), "learned")
    head_dim: int | None = optional(integer(None))
    n_kv_heads: int | None = optional(integer(None))
    window: int | None = optional(integer(None))
    ratio: int = integer(0, at_least=0, at_most=1 << 16)
    latent_dim: int | None = optional(integer(None))
    rope_dim: int | None = optional(integer(None))
    state_dim: int = integer(16)
    n_experts: int = integer(8)
    n_experts_per_token: int = integer(2)
    expert_dim: int | None = optional(integer(None))
    balance: float = fraction(0.01)
    sinks: bool = flag(False)
    dilation: int = integer(1)
    keep_first: int = integer(0, at_least=0)
    z_loss: float = fraction(0.0)
    norm: str = choice(tuple(NORMS), "layer")
    qk_norm: bool = flag(False)
    value_embeddings: bool = flag(False)
    logit_softcap: float | None = optional(positive(None))
    init: str = choice(INIT, "gpt2")
    mup_base: int | None = optional(integer(None))

    def __post_init__(self) -> None:
        super().__post_init__()
        used = fields_used(self.attention, self.feed_forward)
        for name, default in switch_defaults().items():
            if name not in used and getattr(self, name) != default:
                raise ValueError(
                    f"{type(self).__name__}: attention={self.attention!r} with feed_forward="
                    f"{self.feed_forward!r} does not use {name}, got {getattr(self, name)!r}"
                )
        if self.feed_forward == "moe" and self.n_experts_per_token > self.n_experts:
            raise ValueError(
                f"{type(self).__name__}: n_experts_per_token must be at most n_experts, got "
                f"{self.n_experts_per_token} and {self.n_experts}"
            )
        if self.value_embeddings and self.ratio and self.attention != "swa":
            raise ValueError(
                f"{type(self).__name__}: value_embeddings need {', '.join(_SCORES)} in every block"
            )
        if self.mup_base and (self.attention not in _SCORES or self.feed_forward == "moe"):
            raise ValueError(
                f"{type(self).__name__}: mup_base is for {', '.join(_SCORES)} without experts, got "
                f"attention={self.attention!r} and feed_forward={self.feed_forward!r}"
            )
        if self.mup_base and self.init == "torch":
            raise ValueError(f"{type(self).__name__}: mup_base and init='torch' exclude each other")
        known = IN_BLOCKS.get(self.positions)
        if known is not None and self.attention not in known and not self.ratio:
            raise ValueError(
                f"{type(self).__name__}: positions={self.positions!r} are known to "
                f"{', '.join(known)} only, and all blocks are {self.attention}"
            )

    @property
    def is_switched(self) -> bool:
        """Whether something differs from GPT-2's blocks."""
        return any(getattr(self, name) != value for name, value in switch_defaults().items())

    @property
    def key_heads(self) -> int:
        """n_kv_heads, or the default of grouped queries."""
        H = self._n_heads
        return self.n_kv_heads or next(n for n in range(max(1, H // 2), 0, -1) if H % n == 0)

    @property
    def head_width(self) -> int:
        """head_dim, or its default."""
        return self.head_dim or self.emb_dim // self._n_heads

    @property
    def seen(self) -> int:
        """The window, or its default."""
        return self.window or max(1, self.context_length // 4)

    @property
    def latent(self) -> int:
        """latent_dim, or its default."""
        return self.latent_dim or max(1, self.emb_dim // 4)

    @property
    def _n_heads(self) -> int:
        heads: int = getattr(self, "n_heads")  # noqa: B009  the family's config declares it
        return heads

    def kind_of(self, i: int) -> str:
        """The kind of attention in block i."""
        if self.ratio and (i + 1) % (self.ratio + 1) == 0:
            return "gqa" if self.attention == "swa" and self.n_kv_heads else "mha"
        return self.attention


def fields_used(attention: str, feed_forward: str) -> set[str]:
    """The fields of a config with these choices that mean something.

    Raises: KeyError if there is no such attention.
    """
    every = {f.name for f in fields(ModelConfig)} | {"n_heads", "n_layers"}
    used = every | {"attention", "feed_forward", "positions", *ATTENTION[attention].uses}
    used |= {"norm", "logit_softcap", "init", "mup_base"}
    if feed_forward == "moe":
        used |= {"n_experts", "n_experts_per_token", "expert_dim", "balance", "z_loss"}
    return used


def switch_defaults() -> dict[str, Any]:
    """The fields of SwitchConfig that choose, and their defaults."""
    own = SwitchConfig.__annotations__
    return {f.name: f.default for f in fields(SwitchConfig) if f.name in own
            and f.default is not MISSING}  # fmt: skip


# ------------------------------------------------------------------------------ what a GPT calls
def attention(config: Any, i: int, shared: Shared) -> nn.Module:
    """The attention of block i, or what takes its place."""
    return ATTENTION[config.kind_of(i)].build(config, shared)


def feed_forward(config: Any) -> nn.Module:
    """The feed forward of a block."""
    return FEED_FORWARD[config.feed_forward](config)


def norm(config: Any) -> nn.Module:
    """A norm over the channels."""
    return NORMS[config.norm](config.emb_dim)


def output_layer(config: Any) -> tuple[nn.Module, nn.Module]:
    """(the output layer, the Linear in it that has the matrix (V, C))."""
    V, C = config.vocab_size, config.emb_dim
    if config.logit_softcap is None:
        linear = nn.Linear(C, V, bias=False)
        return linear, linear
    capped = SoftCappedHead(C, V, config.logit_softcap)
    return capped, capped.linear


def position_layer(config: Any) -> nn.Module | None:
    """What makes the vectors that are added to those of tokens; None if there are none."""
    layer: nn.Module | None = POSITIONS[config.positions][0](config)
    return layer


def shared_positions(config: Any) -> Shared:
    """What the blocks share."""
    shared: Shared = POSITIONS[config.positions][1](config)
    return shared


def add_positions(x: Tensor, layer: nn.Module | None, positions: Tensor) -> Tensor:
    """The tokens' vectors x (B, T, C) and those of their positions (T) or (B, T): (B, T, C).

    Sinusoidal positions have entries as large as 1: as in the first Transformer (section 3.4) the
    tokens' vectors, which start small, are multiplied by √C.
    """
    if layer is None:
        return x
    if isinstance(layer, SinusoidalPositions):
        return x * layer.dim**0.5 + layer(positions, x.dtype)
    return x + layer(positions)  # (B, T, C) + (T or B, T, C) -> (B, T, C)


def starts_itself(model: nn.Module) -> set[int]:
    """The ids of the parameters that keep the initial values of their layer.

    Those of a DeltaNet's convolution and decay, for example: GPT-2 has no rule for them.
    """
    ruled = nn.Linear, nn.Embedding, nn.LayerNorm, Experts
    own: set[int] = set()
    for module in model.modules():
        if not isinstance(module, ruled):
            own |= {id(p) for p in module.parameters(recurse=False)}
        if isinstance(module, Mamba):  # its steps begin between 0.001 and 0.1
            own |= {id(p) for p in module.dt_proj.parameters()}
    return own


def as_pytorch_draws(model: nn.Module) -> None:
    """Draws the weights of every layer again by the rule of its class in PyTorch.

    An output layer that is tied to the embedding is drawn as the embedding.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for module in model.modules():
        tied = isinstance(module, nn.Linear) and id(module.weight) in tables
        reset = getattr(module, "reset_parameters", None)
        if reset is not None and not tied:
            reset()


def balanced(model: Any, loss: Callable[[], Tensor]) -> Tensor:
    """loss(), in training with what its parts add.

    Experts add the share `balance` of load_balancing_loss and the share `z_loss` of router_z_loss;
    the indexers of sparse attention, which no gradient reaches otherwise, their index_loss.
    Raises: RuntimeError for sparse attention with gradient checkpointing.
    """
    c = model.config
    balance, z_loss = (c.balance, c.z_loss) if c.feed_forward == "moe" else (0.0, 0.0)
    if not model.training or not (balance or z_loss or c.attention == "sparse"):
        return loss()
    if c.attention == "sparse" and model.gradient_checkpointing:
        raise RuntimeError(
            "the indexers of sparse attention learn from what the forward pass collects, and "
            "gradient checkpointing runs it again without that: call "
            "gradient_checkpointing_disable()"
        )
    with collected_router_logits() as logits, collected_index_losses() as losses:
        value = loss()
    for of_block in losses:
        value = value + of_block
    if balance:
        value = value + load_balancing_loss(logits, c.n_experts_per_token) * balance
    if z_loss:
        value = value + router_z_loss(logits) * z_loss
    return value


def real_tokens(
    idx: Tensor, cache: Any, mask: Tensor | None, padding: Tensor | None
) -> Tensor | None:
    """mixed.real_tokens, for a model in which some blocks have a memory in place of attention.

    Raises: ValueError if there is a mask, which such a block cannot have.
    """
    if mask is not None:
        raise ValueError("a block with a memory sees all tokens before: pass padding, not a mask")
    return mixed.real_tokens(idx, 0 if cache is None else len(cache), padding)
