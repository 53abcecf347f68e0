"""Text from a language model, one token at a time: greedy, temperature, top-k, top-p."""

from .decode import generate, generate_steps
from .sampling import next_token, top_k_filter, top_p_filter

__all__ = ["generate", "generate_steps", "next_token", "top_k_filter", "top_p_filter"]
