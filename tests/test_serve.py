"""The server over a real socket: real clients, wrong requests, slow and lost clients, limits."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_chat import tiny_model, tiny_tokenizer

from tinygrad_llm.generation import generate, stream_text
from tinygrad_llm.serve import Engine, Limits
from tinygrad_llm.serve.app import Page, make_app
from tinygrad_llm.serve.listening import HEADER_BYTES, web_server
from tinygrad_llm.serve.served import Models, Served
from tinygrad_llm.serve.service import Service

for package in ("jinja2", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(package)

KEY = "a-key-of-24-characters!!"
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"


class Vectors:
    """Embeds a text as its length and its first character."""

    tokenizer = tiny_tokenizer()

    def embed(self, texts):
        return np.array([[len(t), ord(t[0])] for t in texts], np.float32)


@contextlib.contextmanager
def server(
    context_length=256, key=None, header_seconds=10.0, pages=None, others=(), loaders=(), **limits
):
    """A running server: its address and engine. others: more of what Served has; loaders: of more
    models by name, which are read when they are asked for."""
    limits = {"tokens": 60, **limits}
    with Engine(tiny_model(context_length), tiny_tokenizer(), Limits(**limits)) as engine:
        own = Service(engine, "tiny", (257,))
        models = Models({"tiny": lambda: own, **dict(loaders)})
        models.load("tiny")
        served = Served(models, embedder=Vectors(), limits=engine.limits, **dict(others))
        app = make_app(served, {"127.0.0.1"}, key, pages)
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        web = web_server(app, header_seconds, log_level="critical", timeout_graceful_shutdown=1)
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", engine
        finally:
            web.should_exit = True
            thread.join(60)
            listening.close()


@pytest.fixture(scope="module")
def running():
    with server() as (address, engine):
        yield address, engine


@pytest.fixture
def post(running):
    import httpx

    with httpx.Client(base_url=running[0], timeout=60) as client:
        yield lambda path, **body: client.post(path, json={"model": "tiny", **body})


def expected(engine, messages=HELLO, tokens=12, **sampling):
    ids = engine.tokenizer.chat(messages)
    return "".join(
        stream_text(engine.model, ids, tokens, tokenizer=engine.tokenizer, stop_tokens=257,
                    **sampling)
    )  # fmt: skip


def idle(engine, seconds=60):
    """Waits until nothing is written and nothing waits."""
    end = time.monotonic() + seconds
    while engine.counts != (0, 0):
        assert time.monotonic() < end, engine.counts
        time.sleep(0.02)


# ------------------------------------------------------------------------------- real clients
def test_openais_client(running):
    openai = pytest.importorskip("openai")
    address, engine = running
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    assert [m.id for m in client.models.list().data] == ["tiny", "embeddings"]
    options = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "temperature": 0}
    answer = client.chat.completions.create(**options)
    text = expected(engine)
    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 12)
    chunks = list(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage.total_tokens == 22 and chunks[-2].choices[0].finish_reason == "length"
    stopped = client.chat.completions.create(**options, stop=text[5:7])
    assert stopped.choices[0].message.content == text[: text.index(text[5:7])]
    assert stopped.choices[0].finish_reason == "stop"
    vectors = client.embeddings.create(model="embeddings", input=["ab", "c"])  # asks for base64
    assert [v.embedding for v in vectors.data] == [[2.0, 97.0], [1.0, 99.0]]
    with pytest.raises(openai.NotFoundError, match="there is no model of this name"):
        client.chat.completions.create(**{**options, "model": "/etc/passwd"})


def test_seeds_and_several_answers(running, post):
    engine = running[1]
    body = {"messages": HELLO, "max_tokens": 12, "temperature": 1.2, "seed": 3, "n": 3}
    texts = [c["message"]["content"] for c in post(CHAT, **body).json()["choices"]]
    assert texts == [expected(engine, temperature=1.2, top_p=1.0, seed=3 + i) for i in range(3)]
    assert len(set(texts)) == 3


def test_logprobs_are_those_of_the_model(running, post):
    engine = running[1]
    ids = engine.tokenizer.chat(HELLO)
    body = {"messages": HELLO, "max_tokens": 5, "temperature": 0}
    choice = post(CHAT, **body, logprobs=True, top_logprobs=3).json()["choices"][0]
    out, logprobs, _ = generate(engine.model, ids, 5, return_logprobs=True)
    shown = choice["logprobs"]["content"]
    assert [t["bytes"] for t in shown] == [[i] for i in out[len(ids) :].tolist()]
    np.testing.assert_allclose([t["logprob"] for t in shown], logprobs.numpy(), atol=1e-4)
    assert all(t["top_logprobs"][0]["logprob"] == t["logprob"] for t in shown)
    assert all(len(t["top_logprobs"]) == 3 for t in shown)


def test_completions(running):
    openai = pytest.importorskip("openai")
    address, engine = running
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    options = {"model": "tiny", "prompt": ["ab", "longer text"], "temperature": 0, "max_tokens": 7}
    answer = client.completions.create(**options, logprobs=2)
    for choice, prompt in zip(answer.choices, options["prompt"], strict=True):
        ids = engine.tokenizer.encode(prompt)
        alone = generate(engine.model, ids, 7)[len(ids) :].tolist()
        assert choice.text == engine.tokenizer.decode(alone)
        assert len(choice.logprobs.tokens) == 7
    chunks = client.completions.create(**{**options, "prompt": [97, 98]}, stream=True)
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text


def test_ollamas_client(running):
    ollama = pytest.importorskip("ollama")
    address, engine = running
    client = ollama.Client(host=address)
    options = {"temperature": 0, "num_predict": 12, "top_p": 1.0, "top_k": 0}
    text = expected(engine)
    whole = client.chat(model="tiny:latest", messages=HELLO, options=options)
    assert whole.message.content == text and whole.done_reason == "length"
    assert (whole.prompt_eval_count, whole.eval_count) == (10, 12)
    pieces = client.chat(model="tiny", messages=HELLO, options=options, stream=True)
    assert "".join(p.message.content for p in pieces) == text
    assert client.generate(model="tiny", prompt="Hello", options=options).response == text
    raw = client.generate(model="tiny", prompt="ab", options=options, raw=True)
    assert raw.response == engine.tokenizer.decode(generate(engine.model, [97, 98], 12)[2:])
    with pytest.raises(ollama.ResponseError, match="there is no model of this name"):
        client.chat(model="other", messages=HELLO)


def test_langchains_client(running):
    langchain = pytest.importorskip("langchain_openai")
    address, engine = running
    options = {"base_url": f"{address}/v1", "api_key": "none", "max_retries": 0}
    chat = langchain.ChatOpenAI(
        model="tiny", temperature=0, max_tokens=12, stream_usage=True, **options
    )
    text, messages = expected(engine), [("user", "Hello")]
    answer = chat.invoke(messages)
    assert answer.content == text and answer.usage_metadata["output_tokens"] == 12
    pieces = list(chat.stream(messages))
    assert "".join(piece.content for piece in pieces) == text
    assert [a.content for a in chat.batch([messages] * 3)] == [text] * 3
    asked = chat.bind(logprobs=True, top_logprobs=2).invoke([("system", "S"), *messages])
    assert len(asked.response_metadata["logprobs"]["content"]) == 12
    vectors = langchain.OpenAIEmbeddings(
        model="embeddings", check_embedding_ctx_length=False, **options
    )
    assert vectors.embed_documents(["ab", "c"]) == [[2.0, 97.0], [1.0, 99.0]]


def test_each_of_many_together_equals_itself_alone(running, post):
    engine = running[1]

    def ask(i):
        messages = [{"role": "user", "content": "x" * i}]
        body = {"messages": messages, "max_tokens": 3 + i, "seed": i, "temperature": i % 2}
        return post(CHAT, **body).json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(1, 25)))
    for i, answer in enumerate(answers, 1):
        messages = [{"role": "user", "content": "x" * i}]
        assert answer == expected(
            engine, messages, 3 + i, temperature=float(i % 2), top_p=1.0, seed=i
        )


# ----------------------------------------------------------------------------- who may ask
def test_a_key_is_asked_for():
    httpx = pytest.importorskip("httpx")
    with server(key=KEY) as (address, _):
        asked = [
            httpx.get(f"{address}/v1/models", headers=headers).status_code
            for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {KEY}"})
        ]
        assert asked == [401, 401, 200]
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_page_comes_without_the_key_and_with_its_own_policy():
    httpx = pytest.importorskip("httpx")
    policy = "default-src 'none'; connect-src 'self'"
    pages = {"/chat": Page(b"<!doctype html>", policy=policy)}
    with server(key=KEY, pages=pages) as (address, _):
        answer = httpx.get(f"{address}/chat")
        assert (answer.status_code, answer.content) == (200, b"<!doctype html>")
        assert answer.headers.get_list("content-security-policy") == [policy]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert httpx.get(f"{address}/chat", headers={"host": "evil.example"}).status_code == 403
        assert httpx.get(f"{address}/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:80@127.0.0.1"}, 403),
        ({"host": "127.0.0.1:99"}, 200),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
    ],
)
def test_host_and_origin_are_checked(running, headers, status):
    httpx = pytest.importorskip("httpx")
    answer = httpx.get(f"{running[0]}/v1/models", headers=headers)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_no_pages_of_documentation_and_no_forms(running):
    httpx = pytest.importorskip("httpx")
    for path in ("/docs", "/redoc", "/openapi.json", "/", "/v1/models/../../etc/passwd"):
        assert httpx.get(running[0] + path).status_code == 404
    form = httpx.post(running[0] + CHAT, content=b'{"model": "tiny"}',
                      headers={"content-type": "text/plain"})  # fmt: skip
    assert form.status_code == 415


def test_beginnings_of_prompts_are_kept_for_each_key_apart():
    httpx = pytest.importorskip("httpx")
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "temperature": 0}
    with server() as (address, engine):
        hits = []
        for key in ("a", "b", "a"):
            httpx.post(address + CHAT, json=body, headers={"authorization": f"Bearer {key}"})
            hits.append(engine.batch.prefixes.hits)
        assert hits == [0, 0, 9]


# ------------------------------------------------------------------------------- wrong requests
WRONG = [
    ({"messages": "x"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ({"n": 9}, "n"),
    ({"n": True}, "n"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": 10**400}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": ["a" * 257]}, "stop"),
    ({"seed": 2**63}, "seed"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"tools": [{}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
]


@pytest.mark.parametrize(("fields", "name"), WRONG)
def test_a_wrong_field_is_named(post, fields, name):
    text = json.dumps({"model": "tiny", "messages": HELLO, **fields})
    answer = post.__closure__[0].cell_contents.post(
        CHAT, content=text, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


def test_one_model_and_the_version(running):
    import httpx

    one = httpx.get(f"{running[0]}/v1/models/tiny")
    assert one.json() in httpx.get(f"{running[0]}/v1/models").json()["data"]
    assert one.json()["id"] == "tiny"
    missing = httpx.get(f"{running[0]}/v1/models/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert httpx.get(f"{running[0]}/api/version").json()["version"]


def test_an_empty_prompt_is_named(post):
    answer = post("/v1/completions", prompt="")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert answer.json()["error"]["code"] is None


def test_what_is_too_long(running, post):
    answer = post(CHAT, messages=[{"role": "user", "content": "x" * 300}])
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert post(CHAT, messages=[{"role": "user", "content": "x" * (1 << 20)}]).status_code == 413
    full = post(CHAT, messages=[{"role": "user", "content": "x" * 240}], temperature=0)
    assert full.json()["usage"]["total_tokens"] == 256  # the context is full, the window stays
    assert full.json()["choices"][0]["finish_reason"] == "length"


def malformed(count):
    """Requests that are wrong in many ways, as bytes."""
    rng = random.Random(0)
    good = json.dumps({"model": "tiny", "messages": HELLO, "max_tokens": 2}).encode()
    values = [None, [], {}, "x", -1, 1e308, 10**300, "\x00", [[]], {"a": {}}, True, "\ud800"]
    names = ["model", "messages", "n", "stop", "seed", "stream", "prompt", "options", "temperature",
             "logprobs", "stream_options", "max_tokens", "input"]  # fmt: skip
    for i in range(count):
        kind = i % 5
        if kind == 0:  # bytes changed
            body = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                body[rng.randrange(len(body))] = rng.randrange(256)
        elif kind == 1:  # cut off
            body = good[: rng.randrange(len(good))]
        elif kind == 2:
            body = rng.choice([b"[" * 100_000, b'{"a":' * 50_000, b"9" * 9000, b"NaN", b"\xff"])
        else:  # a field of another type
            fields = {"model": "tiny", "messages": HELLO, "max_tokens": 2}
            fields[rng.choice(names)] = rng.choice(values)
            body = json.dumps(fields).encode()
        path = rng.choice([CHAT, "/v1/completions", "/v1/embeddings", "/api/chat", "/api/generate"])
        length = len(body) if i % 7 else rng.choice([-1, 10**12, "x", len(body)])
        kind = rng.choice(["application/json"] * 8 + ["text/html", "\x01"])
        method = rng.choice(["POST"] * 9 + ["GET", "PO\x01ST"])
        yield (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        ).encode("latin-1") + bytes(body)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_malformed_requests_leave_it_serving(running, post, count):
    address, engine = running
    port, statuses = int(address.rpartition(":")[2]), set()
    for data in malformed(count):
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(1 << 16):
                    got += piece
        for leak in (b"/root", b"/tmp", b"/home", b"Traceback", b".py"):
            assert leak not in got
        statuses.add(got[9:12])
    assert b"400" in statuses and b"500" not in statuses, statuses
    idle(engine)
    answer = post(CHAT, messages=HELLO, max_tokens=12, temperature=0).json()
    assert answer["choices"][0]["message"]["content"] == expected(engine)


# -------------------------------------------------------------- full, slow, lost, late, broken
def test_a_full_queue():
    httpx = pytest.importorskip("httpx")
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 3500, "temperature": 0}
    with server(4000, batch=1, queue=1, tokens=3500) as (address, engine):
        with httpx.Client(base_url=address, timeout=60) as client, contextlib.ExitStack() as open_:
            reading = []
            for _ in range(2):
                first = open_.enter_context(
                    client.stream("POST", CHAT, json={**body, "stream": True})
                )
                assert first.status_code == 200
                reading.append(first.iter_lines())  # leaving an iterator closes its connection
                next(reading[-1])
            answer = client.post(CHAT, json=body)
            assert answer.status_code == 429 and answer.headers["retry-after"] == "2"
            assert client.post("/api/chat", json=body).json() == {
                "error": "the queue is full: try again later"
            }
        idle(engine)  # both clients have gone: their answers are cancelled


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_is_cancelled(stream):
    httpx = pytest.importorskip("httpx")
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 50_000, "temperature": 0}
    within = httpx.Timeout(60, read=0.5)
    with server(60_000, tokens=50_000) as (address, engine):
        with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=within) as client:
            with client.stream("POST", address + CHAT, json={**body, "stream": stream}) as answer:
                for _ in answer.iter_lines():
                    raise httpx.ReadTimeout("gone")
        idle(engine)
        assert engine.counts == (0, 0)


def test_slow_clients_hold_up_nobody():
    httpx = pytest.importorskip("httpx")
    with server(body_seconds=0.5) as (address, engine):
        port = int(address.rpartition(":")[2])
        with contextlib.ExitStack() as open_:
            slow = [
                open_.enter_context(socket.create_connection(("127.0.0.1", port), 60))
                for _ in range(20)
            ]
            for connection in slow:
                connection.sendall(
                    f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n"
                    "Content-Type: application/json\r\n\r\n{".encode()
                )
            body = {"model": "tiny", "messages": HELLO, "max_tokens": 2}
            assert httpx.post(address + CHAT, json=body, timeout=60).status_code == 200
            assert b" 408 " in slow[0].recv(100)


def answer_to(address, *parts):
    """What comes back, until the server closes the connection, for bytes sent one by one."""
    port, got = int(address.rpartition(":")[2]), b""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(1 << 16):
                got += piece
    return got


HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n".encode()


def test_a_client_that_sends_no_whole_request_is_closed():
    httpx = pytest.importorskip("httpx")
    with server(header_seconds=0.3) as (address, engine):
        for part in (b"", b"P", HEAD, HEAD + b"X: "):
            assert answer_to(address, part) == b"", part
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 2}
        with httpx.Client(timeout=60) as client:  # not one that has asked, nor a long answer
            for _ in range(2):
                assert client.post(address + CHAT, json=body).status_code == 200
        long = {**body, "max_tokens": 60, "temperature": 0, "stream": True}
        assert httpx.post(address + CHAT, json=long, timeout=60).text.endswith("data: [DONE]\n\n")


def test_headers_that_are_too_long_and_lengths_that_are_wrong(running, post):
    address, engine = running
    many = b"".join(b"X-%d: y\r\n" % i for i in range(HEADER_BYTES))
    for part in (b"X: " + b"y" * (HEADER_BYTES + 1) + b"\r\n", many):
        got = answer_to(address, HEAD, part, b"\r\n")
        assert got == b"" or b" 400 " in got, got  # closed, perhaps before the answer is read
    body = json.dumps({"model": "tiny", "messages": HELLO, "max_tokens": 2}).encode()
    short = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % (len(body) - 1)
    assert b" 400 " in answer_to(address, HEAD, short, body)
    for length in (b"-1", b"x", b"1e3", b"9" * 400):
        got = answer_to(address, HEAD, b"Content-Length: " + length + b"\r\n\r\n", body)
        assert b" 400 " in got or b" 413 " in got, (length, got)
    chunked = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert b" 200 " in answer_to(address, HEAD, chunked, whole)
    assert b" 400 " in answer_to(address, HEAD, chunked, b"zz\r\n", body)
    idle(engine)


def test_clients_that_go_in_the_middle_of_a_body_leave_nothing(running):
    address, engine = running
    port = int(address.rpartition(":")[2])
    for length in (10, 10**6, 10**12):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n{" % length)
    idle(engine)
    assert engine.counts == (0, 0)


def test_time_runs_out(post):
    httpx = pytest.importorskip("httpx")
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 50_000, "temperature": 0}
    with server(60_000, tokens=50_000, seconds=1.0, batch=1) as (address, engine):
        with ThreadPoolExecutor(2) as pool:
            ask = lambda _: httpx.post(address + CHAT, json=body, timeout=60)  # noqa: E731
            first, second = sorted(pool.map(ask, range(2)), key=lambda a: a.status_code)
        assert first.json()["choices"][0]["finish_reason"] == "length"
        assert 0 < first.json()["usage"]["completion_tokens"] < 50_000
        if second.status_code != 503:  # a moment was left after its time in the queue
            counts = [a.json()["usage"]["completion_tokens"] for a in (first, second)]
            assert min(counts) < max(counts)
        idle(engine)


def test_a_step_that_fails_leaves_it_serving(capsys):
    httpx = pytest.importorskip("httpx")
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "temperature": 0}
    with server() as (address, engine):
        weight = engine.model.head.weight
        right = weight.array.copy()
        weight.array[...] = np.nan
        answer = httpx.post(address + CHAT, json=body)
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "the answer could not be completed"
        weight.array[...] = right
        answer = httpx.post(address + CHAT, json=body)
        assert answer.json()["choices"][0]["message"]["content"] == expected(engine)
    assert "a step failed" in capsys.readouterr().err
