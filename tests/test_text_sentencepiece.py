"""SentencePiece's models, trained here, against `sentencepiece`: ids, texts, and damaged files."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest
from hypothesis import given
from tokenizer_texts import CORPUS, drawn, texts

from tinygrad_llm.text import from_pretrained

spm = pytest.importorskip("sentencepiece")

OFTEN = {c for c, _ in Counter("".join(CORPUS)).most_common(300)} - {"\n", "\0", "▁"}
SENTENCES = ["".join(c for c in t if c in OFTEN) for t in CORPUS]
OPTIONS = {
    "bytes": {"byte_fallback": True, "user_defined_symbols": ["<user>", "ﬁn", "  "]},
    "identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "no prefix": {"add_dummy_prefix": False, "split_digits": True},
    "lower case": {"normalization_rule_name": "nmt_nfkc_cf", "character_coverage": 0.985},
    "suffix": {"treat_whitespace_as_suffix": True},
    "across words": {"byte_fallback": True, "split_by_whitespace": False},
}


def trained(kind: str, **options) -> bytes:
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, model_type=kind, vocab_size=1000,
        minloglevel=2, hard_vocab_limit=False, num_threads=1, **options,
    )  # fmt: skip
    return model.getvalue()


@pytest.fixture(scope="module", params=[f"{k}, {o}" for k in ("bpe", "unigram") for o in OPTIONS])
def pair(request, tmp_path_factory):
    """(theirs, ours) for one kind of model."""
    kind, name = request.param.split(", ", 1)
    data = trained(kind, **OPTIONS[name])
    path = tmp_path_factory.mktemp("s") / "tokenizer.model"
    path.write_bytes(data)
    return spm.SentencePieceProcessor(model_proto=data), from_pretrained(path)


def same(theirs, ours, text: str) -> None:
    expected = theirs.encode(text)
    ids = ours.encode_ordinary(text)
    assert ids == expected, (text, [ours.token(i) for i in ids], theirs.encode(text, out_type=str))
    if theirs.unk_id() not in ids:
        assert ours.decode(ids) == theirs.decode(ids), text
        stream = ours.stream()
        assert "".join(map(stream.push, ids)) + stream.finish() == theirs.decode(ids), text


@pytest.mark.suite_cases(9)
def test_fixed_texts(pair):
    for seed in range(1500):
        same(*pair, drawn(seed + 500_000))


@given(texts)
def test_drawn_texts(pair, text):
    same(*pair, text)


def test_what_is_added_comes_from_the_config(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(trained("bpe", byte_fallback=True))
    plain = from_pretrained(tmp_path)
    assert plain.encode("the") == plain.encode_ordinary("the")
    config = {"tokenizer_class": "LlamaTokenizer", "add_eos_token": True, "chat_template": "x"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    llama = from_pretrained(tmp_path)
    assert llama.encode("the") == [1, *plain.encode("the"), 2]
    assert (llama.bos_token, llama.eot_token, llama.names["chat_template"]) == (1, 2, "x")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "a vocabulary of 0 tokens"),
        (b"\x0a\x7fabc", "too long"),
        (b"\x0b\x00", "kind 3"),
        (b"\x0a" + b"\xff" * 12, "without an end"),
        (b"\x0a\x03\x0a\x01\xff", "is not a SentencePiece model"),
        (b"\x0a\x06\x0a\x01a\x15\x00\x00", "too long"),
        (b"\x0a\x08\x0a\x01a\x15\x00\x00\x80\x7f", "the score inf"),
        (b"\x0a\x05\x0a\x01a\x18\x09", "the type 9"),
        (b"\x12\x02\x18\x03", "neither a Unigram nor a BPE"),
    ],
)
def test_damaged_files(tmp_path, data, message):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        from_pretrained(path)
