"""Plain standard English: phrases and names that were replaced once and must not come back.

Each pattern has the words to write instead. White space, comment marks and the seams of strings
that Python joins do not count, so that a phrase is seen across lines too.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinygrad_llm"
THIS_FILE = Path(__file__)  # it holds the phrases
SUFFIXES = {".py", ".pyi", ".md", ".cu", ".cuh", ".html", ".js", ".css", ".toml"}

A_RATE = (
    r"\b(nats|bits|tokens|ms|milliseconds|microseconds|µs|ns|nanoseconds|seconds|bytes|kB|MB|GB"
    r"|numbers|G?FLOPs?|calls) an? "
    r"(token|byte|character|second|step|op|number|row|element|layer|weight|query|call|block|text)\b"
)
PHRASES = {
    r"\broads?\b": "path, edge",
    r"\bthe (way|walk) back\b": "backward, the backward pass",
    r"\b(goes|go|going|went) backwards?\b": "computes the backward pass",
    r"\bslopes?\b": "gradient, derivative",
    r"(?<!there )\b(is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b)": "is not a, has no",
    r"\bwhat (is|are|has|have) no\b": "if it is not a, without a",
    r"\b(work(s|ed|ing)?) (\w+ )?out\b": "compute",
    A_RATE: "nats per token, bits per byte, tokens/s",
    r"\bbut for\b": "except",
    r"\bof (one's|its|their|your|somebody's) own\b(?! letter)": "custom, own, separate",
    r", for (it|they|there|he|she|we|you|that|this|these|those) (is|are|was|has|have|can|do|does"
    r"|would|will|may|must|need|needs)\b": "because",
    r"\bseldom\b": "rarely",
    r"(?<!exist )\bat once\b": "immediately, together, at the same time",
    r"\bin turn\b": "alternately, one after the other",
    r"\btold\b": "named, said, shown",
    r"\bmend(s|ed|ing)?\b": "repair, correct",
    r"\b(go|goes|going|went|gone) on (with|to|from|and)\b": "continue, resume",
    r"\bto go on\b|\b(run|training|that) goes on\b": "continue, resume",
    r"\bgoes before\b": "takes precedence over",
    r"\b(start(s|ed|ing)?|begin(s|ning)?|began) anew\b": "start again",
    r"\bdo alike\b": "share",
    r"\bbit for bit\b": "to the last bit",
    r"\bthe very same\b": "the same",
    r"\bbeside each other\b": "side by side",
    r"\b(tells?|told) nobody\b|\bwhat nobody\b": "does not report, what no",
    r"\b(whatever|whoever)\b": "any, every",
    r"道のり|傾き": "経路, 勾配",
}
LESSON_ON_SLOPES = "lessons/00_backprop/01_scalar_tape.py"  # introduces the gradient as a slope

# Parts of names, between underscores, that do not say what the thing is.
VAGUE_PARTS = (
    r"(?:^|_)(told|found|wanted|said|unseen|beside|faster|look_again|at_once|in_line"
    r"|not_now)(?=_|$)"
)


def files(folder: Path) -> list[Path]:
    """The texts of a folder, or the file itself."""
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    skipped = {"__pycache__", THIS_FILE.name}
    return [p for p in paths if p.suffix in SUFFIXES and not skipped & set(p.parts)]


def prose(text: str) -> str:
    """A text as one line, without comment marks and without the seams of joined strings."""
    text = re.sub(r"""(["'])[ \t]*\n[ \t]*[rRfFbB]{0,2}\1""", "", text)
    text = re.sub(r"^[ \t]*(#|//)+", " ", text, flags=re.M)
    return re.sub(r"\s+", " ", text)


def phrases_in(path: Path) -> list[str]:
    """Each phrase of a file that must not come back, with what stands around it."""
    text = prose(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    return [
        f"{name}: ...{text[max(0, m.start() - 30) : m.end() + 30]}... write: {instead}"
        for pattern, instead in PHRASES.items()
        for m in re.finditer(pattern, text, re.I)
        if not (name == LESSON_ON_SLOPES and "slope" in pattern)
    ]


def names_in(path: Path) -> list[str]:
    """Names in the code of a file with a vague part."""
    text = path.read_text(encoding="utf-8")
    if not any(re.search(VAGUE_PARTS, word, re.I) for word in set(re.findall(r"\w+", text))):
        return []  # as in most files: no need to part the names from strings and comments
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [
        f"{path.relative_to(ROOT).as_posix()}:{token.start[0]}: {token.string}"
        for token in tokens
        if token.type == tokenize.NAME and re.search(VAGUE_PARTS, token.string, re.I)
    ]


PLACES = [
    *(path for path in sorted(PACKAGE.iterdir()) if files(path)),
    *(
        ROOT / name
        for name in (
            "lessons",
            "examples",
            "docs",
            "benchmarks",
            "tests",
            "README.md",
            "README.ja.md",
        )
    ),
    *(ROOT / name for name in ("CONTRIBUTING.md", "pyproject.toml")),
]
every_place = pytest.mark.parametrize("place", PLACES, ids=lambda p: str(p.relative_to(ROOT)))


@every_place
def test_phrases_do_not_come_back(place):
    phrases = [phrase for path in files(place) for phrase in phrases_in(path)]
    assert not phrases, "\n" + "\n".join(phrases)


@every_place
def test_names_say_what_things_are(place):
    names = [name for path in files(place) if path.suffix == ".py" for name in names_in(path)]
    assert not names, "\n" + "\n".join(names)


def test_phrases_are_seen_across_lines():
    text = 'x = "the way "\n    f"back"  # worked\n# out'
    assert prose(text) == 'x = "the way back" # worked out'


def test_a_vague_part_of_a_name_is_enough():
    assert re.search(VAGUE_PARTS, "found_by_sum") and re.search(VAGUE_PARTS, "_FASTER_OPS", re.I)
    assert not re.search(VAGUE_PARTS, "foundation")
