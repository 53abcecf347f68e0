"""A text in, its translation out."""

from __future__ import annotations

from typing import Any

from ...models.encoder_decoder import EncoderDecoder
from ...text.tokenizer import check_text
from ..sequences.data import encoded
from ..sequences.writing import most_tokens, write
from ..task_models import Run, TaskModel, text_first

__all__ = ["translate"]


@text_first
def translate(
    text: str, run: Run, *, max_new_tokens: int | None = None, **options: Any
) -> str:  # fmt: skip
    """The translation of a text by a model that finetune translate trained.

    run: its folder, read at every call, or a TaskModel. (model, tokenizers, text) work too, where
        the tokenizers are of what the model reads and of what it writes
    max_new_tokens: the most tokens of a translation, None for the model's context
    options: of generation.generate: num_beams=4, length_penalty=1.0, temperature, seed
    Raises: TypeError for something else than a text, or another kind of model; ValueError for a
    text without tokens, one that is longer than the model's context, a run of another task, or bad
    options.
    """
    check_text(text)
    loaded = TaskModel.load(run)
    loaded.need("translate", EncoderDecoder, "translate")
    model, (source, target) = loaded.model, loaded.tokenizers
    n = most_tokens(model, max_new_tokens)
    ends = source.eot_token, target.eot_token
    if ends[0] is None or ends[1] is None:
        raise ValueError("translate needs tokenizers with a token that ends texts")
    ids = encoded("", text, source, ends[0])
    if len(ids) > model.context_length:
        raise ValueError(
            f"the text has {len(ids)} tokens, the model reads at most {model.context_length}: "
            "translate its sentences one by one"
        )
    seed = options.pop("seed", None)
    return target.decode(write(model, [ids], n, end=ends[1], seed=seed, **options)[0])
