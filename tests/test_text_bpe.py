"""The BPE tokenizer: merges against the textbook loop, ids against tiktoken, files, errors."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from data import data_file
from hypothesis import example, given
from hypothesis import strategies as st

from tinygrad_llm.files import downloads
from tinygrad_llm.text import END_OF_TEXT, BPETokenizer, CharTokenizer, load_tokenizer
from tinygrad_llm.text.merges import LONG, apply_merges, learn_merges
from tinygrad_llm.text.split import split
from tinygrad_llm.text.textbook import textbook_encode, textbook_merges
from tinygrad_llm.text.tokenizer import _either

SAMPLE = (
    "The cat sat on the mat; the other cat sat on the other mat, and the cats' mats are that.\n\n"
    "Ça va? Où es-tu, là-bas à côté? 日本語の文章、日本語の言葉。 Numbers: 1234 12 123, 4.5e-6.\n"
    "    def that(the, cat):\n        return the + cat  # 😀😀\n"
) * 3
TOKENIZER = BPETokenizer.train(SAMPLE, 330)
TIKTOKEN = TOKENIZER.to_tiktoken()

# Characters of a newer Unicode than Python's are not letters here; see test_text_split.py.
texts = st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=80)
mixed = st.lists(
    texts | st.sampled_from([*split(SAMPLE), " ", "\n", "  ", "\t", "'s", "\u3000", "\x1c"]),
    max_size=20,
).map("".join)
words = st.lists(
    st.text("ab", min_size=1, max_size=9) | st.text("aabcé", min_size=1, max_size=6), max_size=25
)


def encoded(pieces):
    return [piece.encode("utf-8") for piece in pieces]


# -- merges --------------------------------------------------------------------------------


@given(words, st.integers(0, 12), st.integers(1, 3))
@example(["aaa", "aaaa", "aaaaa"], 5, 1)  # overlapping pairs
@example(["abab", "ababab", "babab"], 6, 1)
@example([], 3, 1)
@example(["a"], 3, 1)  # a word without a pair
def test_merges_are_the_textbooks(pieces, n_merges, min_count):
    data = encoded(pieces)
    fast = learn_merges(Counter(data), n_merges, min_count)
    assert fast == textbook_merges(data, n_merges, min_count)


@pytest.mark.parametrize("name", ["the-verdict.txt", "sms-spam.tsv"])
def test_merges_of_a_real_text_are_the_textbooks(name):
    data = encoded(split(data_file(name).read_text("utf-8")[:20_000]))
    assert learn_merges(Counter(data), 150) == textbook_merges(data, 150)


def test_ties_go_to_the_smaller_pair():
    assert learn_merges({b"xy": 5, b"bz": 5, b"ba": 5}, 3) == [(98, 97), (98, 122), (120, 121)]


@given(words, st.randoms())
def test_the_order_of_the_words_does_not_matter(pieces, order):
    counts = Counter(encoded(pieces))
    shuffled = list(counts.items())
    order.shuffle(shuffled)
    assert learn_merges(dict(shuffled), 10, 1) == learn_merges(counts, 10, 1)


@given(words, words)
def test_words_are_merged_as_in_the_textbook(pieces, others):
    merges = learn_merges(Counter(encoded(pieces)), 12, 1)
    rank = {pair: 256 + i for i, pair in enumerate(merges)}
    for word in encoded(pieces + others):
        assert apply_merges(word, rank) == textbook_encode(word, merges)


def test_long_words_are_merged_as_in_the_textbook():
    rng = random.Random(0)
    for trial in range(20):
        letters = b"ab" if trial % 2 else b"abcdefg"
        word = bytes(rng.choices(letters, k=LONG * 3))
        merges = learn_merges({word: 1, b"aaaaaaaa": 50 * (trial % 3)}, 40)
        rank = {pair: 256 + i for i, pair in enumerate(merges)}
        assert len(merges) > 20
        assert apply_merges(word, rank) == textbook_encode(word, merges)


# -- text to ids and back ------------------------------------------------------------------


@given(mixed)
def test_round_trip(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.count_bytes(ids) == len(text.encode("utf-8"))
    assert all(0 <= i < TOKENIZER.vocab_size for i in ids)


@given(mixed)
def test_ids_are_tiktokens(text):
    assert TOKENIZER.encode(text) == TIKTOKEN.encode_ordinary(text)


@given(words, texts)
def test_any_trained_tokenizer_exports(pieces, text):
    training_text = " ".join(pieces)
    counts = Counter(encoded(split(training_text)))
    ours = BPETokenizer(learn_merges(counts, 20, 1))
    theirs = ours.to_tiktoken()
    for one in (training_text, text):
        assert ours.encode(one) == theirs.encode_ordinary(one)


@pytest.mark.parametrize("name", ["the-verdict.txt", "sms-spam.tsv", "tinyshakespeare.txt"])
def test_ids_of_real_texts_are_tiktokens(name):
    text = data_file(name).read_text("utf-8")
    ours = BPETokenizer.train(text, 600)
    ids = ours.encode(text)
    assert ids == ours.to_tiktoken().encode_ordinary(text)
    assert ours.decode(ids) == text
    np.testing.assert_array_equal(ours.encode_to_array(text), ids)


def test_a_long_piece_without_spaces():
    text = "the" * 3000 + "日本語" * 500
    ids = TOKENIZER.encode(text)
    assert ids == TIKTOKEN.encode_ordinary(text)
    assert TOKENIZER.decode(ids) == text


@given(mixed)
def test_arrays_hold_the_same_ids(text):
    text = text + END_OF_TEXT + text
    ids = TOKENIZER.encode(text, allowed_special="all")
    for dtype in (np.int32, np.int64, np.uint16):
        array = TOKENIZER.encode_to_array(text, allowed_special="all", dtype=dtype)
        assert array.dtype == dtype and array.tolist() == ids
        assert TOKENIZER.decode(array) == text


def test_an_empty_text_has_no_ids():
    assert TOKENIZER.encode("") == []
    assert TOKENIZER.encode_to_array("").shape == (0,)
    assert TOKENIZER.decode([]) == ""
    assert TOKENIZER.count_bytes([]) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32, bool])
def test_an_array_type_too_small_for_the_ids(dtype):
    with pytest.raises(ValueError, match="cannot hold the ids 0 .. 329"):
        TOKENIZER.encode_to_array("a", dtype=dtype)


@pytest.mark.parametrize("text", ["\ud800", "abc\udfff def", "😀\ud83d"])
def test_half_characters_are_an_error_that_names_the_place(text):
    place = next(i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff")
    for call in (TOKENIZER.encode, TOKENIZER.encode_to_array, TOKENIZER.encode_ordinary):
        with pytest.raises(ValueError, match=rf"surrogate U\+D[8-F].. at position {place}:"):
            call(text)
    with pytest.raises(ValueError, match="surrogate"):
        BPETokenizer.train(text, 260)


def test_bytes_are_no_text():
    with pytest.raises(TypeError, match="must be a str, got bytes: decode"):
        TOKENIZER.encode(b"abc")


def test_the_word_cache_stays_bounded(monkeypatch):
    from tinygrad_llm.text import bpe

    monkeypatch.setattr(bpe, "CACHE_WORDS", 4)
    tokenizer = BPETokenizer(TOKENIZER.merges)
    assert tokenizer.encode(SAMPLE) == TOKENIZER.encode(SAMPLE)
    assert len(tokenizer._cache) <= 4


# -- special tokens ------------------------------------------------------------------------


def test_special_tokens_raise_unless_allowed():
    eot = TOKENIZER.eot_token
    assert eot == TOKENIZER.vocab_size - 1 == 329
    text = f"the cat{END_OF_TEXT}{END_OF_TEXT} sat"
    with pytest.raises(ValueError, match=r"'<\|endoftext\|>' at position 7.*allowed_special=\{"):
        TOKENIZER.encode(text)
    ids = TOKENIZER.encode(text, allowed_special={END_OF_TEXT})
    the_cat, sat = TOKENIZER.encode("the cat"), TOKENIZER.encode(" sat")
    assert ids == [*the_cat, eot, eot, *sat]
    assert ids == TIKTOKEN.encode(text, allowed_special={END_OF_TEXT})
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.count_bytes(ids) == len("the cat sat")
    spelled = TOKENIZER.encode(text, disallowed_special=())
    assert spelled == TIKTOKEN.encode(text, disallowed_special=()) and eot not in spelled
    assert TOKENIZER.decode(spelled) == text
    assert TOKENIZER.encode("the", allowed_special={"<|other|>"}) == TOKENIZER.encode("the")


def test_white_space_before_a_special_token():
    text = f"a  {END_OF_TEXT}\n b"
    assert TOKENIZER.encode(text, allowed_special="all") == TIKTOKEN.encode(
        text, allowed_special="all"
    )


def test_several_special_tokens_the_longest_first():
    tokenizer = BPETokenizer([], ["<a>", "<a><b>", "<b>"])
    assert tokenizer.special_tokens == {"<a>": 256, "<a><b>": 257, "<b>": 258}
    assert tokenizer.encode("<a><b><b><a>", allowed_special="all") == [257, 258, 256]
    assert tokenizer.encode("<b>x", {"<b>"}, disallowed_special={"<a>"}) == [258, 120]
    with pytest.raises(ValueError, match="'<a>' at position 1"):
        tokenizer.encode("x<a>", allowed_special={"<b>"})


def test_thousands_of_special_tokens_cost_nothing_per_text():
    """Their pattern is written once for a set of tokens, not for every text."""
    many = [f"<unused{i}>" for i in range(3000)]
    tokenizer = BPETokenizer([], many)
    tokenizer.encode("first")
    before = _either.cache_info()
    for i in range(50):
        assert tokenizer.encode(f"{i}<unused2999>", allowed_special="all")[-1] == 256 + 2999
        with pytest.raises(ValueError, match="'<unused7>' at position 0"):
            tokenizer.encode("<unused7>")
    after = _either.cache_info()
    assert after.misses == before.misses and after.hits == before.hits + 100
    tokenizer.special_tokens["<more>"] = 5000
    assert tokenizer.encode("<more>", allowed_special="all") == [5000]


def test_training_leaves_special_tokens_out():
    text = f"{END_OF_TEXT}ab " * 10
    tokenizer = BPETokenizer.train(text, 258)
    assert tokenizer.merges == [(ord("a"), ord("b"))]


def test_special_tokens_given_wrongly():
    with pytest.raises(TypeError, match="list of strings"):
        BPETokenizer([], "<|x|>")
    with pytest.raises(ValueError, match="differ"):
        BPETokenizer([], ["<x>", "<x>"])
    with pytest.raises(ValueError, match="at least one character"):
        BPETokenizer([], [""])
    with pytest.raises(TypeError, match='set of strings or "all"'):
        TOKENIZER.encode("x", allowed_special=END_OF_TEXT)


# -- ids to text ---------------------------------------------------------------------------


@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=40))
@example([0xF0, 0x9F])  # cut characters
@example([0xF0, 0x9F, 0x98, 0x61, 0x80, 0xE2, 0x82])
def test_streaming_gives_what_decode_gives(ids):
    stream = TOKENIZER.stream()
    assert "".join([*map(stream.push, ids), stream.finish()]) == TOKENIZER.decode(ids)


def test_streaming_waits_for_whole_characters():
    tokenizer = BPETokenizer([])
    stream = tokenizer.stream()
    assert [stream.push(i) for i in "é😀".encode()] == ["", "é", "", "", "", "😀"]
    assert stream.push(0xE2) == "" and stream.push(0x82) == ""
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize("wrong", [-1, 330, 70_000, np.int64(330)])
def test_an_unknown_id(wrong):
    for call in (TOKENIZER.decode, TOKENIZER.decode_bytes, TOKENIZER.count_bytes):
        with pytest.raises(IndexError, match=rf"token id {wrong} at place 1 .* 0 \.\. 329"):
            call([5, wrong])
    with pytest.raises(IndexError, match="token id"):
        TOKENIZER.stream().push(wrong)


def test_ids_of_other_shapes():
    assert TOKENIZER.decode(97) == "a"
    assert TOKENIZER.decode(np.int64(97)) == "a"
    assert TOKENIZER.decode(np.array(97)) == "a"
    assert TOKENIZER.decode(i for i in [97, 98]) == "ab"
    with pytest.raises(TypeError, match="rows of a batch one at a time"):
        TOKENIZER.decode(np.array([[97, 98]]))
    with pytest.raises(TypeError, match="got float"):
        TOKENIZER.decode([97.0])
    with pytest.raises(TypeError, match="got str"):
        TOKENIZER.decode("97")


# -- training ------------------------------------------------------------------------------


def test_training_from_several_texts_counts_them_together():
    parts = SAMPLE.split("\n\n")
    assert BPETokenizer.train(parts, 300) == BPETokenizer.train(iter(parts), 300)
    assert BPETokenizer.train([SAMPLE], 330) == TOKENIZER


def test_too_large_a_vocabulary_says_what_the_text_can_fill():
    with pytest.raises(ValueError, match="vocab_size 9999 is too large.*make 260 tokens"):
        BPETokenizer.train("abc abc abc", 9999)
    largest = BPETokenizer.train("abc abc abc", 260)
    assert [largest.token_bytes(i) for i in range(256, 259)] == [b"ab", b"abc", b" abc"]
    with pytest.raises(ValueError, match="make 259 tokens, no pair of tokens in it occurs 3 times"):
        BPETokenizer.train("abc abc abc", 260, min_count=3)


@pytest.mark.parametrize("vocab_size", [-1, 0, 256])
def test_too_small_a_vocabulary(vocab_size):
    with pytest.raises(ValueError, match="at least 257 .256 bytes and 1 special"):
        BPETokenizer.train("abc", vocab_size)


@pytest.mark.parametrize("nothing", ["", [], ["", ""], END_OF_TEXT])
def test_training_needs_text(nothing):
    with pytest.raises(ValueError, match="empty"):
        BPETokenizer.train(nothing, 300)


def test_wrong_merges():
    with pytest.raises(ValueError, match="merge 1 joins the ids 256 and 257, but only 0 .. 256"):
        BPETokenizer([(97, 98), (256, 257)])
    with pytest.raises(ValueError, match="two merges make the same token b'abc'"):
        BPETokenizer([(97, 98), (98, 99), (256, 99), (97, 257)])
    with pytest.raises(ValueError, match='"value" or "gpt2"'):
        BPETokenizer([], byte_order="big")


# -- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("byte_order", ["value", "gpt2"])
def test_save_and_load(tmp_path, byte_order):
    merges = [(220, 116), (256, 104)] if byte_order == "gpt2" else TOKENIZER.merges
    tokenizer = BPETokenizer(merges, ["<é>", END_OF_TEXT], byte_order, name="mine")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    for again in (load_tokenizer(path), BPETokenizer.load(str(path))):
        assert again == tokenizer and again.name == "mine"
        assert again.encode(SAMPLE) == tokenizer.encode(SAMPLE)
        assert again.special_tokens == tokenizer.special_tokens
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_file_is_readable(tmp_path):
    BPETokenizer.train("the the then", 260).save(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text("utf-8")) == {
        "format": "tinygrad_llm tokenizer",
        "version": 1,
        "kind": "bpe",
        "name": "bpe",
        "special_tokens": ["<|endoftext|>"],
        "byte_order": "value",
        "merges": ["h e", "t he", "Ġ the"],
    }


def test_a_failed_save_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    TOKENIZER.save(path)

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        BPETokenizer([]).save(path)
    assert load_tokenizer(path) == TOKENIZER
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "x"}, 'lacks "format"'),
        ({"version": 2}, "version 2; this release reads version 1"),
        ({"kind": "wordpiece"}, "kind 'wordpiece'; known are"),
        ({"kind": None}, "kind None"),
        ({"merges": None}, "'merges' should be a list"),
        ({"merges": [1, 2]}, "'merges' should be a list of strings"),
        ({"merges": ["h e", "t hi"]}, "merge 1 is 't hi', but nothing before it makes 'hi'"),
        ({"merges": ["he"]}, "merge 0 is 'he'"),
        ({"merges": ["h e", "h e"]}, "merge 1, 'h e', makes a token that exists"),
        ({"byte_order": "big"}, '"value" or "gpt2"'),
        ({"special_tokens": ["<x>", "<x>"]}, "differ"),
        ({"name": 3}, "'name' should be a str"),
    ],
)
def test_wrong_files_are_named(tmp_path, change, message):
    path = tmp_path / "t.json"
    TOKENIZER.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not json", b"\xff\xfe", b"[]", b'"x"'])
def test_what_is_no_tokenizer_file(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="^not a tokenizer file: ") as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)


def test_a_file_of_another_kind(tmp_path):
    CharTokenizer("ab").save(tmp_path / "t.json")
    with pytest.raises(ValueError, match="kind 'char', not a BPETokenizer"):
        BPETokenizer.load(tmp_path / "t.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist: a tokenizer is"):
        load_tokenizer(tmp_path / "none.json")


def test_equality():
    assert BPETokenizer(TOKENIZER.merges) == TOKENIZER
    assert BPETokenizer(TOKENIZER.merges[:-1]) != TOKENIZER
    assert BPETokenizer([]) != CharTokenizer("a")
    assert TOKENIZER != 3
    assert repr(TOKENIZER) == "BPETokenizer(name='bpe', vocab_size=330)"


# -- GPT-2's files -------------------------------------------------------------------------


def gpt2_files(folder, merges=("Ġ t", "h e"), encoder=None):
    from tinygrad_llm.text.bpe import _spell, gpt2_byte_order

    letters = [_spell(bytes([byte])) for byte in gpt2_byte_order()]
    tokens = [*letters, *(m.replace(" ", "") for m in merges), END_OF_TEXT]
    ids = {token: i for i, token in enumerate(tokens)} if encoder is None else encoder
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    (folder / "encoder.json").write_text(json.dumps(ids), "utf-8")
    return ids


def test_from_small_gpt2_files(tmp_path):
    gpt2_files(tmp_path, ["Ġ t", "h e", "Ġt he", "# #"])
    tokenizer = BPETokenizer.from_gpt2_files(tmp_path)
    assert tokenizer.special_tokens == {END_OF_TEXT: 260}
    assert tokenizer.encode("a the ##") == [64, 258, 220, 259]
    assert tokenizer.decode([64, 258, 220, 259]) == "a the ##"
    assert load_tokenizer(tmp_path) == tokenizer == load_tokenizer(tmp_path / "vocab.bpe")
    assert (
        BPETokenizer.from_gpt2_files(tmp_path / "vocab.bpe", tmp_path / "encoder.json") == tokenizer
    )
    tokenizer.save(tmp_path / "t.json")
    assert load_tokenizer(tmp_path / "t.json") == tokenizer


def test_wrong_gpt2_files(tmp_path):
    good = gpt2_files(tmp_path)
    swapped = {**good, "Ġt": 257, "he": 256}
    for encoder, message in [
        (swapped, r"gives 'Ġt' the id 257.*should be 256"),
        ({**good, "zz": 3}, "a token that no merge makes: 'zz'"),
        ({t: i for t, i in good.items() if t != "a"}, "gives 'a' the id None"),
        ([1], "one JSON object"),
        ({"a": "b"}, "one JSON object"),
    ]:
        gpt2_files(tmp_path, encoder=encoder)
        with pytest.raises(ValueError, match=message):
            BPETokenizer.from_gpt2_files(tmp_path)
    gpt2_files(tmp_path, ["Ġ t", "x yz"])
    with pytest.raises(ValueError, match="vocab.bpe: merge 1 is 'x yz'"):
        BPETokenizer.from_gpt2_files(tmp_path)
    gpt2_files(tmp_path)
    (tmp_path / "encoder.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="encoder.json is not JSON"):
        BPETokenizer.from_gpt2_files(tmp_path)
    (tmp_path / "vocab.bpe").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="vocab.bpe is not UTF-8"):
        BPETokenizer.from_gpt2_files(tmp_path)
    with pytest.raises(FileNotFoundError):
        BPETokenizer.from_gpt2_files(tmp_path / "nowhere")
