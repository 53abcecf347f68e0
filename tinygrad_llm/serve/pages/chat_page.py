"""The chat page of the server: a conversation, and how probable each of its tokens was."""

from __future__ import annotations

from pathlib import Path

from ...study.common.html import page, policy_of
from ..app import Page

__all__ = ["chat_pages"]

_FILES = Path(__file__).parent / "files"
_SCRIPTS = ("words.js", "markdown.js", "chat.js")
_BODY = """<main>
<div class="top"><h1 data-word="title">Chat</h1><button id="language" type="button"></button></div>
<details><summary data-word="options">Options</summary>
<div class="fields">
<label><span data-word="model">Model</span><select id="model"></select></label>
<label><span data-word="mode">Mode</span><select id="mode">
<option value="chat" data-word="chat">conversation</option>
<option value="write" data-word="write">write on</option></select></label>
<label><span data-word="temperature">Temperature</span>
<input id="temperature" type="number" min="0" max="2" step="0.1" value="0.7"></label>
<label><span data-word="most">Most tokens</span>
<input id="most" type="number" min="1" value="256"></label>
</div>
<label class="whole" for="system"><span data-word="system">Instructions for the model</span></label>
<textarea id="system" rows="2" maxlength="100000"></textarea>
</details>
<div id="locked" class="hidden"><label><span data-word="key">Key of the server</span>
<input id="key" type="password" autocomplete="off"></label></div>
<div id="log" role="log" data-label="log"></div>
<p id="status" class="status" role="status"></p>
<form id="form">
<label class="whole" for="message"><span data-word="message">Message</span></label>
<textarea id="message" rows="3" maxlength="100000"></textarea>
<p class="soft" data-word="hint"></p>
<div class="fields"><button id="send" class="main" data-word="send">Send</button>
<button id="stop" type="button" data-word="stop" disabled>Stop</button>
<button id="clear" type="button" data-word="clear">New conversation</button></div>
</form>
</main>
"""


def chat_pages() -> dict[str, Page]:
    """The page at "/", for serve.app.make_app; it asks the routes of OpenAI's clients.

    Its policy allows its own styles and scripts by their hashes, and requests to this server only.
    """
    text = page(
        "Chat", _BODY, styles=[_FILES / "pages.css", _FILES / "chat.css"],
        scripts=["heat.js", *(_FILES / name for name in _SCRIPTS)], policy="connect-src 'self'",
    )  # fmt: skip
    policy = f"{policy_of(text)}; frame-ancestors 'none'"
    return {"/": Page(text.encode("utf-8"), policy=policy)}
