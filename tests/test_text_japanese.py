"""Japanese: words by MeCab, normalisation, and each trainer on Japanese text."""

from __future__ import annotations

import json
import sys

import pytest
from data import data_file
from hypothesis import given
from tokenizer_texts import ODD, drawn, texts

from tinygrad_llm.text import (
    TRAINED_KINDS,
    PipelineTokenizer,
    japanese_normalizer,
    load_tokenizer,
    train_bpe,
    train_tokenizer,
    train_unigram,
    train_wordpiece,
)
from tinygrad_llm.text.stages import japanese
from tinygrad_llm.text.stages.japanese import japanese_words
from tinygrad_llm.text.stages.normalizers import build_normalizer
from tinygrad_llm.text.stages.part import Part

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("fugashi")

TOY = {"たのしい": 6, "たのしさ": 2, "うつくしい": 4, "うつくしさ": 1}
SAMPLE = (
    "今日は天気がいいので、東京の公園を散歩しました。公園では子どもたちが遊んでいました。\n"
    "日本語の文章には 空白がありません。BERT と GPT は言葉をトークンに分けます！！\n"
    "楽しい時間は早く過ぎる。美しい花が咲いている。データ 123 個を ｶﾀｶﾅ で書く〜〜〜。\n"
) * 4


def test_the_merges_of_the_toy_words():
    tokenizer = train_bpe(TOY, 257 + 9 + 9, special_tokens=(), min_count=1)
    merges = sorted(tokenizer.model.ranks, key=tokenizer.model.ranks.__getitem__)
    assert merges == [
        ("し", "い"), ("た", "の"), ("たの", "しい"), ("う", "つ"), ("うつ", "く"),
        ("うつく", "しい"), ("し", "さ"), ("たの", "しさ"), ("うつく", "しさ"),
    ]  # fmt: skip
    assert [tokenizer.token(i) for i in tokenizer.encode("たのしさ")] == ["たのしさ"]
    assert [tokenizer.token(i) for i in tokenizer.encode("うしい")] == ["う", "しい"]


def test_words():
    assert japanese_words("今日は 晴れです。\n [x]") == [
        "今日", "は", " 晴れ", "です", "。", "\n", " [", "x", "]",
    ]  # fmt: skip
    assert japanese_words(" 今日  は\0", keep_spaces=False) == ["今日", "は"]
    assert japanese_words("") == [] and japanese_words(" \n") == [" \n"]


@given(texts)
def test_words_together_are_the_text(text):
    assert "".join(japanese_words(text)) == text
    assert "" not in japanese_words(text)
    words = japanese_words(text, keep_spaces=False)
    assert "".join(words) == "".join(text.replace("\0", " ").split()).replace(
        "\x1c", ""
    ) or any(c in text for c in "\x1c\x1d\x1e\x1f")  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(text):
    for one in (text, f"日本{text}語", text * 3):
        assert "".join(japanese_words(one)) == one


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Ａ１ｶﾞ㌔①", "A1ガキロ1"), ("すごーーーい！！！？？", "すごーい!?"), ("え〜〜～", "え〜"),
        ("時々、、、・・・", "時々、・"), ("a‐b−c", "a-b-c"), ("そう。。", "そう。"), ("", ""),
    ],
)  # fmt: skip
def test_normalisation(text, expected):
    assert build_normalizer(Part(japanese_normalizer(), "x"))(text) == expected


def test_normalisation_is_that_of_tokenizers():
    fields = json.dumps(
        {"version": "1.0", "added_tokens": [], "normalizer": japanese_normalizer(),
         "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}
    )  # fmt: skip
    theirs = tokenizers.Tokenizer.from_str(fields).normalizer
    ours = build_normalizer(Part(japanese_normalizer(), "x"))
    for seed in range(600):
        text = drawn(seed).replace("ſ", "")
        assert ours(text) == theirs.normalize_str(text), text


EXACT = {
    "bpe": train_bpe(SAMPLE, 380, words="mecab"),
    "bpe, bytes": train_bpe(SAMPLE, 330, words="mecab", level="byte"),
    "unigram": train_unigram(SAMPLE, 390, words="mecab"),
    "bpe, spaces": train_bpe(SAMPLE, 400),
    "unigram, spaces": train_unigram(SAMPLE, 430),
}


@given(texts)
def test_decoding_gives_the_text_back(text):
    for name, tokenizer in EXACT.items():
        one = f"{text}今日は{text}"
        expected = one.replace("▁", " ") if "spaces" in name else one
        assert tokenizer.decode(tokenizer.encode(one, disallowed_special=())) == expected, name


@pytest.mark.parametrize("name", EXACT)
def test_files_are_read_back(name, tmp_path):
    tokenizer = EXACT[name]
    tokenizer.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert again == tokenizer
    assert again.encode(SAMPLE) == tokenizer.encode(SAMPLE)
    assert again.decode(again.encode(SAMPLE)) == SAMPLE


def test_normalised_text_comes_back():
    normalize = build_normalizer(Part(japanese_normalizer(), "x"))
    for train in (train_bpe, train_unigram):
        tokenizer = train(SAMPLE, 380, words="mecab", normalizer=japanese_normalizer())
        assert tokenizer.decode(tokenizer.encode(SAMPLE)) == normalize(SAMPLE) != SAMPLE


def test_word_piece_over_mecab_is_word_piece_over_its_words():
    ours = train_wordpiece(SAMPLE, 130, words="mecab")
    assert ours.decode(ours.encode("今日は天気がいい。")) == "今日 は 天気 が いい 。"
    fields = ours._fields()
    fields["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    theirs = tokenizers.Tokenizer.from_str(json.dumps(fields))
    for seed in range(300):
        text = drawn(seed) + "今日の公園"
        words = " ".join(japanese_words(ours._normalize(text), keep_spaces=False))
        expected = theirs.encode(words).ids
        if "\x1c" not in words and "[" not in text:
            assert ours.encode(text, disallowed_special=()) == expected, text


@pytest.mark.parametrize("kind", TRAINED_KINDS)
def test_real_text(kind):
    lines = data_file("rag-docs-ja.jsonl").read_text("utf-8").splitlines()[:4]
    text = "\n".join(json.loads(line)["text"] for line in lines)
    tokenizer = train_tokenizer(kind, text, 2500)
    ids = tokenizer.encode(text)
    assert tokenizer.vocab_size == 2500 and len(ids) < len(text)
    unknown = tokenizer.special_tokens.get("[UNK]")
    assert ids.count(unknown) < 0.02 * len(ids)
    if not kind.startswith("wordpiece"):
        assert tokenizer.decode(ids) == text


def test_without_mecab_the_extra_is_named(monkeypatch):
    description = EXACT["bpe"]._fields()
    japanese.mecab.cache_clear()
    monkeypatch.setitem(sys.modules, "fugashi", None)
    for run in (
        lambda: PipelineTokenizer(description),
        lambda: train_tokenizer("unigram-mecab", SAMPLE, 390),
    ):
        with pytest.raises(ImportError, match=r'pip install "tinygrad_llm\[ja\]"'):
            run()
    monkeypatch.undo()
    assert japanese_words("今日は") == ["今日", "は"]


def test_a_wrong_stage_is_refused():
    fields = EXACT["bpe"]._fields()
    fields["pre_tokenizer"] = {"type": "MeCab", "keep_spaces": 3}
    with pytest.raises(ValueError, match="'keep_spaces' should be a bool, got 3"):
        PipelineTokenizer(fields)
