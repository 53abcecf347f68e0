"""Policy gradients: the sources' numbers, advantages, limits and errors; twins are elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.finetune.reasoning import gae, group_advantages, whitened
from tinygrad_llm.layers.policy import METHODS, PolicyLoss, policy_loss_of
from tinygrad_llm.layers.value import ValueLoss

LOGPROBS = [-7.9243, -20.1546, -16.6130, -23.3677]
REWARDS = [1.0, 1.0, 0.0, 0.0]


def column(values):
    return torch.tensor(values).unsqueeze(1)  # (4) -> (4, 1): the sums of whole answers


def test_known_numbers():
    advantages = group_advantages(REWARDS, 4)
    np.testing.assert_allclose(advantages, [0.8659, 0.8659, -0.8659, -0.8659], atol=5e-5)
    a = torch.tensor(advantages.astype(np.float32))
    log_p = column(LOGPROBS)
    loss = policy_loss_of("reinforce")(log_p, log_p, a)
    assert loss.item() == pytest.approx(-2.5764, abs=5e-5)
    ratios = torch.tensor([3.0, 0.2, -2.0, 0.0]).unsqueeze(1)
    np.testing.assert_allclose(ratios.exp()[:, 0], [20.0855, 1.2214, 0.1353, 1.0], atol=5e-5)
    clipped = PolicyLoss(ratio="sequence", clip_low=10.0)  # the source's clip: between -9 and 11
    out = clipped.output(log_p + ratios, log_p, a)
    assert out.loss.item() == pytest.approx(-2.3998, abs=5e-5)
    assert out.clipped == 0.25 and out.ratio == pytest.approx(np.exp([3, 0.2, -2, 0]).mean())


def test_advantages_by_hand():
    r = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(group_advantages(r, 4, "dr_grpo")[:4], [0.5, 0.5, -0.5, -0.5])
    np.testing.assert_allclose(
        group_advantages(r, 4, "rloo")[:4], [2 / 3, 2 / 3, -2 / 3, -2 / 3], rtol=1e-12
    )
    for kind in ("grpo", "dr_grpo", "rloo"):
        assert (group_advantages(r, 4, kind)[4:] == 0.0).all()  # no difference, nothing to learn
    assert group_advantages(r, 4, "reinforce")[4] == pytest.approx(0.25)
    both = np.stack([r, 1.0 - r], 1)  # two rewards that cancel when they are added first
    assert (group_advantages(both, 4) == 0.0).all()
    weighted = group_advantages(both, 4, weights=[1.0, 0.0])
    np.testing.assert_allclose(weighted, group_advantages(r, 4))
    # a rare reward counts as much as a frequent one
    k = np.array([[1, 0], [0, 0], [0, 10], [1, 10]], float)
    each = group_advantages(k, 4, "gdpo")
    assert each[0] == pytest.approx(each[2], abs=1e-3) and each[3] > 1.0 > each[0] > each[1]


@pytest.mark.parametrize(
    ("rewards", "size", "kind", "message"),
    [([1, 0, 1], 2, "grpo", r"groups of 2 answers are \(P·2\)"), ([], 2, "grpo", "groups of 2"),
     ([1, math.nan], 2, "grpo", "NaN or infinite"), ([1, 0], 2, "ppo", "kind must be one of grpo"),
     ([1, 0], 1, "rloo", "take at least 2")],
)  # fmt: skip
def test_bad_rewards_are_refused(rewards, size, kind, message):
    with pytest.raises(ValueError, match=message):
        group_advantages(rewards, size, kind)


def test_gae_is_the_sum_of_the_formula():
    """Aₜ = Σ (γλ)ⁱ·δₜ₊ᵢ over the tokens that count, added up term by term."""
    draw = np.random.default_rng(0)
    rewards, values = draw.standard_normal((2, 3, 6))
    mask = np.ones((3, 6), bool)
    mask[0, 4:] = mask[1, 1:3] = False  # one ended earlier, one has a tool's answer inside
    for gamma, lam in ((1.0, 0.95), (0.9, 0.5), (0.8, 0.0), (0.99, 1.0)):
        advantages, returns = gae(rewards, values, mask, gamma, lam)
        for b in range(3):
            kept = np.flatnonzero(mask[b])
            v, r = [*values[b, kept], 0.0], rewards[b, kept]
            delta = [r[i] + gamma * v[i + 1] - v[i] for i in range(len(kept))]
            for i, t in enumerate(kept):
                expected = sum((gamma * lam) ** j * d for j, d in enumerate(delta[i:]))
                assert advantages[b, t] == pytest.approx(expected, abs=1e-12)
                assert returns[b, t] == pytest.approx(expected + v[i], abs=1e-12)
            assert (advantages[b][~mask[b]] == 0.0).all() and (returns[b][~mask[b]] == 0.0).all()
    with pytest.raises(ValueError, match="gae needs rewards"):
        gae(rewards, values[:, 1:], mask)
    with pytest.raises(ValueError, match="between 0 and 1"):
        gae(rewards, values, mask, lam=1.5)


def test_value_loss_by_hand():
    values = torch.tensor([[1.0, 2.0, 9.0]], requires_grad=True)
    old, returns = torch.tensor([[0.0, 2.1, 9.0]]), torch.tensor([[3.0, 2.0, 0.0]])
    mask = torch.tensor([[True, True, False]])
    loss = ValueLoss(0.2)(values, old, returns, mask)
    assert loss.item() == pytest.approx(0.5 * (2.8**2 + 0.0) / 2, rel=1e-6)
    loss.backward()
    assert values.grad.tolist() == [[0.0, 0.0, 0.0]]  # the clipped error is the larger one
    plain = ValueLoss(None)(values, old, returns, mask)
    assert plain.item() == pytest.approx(0.5 * 4.0 / 2)
    values.grad = None
    plain.backward()
    assert values.grad.tolist() == [[-1.0, 0.0, 0.0]]  # e/n
    results = []
    for rubbish in (0.0, math.nan, math.inf):
        v = torch.tensor([[1.0, 2.0, rubbish]], requires_grad=True)
        value = ValueLoss()(v, torch.tensor([[0.9, 2.1, rubbish]]), returns, mask)
        value.backward()
        results.append((value.item(), v.grad.tolist()))
    assert results[0] == results[1] == results[2] and results[0][1][0][0] != 0.0
    for call, message in (
        (lambda: ValueLoss(-0.1), "clip must be 0 or more"),
        (lambda: ValueLoss()(values, old[:, :1], returns), r"old must have the shape \(1, 3\)"),
        (lambda: ValueLoss()(values, old, returns, mask & ~mask), "no token counts"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_whitened():
    draw = np.random.default_rng(3)
    x, mask = draw.standard_normal((4, 5)) * 3 + 7, draw.random((4, 5)) > 0.3
    white = whitened(x, mask)
    assert white[mask].mean() == pytest.approx(0.0, abs=1e-12)
    assert white[mask].std(ddof=1) == pytest.approx(1.0, abs=1e-4) and (white[~mask] == 0).all()
    assert (whitened(np.full((2, 2), 3.0), np.ones((2, 2), bool)) == 0.0).all()
    assert whitened(np.array([[5.0, 1.0]]), np.array([[True, False]])).tolist() == [[0.0, 0.0]]


def test_masked_numbers_change_nothing():
    """Not even NaN and infinities, in values and in gradients."""
    mask = torch.tensor([[True, False], [True, True]])
    for method in METHODS:
        loss = policy_loss_of(method, longest=2, beta=0.1)
        results = []
        for rubbish in (0.0, math.nan, -math.inf):
            log_p = torch.tensor([[-1.0, rubbish], [-2.0, -0.5]], requires_grad=True)
            old = torch.tensor([[-1.1, rubbish], [-2.0, -0.9]])
            value = loss(log_p, old, torch.tensor([0.5, -0.5]), old, mask)
            value.backward()
            results.append((value.item(), log_p.grad[mask].tolist()))
            assert log_p.grad[0, 1].item() == 0.0
        assert all(r == results[0] for r in results)


def test_a_first_step_is_reinforce():
    """At ratio 1 the gradient is −A/n of each token, however it is clipped."""
    for clip in (None, 0.0, 0.2):
        log_p = torch.tensor([[-1.0, -2.0], [-0.5, -0.1]], requires_grad=True)
        PolicyLoss(clip_low=clip)(log_p, log_p.detach(), torch.tensor([0.5, -0.25])).backward()
        np.testing.assert_allclose(log_p.grad, [[-0.125, -0.125], [0.0625, 0.0625]])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"ratio": "word"}, "ratio must be one of token, sequence, none"),
     ({"average": "mean"}, "average must be one of answer"), ({"beta": -1.0}, "beta must be 0 or"),
     ({"clip_low": math.inf}, "clip_low must be 0 or more"), ({"longest": 3}, "goes with average"),
     ({"average": "length"}, "goes with average"),
     ({"cispo": True, "ratio": "none"}, "cispo needs"),
     ({"average": "length", "longest": 0}, "at least 1")],
)  # fmt: skip
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        PolicyLoss(**options)


def test_calls_are_checked():
    x, a = torch.zeros(2, 3), torch.zeros(2)
    with pytest.raises(ValueError, match=r"log_p must be \(B, T\)"):
        PolicyLoss()(a, a, a)
    with pytest.raises(ValueError, match=r"old must have the shape \(2, 3\)"):
        PolicyLoss()(x, x[:1], a)
    with pytest.raises(ValueError, match="beta=0.1 needs a reference"):
        PolicyLoss(beta=0.1)(x, x, a)
    with pytest.raises(ValueError, match=r"advantages must be \(B\)"):
        PolicyLoss(ratio="sequence")(x, x, x)
    with pytest.raises(ValueError, match="no token that counts"):
        PolicyLoss()(x, x, a, mask=torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match="method must be one of reinforce"):
        policy_loss_of("trpo")
