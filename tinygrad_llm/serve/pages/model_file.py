"""A small model as one HTML file: plain JavaScript runs it, without a server and a network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from ...models import LanguageModel
from ...models.described import Described, describe_decoder
from ...study.common.html import data, escape, page
from ...text import BPETokenizer, CharTokenizer, GPT2Tokenizer, PipelineTokenizer, Tokenizer
from ...text.described import describe_pipeline

__all__ = ["KINDS", "MOST_BYTES", "contents_of", "model_page"]

KINDS = {"F16": "<f2", "F32": "<f4"}
MOST_BYTES = 64 << 20  # of the weights in the page: a phone still opens it
_FILES = Path(__file__).parent / "files"

_BODY = """<main>
<div class="top"><h1>{title}</h1><button id="language" type="button"></button></div>
<p class="soft">{summary}</p>
<label class="whole" for="text"><span data-word="text">Text</span></label>
<textarea id="text" rows="4" maxlength="4000" spellcheck="false">{start}</textarea>
<div class="fields">
<label><span data-word="temperature">Temperature</span>
<input id="temperature" type="number" min="0" max="5" step="0.1" value="0.8"></label>
<label><span data-word="count">Tokens to write</span>
<input id="count" type="number" min="1" max="10000" value="100"></label>
<label><span data-word="seed">Seed</span><input id="seed" type="number" value="1"></label>
<button id="write" class="main" type="button" data-word="write">Write on</button>
<button id="stop" type="button" data-word="stop" disabled>Stop</button>
</div>
<p id="status" class="status" role="status"></p>
<section><h2 data-word="tokens">Tokens</h2>
<p class="soft" data-word="hint"></p>
<div id="tokens" class="tokens" role="toolbar" data-label="tokens"></div></section>
<div class="two">
<section><h2 data-word="next">What comes next</h2><p id="after"></p><div id="next"></div></section>
<section><h2 data-word="attention">Attention</h2>
<div class="fields"><label><span data-word="layer">Layer</span><select id="layer"></select></label>
<label><span data-word="head">Head</span><select id="head"></select></label></div>
<p id="where"></p><div id="looks"></div></section>
</div>
</main>
"""


def model_page(
    model: LanguageModel, tokenizer: Tokenizer, title: str = "A language model", kind: str = "F16",
    start: str = "",
) -> str:  # fmt: skip
    """The text of a page that holds a model and writes with it.

    kind: the number format of the weights in the page, "F16" or "F32"
    start: the text with which the page opens
    Raises: ValueError for a model or tokenizer that JavaScript does not know here, more than
    MOST_BYTES of weights, or weights that F16 does not hold.
    """
    contents = contents_of(describe_decoder(model), tokenizer, kind)
    summary = (f"{type(model).__name__}, {model.n_parameters():,} parameters: "
               f"{model.config.summary()}")  # fmt: skip
    body = _BODY.format(title=escape(title), summary=escape(summary), start=escape(start))
    names = ("words.js", "model.js", "tokenizer.js", "pipeline.js", "model_page.js")
    return page(
        title, body + data("model", contents), styles=[_FILES / "pages.css"],
        scripts=["heat.js", *(_FILES / name for name in names)], policy="",
    )  # fmt: skip


def contents_of(described: Described, tokenizer: Tokenizer, kind: str) -> dict[str, Any]:
    """What the script of a page reads: settings, weights, tokenizer.

    Raises: ValueError as model_page.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be {' or '.join(KINDS)} for html, got {kind!r}")
    fields = _tokenizer_fields(tokenizer)
    known = described.settings["vocab_size"]
    if tokenizer.vocab_size > known:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model {known}: they do not "
            "belong together"
        )
    size = np.dtype(KINDS[kind]).itemsize
    n_bytes = sum(w.size for w in described.weights.values()) * size * 4 // 3  # base64
    if n_bytes > MOST_BYTES:
        smaller = "; F16 needs half" if kind == "F32" else ""
        raise ValueError(
            f"the page would have {n_bytes / 1e6:,.0f} MB of weights, and at most "
            f"{MOST_BYTES / 1e6:,.0f} MB are allowed{smaller}: export gguf for a larger model"
        )
    tensors = {name: _encoded(name, w, kind) for name, w in described.weights.items()}
    return {"settings": described.settings, "kind": kind, "tokenizer": fields, "tensors": tensors}


def _encoded(name: str, weight: np.ndarray, kind: str) -> str:
    """The numbers in base64, little-endian."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(weight).astype(KINDS[kind])
    if not np.array_equal(np.isfinite(stored), np.isfinite(weight)):
        raise ValueError(f"{name} has numbers beyond float16: use --kind F32")
    return base64.b64encode(stored.tobytes()).decode("ascii")


def _tokenizer_fields(tokenizer: Tokenizer) -> dict[str, Any]:
    if isinstance(tokenizer, GPT2Tokenizer):
        from ...text import find_gpt2_files

        tokenizer = BPETokenizer.from_gpt2_files(*find_gpt2_files())
    if isinstance(tokenizer, PipelineTokenizer):
        return describe_pipeline(tokenizer)
    special = sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.__getitem__)
    if isinstance(tokenizer, CharTokenizer):
        return {"kind": "char", "characters": tokenizer.characters, "special": special}
    if isinstance(tokenizer, BPETokenizer):
        merges = [i for pair in tokenizer.merges for i in pair]
        firsts = [tokenizer.token_bytes(i)[0] for i in range(256)]
        return {"kind": "bpe", "bytes": firsts, "merges": merges, "special": special}
    raise ValueError(
        "html knows the tokenizers char, bpe, gpt2 and published ones of BPE, and this model has "
        f"{tokenizer.kind!r}"
    )
