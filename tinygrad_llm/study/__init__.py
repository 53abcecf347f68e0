"""Instruments to study the backward pass: look at it, check it, compare it with the chain rule.

explain         an op, a layer, a loss or an optimizer: formula, code, example, memory, check
trace           every op and module with its times, shapes, memory and gradients
draw            the graph as SVG, and as a page that steps through the backward pass
draw_attention  where every token looks, head by head
draw_descent    an optimizer's path over a loss surface, step by step
draw_positions  vectors of positions and how similar they are, or what they add to scores
draw_ranks      who sends what in a program of several ranks, from their traces
draw_similarities  which text of a batch each text is most similar to
compare         two models layer by layer, and the first place where they differ
gradcheck       a function's gradients against finite differences
diagnose        a wrong gradient: which named mistake it is, or what its numbers look like
MISTAKES        every op's named mistakes, to plant one and see which check notices it
TWINS           every fused op's slow twin, composed of primitives

Three folders have the name of the function that they hold. `study.explain`, `study.trace` and
`study.draw` are the functions: the lines below import the folder first and then bind the function
to the same name, and no later import binds it again. `from tinygrad_llm.study.draw import ...`
still reaches into the folder.
"""

from ..autograd.finite_differences import (
    Comparison,
    Element,
    GradcheckError,
    compare_gradients,
    gradcheck,
)
from .check import TWINS, Divergence, Finding, compare, diagnose
from .draw import (
    AttentionMaps,
    Descent,
    Drawing,
    Masks,
    Tokens,
    Training,
    all_exchanges,
    draw,
    draw_attention,
    draw_descent,
    draw_masks,
    draw_positions,
    draw_ranks,
    draw_similarities,
    draw_tokens,
    draw_training,
)
from .explain import Explanation, explain
from .mistakes import MISTAKES, Mistake
from .trace import Trace, trace

__all__ = [
    "MISTAKES",
    "TWINS",
    "AttentionMaps",
    "Comparison",
    "Descent",
    "Divergence",
    "Drawing",
    "Element",
    "Explanation",
    "Finding",
    "GradcheckError",
    "Masks",
    "Mistake",
    "Tokens",
    "Trace",
    "Training",
    "all_exchanges",
    "compare",
    "compare_gradients",
    "diagnose",
    "draw",
    "draw_attention",
    "draw_descent",
    "draw_masks",
    "draw_positions",
    "draw_ranks",
    "draw_similarities",
    "draw_tokens",
    "draw_training",
    "explain",
    "gradcheck",
    "trace",
]
