"""The client for chat servers: a server that answers well, slowly, badly, or not at all."""

from __future__ import annotations

import email.utils
import os
import signal
import subprocess
import sys
import time

import pytest
from chat_server import ChatServer, chatting
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.client import ChatClient, ChatError, Limits, Price, Usage, estimate_tokens
from tinygrad_llm.client import cache as cache_module

FAST = Limits(attempts=3, timeout=1.0, time_limit=1.5, longest_wait=30)
SECRET = "sk-very-secret"


@pytest.fixture
def server():
    with chatting() as running:
        yield running


def client_of(server, waits=None, **options):
    sleep = (lambda seconds: None) if waits is None else waits.append
    return ChatClient(server.address, "tiny", **{"limits": FAST, "sleep": sleep, **options})


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
def test_a_question_and_its_answer(server, protocol):
    client = client_of(server, protocol=protocol, options={"temperature": 0.0},
                       price=Price(1e6, 2e6))  # fmt: skip
    reply = client.ask("What?", max_tokens=7)
    assert (reply.text, reply.finish, reply.cached) == ("answer to What?", "stop", False)
    ((path, headers, body),) = server.requests
    assert "Authorization" not in headers and body["model"] == "tiny"
    assert body["messages"] == [{"role": "user", "content": "What?"}]
    if protocol == "openai":
        assert path == "/chat/completions"
        assert body["max_tokens"] == 7 and body["temperature"] == 0.0
    else:
        assert path == "/api/chat" and body["stream"] is False
        assert body["options"] == {"temperature": 0.0, "num_predict": 7}
    assert (client.usage.requests, client.usage.read, client.usage.written) == (1, 11, 5)
    assert client.usage.cost == 11 + 2 * 5 and "cost 21" in str(client.usage)
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]
    assert client.ask(messages).text == "answer to Why?"


TROUBLE = {
    "busy": 503, "too many": (429, 0), "silent": ChatServer.SILENT, "cut short": ChatServer.CUT,
    "byte by byte": ChatServer.DRIP, "hangs up": ChatServer.CLOSE, "web page": b"<html>hello",
    "no choices": b'{"choices": []}', "a list": b"[1]", "a number": b'{"choices": 7}',
    "null": b'{"choices": [{"message": {"content": null}}]}', "deep": b"[" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("step", TROUBLE.values(), ids=TROUBLE.keys())
def test_a_request_is_repeated_after_trouble(server, step):
    client = client_of(server)
    server.script = [step]
    begin = time.monotonic()
    assert client.ask("a").text == "answer to a"
    assert len(server.requests) == 2 and client.usage.retries == 1 and client.usage.requests == 1
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("step", [503, ChatServer.SILENT, ChatServer.CUT, ChatServer.DRIP, b"?"])
def test_attempts_end(server, step):
    client = client_of(server, limits=Limits(attempts=2, timeout=0.1, time_limit=0.2))
    server.script = [step] * 2
    with pytest.raises(ChatError, match=r"attempt 2 of 2"):
        client.ask("a")
    assert len(server.requests) == 2 and client.usage.requests == 0


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_wrong_request_is_not_repeated(server, status):
    server.script = [status]
    with pytest.raises(ChatError, match=f"answered {status}: by script"):
        client_of(server).ask("a")
    assert len(server.requests) == 1


def test_a_server_that_is_not_there():
    with chatting() as server:
        pass
    with pytest.raises(ChatError, match="Refused"):
        client_of(server).ask("a")


def test_waits_grow_and_the_server_decides(server):
    waits = []
    client = client_of(server, waits, limits=Limits(attempts=8, longest_wait=20))
    server.script = [500] * 6
    client.ask("a")
    for wait, longest in zip(waits, [1, 2, 4, 8, 16, 20], strict=True):
        assert longest / 2 <= wait <= longest
    waits.clear()
    later = email.utils.formatdate(time.time() + 12, usegmt=True)
    server.script = [(429, 7), (503, later), (503, "soon"), (429, "nan")]
    client.ask("b")
    assert waits[0] == 7 and 9 < waits[1] <= 12 and waits[2] <= 4
    server.script = [(429, 3600)]
    with pytest.raises(ChatError, match="wait 3600 seconds, more than 20: start again later"):
        client.ask("c")


def test_a_redirect_is_not_followed(server, monkeypatch):
    monkeypatch.setenv("A_KEY", SECRET)
    server.script = [(307, "http://example.com/steal")]
    with pytest.raises(ChatError, match=r"sends on to http://example.com/steal"):
        client_of(server, key_variable="A_KEY").ask("a")
    assert len(server.requests) == 1


def test_the_key_is_sent_and_nowhere_else(server, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("A_KEY", f" {SECRET}\n")
    client = client_of(server, key_variable="A_KEY", cache=tmp_path)
    server.reply = lambda messages: f"your key is {SECRET}"
    assert client.ask("a").text == "your key is ***"
    assert server.requests[0][1]["Authorization"] == f"Bearer {SECRET}"
    server.script = [401]
    with pytest.raises(ChatError) as error:
        client.ask("b")
    shown = [str(error.value), repr(client), str(client.usage), *capsys.readouterr()]
    files = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert "***" in str(error.value) and len(files) == 1
    assert not any(SECRET in text for text in shown + files)


def test_keys_and_addresses_that_cannot_be_used(monkeypatch):
    for key, message in {"": "is empty", "a b": "cannot have", "ä": "cannot have"}.items():
        monkeypatch.setenv("A_KEY", key)
        with pytest.raises(ValueError, match=message) as error:
            ChatClient("https://a", "m", key_variable="A_KEY")
        assert not key or f"{key!r}" not in str(error.value)
    monkeypatch.setenv("A_KEY", SECRET)
    ChatClient("http://localhost:1", "m", key_variable="A_KEY")
    with pytest.raises(ValueError, match="over plain http"):
        ChatClient("http://example.com", "m", key_variable="A_KEY")
    for wrong in ("ftp://a", "localhost:1", "http://", "http://a:b", "http://[", "http://u:p@a"):
        with pytest.raises(ValueError, match="address"):
            ChatClient(wrong, "m")
    with pytest.raises(ValueError, match="no protocol 'x': openai or ollama"):
        ChatClient("http://a", "m", protocol="x")
    with pytest.raises(ValueError, match="a message must be"):
        ChatClient("http://a", "m").ask([{"role": "user"}])
    for wrong in ({"attempts": 0}, {"timeout": 0.0}, {"per_minute": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)


def test_answers_are_kept(server, tmp_path):
    first = client_of(server, cache=tmp_path)
    assert [first.ask(q).cached for q in "aab"] == [False, True, False]
    assert not first.ask("a", sample=1).cached and not first.ask("a", temperature=1).cached
    again = client_of(server, cache=tmp_path)
    assert again.ask("a").cached and again.usage.cached == 1 and again.usage.requests == 0
    other = ChatClient(server.address, "other", cache=tmp_path)
    assert not other.ask("a").cached
    for path in tmp_path.rglob("*.json"):  # a damaged file counts as missing
        path.write_bytes(path.read_bytes()[:-9])
    assert not again.ask("a").cached and again.ask("a").cached


def test_a_full_disk_is_an_error_and_leaves_no_half_of_a_file(server, tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(cache_module, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        client_of(server, cache=tmp_path).ask("a")
    assert not list(tmp_path.rglob("*.json"))


def test_a_killed_run_loses_nothing(server, tmp_path):
    code = (
        "import sys; from tinygrad_llm.client import ChatClient\n"
        "client = ChatClient(sys.argv[1], 'tiny', cache=sys.argv[2])\n"
        "for i in range(6): print(client.ask(f'question {i}').text, flush=True)\n"
    )
    command = [sys.executable, "-c", code, server.address, str(tmp_path)]
    server.script = ["0", "1", "2", ChatServer.SILENT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    lines = [run.stdout.readline() for _ in range(3)]
    while len(server.requests) < 4:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    run.communicate()
    assert [line.strip() for line in lines] == [b"0", b"1", b"2"]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    assert done.stdout.split(b"\n")[:3] == [b"0", b"1", b"2"]
    assert server.questions == [f"question {i}" for i in (0, 1, 2, 3, 3, 4, 5)]


def test_the_rate_is_kept(server):
    now = [0.0]
    starts = []

    def sleep(seconds):
        now[0] += seconds

    client = client_of(server, limits=Limits(per_minute=30), sleep=sleep, clock=lambda: now[0])
    for i in range(4):
        client.ask(str(i))
        starts.append(now[0])
        now[0] += [0.5, 0.5, 7][min(i, 2)]
    assert starts == [0, 2, 4, 11]


def test_costs_before_and_after(server, tmp_path):
    client = client_of(server, cache=tmp_path, price=Price(1, 10))
    client.ask("a")
    before = client.estimate(["a", "b" * 400, "c" * 400, "b" * 400], written=50)
    assert (before.requests, before.cached) == (2, 2) and before.read == 2 * 108
    assert before.cost == pytest.approx((216 + 100 * 10) / 1e6) and "cost about" in str(before)
    assert len(server.requests) == 1
    server.counts = False
    client.ask("d")
    assert client.usage.estimated == 1 and client.usage.read == 11 + estimate_tokens("d")
    assert str(Usage()) == "0 requests, 0 from the cache, 0 tokens read, 0 written"
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="price"):
            Price(wrong)


@given(st.text("aä日", max_size=9), st.text("aä日", max_size=9))
def test_estimates_of_tokens(a, b):
    assert estimate_tokens(a) <= estimate_tokens(a + b) <= 8 + len(a) + len(b)
    assert estimate_tokens("日本語") == 11 and estimate_tokens("abcd" * 10) == 18
