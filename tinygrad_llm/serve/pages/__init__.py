"""Pages for browsers, each one file without anything from outside: plain JavaScript, no framework.

Styles and scripts are files in files/; study.common.html puts their text into the page, together
with a Content-Security-Policy that allows just these texts.
"""

from __future__ import annotations

from .chat_page import chat_pages
from .model_file import model_page

__all__ = ["chat_pages", "model_page"]
