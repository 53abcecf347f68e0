"""The word tokenizer of the books' second chapter."""

import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.text import END_OF_TEXT, SimpleTokenizer, load_tokenizer
from tinygrad_llm.text.regex import UNKNOWN, split_words

texts = st.text(
    st.sampled_from("ab ,.:;?_!\"()'-\n\té") | st.characters(exclude_categories=("Cs",)),
    max_size=60,
)


def test_words_and_punctuation():
    text = "Hello, world. Is this-- a test?\n(it's)"
    pieces = "Hello , world . Is this -- a test ? ( it ' s )".split()
    assert split_words(text) == pieces


@given(texts)
def test_nothing_but_white_space_is_lost(text):
    assert "".join(split_words(text)) == "".join(text.split())


@pytest.fixture(scope="module")
def verdict():
    return SimpleTokenizer.train(data_file("the-verdict.txt").read_text("utf-8"))


def test_the_books_ids(verdict):
    assert verdict.vocab_size == 1132
    assert verdict.special_tokens == {END_OF_TEXT: 1130, UNKNOWN: 1131}
    line = '"It\'s the last he painted, you know," Mrs. Gisburn said with pardonable pride.'
    ids = [1, 56, 2, 850, 988, 602, 533, 746, 5, 1126, 596, 5, 1, 67, 7, 38, 851, 1108, 754, 793, 7]
    assert verdict.encode(line) == ids
    decoded = '" It\' s the last he painted, you know," Mrs. Gisburn said with pardonable pride.'
    assert verdict.decode(ids) == decoded
    two = f"Hello, do you like tea? {END_OF_TEXT} In the sunlit terraces of the palace."
    ids = [1131, 5, 355, 1126, 628, 975, 10, 1130, 55, 988, 956, 984, 722, 988, 1131, 7]
    assert verdict.encode(two, allowed_special={END_OF_TEXT}) == ids
    assert verdict.encode_to_array(two, allowed_special="all").tolist() == ids
    assert verdict.decode(ids) == (
        f"{UNKNOWN}, do you like tea? {END_OF_TEXT} In the sunlit terraces of the {UNKNOWN}."
    )


def test_special_tokens_raise_unless_allowed(verdict):
    for token in (END_OF_TEXT, UNKNOWN):
        with pytest.raises(ValueError, match="at position 4"):
            verdict.encode(f"the {token}")
        assert verdict.encode(token, disallowed_special=()) == [1131]
        assert verdict.encode(token, allowed_special={token}) == [verdict.vocab[token]]


def test_without_an_unknown_token():
    tokenizer = SimpleTokenizer.train("the cat", special_tokens=())
    assert tokenizer.vocab == {"cat": 0, "the": 1} and tokenizer.eot_token is None
    with pytest.raises(ValueError, match="the word 'dog' is not among the 2"):
        tokenizer.encode("the dog")


@given(texts)
def test_a_second_round_changes_nothing(text):
    tokenizer = SimpleTokenizer.train("a b , . ! ( ' ab é")
    ids = tokenizer.encode(text)
    again = tokenizer.encode(tokenizer.decode(ids), allowed_special="all")
    assert again == ids


@given(st.lists(st.integers(0, 6), max_size=20))
def test_streaming_gives_what_decode_gives(ids):
    tokenizer = SimpleTokenizer.train("a , ! é b")
    stream = tokenizer.stream()
    assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids)
    plain = [i for i in ids if i < 5]
    assert tokenizer.count_bytes(ids) == len(tokenizer.decode(plain).encode("utf-8"))


def test_a_given_vocabulary():
    tokenizer = SimpleTokenizer({"the": 1, "cat": 0, UNKNOWN: 2})
    assert tokenizer.encode("the cat sat") == [1, 0, 2]
    assert tokenizer.token_bytes(0) == b"cat"
    with pytest.raises(IndexError, match="token id 3"):
        tokenizer.decode([3])
    for vocab, message in [
        ({}, "at least one word"),
        ({"a": 1}, "0 .. 0"),
        ({"a": 0, "b": 0}, "0 .. 1"),
        ({"a b": 0}, "'a b' is not one word"),
        ({"": 0}, "'' is not one word"),
    ]:
        with pytest.raises(ValueError, match=message):
            SimpleTokenizer(vocab)


@pytest.mark.parametrize("text", ["", " \n", END_OF_TEXT])
def test_training_needs_words(text):
    with pytest.raises(ValueError, match="empty"):
        SimpleTokenizer.train(text)


def test_other_special_tokens():
    with pytest.raises(ValueError, match="must be among"):
        SimpleTokenizer.train("a", special_tokens=["<pad>"])


def test_save_and_load(tmp_path, verdict):
    verdict.save(tmp_path / "t.json")
    again = load_tokenizer(tmp_path / "t.json")
    assert isinstance(again, SimpleTokenizer)
    assert again == verdict and again.vocab == verdict.vocab
    assert again.special_tokens == verdict.special_tokens
