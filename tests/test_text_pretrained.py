"""Published tokenizers against `tokenizers`, `sentencepiece` and `tiktoken`, trained here."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_texts import CORPUS, drawn, texts

from tinygrad_llm.text import BPETokenizer, PipelineTokenizer, from_pretrained
from tinygrad_llm.text.readers.sentencepiece import charsmap_of
from tinygrad_llm.text.readers.tiktoken_ranks import llama3_special_tokens
from tinygrad_llm.text.stages import patterns

hf = pytest.importorskip("tokenizers")
from tokenizers import (  # noqa: E402
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)  # fmt: skip

SPECIAL = ["<unk>", "<s>", "</s>", "<mask>"]
OFTEN = {c for c, _ in Counter("".join(CORPUS)).most_common(250)}
COMMON = ["".join(c for c in t if c in OFTEN) for t in CORPUS[:2500]]
BYTES = pre_tokenizers.ByteLevel.alphabet()


def byte_level(pattern: str | None = None, digits: bool = False, prefix: bool = False, **options):
    made = hf.Tokenizer(models.BPE(**options))
    stages = [pre_tokenizers.Digits(True)] if digits else []
    if pattern:
        stages.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    stages.append(pre_tokenizers.ByteLevel(prefix, use_regex=not pattern))
    made.pre_tokenizer = pre_tokenizers.Sequence(stages)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=900, special_tokens=SPECIAL, initial_alphabet=BYTES, show_progress=False
        ),
    )
    return made


def llama() -> hf.Tokenizer:
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    made = hf.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    made.decoder = decoders.Sequence(steps)
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # for the training only
    made.train_from_iterator(
        [t.lower() for t in CORPUS[:1500]],
        trainers.BpeTrainer(
            vocab_size=900,
            limit_alphabet=150,
            special_tokens=SPECIAL + byte_tokens,
            show_progress=False,
        ),
    )
    made.pre_tokenizer = None
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return made


def gemma() -> hf.Tokenizer:
    made = llama()
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def bert(lower: bool = True) -> hf.Tokenizer:
    made = hf.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(vocab_size=1500, special_tokens=names, show_progress=False),
    )
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def unigram(scheme: str = "always", split: bool = True) -> hf.Tokenizer:
    made = hf.Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    made.train_from_iterator(
        COMMON,
        trainers.UnigramTrainer(
            vocab_size=900,
            special_tokens=["<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)]
    )
    return made


def charsmap() -> hf.Tokenizer:
    """With SentencePiece's precompiled rules, as T5's and XLM-RoBERTa's files hold them."""
    spm = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(t.replace("\0", "") for t in COMMON),
        model_writer=model,
        vocab_size=600,
        minloglevel=2,
        hard_vocab_limit=False,
        num_threads=1,
    )
    rules = charsmap_of(model.getvalue())
    made = byte_level()
    made.normalizer = normalizers.Precompiled(rules)
    return made


def roberta() -> hf.Tokenizer:
    made = byte_level(prefix=True)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    made.add_special_tokens([hf.AddedToken("<mask>", lstrip=True)])
    return made


def mixed() -> hf.Tokenizer:
    made = hf.Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.NFD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(False)]
    )
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=900, limit_alphabet=200, special_tokens=SPECIAL, show_progress=False
        ),
    )
    made.add_tokens(
        [
            hf.AddedToken("tokenizer", normalized=True),
            hf.AddedToken("hello", single_word=True),
            hf.AddedToken("of", lstrip=True, rstrip=True, normalized=False),
        ]
    )
    return made


FAMILIES = {
    "gpt2": byte_level,
    "smollm2": lambda: byte_level(digits=True),
    "llama3": lambda: byte_level(patterns.LLAMA3, ignore_merges=True),
    "qwen2": lambda: byte_level(patterns.QWEN2),
    "o200k": lambda: byte_level(patterns.O200K),
    "roberta": roberta,
    "charsmap": charsmap,
    "llama2": llama,
    "gemma": gemma,
    "bert": bert,
    "bert, cased": lambda: bert(False),
    "t5": unigram,
    "unigram, whole": lambda: unigram("first", False),
    "mixed": mixed,
}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """(theirs, ours) for one family."""
    theirs = FAMILIES[request.param]()
    path = tmp_path_factory.mktemp("t") / "tokenizer.json"
    fields = json.loads(theirs.to_str())
    added = [t for t in fields["added_tokens"] if not t["content"].startswith("<0x")]
    path.write_text(json.dumps({**fields, "added_tokens": added}))
    return hf.Tokenizer.from_file(str(path)), from_pretrained(path)


def same(theirs, ours, text: str) -> None:
    expected = theirs.encode(text)
    ids = ours.encode(text, allowed_special="all")
    assert ids == expected.ids, (text, [ours.token(i) for i in ids], expected.tokens)
    if "Metaspace" in str(theirs.decoder) and any("▁" in ours.token(i)[1:] for i in ids):
        return  # `tokenizers` loses every space of a first token, not only the one in front
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False), text
    assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids), text


@pytest.mark.suite_cases(12)
def test_fixed_texts(pair):
    for seed in range(1200):
        same(*pair, drawn(seed + 100_000))


@given(texts)
def test_drawn_texts(pair, text):
    same(*pair, text)


def test_saved_files_read_the_same(pair, tmp_path):
    theirs, ours = pair
    ours.save(tmp_path)
    again, own = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json")), from_pretrained(tmp_path)
    for seed in range(300):
        text = drawn(seed)
        ids = theirs.encode(text).ids
        assert again.encode(text).ids == ids and own.encode(text, allowed_special="all") == ids
    assert own == ours and own.vocab_size == ours.vocab_size == theirs.get_vocab_size()


def test_pairs_and_types(pair):
    theirs, ours = pair
    expected = theirs.encode("the cat", "on it")
    first, second = (ours.encode(t, add_special_tokens=False) for t in ("the cat", "on it"))
    ids, types = ours.with_special_tokens(first, second)
    assert ids == expected.ids
    if "Sequence" not in str(theirs.post_processor):
        assert types == expected.type_ids


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_streams_are_decode(pair, numbers):
    """Any ids, also such as end in the middle of a character."""
    ours = pair[1]
    ids = [n % ours.vocab_size for n in numbers]
    stream = ours.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == ours.decode(ids)


def test_half_a_character_is_held_back():
    ours = from_tokenizers(byte_level())
    ids = ours.encode("日😀")
    pieces = []
    stream = ours.stream()
    for i in ids:
        pieces.append(stream.push(i))
        assert "\ufffd" not in pieces[-1]
    assert "".join(pieces) == "日😀" and stream.finish() == ""


def from_tokenizers(theirs):
    return PipelineTokenizer(json.loads(theirs.to_str()))


# ------------------------------------------------------------------ special tokens, new tokens
def test_special_tokens_only_where_allowed():
    ours = from_tokenizers(llama())
    with pytest.raises(ValueError, match="spells the special token '</s>'"):
        ours.encode("a</s>")
    as_text = ours.encode("a</s>", disallowed_special=())
    assert 2 not in as_text and ours.decode(as_text, skip_special_tokens=True) == "a</s>"
    assert ours.encode("a</s>", allowed_special={"</s>"})[-1] == 2
    assert ours.encode("a", add_special_tokens=False) == ours.encode("a")[1:]


@pytest.mark.parametrize("family", ["gpt2", "llama2", "bert", "t5"])
def test_new_tokens(family, tmp_path):
    theirs = FAMILIES[family]()
    ours = from_tokenizers(theirs)
    before, n = ours.encode("the lowest"), ours.vocab_size
    new = ours.add_tokens(["<new>", "the", "<other>"])
    known = theirs.token_to_id("the")
    assert new == ([n, known, n + 1] if known is not None else [n, n + 1, n + 2])
    assert ours.add_tokens(["<other>"]) == [new[2]] and ours.vocab_size == max(new) + 1
    assert ours.add_tokens(["<end>"], special=True) == [max(new) + 1]
    ids = ours.encode("a<new>b<other>")
    assert new[0] in ids and new[2] in ids and ours.decode([new[0]]) == "<new>"
    with pytest.raises(ValueError, match="special token"):
        ours.encode("a<end>")
    if known is None:
        assert ours.encode("lowest") == from_tokenizers(theirs).encode("lowest") and before
    ours.save(tmp_path)
    again = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.encode("a<new>b <end>").ids == ours.encode("a<new>b <end>", allowed_special="all")
    with pytest.raises(TypeError, match="list of strings"):
        ours.add_tokens("abc")


# ---------------------------------------------------------------------------- tiktoken's ranks
@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """A file of ranks, and tiktoken's own encoding of them."""
    tiktoken = pytest.importorskip("tiktoken")
    merges = BPETokenizer.train("".join(CORPUS[:300]), 700, special_tokens=())
    tokens = {merges.token_bytes(i): i for i in range(merges.vocab_size)}
    path = tmp_path_factory.mktemp("r") / "tokenizer.model"
    lines = [base64.b64encode(t) + b" %d\n" % i for t, i in tokens.items()]
    path.write_bytes(b"".join(lines))
    special = {"<|begin|>": 700, "<|end|>": 702}
    encoding = tiktoken.Encoding(
        "x", pat_str=patterns.LLAMA3, mergeable_ranks=tokens, special_tokens=special
    )
    return path, encoding, special


def test_ranks_are_tiktokens(ranks, tmp_path):
    path, encoding, special = ranks
    ours = from_pretrained(path, pattern=patterns.LLAMA3, special_tokens=special)
    ours.save(tmp_path)
    saved = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for seed in range(2000):
        text = drawn(seed)
        ids = encoding.encode(text, disallowed_special=())
        assert ours.encode(text, disallowed_special=()) == ids, text
        assert ours.decode(ids) == text
        assert saved.encode(text).ids == ids
    assert ours.encode("a<|end|>", allowed_special="all")[-1] == 702
    assert ours.vocab_size == 703 and ours.decode([701]) == ""


def test_llama3s_special_tokens():
    special = llama3_special_tokens()
    assert len(special) == 256 and len(set(special.values())) == 256
    assert special["<|begin_of_text|>"] == 128_000 and special["<|eot_id|>"] == 128_009
    assert special["<|start_header_id|>"] == 128_006 and special["<|end_header_id|>"] == 128_007
    assert special["<|reserved_special_token_250|>"] == 128_255


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "has no ranks|neither"),
        (b"YQ== 0\nYQ==\n", "line 2"),
        (b"YQ== 0\nYQ== 1\n", "line 2 repeats"),
        (b"YQ== 0\nYg== 0\n", "line 2 repeats"),
        (b"YQ== 0\n", "pass pattern"),
        (b"YQ= 0\n", "line 1"),
    ],
)
def test_damaged_ranks(tmp_path, data, message):
    path = tmp_path / "x.tiktoken"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        from_pretrained(path)


# ------------------------------------------------------------------------------- older folders
def test_vocab_txt(tmp_path):
    theirs = bert()
    vocabulary = theirs.get_vocab()
    (tmp_path / "vocab.txt").write_text(
        "\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n"
    )
    ours = from_pretrained(tmp_path)
    for seed in range(500):
        same(theirs, ours, drawn(seed))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert from_pretrained(tmp_path).encode("The") != ours.encode("The")


def test_vocab_json_and_merges(tmp_path):
    theirs = byte_level()
    theirs.model.save(str(tmp_path))
    ours = from_pretrained(tmp_path)
    for seed in range(500):
        text = drawn(seed).replace("<", "(")
        assert ours.encode_ordinary(text) == theirs.encode(text).ids


# --------------------------------------------------------------------- files that are not right
@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": None}, "no 'model'"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "'WordLevel' is not known"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}, "not in the vocabulary"),
        ({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}, "has the id -1"),
        ({"model": {"type": "BPE", "vocab": {"a": 1 << 40}, "merges": []}}, "an id is from 0"),
        ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}, "both have the id 0"),
        ({"model": {"type": "Unigram", "vocab": [["a", None]]}}, "row 0 is not a token"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////"}}, "charsmap"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{}] * 99}}, "99 normalizers"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "a repeated group"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"(?<n>a)\1"}}}, "not accepted"),
        ({"pre_tokenizer": {"type": "UnicodeScripts"}}, "known are"),
        ({"decoder": {"type": "CTC"}}, "known are"),
        ({"post_processor": {"type": "BertProcessing", "sep": ["a", 9], "cls": ["b", 9]}}, "id 9"),
        ({"added_tokens": [{"id": 5, "content": ""}]}, "0 characters"),
        ({"added_tokens": [{"id": 5, "content": "a"}]}, "in the vocabulary it has 0"),
    ],
)
def test_damaged_descriptions(tmp_path, change, message):
    whole = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, **change}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=message) as caught:
        from_pretrained(tmp_path)
    assert str(path) in str(caught.value)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no tokenizer.json"):
        from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        from_pretrained(tmp_path / "x")


def test_a_text_without_a_token_is_an_error():
    ours = PipelineTokenizer({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})
    with pytest.raises(ValueError, match="no token for 'b', and no unknown token"):
        ours.encode("ab")
