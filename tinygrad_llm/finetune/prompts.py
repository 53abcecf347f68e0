"""How an instruction becomes a prompt: as Alpaca, Phi-3, a chat template, or plain text.

An entry is a dict with the texts "instruction", "input" (may be empty or missing) and "output".
The prompt ends before the words that announce the response: a model trained on whole texts writes
those itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CHAT", "STYLES", "ChatStyle", "PromptStyle", "default_style", "style_of"]


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

    def prompt_ids(self, tokenizer: Any, entry: Mapping[str, str]) -> list[int]:
        """The ids of a prompt, with the words that announce the response."""
        return list(tokenizer.encode(self.prompt(entry) + self.answer("")))

    def example_ids(
        self, tokenizer: Any, entry: Mapping[str, str], output: str
    ) -> tuple[list[int], list[int]]:
        """(the ids of prompt and response as one text, the ids of the prompt without the words)."""
        prompt = self.prompt(entry)
        ids = list(tokenizer.encode(prompt + self.answer(output)))
        return ids, list(tokenizer.encode(prompt))


class ChatStyle(PromptStyle):
    """The chat template of the model's tokenizer: instruction and input are one user's message.

    A special token that a text spells stays ordinary text.
    """

    def prompt_ids(self, tokenizer: Any, entry: Mapping[str, str]) -> list[int]:
        """The ids of the message, and what begins an answer.

        Raises: ValueError if the tokenizer has no chat template; ImportError without jinja2.
        """
        if not has_chat(tokenizer):
            name = getattr(tokenizer, "name", type(tokenizer).__name__)
            raise ValueError(
                f"the tokenizer {name} has no chat template: take the style alpaca or phi3"
            )
        return list(tokenizer.chat([{"role": "user", "content": self.prompt(entry)}]))

    def example_ids(
        self, tokenizer: Any, entry: Mapping[str, str], output: str
    ) -> tuple[list[int], list[int]]:
        """(the ids of the message and the answer, the ids of the message).

        Raises: as prompt_ids.
        """
        start = self.prompt_ids(tokenizer, entry)
        return start + list(tokenizer.encode_ordinary(output)), start


def has_chat(tokenizer: Any) -> bool:
    """Whether a tokenizer has a chat template."""
    return "chat_template" in getattr(tokenizer, "names", {})


def default_style(tokenizer: Any) -> str:
    """The style of a base: chat if its tokenizer has a chat template, otherwise alpaca."""
    return CHAT.name if has_chat(tokenizer) else "alpaca"


CHAT = ChatStyle(name="chat", instruction="", input="\n\n", response="")

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
        CHAT,
        PromptStyle(name="plain", instruction="", input="\n", response=""),
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
