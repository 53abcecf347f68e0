"""The page of the server's sentence embeddings: how similar texts are, and the nearest ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..app import Page
from .served import served_page

__all__ = ["BODY", "embed_page"]

BODY = """<main>
{top}
<form id="form">
<label class="whole" for="texts"><span data-word="texts">Texts, one per line</span></label>
<textarea id="texts" rows="6" maxlength="100000"></textarea>
{key}
<div class="fields"><button id="compare" class="main" data-word="compare">Compare</button></div>
</form>
<p id="status" class="status" role="status"></p>
<div id="results" class="two hidden">
<section><h2 data-word="similarity">Cosine similarity</h2><div id="matrix"></div></section>
<section><h2 data-word="neighbours">Nearest neighbours</h2>
<div class="fields"><label><span data-word="query">Nearest to</span>
<select id="query"></select></label></div><div id="neighbours"></div></section>
</div>
</main>
"""


def embed_page(pages: Sequence[str]) -> Page:
    """The page that compares texts by the vectors of /v1/embeddings; pages: see served_page."""
    scripts = ("embed_server.js", "embed.js")
    return served_page("embed", "Sentences compared", BODY, (), scripts, pages)
