"""The page of a training run: losses, texts, gradients of the layers, pause and continue."""

from __future__ import annotations

from collections.abc import Sequence

from ..app import Page
from .served import served_page

__all__ = ["run_page"]

_BODY = """<main>
{top}
{key}
<p id="status" class="status" role="status"></p>
<div class="fields"><button id="pause" class="main" type="button" disabled></button>
<label class="tick"><input id="live" type="checkbox" checked>
<span data-word="live">Update every 2 seconds</span></label></div>
<div id="results" class="hidden">
<dl id="facts" class="facts"></dl>
<section><h2 data-word="losses">Losses</h2><div id="chart" class="chart"></div></section>
<section><h2 data-word="norms">Gradient norms of the layers</h2>
<p class="soft" data-word="norms_hint"></p>
<div id="norms" class="wide" tabindex="0"></div></section>
<section><h2 data-word="samples">Texts by the model</h2><div id="samples"></div></section>
</div>
</main>
"""


def run_page(pages: Sequence[str]) -> Page:
    """The page that asks /v1/run; pages: see served_page."""
    return served_page("run", "A training run", _BODY, ("run.css",), ("curves.js", "run.js"), pages)
