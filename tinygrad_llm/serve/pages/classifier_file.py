"""A small classifier as one HTML file: classes, and the tokens that mattered, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...arrays.devices import to_numpy
from ...models import GPTClassifier
from ...models.described import Described, describe_decoder, describe_encoder
from ...models.encoder import Encoder
from ...study.common.html import data, escape, page
from ...text import Tokenizer
from .classify_page import RESULTS
from .model_file import contents_of

__all__ = ["classifier_page", "describe_classifier"]

POINTS = 8  # of the path along which the page averages gradients
_FILES = Path(__file__).parent / "files"
_BODY = """<main>
<div class="top"><h1>{title}</h1><button id="language" type="button"></button></div>
<p class="soft">{summary}</p>
<form id="form">
<label class="whole" for="text"><span data-word="text">Text</span></label>
<textarea id="text" rows="5" maxlength="4000">{start}</textarea>
<div class="fields"><button id="classify" class="main" data-word="classify">Classify</button></div>
</form>
<p id="status" class="status" role="status"></p>
{results}
</main>
"""


def describe_classifier(model: GPTClassifier) -> Described:
    """The settings and arrays of a classifier made of a GPT, Llama, Qwen2, Qwen3 or BERT.

    settings: besides those of describe_decoder, pool, n_classes and pad_token_id; weights: besides,
    class_head.weight (K, C) and class_head.bias (K)
    Raises: ValueError, which names the part, for other models.
    """
    config = model.config
    if isinstance(model.model, Encoder):
        if config.pool == "last":
            raise ValueError('html knows encoders with the pools first and mean, not "last"')
        described = describe_encoder(model.model)
    elif config.causal:
        described = describe_decoder(model.model, head=False)
    else:
        raise ValueError("html knows classifiers whose tokens see those before them (causal=True)")
    settings = {**described.settings, "pool": config.pool, "n_classes": config.n_classes,
                "pad_token_id": config.pad_token_id}  # fmt: skip
    head = {
        f"class_head.{name}": np.asarray(to_numpy(value.array), np.float32)
        for name, value in model.out_head.state_dict().items()
    }
    weights = {k: w for k, w in described.weights.items() if not k.startswith("out_head.")}
    return Described(settings, weights | head)


def classifier_page(
    model: GPTClassifier, tokenizer: Tokenizer, title: str = "A classifier", kind: str = "F16",
    start: str = "", *, classes: Sequence[str] | None = None, max_length: int | None = None,
    windows: bool = False,
) -> str:  # fmt: skip
    """The text of a page that holds a classifier and classifies with it.

    kind, start: as model_page
    classes: their names; max_length, windows: of texts, as `finetune.classify`
    Raises: ValueError as model_page.
    """
    contents = contents_of(describe_classifier(model), tokenizer, kind)
    n_classes, most = model.config.n_classes, model.context_length
    names = [str(k) for k in range(n_classes)] if classes is None else list(classes)
    if len(names) != n_classes:
        raise ValueError(f"the model has {n_classes} classes, but {len(names)} names were given")
    contents |= {"classes": names, "limit": min(max_length or most, most), "windows": windows,
                 "points": POINTS,
                 "padded": model.config.pool == "last" and max_length is not None}  # fmt: skip
    summary = (f"{type(model.model).__name__}, {model.n_parameters():,} parameters: "
               f"{', '.join(names)}")  # fmt: skip
    body = _BODY.format(
        title=escape(title), summary=escape(summary), start=escape(start), results=RESULTS
    )
    names_of_scripts = (
        "words.js", "model.js", "tokenizer.js", "pipeline.js", "encoder.js", "classify_view.js",
        "classifier_file.js",
    )  # fmt: skip
    return page(
        title, body + data("model", contents), styles=[_FILES / "pages.css"],
        scripts=["heat.js", *(_FILES / name for name in names_of_scripts)], policy="",
    )  # fmt: skip
