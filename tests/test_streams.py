"""Text piece by piece: whole characters, and stop strings wherever the tokens are cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.generation import TextStream, generate, generate_steps, stream_text
from tinygrad_llm.text import BPETokenizer, CharTokenizer, SimpleTokenizer

BYTES = BPETokenizer([])  # every token is a byte
BPE = BPETokenizer.train("the end of the text. ### End 終わり、終 é😀 ###" * 3, 285)
CHAR = CharTokenizer("abcdefghijklmnopqrstuvwxyz .#E終わり、é😀-")


class Script(nn.Module):
    """A model that writes the given ids, one text per row, after a prompt of `start` tokens."""

    def __init__(self, *texts, vocab_size=400, start=1):
        super().__init__()
        self.texts, self.vocab_size, self.start = texts, vocab_size, start

    def forward(self, idx):
        at = idx.shape[1] - self.start
        ids = [text[at] if at < len(text) else 0 for text in self.texts]
        logits = nn.functional.one_hot(tg.tensor(ids), self.vocab_size).float()  # (B, V)
        return 30.0 * logits.unsqueeze(1).expand(-1, idx.shape[1], -1)  # (B, T, V)


def before_stop(text, stops):
    """The text up to the stop string that is complete first, of several the longest; by search."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


alphabet = st.text("ab終é😀", max_size=12)
stop_lists = st.lists(st.text("ab終é😀", min_size=1, max_size=4), min_size=1, max_size=3)


@given(alphabet, stop_lists, st.sampled_from([BYTES, BPE, CHAR]))
@example("ab", ["b", "ab"], BYTES)
@example("aab", ["ab"], CHAR)
@example("abab終", ["abb", "bab", "終"], BYTES)
@example("a終", ["終"], BYTES)
@example("ééb", ["éb", "é終"], BYTES)
def test_stop_strings_however_the_text_is_cut(text, stops, tokenizer):
    """With tokens that are bytes, characters and more; held is only what could begin a stop."""
    stream, shown, pushed = TextStream(tokenizer, stops), "", []
    expected, stopped = before_stop(text, stops)
    for token_id in tokenizer.encode(text):
        shown += stream.push(token_id)
        pushed.append(token_id)
        assert expected.startswith(shown)
        if stream.stopped:
            break
        whole = tokenizer.decode_bytes(pushed).decode("utf-8", errors="ignore")
        held = whole[len(shown) :]
        assert whole.startswith(shown)
        assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)
    assert stream.stopped == stopped
    assert shown + stream.finish() == expected
    assert stream.push(tokenizer.encode("z")[0]) == ("" if stopped else "z")


def test_a_stop_string_is_held_until_it_is_decided():
    stream = TextStream(CHAR, ["###", "# e"])
    pieces = [stream.push(i) for i in CHAR.encode("a#b## d# ##")]
    assert pieces == ["a", "", "#b", "", "", "#", "# d", "", "", "# ", ""]
    assert not stream.stopped and stream.finish() == "##"
    stream = TextStream(CHAR, ["###", "# e"])
    assert [stream.push(i) for i in CHAR.encode("a### ")] == ["a", "", "", "", ""]
    assert stream.stopped and stream.finish() == ""


def test_half_a_character_at_the_end():
    euro = "€".encode()
    assert "".join(text_of(Script([97, *euro]), 3)) == "a\ufffd"  # E2 82 without AC
    assert list(text_of(Script([97, *euro]), 4)) == ["a", "€"]
    # before a stop string: what is left of a character that never came whole
    assert "".join(text_of(Script([97, *euro[:2], 35, 98]), 5, stop_strings="#")) == "a\ufffd"


def text_of(model, n, tokenizer=BYTES, **options):
    return stream_text(model, [5], n, tokenizer=tokenizer, **options)


@pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHAR], ids=["bytes", "bpe", "char"])
@pytest.mark.parametrize("stop", ["### E", " 終", "終わ", "終", "é😀", ". #", "nowhere"])
def test_streams_of_text(tokenizer, stop):
    text = (
        "the 終 end. ### E 終わり、é😀 z" if tokenizer is CHAR else "the 終 end. ### End é😀終わり"
    )
    ids = tokenizer.encode(text)
    pieces = list(text_of(Script(ids), len(ids), tokenizer, stop_strings=[stop]))
    expected, _ = before_stop(text, [stop])
    assert "".join(pieces) == expected and "" not in pieces and "\ufffd" not in "".join(pieces)


def test_streams_end_before_a_stop_token():
    ids = CHAR.encode("abc.de")
    stop = CHAR.encode(".")[0]
    assert list(text_of(Script(ids), 6, CHAR, stop_tokens=stop)) == ["a", "b", "c"]
    # what was held is shown, because no stop string came
    options = dict(stop_tokens=stop, stop_strings=["bcd"])
    assert list(text_of(Script(ids), 6, CHAR, **options)) == ["a", "bc"]
    assert list(text_of(Script(ids), 3, CHAR, stop_strings=["bcd"])) == ["a", "bc"]
    assert list(text_of(Script(ids), 0, CHAR)) == []


def test_special_tokens_are_spelled():
    tokenizer = CharTokenizer("ab", special_tokens=["<end>"])
    model = Script([0, 1, 2, 0], vocab_size=3)
    assert "".join(text_of(model, 4, tokenizer)) == "ab<end>a"
    assert "".join(text_of(model, 4, tokenizer, stop_strings="<end>")) == "ab"


def test_words_with_spaces():
    tokenizer = SimpleTokenizer.train("to be or not to be, that is the question.")
    ids = tokenizer.encode("to be, or not to be.")
    assert "".join(text_of(Script(ids), len(ids), tokenizer)) == "to be, or not to be."
    got = "".join(text_of(Script(ids), len(ids), tokenizer, stop_strings=" not t"))
    assert got == "to be, or"


def test_a_stream_computes_no_more_than_is_read():
    calls = []

    class Counting(Script):
        def forward(self, idx):
            calls.append(idx.shape[1])
            return super().forward(idx)

    pieces = text_of(Counting(CHAR.encode("abcd")), 4, CHAR)
    assert calls == []
    assert next(pieces) == "a" and calls == [1]
    assert next(pieces) == "b" and calls == [1, 2]
    assert tg.is_grad_enabled()


# ---------------------------------------------------------------------------- ids, stop strings
def test_ids_end_with_the_token_that_completes_the_stop_string():
    ids = BPE.encode("the end. ### End of the text")
    whole = generate(Script(ids), [0], len(ids)).tolist()
    assert whole == [0, *ids]
    stopped = generate(Script(ids), [0], len(ids), stop_strings="## E", tokenizer=BPE).tolist()
    n = next(n for n in range(len(ids)) if "## E" in BPE.decode(ids[:n]))
    assert stopped == [0, *ids[:n]]
    steps = generate_steps(Script(ids), [0], 99, stop_strings="## E", tokenizer=BPE)
    assert [s.item() for s in steps] == ids[:n]


def test_the_prompt_is_not_searched():
    prompt = CHAR.encode("ab")
    model = Script(CHAR.encode("cabz"), start=2)
    got = generate(model, prompt, 4, stop_strings=["ab", "bc"], tokenizer=CHAR)
    assert CHAR.decode(got) == "abcab"


def test_rows_that_end_at_different_times():
    texts = [CHAR.encode(t) for t in ("a.#zz", "#zzzz", "ab#zz", "zE")]
    options = dict(stop_strings=["#"], stop_tokens=CHAR.encode("E"), tokenizer=CHAR)
    got = generate(Script(*texts), [[0]] * 4, 5, return_logprobs=True, **options)
    rows = [CHAR.decode(row[1:]) for row in got.ids.tolist()]
    assert rows == ["a.#", "#EE", "ab#", "zEE"]  # filled up with the stop token
    assert got.lengths.tolist() == [3, 1, 3, 1]
    ended = [[False] * 3, [False, True, True], [False] * 3, [False, False, True]]
    assert (got.logprobs == 0.0).tolist() == ended or got.logprobs.abs().max().item() < 1e-6
    options.pop("stop_tokens")
    rows = generate(Script(*texts[:3]), [[0]] * 3, 5, **options)[:, 1:].tolist()
    assert rows == [texts[0][:3], [texts[1][0], 0, 0], texts[2][:3]]  # 0 without a stop token


def test_stop_strings_end_beams_too():
    ids = BPE.encode("the end. ### End of the text")

    class Rows(nn.Module):  # the same text for every beam, from a vocabulary with unused ids
        def forward(self, idx):
            return Script(*[ids] * idx.shape[0]).forward(idx)

    options = dict(stop_strings=["## E"], tokenizer=BPE)
    expected = generate(Rows(), [0], len(ids), **options).tolist()
    assert 1 < len(expected) < len(ids)
    for early_stopping in (True, False):
        options["early_stopping"] = early_stopping
        assert generate(Rows(), [0], len(ids), num_beams=3, **options).tolist() == expected


# ----------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"idx": [[1], [2]]}, ValueError, "stream_text takes one prompt, got 2"),
        ({"num_beams": 2}, ValueError, "beam search knows its text at the end only"),
        (
            {"tokenizer": None},
            TypeError,
            "tokenizer must be one of tinygrad_llm.text, got NoneType",
        ),
        ({"tokenizer": "gpt2"}, TypeError, r"got str: it has no stream\(\)"),
        ({"stop_strings": [""]}, ValueError, "at least one character"),
        ({"tempature": 1.0}, TypeError, r"stream_text\(\) got .* did you mean 'temperature'\?"),
    ],
)
def test_bad_arguments(options, error, message):
    options = {"idx": [1], "tokenizer": CHAR, **options}
    with pytest.raises(error, match=message):
        stream_text(Script([1, 2]), options.pop("idx"), 2, **options)


def test_a_vocabulary_larger_than_the_tokenizers():
    with pytest.raises(IndexError, match="token id 399 .* is not in this tokenizer's vocabulary"):
        list(text_of(Script([399]), 1, CHAR))


def test_ids_that_the_tokenizer_lacks_have_no_text():
    """A model's vocabulary may be padded: with stop strings these ids are kept, in beams too."""
    from tinygrad_llm import manual_seed
    from tinygrad_llm.generation import generate
    from tinygrad_llm.models import GPT, GPTConfig
    from tinygrad_llm.text import CharTokenizer

    manual_seed(0)
    model = GPT(GPTConfig(9, context_length=12, emb_dim=8, n_heads=2, n_layers=1, drop_rate=0.0))
    options = {"tokenizer": CharTokenizer.train("abc"), "stop_strings": "b"}
    for drawn in ({}, {"temperature": 2.0, "seed": 1}, {"num_beams": 3}):
        free = generate(model, [0, 1], 8, **drawn).tolist()
        assert max(free) > 2
        ids = generate(model, [0, 1], 8, **drawn, **options).tolist()
        if "num_beams" not in drawn:
            end = free.index(1, 2) + 1 if 1 in free[2:] else len(free)
            assert ids == free[:end]
