"""Padding and causal masks side by side: which query sees which key in an encoder-decoder.

    study.draw_masks(file="masks.html")                          # a small untrained Transformer
    study.draw_masks(model, ids, decoder_ids, attention_mask)    # yours

The weights are those of the model's attention ops; a key is hidden where its weight is exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import random
from ...files.paths import local_path
from ...models.encoder_decoder import EncoderDecoder
from ...models.transformer import Transformer, TransformerConfig
from ...tensor import Tensor, wrap
from ..common.formulas import with_formulas
from ..common.html import FilePath, InNotebooks, data, escape, leads, written
from ..common.html import page as whole
from .attention_maps import draw_attention

__all__ = ["Masks", "Panel", "draw_masks"]

SOURCE = ("the", "cat", "sleeps", "<pad>", "<pad>")
TARGET = ("<start>", "le", "chat", "dort")
PANELS = {  # title: (in plain words, exactly)
    "encoder: self-attention": (
        "Every word of the source looks at every other one, earlier or later. Padding only fills "
        "the row up to the length of the longest text in the batch: nobody may look at it.",
        "score[i, j] = q[i]·k[j]·scale where key j is not padding, else −∞",
    ),
    "decoder: self-attention": (
        "A word of the target looks at itself and at what was written before it. Later words are "
        "hidden, because while the text is written they do not exist yet.",
        "score[i, j] = q[i]·k[j]·scale where j ≤ i, else −∞",
    ),
    "decoder: cross-attention": (
        "A word of the target looks at the whole source, which was read before. Again padding is "
        "hidden; queries come from the decoder, keys and values from the encoder.",
        "score[i, j] = q[i]·k[j]·scale where source token j is not padding, else −∞",
    ),
}
HIDDEN = {"padding": "hidden: padding", "later": "hidden: a later token"}


@dataclass
class Panel:
    """One attention: its title, the words at the two sides, the weights (L, S) of its first head.

    hidden: for every query and key "", "padding" or "later"
    """

    title: str
    queries: list[str]
    keys: list[str]
    weights: np.ndarray
    hidden: list[list[str]]


class Masks(InNotebooks):
    """What `study.draw_masks` returns: three panels, and a page of them."""

    def __init__(self, panels: list[Panel]) -> None:
        self.panels = panels

    def html(self, file: FilePath | None = None, links: Mapping[str, str] | None = None) -> str:
        """The page as HTML, which is written if `file` is given.

        links: word -> address, shown at the top
        """
        body = f"""<main class="masks">
{leads(links)}<h1>Which query sees which key: padding and causal masks</h1>
<p class="soft">Rows are queries, columns are keys; the number is the attention's weight, and a row
sums to 1. ↑ ↓ choose a row, ← → a picture.</p>
<p class="legend"><span class="key seen">weight</span><span class="key padding">{HIDDEN["padding"]}
</span><span class="key later">{HIDDEN["later"]}</span></p>
<p id="description" aria-live="polite"></p>
<div class="panels">{"".join(map(_panel, self.panels))}</div>
</main>
{data("masks", [{"title": p.title, "queries": p.queries, "keys": p.keys} for p in self.panels])}"""
        title = "Padding and causal masks"
        text = whole(
            title, body, styles=("heat.css", "maps.css", "masks.css"), scripts=("masks.js",)
        )
        return written(text, file)

    def save(self, file: FilePath) -> list[Any]:
        """Write FILE, which ends in .html or gets that ending; returns its path in a list.

        Raises: ValueError for another ending.
        """
        path = local_path(file)
        if path.suffix not in (".html", ""):
            raise ValueError(f"masks are written as .html, not {path.suffix}: {path}")
        path = path.with_suffix(".html")
        self.html(path)
        return [path]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{p.title} {p.weights.shape}" for p in self.panels)
        return f"<Masks of {shapes}: .html(file) writes a page>"


def draw_masks(
    model: Any = None,
    ids: Any = None,
    decoder_ids: Any = None,
    attention_mask: Any = None,
    *,
    tokens: tuple[Sequence[Any], Sequence[Any]] | None = None,
    file: FilePath | None = None,
) -> Masks:
    """Run an encoder-decoder and draw what its first layers see, for the first row of the batch.

    model           an EncoderDecoder, such as Transformer or T5; None: a small untrained one
    ids             the sources (B, S); attention_mask (B, S): 1 for tokens, 0 for padding
    decoder_ids     the targets (B, T)
    tokens          the words of the first source and of the first target; None: the ids
    file            where to write the page

    Raises: ValueError if the model is not an EncoderDecoder.
    """
    if model is None:
        model, ids, decoder_ids, attention_mask, tokens = _example()
    if not isinstance(model, EncoderDecoder):
        raise ValueError(f"draw_masks: {type(model).__name__} is not an EncoderDecoder, as T5 is")
    ids, decoder_ids = _as_tensor(ids), _as_tensor(decoder_ids)
    kept = np.ones(tuple(ids.shape), bool)
    if attention_mask is not None:
        attention_mask = _as_tensor(attention_mask)
        kept = np.asarray(attention_mask.numpy(force=True)) != 0
    was_training = model.training
    model.eval()
    try:
        maps = draw_attention(lambda: model(ids, decoder_ids, attention_mask))
    finally:
        model.train(was_training)
    source, target = tokens or (ids[0].tolist(), decoder_ids[0].tolist())
    words = [str(w) for w in source], [str(w) for w in target]
    padding = ~kept[0]
    layers = [weights for _, weights in maps.maps]
    n_encoder = len(model.encoder.trf_blocks)
    chosen = (layers[0], layers[n_encoder], layers[n_encoder + 1])
    sides = ((0, 0, padding), (1, 1, None), (1, 0, padding))
    panels = [
        Panel(title, words[q], words[k], weights[0], _hidden(weights[0], pad))
        for title, weights, (q, k, pad) in zip(PANELS, chosen, sides, strict=True)
    ]
    masks = Masks(panels)
    if file is not None:
        masks.html(file)
    return masks


def _as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else wrap(np.asarray(x))


def _hidden(weights: np.ndarray, padding: np.ndarray | None) -> list[list[str]]:
    """Why each weight is exactly 0: "padding" or "later"; "" for one that is not."""
    return [
        ["" if w else "padding" if padding is not None and padding[j] else "later"
         for j, w in enumerate(row)]
        for row in weights
    ]  # fmt: skip


def _example() -> tuple[Any, Any, Any, Any, tuple[Sequence[str], Sequence[str]]]:
    with random.fork_rng():
        random.manual_seed(0)
        model = Transformer(
            TransformerConfig(
                vocab_size=12, context_length=8, emb_dim=8, hidden_dim=16, n_layers=1,
                n_decoder_layers=1, n_heads=1, drop_rate=0.0,
            )
        )  # fmt: skip
    ids = np.array([[3, 4, 5, 0, 0], [3, 6, 7, 8, 9]])
    decoder_ids = np.array([[2, 3, 4, 5], [2, 6, 7, 8]])
    return model, ids, decoder_ids, np.array(ids != 0, np.int64), (SOURCE, TARGET)


def _panel(panel: Panel) -> str:
    """One attention as a table, with its two voices."""
    head = "".join(f'<th scope="col">{escape(k)}</th>' for k in panel.keys)
    rows = []
    for query, weights, hidden in zip(panel.queries, panel.weights, panel.hidden, strict=True):
        cells = "".join(
            f'<td class="{why}" title="{HIDDEN[why]}"></td>' if why
            else f'<td style="--share: {w:.3f}">{w:.2f}</td>'
            for w, why in zip(weights.tolist(), hidden, strict=True)
        )  # fmt: skip
        rows.append(f'<tr><th scope="row">{escape(query)}</th>{cells}</tr>')
    plain, exact = PANELS[panel.title]
    return f"""<section class="panel"><h2>{escape(panel.title)}</h2>
<div class="wide" tabindex="0"><table class="map"><thead><tr><th></th>{head}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
<p class="plain"><span class="voice">in plain words</span>{escape(plain)}</p>
<p class="exact"><span class="voice">exactly</span>{with_formulas(exact)}</p></section>"""
