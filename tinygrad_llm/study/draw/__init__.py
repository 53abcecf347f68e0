"""The graph behind a tensor as a picture and as a page, attention maps, and what ranks send."""

from .attention_maps import AttentionMaps, draw_attention
from .descent import Descent, draw_descent
from .drawing import Drawing, draw
from .masks import Masks, draw_masks
from .position_maps import draw_positions
from .ranks import all_exchanges, draw_ranks
from .similarity_maps import draw_similarities
from .tokens import Tokens, draw_tokens
from .training import Training, draw_training

__all__ = [
    "AttentionMaps",
    "Descent",
    "Drawing",
    "Masks",
    "Tokens",
    "Training",
    "all_exchanges",
    "draw",
    "draw_attention",
    "draw_descent",
    "draw_masks",
    "draw_positions",
    "draw_ranks",
    "draw_similarities",
    "draw_tokens",
    "draw_training",
]
