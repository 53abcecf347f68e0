"""The chat page of the server: a conversation, and how probable each of its tokens was."""

from __future__ import annotations

from ..app import Page
from .embed_page import embed_page
from .served import served_page

__all__ = ["chat_pages"]

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


def chat_pages(embeddings: bool = False) -> dict[str, Page]:
    """The pages of a server by their paths, for serve.app.make_app: "/" is the chat.

    embeddings: whether the server has vectors of sentences; then "/embed" compares texts
    """
    scripts = ("words.js", "markdown.js", "chat.js")
    chat = served_page("Chat", _BODY, ("pages.css", "chat.css"), scripts)
    return {"/": chat, **({"/embed": embed_page()} if embeddings else {})}
