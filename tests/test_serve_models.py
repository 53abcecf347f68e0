"""A server with several models, classifiers and a run: names, memory, who waits for whom."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_live import trainer
from test_serve import CHAT, HELLO, expected, server
from tiny_chat import tiny_model, tiny_tokenizer

import tinygrad_llm as torch
from tinygrad_llm.finetune import GPTClassifier, TaskModel
from tinygrad_llm.finetune.contributions import contributions
from tinygrad_llm.models import GPT
from tinygrad_llm.models.attention_weights import attention_weights
from tinygrad_llm.serve import Engine, Limits
from tinygrad_llm.serve.fields import ApiError, Fields
from tinygrad_llm.serve.looking import Classifier
from tinygrad_llm.serve.served import Models, Served
from tinygrad_llm.serve.service import Service
from tinygrad_llm.serve.watching import WatchedRun
from tinygrad_llm.text import CharTokenizer
from tinygrad_llm.training.reporting import Reporter

for package in ("jinja2", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(package)


def spam_classifier(name="spam"):
    """A small classifier of characters with the classes ham and spam."""
    torch.manual_seed(2)
    tokenizer = CharTokenizer.train("abcdefghijklmnopqrstuvwxyz !<>", ["<|endoftext|>"])
    gpt = GPT({"vocab_size": tokenizer.vocab_size, "context_length": 40, "emb_dim": 16,
               "n_heads": 2, "n_layers": 2, "drop_rate": 0.0})  # fmt: skip
    model = GPTClassifier(gpt, 2, pad_token_id=tokenizer.vocab_size - 1).eval()
    settings = {"classes": ["ham", "spam"], "max_length": 40}
    return Classifier(TaskModel(model, tokenizer, settings=settings), name)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "first"
    others = {"classifiers": {"spam": spam_classifier()}, "run": WatchedRun(folder)}
    with server(others=others) as (address, engine):
        yield address, engine, folder


@pytest.fixture
def ask(running):
    import httpx

    with httpx.Client(base_url=running[0], timeout=60) as client:
        yield client


# --------------------------------------------------------------------------------- several models
class Shelf:
    """Two models, made when they are asked for; which ones are there stands in `made`."""

    def __init__(self, most):
        self.made, self.engines = [], []
        self.models = Models({name: lambda name=name: self.make(name) for name in "ab"}, most)

    def make(self, name):
        self.made.append(name)
        engine = Engine(tiny_model(64), tiny_tokenizer(), Limits(tokens=60))
        engine.start()
        self.engines.append(engine)
        return Service(engine, name, (257,))


def test_one_model_gives_way_to_another_and_none_that_is_writing():
    shelf = Shelf(1)

    async def use():
        served = Served(shelf.models)
        first = await served.service(Fields({"model": "a"}))
        assert (await served.service(Fields({"model": "a:latest"}))) is first
        both = await asyncio.gather(*(shelf.models.get("b") for _ in range(3)))
        assert both[0] is both[1] is both[2] and shelf.made == ["a", "b"]
        assert shelf.models.in_memory == ["b"] and not first.engine._thread.is_alive()
        writing = shelf.engines[1]
        writing._running[object()] = None  # a text is being written
        with pytest.raises(ApiError, match="another model is writing") as error:
            await shelf.models.get("a")
        assert error.value.status == 503
        writing._running.clear()
        assert (await shelf.models.get("a")).name == "a"

    asyncio.run(use())
    shelf.models.close()
    assert not any(engine._thread.is_alive() for engine in shelf.engines)


def test_a_model_that_cannot_be_read_leaves_the_others(capsys):
    shelf = Shelf(2)
    shelf.models._loaders["c"] = lambda: (_ for _ in ()).throw(OSError("/secret/place is gone"))

    async def use():
        shelf.models.most = 3
        with pytest.raises(ApiError, match="could not be read") as error:
            await shelf.models.get("c")
        assert error.value.status == 500 and "secret" not in error.value.message
        return await shelf.models.get("a")

    assert asyncio.run(use()).name == "a" and "secret" in capsys.readouterr().err
    shelf.models.close()


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, {"model": "spam", "messages": HELLO}, '"spam" is not a language model'),
        (CHAT, {"model": "../spam", "messages": HELLO}, 'this server has "tiny"'),
        ("/v1/classify", {"model": "tiny", "input": "x"}, '"tiny" is not a classifier'),
        ("/v1/attention", {"model": "embeddings", "ids": [1]}, "is not a language model"),
    ],
)
def test_each_name_is_asked_what_it_can_answer(ask, path, body, words):
    answer = ask.post(path, json=body)
    assert answer.status_code == 404 and words in answer.json()["error"]["message"]


def test_the_list_says_what_each_is(ask):
    listed = {m["id"]: m["kind"] for m in ask.get("/v1/models").json()["data"]}
    assert listed == {"tiny": "language-model", "spam": "classifier", "embeddings": "embeddings"}
    assert [m["name"] for m in ask.get("/api/tags").json()["models"]] == ["tiny"]


# ------------------------------------------------------------------ a long prompt holds up nobody
def test_others_are_answered_while_a_prompt_is_being_cut_into_tokens():
    import httpx

    inside, go_on = threading.Event(), threading.Event()

    def slow(plain):
        def call(*args, **options):
            inside.set()
            assert go_on.wait(60)
            return plain(*args, **options)

        return call

    with server() as (address, engine), httpx.Client(base_url=address, timeout=60) as client:
        text = expected(engine)
        for path, body, name in (
            (CHAT, {"messages": HELLO}, "chat"),
            ("/v1/completions", {"prompt": "ab"}, "encode"),
            ("/api/generate", {"prompt": "ab", "raw": True, "stream": False}, "encode"),
            ("/v1/embeddings", {"input": "ab"}, "encode"),
        ):
            inside.clear()
            go_on.clear()
            owner = engine.tokenizer
            if "embeddings" in path:
                from test_serve import Vectors

                owner = Vectors.tokenizer
            body = {"model": "embeddings" if "embeddings" in path else "tiny", **body}
            with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
                patch.setattr(owner, name, slow(getattr(owner, name)))
                answer = pool.submit(httpx.post, address + path, json=body, timeout=60)
                assert inside.wait(60)
                with contextlib.ExitStack() as stack:
                    stack.callback(go_on.set)
                    assert client.get("/health").json()["status"] == "ok", path
                assert answer.result(60).status_code == 200
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "temperature": 0}
        assert client.post(CHAT, json=body).json()["choices"][0]["message"]["content"] == text


# ------------------------------------------------------------------------- classes and attention
def test_classes_and_the_tokens_that_mattered(ask):
    answer = ask.post("/v1/classify", json={"input": "win a prize <b>", "model": "spam"}).json()
    expected = contributions("win a prize <b>", spam_classifier().model)
    assert [c["name"] for c in answer["classes"]] == ["ham", "spam"]
    shown = [c["probability"] for c in answer["classes"]]
    np.testing.assert_allclose(shown, expected.probabilities, rtol=1e-5)
    assert [t["token"] for t in answer["tokens"]] == list("win a prize <b>")
    scores = [t["score"] for t in answer["tokens"]]
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-3, atol=1e-6)
    assert answer["best"] == answer["target"] and answer["cut"] is False
    other = {"ham": "spam", "spam": "ham"}[answer["best"]]
    turned = ask.post("/v1/classify", json={"input": "win a prize <b>", "target": other}).json()
    assert turned["best"] == answer["best"] and turned["target"] == other
    np.testing.assert_allclose([t["score"] for t in turned["tokens"]], [-s for s in scores],
                               rtol=1e-3, atol=1e-6)  # fmt: skip


def test_attention_of_a_token_of_an_answer(running, ask):
    engine = running[1]
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 5, "temperature": 0,
            "logprobs": True, "return_token_ids": True}  # fmt: skip
    whole = ask.post(CHAT, json=body).json()
    ids = whole["prompt_token_ids"] + whole["choices"][0]["token_ids"][:3]
    assert whole["prompt_token_ids"] == engine.tokenizer.chat(HELLO)
    events = [line[6:] for line in ask.post(CHAT, json={**body, "stream": True}).text.split("\n")
              if line.startswith("data: {")]  # fmt: skip
    assert sum('"prompt_token_ids"' in event for event in events) == 1
    answer = ask.post("/v1/attention", json={"model": "tiny", "ids": ids}).json()
    expected = attention_weights(engine.model, ids)
    assert answer["length"] == len(ids) == len(answer["tokens"])
    for layer, (name, weights) in zip(answer["layers"], expected.items(), strict=True):
        assert layer["name"] == name and len(layer["heads"]) == 2
        for looks, row in [*zip(layer["heads"], weights, strict=True),
                           (layer["mean"], weights.mean(0))]:  # fmt: skip
            assert [w for _, w in looks] == sorted((w for _, w in looks), reverse=True)
            np.testing.assert_allclose([w for _, w in looks], row[[i for i, _ in looks]], rtol=1e-3)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/classify", {"input": ""}, "input"),
        ("/v1/classify", {"input": "x" * 20_001}, "input"),
        ("/v1/classify", {"input": 3}, "input"),
        ("/v1/classify", {"input": "日本"}, "input"),
        ("/v1/classify", {"input": "x", "target": "eggs"}, "target"),
        ("/v1/attention", {"model": "tiny", "ids": []}, "ids"),
        ("/v1/attention", {"model": "tiny", "ids": [259]}, "ids"),
        ("/v1/attention", {"model": "tiny", "ids": [True]}, "ids"),
        ("/v1/attention", {"model": "tiny", "ids": [1] * 257}, "ids"),
        (CHAT, {"model": "tiny", "messages": HELLO, "return_token_ids": True}, "return_token_ids"),
    ],
)
def test_a_wrong_field_is_named(ask, path, body, field):
    answer = ask.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


# ---------------------------------------------------------------------------------- a watched run
def test_a_run_over_http(running, ask, monkeypatch):
    monkeypatch.setattr(Reporter, "plot", lambda self: None)
    folder = running[2]
    assert ask.get("/v1/run").json()["state"] == "waiting"
    assert ask.post("/v1/run/pause", json={}).status_code == 409
    trainer(folder, steps=12, sample=lambda m: "<b>text</b>", sample_every=4).run(plan=False)
    run = ask.get("/v1/run").json()
    assert (run["name"], run["state"], run["step"], run["steps"]) == ("first", "ended", 12, 12)
    assert [row[0] for row in run["losses"]] == list(range(1, 13))
    assert [s["text"] for s in run["samples"]] == ["<b>text</b>"] * 2
    assert run["gradients"][0][0] == 10 and "trf_blocks.0" in run["gradients"][0][1]
    assert str(folder.parent) not in ask.get("/v1/run").text
    assert ask.post("/v1/run/continue", content=b"{}").status_code == 415
    evil = {"origin": "https://evil.example"}
    assert ask.post("/v1/run/pause", json={}, headers=evil).status_code == 403


def test_a_server_without_a_run_or_a_classifier_says_so():
    import httpx

    with server() as (address, _):
        assert "watches no run" in httpx.get(f"{address}/v1/run").json()["error"]["message"]
        for path in ("/v1/run/pause", "/v1/run/continue"):
            assert httpx.post(address + path, json={}).status_code == 404
        answer = httpx.post(f"{address}/v1/classify", json={"input": "x"}).json()
        assert answer["error"]["message"] == "this server has no classifier"
