"""Reinforcement learning with verified rewards: rollouts, the doctor, runs of finetune grpo."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.finetune.reasoning import (
    TASKS,
    Doctor,
    RolloutOptions,
    Rollouts,
    RolloutStatistics,
    SickRun,
    draw_answers,
    group_advantages,
    grpo_trainer,
    is_right,
    make_questions,
    rewards_of,
    token_log_probabilities,
    whitened,
)
from tinygrad_llm.finetune.runs import GRPO
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer
from tinygrad_llm.training import find_checkpoint
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.settings import resolved

END = "<|endoftext|>"


def small(seed=0, n_layers=1):
    tokenizer = CharTokenizer.train("0123456789+=", (END,))
    torch.manual_seed(seed)
    config = GPTConfig(tokenizer.vocab_size, 16, emb_dim=16, n_heads=2, n_layers=n_layers,
                       drop_rate=0.0)  # fmt: skip
    return GPT(config), tokenizer


def rollouts(model, tokenizer, doctor=None, reference=None, **options):
    questions = make_questions("sums", 81)
    o = RolloutOptions(**{"answer_tokens": 3, "questions": 5, "group_size": 4, **options})
    return Rollouts(model, tokenizer, questions, "plain", tokenizer.eot_token, o, reference, doctor)


# ------------------------------------------------------------------------------ tasks, rewards
def test_tasks_are_the_same_everywhere():
    assert len(make_questions("sums", 1)) == 81
    assert make_questions("sums", 81)[20] == {"instruction": "3+3=", "output": "6"}
    for task in TASKS:
        questions = make_questions(task, 30, seed=1)
        assert questions == make_questions(task, 30, seed=1)
        texts = [q["instruction"] for q in questions]
        assert len(set(texts)) == len(texts) and all(q["output"].isdigit() for q in questions)
        if task != "sums":
            others = make_questions(task, 10, seed=2, exclude=set(texts))
            assert not {q["instruction"] for q in others} & set(texts)
    with pytest.raises(ValueError, match="task must be one of sums"):
        make_questions("chess", 3)


def test_answers_of_tasks_are_right():
    """Computed again from the questions."""
    import re

    for entry in make_questions("arithmetic", 50):
        expression = entry["instruction"].removeprefix("What is ").partition("?")[0]
        assert is_right(f"It is {entry['output']}", entry["output"])
        numbers = [int(n) for n in re.findall(r"\d+", expression)]
        expected = (
            numbers[0] * numbers[1] + numbers[2] if "*" in expression
            else numbers[0] - numbers[1] - numbers[2]
        )  # fmt: skip
        assert int(entry["output"]) == expected
    for entry in make_questions("counting", 30):
        letter, word = re.findall('"(.*?)"', entry["instruction"])
        assert int(entry["output"]) == word.count(letter)


def test_rewards():
    texts = [r"so \boxed{7}", "7", r"\boxed{8}", r"\boxed{7}", "the sum of 3 and 4 is 7."]
    finished = [True, True, True, False, True]
    boxed = rewards_of(texts, finished, ["7"] * 5, boxed=True)
    assert boxed.tolist() == [[1, 1], [0, 0], [0, 1], [0, 0], [0, 0]]  # not finished: no reward
    plain = rewards_of(texts, finished, ["7"] * 5)
    assert plain.tolist() == [[1, 1], [1, 1], [0, 1], [0, 0], [1, 1]]


# ----------------------------------------------------------------------------------- rollouts
def test_old_log_probabilities_are_those_of_each_answer_alone():
    model, tokenizer = small()
    stream = rollouts(model, tokenizer, temperature=1.3)
    batch = next(iter(stream))
    ids, mask = batch["ids"], batch["mask"]
    assert ids.shape == mask.shape == batch["old"].shape and ids.shape[0] == 20
    for b in range(20):
        n = int(np.flatnonzero(mask[b].numpy())[-1]) + 1  # without the padding
        logits = (model.eval()(ids[b : b + 1, :n]) / 1.3).log_softmax(-1)  # (1, n, V)
        for t in range(n):
            if bool(mask[b, t].item()):
                expected = logits[0, t - 1, int(ids[b, t].item())].item()
                assert batch["old"][b, t].item() == pytest.approx(expected, abs=1e-5)
            else:
                assert batch["old"][b, t].item() == 0.0
    assert ((batch["old"] != 0) == mask).all()


def test_what_counts_in_a_rollout():
    """The answer and its end token, never the prompt and padding; a cut answer has no end."""
    model, tokenizer = small()
    prompts = [tokenizer.encode(text) for text in ("1+2=", "3=", "4+5+6=")]
    answers = draw_answers(
        model, tokenizer, prompts * 8, 3, stop_token=tokenizer.eot_token, temperature=1.5, seed=1
    )
    assert any(answers.finished) and not all(answers.finished)
    for row, counts, text, done, n, prompt in zip(
        answers.ids, answers.mask, answers.texts, answers.finished, answers.lengths, prompts * 8,
        strict=True,
    ):  # fmt: skip
        written = row[counts].tolist()
        assert row[: len(prompt)].tolist() == prompt and not counts[: len(prompt)].any()
        assert len(written) == n and tokenizer.decode(written[: len(text)]) == text
        assert (written[-1] == tokenizer.eot_token) == done
        assert written == [*tokenizer.encode(text), *([tokenizer.eot_token] if done else [])]
        assert set(row[len(prompt) + n :].tolist()) <= {tokenizer.eot_token}


def test_a_place_in_the_rollouts():
    model, tokenizer = small()
    stream = rollouts(model, tokenizer, updates=2)
    batches = iter(stream)
    first = [next(batches) for _ in range(3)]
    assert first[0] is first[1] and first[2] is not first[0]  # two updates with each
    state = stream.state_dict()
    assert state["position"] == 3 and len(stream) == 34
    again = rollouts(model, tokenizer, updates=2)
    again.load_state_dict(state)
    assert again.position == 2  # the beginning of the rollout in whose middle it was
    assert (next(iter(again))["ids"] == first[2]["ids"]).all()
    questions = [i for r in range(17) for i in stream.indices(r)]
    assert set(questions[:81]) == set(range(81))  # an epoch has all of them
    with pytest.raises(ValueError, match="had 81 questions and has 5 now"):
        other = rollouts(model, tokenizer)
        other.entries = other.entries[:5]
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="no questions"):
        Rollouts(model, tokenizer, [], "plain", 0, RolloutOptions())


def test_rewards_reach_the_advantages():
    model, tokenizer = small(seed=3)
    stream = rollouts(model, tokenizer, group_size=16, questions=20)
    batch = next(iter(stream))
    s = stream.statistics
    chosen = [i for i in stream.indices(0) for _ in range(16)]
    texts = []
    for row, counts in zip(batch["ids"].numpy(), batch["mask"].numpy(), strict=True):
        texts.append([t for t in row[counts].tolist() if t != tokenizer.eot_token])
    finished = [tokenizer.eot_token in row[m] for row, m in
                zip(batch["ids"].numpy(), batch["mask"].numpy(), strict=True)]  # fmt: skip
    answers = [stream.entries[i]["output"] for i in chosen]
    table = rewards_of([tokenizer.decode(t) for t in texts], finished, answers)
    assert 0 < s.right == table[:, 0].mean() and s.finished == np.mean(finished)
    np.testing.assert_allclose(
        batch["advantages"].numpy(), group_advantages(table[:, 0], 16), rtol=1e-6
    )
    assert s.length == batch["mask"].numpy().sum(1).mean() and 0 < s.entropy < math.log(13)


# -------------------------------------------------------------------------------- the doctor
HEALTHY = RolloutStatistics(0.5, 0.5, 0.25, 0.9, 0.3, 5.0, 0.8, 9)


@pytest.mark.parametrize(
    ("changes", "template", "message"),
    [({"finished": 0.0}, False, "no answer of 3 rollouts was finished: the prompts have no chat"),
     ({"finished": 0.0}, True, "they are cut at 5 tokens"),
     ({"rewarded_ends": 0, "cut_right": 0.3, "right": 0.0, "reward": 0.0, "same": 1.0}, True,
      "no end token was ever rewarded, although 30% of the answers were right"),
     ({"same": 1.0, "right": 0.0, "reward": 0.0, "rewarded_ends": 0}, True, r"same reward \(0\)"),
     ({"same": 1.0}, True, "a higher `temperature`"),
     ({"finished": 0.01}, True, "fewer than 2% of the answers were finished in 3 rollouts"),
     ({"length": 1.0, "right": 0.0}, True, "the answers of 3 rollouts were empty"),
     ({"clipped": 0.9}, True, "the clip acted on more than 80% of the ratios in 3 rollouts"),
     ({"same": 1.0, "variance": 0.0, "right": 0.0}, True, "so every advantage is 0"),
     ({"entropy": 0.0}, True, "always writes the same"),
     ({"kl": 3.0}, True, "3.00 nats per token from the reference, more than 2")],
)  # fmt: skip
def test_the_doctor_stops_a_run_with_the_reason(changes, template, message):
    doctor = Doctor(patience=3, template=template)
    sick = HEALTHY._replace(**changes)
    doctor.look(sick)
    doctor.look(HEALTHY)  # one good rollout, and it waits
    doctor.look(sick)
    doctor.look(sick)
    doctor.forget()
    doctor.look(sick)
    doctor.look(sick)
    with pytest.raises(SickRun, match=message.replace("`", "")):
        doctor.look(sick)


@pytest.mark.parametrize(
    "changes",
    [{"finished": 0.02}, {"rewarded_ends": 1, "cut_right": 0.9}, {"rewarded_ends": 0},
     {"rewarded_ends": 0, "cut_right": 0.02}, {"length": 1.0, "right": 0.1},
     {"length": 1.1, "right": 0.0}, {"same": 0.99, "right": 0.0}, {"entropy": 0.001},
     {"entropy": 0.0, "right": 1.0}, {"same": 1.0, "right": 1.0, "variance": 0.0},
     {"clipped": 0.8}, {"kl": 2.0}],
)  # fmt: skip
def test_the_doctor_does_not_stop_what_is_just_healthy(changes):
    """Beside every rule: a rollout on the good side of its border."""
    doctor = Doctor(patience=3)
    for _ in range(6):
        doctor.look(HEALTHY._replace(**changes))
    assert doctor.reason() is None


def test_the_numbers_of_a_rollout_hold_the_variance():
    numbers = HEALTHY._replace(variance=0.1875).numbers()
    assert numbers["variance"] == 0.1875
    assert list(numbers) == ["reward", "variance", "right", "finished", "same", "length",
                             "entropy", "clipped", "kl"]  # fmt: skip


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_whose_right_answers_never_end(ends):
    """It writes 5 and goes on until it is cut, or nothing: only what is wrong has an end."""
    model, tokenizer = small()
    ids = {letter: tokenizer.encode(letter)[0] for letter in "=5+"}
    end = tokenizer.eot_token

    def forward(idx, **options):
        logits = GPT.forward(model, idx, **options) * 0 - 1e4  # (B, T, V)
        after = idx[:, -logits.shape[1] :].numpy()  # (B, T)
        chosen = np.where(after == ids["="], ids["5"], end if ends else ids["+"])
        logits.numpy()[np.indices(after.shape)[0], np.indices(after.shape)[1], chosen] = 0.0
        logits.numpy()[after == ids["="], end] = 0.0  # and as often it ends immediately
        return logits

    model.forward = forward
    questions = [{"instruction": f"{n}+{5 - n}=", "output": "5"} for n in range(1, 5)]
    options = RolloutOptions(group_size=8, questions=4, answer_tokens=4)
    stream = Rollouts(model, tokenizer, questions, "plain", end, options, None, Doctor(2))
    batches = iter(stream)
    next(batches)
    s = stream.statistics
    assert (s.cut_right > 0.02) is not ends and (s.rewarded_ends > 0) is ends and s.finished > 0
    if ends:
        next(batches)
        return
    with pytest.raises(SickRun, match="no end token was ever rewarded, although"):
        next(batches)


def test_the_doctor_lets_good_runs_alone():
    doctor = Doctor(patience=2)
    for _ in range(5):
        doctor.look(HEALTHY)
        doctor.look(HEALTHY._replace(same=1.0, right=1.0, entropy=0.0))
    for _ in range(5):  # all right: nothing is left to learn, which is not a disease
        doctor.look(HEALTHY._replace(same=1.0, right=1.0, reward=1.0, entropy=0.0))


def test_a_model_that_never_ends_is_stopped():
    """The end token is one that the model cannot write."""
    model, tokenizer = small()
    stream = rollouts(model, tokenizer, Doctor(patience=2), group_size=2, questions=2)
    model.forward = lambda idx, **options: torch.where(
        torch.arange(13) == tokenizer.eot_token, -1e4, GPT.forward(model, idx, **options)
    )
    batches = iter(stream)
    next(batches)
    with pytest.raises(SickRun, match="no answer of 2 rollouts was finished"):
        next(batches)


# ---------------------------------------------------------------------------------- the trainer
@pytest.mark.parametrize("method", ["grpo", "rloo", "dapo", "cispo", "gdpo", "reinforce", "ppo"])
def test_rewarded_answers_become_likelier(method):
    """Each method, on one question that is easy to solve by chance."""
    model, tokenizer = small(seed=1)
    questions = [{"instruction": "1+2=", "output": "3"}]
    trainer = grpo_trainer(
        model, tokenizer, questions, questions, method=method, group_size=32, batch_size=1,
        steps=25, lr=1e-2, answer_tokens=2, patience=100, end=tokenizer.eot_token, progress=False,
        eval_every=100, form_weight=0.1,
    )  # fmt: skip
    ids = torch.tensor([tokenizer.encode("1+2=3") + [tokenizer.eot_token]])
    mask = torch.tensor([[False] * 4 + [True] * 2])
    before = token_log_probabilities(model, ids, mask).sum().item()
    trainer.run(plan=False)
    assert token_log_probabilities(model, ids, mask).sum().item() > before + 2.0


def test_the_critic_of_ppo():
    """One batch by the formulas: values, returns, advantages, and the gradients of both losses."""
    model, tokenizer = small(seed=2)
    trainer = grpo_trainer(
        model, tokenizer, make_questions("sums", 81), make_questions("sums", 81), method="ppo",
        steps=1, answer_tokens=3, batch_size=8, end=tokenizer.eot_token, form_weight=0.5,
        value_weight=0.25, lam=0.9, progress=False, config={"mine": 1},
    )  # fmt: skip
    assert trainer.config["value_head"] is True and trainer.config["mine"] == 1
    assert (model.value_head.weight == 0).all()
    torch.nn.init.normal_(model.value_head.weight)
    batch = trainer.stream.next()
    mask, values = batch["mask"].numpy(), batch["values"].numpy().astype(np.float64)
    x = model.eval().hidden_states(batch["ids"])
    expected = model.value_head(x)[..., 0].detach().numpy()
    assert (values[~mask] == 0.0).all()
    np.testing.assert_allclose(values[:, 1:][mask[:, 1:]], expected[:, :-1][mask[:, 1:]], rtol=1e-5)
    ended = (batch["ids"].numpy() == tokenizer.eot_token) & mask
    assert ended.any() and not ended.any(1).all()
    advantages = np.zeros(values.shape)
    for b in range(len(values)):  # the last token has the reward, and V after it is 0
        places = np.flatnonzero(mask[b])
        v = [*values[b, places], 0.0]
        returns = batch["returns"].numpy()[b, places]
        r = returns[-1] if len(places) else 0.0
        assert any(abs(r - reward) < 1e-5 for reward in ((1.5, 0.5) if ended[b].any() else (0.0,)))
        after = 0.0
        for i in reversed(range(len(places))):
            delta = (r if i == len(places) - 1 else 0.0) + v[i + 1] - v[i]
            after = delta + 0.9 * after
            advantages[b, places[i]] = after
            assert returns[i] == pytest.approx(after + v[i], abs=1e-5)
    np.testing.assert_allclose(batch["advantages"].numpy(), whitened(advantages, mask), atol=1e-5)
    loss = trainer.loss(model, batch)
    policy, value = trainer.loss.last.loss.item(), trainer.loss.value_loss
    errors = (values - batch["returns"].numpy())[mask]
    assert value == pytest.approx(0.5 * (errors**2).mean(), rel=1e-5)
    assert loss.item() == pytest.approx(policy + 0.25 * value, rel=1e-5)
    loss.backward()
    hidden = x.detach().numpy()[:, :-1][mask[:, 1:]]  # (M, C): before each token that counts
    np.testing.assert_allclose(
        model.value_head.weight.grad.numpy()[0], 0.25 * errors @ hidden / len(errors), rtol=1e-3,
        atol=1e-6,
    )  # fmt: skip


def test_a_reference_holds_the_model():
    model, tokenizer = small(seed=1)
    questions = [{"instruction": "1+2=", "output": "3"}]
    with pytest.raises(ValueError, match="beta=0.5 needs a reference"):
        grpo_trainer(
            model, tokenizer, questions, questions, beta=0.5, steps=1, end=tokenizer.eot_token
        )
    moved = []
    for beta in (0.01, 2.0):
        copied = copy.deepcopy(model)
        trainer = grpo_trainer(
            copied, tokenizer, questions, questions, beta=beta, steps=20, lr=1e-2, batch_size=1,
            group_size=32, answer_tokens=2, patience=100, end=tokenizer.eot_token, progress=False,
            reference=copy.deepcopy(model), eval_every=100, updates=2,
        )  # fmt: skip
        trainer.run(plan=False)
        moved.append(trainer.loss.last.kl)
    assert moved[0] > 3 * moved[1] > 0.0
    with pytest.raises(ValueError, match="take fewer answer_tokens"):
        grpo_trainer(
            model, tokenizer, questions, questions, steps=1, end=tokenizer.eot_token,
            answer_tokens=20,
        )  # fmt: skip


# -------------------------------------------------------------------------------- whole runs
TINY = {
    "steps": 4, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "start_steps": 30, "answer_tokens": 3,
    "batch_size": 4, "group_size": 4, "eval_every": 2,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.ci
def test_a_run_and_its_resumption(tmp_path):
    """Files and lines of a run; stopped in the middle and resumed it ends as the whole one."""
    folder = tmp_path / "a"
    run = GRPO(resolved(GRPO.options, {**TINY, "folder": str(folder)}), False)
    run.run()
    test = json.loads((folder / "test.json").read_text())
    assert set(test) == {
        "before", "after", "the most frequent answer", "difference", "lengths"
    }  # fmt: skip
    assert len(json.loads((folder / "answers.json").read_text())) == 81
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validated = [line for line in lines if "val_accuracy" in line]
    assert {"reward", "entropy", "finished", "same", "length"} <= set(validated[-1])
    assert (folder / "loss.png").exists()
    half = tmp_path / "b"
    options = resolved(GRPO.options, {**TINY, "folder": str(half), "checkpoint_every": 2})
    first = GRPO(options, False)
    first.prepare()
    first.o.steps = 4
    first.run()
    two = next(p for p in sorted((half / "checkpoints").iterdir()) if p.name.endswith("02"))
    again = GRPO.continued(find_checkpoint(two), {}, {}, False)
    again.run()
    whole, resumed = (dict(r.model.state_dict()) for r in (run, again))
    for name, value in whole.items():
        np.testing.assert_array_equal(value.numpy(), resumed[name].numpy())
    assert again.before.tolist() == run.before.tolist()


def test_bad_options_of_a_run():
    for given, message in (
        ({"method": "trpo"}, "method must be reinforce, rloo, ppo, grpo"),
        ({"lam": 1.5}, "lam must be between 0 and 1"),
        ({"group_size": 1}, "group_size must be between 2 and 1,024"),
        ({"lora": True}, "lora adapts a base"), ({"emb_dim": 10}, "is not a multiple of n_heads"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=message):
            resolved(GRPO.options, given)


@pytest.mark.slow
@pytest.mark.ci
def test_a_base_with_lora_on_a_file(tmp_path):
    """A run of grpo is a base of another one; the last questions of a file are the test."""
    GRPO(resolved(GRPO.options, {**TINY, "folder": str(tmp_path / "a")}), False).run()
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(make_questions("sums", 81)))
    options = {
        **TINY, "data": str(path), "base": str(tmp_path / "a"), "lora": True, "lora_rank": 2,
        "folder": str(tmp_path / "b"), "beta": 0.1, "updates": 2, "method": "dapo",
        "checkpoint_every": 3, "test_questions": 9,
    }  # fmt: skip
    run = GRPO(resolved(GRPO.options, options), False)
    run.run()
    assert len(run.train) == 72 and len(run.test) == 9 and run.o.checkpoint_every == 4
    assert (tmp_path / "b" / "adapter").is_dir()
