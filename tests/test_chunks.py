"""Texts cut into chunks."""

from __future__ import annotations

import json

import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.retrieval.chunks import SEPARATORS, Chunk, chunks_of, split_text

texts = st.text(st.sampled_from("ab 。\n"), max_size=80)
sizes = st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


def test_the_japanese_documents_have_the_known_number_of_chunks():
    lines = data_file("rag-docs-ja.jsonl").read_text("utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    chunks = chunks_of(documents, 400, 100)
    assert len(documents) == 103 and len(chunks) == 1475
    assert max(len(chunk.text) for chunk in chunks) == 400
    assert chunks[0].source == documents[0]["title"] and chunks[1].number == 1


def test_cuts_at_paragraphs_then_lines_then_words():
    text = "One two.\n\nThree four five.\nSix."
    assert split_text(text, 18, 0) == ["One two.", "Three four five.", "Six."]
    assert split_text(text, 10, 0) == ["One two.", "Three", "four", "five.", "Six."]
    assert split_text("abcdefgh", 4, 2) == ["abcd", "cdef", "efgh"]


@given(texts, sizes.filter(lambda size: size[0] > 1))
def test_chunks_are_short_in_order_and_lose_only_blanks(text, size):
    n, overlap = size
    chunks = split_text(text, n, overlap)
    assert all(0 < len(chunk) <= n and chunk == chunk.strip() for chunk in chunks)
    place = 0
    for chunk in chunks:
        start = text.find(chunk, max(0, place - overlap))
        assert start >= 0
        if start > place:
            assert not text[place:start].strip()
        place = max(place, start + len(chunk))
    assert not text[place:].strip()


@given(
    texts, sizes, st.sampled_from([SEPARATORS, ("\n\n", "。", "\n"), ("a", ""), ("ab", "b", " ")])
)
def test_chunks_equal_langchains(text, size, separators):
    splitter = pytest.importorskip("langchain_text_splitters").RecursiveCharacterTextSplitter
    theirs = splitter(list(separators), chunk_size=size[0], chunk_overlap=size[1])
    assert split_text(text, *size, separators) == theirs.split_text(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "size 0"), ((4, 5), "from 0 to size"), ((4, -1), "from 0 to size"),
        ((True, 0), "size True"), ((10**10, 0), "1 to 1,000,000,000"), ((4, 0, ()), "separator"),
    ],
)  # fmt: skip
def test_wrong_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_text("a", *arguments)


def test_a_document_without_a_text():
    assert chunks_of([{"text": "a"}]) == [Chunk("a", "document 0", 0)]
    with pytest.raises(ValueError, match="document 1 has no text"):
        chunks_of([{"text": "a"}, {"title": "b"}])
