"""Where each token of a translation looks in the source: the weights of cross-attention.

The fused attention keeps no weights, so they are computed again from what goes into the layers.
Shapes: S tokens of the source, T of the target, H heads, C channels, D head_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from ...autograd.grad_mode import no_grad
from ...functions.softmax import softmax
from ...layers.attention import Attention
from ...models.base import evaluation
from ...models.encoder_decoder import EncoderDecoder
from ...text import Tokenizer
from ...training.plots import label_text, new_figure, save_figure
from ...training.step import to_device_of
from ..sequences.data import padded

__all__ = ["CrossAttentions", "cross_attentions", "plot_cross_attentions"]


class CrossAttentions(NamedTuple):
    """weights: for each block of the decoder (H, T, S), each row sums to 1; source (S) and target
    (T): the tokens as texts. Row t belongs to the step that wrote target token t.
    """

    weights: list[np.ndarray]
    source: list[str]
    target: list[str]

    def mean(self) -> np.ndarray:
        """The mean over blocks and heads, (T, S)."""
        return np.mean([w.mean(0) for w in self.weights], 0)  # (H, T, S) each -> (T, S)


def cross_attentions(
    model: EncoderDecoder, tokenizers: tuple[Tokenizer, Tokenizer], source: Sequence[int],
    target: Sequence[int],
) -> CrossAttentions:  # fmt: skip
    """The weights with which the decoder looks at a source while it writes a target.

    source, target: ids with their ends
    Raises: ValueError if the model's blocks have no cross-attention.
    """
    blocks: Any = model.decoder.trf_blocks
    layers = [block.cross for block in blocks]
    if not all(isinstance(layer, Attention) and layer.cross for layer in layers):
        raise ValueError(f"a {type(model).__name__} has no cross-attention")
    inputs: list[tuple[Attention, Any, Any]] = []

    def keep(layer: Any, args: tuple, options: dict[str, Any]) -> None:
        inputs.append((layer, args[0], options["memory"]))

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        with no_grad(), evaluation(model):
            (ids, mask), (labels, _) = (
                to_device_of(model, padded([list(text)])) for text in (source, target)
            )
            model(ids, model.shifted(labels), mask)
            weights = [_weights(*each)[0].cpu().numpy() for each in inputs]  # (1, H, T, S) each
    finally:
        for handle in handles:
            handle.remove()
    texts = ([t.decode([i]).strip() for i in ids]
             for t, ids in zip(tokenizers, (source, target), strict=True))  # fmt: skip
    return CrossAttentions(weights, *texts)


def _weights(layer: Attention, x: Any, memory: Any) -> Any:
    """softmax(Q·Kᵀ·scale) of a cross-attention: x (B, T, C), memory (B, S, C) -> (B, H, T, S)."""
    queries, keys, _ = layer._from_memory(x, memory, None)  # (B, H, T, D), (B, KV, S, D)
    keys = keys.repeat_interleave(layer.group_size, 1)  # (B, H, S, D)
    scale = layer.head_dim**-0.5 if layer.scale is None else layer.scale
    return softmax(queries @ keys.transpose(-2, -1) * scale, -1)  # (B, H, T, S)


def plot_cross_attentions(maps: CrossAttentions, path: str | Path, title: str = "") -> Path:
    """Draws a map for each head of each block, and their mean, to a PNG; returns its path."""
    rows, columns = len(maps.weights), max(w.shape[0] for w in maps.weights)
    S, T = len(maps.source), len(maps.target)
    width = 1.2 + columns * max(1.6, 0.2 * S)
    figure = new_figure(width, 1.2 + (rows + 1) * max(1.6, 0.22 * T))
    grid = figure.add_gridspec(rows + 1, columns)
    panels = [(f"block {i}, head {h}", w[h], grid[i, h])
              for i, w in enumerate(maps.weights) for h in range(w.shape[0])]  # fmt: skip
    panels.append(("mean of all", maps.mean(), grid[rows, : max(1, columns // 2)]))
    source, target = ([label_text(word) for word in words] for words in maps[1:])
    for name, weights, place in panels:
        axes = figure.add_subplot(place)
        axes.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        axes.set_title(name, fontsize=7)
        labelled = name == "mean of all"
        axes.set_xticks(range(S), source if labelled else [""] * S, rotation=90, fontsize=6)
        first = labelled or name.endswith("head 0")
        axes.set_yticks(range(T), target if first else [""] * T, fontsize=6)
    if title:
        fits = int(14 * width)  # letters of 9 points in a line
        figure.suptitle(shorten(label_text(title), fits, placeholder=" …"), fontsize=9)
    return save_figure(figure, path)
