"""Rotary positions: each pair of channels is turned by an angle that grows with the position.

Pair j of a head with D channels turns by position·ωⱼ, ωⱼ = base^(−2j/D), j = 0 … D/2 − 1:
    a ← a·cos φ − b·sin φ        b ← b·cos φ + a·sin φ
Two layouts exist. Half-split (Hugging Face): a is channel j, b is channel j + D/2. Interleaved
(Meta): a is channel 2j, b is channel 2j + 1. Su et al. (2021), equation 34.
"""

import tinygrad_llm as torch


def frequencies(dim, base=10000.0):
    """ω of each pair, (D/2)."""
    # >>> torch.arange with a step of 2
    return base ** (-torch.arange(0, dim, 2).float() / dim)
    # <<<


def rotate(x, positions, base=10000.0, interleaved=False):
    """x (B, H, T, D) turned by its positions (T): the same shape."""
    # >>> angles (T, D/2), their cos and sin; take the pairs apart, turn, put them back
    half = x.shape[-1] // 2
    angles = positions.float().unsqueeze(1) * frequencies(x.shape[-1], base)  # (T, D/2)
    cos, sin = torch.cos(angles), torch.sin(angles)
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).reshape(x.shape)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    # <<<
