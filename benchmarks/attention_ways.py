"""Nine ways to write multi-head attention, for PyTorch and for this package, from equal weights.

Each is built from w_qkv (3C, C) and w_out (C, C), rows of queries, keys and values, and is then
called with x (B, T, C); it returns (B, T, C). Causal, no bias, no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["WAYS", "build"]

Layer = Callable[[Any], Any]


class Built:
    """What a way is built from: the library, the weights, and the sizes."""

    def __init__(self, torch: Any, w_qkv: Any, w_out: Any, n_heads: int, T: int) -> None:
        self.torch, self.F = torch, torch.nn.functional
        self.w_qkv, self.w_out, self.H, self.T = w_qkv, w_out, n_heads, T
        self.C = w_out.shape[0]
        self.D = self.C // n_heads
        self.future = torch.triu(torch.ones(T, T), diagonal=1) > 0

    def softmax(self, q: Any, k: Any, v: Any) -> Any:
        """Scores, mask, softmax and sum, each a function: (..., T, D) -> (..., T, D)."""
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.D)  # (..., T, T)
        return self.torch.softmax(scores.masked_fill(self.future, -math.inf), dim=-1) @ v

    def split(self, x: Any) -> tuple[Any, Any, Any]:
        """q, k and v (B, H, T, D) from one product."""
        B, T, _ = x.shape
        y = self.F.linear(x, self.w_qkv).view(B, T, 3, self.H, self.D)  # (B, T, 3C) -> …
        return tuple(y[:, :, i].transpose(1, 2) for i in range(3))  # type: ignore[return-value]

    def joined(self, y: Any) -> Any:
        """(B, H, T, D) -> (B, T, C), through w_out."""
        B, _, T, _ = y.shape
        return self.F.linear(y.transpose(1, 2).reshape(B, T, self.C), self.w_out)


def heads_in_a_list(b: Built) -> Layer:
    def run(x: Any) -> Any:
        D, rows = b.D, []
        for h in range(b.H):
            q, k, v = (
                b.F.linear(x, b.w_qkv[i * b.C + h * D : i * b.C + (h + 1) * D]) for i in range(3)
            )  # (B, T, D) each
            rows.append(b.softmax(q, k, v))
        return b.F.linear(b.torch.cat(rows, dim=-1), b.w_out)

    return run


def split_from_one_matrix(b: Built) -> Layer:
    def run(x: Any) -> Any:
        B, T, C = x.shape
        q, k, v = (
            b.F.linear(x, b.w_qkv[i * C : (i + 1) * C]).view(B, T, b.H, b.D).transpose(1, 2)
            for i in range(3)
        )  # (B, H, T, D) each
        return b.joined(b.softmax(q, k, v))

    return run


def one_qkv_matrix(b: Built) -> Layer:
    return lambda x: b.joined(b.softmax(*b.split(x)))


def with_einsum(b: Built) -> Layer:
    def run(x: Any) -> Any:
        einsum, w = b.torch.einsum, b.w_qkv.view(3, b.H, b.D, b.C)
        q, k, v = (einsum("btc,hdc->bhtd", x, w[i]) for i in range(3))
        scores = einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(b.D)
        p = b.torch.softmax(scores.masked_fill(b.future, -math.inf), dim=-1)
        y = einsum("bhts,bhsd->bthd", p, v)
        return einsum("bthd,chd->btc", y, b.w_out.view(b.C, b.H, b.D))

    return run


def fused(b: Built) -> Layer:
    return lambda x: b.joined(b.F.scaled_dot_product_attention(*b.split(x), is_causal=True))


def fused_with_mask(b: Built) -> Layer:
    seen = ~b.future
    return lambda x: b.joined(b.F.scaled_dot_product_attention(*b.split(x), attn_mask=seen))


def _module(b: Built, need_weights: bool) -> Layer:
    module = b.torch.nn.MultiheadAttention(b.C, b.H, bias=False, batch_first=True)
    module.in_proj_weight, module.out_proj.weight = b.w_qkv, b.w_out
    return lambda x: module(x, x, x, attn_mask=b.future, need_weights=need_weights, is_causal=True)[
        0
    ]


def module_with_weights(b: Built) -> Layer:
    return _module(b, True)


def module_without_weights(b: Built) -> Layer:
    return _module(b, False)


def block_mask(b: Built) -> Layer:
    if b.torch.__name__ == "torch":
        from torch.nn.attention import flex_attention as flex
    else:
        from tinygrad_llm.nn.attention import flex_attention as flex  # type: ignore[no-redef]
    mask = flex.create_block_mask(lambda i, h, q, k: q >= k, None, None, b.T, b.T, device="cpu")
    return lambda x: b.joined(flex.flex_attention(*b.split(x), block_mask=mask))


WAYS: dict[str, Callable[[Built], Layer]] = {
    "heads in a list": heads_in_a_list,
    "split from one matrix": split_from_one_matrix,
    "one qkv matrix": one_qkv_matrix,
    "einsum": with_einsum,
    "fused": fused,
    "fused, explicit mask": fused_with_mask,
    "nn.MultiheadAttention": module_with_weights,
    "the same, no weights": module_without_weights,
    "block mask": block_mask,
}


def build(name: str, torch: Any, w_qkv: Any, w_out: Any, n_heads: int, T: int) -> Layer:
    """The way of this name; w_qkv and w_out are Parameters of this torch, for texts of T tokens."""
    return WAYS[name](Built(torch, w_qkv, w_out, n_heads, T))
