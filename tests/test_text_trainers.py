"""WordPiece, Unigram and BPE trained here: against slow twins, `tokenizers` and `sentencepiece`."""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_texts import CORPUS, ODD, drawn, texts

from tinygrad_llm.text import (
    BPETokenizer,
    PipelineTokenizer,
    from_pretrained,
    load_tokenizer,
    sampled,
    train_bpe,
    train_tokenizer,
    train_unigram,
    train_wordpiece,
    write_sentencepiece,
)
from tinygrad_llm.text.stages.sampling import n_best_cuts
from tinygrad_llm.text.trainers.lattice import Lattice
from tinygrad_llm.text.trainers.substrings import frequent_substrings
from tinygrad_llm.text.trainers.unigram import _digamma, learn_unigram
from tinygrad_llm.text.trainers.wordpiece import learn_pieces

tokenizers = pytest.importorskip("tokenizers")

SAMPLE = "\n".join(CORPUS[:1500]) + "日本語の文章と日本語の言葉。" * 9 + "😀🇯🇵 " * 9
NFKC = {"type": "NFKC"}


def largest(train, text, **options):
    """A tokenizer with the largest vocabulary that the text can fill."""
    try:
        return train(text, 10**6, **options)
    except ValueError as error:
        return train(text, error.most, **options)


MAKERS = {
    "bpe": lambda: largest(train_bpe, SAMPLE, coverage=0.8),
    "bpe, bytes": lambda: train_bpe(SAMPLE, 600, level="byte"),
    "bpe, NFKC": lambda: train_bpe(SAMPLE, 600, coverage=0.8, normalizer=NFKC),
    "wordpiece": lambda: largest(train_wordpiece, SAMPLE),
    "wordpiece, lower case": lambda: train_wordpiece(
        SAMPLE, 600, coverage=0.8, lowercase=True, around=("[CLS]", "[SEP]")
    ),
    "unigram": lambda: largest(train_unigram, SAMPLE, coverage=0.8),
    "unigram, NFKC": lambda: train_unigram(SAMPLE, 600, coverage=0.8, normalizer=NFKC),
    "unigram, <unk>": lambda: train_unigram(SAMPLE, 400, coverage=0.8, byte_fallback=False),
}
words = st.lists(st.text("aab", min_size=1, max_size=9) | st.text("abcé", min_size=1, max_size=6),
                 min_size=1, max_size=25)  # fmt: skip


@pytest.fixture(scope="module", params=MAKERS)
def trained(request, tmp_path_factory):
    """(ours, the same read by `tokenizers` from its file, the file)"""
    ours = MAKERS[request.param]()
    folder = tmp_path_factory.mktemp("t")
    ours.save(folder)
    file = folder / "tokenizer.json"
    return ours, tokenizers.Tokenizer.from_file(str(file)), file


def same(ours, theirs, text: str) -> None:
    for token in ours.special_tokens:  # which `tokenizers` finds in any text
        text = text.replace(token, "")
    expected = theirs.encode(text, add_special_tokens=False).ids
    ids = ours.encode_ordinary(text)
    assert ids == expected, (text, [ours.token(i) for i in ids])
    assert ours.encode(text) == theirs.encode(text).ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False), text


def test_ids_are_those_of_tokenizers(trained):
    for seed in range(1200):
        same(*trained[:2], drawn(seed + 900_000))


@given(texts)
def test_ids_of_drawn_texts_are_those_of_tokenizers(trained, text):
    same(*trained[:2], text)


def test_files_are_read_back(trained):
    ours, _, file = trained
    for again in (load_tokenizer(file), from_pretrained(file.parent), PipelineTokenizer.load(file)):
        assert again == ours and again.special_tokens == ours.special_tokens
        assert again.eot_token == ours.eot_token
        for seed in range(50):
            text = drawn(seed)
            assert again.encode(text, disallowed_special=()) == ours.encode(
                text, disallowed_special=()
            )


# -- what decoding promises ----------------------------------------------------------------
EXACT = {
    "bpe, characters": train_bpe(SAMPLE, 600, coverage=0.8),
    "bpe, bytes": train_bpe(SAMPLE, 600, level="byte"),
    "unigram": train_unigram(SAMPLE, 600, coverage=0.8),
}


@given(texts)
def test_decoding_gives_the_text_back(text):
    for name, tokenizer in EXACT.items():
        ids = tokenizer.encode(text, disallowed_special=())
        expected = text if name == "bpe, bytes" else text.replace("▁", " ")
        assert tokenizer.decode(ids) == expected, name
        assert tokenizer.count_bytes(ids) == len(expected.encode())
        stream = tokenizer.stream()
        assert "".join(map(stream.push, ids)) + stream.finish() == expected
        assert max(ids, default=0) < tokenizer.vocab_size == 600


@pytest.mark.parametrize("text", [*ODD, "<unk>", "<0xE3>", "<|endoftext|>", "", " ", "  a", "\n\n"])
def test_decoding_gives_odd_texts_back(text):
    for tokenizer in EXACT.values():
        for one in (text, f"a{text}b", f" {text} ", text * 3):
            ids = tokenizer.encode(one, disallowed_special=())
            expected = one if tokenizer is EXACT["bpe, bytes"] else one.replace("▁", " ")
            assert tokenizer.decode(ids) == expected
            special = set(tokenizer.special_tokens.values())
            assert not special & set(ids), "the spelling of a special token is ordinary text"


@given(texts)
def test_word_piece_gives_the_words_back(text):
    tokenizer = largest(train_wordpiece, "the cat sat on the mat, and ran ran")
    known = "".join(c for c in text if c in "thecasonmrd ,")
    expected = " ".join(known.replace(",", " , ").split())
    ids = tokenizer.encode(known)
    if tokenizer.special_tokens["[UNK]"] not in ids:
        assert tokenizer.decode(ids) == expected
    again = tokenizer.encode(tokenizer.decode(ids), allowed_special="all")
    assert again == ids


def test_special_tokens_around_a_text():
    tokenizer = MAKERS["wordpiece, lower case"]()
    begin, end = (tokenizer.special_tokens[t] for t in ("[CLS]", "[SEP]"))
    ids = tokenizer.encode("the cat")
    assert (ids[0], ids[-1]) == (begin, end)
    one = tokenizer.encode("the", add_special_tokens=False)
    two = tokenizer.encode("cat", add_special_tokens=False)
    both, types = tokenizer.with_special_tokens(one, two)
    assert both == [begin, *one, end, *two, end]
    assert types == [0] * (len(one) + 2) + [1] * (len(two) + 1)
    assert [*tokenizer.special_tokens.values()] == [0, 1, 2, 3, 4]
    assert tokenizer.names["pad_token"] == "[PAD]"


# -- WordPiece -----------------------------------------------------------------------------
def slow_pieces(counts, n, min_count):
    """WordPiece as in a textbook: every count again in every round, scores as fractions."""
    rows = [(list(word), k) for word, k in counts.items()]
    symbols = max(s for word in counts for s in word) + 1
    merges = []
    while len(merges) < n:
        pairs, singles = Counter(), Counter()
        for row, k in rows:
            for symbol in row:
                singles[symbol] += k
            for pair in pairwise(row):
                pairs[pair] += k
        often = [pair for pair, k in pairs.items() if k >= min_count]
        if not often:
            break
        score = {(a, b): Fraction(pairs[a, b], singles[a] * singles[b]) for a, b in often}
        best = min(often, key=lambda p: (-score[p], -pairs[p], p))
        for row, _ in rows:
            i = 0
            while i < len(row) - 1:
                if (row[i], row[i + 1]) == best:
                    row[i : i + 2] = [symbols + len(merges)]
                i += 1
        merges.append(best)
    return merges


@given(words, st.integers(1, 3))
def test_the_pairs_are_those_of_the_slow_twin(pieces, min_count):
    counts = Counter(tuple("abcé".index(c) for c in piece) for piece in pieces)
    n_symbols = max(s for word in counts for s in word) + 1
    fast = [pair for pair, _ in zip(learn_pieces(counts, n_symbols, min_count), range(15),
                                    strict=False)]  # fmt: skip
    assert fast == slow_pieces(counts, 15, min_count)


def test_the_pairs_of_a_real_text_are_those_of_the_slow_twin():
    counts = Counter(tuple(min(ord(c), 127) for c in word) for word in CORPUS[0].split() * 2)
    counts.update(tuple(word.encode()) for word in "the other cat that sat on the mat".split())
    n = max(s for word in counts for s in word) + 1
    fast = [pair for pair, _ in zip(learn_pieces(counts, n, 1), range(40), strict=False)]
    assert fast == slow_pieces(counts, 40, 1)


def test_the_score_prefers_what_comes_together():
    """hugs, pug, pun, bun: u and g are the most frequent pair, but g and s need each other."""
    counts = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    tokenizer = train_wordpiece(counts, 5 + 7 + 1, special_tokens=("[UNK]", "a", "b2", "c", "d"))
    assert tokenizer.token(12) == "##gs"
    bpe = train_bpe(counts, 257 + 8 + 1, special_tokens=())
    assert bpe.token(265) == "ug"
    assert tokenizer.decode(tokenizer.encode("hugs")) == "hugs"
    assert tokenizer.encode("zug hugs")[0] == tokenizer.special_tokens["[UNK]"]


# -- Unigram -------------------------------------------------------------------------------
def all_cuts(word, scores):
    """Every cut of a word into pieces that have a score."""
    for n in range(len(word)):
        for places in combinations(range(1, len(word)), n):
            edges = [0, *places, len(word)]
            cut = [word[a:b] for a, b in pairwise(edges)]
            if all(piece in scores for piece in cut):
                yield cut


def random_pieces(rng, letters="abc"):
    pieces = {*letters, *("".join(rng.choices(letters, k=rng.randint(2, 4))) for _ in range(9))}
    return {piece: -rng.uniform(0.5, 6) for piece in sorted(pieces)}


@given(st.integers(0, 10**9))
def test_the_lattice_is_the_sum_over_all_cuts(seed):
    rng = random.Random(seed)
    scores = random_pieces(rng)
    pieces = list(scores)
    counts = {"".join(rng.choices("abc", k=rng.randint(1, 8))): rng.randint(1, 9) for _ in range(6)}
    lattice = Lattice(list(counts), {piece: i for i, piece in enumerate(pieces)})
    values = np.array([scores[piece] for piece in pieces])
    weights = np.array(list(counts.values()), float)
    expected, log_likelihood = lattice.expected(values, weights)
    exact, total, best_sum = Counter(), 0.0, 0.0
    for word, n in counts.items():
        cuts = {tuple(c): math.exp(sum(map(scores.get, c))) for c in all_cuts(word, scores)}
        z = sum(cuts.values())
        total += n * math.log(z)
        best_sum += n * math.log(max(cuts.values()))
        for cut, p in cuts.items():
            for piece in cut:
                exact[piece] += n * p / z
    assert log_likelihood == pytest.approx(total, rel=1e-12)
    assert expected == pytest.approx([exact[piece] for piece in pieces], rel=1e-10, abs=1e-12)
    assert float(weights @ lattice.best(values)[0]) == pytest.approx(best_sum, rel=1e-12)
    assert float(lattice.used(values, weights) @ values) == pytest.approx(best_sum, rel=1e-12)
    kept = np.array([len(piece) < 3 for piece in pieces])  # the same after some pieces are gone
    numbers = np.where(kept, np.cumsum(kept) - 1, -1)
    lattice.keep(kept[lattice.piece], numbers)
    small = {piece: i for i, piece in enumerate(p for p in pieces if len(p) < 3)}
    again = Lattice(list(counts), small).expected(values[kept], weights)
    assert lattice.expected(values[kept], weights)[0] == pytest.approx(again[0], rel=1e-12)


@given(words, st.integers(2, 6))
def test_frequent_substrings_are_all_that_say_something(pieces, longest):
    counts = Counter(pieces)
    exact = Counter()
    for word, n in counts.items():
        for i in range(len(word)):
            for j in range(i + 1, min(len(word), i + longest) + 1):
                exact[word[i:j]] += n
    expected = {
        s: n for s, n in exact.items()
        if len(s) > 1 and n >= 2
        and (len(s) == longest or all(exact[s + c] < n for c in "abcé"))
    }  # fmt: skip
    assert dict(frequent_substrings(counts, longest)) == expected


def test_pieces_do_not_mix_kinds_of_characters():
    counts = {"▁ab1": 5, "▁▁ab": 5, "1,2": 5, "日本。": 5, "\t#": 5, " x": 5}
    assert {s for s, _ in frequent_substrings(counts, 9)} == {"▁ab", "ab", "日本", " x"}


def test_a_text_without_spaces_is_learned_in_parts():
    text = "".join(random.Random(0).choices(["ab", "cab", "d"], k=4000))
    tokenizer = train_unigram(text, 257 + 26 + 9)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) < len(text) / 2


def test_digamma_is_the_derivative_of_log_gamma():
    x = np.array([0.5, 0.7, 1.0, 3.3, 6.0, 50.0, 1e6])
    h = 1e-6 * np.maximum(1, x)
    expected = [
        (math.lgamma(a + b) - math.lgamma(a - b)) / (2 * b) for a, b in zip(x, h, strict=True)
    ]
    assert _digamma(x) == pytest.approx(expected, rel=1e-7)
    assert _digamma(np.array([1.0]))[0] == pytest.approx(-0.5772156649015329, rel=1e-12)


def test_em_raises_the_likelihood_and_pruning_loses_little():
    counts = Counter("the other cat that sat on the mat with the other hat".split() * 3)
    single = sorted(set("".join(counts)))
    pieces, scores = learn_unigram(counts, single, len(single) + 6)
    assert len(pieces) == len(single) + 6 and set(single) <= set(pieces)
    assert {"the", "other"} <= set(pieces)
    assert scores == sorted(scores, reverse=True)
    more, more_scores = learn_unigram(counts, single, len(single) + 12)
    likelihoods = []
    for some, values in ((single, None), (pieces, scores), (more, more_scores)):
        values = np.array(values) if values else np.full(len(some), -math.log(len(some)))
        lattice = Lattice(list(counts), {piece: i for i, piece in enumerate(some)})
        likelihoods.append(lattice.expected(values, np.array(list(counts.values()), float))[1])
    assert likelihoods == sorted(likelihoods)


@given(st.integers(0, 10**9))
def test_the_best_cuts_are_the_best_of_all(seed):
    rng = random.Random(seed)
    tokenizer = train_unigram(["".join(rng.choices("abc ", k=60))], 257 + 24 + 8, special_tokens=())
    model = tokenizer.model
    scores = {t: s for t, s in zip(model.tokens, model.scores, strict=True) if len(t) < 6}
    word = "".join(rng.choices("abc", k=7))
    cuts = sorted((sum(map(scores.get, c)) for c in all_cuts(word, scores)), reverse=True)
    best = n_best_cuts(model, word, 10)
    assert [score for _, score in best] == pytest.approx(cuts[:10], rel=1e-12)
    assert len({tuple(cut) for cut, _ in best}) == len(best)
    assert all("".join(cut) == word for cut, _ in best)
    assert sum(map(scores.get, model.cut(word))) == pytest.approx(cuts[0], rel=1e-12)
    assert all(sum(map(scores.get, cut)) == pytest.approx(s) for cut, s in best)


@pytest.mark.parametrize("alpha, n_best", [(1.0, None), (0.3, None), (0.0, None), (0.5, 4)])
def test_cuts_are_drawn_with_their_probabilities(alpha, n_best):
    tokenizer = train_unigram("the other cat that sat on the mat with the other hat " * 3, 310)
    model = tokenizer.model
    cuts = n_best_cuts(model, "▁other", n_best or 10**6)
    weights = np.exp([alpha * score for _, score in cuts])
    drawing = sampled(tokenizer, alpha, n_best, seed=1)
    n = 4000
    drawn_cuts = Counter(tuple(drawing.model.cut("▁other")) for _ in range(n))
    for (cut, _), p in zip(cuts, weights / weights.sum(), strict=True):
        assert abs(drawn_cuts[tuple(cut)] - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1
    assert sum(drawn_cuts.values()) == n
    text = "the other cat\n<|endoftext|> sat 日本"
    kinds = set()
    for _ in range(20):
        ids = drawing.encode(text, allowed_special="all")
        assert drawing.decode(ids) == text
        kinds.add(tuple(ids))
    assert len(kinds) > 1 or alpha == 1
    first, second = (sampled(tokenizer, alpha, n_best, seed=7) for _ in range(2))
    assert [first.encode("the cat") for _ in range(9)] == [
        second.encode("the cat") for _ in range(9)
    ]


def test_a_large_alpha_is_viterbi():
    tokenizer = EXACT["unigram"]
    drawing = sampled(tokenizer, alpha=1e6)
    for seed in range(100):
        text = drawn(seed)
        ids = drawing.encode(text, disallowed_special=())
        for i, j in zip(ids, tokenizer.encode(text, disallowed_special=()), strict=True):
            assert i == j


# -- SentencePiece -------------------------------------------------------------------------
def test_ids_are_those_of_sentencepiece(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    ours = EXACT["unigram"]
    path = tmp_path / "tokenizer.model"
    write_sentencepiece(ours, path)
    theirs, again = spm.SentencePieceProcessor(model_file=str(path)), from_pretrained(path)
    assert theirs.vocab_size() == again.vocab_size == ours.vocab_size
    assert (theirs.eos_id(), again.eot_token) == (ours.eot_token, ours.eot_token)
    for seed in range(1500):
        text = drawn(seed + 700_000).replace("▁", "").replace("\0", "")
        expected = theirs.encode(text)
        assert again.encode_ordinary(text) == expected
        assert ours.encode_ordinary(text) == expected, text
        assert theirs.decode(expected) == text == ours.decode(expected)


def test_our_pieces_explain_a_text_as_well_as_sentencepieces(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    text = data_file("tinyshakespeare.txt").read_text("utf-8")[:300_000]
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(text.split("\n")), model_writer=model, vocab_size=1500,
        model_type="unigram", normalization_rule_name="identity", minloglevel=2, num_threads=1,
        character_coverage=0.9995, byte_fallback=True,
    )  # fmt: skip
    theirs = spm.SentencePieceProcessor(model_proto=model.getvalue())
    ours = train_unigram(text, 1500)
    n = [len(theirs.encode(text)), len(ours.encode(text.replace("\n", " ")))]
    assert n[1] <= 1.02 * n[0], n
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model.getvalue())
    read = from_pretrained(path).model
    for word in ("the", "countrymen", "Capitol", "understanding"):
        cuts = n_best_cuts(read, f"▁{word}", 8)
        assert [cut for cut, _ in cuts] == theirs.nbest_encode(word, nbest_size=8, out_type=str)


@pytest.mark.parametrize("name", ["bpe", "wordpiece", "unigram, NFKC"])
def test_other_tokenizers_are_not_written_as_sentencepieces(name, tmp_path):
    with pytest.raises(ValueError, match="only a Unigram tokenizer of train_unigram"):
        write_sentencepiece(MAKERS[name](), tmp_path / "x.model")


# -- arguments and sizes -------------------------------------------------------------------
TEXT = "the cat sat on the mat, and the dog sat on the cat " * 4


@pytest.mark.parametrize("train", [train_bpe, train_wordpiece, train_unigram])
def test_the_largest_vocabulary_is_named(train):
    with pytest.raises(ValueError, match="is too large for this text") as caught:
        train(TEXT, 100_000)
    most = caught.value.most
    assert f"after {most:,} tokens" in str(caught.value)
    assert train(TEXT, most).vocab_size == most
    assert train(TEXT, most - 3).vocab_size == most - 3
    with pytest.raises(ValueError, match="is too large"):
        train(TEXT, most + 1)
    with pytest.raises(ValueError, match="vocab_size must be at least") as caught:
        train(TEXT, 3)
    least = int(str(caught.value).split("at least ")[1].split(" ")[0])
    assert train(TEXT, least).vocab_size == least


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"text": ""}, ValueError, "the text is empty"),
        ({"text": []}, ValueError, "the text is empty"),
        ({"text": b"abc"}, TypeError, "a text must be a str"),
        ({"text": [3]}, TypeError, "a text must be a str, got int"),
        ({"text": "\ud800"}, ValueError, "lone surrogate"),
        ({"text": {"a": 0}}, ValueError, "has the count 0"),
        ({"text": {"": 1}}, ValueError, "at least one character"),
        ({"text": {"a": True}}, ValueError, "has the count True"),
        ({"words": "x"}, ValueError, 'words must be "spaces" or "mecab"'),
        ({"coverage": 0}, ValueError, "coverage must be above 0"),
        ({"coverage": float("nan")}, ValueError, "coverage must be above 0"),
        ({"special_tokens": ["[UNK]", "[UNK]"]}, ValueError, "differ from one another"),
        ({"special_tokens": "[UNK]"}, TypeError, "a list of strings"),
        ({"normalizer": {"type": "x"}}, ValueError, "is not known here"),
    ],
)
@pytest.mark.parametrize("train", [train_bpe, train_wordpiece, train_unigram])
def test_wrong_arguments(train, arguments, error, message):
    arguments = {"text": TEXT, **arguments}
    with pytest.raises(error, match=message):
        train(vocab_size=400, **arguments)


def test_more_wrong_arguments():
    with pytest.raises(ValueError, match="level must be"):
        train_bpe(TEXT, 400, level="x")
    with pytest.raises(ValueError, match=r"special_tokens must have \"\[UNK\]\""):
        train_wordpiece(TEXT, 400, special_tokens=["[PAD]"])
    with pytest.raises(ValueError, match="around names '<s>'"):
        train_wordpiece(TEXT, 30, around=("<s>", "[SEP]"))
    with pytest.raises(ValueError, match="kind must be one of bpe, wordpiece, unigram, bpe-mecab"):
        train_tokenizer("x", TEXT, 400)
    unigram = train_tokenizer("unigram", TEXT, 300)
    for wrong in ({"alpha": -1.0}, {"alpha": float("inf")}, {"n_best": 0}):
        with pytest.raises(ValueError, match="must be"):
            sampled(unigram, **wrong)
    with pytest.raises(ValueError, match="n must be at least 1"):
        n_best_cuts(unigram.model, "a", 0)
    with pytest.raises(ValueError, match="only Unigram"):
        sampled(train_tokenizer("wordpiece", TEXT, 30))


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_training_is_the_same_every_time(kind):
    order = list(dict.fromkeys(CORPUS[:200]))
    first = train_tokenizer(kind, order, {"bpe": 1200, "wordpiece": 2100, "unigram": 1900}[kind])
    random.Random(1).shuffle(order)
    assert first == train_tokenizer(kind, order, first.vocab_size)
    assert first.eot_token == first.special_tokens["<|endoftext|>"]
    assert isinstance(first, BPETokenizer if kind == "bpe" else PipelineTokenizer)
