"""The page of the server's sentence embeddings: how similar texts are, and the nearest ones."""

from __future__ import annotations

from ..app import Page
from .served import served_page

__all__ = ["embed_page"]

_BODY = """<main>
<div class="top"><h1 data-word="title">Sentences compared</h1>
<button id="language" type="button"></button></div>
<form id="form">
<label class="whole" for="texts"><span data-word="texts">Texts, one per line</span></label>
<textarea id="texts" rows="6" maxlength="100000"></textarea>
<div id="locked" class="hidden"><label><span data-word="key">Key of the server</span>
<input id="key" type="password" autocomplete="off"></label></div>
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


def embed_page() -> Page:
    """The page that compares texts by the vectors of /v1/embeddings."""
    return served_page("Sentences compared", _BODY, ("pages.css",), ("words.js", "embed.js"))
