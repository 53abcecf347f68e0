"""Two trees of answers compared: their structure here, their formulas by a judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Judge", "equal_answers"]

Tree = list[Any]
Judge = Callable[[Tree, Tree], bool | None]  # two formulas -> equal, different, or not decided

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def equal_answers(ours: Tree, theirs: Tree, judge: Judge) -> bool | None:
    """Whether two answers are equal; None where the judge could not decide.

    Items of a list and of a set have no order, those in brackets have one, and whether an end of an
    interval belongs to it counts. "x = 5" is equal to "5" and "y = 2x + 3" to "2y - 4x = 6".
    A number in another base needs the same base.
    """
    ours, theirs = _without_name(ours, theirs), _without_name(theirs, ours)
    if ours == theirs:
        return True
    kinds = {ours[0], theirs[0]}
    if kinds & {"list", "set"}:
        return _unordered(_items(ours), _items(theirs), judge)
    if kinds & {"text", "base"}:
        return _letters(ours) == _letters(theirs)
    if kinds == {"union"}:
        return _unordered(ours[1:], theirs[1:], judge)
    if kinds == {"tuple"}:
        return ours[1:3] == theirs[1:3] and _all(ours[3:], theirs[3:], judge)
    if kinds == {"matrix"}:
        if [len(row) for row in ours[1:]] != [len(row) for row in theirs[1:]]:
            return False
        return _all(sum(ours[1:], []), sum(theirs[1:], []), judge)
    if kinds == {"eq"}:
        return _equations(ours, theirs, judge)
    if kinds == {"rel"}:
        if ours[1] == theirs[1]:
            return _all(ours[2:], theirs[2:], judge)
        if ours[1] == _FLIPPED.get(theirs[1]):
            return _all(ours[2:], theirs[:1:-1], judge)
        return False
    if kinds & {"union", "tuple", "matrix", "eq", "rel"}:
        return False
    return judge(ours, theirs)


def _without_name(tree: Tree, other: Tree) -> Tree:
    """Of "x = 5" the 5, where the other answer has no equation."""
    named = tree[0] == "eq" and tree[1][0] == "sym" and other[0] != "eq"
    return tree[2] if named else tree


def _items(tree: Tree) -> list[Tree]:
    """The items of a list or set, or one answer as its only item."""
    return tree[1:] if tree[0] in ("list", "set") else [tree]


def _letters(tree: Tree) -> Tree:
    """A name that looks like a formula, such as the letter C, as text."""
    if tree[0] == "sym" or (tree[0] == "const" and len(tree[1]) == 1):
        return ["text", tree[1].lower()]
    return tree


def _all(ours: list[Tree], theirs: list[Tree], judge: Judge) -> bool | None:
    if len(ours) != len(theirs):
        return False
    results = [equal_answers(a, b, judge) for a, b in zip(ours, theirs, strict=True)]
    return False if False in results else None if None in results else True


def _unordered(ours: list[Tree], theirs: list[Tree], judge: Judge) -> bool | None:
    """Whether each of ours has one of theirs that is equal and was not taken yet."""
    if len(ours) != len(theirs) or len(ours) > 20:
        return False if len(ours) != len(theirs) else None
    left, decided = list(theirs), True
    for a in ours:
        results = [equal_answers(a, b, judge) for b in left]
        if True not in results:
            decided = None not in results
            return False if decided else None
        left.pop(results.index(True))
    return True


def _equations(ours: Tree, theirs: Tree, judge: Judge) -> bool | None:
    """Both sides equal, or left − right of one a constant multiple of the other's."""
    same = _all(ours[1:], theirs[1:], judge)
    if same:
        return True
    a, b = (["add", t[1], ["neg", t[2]]] for t in (ours, theirs))
    return judge(["ratio", a, b], ["ratio", a, b])
