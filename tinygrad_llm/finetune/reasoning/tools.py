"""Answers in which a tool is called: what it writes stands in the text and carries no loss.

    answers = draw_with_tool(model, tokenizer, prompts, 64, Calculator(), stop_token=end)

Shapes: N answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...generation import generate
from ...generation.calculator import Calculator

__all__ = ["Drawn", "draw_with_tool"]


@dataclass
class Drawn:
    """A text that grows: prompt and answer, and the spans that the model wrote.

    left: tokens that may follow, the tool's too; finished: whether it has ended by itself; open:
    whether it grows on
    """

    ids: list[int]
    prompt: int
    left: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    finished: bool = False
    open: bool = True

    def write(self, ids: Sequence[int], own: bool) -> None:
        """Appends what the model (own) or the tool wrote, as far as there is room."""
        ids = list(ids)[: self.left]
        start = len(self.ids)
        self.ids += ids
        self.left -= len(ids)
        if own and ids:
            joined = self.spans and self.spans[-1][1] == start
            first = self.spans.pop()[0] if joined else start
            self.spans.append((first, len(self.ids)))
        self.open = self.open and self.left > 0


def draw_with_tool(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int,
    tool: Calculator, *, stop_token: int, seed: int | None = None, **sampling: Any,
) -> list[Drawn]:  # fmt: skip
    """One text for each prompt, all that are not finished in one batch.

    A round ends a row where it asks ("="): the tool writes its result if it was called, and the row
    goes on in the next round. max_new_tokens: of an answer, the tool's tokens included
    """
    rows = [Drawn(list(prompt), len(prompt), max_new_tokens) for prompt in prompts]
    for round in range(max_new_tokens):
        active = [row for row in rows if row.open]
        if not active:
            break
        widest = max(len(row.ids) for row in active)
        most = max(row.left for row in active)
        drawn = dict[str, Any]() if seed is None else {"seed": seed + round}
        out = generate(
            model, [row.ids for row in active], most, stop_tokens=[stop_token],
            stop_strings=[tool.asks], tokenizer=tokenizer, **drawn, **sampling,
        )[:, widest:].tolist()  # (rows, widest + new) -> (rows, new)  # fmt: skip
        for row, new in zip(active, out, strict=True):
            _take(row, new, most, tokenizer, tool, stop_token)
    return rows


def _take(
    row: Drawn, new: list[int], most: int, tokenizer: Any, tool: Calculator, stop_token: int
) -> None:
    """What a round wrote into a row: up to an end token, or to what asks the tool."""
    ended = stop_token in new or len(new) < most  # columns of end tokens alone are left out
    answer = new[: new.index(stop_token)] if stop_token in new else new
    fits = len(answer) <= row.left
    asked = tool.asks in tokenizer.decode(answer)
    row.write(answer, True)
    if not fits or not row.open:
        row.open = False
        return
    if not asked:
        if ended:
            row.write([stop_token], True)
            row.finished = True
        row.open = False
        return
    result = tool.answer(tokenizer.decode(row.ids[row.prompt :]))
    if result is not None:
        row.write(tokenizer.encode_ordinary(result), False)
