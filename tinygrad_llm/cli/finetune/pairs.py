"""What finetune ask prints for runs on pairs of texts and for sentence embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["KINDS", "answers"]

KINDS = ("nli", "sts", "choice", "embed", "rerank")


def answers(kind: str, checkpoint: Any, texts: Iterable[str], other: str) -> Iterator[str]:
    """A line for each text, beside the other one (choice: answers, a|b|c; rerank: passages).

    Raises: ValueError without the other text, or for a text without tokens.
    """
    from ...finetune.embedding import SentenceEmbedder
    from ...finetune.pairs import PairModel, choose, infer, rank, rate

    if not other.strip():
        what = {"choice": "the answers, as in --input 'apple|horse'",
                "rerank": "the passages, as in --input 'tea steeps|cats sleep'"}.get(
            kind, "the other text"
        )  # fmt: skip
        raise ValueError(f"a run of finetune {kind} needs two texts: --input is {what}")
    model: Any = (SentenceEmbedder if kind == "embed" else PairModel).load(checkpoint)
    for text in texts:
        if kind == "nli":
            label, p = infer(text, other, model)
            yield f"{label}  {p:.1%}"
        elif kind == "sts":
            yield f"{rate(text, other, model):.2f}"
        elif kind == "choice":
            options = [one.strip() for one in other.split("|")]
            best, shares = choose(text, options, model)
            yield f"{options[best]}  {shares[best]:.1%}"
        elif kind == "rerank":
            options = [one.strip() for one in other.split("|")]
            yield "\n".join(
                f"{score:7.3f}  {options[i]}" for i, score in rank(text, options, model)
            )
        else:
            yield f"cosine {model.similarity(text, other):.3f}"
