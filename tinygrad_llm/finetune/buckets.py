"""Texts padded to a few lengths, so that a captured training step meets few shapes.

A CUDA graph serves one shape of its inputs. Texts of every length would need a graph each, so a
batch is padded to the next of a few lengths. Padding is ignored by loss and attention: losses and
gradients are those of the batch as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bucket_lengths", "padded_length"]


def bucket_lengths(lengths: Sequence[int], count: int, longest: int | None = None) -> list[int]:
    """At most `count` lengths, ascending, so that about as many texts fall to each.

    lengths: of the texts, in tokens; longest: texts are cut there. The last one holds every text.
    Raises: ValueError for no texts, or a count below 1.
    """
    if count < 1 or not lengths:
        raise ValueError(f"expected texts and at least one length, got {len(lengths)} and {count}")
    ordered = sorted(min(n, longest or n) for n in lengths)
    places = (-(-len(ordered) * (i + 1) // count) - 1 for i in range(count))
    return sorted({ordered[max(0, place)] for place in places})


def padded_length(length: int, buckets: Sequence[int] | None) -> int:
    """The smallest of the ascending buckets that holds the length; the length itself if none."""
    return next((n for n in buckets or () if n >= length), length)
