"""GPT-2's cut of a text, against the `regex` package and tiktoken, which know \\p{L}."""

import re
import sys
import unicodedata

import pytest
import regex
import tiktoken
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.text import split as module
from tinygrad_llm.text.split import BASIC_PLANE, LETTERS_END, count_pieces, split

GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# Characters that Python's table does not know are letters for a newer table, so leave them out.
known = st.characters(exclude_categories=("Cs", "Cn"))
tricky = st.sampled_from(
    [*" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u200b\u2028\u3000\ufeff'_-²½Ⅷ一٣"]
    + ["'s", "'ll", "'LL", "'re", "don't", "  ", "\n\n", "𝟘", "𐐀", "😀", "e\u0301", "日本語", "12"]
)
texts = st.lists(known | tricky, max_size=60).map("".join)
split("𐐀")  # makes the larger pattern now, not inside a timed example


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("", []),
        ("Hello world", ["Hello", " world"]),
        ("a  b", ["a", " ", " b"]),
        ("a   b ", ["a", "  ", " b", " "]),
        ("a\n\nb", ["a", "\n", "\n", "b"]),
        ("a\n b", ["a", "\n", " b"]),
        ("a \n", ["a", " \n"]),
        ("\n\n  x", ["\n\n ", " x"]),
        ("it's I'LL we'll'd", ["it", "'s", " I", "'", "LL", " we", "'ll", "'d"]),
        ("x12 34!?", ["x", "12", " 34", "!?"]),
        ("a_b", ["a", "_", "b"]),
        ("tab\tend", ["tab", "\t", "end"]),
        ("\x1c\x1dx", ["\x1c\x1d", "x"]),  # white space for Python's \s, not for Unicode
        ("é日本٣½", ["é日本", "٣½"]),
    ],
)
def test_examples(text, pieces):
    assert split(text) == pieces


@given(texts)
def test_cuts_as_the_regex_package_does(text):
    assert split(text) == GPT2.findall(text)


@given(st.text(max_size=80))
def test_pieces_together_are_the_text(text):
    assert "".join(split(text)) == text


@given(texts, st.integers(1, 5))
def test_blocks_change_nothing(text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        assert split(text) == GPT2.findall(text)


@given(st.text(st.characters(max_codepoint=BASIC_PLANE - 1), max_size=60))
def test_the_quick_pattern_is_the_full_one_on_the_basic_plane(text):
    quick, full = module._pattern(BASIC_PLANE), module._pattern(LETTERS_END)
    assert quick.findall(text) == full.findall(text)


@pytest.mark.parametrize(
    "name", ["tinyshakespeare.txt", "the-verdict.txt", "sms-spam.tsv", "instruction-data.json"]
)
def test_cuts_real_texts_as_the_regex_package_does(name):
    text = data_file(name).read_text("utf-8")
    pieces = split(text)
    assert pieces == GPT2.findall(text)
    assert sum(count_pieces(text).values()) == len(pieces)


def test_no_letter_or_number_lies_beyond_the_end():
    categories = {unicodedata.category(chr(i))[0] for i in range(LETTERS_END, sys.maxunicode + 1)}
    assert not categories & {"L", "N"}


@pytest.mark.parametrize("category", ["L", "N"])
def test_classes_agree_with_tiktoken_on_every_character_that_python_knows(category):
    bytes_only = {bytes([i]): i for i in range(256)}
    theirs = tiktoken.Encoding(
        "one", pat_str=rf"\p{{{category}}}", mergeable_ranks=bytes_only, special_tokens={}
    )
    characters = [
        c
        for c in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(c) not in ("Cs", "Cn")
    ]
    everything = "".join(characters)
    ours = re.compile(f"[{module._class(category, LETTERS_END)}]").findall(everything)
    assert "".join(ours) == theirs.decode(theirs.encode_ordinary(everything))


def test_white_space_is_unicodes():
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    theirs = regex.compile(r"\p{White_Space}").findall(everything)
    assert re.compile(f"[{module.SPACE}]").findall(everything) == theirs
