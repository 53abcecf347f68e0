"""DPO: log-probabilities, the loss, and a model that learns which response is liked better."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm.finetune import (
    DPOLoss,
    PreferenceDataset,
    collate_preferences,
    dpo_loss,
    log_probabilities,
    preference_metrics,
    preference_trainer,
    response_log_probabilities,
    usable_pairs,
)
from tinygrad_llm.finetune.trainers import check_pairs
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT
from tinygrad_llm.nn import functional as F
from tinygrad_llm.testing import assert_close
from tinygrad_llm.training import read_metrics

PAD = 127
LN2 = math.log(2.0)


class Letters:
    def encode(self, text):
        return [ord(c) for c in text]


def entry(i=0, **changes):
    return {
        "instruction": f"say {i}", "input": "", "chosen": "yes" + "!" * (i % 3),
        "rejected": "no" + "." * (i % 2), **changes,
    }  # fmt: skip


def model(**changes):
    shape = dict(vocab_size=128, context_length=64, emb_dim=16, n_heads=2, n_layers=1)
    return GPT({**shape, "drop_rate": 0.0, **changes})


def dataset(n=8, **changes):
    return PreferenceDataset([entry(i, **changes) for i in range(n)], Letters(), "phi3")


def batch(n=4):
    data = dataset(n)
    return collate_preferences([data[i] for i in range(n)], PAD)


# -------------------------------------------------------------------------- log-probabilities
@pytest.mark.parametrize("average", [False, True])
def test_log_probabilities_by_hand(average):
    logits, ids = torch.randn(2, 5, 7), torch.randint(0, 7, (2, 5))
    mask = torch.tensor([[True, True, False, False, True], [False, False, False, True, True]])
    expected = []
    for b in range(2):
        result = [
            F.log_softmax(logits[b, t - 1], dim=-1)[int(ids[b, t])].item()
            for t in range(1, 5)
            if mask[b, t]
        ]
        expected.append(sum(result) / (len(result) if average else 1))
    assert_close(log_probabilities(logits, ids, mask, average), torch.tensor(expected))


def test_without_a_mask_every_token_but_the_first_counts():
    logits, ids = torch.randn(1, 4, 7), torch.randint(0, 7, (1, 4))
    nll = F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")
    assert_close(log_probabilities(logits, ids), -nll.reshape(1))


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("with_lora", [False, True])
def test_only_the_rows_that_count_get_logits_and_nothing_else_changes(average, with_lora):
    gpt, b = model(tie_weights=False).double(), batch()
    if with_lora:
        lora.add(gpt, rank=2)
    direction = torch.randn(4, dtype=torch.float64)
    ids, mask = b["chosen"], b["chosen_mask"]
    result = response_log_probabilities(gpt, ids, mask, average)
    (result * direction).sum().backward()
    gradients = [p.grad for p in gpt.parameters()]
    gpt.zero_grad()
    expected = log_probabilities(gpt(ids), ids, mask, average)
    (expected * direction).sum().backward()
    assert_close(result, expected)
    for g, p in zip(gradients, gpt.parameters(), strict=True):
        assert (g is None) == (p.grad is None)
        if g is not None:
            assert_close(g, p.grad, rtol=1e-8, atol=1e-12)


def test_a_model_that_only_makes_logits():
    gpt, b = model(), batch()
    plain = response_log_probabilities(lambda ids: gpt(ids), b["chosen"], b["chosen_mask"])
    assert_close(
        plain, response_log_probabilities(gpt, b["chosen"], b["chosen_mask"]), rtol=1e-4, atol=1e-6
    )


def test_float32_stays():
    out = DPOLoss(model()).output(model(), batch())
    assert out.loss.dtype == out.chosen_rewards.dtype == out.margins.dtype == torch.float32


def test_on_the_gpu(other_device):
    gpt, reference, b = model(), model(), batch()
    expected = DPOLoss(reference)(gpt, b)
    moved = {k: v.to(other_device) if hasattr(v, "to") else v for k, v in b.items()}
    result = DPOLoss(reference.to(other_device))(gpt.to(other_device), moved)
    assert_close(result.cpu(), expected, rtol=1e-4, atol=1e-6)


def test_wrong_log_probabilities():
    logits, ids = torch.randn(2, 5, 7), torch.randint(0, 7, (2, 5))
    with pytest.raises(ValueError, match=r"logits must be \(B, T, V\) for ids \(B, T\)"):
        log_probabilities(logits[0], ids)
    with pytest.raises(ValueError, match="differ in shape"):
        log_probabilities(logits, ids, torch.ones(2, 4, dtype=torch.bool))
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, 2] = True
    mask[1, 0] = True  # nothing predicts the first token
    with pytest.raises(ValueError, match="row 1: none of its tokens counts"):
        log_probabilities(logits, ids, mask)


# ------------------------------------------------------------------------------------ the loss
logs = st.lists(st.floats(-50, 0, width=32), min_size=4, max_size=4)


@given(st.lists(logs, min_size=1, max_size=6), st.floats(0.01, 2), st.floats(0, 0.49))
def test_the_loss_by_its_formula(rows, beta, smoothing):
    columns = [torch.tensor(list(c), dtype=torch.float64) for c in zip(*rows, strict=True)]
    out = dpo_loss(*columns, beta=beta, label_smoothing=smoothing)
    expected, margins = 0.0, []
    for pc, pr, rc, rr in rows:
        h = beta * ((pc - rc) - (pr - rr))
        log_sigmoid = lambda x: -np.logaddexp(0.0, -x)  # noqa: E731
        expected -= ((1 - smoothing) * log_sigmoid(h) + smoothing * log_sigmoid(-h)) / len(rows)
        margins.append(h)
    assert out.loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert np.allclose(out.margins.numpy(), margins, atol=1e-9)


def test_the_first_loss_is_ln_2_whatever_beta_and_smoothing_are():
    gpt = model(drop_rate=0.3).eval()
    reference = copy.deepcopy(gpt).train()  # it is asked in evaluation mode all the same
    for average in (False, True):
        for smoothing in (0.0, 0.3):
            out = DPOLoss(reference, 0.7, smoothing, average).output(gpt, batch())
            assert out.loss.item() == pytest.approx(LN2, abs=1e-6)
            assert (out.margins.numpy() == 0).all() and out.accuracy == 0.5
    assert reference.training


def test_gradients_reach_the_policy_alone_and_have_the_papers_direction():
    """∂loss/∂log π(y⁺) = −β·σ(−h)/B, and the opposite for y⁻."""
    pc, pr = (torch.tensor([-3.0, -2.0], requires_grad=True) for _ in range(2))
    rc, rr = torch.tensor([-3.5, -2.0]), torch.tensor([-1.0, -4.0])
    out = dpo_loss(pc, pr, rc, rr, beta=0.5)
    out.loss.backward()
    h = 0.5 * ((pc - rc) - (pr - rr)).detach().numpy()
    expected = -0.5 / (1 + np.exp(h)) / 2
    assert np.allclose(pc.grad.numpy(), expected) and np.allclose(pr.grad.numpy(), -expected)
    gpt, reference = model(), model()
    DPOLoss(reference)(gpt, batch()).backward()
    assert all(p.grad is None for p in reference.parameters())
    assert all(p.grad is not None for p in gpt.parameters())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beta": 0.0}, "beta must be more than 0, got 0.0"),
        ({"beta": math.nan}, "beta must be more than 0"),
        ({"label_smoothing": 0.5}, "less than 0.5, got 0.5"),
        ({"label_smoothing": -0.1}, "at least 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        dpo_loss(*[torch.zeros(2)] * 4, **options)
    with pytest.raises(ValueError, match=message):
        DPOLoss(model(), **options)


def test_wrong_shapes():
    with pytest.raises(ValueError, match="must all have the shape"):
        dpo_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2), torch.zeros(3))


# ------------------------------------------------------------------------------------ training
def test_margins_grow(tmp_path):
    gpt = model()
    reference = copy.deepcopy(gpt)
    before = [p.array.copy() for p in reference.parameters()]
    trainer = preference_trainer(
        gpt, reference, dataset(24), dataset(6), epochs=6, lr=3e-3, pad_token_id=PAD,
        folder=tmp_path, progress=False,
    )  # fmt: skip
    trainer.run()
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "val_loss" in line]
    assert lines[0]["val_loss"] == pytest.approx(LN2, abs=1e-6)
    assert lines[0]["val_margin"] == 0 and lines[0]["val_reward_accuracy"] == 0.5
    assert lines[-1]["val_loss"] < 0.6 and lines[-1]["val_margin"] > 0.2
    assert lines[-1]["val_reward_accuracy"] == 1.0
    first = next(line for line in read_metrics(tmp_path / "metrics.jsonl") if "loss" in line)
    assert first["loss"] == pytest.approx(LN2, abs=1e-5)
    assert all(
        np.array_equal(a, p.array) for a, p in zip(before, reference.parameters(), strict=True)
    )
    result = preference_metrics(gpt, reference, [batch(6)])
    assert result["margin"] == pytest.approx(result["chosen_reward"] - result["rejected_reward"])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_means_over_pairs_not_over_batches():
    gpt, reference, data = model(), model(), dataset(5)
    parts = [collate_preferences([data[i] for i in r], PAD) for r in ((0, 1, 2, 3), (4,))]
    whole = preference_metrics(gpt, reference, [batch(5)])
    result = preference_metrics(gpt, reference, parts)
    for name in whole:
        assert result[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6)
    with pytest.raises(ValueError, match="no pairs"):
        preference_metrics(gpt, reference, [])


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ({"rejected": "yes", "chosen": "yes"}, {}, "entry 0: its chosen and rejected responses "
         "are equal: nothing can be learned"),
        ({"rejected": "aab", "chosen": "aac"}, {"max_length": 31}, "equal when cut at 31"),
        ({"rejected": ""}, {}, "entry 0: its rejected response is empty"),
        ({"chosen": ""}, {}, "entry 0: its chosen response is empty"),
        ({"instruction": "x" * 40}, {"max_length": 60}, "its prompt has 64 tokens and is cut"),
        ({}, {"max_length": 65}, "max_length is 65, but the model's context is 64"),
        ({}, {"beta": -1}, "beta must be more than 0"),
    ],
)  # fmt: skip
def test_what_the_trainer_refuses(changes, options, message):
    gpt = model()
    with pytest.raises(ValueError, match=message):
        preference_trainer(gpt, copy.deepcopy(gpt), dataset(2, **changes), **options)


def test_the_reference_is_another_model():
    gpt = model()
    with pytest.raises(ValueError, match="pass a copy, copy.deepcopy"):
        preference_trainer(gpt, gpt, dataset())


def test_real_pairs_can_all_be_learned_from():
    import json

    from data import data_file

    entries = json.loads(data_file("instruction-data-with-preference.json").read_text("utf-8"))
    data = PreferenceDataset(entries, Letters())
    with pytest.raises(ValueError, match="entry .*: its chosen and rejected responses are equal"):
        check_pairs(data, None)
    usable = usable_pairs(entries)
    assert len(entries) - len(usable) == 6
    check_pairs(PreferenceDataset(usable, Letters()), None)
