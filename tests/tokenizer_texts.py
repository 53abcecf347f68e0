"""Texts for the tests of tokenizers: 20 scripts, emoji, marks, controls, spaces, digits."""

from __future__ import annotations

import random
import unicodedata

from hypothesis import strategies as st

SCRIPTS = {
    "Latin": (0x41, 0x24F), "Greek": (0x370, 0x3FF), "Cyrillic": (0x400, 0x4FF),
    "Armenian": (0x531, 0x587), "Hebrew": (0x5D0, 0x5EA), "Arabic": (0x620, 0x64A),
    "Devanagari": (0x905, 0x94D), "Bengali": (0x985, 0x9CD), "Tamil": (0xB85, 0xBCD),
    "Thai": (0xE01, 0xE4E), "Tibetan": (0xF40, 0xF84), "Georgian": (0x10A0, 0x10FF),
    "Hangul": (0xAC00, 0xD7A3), "Jamo": (0x1100, 0x11FF), "Ethiopic": (0x1200, 0x1248),
    "Khmer": (0x1780, 0x17D3), "Hiragana": (0x3041, 0x3096), "Katakana": (0x30A1, 0x30FA),
    "Han": (0x4E00, 0x9FA5), "Gothic": (0x10330, 0x1034A), "Cherokee": (0x13A0, 0x13F4),
}  # fmt: skip
ODD = [
    *"\t\n\r\x00\x01\x07\x0b\x0c\x1b\x1c\x1f\x7f\x85\xa0\u1680\u200b\u2003\u2028\u3000\ufeff\ufffd",
    " ", "  ", "     ", " " * 90, "\n\n\n", "\r\n", " \n ", "\t\t", "e\u0301", "a\u0308\u0301", "ﬁ",
    "①", "½", "Ⅷ", "²", "٣", "१२", "０１２", "12345678", "007", "3.14", "1,000", "😀", "🇯🇵",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "👍🏽", "❤️", "ｶﾞ", "㌔", "İ", "ß", "Σς", "ſ",
    "'s", "'LL", "don't", "I'VE", "▁", "<s>", "<0x41>", "##", "[UNK]", "<unk>", "_", "...", "a.b",
    "--", "http://x.y/z?q=1", "def f(x):\n    return x",
]  # fmt: skip
WORDS = (
    "the of and to in a is that for it was on are as with his they be at one have this from or had "
    "tokenizer tokens encoding hello world running runs lower lowest newest wider Transformers"
).split()


def known(c: str) -> bool:
    """Whether every Unicode table knows the character: newer tables know more than Python's."""
    return unicodedata.category(c) not in ("Cn", "Cs", "Co")


def drawn(seed: int, n: int = 12) -> str:
    """A text of about n parts, the same for the same seed."""
    rng = random.Random(seed)
    parts = []
    for _ in range(rng.randint(1, n)):
        kind = rng.random()
        if kind < 0.35:
            parts.append(rng.choice(WORDS))
        elif kind < 0.6:
            low, high = rng.choice(list(SCRIPTS.values()))
            word = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))
            parts.append("".join(c for c in word if known(c)))
        elif kind < 0.85:
            parts.append(rng.choice(ODD))
        else:
            parts.append(" ")
        if rng.random() < 0.5:
            parts.append(" ")
    return "".join(parts)


CORPUS = [drawn(seed, 30) for seed in range(4000)] + [" ".join(WORDS)] * 20
texts = st.lists(
    st.sampled_from(ODD)
    | st.sampled_from(WORDS)
    | st.sampled_from([f" {w}" for w in WORDS])
    | st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=6),
    max_size=12,
).map("".join)
