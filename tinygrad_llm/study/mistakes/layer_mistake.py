"""A named mistake of a layer, the list of all, and those that every cache shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LAYER_MISTAKES: dict[str, list[LayerMistake]] = {}  # by layer


@dataclass(frozen=True)
class LayerMistake:
    """A wrong layer; `methods` replace those of the slow twin that have their names."""

    layer: str
    name: str
    sentence: str  # what is wrong, for a learner whose layer this is
    methods: dict[str, Callable[..., Any]]

    def planted(self, twin: Any) -> Any:
        """The slow twin, a class, with this mistake in it.

        Raises: ValueError if the twin has no method of such a name.
        """
        missing = set(self.methods) - set(dir(twin))
        if missing:
            raise ValueError(f"{twin.__name__} has no method {', '.join(sorted(missing))}")
        return type(f"Wrong{twin.__name__}", (twin,), dict(self.methods))


def wrong_layer(layer: str, *mistakes: tuple[str, str, dict[str, Callable[..., Any]]]) -> None:
    """Enter a layer's mistakes in LAYER_MISTAKES: (name, sentence, methods)."""
    entered = LAYER_MISTAKES.setdefault(layer, [])
    entered += [LayerMistake(layer, *mistake) for mistake in mistakes]


def twin_of(self: Any) -> Any:
    """The methods of the slow twin in which the mistake is planted."""
    return super(type(self), self)


def _turned_back(self: Any, indices: Any) -> None:
    """The inverse: row indices[i] becomes what row i was."""
    order = [list(indices).index(i) if i in list(indices) else i for i in range(len(indices))]
    twin_of(self).reorder(order)


def _cut(change: Callable[[int], int]) -> Callable[..., None]:
    def truncate(self: Any, length: int) -> None:
        twin_of(self).truncate(change(length))

    return truncate


REORDER = (
    ("rows not moved", "The rows stay where they were: after a step of beam search row i continues "
     "what row indices[i] was.", {"reorder": lambda self, indices: None}),
    ("rows moved the other way", "Row indices[i] becomes what row i was: it is the other way "
     "around, as in x[indices].", {"reorder": _turned_back}),
)  # fmt: skip
TRUNCATE = (
    ("truncate keeps one too many", "truncate(n) keeps n + 1 tokens.",
     {"truncate": _cut(lambda n: n + 1)}),
    ("truncate keeps one too few", "truncate(n) keeps n − 1 tokens.",
     {"truncate": _cut(lambda n: max(n - 1, 0))}),
)  # fmt: skip
