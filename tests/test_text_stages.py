"""The stages of published tokenizers alone: patterns against `regex`, added tokens, BPE's heap."""

from __future__ import annotations

import random

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_texts import drawn, texts

from tinygrad_llm.text import PipelineTokenizer, is_pretrained, load_tokenizer
from tinygrad_llm.text.stages import patterns, pieces
from tinygrad_llm.text.stages.added import Finder
from tinygrad_llm.text.stages.patterns import Pattern
from tinygrad_llm.text.stages.pieces import BPE

NAMED = ["GPT2", "LLAMA3", "QWEN2", "QWEN35", "O200K"]
OTHERS = [
    r"\d+|\D",
    r"[^\p{L}\s]+|\p{L}",
    r"\p{Lu}\p{Ll}*|.",
    r"a{2,3}|[a-c\-é]|[\x41-\x44]",
    r"\S+$",
]


@pytest.mark.parametrize("source", [*(getattr(patterns, name) for name in NAMED), *OTHERS])
def test_patterns_are_those_of_regex(source):
    ours, theirs = Pattern(source), regex.compile(source)
    for seed in range(400):
        text = drawn(seed).replace("\x85", "").replace("\x1c", "").replace("\x1f", "")
        if source == OTHERS[2]:
            text = text.replace("\n", "").replace("\r", "")  # a dot is any character here
        expected = [piece for piece in theirs.findall(text) if piece]
        assert [piece for piece, match in ours.find(text) if match] == expected, text
        assert "".join(piece for piece, _ in ours.find(text)) == text


@pytest.mark.parametrize(
    "source, message",
    [
        ("(a+)+", "a repeated group"), ("(a|b)*", "a repeated group"), ("a++", "possessive"),
        ("a*?", "lazy"), (r"(a)\1", "not known here"), ("(?P<n>a)", "kind of group"),
        ("(?>a)", "kind of group"), ("[[a]&&[b]]", "class in a class"), ("[]", "an empty class"),
        ("a{1000}", "more than 100"), ("(", "ends too early"), (")", "not opened"),
        (r"\p{Greek}", "which is not known"), (r"\p", "ends too early"), ("*a", "without anything"),
        ("a*" * 50, "repetitions"), ("(?:" * 20 + ")" * 20, "too deeply"), ("a" * 5000, "5,000"),
        ("[b-a]", "not accepted"), (r"\x{110000}", "character number"),
    ],
)  # fmt: skip
def test_patterns_that_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        Pattern(source)


@given(texts, st.sets(st.text("ab <▁\n", min_size=1, max_size=4), max_size=9))
def test_finder_is_an_alternation(text, tokens):
    text += "".join(sorted(tokens)) + "ab<a b<<"
    longest = sorted(tokens, key=lambda t: (-len(t), t))
    expected = []
    if tokens:
        either = regex.compile("|".join(map(regex.escape, longest)))
        expected = [match.span() for match in either.finditer(text)]
    assert list(Finder(tokens).find(text)) == expected


@given(st.integers(0, 10**9), st.booleans())
def test_the_heap_joins_as_the_list_does(seed, by_pairs):
    rng = random.Random(seed)
    tokens = ["a", "b", "c"]
    ranks: dict = {}
    for _ in range(20):
        left, right = rng.choice(tokens), rng.choice(tokens)
        key = (left, right) if by_pairs else left + right
        ranks.setdefault(key, rng.randrange(8) if not by_pairs else len(ranks))
        tokens.append(left + right)
    model = BPE({t: i for i, t in enumerate(tokens)}, ranks, by_pairs)
    symbols = [rng.choice("abc") for _ in range(rng.randint(1, pieces.LONG))]
    assert model._join_long(list(symbols)) == model.join(list(symbols))


def test_a_whole_text_is_cut_where_no_join_crosses():
    """Cut at ▁ or not: the same ids, also with tokens that have ▁ in the middle."""
    tokens = ["▁", "a", "b", "▁a", "a▁", "▁▁", "ab", "▁ab", "b▁a", "▁▁▁▁"]
    ranks = {t: i for i, t in enumerate(tokens) if len(t) > 1}
    model = BPE({t: i for i, t in enumerate(tokens)}, ranks, False, unknown=0)
    ours = PipelineTokenizer({"model": {"type": "none"}}, model=model)
    for seed in range(300):
        text = "".join(random.Random(seed).choices("▁▁ab", k=60))
        assert ours.encode(text) == model.encode(text)
    assert ours._safe_cut is not None and len(ours._safe_cut.split("a▁b▁ab▁bbb▁")) < 6


def test_a_saved_tokenizer_is_loaded(tmp_path):
    level = {"type": "ByteLevel", "add_prefix_space": False}
    ours = PipelineTokenizer(
        {
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2}, "merges": []},
            "added_tokens": [{"id": 3, "content": "</s>", "special": True}],
            "pre_tokenizer": level,
            "decoder": level,
        },
        names={"eos_token": "</s>", "chat_template": "{{ messages[0].content }}"},
    )
    assert not is_pretrained(tmp_path)
    ours.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert is_pretrained(tmp_path) and again == ours and again.eot_token == 3
    pytest.importorskip("jinja2")  # of the extra chat
    assert again.names == ours.names and again.chat([{"content": "a b"}]) == [0, 2, 1]
    stream = again.stream(after=[0])
    assert stream.push(2) + stream.push(1) == " b" and again.count_bytes([0, 3, 1]) == 2


def test_a_stream_after_a_prompt_keeps_its_space():
    tokens = ["<unk>", "▁a", "▁b"]
    decoder = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
    ours = PipelineTokenizer(
        {
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": []},
            "decoder": decoder,
        }
    )
    assert ours.stream().push(2) == "b" and ours.stream(after=[1]).push(2) == " b"
    assert ours.decode([1, 2]) == "a b"


def test_a_short_description_is_written_whole(tmp_path):
    """`tokenizers` refuses stages without fields that have a default here."""
    theirs = pytest.importorskip("tokenizers")
    level = {"type": "ByteLevel", "add_prefix_space": False}
    letters = [chr(c) for c in (*range(33, 127), 288)]
    ours = PipelineTokenizer(
        {
            "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(letters)}, "merges": []},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Split", "pattern": {"Regex": r"\d"}}, level],
            },
            "decoder": level,
            "post_processor": level,
        }
    )
    ours.save(tmp_path)
    read = theirs.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer(tmp_path / "tokenizer.json")
    for text in ("the cat 12x3", "it's", "  a"):
        ids = ours.encode(text)
        assert again.encode(text) == ids == read.encode(text).ids
        assert again.decode(ids) == text == read.decode(ids)
