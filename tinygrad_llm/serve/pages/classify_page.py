"""The page of the server's classifiers: the classes of a text, and the tokens that mattered."""

from __future__ import annotations

from collections.abc import Sequence

from ..app import Page
from .served import served_page

__all__ = ["RESULTS", "classify_page"]

# What a page shows of an answer; files/classify_view.js fills it. The file of a model has it too.
RESULTS = """<div id="results" class="two hidden">
<section><h2 data-word="classes">Classes</h2><div id="classes"></div></section>
<section><h2 data-word="mattered">Tokens that mattered</h2>
<div class="fields"><label><span data-word="target">For the class</span>
<select id="target"></select></label></div>
<p class="soft" data-word="legend"></p>
<p id="tokens" class="tokens"></p><div id="strongest"></div></section>
</div>"""

_BODY = f"""<main>
{{top}}
<form id="form">
<label class="whole" for="text"><span data-word="text">Text</span></label>
<textarea id="text" rows="5" maxlength="20000"></textarea>
{{key}}
<div class="fields">
<label id="choice" class="hidden"><span data-word="model">Model</span>
<select id="model"></select></label>
<button id="classify" class="main" data-word="classify">Classify</button></div>
</form>
<p id="status" class="status" role="status"></p>
{RESULTS}
</main>
"""


def classify_page(pages: Sequence[str]) -> Page:
    """The page that asks /v1/classify; pages: see served_page."""
    scripts = ("classify_view.js", "classify.js")
    return served_page("classify", "Texts classified", _BODY, (), scripts, pages)
