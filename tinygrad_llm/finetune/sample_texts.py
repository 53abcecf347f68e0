"""A small data set of our own making for each command of finetune, for a machine without a network.

Nothing is stored: the texts are made of the words below, drawn with a fixed seed, so that every
machine makes the same ones. They are simple on purpose. What a model learns from them shows that
the training works, and no more; results in README.md are those of the published data sets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = [
    "SAMPLE",
    "instructions",
    "labelled_texts",
    "preferences",
    "questions",
    "sentence_pairs",
]

SAMPLE = "sample"  # the name of all on the command line
T = TypeVar("T")
Draw = Callable[[Sequence[T]], T]

_PEOPLE = "Ana Ben Carla David Emi Farid Grete Hugo Ines Jonas Kofi Lena Mei Nils Olga".split()
_PLACES = "the station|the library|the market|school|the office|the park|the cinema|the pool"
_TIMES = "at six|at noon|after work|tomorrow|on Friday|tonight|in an hour|next week|at two"
_THINGS = "the keys|your umbrella|some bread|the tickets|my charger|the blue folder|milk|the notes"
_PRIZES = "a phone|a holiday|1000 in cash|a new car|a gift card|a tablet|free tickets|a watch"
_EVERYDAY = (
    "Are you still coming to {place} {time}?",
    "I am at {place} and {person} is late again.",
    "Could you bring {thing} {time} please?",
    "{person} says hello and asks whether you have {thing}.",
    "Sorry, I cannot make it to {place} {time}.",
    "Did you find {thing}? I think {person} had it at {place}.",
    "Thanks for yesterday! See you {time}.",
    "The bus is slow, wait for me at {place}.",
    "Happy birthday {person}! Shall we meet at {place} {time}?",
    "I left {thing} at {place}, can {person} look for it?",
)
_ADVERTISING = (
    "WINNER! You have won {prize}. Call {number} now to claim it.",
    "Congratulations {person}, your number was drawn for {prize}! Reply YES to {number}.",
    "Last chance: {prize} for you, free. Text WIN to {number}. Terms apply.",
    "Cheap loans, no questions asked. Call {number} {time}.",
    "URGENT! We tried to reach you about {prize}. Ring {number} before it expires.",
    "Free ringtones every week! Send TONE to {number}, 1.50 per message.",
    "You are chosen to receive {prize}. To collect, call {number} from a landline.",
    "50% off everything, only {time}! Order by text: {number}.",
)
_KINDS = {
    "a colour": "red blue green yellow purple".split(),
    "a fruit": "apple pear banana cherry mango".split(),
    "an animal": "horse cat whale sparrow beetle".split(),
    "a country": "Japan Kenya Chile Norway India".split(),
    "a tool": "hammer saw drill chisel wrench".split(),
    "a cloud": "cumulus cirrus stratus nimbostratus altocumulus".split(),
    "a season": "spring summer autumn winter".split(),
    "a metal": "iron copper gold silver zinc".split(),
}
_OPPOSITES = (
    "hot cold|big small|early late|full empty|light dark|open closed|fast slow|loud quiet|old new|"
    "strong weak|wet dry|high low|near far|rich poor|happy sad|hard soft|thick thin|left right"
)
_PLURALS = (
    "cat cats|box boxes|child children|city cities|leaf leaves|mouse mice|foot feet|bus buses|"
    "tooth teeth|story stories|man men|knife knives|dog dogs|wolf wolves|day days|brush brushes"
)
_PAST = (
    "walk walked|go went|see saw|write wrote|play played|eat ate|find found|take took|open opened|"
    "come came|buy bought|sing sang|read read|help helped|give gave|begin began"
)
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
).split()
_RUDE = ("{}, what else?", "Easy: {}!", "Everybody knows that: {}", "{}, obviously.", "{}")
_UNITS = (("metres", "centimetres", 100), ("hours", "minutes", 60), ("kilograms", "grams", 1000))


def _drawing(seed: int) -> Draw:
    """A function that draws an element; the same in every version of Python."""
    rng = random.Random(seed)
    return lambda values: values[int(rng.random() * len(values))]


def labelled_texts(n: int = 800, seed: int = 1) -> list[tuple[str, str]]:
    """n rows (text, "ham" or "spam"): everyday messages and advertising, as many of each."""
    draw = _drawing(seed)
    rows = []
    for i in range(n):
        label = "spam" if i % 2 else "ham"
        text = draw(_ADVERTISING if i % 2 else _EVERYDAY).format(
            place=draw(_PLACES.split("|")),
            time=draw(_TIMES.split("|")),
            thing=draw(_THINGS.split("|")),
            prize=draw(_PRIZES.split("|")),
            person=draw(_PEOPLE),
            number=f"09{draw(range(10**6)):06d}",
        )
        rows.append((text, label))
    return rows


def _pair(text: str, draw: Draw) -> list[str]:
    return draw(text.split("|")).split()


def _task(draw: Draw) -> tuple[str, str, str, str]:
    """(instruction, input, answer in a sentence, answer in a word) of one task."""
    kind = draw(range(6))
    if kind == 0:
        what = draw(list(_KINDS))
        name = draw(_KINDS[what])
        return f"Name {what}.", "", f"An example of {what} is {name}.", name
    if kind == 1:
        word, other = _pair(_OPPOSITES, draw)
        question = f"What is the opposite of '{word}'?"
        return question, "", f"The opposite of '{word}' is '{other}'.", other
    if kind == 2:
        one, many = _pair(_PLURALS, draw)
        return "Write the plural of the word.", one, f"The plural of '{one}' is '{many}'.", many
    if kind == 3:
        word, past = _pair(_PAST, draw)
        return "Write the past tense of the verb.", word, f"The past of '{word}' is '{past}'.", past
    if kind == 4:
        n = draw(range(len(_NUMBERS)))
        return (
            f"Write the number {n} as a word.",
            "",
            f"The number {n} is {_NUMBERS[n]}.",
            _NUMBERS[n],
        )
    (large, small, factor), n = draw(_UNITS), draw(range(2, 40))
    answer = f"{n} {large} are {n * factor:,} {small}."
    return f"Convert {n} {large} to {small}.", "", answer, f"{n * factor:,}"


def instructions(n: int = 400, seed: int = 2) -> list[dict[str, str]]:
    """n entries with instruction, input and output, as finetune instruct reads them."""
    draw = _drawing(seed)
    tasks = [_task(draw) for _ in range(n)]
    return [{"instruction": q, "input": given, "output": answer} for q, given, answer, _ in tasks]


def preferences(n: int = 400, seed: int = 3) -> list[dict[str, str]]:
    """n entries with instruction, input, chosen and rejected: a whole sentence is preferred."""
    draw = _drawing(seed)
    entries = []
    for _ in range(n):
        question, given, sentence, word = _task(draw)
        rude = draw(
            ("{}, what else?", "Easy: {}!", "Everybody knows that: {}", "{}, obviously.", "{}")
        )
        entries.append({"instruction": question, "input": given, "output": sentence,
                        "chosen": sentence, "rejected": rude.format(word)})  # fmt: skip
    return entries


_SAME = (
    "{person} is at {place}.",
    "At {place} {person} is {time}.",
    "{time} you find {person} at {place}.",
)


def _fact(draw: Draw) -> dict[str, str]:
    return {"person": draw(_PEOPLE), "place": draw(_PLACES.split("|")),
            "time": draw(_TIMES.split("|")), "thing": draw(_THINGS.split("|"))}  # fmt: skip


def sentence_pairs(n: int = 1200, seed: int = 4) -> list[tuple[str, str, str, float]]:
    """n pairs (first sentence, second, label, score) about who is where, when and with what.

    label: "entailment" if the second follows from the first, "contradiction" if it cannot be true
    as well, "neutral" if it says something new. score: 0 to 5, by how much both say the same.
    """
    draw = _drawing(seed)
    pairs = []
    for i in range(n):
        fact, other = _fact(draw), _fact(draw)
        first = "{person} is at {place} {time}.".format(**fact)
        kind = ("entailment", "contradiction", "neutral", "other")[i % 4]
        if kind == "entailment":
            second, score = draw(_SAME).format(**fact), 5.0
        elif kind == "contradiction":
            place = draw([p for p in _PLACES.split("|") if p != fact["place"]])
            second, score = "{person} is at {place} {time}.".format(**{**fact, "place": place}), 3.0
        elif kind == "neutral":
            second, score = "{person} has {thing} at {place}.".format(**fact), 2.0
        else:
            person = draw([p for p in _PEOPLE if p != fact["person"]])
            second = "{person} has {thing} at {place}.".format(**{**other, "person": person})
            score = 0.0
        label = "neutral" if kind == "other" else kind
        pairs.append((first, second[0].upper() + second[1:], label, score))
    return pairs


def questions(n: int = 600, seed: int = 5) -> list[tuple[str, tuple[str, ...], int]]:
    """n questions (text, five answers, the number of the right one): which of them is a fruit?"""
    draw = _drawing(seed)
    made = []
    for _ in range(n):
        kinds = list(_KINDS)
        what = draw(kinds)
        others = [kind for kind in kinds if kind != what]
        answers = []
        for _ in range(4):
            kind = draw(others)
            others.remove(kind)
            answers.append(draw(_KINDS[kind]))
        right = draw(range(5))
        answers.insert(right, draw(_KINDS[what]))
        made.append((f"Which of these is {what}?", tuple(answers), right))
    return made
