"""Votes, best of N, self-refinement, distillation: by hand, and on small models."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.cli import main
from tinygrad_llm.data.batches import ExampleBatches
from tinygrad_llm.finetune.reasoning import (
    OnPolicy,
    RolloutOptions,
    Rollouts,
    SoftLoss,
    best_of,
    heuristic_score,
    make_questions,
    plot_spending,
    spend,
    table_of,
    teacher_answers,
    together,
    token_log_probabilities,
    vote,
)
from tinygrad_llm.finetune.reasoning.asking import Asker
from tinygrad_llm.finetune.reasoning.inference import (
    most_frequent,
    read_ways,
    refine,
    write_ways,
)
from tinygrad_llm.finetune.runs import GRPO, Distill
from tinygrad_llm.generation import generate
from tinygrad_llm.layers.distillation import DistillationLoss
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.settings import resolved

END = "<|endoftext|>"


def small(seed=0, characters="0123456789+="):
    tokenizer = CharTokenizer.train(characters, (END,))
    torch.manual_seed(seed)
    return GPT(
        GPTConfig(tokenizer.vocab_size, 24, emb_dim=16, n_heads=2, n_layers=1, drop_rate=0.0)
    ), tokenizer


# -------------------------------------------------------------------------------------- votes
def test_votes():
    texts = [r"\boxed{1/2}", r"it is \boxed{0.5}", r"\boxed{3}", "no idea"]
    assert vote(texts, boxed=True) == (0, 2, False)
    assert vote(["3", "so 3.0", "4"]) == (0, 2, False)
    assert vote(["4", "3"]) == (0, 1, True)  # the first one
    assert vote(["4", "3"], scores=[-2.0, -1.0]) == (1, 1, True)  # the likelier one
    assert vote(["4", "3", "3", "4"], scores=[-1.0, -1.0, -1.0, -1.5]) == (1, 2, True)
    assert vote(["none"], boxed=True) == (None, 0, False)
    assert vote([]) == (None, 0, False)


def test_scores():
    short, long = r"\boxed{7}", "x" * 500 + r"\boxed{7}"
    assert heuristic_score(short) == pytest.approx(2 + 1.5 * math.exp(-len(short) / 500))
    assert heuristic_score(long) == pytest.approx(2 + 1.5 * math.exp(-len(long) / 500))
    assert heuristic_score("") == 1.5
    assert heuristic_score("it is 7") == pytest.approx(1 + 1.5 * math.exp(-7 / 500))
    assert best_of([1.0, 3.0, 3.0, -1.0]) == 1
    with pytest.raises(ValueError, match="at least one answer"):
        best_of([])


class Scripted:
    """Answers one after the other, as the asker of `spend` does."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def ask(self, entries):
        from types import SimpleNamespace

        self.asked.append([e["instruction"] for e in entries])
        return SimpleNamespace(texts=[[t] for t in self.answers.pop(0)], tokens=[[5], [6]])


def test_self_refinement_keeps_the_better_answer():
    entries = [{"instruction": "1+1", "output": "2"}, {"instruction": "2+2", "output": "4"}]
    asker = Scripted([r"\boxed{2}", "hm"], [r"\boxed{9}", r"\boxed{4}"])
    texts, tokens = refine(asker, entries, ["2", "it is 4"], rounds=2)
    assert texts == [r"\boxed{9}", r"\boxed{4}"] and tokens == [10, 12]
    assert "A first answer was:\n2" in asker.asked[0][0]
    assert "A first answer was:\nit is 4" in asker.asked[1][1]  # "hm" was worse and is not kept


def test_ways_to_spend(tmp_path):
    notes = []
    questions = make_questions("sums", 81)[:6]
    model, tokenizer = small(characters="".join(map(chr, range(32, 127))) + "\n")
    model = GPT(GPTConfig(tokenizer.vocab_size, 160, emb_dim=16, n_heads=2, n_layers=1,
                          drop_rate=0.0))  # fmt: skip
    ways = spend(
        model, tokenizer, questions, "plain", end=tokenizer.eot_token, samples=4, answer_tokens=3,
        beams=3, diverse=2, note=lambda *n: notes.append(n),
    )  # fmt: skip
    names = [way.name for way in ways]
    assert names[:4] == ["greedy", "greedy, not asked for steps", "beam search of 3", "vote of 1"]
    assert {"vote of 2", "best by score of 4", "best by log-probability of 4",
            "diverse vote of 2", "self-refinement"} <= set(names)  # fmt: skip
    tokens = {way.name: way.tokens for way in ways}
    assert 0 < tokens["vote of 1"] < tokens["vote of 2"] < tokens["vote of 4"] <= 12
    assert notes[-1] == (6, 6) and all(len(way.rights) == 6 for way in ways)
    guess = most_frequent([{"output": o} for o in ("2", "3", "3", "2", "4", "3")])
    assert guess.rights.tolist() == [0, 1, 1, 0, 0, 1] and guess.tokens == 0.0
    ways.append(guess)
    names.append(guess.name)
    both = together({"a": ways, "b": ways})
    assert len(both[0].rights) == 12 and both[0].tokens == pytest.approx(ways[0].tokens)
    assert table_of(ways)[2].startswith("| greedy | 0") and len(table_of(ways)) == 2 + len(ways)
    kept = tmp_path / "kept.json"
    assert read_ways(kept, {"seed": 1}) == {}
    write_ways(kept, {"seed": 1}, {"a": ways})
    (again,) = read_ways(kept, {"seed": 1}).values()
    assert [w.name for w in again] == names and again[3].tokens == ways[3].tokens
    assert all((a.rights == b.rights).all() for a, b in zip(again, ways, strict=True))
    with pytest.raises(ValueError, match="was made with seed 1, now it is 2"):
        read_ways(kept, {"seed": 2})
    for text in (
        "[]",
        "{}",
        '{"settings": {}, "tasks": {"a": [1]}}',
        '{"settings": 3, "tasks": 1}',
    ):
        kept.write_text(text)
        with pytest.raises(ValueError):
            read_ways(kept, {})
    with pytest.raises(ValueError, match="different ways"):
        together({"a": ways, "b": ways[:2]})
    path = plot_spending({"a": ways, "b": ways, "all": both}, tmp_path / "s.png", "a title")
    assert path.read_bytes().startswith(b"\x89PNG")
    sums, digits = small()  # its tokenizer has no letters: nothing is asked in words
    alone = spend(
        sums, digits, questions, "plain", end=digits.eot_token, samples=2, answer_tokens=3,
        steps=False,
    )  # fmt: skip
    assert "greedy" in [way.name for way in alone] and "self-refinement" not in [
        way.name for way in alone
    ]
    with pytest.raises(ValueError, match="spend needs questions"):
        spend(model, tokenizer, [], "plain", end=0)
    with pytest.raises(ValueError, match="the model's context is 160: take fewer answer_tokens"):
        spend(model, tokenizer, questions, "plain", end=0, answer_tokens=150)


def test_an_asker_answers_as_each_question_alone(tmp_path):
    """Greedy as generate, drawn the same in any batch; log-probabilities are the model's own."""
    model, tokenizer = small(seed=5)
    questions, end = make_questions("sums", 81)[:40], tokenizer.eot_token
    asker = Asker(model, tokenizer, "plain", end, 3)
    asked = asker.ask(questions)
    prompts = asker.prompts(questions)
    alone = [generate(model, p, 3, stop_tokens=[end])[len(p) :].tolist() for p in prompts]
    assert [t[0] for t in asked.texts] == [
        tokenizer.decode(ids[: ids.index(end)] if end in ids else ids) for ids in alone
    ]
    drawn = asker.ask(questions, 3, 1.3, seed=4)
    assert asker.ask(questions[:1], 3, 1.3, seed=4).texts == drawn.texts[:1]
    assert len({t for each in drawn.texts for t in each}) > 5
    for q in (0, 39):
        for text, n, score in zip(drawn.texts[q], drawn.tokens[q], drawn.scores[q], strict=True):
            new = tokenizer.encode(text) + [end] * (n > len(tokenizer.encode(text)))
            ids = torch.tensor([prompts[q] + new])
            mask = torch.arange(ids.shape[1])[None] >= len(prompts[q])
            log_p = token_log_probabilities(model, ids, mask).sum().item() / n
            assert score == pytest.approx(log_p, rel=1e-4)
    best = asker.beams(questions[:5], 3)
    made = generate(model, prompts[:5], 3, num_beams=3, stop_tokens=[end], return_logprobs=True)
    counts = made.lengths.tolist()
    assert [t for (t,) in best.texts] == [
        tokenizer.decode(ids[4 : 4 + n]) for ids, n in zip(made.ids.tolist(), counts, strict=True)
    ]
    assert best.tokens == [[3 * min(n + 1, 3)] for n in counts]
    apart = asker.diverse(questions[:5], 2)
    assert [t[0] for t in apart.texts] == [t[0] for t in asked.texts[:5]]  # the first is greedy
    assert all(len(t) == 2 for t in apart.texts) and all(
        1 <= n <= 3 for t in apart.tokens for n in t
    )


# --------------------------------------------------------------------------------- distillation
def test_soft_loss_counts_the_answers_alone():
    """The same as the loss of the logits at the tokens before those that count."""
    student, tokenizer = small(1)
    teacher, _ = small(2)
    inputs = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 7]])
    targets = torch.tensor([[-100, 3, 4, 12], [-100, 7, -100, -100]])
    for direction in ("forward", "reverse"):
        loss = DistillationLoss(1.5, direction)
        value = SoftLoss(teacher, loss)(student, (inputs, targets))
        counts = targets != -100
        expected = loss(student(inputs)[counts], teacher(inputs)[counts])
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
        value.backward()
        assert all(p.grad is None for p in teacher.parameters())
        assert any(p.grad is not None for p in student.parameters())
    assert SoftLoss(student, loss)(student, (inputs, targets)).item() == pytest.approx(0, abs=1e-6)
    other, _ = small(3, "01")
    with pytest.raises(ValueError, match="the student has 13 tokens and the teacher 3"):
        SoftLoss(other, loss)(student, (torch.tensor([[0, 1]]), torch.tensor([[1, 1]])))


def test_gradients_of_distillation_by_the_formulas():
    draw = np.random.default_rng(0)
    z, t = draw.standard_normal((2, 3, 5))
    for tau in (1.0, 2.5):
        p, q = (np.exp(x / tau) / np.exp(x / tau).sum(1, keepdims=True) for x in (t, z))
        kl = (q * np.log(q / p)).sum(1, keepdims=True)
        expected = {"forward": tau * (q - p) / 3, "reverse": tau * q * (np.log(q / p) - kl) / 3}
        for direction, gradient in expected.items():
            x = torch.tensor(z, requires_grad=True)
            DistillationLoss(tau, direction)(x, torch.tensor(t)).backward()
            np.testing.assert_allclose(x.grad.numpy(), gradient, atol=1e-14)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"direction": "both"}])
def test_bad_options_of_distillation(options):
    with pytest.raises(ValueError, match="must be"):
        DistillationLoss(**options)
    with pytest.raises(ValueError, match=r"logits \(N, V\)"):
        DistillationLoss()(torch.zeros(2, 3), torch.zeros(2, 4))


def test_a_teachers_answers_are_filtered():
    model, tokenizer = small(4)
    questions = make_questions("sums", 81)[:20]
    options = {"end": tokenizer.eot_token, "answer_tokens": 3, "samples": 8, "temperature": 1.5}
    everything = teacher_answers(model, tokenizer, questions, "plain", keep="all", **options)
    finished = teacher_answers(model, tokenizer, questions, "plain", keep="finished", **options)
    right = teacher_answers(model, tokenizer, questions, "plain", **options)
    assert everything.asked == finished.asked == right.asked == 160
    for answers in (everything, finished, right):
        assert len(answers.entries) + sum(answers.dropped.values()) == 160
        pairs = [(e["instruction"], e["output"]) for e in answers.entries]
        assert len(set(pairs)) == len(pairs) == len(answers.lengths)
    assert len(everything.entries) > len(finished.entries) > len(right.entries) > 0
    known = {q["instruction"]: int(q["output"]) for q in questions}
    assert all(int(e["output"].split("=")[-1].split("+")[-1]) == known[e["instruction"]]
               for e in right.entries)  # fmt: skip
    short = teacher_answers(
        model, tokenizer, questions, "plain", keep="finished", longest=1, **options
    )
    assert short.dropped["too long"] > 0 and set(short.lengths) <= {1}
    assert f"{len(right.entries)} of 160 answers kept; left out: " in str(right)


def test_the_gradient_of_on_policy_distillation():
    """Of drawn answers: each row alone, its logits before the tokens of the answer, by hand."""
    student, tokenizer = small(1)
    teacher, _ = small(2)
    o = RolloutOptions(1, 6, 1, 3, 1.5, "dr_grpo")
    own = Rollouts(student, tokenizer, make_questions("sums", 81), "plain", tokenizer.eot_token, o)
    inputs, targets = next(iter(OnPolicy(own)))
    batch = own.drawn(0)
    student.zero_grad()
    loss = SoftLoss(teacher, DistillationLoss(1.0, "reverse"))(student, (inputs, targets))
    loss.backward()
    got = {name: p.grad.numpy().copy() for name, p in student.named_parameters()}
    student.zero_grad()
    terms = []
    for row, counts in zip(batch["ids"].numpy(), batch["mask"].numpy(), strict=True):
        for t in np.flatnonzero(counts):  # what was drawn at t, from the tokens before it
            before = torch.tensor([row[:t].tolist()])
            log_q = student(before)[0, -1].log_softmax(-1)
            log_p = teacher(before)[0, -1].log_softmax(-1).detach()
            terms.append((log_q.exp() * (log_q - log_p)).sum())
    expected = sum(terms[1:], terms[0]) / float(len(terms))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    for name, p in student.named_parameters():
        bound = 1e-5 * abs(p.grad.numpy()).max() + 1e-7
        np.testing.assert_allclose(got[name], p.grad.numpy(), rtol=0, atol=bound)


def test_on_policy_batches_between_those_of_the_teacher():
    student, tokenizer = small(1)
    o = RolloutOptions(1, 6, 1, 3, 1.5, "dr_grpo")
    own = Rollouts(student, tokenizer, make_questions("sums", 81), "plain", tokenizer.eot_token, o)

    def taught():
        return ExampleBatches(list(range(5)), 1, lambda rows: ("taught", rows[0]), seed=1)

    def kinds(stream, n):
        it = iter(stream)
        return ["t" if b[0] == "taught" else "o" for b in (next(it) for _ in range(n))]

    assert kinds(OnPolicy(own, taught(), 0.5), 6) == list("tototo")
    assert kinds(OnPolicy(own, taught(), 0.25), 8) == list("tttottto")
    assert kinds(OnPolicy(own, taught(), 1.0), 3) == list("ooo") == kinds(OnPolicy(own), 3)
    stream = OnPolicy(own, taught(), 0.5)
    it = iter(stream)
    for _ in range(3):
        next(it)
    state = stream.state_dict()
    rest = [next(it) for _ in range(3)]
    again = OnPolicy(own, taught(), 0.5)
    again.load_state_dict(state)
    for a, b in zip(rest, iter(again), strict=False):
        assert a == b if a[0] == "taught" else bool((a[0] == b[0]).all())


# ---------------------------------------------------------------------------------- whole runs
TINY = {
    "steps": 3, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "start_steps": 30, "answer_tokens": 3,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.ci
def test_distill_by_hard_soft_and_on_policy(tmp_path):
    base = tmp_path / "teacher"
    GRPO(resolved(GRPO.options, {**TINY, "start_steps": 300, "folder": str(base)}), False).run()
    for kind in ("hard", "soft", "on-policy"):
        folder = tmp_path / kind
        options = {**TINY, "teacher": str(base), "kind": kind, "folder": str(folder)}
        run = Distill(resolved(Distill.options, options), False)
        run.run()
        assert run.tokenizer.vocab_size == 13
        test = json.loads((folder / "test.json").read_text())
        assert set(test) == {
            "before", "after", "the most frequent answer", "difference", "lengths"
        }  # fmt: skip
        assert 0 < test["lengths"]["after"]["low"] <= test["lengths"]["after"]["high"] <= 3


@pytest.mark.slow
def test_a_student_that_writes_on_and_on(tmp_path):
    """Its answers end where the teacher's do, and before the teacher's context does."""
    base = tmp_path / "teacher"
    options = {**TINY, "start_steps": 300, "start_share": 1.0, "folder": str(base)}
    GRPO(resolved(GRPO.options, options), False).run()
    options = {
        **TINY, "teacher": str(base), "kind": "on-policy", "folder": str(tmp_path / "s"),
        "start_steps": 1, "answer_tokens": 60, "own_share": 1.0, "learn": "all",
    }  # fmt: skip
    run = Distill(resolved(Distill.options, options), False)
    run.run()
    own = run.trainer.stream.batches.rollouts
    assert own.o.answer_tokens <= 4 + 1 and run.teacher.model.context_length < 4 + 60


def test_a_run_of_distillation_needs_a_teacher():
    with pytest.raises(OptionError, match="teacher: name a run"):
        Distill(resolved(Distill.options, {}), False).prepare()
    with pytest.raises(OptionError, match="kind must be hard, soft, on-policy"):
        resolved(Distill.options, {"kind": "medium"})


@pytest.mark.parametrize("plot", ["", "a.json", "a.xyz", "folder/"])
def test_spend_wants_the_name_of_a_picture_before_it_works(plot, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", "spend", "nobody", "--plot", plot])
    assert f"--plot must be the name of a .png file, got {plot!r}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
