# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. The policy gradient, from one formula to GRPO
#
# **Question.** A reward is a number for a whole answer. It has no derivative by the weights: how can it change them?
#
# **For example.** An answer has the probability 0.2 and the reward 1, another one 0.8 and 0. Pushing up ln
# 0.2 makes the first one likelier at the next draw.
#
# **Predict first.** Four answers have the rewards 1, 1, 0, 0. If you only make rewarded answers likelier, what happens on a
# question where all four are right, and what would you want to happen?
#
# **You need.** Chapter 08; probabilities and ln.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(1)

# %% [markdown]
# ## By hand: one word, four candidates
# The expected reward is Σ p(a)·r(a), with p = softmax(z). Its exact gradient is p·(r − mean reward). We cannot add up all
# texts that a model might write, but we can draw some: E[(r − b)·∇ log p(a)] is the same gradient, for every constant b.

# %%
z = torch.tensor([0.5, -0.3, 0.1, 0.0], requires_grad=True)
rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
p = torch.softmax(z, dim=0)
expected = (p * rewards).sum()
expected.backward()
exact = z.grad.clone()
assert torch.allclose(exact, p.detach() * (rewards - expected.detach()), atol=1e-6)


def estimate(baseline, n):
    """(rewards − baseline)·∇ log p of n drawn words, shape (n, 4): each row is an estimate."""
    drawn = torch.multinomial(p.detach(), n, replacement=True)
    one_hot = torch.eye(4)[drawn]  # shape (n, 4)
    return (rewards[drawn] - baseline).unsqueeze(1) * (one_hot - p.detach())


for baseline in (0.0, expected.item()):
    rows = estimate(baseline, 20000)
    error = (rows.mean(0) - exact).abs().max().item()
    print(f"baseline {baseline:.2f}: error of the mean {error:.4f}, spread of one estimate {rows.std(0).mean().item():.3f}")
    assert error < 0.02
assert estimate(expected.item(), 20000).std(0).mean() < estimate(0.0, 20000).std(0).mean()

# %% [markdown]
# The mean is the gradient with both baselines; what differs is the noise. GRPO's baseline is the mean reward of the other
# answers to the same question, divided by their spread: with rewards 1, 1, 0, 0 the advantages are ±0.8659.

# %%
r = torch.tensor([1.0, 1.0, 0.0, 0.0])
advantages = (r - r.mean()) / (r.std() + 1e-4)
print("advantages:", [round(a, 4) for a in advantages.tolist()])
assert abs(advantages[0].item() - 0.8659) < 1e-4
same = torch.ones(4)
assert ((same - same.mean()) / (same.std() + 1e-4)).abs().max() == 0.0  # all right: nothing to learn

# %% [markdown]
# ## The loss, with the log-probabilities of four whole answers
# −mean(A·log π). The gradient by each log-probability is −A/4: likelier where A > 0.

# %%
log_p = torch.tensor([-7.9243, -20.1546, -16.6130, -23.3677], requires_grad=True)
loss = -(advantages * log_p).mean()
loss.backward()
print(f"loss {loss.item():.4f}")
assert abs(loss.item() + 2.5764) < 1e-4
assert torch.allclose(log_p.grad, -advantages / 4)

# %% [markdown]
# ## Several steps with the same answers: the ratio, and where it is clipped
# After the first step the answers are those of an older model. Their weight is the ratio ρ = π/π_old, and PPO takes
# min(ρ·A, clip(ρ)·A): an answer that has moved enough has no gradient any more.

# %%
rho = torch.linspace(0.4, 1.8, 141)
curves = {}
for a in (1.0, -1.0):
    curves[a] = torch.minimum(rho * a, rho.clamp(0.8, 1.2) * a)
    plt.plot(rho.numpy(), curves[a].numpy(), label=f"advantage {a:+.0f}")
assert curves[1.0][-1] == curves[1.0][-20]  # flat above 1.2 where the advantage is positive
assert curves[-1.0][0] == curves[-1.0][20]  # and below 0.8 where it is negative
plt.axvline(1.0, color="gray", linewidth=0.5)
plt.xlabel("ratio π/π_old")
plt.ylabel("what is maximised")
plt.legend()
save_plot(plt.gcf(), "02_policy_gradient")

ratios = torch.tensor([math.exp(3.0), math.exp(0.2), math.exp(-2.0), 1.0])
clipped = -torch.minimum(ratios * advantages, ratios.clamp(-9.0, 11.0) * advantages).mean()
print("ratios", [round(x, 4) for x in ratios.tolist()], f"-> loss {clipped.item():.4f}")
assert abs(clipped.item() + 2.3998) < 1e-4

# %% [markdown]
# ## With the package: one loss, all methods
# They differ in the ratio (a token's, an answer's, none), the clip, and how tokens are averaged.

# %% tags=["package"]
from tinygrad_llm.layers.policy import METHODS, policy_loss_of

old = -torch.rand(4, 6)
moved = old + 0.3 * torch.randn(4, 6)
mask = torch.arange(6) < torch.tensor([6, 2, 5, 3]).unsqueeze(1)  # shape (4, 6): answers of four lengths
for name in METHODS:
    x = moved.clone().requires_grad_()
    out = policy_loss_of(name, longest=6).output(x, old, advantages, mask=mask)
    out.loss.backward()
    share = (x.grad[mask] == 0.0).float().mean().item()
    print(f"{name:10} loss {out.loss.item():+.4f}  clipped {out.clipped:.2f}  tokens without a gradient {share:.2f}")
    assert (x.grad[~mask] == 0.0).all()
    if name == "cispo":
        assert share == 0.0

# %% [markdown]
# ## Exercises
#
# 1. Show with numbers that clip(ρ)·A alone, without the minimum, leaves a bad answer that has become likelier (ρ = 1.5,
#    A = −1) without a gradient, and that the minimum does not.
# 2. Two answers, of 2 and of 10 tokens, have the advantage −1. How large is the gradient of one token of each if the loss is
#    averaged over answers ("answer"), or over all tokens ("token")? Which one teaches a model to write longer wrong answers?
#
# Solutions: `lessons/solutions/17_reasoning/02_policy_gradient.py`
