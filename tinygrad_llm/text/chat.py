"""Chat templates: a conversation as the text that a model was trained on.

A template is a small program in Jinja, from a model's files, which are not trusted: it runs in
Jinja's sandbox, with limits on its steps, its time and what it writes (chat_sandbox.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..files.packages import importing, install_extra
from ..files.untrusted import check_nesting, describe
from .stages.added import MARK, Finder
from .stages.part import TemplateError

__all__ = ["TemplateError", "render_chat"]


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
    special_tokens: Collection[str],
) -> str:
    """What the template writes for these messages.

    variables: what it knows besides: add_generation_prompt, bos_token, tools, ...
    special_tokens: where a message spells one, MARK stands after its first character, so that it
        is not taken for one that the template writes
    Raises: MissingPackage without jinja2; TypeError for messages that are not a list of dicts;
    TemplateError.
    """
    with importing("chat templates need jinja2", f"{install_extra('chat')} (or jinja2 alone)"):
        import jinja2  # noqa: F401
    from .chat_sandbox import run_template

    listed = isinstance(messages, Sequence) and not isinstance(messages, str | bytes)
    if not (listed and all(isinstance(message, Mapping) for message in messages)):
        raise TypeError(
            "messages must be a list of dicts, such as [{'role': 'user', 'content': 'Hello'}], got "
            f"{describe(messages)}"
        )
    finder = Finder([t for t in special_tokens if len(t) > 1])
    values: dict[str, Any] = {
        name: value for name, value in variables.items() if isinstance(value, str | bool)
    }
    data = {name: value for name, value in variables.items() if name not in values}
    for what in (messages, data):
        check_nesting(what, 64)
    values.update(_plain(data, finder))
    values["messages"] = [_plain(message, finder) for message in messages]
    return run_template(template, values)


def _plain(value: Any, finder: Finder) -> Any:
    """The value in plain types, with special tokens marked in its texts.

    Raises: TypeError if it holds anything but texts, numbers, lists and dicts.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _marked(str(value), finder)
    if isinstance(value, Mapping):
        return {str(k): _plain(v, finder) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, finder) for v in value]
    raise TypeError(f"a chat template can use texts, numbers, lists and dicts, got {type(value)}")


def _marked(text: str, finder: Finder) -> str:
    if MARK in text:
        raise ValueError("a message has the character U+FDD0, which Unicode keeps out of texts")
    marked = []
    done = 0
    for start, _ in finder.find(text):
        marked += [text[done : start + 1], MARK]
        done = start + 1
    return "".join([*marked, text[done:]])
