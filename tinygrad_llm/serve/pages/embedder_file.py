"""Sentence embeddings as one HTML file: similarities of texts without a server."""

from __future__ import annotations

from pathlib import Path

from ...finetune.embedding import SentenceEmbedder
from ...models.described import describe_encoder
from ...study.common.html import data, escape, page
from ...text import PipelineTokenizer
from .embed_page import BODY
from .model_file import contents_of

__all__ = ["embedder_page"]

_FILES = Path(__file__).parent / "files"
_TOP = """<div class="top"><h1>{title}</h1><button id="language" type="button"></button></div>
<p class="soft">{summary}</p>"""


def embedder_page(embedder: SentenceEmbedder, title: str, kind: str = "F16") -> str:
    """The text of a page that compares texts by their vectors.

    kind: the number format of the weights in the page, "F16" or "F32"
    Raises: ValueError as model_page, and for encoders other than BERT and DistilBERT.
    """
    model, tokenizer = embedder.model, embedder.tokenizer
    if not isinstance(tokenizer, PipelineTokenizer):
        raise ValueError(f"html knows encoders with published tokenizers, not {tokenizer.kind!r}")
    contents = contents_of(describe_encoder(model.model), tokenizer, kind)
    most = model.context_length
    contents |= {"pool": model.config.pool, "limit": min(embedder.max_length or most, most)}
    summary = f"{type(model.model).__name__}, {model.n_parameters():,} parameters"
    top = _TOP.format(title=escape(title), summary=escape(summary))
    names = ("words.js", "model.js", "pipeline.js", "encoder.js", "embed_file.js", "embed.js")
    return page(
        title, BODY.replace("{top}", top).replace("{key}", "") + data("model", contents),
        styles=[_FILES / "pages.css"], scripts=["heat.js", *(_FILES / name for name in names)],
        policy="",
    )  # fmt: skip
