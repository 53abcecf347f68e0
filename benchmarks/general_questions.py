"""Questions of general knowledge with four choices, made by rule from short lists of facts.

The wrong choices of a question are other answers of its list, drawn with a fixed seed.
"""

from __future__ import annotations

import random

from tinygrad_llm.evaluation.questions import Item

__all__ = ["general_questions"]

FACTS: dict[str, str] = {
    "What is the capital of {}?": (
        "France Paris, Italy Rome, Japan Tokyo, Spain Madrid, Germany Berlin, Egypt Cairo, "
        "Russia Moscow, China Beijing, England London, Greece Athens, Ireland Dublin, "
        "Portugal Lisbon, Austria Vienna, Cuba Havana, Peru Lima, Kenya Nairobi, Poland Warsaw, "
        "Norway Oslo, Sweden Stockholm, Thailand Bangkok, Canada Ottawa, Hungary Budapest"
    ),
    'What is the opposite of "{}"?': (
        "hot cold, big small, fast slow, happy sad, up down, early late, rich poor, full empty, "
        "hard soft, light dark, strong weak, old young, open closed, wet dry, good bad, high low, "
        "true false, left right, first last, day night, begin end, win lose"
    ),
    'What is the plural of "{}"?': (
        "mouse mice, child children, tooth teeth, foot feet, man men, goose geese, leaf leaves, "
        "knife knives, city cities, box boxes, person people, woman women"
    ),
    "What is a young {} called?": (
        "dog puppy, cat kitten, cow calf, horse foal, sheep lamb, pig piglet, hen chick, "
        "bear cub, duck duckling, goat kid, frog tadpole, swan cygnet"
    ),
    'What is the past tense of "{}"?': (
        "go went, eat ate, see saw, take took, buy bought, run ran, write wrote, think thought, "
        "begin began, fly flew, give gave, sing sang, drink drank, know knew, swim swam"
    ),
    "Which language do most people speak in {}?": (
        "Brazil Portuguese, Mexico Spanish, Egypt Arabic, Japan Japanese, Austria German, "
        "Canada English, Israel Hebrew, Turkey Turkish, Poland Polish, Korea Korean"
    ),
    "How much is {}?": (
        "2+3 5, 4+4 8, 7+2 9, 10+5 15, 6+6 12, 9-4 5, 8-7 1, 3*3 9, 5*2 10, 4*5 20, 12-6 6, "
        "20+10 30, 6*3 18, 7+7 14, 100-1 99"
    ),
}


def general_questions(seed: int = 0, choices: int = 4) -> list[Item]:
    """All questions in a drawn order: with the seed, always the same ones."""
    draw = random.Random(seed)
    made = []
    for question, facts in FACTS.items():
        pairs = [tuple(fact.split()) for fact in facts.split(", ")]
        answers = sorted({answer for _, answer in pairs})
        for thing, answer in pairs:
            wrong = [other for other in answers if other != answer]
            shown = [answer, *draw.sample(wrong, choices - 1)]
            draw.shuffle(shown)
            made.append(Item.of_choices(question.format(thing), shown, shown.index(answer)))
    draw.shuffle(made)
    return made
