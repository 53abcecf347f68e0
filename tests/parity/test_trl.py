"""Losses and advantages against trl's trainers, values and gradients.

trl 1.x has no PPO trainer any more. Its policy loss with an advantage for each token is GRPO's, so
that one is trl's here; GAE and the values' loss are written out in PyTorch in this file, from the
papers' formulas and in another form than the package's loop.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.finetune.preferences import dpo_loss  # noqa: E402
from tinygrad_llm.finetune.reasoning import gae, group_advantages  # noqa: E402
from tinygrad_llm.layers.distillation import DistillationLoss  # noqa: E402
from tinygrad_llm.layers.policy import PolicyLoss, policy_loss_of  # noqa: E402
from tinygrad_llm.layers.value import ValueLoss  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.ci]  # trl takes half a minute to import
B, T = 6, 7


@pytest.fixture(scope="module")
def trainers():
    """trl's classes; their import takes seconds, and may fail where another package is missing."""
    try:
        from trl import DPOTrainer, GRPOTrainer, RLOOTrainer
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"trl's trainers cannot be imported: {error}")
    return SimpleNamespace(dpo=DPOTrainer, grpo=GRPOTrainer, rloo=RLOOTrainer)


def accelerator():
    def same(x, **options):
        return x

    return SimpleNamespace(
        reduce=same, gather=same, gather_for_metrics=same, num_processes=1, device="cpu",
        sync_gradients=False,
    )  # fmt: skip


def numbers(dtype):
    draw = np.random.default_rng(4)
    log_p = -draw.exponential(1.0, (B, T)).astype(dtype)
    old = (log_p + 0.4 * draw.standard_normal((B, T))).astype(dtype)
    reference = (log_p + 0.5 * draw.standard_normal((B, T))).astype(dtype)
    advantages = draw.standard_normal(B).astype(dtype)
    mask = np.arange(T) < np.array([7, 1, 4, 6, 3, 5])[:, None]  # (B, T)
    return log_p, old, reference, advantages, mask


def theirs_by(trainer, log_p, old, reference, advantages, mask, **options):
    """trl's loss of a batch whose log-probabilities are given, with its gradient."""
    x = torch.from_numpy(log_p.copy()).requires_grad_()
    n = torch.from_numpy(mask)
    fake = SimpleNamespace(
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level="token", beta=0.0, epsilon_low=0.2, epsilon_high=0.2,
        loss_type="grpo", use_vllm=False, vllm_importance_sampling_correction=False,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        max_completion_length=9, accelerator=accelerator(), _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        _get_per_token_logps_and_entropies=lambda *a, **k: (x, torch.zeros_like(x), None),
    )  # fmt: skip
    for name, value in options.items():
        setattr(fake, name, value)
    ids = torch.zeros(B, T, dtype=torch.int64)
    old_tensor = torch.from_numpy(old)
    inputs = {
        "prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": n.int(),
        "advantages": torch.from_numpy(advantages), "old_per_token_logps": old_tensor,
        "old_logps": (old_tensor * n).sum(1), "ref_per_token_logps": torch.from_numpy(reference),
        "num_items_in_batch": n.sum(),
    }  # fmt: skip
    loss = trainer._compute_loss(fake, None, inputs)
    loss.backward()
    return loss.item(), x.grad.numpy()


CASES = [
    ("grpo", {}, {}),
    ("grpo", {"beta": 0.04}, {"beta": 0.04}),
    ("grpo", {"epsilon_high": 0.28}, {"clip_high": 0.28}),
    ("grpo", {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.1},
     {"average": "token", "clip_high": 0.28, "beta": 0.1}),
    ("grpo", {"loss_type": "bnpo"}, {"average": "token"}),
    ("grpo", {"loss_type": "dr_grpo", "beta": 0.1},
     {"average": "length", "longest": 9, "beta": 0.1}),
    ("grpo", {"loss_type": "cispo", "epsilon_high": 1.3},  # trl's is the largest ratio itself
     {"cispo": True, "clip_high": 0.3, "average": "token"}),
    ("rloo", {}, {"ratio": "sequence"}),
    ("rloo", {"epsilon_low": 0.4, "epsilon_high": 0.6}, {"ratio": "sequence", "clip_low": 0.4,
                                                         "clip_high": 0.6}),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(("name", "theirs", "ours"), CASES)
def test_policy_losses(trainers, name, theirs, ours, dtype, tolerance):
    log_p, old, reference, advantages, mask = numbers(dtype)
    expected, gradient = theirs_by(
        getattr(trainers, name), log_p, old, reference, advantages, mask, **theirs
    )
    x = tg.from_numpy(log_p.copy()).requires_grad_()
    loss = PolicyLoss(**ours)(
        x, *(tg.from_numpy(a.copy()) for a in (old, advantages, reference, mask))
    )
    assert loss.dtype == getattr(tg, dtype)
    assert abs(loss.item() - expected) <= tolerance * max(abs(expected), 0.1)
    loss.backward()
    bound = tolerance * abs(gradient).max() + 1e-7 * (dtype == "float32")
    np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=0, atol=bound)
    assert (x.grad.numpy()[~mask] == 0.0).all() and (gradient != 0.0).any()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_ppo(trainers, dtype, tolerance):
    """trl's clipped loss with an advantage for each token; the values' loss by PyTorch."""
    log_p, old, reference, _, mask = numbers(dtype)
    advantages = np.random.default_rng(5).standard_normal((B, T)).astype(dtype)
    expected, gradient = theirs_by(
        trainers.grpo, log_p, old, reference, advantages, mask, loss_type="bnpo", epsilon_high=0.3
    )
    x = tg.from_numpy(log_p.copy()).requires_grad_()
    loss = policy_loss_of("ppo", clip_high=0.3)(
        x, *(tg.from_numpy(a.copy()) for a in (old, advantages)),
        mask=tg.from_numpy(mask.copy()),
    )  # fmt: skip
    loss.backward()
    assert abs(loss.item() - expected) <= tolerance * max(abs(expected), 0.1)
    bound = tolerance * abs(gradient).max() + 1e-7 * (dtype == "float32")
    np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=0, atol=bound)
    for clip in (0.2, 1.0, None):
        v = torch.from_numpy(log_p.copy()).requires_grad_()
        then, came = torch.from_numpy(old), torch.from_numpy(reference)
        squares = (v - came) ** 2
        if clip is not None:  # as OpenAI's baselines
            near = then + torch.clamp(v - then, -clip, clip)
            squares = torch.maximum(squares, (near - came) ** 2)
        theirs = 0.5 * squares[torch.from_numpy(mask)].mean()
        theirs.backward()
        y = tg.from_numpy(log_p.copy()).requires_grad_()
        ours = ValueLoss(clip)(y, *(tg.from_numpy(a.copy()) for a in (old, reference, mask)))
        ours.backward()
        assert abs(ours.item() - theirs.item()) <= tolerance * theirs.item()
        bound = tolerance * v.grad.abs().max().item() + 1e-7 * (dtype == "float32")
        np.testing.assert_allclose(y.grad.numpy(), v.grad.numpy(), rtol=0, atol=bound)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.8, 0.0), (0.99, 1.0)])
def test_gae_as_a_product_of_matrices(gamma, lam):
    """A = L·δ with Lₜₛ = (γλ)^(s − t) for s ≥ t, of the tokens that count, in PyTorch."""
    draw = np.random.default_rng(7)
    rewards, values = draw.standard_normal((2, B, T))
    mask = draw.random((B, T)) < 0.7
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for b in range(B):
        r, v = (torch.from_numpy(x[b][mask[b]].copy()) for x in (rewards, values))  # (n) each
        n = len(r)
        apart = torch.arange(n)[None] - torch.arange(n)[:, None]  # (n, n), s − t
        powers = torch.where(apart >= 0, (gamma * lam) ** apart.clamp(min=0).double(), 0.0)
        delta = r + gamma * torch.cat([v[1:], torch.zeros(1)]) - v  # (n)
        theirs = powers.double() @ delta  # (n, n), (n) -> (n)
        np.testing.assert_allclose(advantages[b][mask[b]], theirs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(returns[b][mask[b]], theirs + v, rtol=0, atol=1e-12)
        assert (advantages[b][~mask[b]] == 0.0).all()


@pytest.mark.parametrize("tau", [1.0, 2.0])
@pytest.mark.parametrize(("beta", "direction"), [(0, "forward"), (1, "reverse")])
def test_distillation(trainers, beta, direction, tau):
    """trl's on-policy distillation (GKD), which sums the tokens and has no factor of tau."""
    from trl.experimental.gkd import GKDTrainer

    draw = np.random.default_rng(6)
    student, teacher = draw.standard_normal((2, 5, 7))
    x = torch.from_numpy(student.copy()).requires_grad_()
    theirs = GKDTrainer.generalized_jsd_loss(
        x[None], torch.from_numpy(teacher)[None], beta=beta, temperature=tau, reduction="sum"
    )
    theirs.backward()
    y = tg.from_numpy(student.copy()).requires_grad_()
    ours = DistillationLoss(tau, direction)(y, tg.from_numpy(teacher.copy()))
    ours.backward()
    factor = tau**2 / 5
    assert abs(ours.item() - theirs.item() * factor) <= 1e-12 * abs(ours.item())
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy() * factor, rtol=0, atol=1e-13)


def test_advantages(trainers):
    """The lines of trl's trainers that turn rewards into advantages, from their formulas."""
    rewards = torch.from_numpy(np.random.default_rng(2).standard_normal((12, 2)))
    total = rewards.sum(1)
    groups = total.view(3, 4)
    grpo = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    np.testing.assert_allclose(group_advantages(rewards.numpy(), 4), grpo.flatten(), atol=1e-12)
    rloo = groups - (groups.sum(1, keepdim=True) - groups) / 3
    np.testing.assert_allclose(group_advantages(total.numpy(), 4, "rloo"), rloo.flatten())
    kinds = rewards.view(3, 4, 2)
    each = (kinds - kinds.mean(1, keepdim=True)) / (kinds.std(1, keepdim=True) + 1e-4)
    added = each.view(12, 2).sum(1)
    gdpo = (added - added.mean()) / (added.std() + 1e-4)
    np.testing.assert_allclose(group_advantages(rewards.numpy(), 4, "gdpo"), gdpo, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_dpo(trainers, dtype, tolerance):
    draw = np.random.default_rng(9)
    policy, reference = (-draw.exponential(1.0, (4, T)).astype(dtype) for _ in range(2))
    x = torch.from_numpy(policy.copy()).requires_grad_()
    fake = MagicMock(
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, beta=0.3,
        f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0],
        use_weighting=False, accelerator=accelerator(), model=SimpleNamespace(training=False),
        _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    sums = torch.from_numpy(reference).sum(1)
    ids = torch.ones(4, T + 1, dtype=torch.int64)
    outputs = MagicMock(log_probs=x)
    for name in ("entropy", "mean_logits", "log_sum_sq_probs", "is_top1"):
        dtype = torch.bool if name == "is_top1" else torch.float32
        setattr(outputs, name, torch.zeros(4, T, dtype=dtype))
    expected = trainers.dpo._compute_loss(
        fake, lambda **k: outputs, {"input_ids": ids, "completion_mask": ids,
        "ref_chosen_logps": sums[:2], "ref_rejected_logps": sums[2:]}, False,
    )  # fmt: skip
    expected.backward()
    y = tg.from_numpy(policy.copy()).requires_grad_()
    p, r = y.sum(1), tg.from_numpy(reference).sum(1)
    loss = dpo_loss(p[:2], p[2:], r[:2], r[2:], beta=0.3).loss
    assert abs(loss.item() - expected.item()) <= tolerance * abs(expected.item())
    loss.backward()
    gradient = x.grad.numpy()
    bound = tolerance * abs(gradient).max() + 1e-7 * (dtype == "float32")
    np.testing.assert_allclose(y.grad.numpy(), gradient, rtol=0, atol=bound)
