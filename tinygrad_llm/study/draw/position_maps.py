"""Positions as pictures: their vectors and how similar they are, or what they add to scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...files.paths import local_path
from ...functions.creation.ranges import arange
from ...layers.positions import Alibi, RelativeBias
from ..common.html import FilePath

__all__ = ["draw_positions", "position_pictures"]

MOST_HEADS = 4


def position_pictures(layer: Any, n: int = 128) -> dict[str, np.ndarray]:
    """The pictures of `draw_positions` as arrays, by title.

    layer: an Alibi or a RelativeBias: the bias (n, n) of each of the first heads. A module that
    makes vectors from positions (SinusoidalPositions, an Embedding): the vectors (n, C), and the
    cosine of the angle between every two of them, (n, n).
    """
    with no_grad():
        places = arange(n)
        if isinstance(layer, Alibi | RelativeBias):
            bias = layer(places, places).numpy()  # (H, n, n)
            heads = np.unique(np.linspace(0, len(bias) - 1, MOST_HEADS).round().astype(int))
            return {f"bias of head {h}": bias[h] for h in heads}
        vectors = layer(places).numpy()  # (n, C)
    lengths = np.sqrt((vectors * vectors).sum(-1, keepdims=True))
    unit = vectors / np.maximum(lengths, 1e-30)
    return {"vectors": vectors, "similarity": unit @ unit.T}  # (n, C) @ (C, n) -> (n, n)


def draw_positions(layer: Any, n: int = 128, file: FilePath | None = None) -> Any:
    """Heat maps of the first n positions: see `position_pictures`; a PNG if `file` is given.

    Returns `file`, or matplotlib's figure if it is None.
    """
    from matplotlib.figure import Figure

    pictures = position_pictures(layer, n)
    figure = Figure(figsize=(5.0 * len(pictures), 4.2))
    axes = np.atleast_1d(figure.subplots(1, len(pictures)))
    for place, (title, picture) in zip(axes, pictures.items(), strict=True):
        drawn = place.imshow(picture, aspect="auto", cmap="RdBu" if title == "vectors" else None)
        place.set_title(title)
        place.set_xlabel("channel" if title == "vectors" else "position of the key")
        place.set_ylabel("position")
        figure.colorbar(drawn, ax=place)
    figure.tight_layout()
    if file is None:
        return figure
    figure.savefig(local_path(file), dpi=120)
    return file
