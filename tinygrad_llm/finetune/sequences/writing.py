"""What an encoder-decoder writes for many sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.grad_mode import no_grad
from ...generation import generate
from ...generation.options import integer
from ...models.base import evaluation
from ...models.encoder_decoder import EncoderDecoder
from ...training.step import to_device_of
from .data import padded

__all__ = ["most_tokens", "write"]


def write(
    model: EncoderDecoder, sources: Sequence[Sequence[int]], max_new_tokens: int, *, end: int,
    batch_size: int = 50, seed: int | None = None,
    progress: Callable[[int, int], None] | None = None, **options: Any,
) -> list[list[int]]:  # fmt: skip
    """The ids of the text that the model writes for each source, without the end token.

    sources: ids of texts with their end; those of about the same length go through together, which
        does not change what is written
    end: the id that ends a text; batch_size: how many sources go through the model together
    seed: with a temperature; source i draws with seed + i, independent of what stands beside it
    progress: is called with (sources done, sources)
    options: of generation.generate, such as num_beams=4, length_penalty=1.0 or temperature=0.8
    Raises: ValueError for bad options.
    """
    config: Any = model.config
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    texts: list[list[int]] = [[] for _ in sources]
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        ids, mask = to_device_of(model, padded([sources[i] for i in rows]))  # (B, S) each
        drawn: dict[str, Any] = {} if seed is None else {"seed": tuple(seed + i for i in rows)}
        with no_grad(), evaluation(model):
            written = generate(
                model.given(ids, mask), [[config.start_token_id]] * len(rows), max_new_tokens,
                stop_tokens=[end], **drawn, **options,
            )[:, 1:].tolist()  # (B, 1 + new) -> (B, new)  # fmt: skip
        for i, row in zip(rows, written, strict=True):
            texts[i] = row[: row.index(end)] if end in row else row
        if progress is not None:
            progress(min(begin + batch_size, len(order)), len(order))
    return texts


def most_tokens(model: EncoderDecoder, tokens: int | None) -> int:
    """The length of a text that is written: `tokens`, or less if the model's context is shorter.

    Raises: TypeError if the model is not an EncoderDecoder, or the number is not an
    integer; ValueError if it is negative.
    """
    if not isinstance(model, EncoderDecoder):
        raise TypeError(
            f"model must be an EncoderDecoder, got {type(model).__name__}: "
            "find_checkpoint(run).build_model() loads that of a run"
        )
    most = model.context_length - 1
    return most if tokens is None else min(most, integer("max_new_tokens", tokens, 0))
