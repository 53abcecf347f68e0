"""Pages for browsers, each one file without anything from outside: plain JavaScript, no framework.

Styles and scripts are files in files/; study.common.html puts their text into the page, together
with a Content-Security-Policy that allows just these texts.
"""

from __future__ import annotations

from collections.abc import Collection

from ..app import Page
from .chat_page import chat_page
from .classifier_file import classifier_page
from .classify_page import classify_page
from .embed_page import embed_page
from .embedder_file import embedder_page
from .model_file import model_page
from .run_page import run_page
from .served import PATHS

__all__ = ["classifier_page", "embedder_page", "model_page", "server_pages"]


def server_pages(kinds: Collection[str], run: bool = False) -> dict[str, Page]:
    """The pages of a server by their paths, for serve.app.make_app.

    kinds: of its models, see Served.kinds; run: whether it watches a training run
    "/" is the first page that has something to show. A page without its model is there too and
    says what is missing, but no other page leads to it.
    """
    there = {
        "chat": "language-model" in kinds, "classify": "classifier" in kinds,
        "embed": "embeddings" in kinds, "run": run,
    }  # fmt: skip
    shown = [name for name, has in there.items() if has]
    makers = {
        "chat": chat_page, "classify": classify_page, "embed": embed_page, "run": run_page,
    }  # fmt: skip
    pages = {PATHS[name]: make(shown) for name, make in makers.items()}
    return {"/": pages[PATHS[shown[0] if shown else "chat"]], **pages}
