"""Published tokenizers in a page: JavaScript's ids and texts are Python's, over many texts."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from published import needs_weights
from tokenizer_texts import CORPUS, WORDS, drawn

import tinygrad_llm as torch
from tinygrad_llm.models import registry
from tinygrad_llm.serve.pages import model_page
from tinygrad_llm.text import PipelineTokenizer, from_pretrained
from tinygrad_llm.text.described import describe_pipeline, javascript
from tinygrad_llm.text.stages import patterns
from tinygrad_llm.text.stages.patterns import Pattern
from tinygrad_llm.text.trainers.bpe import train_bpe

from .test_model_page import LLAMA, script, until

pytestmark = pytest.mark.slow
SPLIT = {"type": "Split", "behavior": "Isolated"}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
TEXTS = [drawn(seed, 20) for seed in range(5000, 5150)] + [
    "don't YOU'LL we'ſ I'Kd 'S it's",
    "日本語のテキストです。", "a\u0301 é ﬁ ①",
    "<x>tool<x> <y>", "",
]  # fmt: skip


@functools.cache
def trained(level, size):
    texts = [*CORPUS[:80], " ".join(WORDS) * 20]
    return train_bpe(texts, size, level=level, coverage=0.8, name="small")


def byte_level(cuts, normalizer=None, added=(), **model):
    """A byte-level BPE with these cuts, as SmolLM2, Llama 3 and Qwen have them."""
    made = trained("byte", 400)
    size, n = made.vocab_size, len(made.added)
    tokens = [{"id": size + i, "content": t, "special": False, "normalized": normalized}
              for i, (t, normalized) in enumerate(added)]  # fmt: skip
    known = made.description
    assert n == 1
    return PipelineTokenizer(
        {**known, "normalizer": normalizer, "added_tokens": [*known["added_tokens"], *tokens],
         "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, LEVEL]},
         "model": {**known["model"], **model}}
    )  # fmt: skip


def sentences():
    """A BPE of characters with ▁, bytes for unknown signs, as Llama 2 and Gemma have them."""
    return trained("character", 420)


def split(pattern, **more):
    return {**SPLIT, "pattern": {"Regex": pattern}, **more}


TOKENIZERS = {
    "smollm2": lambda: byte_level(
        [{"type": "Digits", "individual_digits": True}, split(patterns.GPT2)]
    ),
    "llama3": lambda: byte_level([split(patterns.LLAMA3)], ignore_merges=True),
    "qwen2": lambda: byte_level(
        [split(patterns.QWEN2)], {"type": "NFC"}, added=[("<x>", False), ("<x>tool", False)]
    ),
    "o200k": lambda: byte_level([split(patterns.O200K)], added=[("<y>", True)]),
    "characters": sentences,
}
for behaviour in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
    TOKENIZERS[behaviour] = lambda how=behaviour: byte_level(
        [split(r"[\s,.]|\p{Lu}", behavior=how, invert=how == "Contiguous"),
         {"type": "Punctuation", "behavior": how}]
    )  # fmt: skip


def page_of(tokenizer, folder, kind="F32"):
    torch.manual_seed(3)
    entry = registry.find("Llama")
    sizes = {**LLAMA, "tie_weights": True, "vocab_size": tokenizer.vocab_size}
    model = entry.model(entry.config(**sizes)).eval()
    path = folder / "page.html"
    path.write_text(model_page(model, tokenizer, "small", kind, "the cat"), "utf-8")
    return model, path


def check(browser, tokenizer, path, texts):
    browser.get_log("browser")
    browser.get(path.as_uri())
    expected = [[int(i) for i in tokenizer.encode(t, disallowed_special=())] for t in texts]
    ids = script(browser, "return arguments[0].map(t => model.encode(t))", texts)
    for text, one, other in zip(texts, ids, expected, strict=True):
        assert one == other, text
    decoded = script(browser, "return arguments[0].map(i => model.decode(i))", expected)
    n = len(tokenizer.template.around([])[0])
    for text, one, all_ids in zip(texts, decoded, expected, strict=True):
        assert one == tokenizer.decode(all_ids[n:]), text
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


@pytest.mark.ci
@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_and_texts_are_python_s(browsers, tmp_path, name):
    tokenizer = TOKENIZERS[name]()
    model, path = page_of(tokenizer, tmp_path)
    browser = browsers()
    check(browser, tokenizer, path, TEXTS)
    ids = ([int(i) for i in tokenizer.encode("the lowest 12 ")] * 9)[: LLAMA["context_length"]]
    shown = np.array(script(browser, "return model.logits(arguments[0])", ids))
    with torch.no_grad():
        np.testing.assert_allclose(shown, model(torch.tensor([ids])).numpy()[0], atol=1e-4, rtol=0)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["smollm2", "gemma"])
def test_the_published_ones(browsers, tmp_path, name):
    published = {"smollm2": "smollm2-135m-instruct", "gemma": "gemma-3-270m"}[name]
    needs_weights(published)
    tokenizer = from_pretrained(published)
    fields = describe_pipeline(tokenizer)
    assert len(fields["vocabulary"]) == tokenizer.vocab_size
    _, path = page_of(tokenizer, tmp_path, "F16")
    check(browsers(), tokenizer, path, TEXTS)


def test_a_writer_ends_at_the_special_token_and_keeps_what_begins_a_text(browsers, tmp_path):
    from tinygrad_llm.text.stages.templates import template_of

    made = TOKENIZERS["llama3"]()
    end = made.added[0].id
    tokenizer = PipelineTokenizer(made.description, template=template_of([end], []))
    model, path = page_of(tokenizer, tmp_path)
    browser = browsers()
    check(browser, tokenizer, path, TEXTS[:20])
    browser.get(path.as_uri())
    script(browser, "document.getElementById('temperature').value = 0;"
                    "document.getElementById('count').value = 5;"
                    "document.getElementById('write').click()")  # fmt: skip
    until(browser, "return !document.getElementById('write').disabled")
    from tinygrad_llm.generation import generate

    ids = tokenizer.encode("the cat", disallowed_special=())
    out = [int(i) for i in generate(model, ids, 5, temperature=0.0)]
    text = script(browser, "return document.getElementById('text').value")
    assert text == tokenizer.decode(out[1:])


def test_what_cannot_be_written_is_named():
    made = TOKENIZERS["qwen2"]()

    def changed(**parts):
        return PipelineTokenizer({**made.description, **parts})

    for parts, words in (
        ({"normalizer": {"type": "Lowercase"}}, "the normalizer Lowercase cannot"),
        ({"pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "x"}}, "CharDelimiterSplit"),
        ({"added_tokens": [{"id": 999, "content": "<z>", "lstrip": True}]}, "token '<z>' cannot"),
    ):
        with pytest.raises(ValueError, match=words):
            describe_pipeline(changed(**parts))
    pieces = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}
    other = PipelineTokenizer({"model": pieces})
    with pytest.raises(ValueError, match="of the model Unigram cannot be written so"):
        describe_pipeline(other)


def test_patterns_are_written_for_javascript():
    assert javascript(Pattern(r"(?i:'s)|x$")) == "(?:'[Ssſ])|x$"
    assert javascript(Pattern(r".[^\-a]")) == r"[^][^\-a]"
