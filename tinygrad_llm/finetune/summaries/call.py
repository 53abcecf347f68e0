"""A text in, its summary out; a text with holes in, the same text with its holes filled."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...data.spans import spans_of
from ...generation.options import integer
from ...models.encoder_decoder import EncoderDecoder
from ...text import Tokenizer
from ...text.tokenizer import check_text
from ..sequences.data import encoded
from ..sequences.writing import most_tokens, write
from ..task_models import Run, TaskModel, text_first

__all__ = ["Infilled", "infill", "sentinel", "sentinels_of", "summarize"]


@text_first
def summarize(
    text: str, run: Run, *, max_new_tokens: int | None = None, max_source: int | None = None,
    **options: Any,
) -> str:  # fmt: skip
    """The summary of a text by a model that finetune summarize trained, or by a published T5.

    run: its folder, read at every call, or a TaskModel; (model, tokenizer, text) work too
    max_new_tokens: the most tokens of a summary; max_source: of the text, which is cut there. None
        for what the run was trained with, or the model's context
    options: of generation.generate: num_beams=4, length_penalty=1.0, or temperature, top_k, top_p
        and seed
    T5's published weights expect "summarize: " before the text.
    Raises: TypeError for something else than a text, or another kind of model; ValueError for a
    text without tokens, a run of another task, a tokenizer without an end, or bad options.
    """
    check_text(text)
    loaded = TaskModel.load(run)
    loaded.need("summarize", EncoderDecoder, "summarize")
    model, tokenizer = loaded.model, loaded.tokenizer
    of_run = [loaded.settings.get(name) for name in ("max_source", "max_target")]
    max_source = of_run[0] if max_source is None else max_source
    max_new_tokens = of_run[1] if max_new_tokens is None else max_new_tokens
    most_tokens(model, max_new_tokens)
    end = _end_of(tokenizer)
    limit = model.context_length
    if max_source is not None:
        limit = min(limit, integer("max_source", max_source, 2))  # a token and the end
    ids = encoded("", text, tokenizer, end)
    if len(ids) > limit:
        ids = [*ids[: limit - 1], end]
    return tokenizer.decode(_written(model, ids, end, max_new_tokens, options))


class Infilled(NamedTuple):
    """text: with its holes filled; spans: what was written into each hole, "" for nothing."""

    text: str
    spans: list[str]


@text_first
def infill(
    text: str, run: Run, *, max_new_tokens: int | None = None, **options: Any
) -> Infilled:  # fmt: skip
    """Fills the holes of a text, spelled <extra_id_0>, <extra_id_1> and so on, in this order.

    run: of a model that was trained with span corruption: a published T5, or a run of finetune
        summarize with spans; the arguments are those of summarize
    Raises: ValueError for a text without holes, holes in another order, a tokenizer without these
    tokens, or a run of another task; TypeError as summarize.
    """
    check_text(text)
    loaded = TaskModel.load(run)
    loaded.need("infill", EncoderDecoder, "summarize")
    model, tokenizer = loaded.model, loaded.tokenizer
    end, known = _end_of(tokenizer), sentinels_of(tokenizer)
    if not known:
        raise ValueError(
            f"the tokenizer ({tokenizer.name}) has no {sentinel(0)}: take one of T5, or of a run "
            "of finetune summarize with spans"
        )
    spelled = [sentinel(i) for i in range(len(known))]
    ids = list(tokenizer.encode(text, allowed_special=spelled, disallowed_special=()))
    ids = ids if ids and ids[-1] == end else [*ids, end]
    holes = [token for token in ids if token in set(known)]
    if not holes or holes != known[: len(holes)]:
        raise ValueError(
            f"a text needs holes {sentinel(0)}, {sentinel(1)}, ... in this order, got {text!r}"
        )
    if len(ids) > model.context_length:
        raise ValueError(f"the text has {len(ids)} tokens, the model reads {model.context_length}")
    spans = spans_of(_written(model, ids, end, max_new_tokens, options), known)
    filled: list[int] = []
    for token in ids[:-1]:
        filled.extend(spans.get(token, []) if token in holes else [token])
    return Infilled(
        tokenizer.decode(filled), [tokenizer.decode(spans.get(hole, [])) for hole in holes]
    )


def _written(
    model: EncoderDecoder, ids: list[int], end: int, tokens: int | None, options: dict[str, Any]
) -> list[int]:
    return write(model, [ids], most_tokens(model, tokens), end=end, **options)[0]


def sentinel(i: int) -> str:
    """How the token of hole i is spelled."""
    return f"<extra_id_{i}>"


def sentinels_of(tokenizer: Tokenizer) -> list[int]:
    """The ids of <extra_id_0>, <extra_id_1>, ..., as far as the tokenizer has them."""
    special = tokenizer.special_tokens
    ids: list[int] = []
    while sentinel(len(ids)) in special:
        ids.append(special[sentinel(len(ids))])
    return ids


def _end_of(tokenizer: Tokenizer) -> int:
    if tokenizer.eot_token is None:
        raise ValueError(f"the tokenizer ({tokenizer.name}) has no token that ends texts")
    return tokenizer.eot_token
