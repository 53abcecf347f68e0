"""Lines of equal height over a grid of numbers: the contours of a loss surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["contours"]

Segment = tuple[float, float, float, float]  # from (x, y) to (x, y)


def contours(xs: Sequence[float], ys: Sequence[float], heights: Any, level: float) -> list[Segment]:
    """The pieces of the line at a level: in each cell of the grid a straight one, or two.

    xs (X) and ys (Y): where the columns and the rows of heights (Y, X) are. On the edge of a cell
    the line is where a straight line between the edge's two heights reaches the level.
    """
    pieces: list[Segment] = []
    for i in range(len(ys) - 1):
        for j in range(len(xs) - 1):
            corners = [
                (xs[j + b], ys[i + a], float(heights[i + a][j + b]))
                for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))
            ]
            crossed = [
                _crossing(corner, corners[(k + 1) % 4], level)
                for k, corner in enumerate(corners)
                if (corner[2] < level) != (corners[(k + 1) % 4][2] < level)
            ]
            for k in range(0, len(crossed), 2):
                pieces.append((*crossed[k], *crossed[k + 1]))
    return pieces


def _crossing(
    a: tuple[float, float, float], b: tuple[float, float, float], level: float
) -> tuple[float, float]:
    """Where the edge from a to b, each (x, y, height), reaches the level."""
    share = (level - a[2]) / (b[2] - a[2])
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
