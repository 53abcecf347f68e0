"""The graph behind a tensor as a picture and as a page, and attention maps."""

from .attention_maps import AttentionMaps, draw_attention
from .drawing import Drawing, draw
from .position_maps import draw_positions
from .similarity_maps import draw_similarities

__all__ = [
    "AttentionMaps",
    "Drawing",
    "draw",
    "draw_attention",
    "draw_positions",
    "draw_similarities",
]
