"""The contrastive loss as a picture: which text each text is most similar to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...files.paths import local_path
from ...functions.softmax import softmax
from ...layers.contrastive import similarities
from ...tensor import Tensor, wrap
from ..common.html import FilePath

__all__ = ["draw_similarities", "similarity_pictures"]


def similarity_pictures(
    anchors: Any, candidates: Any, temperature: float = 0.05
) -> dict[str, np.ndarray]:  # fmt: skip
    """The pictures of `draw_similarities` as arrays, by title.

    anchors (B, C), candidates (N, C): tensors or arrays; row i of both is a pair, the candidates
    after row B are hard negatives. The cosines (B, N), and the softmax of cosines / temperature,
    whose diagonal is what the contrastive loss makes large.
    Raises: ValueError if there are fewer candidates than anchors.
    """
    a, c = (x if isinstance(x, Tensor) else wrap(np.asarray(x)) for x in (anchors, candidates))
    if a.dim() != 2 or c.dim() != 2 or len(c) < len(a):
        raise ValueError(
            f"draw_similarities: anchors (B, C) and at least as many candidates (N, C) were "
            f"expected, got {tuple(a.shape)} and {tuple(c.shape)}"
        )
    with no_grad():
        cosines = similarities(a, c)  # (B, N)
        shares = softmax(cosines / temperature, dim=1)  # (B, N)
    return {"cosine": cosines.numpy(), "share of each candidate": shares.numpy()}


def draw_similarities(
    anchors: Any, candidates: Any, texts: Sequence[str] | None = None, *,
    temperature: float = 0.05, file: FilePath | None = None,
) -> Any:  # fmt: skip
    """Heat maps of anchors and candidates, partners framed; a PNG if `file` is given.

    anchors, candidates, temperature: see similarity_pictures; texts: names of the anchors, shown at
    the left. Returns `file`, or matplotlib's figure if it is None.
    Raises: ValueError as similarity_pictures.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    pictures = similarity_pictures(anchors, candidates, temperature)
    figure = Figure(figsize=(10.0, 4.4))
    for place, (title, picture) in zip(
        np.atleast_1d(figure.subplots(1, 2)), pictures.items(), strict=True
    ):
        low = -1.0 if title == "cosine" else 0.0
        drawn = place.imshow(picture, vmin=low, vmax=1.0, cmap="RdBu_r" if low else "Blues")
        for i in range(len(picture)):
            place.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="black"))
        place.set_title(title)
        place.set_xlabel("candidate")
        place.set_ylabel("anchor")
        if texts is not None:
            labels = [t if len(t) <= 24 else f"{t[:22]} ..." for t in texts[: len(picture)]]
            place.set_yticks(range(len(picture)), labels)
        figure.colorbar(drawn, ax=place, fraction=0.046)
    figure.tight_layout()
    if file is None:
        return figure
    figure.savefig(local_path(file), dpi=120)
    return file
