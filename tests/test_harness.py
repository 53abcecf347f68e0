"""Our models under lm-evaluation-harness: a local task file of each kind."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

import tinygrad_llm as tg
from tinygrad_llm.evaluation import choose, continuation_scores, measure_text
from tinygrad_llm.evaluation.harness import harness_model
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

TOKENIZER = CharTokenizer.train("Question: abc?\nAnswer: xyz.")
QUESTIONS = [(f"{c}{d}?", ["x", "yy", "z"], (i + j) % 3)
             for i, c in enumerate("abc") for j, d in enumerate("abc")]  # fmt: skip
KINDS = {
    "multiple_choice": ("doc_to_choice: choices\ndoc_to_target: label\n", "acc"),
    "generate_until": (
        "doc_to_target: '{{choices[label]}}'\ngeneration_kwargs:\n  until: ['.']\n"
        "  max_gen_toks: 4\n", "exact_match",
    ),
    "loglikelihood_rolling": ("doc_to_target: question\n", "byte_perplexity"),
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    tg.manual_seed(4)
    made = GPT(GPTConfig(vocab_size=TOKENIZER.vocab_size, context_length=24, emb_dim=8, n_heads=2,
                         n_layers=1))  # fmt: skip
    for p in made.parameters():
        p.data = p.data * 6
    return made.eval()


def test_without_the_package_the_error_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.api.model", None)
    with pytest.raises(ImportError, match="pip install"):
        harness_model(model, TOKENIZER)


def test_the_three_questions(model):
    pytest.importorskip("lm_eval.api.model")
    harness = harness_model(model, TOKENIZER)
    ask = lambda *args: [SimpleNamespace(args=args)]  # noqa: E731
    (score,) = continuation_scores(model, TOKENIZER, [("abc", " x")])
    assert harness.loglikelihood(ask("abc", " x")) == [(score.log_prob, score.is_greedy)]
    assert harness.loglikelihood_rolling(ask("abc x" * 9)) == [
        -measure_text(model, TOKENIZER, "abc x" * 9).nats
    ]
    (text,) = harness.generate_until(ask("abc", {"until": [], "max_gen_toks": 9}))
    assert len(text) == 9
    cut = harness.generate_until(ask("abc", {"until": text[3], "max_gen_toks": 9}))
    assert cut == [text[: text.index(text[3])]]
    assert len(harness.generate_until(ask("a" * 90, {"max_gen_toks": 5}))[0]) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_task(model, kind, tmp_path, monkeypatch):
    lm_eval = pytest.importorskip("lm_eval")
    tasks = pytest.importorskip("lm_eval.tasks")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows = [{"question": q, "choices": c, "label": n} for q, c, n in QUESTIONS]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    more, metric = KINDS[kind]
    prompt = "''" if "rolling" in kind else '"Question: {{question}}\\nAnswer:"'
    (tmp_path / "own.yaml").write_text(
        f"task: own\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {tmp_path / 'rows.jsonl'}\ntest_split: test\noutput_type: {kind}\n"
        f"doc_to_text: {prompt}\n{more}metric_list:\n  - metric: {metric}\n"
    )
    manager = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    results = lm_eval.simple_evaluate(harness_model(model, TOKENIZER), tasks=["own"],
                                    task_manager=manager, bootstrap_iters=0)  # fmt: skip
    value = results["results"]["own"][f"{metric},none"]
    if kind == "multiple_choice":
        right = [choose(model, TOKENIZER, f"Question: {q}\nAnswer:", [f" {c}" for c in own]) == n
                 for q, own, n in QUESTIONS]  # fmt: skip
        assert value == pytest.approx(sum(right) / len(right))
    elif kind == "generate_until":
        right = []
        for q, own, n in QUESTIONS:
            ids = TOKENIZER.encode(f"Question: {q}\nAnswer:")[-20:]
            text = TOKENIZER.decode(generate(model, ids, 4)[len(ids) :].tolist())
            right.append(text.partition(".")[0] == own[n])
        assert value == pytest.approx(sum(right) / len(right))
    else:
        measured = [measure_text(model, TOKENIZER, q) for q, _, _ in QUESTIONS]
        nats, n = sum(m.nats for m in measured), sum(len(q.encode()) for q, _, _ in QUESTIONS)
        assert value == pytest.approx(math.exp(nats / n))
