"""Fill-mask: the tokens that a masked language model would put in the place of [MASK].

for fill in fill_mask(model, tokenizer, "The [MASK] sat on the mat.")[0]:
    print(f"{fill.probability:.1%}  {fill.text}")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.devices import to_numpy
from ..functions.creation.from_data import tensor
from ..models.base import device_of, undisturbed
from ..models.encoder import MaskedEncoder
from ..nn import functional as F
from ..text.tokenizer import check_fits, check_text
from .options import integer

__all__ = ["Fill", "fill_mask"]


@dataclass(frozen=True)
class Fill:
    """A token for one mask.

    token: its text; token_id; probability: of the model, given the text with all its masks; text:
    the whole text with this token there, other masks as they were
    """

    token: str
    token_id: int
    probability: float
    text: str


def fill_mask(model: Any, tokenizer: Any, text: str, top_k: int = 5) -> list[list[Fill]]:
    """For each mask of a text, in order, the `top_k` likeliest tokens, the likeliest first.

    model: a masked language model, such as BertForMaskedLM; tokenizer: one that has [MASK] or
    <mask>, which the text spells
    Several masks are filled each by itself: the model does not know what the others become.
    Raises: TypeError for another model or something else than a text; ValueError for a text without
    a mask, a tokenizer without one, or a text that is longer than the model's context.
    """
    if not isinstance(model, MaskedEncoder):
        raise TypeError(
            f"fill_mask needs a masked language model, such as BertForMaskedLM, got "
            f"{type(model).__name__}"
        )
    check_text(text)
    check_fits(tokenizer, model.config.vocab_size)
    mask_id, top_k = tokenizer.mask_token, integer("top_k", top_k, 1)
    if mask_id is None:
        raise ValueError(f"the tokenizer ({tokenizer.name}) has no [MASK] or <mask>")
    spelling = next(s for s, i in tokenizer.special_tokens.items() if i == mask_id)
    if spelling not in text:
        raise ValueError(f"the text has no {spelling}: write it where a token is to be guessed")
    if not 1 <= top_k <= tokenizer.vocab_size:
        raise ValueError(f"top_k must be from 1 to {tokenizer.vocab_size}, got {top_k}")
    parts = text.split(spelling)
    if _takes_space(tokenizer):  # a space belongs to the word after it
        parts[:-1] = [part.rstrip(" ") for part in parts[:-1]]
    ids = tokenizer.encode(
        spelling.join(parts), allowed_special={spelling}, disallowed_special=()
    )  # fmt: skip
    with undisturbed(model):
        logits = model(tensor([ids], device=device_of(model)))  # (1, T) -> (1, T, V)
        shares = to_numpy(F.softmax(logits.float(), dim=-1).array)[0]  # (T, V)
    places = [place for place, token_id in enumerate(ids) if token_id == mask_id]
    return [
        _best(tokenizer, shares[place], number, top_k, (text.split(spelling), spelling))
        for number, place in enumerate(places)
    ]


def _takes_space(tokenizer: Any) -> bool:
    """Whether some token is a word with the space before it."""
    tokens = map(tokenizer.token_bytes, range(tokenizer.vocab_size))
    return any(len(token) > 1 and token.startswith(b" ") for token in tokens)


def _best(
    tokenizer: Any, shares: np.ndarray, number: int, top_k: int, cut: tuple[list[str], str]
) -> list[Fill]:
    """The likeliest tokens for the mask of this number; shares (V); cut: the parts around masks."""
    parts, spelling = cut
    fills = []
    for token_id in map(int, np.argsort(-shares, kind="stable")[:top_k]):
        token = _word(tokenizer, token_id)
        before = spelling.join(parts[: number + 1])
        after = spelling.join(parts[number + 1 :])
        joined = before + (token.lstrip(" ") if before.endswith(" ") else token) + after
        fills.append(Fill(token, token_id, float(shares[token_id]), joined))
    return fills


def _word(tokenizer: Any, token_id: int) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", errors="replace")
