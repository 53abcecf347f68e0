"""The rows of a drawing: what a box holds, ordered so that every edge leads downwards."""

from __future__ import annotations

from typing import Any

__all__ = ["rows"]


def rows(items: list[Any], edges: list[Any]) -> list[list[Any]]:
    """Nodes and boxes in rows: each below everything it is made from, leaves just above their use.

    Creation order is a topological order, and the ops of a box, which is one call, are neighbours
    in that order. So one pass finds the longest path to each item, which is the number of its row.
    """
    item_of = {id(node): item for item in items for node in _nodes(item)}
    above: dict[int, set[int]] = {id(item): set() for item in items}
    below: dict[int, set[int]] = {id(item): set() for item in items}
    for e in edges:
        a, b = item_of.get(id(e.source)), item_of.get(id(e.target))
        if a is not None and b is not None and a is not b:
            above[id(b)].add(id(a))
            below[id(a)].add(id(b))
    made = {id(item): _made(item) for item in items}
    rank: dict[int, int] = {}
    for item in sorted(items, key=lambda item: made[id(item)]):
        rank[id(item)] = max((rank[i] + 1 for i in above[id(item)]), default=0)
    for item in items:
        if not made[id(item)] and below[id(item)]:  # a leaf
            rank[id(item)] = max(0, min(rank[i] for i in below[id(item)]) - 1)
            made[id(item)] = min(made[i] for i in below[id(item)])  # it stands near its first use
    placed: list[list[Any]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for item in sorted(items, key=lambda item: made[id(item)]):
        placed[rank[id(item)]].append(item)
    for sweep in range(4):
        _uncross(placed, above if sweep % 2 == 0 else below, reverse=bool(sweep % 2))
    return [row for row in placed if row]


def _nodes(item: Any) -> list[Any]:
    return item.nodes() if hasattr(item, "nodes") else [item]


def _made(item: Any) -> int:
    """When the first op of an item ran; 0 for a leaf."""
    return min((node.order for node in _nodes(item) if node.order), default=0)


def _uncross(placed: list[list[Any]], joined: dict[int, set[int]], reverse: bool) -> None:
    """Order each row by the mean place of the items that its items are joined to, so that fewer
    edges cross."""
    place: dict[int, float] = {}
    for row in reversed(placed) if reverse else placed:
        keyed = []
        for i, item in enumerate(row):
            at = [place[j] for j in joined[id(item)] if j in place]
            keyed.append((sum(at) / len(at) if at else (i + 0.5) / len(row), i, item))
        row[:] = [item for _, _, item in sorted(keyed, key=lambda k: k[:2])]
        for i, item in enumerate(row):
            place[id(item)] = (i + 0.5) / len(row)
