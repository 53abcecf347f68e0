"""Training data that a chat model writes: new tasks, pairs of answers, better answers.

    client = ChatClient("http://localhost:11434", "llama3", protocol="ollama", cache="replies")
    rewrite_entries(client, "preferences", entries).entries      # with "chosen" and "rejected"
    new_entries(client, examples, count=100).entries             # tasks and answers

An entry is {"instruction", "input", "output"}, as for finetune instruct. A reply is in the client's
cache before the next request, so a run that a server ends asks for the rest only when it runs
again. A reply that cannot be used leaves its entry out, with the reason; nothing is guessed.

Sources: instructions from examples, Wang et al. (2022), "Self-Instruct"; reflection, Li et al.
(2023), "Reflection-Tuning"; refinement, Madaan et al. (2023), "Self-Refine".
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..client import ChatClient, ChatError, Reply, Usage, estimate_tokens
from ..data.preparation import minhash
from ..evaluation.duplicates import later_duplicates, near_duplicates
from ..evaluation.verdicts import after_thoughts

__all__ = ["KINDS", "Made", "estimate", "new_entries", "rewrite_entries"]

Entry = Mapping[str, str]
Ask = Callable[..., str]
Note = Callable[[int, int], object]

_MANY = 10_000  # more texts are compared by MinHash, whose time grows with their number alone
_SHOWN = 3  # examples in a prompt for a new task
_ATTEMPTS = 3  # at most so many times as many tasks are asked for as are wanted

_PASSIVE = """Write the text between the marks in the passive voice, and change nothing else.
Reply with the new text only.

<text>
{output}
</text>"""
_STYLE = """Here are a task and its answer. Rewrite the answer so that it is slightly more {style}.
Keep what it says, and change as few words as possible. Reply with the new answer only.

<task>
{task}
</task>
<answer>
{output}
</answer>"""
_BETTER_TASK = """A task for a language model stands between the marks. Say in one sentence what is
unclear or too easy about it. Then write a better task, which can be answered without anything else,
in one line that begins with "Instruction:".

<task>
{task}
</task>"""
_REMARKS = """Here are a task and an answer. Say in at most three sentences what is wrong or missing
in the answer. If it is right and complete, reply with OK alone.

<task>
{task}
</task>
<answer>
{output}
</answer>"""
_IMPROVE = """Here are a task, an answer, and remarks on the answer. Write the improved answer.
Reply with it only.

<task>
{task}
</task>
<answer>
{output}
</answer>
<remarks>
{remarks}
</remarks>"""
_NEW_TASK = """Here are tasks for a language model:

{tasks}

Write one new task of another kind, which can be answered in a few sentences without anything else,
in one line that begins with "Instruction:"."""
_INSTRUCTION = re.compile(r"^\W*instruction\W*:[\s*]*(\S.*)$", re.I | re.M)
_QUOTES = {'"': '"', "“": "”", "「": "」", "'": "'", "`": "`"}


class _BadReplyError(ValueError):
    """A reply that cannot be used; the message says why its entry is left out."""


@dataclass(frozen=True)
class Made:
    """entries: what was made; left_out: the number of each entry that was not, and why."""

    entries: list[dict[str, str]]
    left_out: list[tuple[int, str]]


class _Asks(Protocol):
    """What is needed of a client."""

    def ask(self, question: str, *, sample: int = 0) -> Reply: ...


# ------------------------------------------------------------------------------------ the kinds
def _task(entry: Entry) -> str:
    more = entry.get("input", "")
    return entry["instruction"] + (f"\n\n{more}" if more else "")


def _bare(text: str) -> str:
    """A text without blanks and one pair of quotes around it."""
    text = text.strip()
    inner = text[1:-1]
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in inner:
        return inner.strip()
    return text


def _changed(text: str, before: str) -> str:
    """The reply without quotes.

    Raises: _BadReplyError if it says nothing else than before.
    """
    text = _bare(text)
    if text == _bare(before):
        raise _BadReplyError("the reply is the answer itself")
    return text


def _instruction(text: str) -> str:
    """The task in a reply: its last line that begins with "Instruction:", or its only line.

    Raises: _BadReplyError if there is none.
    """
    lines = _INSTRUCTION.findall(text)
    if not lines and "\n" in text:
        raise _BadReplyError('no line of the reply begins with "Instruction:"')
    return _bare(lines[-1] if lines else text)


def _passive(ask: Ask, entry: Entry, draw: random.Random) -> dict[str, str]:
    text = ask(_PASSIVE.format(output=entry["output"]))
    return {**entry, "output_2": _changed(text, entry["output"])}


def _preferences(ask: Ask, entry: Entry, draw: random.Random) -> dict[str, str]:
    style = draw.choice(("polite", "impolite"))
    prompt = _STYLE.format(style=style, task=_task(entry), output=entry["output"])
    text = _changed(ask(prompt), entry["output"])
    better, worse = (text, entry["output"]) if style == "polite" else (entry["output"], text)
    return {**entry, "chosen": better, "rejected": worse}


def _reflect(ask: Ask, entry: Entry, draw: random.Random) -> dict[str, str]:
    task = _instruction(ask(_BETTER_TASK.format(task=_task(entry))))
    return {"instruction": task, "input": "", "output": ask(task)}


def _refine(ask: Ask, entry: Entry, draw: random.Random) -> dict[str, str]:
    parts = {"task": _task(entry), "output": entry["output"]}
    remarks = ask(_REMARKS.format(**parts))
    if re.fullmatch(r"\W*ok(ay)?\W*", remarks, re.I):
        return dict(entry)
    text = _changed(ask(_IMPROVE.format(**parts, remarks=remarks)), entry["output"])
    return {**entry, "output": text, "output_before": entry["output"]}


class Kind(NamedTuple):
    """What is made of an entry, in words and in code; temperature: of the replies."""

    description: str
    make: Callable[[Ask, Entry, random.Random], dict[str, str]]
    temperature: float = 0.0


KINDS = {
    "preferences": Kind("a more and a less polite answer: chosen and rejected", _preferences, 0.7),
    "passive": Kind("the answer in the passive voice: output_2", _passive),
    "reflect": Kind("a better task, and its answer", _reflect, 0.7),
    "refine": Kind("remarks on the answer, then an improved one", _refine),
}


# ------------------------------------------------------------------------------------ the runs
def rewrite_entries(
    client: ChatClient | _Asks, kind: str, entries: Sequence[Entry], *, seed: int = 0,
    threshold: float | None = 0.9, note: Note | None = None,
) -> Made:  # fmt: skip
    """What `kind` makes of each entry.

    kind: one of KINDS; seed: of what is drawn, such as the style of a preference
    threshold: entries as near to an earlier one are not asked about (see near_duplicates, or that
    of data.preparation.minhash for more than 10,000 entries); None keeps all
    note: is called with (entries done, all entries)
    Raises: ValueError for another kind; ChatError with the entry's number if the server does not
    answer: what was answered stays in the client's cache.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}: give one of {', '.join(KINDS)}")
    texts = [f"{_task(entry)}\n{entry['output']}" for entry in entries]
    search = near_duplicates if len(texts) <= _MANY else minhash.near_duplicates
    pairs = [] if threshold is None else search(texts, threshold)
    twins = later_duplicates(pairs)
    made: list[dict[str, str]] = []
    left_out: list[tuple[int, str]] = []
    for i, entry in enumerate(entries):
        if i in twins:
            left_out.append((i, f"a near-duplicate of entry {twins[i]}"))
        else:
            try:
                draw = random.Random(seed * 1_000_003 + i)
                made.append(KINDS[kind].make(_asking(client), entry, draw))
            except _BadReplyError as error:
                left_out.append((i, str(error)))
            except ChatError as error:
                raise ChatError(f"entry {i + 1} of {len(entries)}: {error}") from None
        if note is not None:
            note(i + 1, len(entries))
    return Made(made, left_out)


def new_entries(
    client: ChatClient | _Asks, examples: Sequence[Entry], count: int, *, seed: int = 0,
    threshold: float | None = 0.9, note: Note | None = None,
) -> Made:  # fmt: skip
    """`count` new tasks with answers, or fewer if most replies cannot be used.

    examples: of which a few stand in each prompt, and new tasks too as soon as there are some
    threshold: a task as near to an example or an earlier task is left out, before it is answered
    The numbers of `left_out` are those of the attempts.
    Raises: ValueError without examples; ChatError as rewrite_entries.
    """
    tasks = [entry["instruction"] for entry in examples]
    if not tasks:
        raise ValueError("new tasks are written after examples, and there are none")
    made: list[dict[str, str]] = []
    left_out: list[tuple[int, str]] = []
    draw, ask = random.Random(seed), _asking(client)
    for attempt in range(_ATTEMPTS * count):
        if len(made) == count:
            break
        shown = draw.sample(tasks, min(_SHOWN, len(tasks)))
        prompt = _NEW_TASK.format(tasks="\n".join(f"- {' '.join(task.split())}" for task in shown))
        try:
            task = _instruction(ask(prompt, sample=attempt))
            if threshold is not None and near_duplicates(
                [*tasks, task], threshold, first_new=len(tasks)
            ):
                raise _BadReplyError(f"a near-duplicate: {task}")
            made.append({"instruction": task, "input": "", "output": ask(task)})
            tasks.append(task)
        except _BadReplyError as error:
            left_out.append((attempt, str(error)))
        except ChatError as error:
            raise ChatError(f"task {len(made) + 1} of {count}: {error}") from None
        if note is not None:
            note(len(made), count)
    return Made(made, left_out)


def _asking(client: Any) -> Ask:
    def ask(prompt: str, sample: int = 0) -> str:
        reply = client.ask(prompt, sample=sample)
        if reply.finish == "length":
            raise _BadReplyError("the reply was cut at its limit of tokens")
        text = (after_thoughts(reply.text) or "").strip()
        if not text:
            raise _BadReplyError("the reply is empty")
        return text

    return ask


class _Counting:
    """In place of a client: counts what would be asked, and knows the answers of its cache."""

    def __init__(self, client: ChatClient, written: int) -> None:
        self.client, self.written = client, written
        self.usage = Usage(client.usage.price)

    def ask(self, question: str, *, sample: int = 0) -> Reply:
        stored = self.client.stored(question, sample=sample)
        if stored is not None:
            self.usage.cached += 1
            return stored
        self.usage.add(estimate_tokens(question), self.written, estimated=True)
        draw = random.Random(self.usage.requests)  # no two of these are near-duplicates
        text = "".join(chr(0x4E00 + draw.randrange(20_000)) for _ in range(self.written))
        return Reply(f"Instruction: {text}")


def estimate(
    client: ChatClient, kind: str, entries: Sequence[Entry], written: int, *, count: int = 0,
    seed: int = 0, threshold: float | None = 0.9,
) -> Usage:  # fmt: skip
    """What a run would cost, without asking; tokens are estimates.

    kind: one of KINDS, or "instructions" for `count` new entries; written: tokens of a reply
    """
    counting = _Counting(client, written)
    if kind == "instructions":
        new_entries(counting, entries, count, seed=seed, threshold=threshold)
    else:
        rewrite_entries(counting, kind, entries, seed=seed, threshold=threshold)
    return counting.usage
