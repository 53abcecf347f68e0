"""What a language model costs before it is trained: cache, weights and operations, in closed form.

    print(estimate(GPTConfig(attention="gqa", n_kv_heads=8), batch=1, dtype="bfloat16"))
    print(estimate(find_config("llama3.2-1b"), context_length=8192))

The model is made on the meta device, without numbers, and its layers say what they are; COSTS has a
closed form for each kind. ESTIMATES.md explains them.

By convention (Kaplan et al., 2020; Chowdhery et al., 2022) a forward pass multiplies every token
with every matrix and every query with every key of a text, the masked half too; backward costs
twice that. `study.trace` counts what is really executed. Letters: B batch, T tokens of a text, C
channels, H query heads, KV key heads, D head_dim, w window, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..layers.attention import Attention
from ..layers.delta_net import GatedDeltaNet
from ..layers.latent_attention import LatentAttention
from ..layers.linear_attention import LinearAttention
from ..layers.mamba import Mamba
from ..nn import Module
from ..tensor import device
from .base import LanguageModel, matrix_flops_per_token
from .config import ModelConfig
from .registry import build_from, families

__all__ = [
    "BYTES",
    "COSTS",
    "Estimate",
    "LayerCost",
    "comparison",
    "estimate",
    "find_config",
    "layer_cost",
]


BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}  # of a number


class LayerCost(NamedTuple):
    """What one layer that mixes tokens costs, for one text of T tokens.

    what      the layer in words
    cache     bytes that generation keeps, and their formula; W is the bytes of a number
    scores    forward operations per token that do not come from weights, and their formula
    """

    what: str
    cache: int
    cache_formula: str
    scores: float
    scores_formula: str


# ---------------------------------------------------------------------- a closed form for each kind
# form(layer, T, W) -> its LayerCost
def _attention(m: Any, T: int, W: int) -> LayerCost:
    H, KV, D, w, d, n = m.n_heads, m.n_kv_heads, m.head_dim, m.window, m.dilation, m.keep_first
    seen = T if w is None else min(T, min(-(-T // d), w) + n)
    keys = kept = "T" if w is None else "min(T, w)"
    what = f"attention, {H} heads of {D}" + ("" if KV == H else f", {KV} of keys")
    what += "" if w is None else f", window {w:,}"
    if d > 1:
        what += f", dilation d = {d}"
        kept, keys = "min(T, (w − 1)·d + 1)", "min(T/d, w)"
    if n:
        what += f", n = {n} first keys"
        kept, keys = f"{kept[:-1]} + n)", f"({keys} + n)"
    what += "" if m.sinks is None else ", sinks"
    return LayerCost(
        what, m.cache_bytes(T, W), f"2·{kept}·KV·D·W", 4.0 * H * D * seen, f"4·H·D·{keys}",
    )  # fmt: skip


def _latent(m: Any, T: int, W: int) -> LayerCost:
    """In the expanded form, as in training; with an indexer also its scores of all keys."""
    H, D, R, P, V = m.n_heads, m.head_dim, m.kv_rank, m.rotary_dim, m.value_head_dim
    cache, what = m.cache_bytes_per_token(W) * T, f"latent attention, {H} heads of {D}, {R} + {P} "
    if m.indexer is None:
        scores = 2.0 * H * (D + P + V) * T
        return LayerCost(what + "kept", cache, "T·(R + P)·W", scores, "2·H·(D + P + V)·T")
    k, own = m.indexer.top_k, m.indexer.n_heads * m.indexer.head_dim
    formula = "(2·H·(D + P + V)·min(T, k) + 2·Hᵢ·Dᵢ·T)"
    return LayerCost(
        f"{what}kept, {k} keys by an indexer", cache, "T·(R + P + Dᵢ)·W",
        2.0 * H * (D + P + V) * min(T, k) + 2.0 * own * T, formula,
    )  # fmt: skip


def _delta_net(m: Any, T: int, W: int) -> LayerCost:
    H, D, K = m.n_heads, m.head_dim, m.key_head_dim
    return LayerCost(
        f"gated DeltaNet, {H} heads, memories of {K} x {D}", m.cache_bytes(T, W),
        "(H·K·D·max(W, 4) + (taps − 1)·(2·G·K + H·D)·W)", 6.0 * H * K * D, "6·H·K·D",
    )  # fmt: skip


def _linear(m: Any, T: int, W: int) -> LayerCost:
    H, D = m.n_heads, m.head_dim
    return LayerCost(
        f"linear attention, {H} heads of {D}", m.cache_bytes(T, W), "H·D·(D + 1)·max(W, 4)",
        4.0 * H * D * (D + 1), "4·H·D·(D + 1)",
    )  # fmt: skip


def _mamba(m: Any, T: int, W: int) -> LayerCost:
    D, N = m.inner_dim, m.state_dim
    return LayerCost(
        f"Mamba, {D} channels with {N} numbers", m.cache_bytes(T, W),
        "(D·N·max(W, 4) + (taps − 1)·D·W)", 7.0 * D * N, "7·D·N",
    )  # fmt: skip


COSTS: dict[type[Module], Callable[[Any, int, int], LayerCost]] = {
    Attention: _attention,
    LatentAttention: _latent,
    GatedDeltaNet: _delta_net,
    LinearAttention: _linear,
    Mamba: _mamba,
}


def layer_cost(layer: Module, context_length: int, number_bytes: int = 4) -> LayerCost | None:
    """The closed form of a layer for a text of this length; None if it does not mix tokens."""
    form = COSTS.get(type(layer))
    return None if form is None else form(layer, context_length, number_bytes)


# --------------------------------------------------------------------------------- of a whole model
@dataclass(frozen=True)
class Row:
    """Layers that are alike: how many there are, and their bytes and operations together."""

    layers: int
    what: str
    cache_formula: str
    cache_bytes: int
    scores_formula: str
    forward_flops: float


@dataclass(frozen=True)
class Estimate:
    """The costs of a model on `batch` texts of `context_length` tokens; str() is a table.

    forward_flops       one forward pass over all tokens, by the convention
    active_parameters   weights that one token meets: less than all only with experts
    rows                the layers that mix tokens, equal ones together
    """

    model: str
    config: dict[str, Any]
    batch: int
    context_length: int
    dtype: str
    parameters: int
    active_parameters: int
    forward_flops: float
    rows: tuple[Row, ...]

    @property
    def weight_bytes(self) -> int:
        """Of all parameters."""
        return self.parameters * BYTES[self.dtype]

    @property
    def cache_bytes(self) -> int:
        """What generation keeps of the texts, at their full length."""
        return sum(row.cache_bytes for row in self.rows)

    @property
    def training_flops(self) -> float:
        """Forward and backward, which costs twice that."""
        return 3.0 * self.forward_flops

    def as_dict(self) -> dict[str, Any]:
        """Everything in JSON's types."""
        more = {name: getattr(self, name) for name in ("weight_bytes", "cache_bytes",
                                                       "training_flops")}  # fmt: skip
        return {**asdict(self), **more}

    def __str__(self) -> str:
        tokens = self.batch * self.context_length
        lines = [
            f"{self.model}: {self.batch:,} x {self.context_length:,} tokens, {self.dtype}",
            f"{'parameters':<12} {self.parameters:>22,}" + (
                "" if self.active_parameters == self.parameters
                else f"   {self.active_parameters:,} of them for one token"),
            f"{'weights':<12} {self.weight_bytes:>22,} bytes   {_gigabytes(self.weight_bytes)}",
            f"{'cache':<12} {self.cache_bytes:>22,} bytes   {_gigabytes(self.cache_bytes)}",
            f"{'forward':<12} {round(self.forward_flops):>22,} FLOPs   "
            f"{self.forward_flops / tokens / 1e9:,.3g} GFLOPs per token",
            f"{'training':<12} {round(self.training_flops):>22,} FLOPs   3 x forward",
            "",
            "layers, their cache, and operations between tokens:",
        ]  # fmt: skip
        for row in self.rows:
            lines.append(f"{row.layers:>6} x {row.what}")
            lines.append(f"{'':9}cache B·{row.cache_formula}: "
                         f"{row.cache_bytes:,} bytes ({_gigabytes(row.cache_bytes)})")  # fmt: skip
            lines.append(f"{'':9}forward B·T·{row.scores_formula}: "
                         f"{round(row.forward_flops):,} FLOPs")  # fmt: skip
        return "\n".join(lines)


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:,.2f} GB" if n >= 1e7 else f"{n / 1e6:,.3f} MB"


def estimate(
    config: ModelConfig, *, batch: int = 1, context_length: int | None = None,
    dtype: str = "float32",
) -> Estimate:  # fmt: skip
    """The costs of the model of this config.

    batch: texts; context_length: tokens of each, the config's if None; dtype: of weights and cache
    Raises: ValueError if batch or context_length is below 1, or for a dtype that models do not
    have.
    """
    T = config.context_length if context_length is None else context_length
    if batch < 1 or T < 1:
        raise ValueError(f"batch and context_length must be at least 1, got {batch} and {T}")
    if dtype not in BYTES:
        raise ValueError(f"dtype must be {', '.join(BYTES)}, got {dtype!r}")
    size = BYTES[dtype]
    with device("meta"):
        model: Any = build_from(config)
    rows = _rows(model, batch, T, size)
    matrices = matrix_flops_per_token(model) / 3.0  # forward: 2 of the 6 operations per weight
    forward = batch * T * matrices + sum(row.forward_flops for row in rows)
    parameters = model.n_parameters()
    return Estimate(
        type(model).__name__, asdict(config), batch, T, dtype, parameters,
        parameters - _idle(model), forward, rows,
    )  # fmt: skip


def _rows(model: LanguageModel, batch: int, T: int, size: int) -> tuple[Row, ...]:
    """The layers that mix tokens, equal ones together."""
    counted: dict[LayerCost, int] = {}
    for module in model.modules():
        cost = layer_cost(module, T, size)
        if cost is not None:
            counted[cost] = counted.get(cost, 0) + 1
    return tuple(
        Row(n, c.what, c.cache_formula, n * batch * c.cache, c.scores_formula,
            n * batch * T * c.scores)
        for c, n in counted.items()
    )  # fmt: skip


def _idle(model: LanguageModel) -> int:
    """Weights of experts that a token does not meet."""
    from ..layers.moe import MixtureOfExperts

    return sum(
        p.numel() * (m.n_experts - m.n_experts_per_token) // m.n_experts
        for m in model.modules() if isinstance(m, MixtureOfExperts)
        for p in m.experts.parameters()
    )  # fmt: skip


# ------------------------------------------------------------------------------------- by name
def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def comparison(estimates: Mapping[str, Estimate]) -> str:
    """A table with a line for each estimate, by name."""
    lines = [f"{'':12}{'parameters':>16}{'weights':>12}{'cache':>12}{'forward FLOPs':>24}"]
    for name, e in estimates.items():
        lines.append(
            f"{name:12}{e.parameters:>16,}{_gigabytes(e.weight_bytes):>12}"
            f"{_gigabytes(e.cache_bytes):>12}{round(e.forward_flops):>24,}"
        )
    return "\n".join(lines)


def known_configs() -> dict[str, ModelConfig]:
    """The published sizes of all families and the presets of `pretrain`, by name."""
    return {name: config for family in families() for name, config in family.presets.items()
            if name != "tiny"}  # fmt: skip


def find_config(name: str, more: Mapping[str, ModelConfig] | None = None) -> ModelConfig:
    """The config of a published size; dashes, dots and capital letters do not matter.

    more: others that are known, by name
    Raises: ValueError if there is none, with the names that there are.
    """
    known = {**known_configs(), **(more or {})}
    for each, config in known.items():
        if _letters(each) == _letters(name):
            return config
    raise ValueError(f"there is no model {name!r}; there are {', '.join(known)}")
