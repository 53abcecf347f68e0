"""Sinusoidal positions: sines and cosines of many frequencies, added to the tokens' vectors.

Pair j of C channels turns by position·ωⱼ with ωⱼ = base^(−2j/C): channel 2j is the sine of this
angle, channel 2j + 1 its cosine. No parameters, and no longest text. Vaswani et al. (2017).
"""

import tinygrad_llm as torch


def sinusoidal(positions, dim, base=10000.0):
    """The vectors of positions (T): (T, dim); dim is even."""
    # >>> the angles (T, dim/2), then sines and cosines side by side
    omega = base ** (-torch.arange(0, dim, 2).float() / dim)
    angles = positions.float().unsqueeze(1) * omega
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).reshape(len(positions), dim)
    # <<<
