"""The other side in generation: the PyTorch GPT of torch_gpt.py with a KV cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from .torch_gpt import GPT, Block


class Cache:
    """Keys and values of one block, in memory for the whole text."""

    def __init__(self, batch: int, heads: int, length: int, width: int) -> None:
        self.keys = torch.empty(batch, heads, length, width)
        self.values = torch.empty(batch, heads, length, width)


def block(self: Block, x: torch.Tensor, cache: Cache, past: int) -> torch.Tensor:
    """A block on new tokens (B, T, C) that follow `past` others."""
    b, t, c = x.shape
    q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    cache.keys[:, :, past : past + t] = k
    cache.values[:, :, past : past + t] = v
    keys, values = cache.keys[:, :, : past + t], cache.values[:, :, : past + t]
    y = F.scaled_dot_product_attention(q, keys, values, is_causal=t > 1)  # (B, H, T, D)
    x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
    return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


def generate_steps(model: GPT, idx: torch.Tensor, new: int) -> Iterator[torch.Tensor]:
    """Greedy: yields the ids (B) of each new token."""
    b, t = idx.shape
    first = model.blocks[0]
    width = first.qkv.in_features // first.heads
    caches = [Cache(b, first.heads, t + new, width) for _ in model.blocks]
    past = 0
    with torch.inference_mode():
        for _ in range(new):
            t = idx.shape[1]
            x = model.tokens(idx) + model.positions(torch.arange(past, past + t))
            for layer, cache in zip(model.blocks, caches, strict=True):
                x = block(layer, x, cache, past)
            logits = model.head(model.norm(x[:, -1:]))  # (B, 1, V)
            past += t
            idx = logits[:, -1].argmax(-1, keepdim=True)  # (B, 1)
            yield idx[:, 0]
