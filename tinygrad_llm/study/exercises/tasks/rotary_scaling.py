"""Scaled rotary frequencies: a model reads texts longer than those it was trained on.

linear:  every ω is divided by `factor`: positions are pressed together. Chen et al. (2023).
llama3:  n = original·ω/2π is how often a pair turns over the original context.
         n > high: ω stays.   n < low: ω/factor.   Between them, with s = (n − low)/(high − low):
         s·ω + (1 − s)·ω/factor.   Llama team (2024), section 3.4.
"""

import math

import tinygrad_llm as torch


def linear_scaling(omega, factor):
    """ω (D/2) -> (D/2)."""
    # >>> one line
    return omega / factor
    # <<<


def llama3_scaling(omega, factor, low, high, original):
    """ω (D/2) -> (D/2); `original` is the length of the context in training, in tokens."""
    # >>> n and s; torch.clamp makes the two ends of s
    turns = original * omega / (2.0 * math.pi)
    s = torch.clamp((turns - low) / (high - low), 0.0, 1.0)
    return s * omega + (1.0 - s) * omega / factor
    # <<<
