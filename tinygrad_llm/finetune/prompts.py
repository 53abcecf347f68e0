"""How an instruction becomes a prompt: the Alpaca style and the Phi-3 style.

An entry is a dict with the texts "instruction", "input" (may be empty or missing) and "output".
The prompt ends before the words that announce the response: a model trained on whole texts writes
those itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["STYLES", "PromptStyle", "style_of"]


@dataclass(frozen=True)
class PromptStyle:
    """The fixed words around an entry's texts.

    name:        for `style=`
    instruction: before the instruction
    input:       before the input, where there is one
    response:    before the response
    """

    name: str
    instruction: str
    input: str
    response: str

    def prompt(self, entry: Mapping[str, str]) -> str:
        """The instruction and the input of an entry, without the words that announce a response."""
        text = entry.get("input") or ""
        return self.instruction + entry["instruction"] + (self.input + text if text else "")

    def answer(self, text: str) -> str:
        """What follows the prompt: the announcing words and the response."""
        return self.response + text


STYLES = {
    style.name: style
    for style in (
        PromptStyle(
            name="alpaca",
            instruction=(
                "Below is an instruction that describes a task. "
                "Write a response that appropriately completes the request."
                "\n\n### Instruction:\n"
            ),
            input="\n\n### Input:\n",
            response="\n\n### Response:\n",
        ),
        PromptStyle(
            name="phi3",
            instruction="<|user|>\n",
            input="\n",
            response="\n<|assistant|>\n",
        ),
    )
}


def style_of(style: str | PromptStyle) -> PromptStyle:
    """The style of this name, or the style itself.

    Raises: ValueError for an unknown name.
    """
    if isinstance(style, PromptStyle):
        return style
    if style not in STYLES:
        raise ValueError(f"no prompt style is called {style!r}; there are {', '.join(STYLES)}")
    return STYLES[style]
