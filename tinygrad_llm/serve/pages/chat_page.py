"""The chat page of the server: a conversation, its tokens' probabilities and attention."""

from __future__ import annotations

from collections.abc import Sequence

from ..app import Page
from .served import served_page

__all__ = ["chat_page"]

_BODY = """<main>
{top}
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
{key}
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


def chat_page(pages: Sequence[str]) -> Page:
    """The chat; pages: names of the pages that the server has, see served_page."""
    scripts = ("markdown.js", "chat_attention.js", "chat.js")
    return served_page("chat", "Chat", _BODY, ("chat.css",), scripts, pages)
