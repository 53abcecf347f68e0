"""Text from a language model: greedy, drawn, by beams, with drafts; in whole or as a stream."""

from .calculator import Calculator
from .conversation import ContextFull, Conversation, Turn
from .decode import Generated, generate, generate_steps, stream_text
from .diverse import generate_diverse
from .masked import Fill, fill_mask
from .options import Beams, Drafts, DraftStatistics, Sampling
from .prompts import end_tokens
from .sampling import min_p_filter, next_token, repetition_filter, top_k_filter, top_p_filter
from .streams import TextStream

__all__ = [
    "Beams",
    "Calculator",
    "ContextFull",
    "Conversation",
    "DraftStatistics",
    "Drafts",
    "Fill",
    "Generated",
    "Sampling",
    "TextStream",
    "Turn",
    "end_tokens",
    "fill_mask",
    "generate",
    "generate_diverse",
    "generate_steps",
    "min_p_filter",
    "next_token",
    "repetition_filter",
    "stream_text",
    "top_k_filter",
    "top_p_filter",
]
