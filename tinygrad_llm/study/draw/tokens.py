"""A text as its tokens, coloured, each with its id: in a notebook and as a page.

study.draw_tokens(tokenizer, "The cat sleeps")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...text import Tokenizer
from ..common.html import FilePath, asset, escape, written
from ..common.html import page as whole

__all__ = ["Tokens", "draw_tokens"]

COLORS = 6  # neighbours always differ, and a color says nothing else
SIGNS = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}  # what would be invisible


class Tokens:
    """What `study.draw_tokens` returns: `ids`, and `pieces`, the text of each token.

    A token that ends in the middle of a character has its bytes as a piece, such as "⟨e3 81⟩".
    """

    def __init__(self, ids: Sequence[int], pieces: Sequence[str]) -> None:
        self.ids, self.pieces = list(ids), list(pieces)

    def _repr_html_(self) -> str:
        """The tokens below the cell of a notebook."""
        spans = []
        for i, (number, piece) in enumerate(zip(self.ids, self.pieces, strict=True)):
            shown = "".join(SIGNS.get(c, c) for c in piece)
            spans.append(
                f'<span class="token c{i % COLORS}" title="token {i}: id {number}">'
                f'{escape(shown)}<span class="id">{number}</span></span>'
            )
            if "\n" in piece:
                spans.append("<br>")
        count = f"{len(self.ids):,} token{'s' * (len(self.ids) != 1)}"
        style = asset("tokens.css")
        shown = f'<div class="tokens">{"".join(spans)}</div><p>{count}; · is a space</p>'
        return f"<style>{style}</style>\n{shown}"

    def html(self, file: FilePath | None = None) -> str:
        """The tokens as an HTML page, which is written if `file` is given."""
        body = f"<main>\n<h1>Tokens</h1>\n{self._repr_html_()}\n</main>"
        return written(whole("Tokens", body), file)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        pairs = [f"{piece!r} {number}" for piece, number in zip(self.pieces, self.ids, strict=True)]
        return "Tokens(" + ", ".join(pairs) + ")"


def draw_tokens(
    tokenizer: Tokenizer, text: str | Sequence[int], file: FilePath | None = None
) -> Tokens:  # fmt: skip
    """The tokens of a text, or those with these ids.

    tokenizer   any of `tinygrad_llm.text`; special tokens may be spelled in the text
    file        where to write a page

    Raises: ValueError as tokenizer.encode, and for an id that the tokenizer does not have.
    """
    ids = tokenizer.encode(text, allowed_special="all") if isinstance(text, str) else list(text)
    tokens = Tokens(ids, [_piece(tokenizer, int(number)) for number in ids])
    if file is not None:
        tokens.html(file)
    return tokens


def _piece(tokenizer: Any, number: int) -> str:
    if not 0 <= number < tokenizer.vocab_size:
        raise ValueError(
            f"draw_tokens: the tokenizer has the ids 0 to {tokenizer.vocab_size - 1}, got {number}"
        )
    raw = tokenizer.token_bytes(number)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return f"⟨{raw.hex(' ')}⟩"
