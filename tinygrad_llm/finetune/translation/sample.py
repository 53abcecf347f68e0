"""Pairs of simple Japanese and English sentences of our own making, for machines without data.

Made of the words below, drawn with a fixed seed: every machine makes the same ones. Japanese has
the verb at the end and marks the parts of a sentence with particles; English goes by order.
"""

from __future__ import annotations

import random

__all__ = ["sentence_pairs"]

# Japanese, English, whether its verb takes an s
_SUBJECTS = (
    ("私", "i", False), ("彼", "he", True), ("彼女", "she", True), ("私 たち", "we", False),
    ("父", "my father", True), ("先生", "the teacher", True), ("子供 たち", "the children", False),
    ("あの 人", "that person", True),
)  # fmt: skip
_TIMES = (
    ("", ""), ("毎日", "every day"), ("朝", "in the morning"), ("夜", "at night"),
    ("日曜日 に", "on sunday"),
)  # fmt: skip
_PLACES = (
    ("", ""), ("家 で", "at home"), ("公園 で", "in the park"), ("学校 で", "at school"),
    ("駅 で", "at the station"),
)  # fmt: skip
# Japanese stem and its endings (now, not, then, not then); English (now, with s, then); objects
_ENDINGS = ("ます", "ません", "まし た", "ません でし た")
_VERBS = (
    ("読み", ("read", "reads", "read"), ("本 books", "新聞 newspapers", "手紙 letters")),
    ("飲み", ("drink", "drinks", "drank"), ("水 water", "お茶 tea", "牛乳 milk")),
    ("食べ", ("eat", "eats", "ate"), ("魚 fish", "りんご apples", "パン bread")),
    ("買い", ("buy", "buys", "bought"), ("本 books", "パン bread", "花 flowers")),
    ("見", ("watch", "watches", "watched"), ("鳥 birds", "映画 films", "子供 children")),
    ("書き", ("write", "writes", "wrote"), ("手紙 letters", "詩 poems", "本 books")),
)


def sentence_pairs(n: int = 1500, seed: int = 0) -> list[tuple[str, str]]:
    """n different pairs (Japanese, English), each cut into words by blanks.

    Raises: ValueError for more than the words above can make.
    """
    most = len(_SUBJECTS) * len(_TIMES) * len(_PLACES) * len(_VERBS) * 3 * len(_ENDINGS)
    if not 1 <= n <= most // 2:
        raise ValueError(f"n must be between 1 and {most // 2:,}, got {n}")
    draw = random.Random(seed)
    pairs: dict[tuple[str, str], None] = {}
    while len(pairs) < n:
        pairs[_pair(draw)] = None
    return list(pairs)


def _pair(draw: random.Random) -> tuple[str, str]:
    subject, who, with_s = draw.choice(_SUBJECTS)
    time, when = draw.choice(_TIMES)
    place, where = draw.choice(_PLACES)
    stem, (now, third, then), objects = draw.choice(_VERBS)
    thing, _, what = draw.choice(objects).partition(" ")
    form = draw.randrange(4)
    verb = (
        third if with_s else now,
        f"{'does' if with_s else 'do'} not {now}",
        then,
        f"did not {now}",
    )[form]
    source = f"{subject} は {time} {place} {thing} を {stem} {_ENDINGS[form]} 。"
    target = f"{who} {verb} {what} {where} {when} ."
    return " ".join(source.split()), " ".join(target.split())
