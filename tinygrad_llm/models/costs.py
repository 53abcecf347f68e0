"""What a GPT costs, in closed form: parameters, memory and floating-point operations.

    gpt_parameters(GPTConfig())["total"]                    # 124,439,808
    gpt_memory(config, batch_size=8)["total"]               # bytes of a training step
    gpt_flops(config, batch_size=8)["total"]                # of forward and backward
    flops_per_token(model, 1024)                            # of any language model

These are GPT-2's; models/estimate.py has weights, cache and operations of any model.
The tests compare these formulas with what a trace of the model counts. Letters: B batch, T time
(tokens), C channels (emb_dim), H heads, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..arrays.twins import large
from ..backends import loops as compiled_loops
from ..nn import Module
from .base import Model, matrix_flops_per_token
from .gpt import GPTConfig

__all__ = [
    "Item",
    "flops_per_token",
    "gpt_flops",
    "gpt_memory",
    "gpt_parameters",
    "kept_by_block",
    "kept_outside",
    "norms_are_loops",
    "state_items",
]

_INDEX = 8  # bytes of an int64


def gpt_parameters(config: GPTConfig) -> dict[str, int]:
    """Numbers that are trained, by part and in all.

    token_embedding V·C, position_embedding T·C, attention L·(4·C² + C, and 3·C with qkv_bias),
    feed_forward L·(8·C² + 5·C), norms L·4·C + 2·C, output V·C (0 where it is the embedding).
    Raises: ValueError for a GPT with other parts than GPT-2's.
    """
    _only_gpt2(config)
    V, T, C, L = config.vocab_size, config.context_length, config.emb_dim, config.n_layers
    parts = {
        "token_embedding": V * C,
        "position_embedding": T * C,
        "attention": L * (4 * C * C + C + (3 * C if config.qkv_bias else 0)),
        "feed_forward": L * (8 * C * C + 5 * C),
        "norms": L * 4 * C + 2 * C,
        "output": 0 if config.tie_weights else V * C,
    }
    return {**parts, "total": sum(parts.values())}


def _only_gpt2(config: GPTConfig) -> None:
    """Raises: ValueError for a GPT with other parts than GPT-2's, which these formulas are of."""
    if config.is_switched:
        raise ValueError(
            "this formula is GPT-2's, and the config has another attention, feed forward or "
            "positions: see models.estimate.estimate"
        )


@dataclass(frozen=True)
class Item:
    """One item of a training step's memory: its formula, how many times, and the bytes of one."""

    what: str
    formula: str
    times: int
    bytes: int

    @property
    def total(self) -> int:
        """Bytes of all of them."""
        return self.times * self.bytes


def state_items(config: GPTConfig, moments: int, bytes_per_number: int = 4) -> list[Item]:
    """Weights, gradients and the optimizer's `moments` arrays per weight; P parameters."""
    P, size = gpt_parameters(config)["total"], bytes_per_number
    return [
        Item("weights", f"{size}·P bytes", 1, size * P),
        Item("gradients", f"{size}·P bytes", 1, size * P),
        Item("optimizer", f"{size * moments}·P bytes", 1, size * moments * P),
    ]


def norms_are_loops(config: GPTConfig, batch: int, time: int, bytes_per_number: int = 4) -> bool:
    """Whether the layer norms of such a step run as compiled loops on this machine's CPU."""
    enough = batch * time * config.emb_dim >= large.least
    return enough and bytes_per_number in (4, 8) and compiled_loops.is_available()


def _norm(what: str, times: int, n: int, c: int, size: int, loops: bool) -> Item:
    """A layer norm: x̂ and r of every row; a compiled loop keeps x, μ and r."""
    if loops:
        return Item(f"{what}, x, μ and r", "N·C + 2·N", times, size * (n * c + 2 * n))
    return Item(f"{what}, x̂ and r", "N·C + N", times, size * (n * c + n))


def kept_by_block(
    config: GPTConfig, batch: int, time: int, bytes_per_number: int = 4, loops: bool = False
) -> list[Item]:
    """What the ops of one block keep for the backward pass of N = batch·time tokens.

    loops: whether layer norm is a compiled loop
    """
    _only_gpt2(config)
    N, C, H, size = batch * time, config.emb_dim, config.n_heads, bytes_per_number
    items = [
        _norm("layer_norm", 2, N, C, size, loops),
        Item("linear qkv, its input", "N·C", 1, size * N * C),
        Item("attention, q, k and v", "3·N·C", 1, size * 3 * N * C),
        Item("attention, y (out_proj's input)", "N·C", 1, size * N * C),
        Item("attention, log Σ exp", "N·H", 1, size * N * H),
        Item("linear up, its input", "N·C", 1, size * N * C),
        Item("gelu, its derivative", "4·N·C", 1, size * 4 * N * C),
        Item("linear down, its input", "4·N·C", 1, size * 4 * N * C),
    ]
    if config.drop_rate:
        items += [
            Item("dropout, keep (1 byte)", "N·C", 2, N * C),
            Item("attention, keep (1 byte)", "N·H·T", 1, N * H * time),
        ]
    return items


def kept_outside(
    config: GPTConfig, batch: int, time: int, bytes_per_number: int = 4, loops: bool = False
) -> list[Item]:
    """What the ops outside of blocks keep; the first item is what runs before the blocks.

    loops: whether layer norm is a compiled loop
    """
    N, C, V, size = batch * time, config.emb_dim, config.vocab_size, bytes_per_number
    ids = _INDEX * (N + time)
    return [
        Item("ids, dropout's keep", "N + T, N·C", 1, ids + N * C)
        if config.drop_rate
        else Item("embeddings, ids", "N + T", 1, ids),
        _norm("final norm", 1, N, C, size, loops),
        Item("head and loss, ∂L/∂x", "N·C", 1, size * N * C),
        Item("head and loss, ∂L/∂W", "V·C", 1, size * V * C),
    ]


def gpt_memory(
    config: GPTConfig, batch_size: int = 1, context_length: int | None = None, moments: int = 2,
    bytes_per_number: int = 4, loops: bool | None = None,
) -> dict[str, int]:  # fmt: skip
    """Bytes of a training step, by part and in all.

    loops: whether layer norm is a compiled loop, which keeps one number more per row; None: as on
        this machine
    weights and gradients P numbers each, optimizer `moments`·P (AdamW and Adam 2, SGD with momentum
    1, plain SGD 0), and activations, what the ops keep for the backward pass: in each layer and for
    each token 16·C + H + 2 numbers (norms 2·C + 2, linear layers 6·C, attention 4·C + H, GELU
    4·C), 2·C + 1 after the last layer, and one gradient of the output layer. No T·T scores are
    kept. With dropout a byte for each element that may be dropped, T·T scores included.
    """
    T = config.context_length if context_length is None else context_length
    if loops is None:
        loops = norms_are_loops(config, batch_size, T, bytes_per_number)
    block = kept_by_block(config, batch_size, T, bytes_per_number, loops)
    outside = kept_outside(config, batch_size, T, bytes_per_number, loops)
    parts = {item.what: item.total for item in state_items(config, moments, bytes_per_number)}
    parts["activations"] = sum(item.total for item in outside) + config.n_layers * sum(
        item.total for item in block
    )
    return {**parts, "total": sum(parts.values())}


def gpt_flops(
    config: GPTConfig, batch_size: int = 1, context_length: int | None = None, causal: bool = True
) -> dict[str, float]:
    """Floating-point operations of matrix products, by part, forward, backward and in all.

    A product (m, k) @ (k, n) is 2·m·k·n: a multiplication and an addition each. Forward, for B·T
    tokens: attention_projections L·8·C², feed_forward L·16·C², output 2·V·C each; and
    attention_scores L·4·C for each query and each key that it sees: T·(T + 1)/2 pairs per text if
    causal, else T². Backward is twice forward: one product for the gradient of each factor.
    Raises: ValueError for a GPT with other parts than GPT-2's.
    """
    _only_gpt2(config)
    T = config.context_length if context_length is None else context_length
    B, C, L = batch_size, config.emb_dim, config.n_layers
    pairs = B * (T * (T + 1) / 2 if causal else T * T)
    parts = {
        "attention_projections": L * 8.0 * C * C * B * T,
        "attention_scores": L * 4.0 * C * pairs,
        "feed_forward": L * 16.0 * C * C * B * T,
        "output": 2.0 * config.vocab_size * C * B * T,
    }
    forward = sum(parts.values())
    return {**parts, "forward": forward, "backward": 2.0 * forward, "total": 3.0 * forward}


def flops_per_token(model: Module, context_length: int) -> float:
    """Model.flops_per_token; of another module only what its matrices cost, 6 per weight."""
    if isinstance(model, Model):
        return model.flops_per_token(context_length)
    return matrix_flops_per_token(model)
