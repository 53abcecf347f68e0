"""Instruction tuning: the responses of a tuned model, extracted from the text that it writes.

instruction_trainer(model, train_set, validation_set, epochs=2).run()
respond(model, tokenizer, {"instruction": "Name a fruit."})         # "An apple."
entries = respond_to_all(model, tokenizer, test_entries)            # each with "model_response"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..generation import generate
from ..models.base import context_length_of
from .prompts import PromptStyle, style_of

__all__ = ["extract_response", "respond", "respond_to_all", "word_overlap"]


def extract_response(text: str, prompt: str, style: str | PromptStyle = "alpaca") -> str:
    """The response alone: what follows the prompt, without the words that announce it.

    text: prompt and everything that the model wrote after it; prompt: style.prompt(entry), with or
    without the announcing words. If the model writes another instruction, the response
    ends there.
    Raises: ValueError if the text does not begin with the prompt.
    """
    style = style_of(style)
    if not text.startswith(prompt):
        raise ValueError(f"the text does not begin with the prompt: {text[:60]!r}")
    response = text[len(prompt) :].lstrip()
    announced = style.response.strip()
    if response.startswith(announced):
        response = response[len(announced) :]
    next_instruction = style.instruction.strip().splitlines()[-1:]  # "### Instruction:"
    for stop in (*next_instruction, announced):
        response = response.partition(stop)[0] if stop else response
    return response.strip()


def respond(
    model: Any, tokenizer: Any, entry: Mapping[str, str], style: str | PromptStyle = "alpaca",
    max_new_tokens: int = 100, *, stop_token: int | None = None, **sampling: Any,
) -> str:  # fmt: skip
    """The model's response to one entry ("instruction", perhaps "input").

    The words that announce a response are part of the prompt here, so that an untuned model can be
    compared. stop_token: ends the response; None for the tokenizer's <|endoftext|>. sampling:
    keywords of generation.generate, such as temperature, top_k, top_p and seed; greedy by default.
    Raises: ValueError if the prompt fills the whole context.
    """
    style = style_of(style)
    prompt = style.prompt(entry) + style.answer("")
    ids = style.prompt_ids(tokenizer, entry)
    context = context_length_of(model)
    if context is not None and len(ids) >= context:
        raise ValueError(
            f"the prompt has {len(ids)} tokens and leaves no room in the context of {context}: "
            f"{entry['instruction'][:60]!r}"
        )
    stop = getattr(tokenizer, "eot_token", None) if stop_token is None else stop_token
    out = generate(model, ids, max_new_tokens, stop_tokens=stop, **sampling)
    return extract_response(prompt + tokenizer.decode(out[len(ids) :].tolist()), prompt, style)


def respond_to_all(
    model: Any, tokenizer: Any, entries: Sequence[Mapping[str, str]],
    style: str | PromptStyle = "alpaca", key: str = "model_response",
    progress: Callable[[int, int], None] | None = None, **options: Any,
) -> list[dict[str, str]]:  # fmt: skip
    """Copies of the entries, each with the model's response under `key`.

    progress: called as progress(done, of) after each; options: those of respond
    """
    answered = []
    for i, entry in enumerate(entries, 1):
        answered.append({**entry, key: respond(model, tokenizer, entry, style, **options)})
        if progress is not None:
            progress(i, len(entries))
    return answered


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def word_overlap(response: str, expected: str) -> float:
    """The F1 of the words that two texts share, from 0 (none) to 1 (the same words).

    2·p·r / (p + r), with p the share of the response's words that are expected and r the share of
    the expected words that the response has. It does not know the meaning: a wrong number in the
    right sentence costs little. Source: Rajpurkar et al., 2016 (SQuAD).
    """
    got, want = Counter(_words(response)), Counter(_words(expected))
    shared = sum((got & want).values())
    if not shared:
        return float(not got and not want)
    p, r = shared / sum(got.values()), shared / sum(want.values())
    return 2.0 * p * r / (p + r)
