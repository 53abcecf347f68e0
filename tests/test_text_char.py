"""The character tokenizer."""

import json

import numpy as np
import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.text import END_OF_TEXT, CharTokenizer, load_tokenizer

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


@given(texts, st.data())
def test_round_trip(training_text, data):
    tokenizer = CharTokenizer.train(training_text)
    text = data.draw(st.text(st.sampled_from(sorted(set(training_text)))))
    ids = tokenizer.encode(text)
    assert len(ids) == len(text) and all(0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.count_bytes(ids) == len(text.encode("utf-8"))
    for dtype in (np.int32, np.uint16):
        array = tokenizer.encode_to_array(text, dtype=dtype)
        assert array.dtype == dtype and array.tolist() == ids
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == text


def test_ids_are_the_places_of_the_sorted_characters():
    tokenizer = CharTokenizer.train("hello é😀")
    assert tokenizer.characters == " ehlo\u00e9\U0001f600"
    assert tokenizer.vocab_size == 7
    assert tokenizer.encode("hello") == [2, 1, 3, 3, 4]


def test_nanogpts_characters():
    text = data_file("tinyshakespeare.txt").read_text("utf-8")
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.vocab_size == 65
    ids = tokenizer.encode_to_array(text)
    assert ids.shape == (1_115_394,)
    assert tokenizer.encode("First") == ids[:5].tolist() == [18, 47, 56, 57, 58]
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("method", ["encode", "encode_ordinary", "encode_to_array"])
@pytest.mark.parametrize("text, place, c", [("hxllo", 1, "x"), ("h日", 1, "日"), ("😀", 0, "😀")])
def test_an_unknown_character_is_named(method, text, place, c):
    tokenizer = CharTokenizer.train("hello")
    with pytest.raises(ValueError, match=rf"'{c}' \(U\+{ord(c):04X}\) at position {place} is not"):
        getattr(tokenizer, method)(text)


def test_special_tokens_come_after_the_characters():
    text = f"ab{END_OF_TEXT}ba"
    tokenizer = CharTokenizer.train(text, special_tokens=[END_OF_TEXT])
    assert tokenizer.characters == "ab" and tokenizer.eot_token == 2
    with pytest.raises(ValueError, match="at position 2"):
        tokenizer.encode(text)
    ids = tokenizer.encode(text, allowed_special={END_OF_TEXT})
    assert ids == [0, 1, 2, 1, 0]
    assert tokenizer.encode_to_array(text, allowed_special="all").tolist() == ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.count_bytes(ids) == 4
    with pytest.raises(ValueError, match="'<'"):
        tokenizer.encode(text, disallowed_special=())
    assert CharTokenizer("ab").eot_token is None


def test_no_characters():
    for nothing in (lambda: CharTokenizer(""), lambda: CharTokenizer.train("")):
        with pytest.raises(ValueError, match="empty|at least one"):
            nothing()
    tokenizer = CharTokenizer("a")
    assert tokenizer.encode("") == [] and tokenizer.encode_to_array("").shape == (0,)
    assert tokenizer.decode([]) == ""


def test_wrong_characters():
    with pytest.raises(ValueError, match="'a' is given more than once"):
        CharTokenizer("aba")
    with pytest.raises(ValueError, match="surrogate"):
        CharTokenizer.train("a\ud800")
    with pytest.raises(ValueError, match="surrogate"):
        CharTokenizer("a").encode("\ud800")
    with pytest.raises(IndexError, match="token id 1 at place 0"):
        CharTokenizer("a").decode([1])


@given(texts)
def test_save_and_load(tmp_path_factory, training_text):
    path = tmp_path_factory.mktemp("char") / "t.json"
    tokenizer = CharTokenizer.train(training_text, special_tokens=["<|é|>"], name="mine")
    tokenizer.save(path)
    again = load_tokenizer(path)
    assert isinstance(again, CharTokenizer) and again == tokenizer and again.name == "mine"
    assert again.special_tokens == tokenizer.special_tokens
    assert json.loads(path.read_text("utf-8"))["characters"] == tokenizer.characters


def test_a_wrong_file(tmp_path):
    path = tmp_path / "t.json"
    CharTokenizer("ab").save(path)
    path.write_text(path.read_text("utf-8").replace('"ab"', '"aa"'), "utf-8")
    with pytest.raises(ValueError, match="t.json: the character 'a' is given more than once"):
        load_tokenizer(path)
