"""Attention maps: where every token looks, head by head, as a page and as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays.devices import xp_of
from ...autograd.engine import Op
from ...autograd.grad_mode import no_grad
from ...nn.module import Module
from ...ops import ScaledDotProductAttention
from ...tensor import Tensor
from ..common.html import FilePath, InNotebooks, data, escape, written
from ..common.html import page as whole
from ..common.numbers import plain
from ..common.watch import Place, Watch

__all__ = ["AttentionMaps", "draw_attention"]

OPTIONS = ("is_causal", "scale", "offset", "window", "softcap")  # what changes the weights
TOKENS = 64  # how many tokens of a sequence the page shows


class AttentionMaps(InNotebooks):
    """What `study.draw_attention` returns.

    maps     (name of the layer, weights (H, L, S)) for every attention that ran, in order
    tokens   the words at both sides of a map, or None
    """

    def __init__(self, maps: list[tuple[str, np.ndarray]], tokens: list[str] | None) -> None:
        self.maps, self.tokens = maps, tokens

    def html(self, file: FilePath | None = None) -> str:
        """An HTML page with all maps, which is written if `file` is given."""
        heads = []
        for name, weights in self.maps:
            shown = weights[:, :TOKENS, :TOKENS]  # (H, L, S)
            for h, head in enumerate(shown):
                rows = [[round(float(p), 4) for p in row] for row in head]
                heads.append({"name": name, "head": h, "of": len(shown), "rows": rows})
        longest = max((w.shape[-1] for _, w in self.maps), default=0)
        cut = f"The first {TOKENS} of {longest} tokens." if longest > TOKENS else ""
        body = f"""<main class="maps">
<h1>Attention: where every token looks</h1>
<p class="soft">Each row is a query token, each column a key token; the weights of a row sum to 1.
← → another head, ↑ ↓ another token. {escape(cut)}</p>
<p id="description" aria-live="polite"></p>
<div class="wide" id="big" tabindex="0"></div>
<div id="thumbs"></div>
</main>
{data("maps", {"heads": heads, "tokens": self.tokens})}"""
        title = "Attention maps"
        text = whole(title, body, styles=("heat.css", "maps.css"), scripts=("heat.js", "maps.js"))
        return written(text, file)

    def __repr__(self) -> str:
        layers = ", ".join(f"{name or 'attention'} {w.shape}" for name, w in self.maps)
        return f"<AttentionMaps of {layers}: .html(file) writes a page>"


class _Attentions(Watch):
    """Collects the weights of every attention, fused or written out with a softmax."""

    def __init__(self, *models: Module) -> None:
        super().__init__(*models)
        self.maps: list[tuple[str, np.ndarray]] = []

    def op_done(self, op: Op, place: Place, inputs: tuple, results: list) -> None:
        if op.name == "scaled_dot_product_attention":
            weights = attention_weights(inputs, dict(place.options))
        elif op.name == "softmax" and results[0].array.ndim >= 3:
            weights = plain(results[0].array)
        else:
            return
        first = weights.reshape(-1, *weights.shape[-3:])[0]  # (..., H, L, S) -> (H, L, S)
        self.maps.append((place.path, first))


def attention_weights(inputs: tuple, options: dict[str, Any]) -> np.ndarray:
    """softmax(q·kᵀ·scale + mask), (..., L, S), from the op itself: with v = I, y = p·v is p."""
    q, k, _, *optional = (x.array if isinstance(x, Tensor) else x for x in inputs)
    n = k.shape[-2]
    eye = xp_of(k).broadcast_to(xp_of(k).eye(n, dtype=k.dtype), (*k.shape[:-2], n, n))
    mask = optional[0] if optional else None
    passed = {name: v for name, v in options.items() if name in OPTIONS}
    scale = passed.get("scale")
    passed["scale"] = q.shape[-1] ** -0.5 if scale is None else scale
    op = ScaledDotProductAttention()
    op.needs = [False] * 5
    return plain(op.forward(q, k, eye, mask, None, **passed))  # (..., L, S)


def draw_attention(
    what: Callable[..., Any],
    *inputs: Any,
    tokens: Sequence[Any] | None = None,
    file: FilePath | None = None,
) -> AttentionMaps:
    """Run a model and draw the weights of all its attention ops, for the first item of the batch.

    what      a model or a function; it is called with `inputs`, without gradients
    tokens    the words of the sequence, shown at both sides of a map
    file      where to write the page

    An attention is the fused op, or a softmax over three dimensions or more, which is what an
    attention made of primitives calls.
    Raises: ValueError if there is none.
    """
    watch = _Attentions(*([what] if isinstance(what, Module) else []))
    with no_grad(), watch:
        what(*inputs)
    if not watch.maps:
        raise ValueError("draw_attention: neither an attention nor a softmax of 3 dimensions ran")
    maps = AttentionMaps(watch.maps, None if tokens is None else [str(t) for t in tokens])
    if file is not None:
        maps.html(file)
    return maps
