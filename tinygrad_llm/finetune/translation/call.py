"""A text in, its translation out."""

from __future__ import annotations

from typing import Any

from ...models.encoder_decoder import EncoderDecoder
from ...text import Tokenizer
from ..sequences.data import encoded
from ..sequences.writing import most_tokens, write

__all__ = ["translate"]


def translate(
    model: EncoderDecoder, tokenizers: tuple[Tokenizer, Tokenizer], text: str, *,
    max_new_tokens: int | None = None, **options: Any,
) -> str:  # fmt: skip
    """The translation of a text by a model that finetune translate trained.

    tokenizers: of what the model reads and of what it writes; one may be both
    max_new_tokens: the most tokens of a translation, None for the model's context
    options: of generation.generate: num_beams=4, length_penalty=1.0, temperature, seed
    Raises: ValueError for a text without tokens, one that is longer than the model's context, or
    bad options.
    """
    n = most_tokens(model, max_new_tokens)
    source, target = tokenizers
    ends = [tokenizer.eot_token for tokenizer in tokenizers]
    if ends[0] is None or ends[1] is None:
        raise ValueError("translate needs tokenizers with a token that ends texts")
    ids = encoded("the text", text, source, ends[0])
    if len(ids) > model.context_length:
        raise ValueError(
            f"the text has {len(ids)} tokens, the model reads at most {model.context_length}: "
            "translate its sentences one by one"
        )
    seed = options.pop("seed", None)
    return target.decode(write(model, [ids], n, end=ends[1], seed=seed, **options)[0])
