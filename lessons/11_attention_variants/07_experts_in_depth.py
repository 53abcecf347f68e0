# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 7. Experts in depth: who goes where, and who finds room
#
# **Question.** A router that learns sends more tokens to the experts that are already good, so those get better
# still, and the others never learn. What keeps all experts busy, and what does each cure cost?
#
# **For example.** 100 tokens, 4 experts: 97 tokens choose expert 1. The other three learn from one token
# each, and the best expert is overworked.
#
# **Predict first.** The chosen experts are the k largest scores. Does a *choice* have a gradient? Then by what path
# can a balance loss move tokens to another expert?
#
# Lesson `09_families/03_qwen3_experts.py` builds the layer. Here: the same tokens computed densely, three cures
# for imbalance (a loss, a limit, a correction without gradient), and scores that stay small.
#
# **You need.** Chapter 09, lesson 3.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
N, C, E, k, hidden = 48, 8, 6, 2, 10  # tokens, channels, experts, experts of a token, channels within one

# %% [markdown]
# ## By hand: sparse is dense with zero weights
# Every expert for every token, times a matrix of weights (N, E) that is zero where the router chose another: the
# same output and the same gradients, for E/k times the work.

# %%
x = torch.randn(N, C)
router = (torch.randn(E, C) / C**0.5).requires_grad_()
up, down = torch.randn(E, hidden, C) / C**0.5, torch.randn(E, C, hidden) / hidden**0.5


def chosen_weights(scores):
    """(weights, chosen), (N, k) each: softmax over all, the k largest, divided by their sum."""
    weights, chosen = torch.topk(torch.softmax(scores, dim=1), k, dim=1)
    return weights / weights.sum(1, keepdim=True), chosen


def expert(e, rows):
    return F.silu(rows @ up[e].T) @ down[e].T  # (n, C) -> (n, C)


def sparse(x, weights, chosen):
    """Tokens sorted by expert: one product for each expert, over its tokens only."""
    y = torch.zeros(N, C)
    for e in range(E):
        token, place = torch.nonzero(chosen == e, as_tuple=True)
        if len(token):
            y = y.index_add(0, token, expert(e, x[token]) * weights[token, place].unsqueeze(1))
    return y


def dense(x, weights, chosen):
    table = torch.zeros(N, E).scatter(1, chosen, weights)  # (N, E), k numbers in each row
    return sum(expert(e, x) * table[:, e : e + 1] for e in range(E))


g = torch.randn(N, C)
results = []
for way in (sparse, dense):
    y = way(x, *chosen_weights(x @ router.T))
    results.append((y, torch.autograd.grad((y * g).sum(), router)[0]))
assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
assert torch.allclose(results[0][1], results[1][1], atol=1e-4)
print("same output, shape", tuple(results[0][0].shape), ", and the same gradient of the router")

# %% [markdown]
# The choice has no gradient, the *weights* have: the router learns from how much a chosen expert helped. An expert
# that nobody chose sends nothing back.

# %%
def counts(chosen):
    return torch.bincount(chosen.flatten(), minlength=E)


favourite = router.detach().clone()
favourite[0] = 3.0 * x.mean(0) / x.mean(0).norm() + favourite[0]  # expert 0 likes what all tokens share
weights, chosen = chosen_weights(x @ favourite.T)
before = counts(chosen)
print("tokens per expert:", before.tolist())

# %% [markdown]
# ## First cure: a loss
# E·Σ f_e·P_e, f_e the share of tokens (a count: no gradient), P_e the mean probability (a gradient!). It pushes
# down the probability of a busy expert (Fedus et al., 2021). It costs: its gradient disturbs the real one.

# %%
def balance_loss(scores):
    p = torch.softmax(scores, dim=1)  # (N, E)
    f = counts(torch.topk(p, k, dim=1)[1]).float() / N  # (E)
    return E * (f * p.mean(0)).sum()


W = favourite.clone().requires_grad_()
history = [balance_loss(x @ W.T).item()]
for _ in range(150):
    (gradient,) = torch.autograd.grad(balance_loss(x @ W.T), W)
    W = (W - 0.5 * gradient).detach().requires_grad_()
    history.append(balance_loss(x @ W.T).item())
after = counts(chosen_weights(x @ W.T)[1])
print(f"balance loss {history[0]:.2f} -> {history[-1]:.2f}, tokens per expert {after.tolist()}")
assert history[-1] < history[0] and after.max() < before.max()

# %% [markdown]
# ## Second cure: a limit
# An expert takes at most ⌈factor·k·N/E⌉ tokens: all first choices before second ones, earlier tokens first. A choice that
# finds no room is *dropped*: that expert adds nothing for the token. Arrays of equal length please a machine; tokens lose.

# %%
def with_room(chosen, factor):
    """Which of the choices (N, k) find room, as a list of lists."""
    room = [int(-(-factor * k * N // E))] * E
    kept = [[False] * k for _ in range(N)]
    for place in range(k):
        for n, row in enumerate(chosen.tolist()):
            if room[row[place]] > 0:
                room[row[place]] -= 1
                kept[n][place] = True
    return torch.tensor(kept)


dropped = {}
for factor in (0.5, 1.0, 1.5, 2.0, 3.0):
    kept = with_room(chosen, factor)
    dropped[factor] = 1.0 - kept.float().mean().item()
    print(f"capacity factor {factor}: {100 * dropped[factor]:4.1f} % of the choices are dropped")
assert dropped[0.5] > dropped[1.0] > 0.0 and dropped[3.0] == 0.0
y = sparse(x, weights * with_room(chosen, 1.0), chosen)  # a weight of zero *is* being dropped
assert not torch.allclose(y, sparse(x, weights, chosen))

# %% [markdown]
# ## Third cure: a correction without a gradient
# DeepSeek-V3 chooses by σ(score) + correction and weighs by σ(score) alone. After each step the correction of a
# busy expert falls by a small number, that of an idle one rises. No loss is added, so nothing disturbs the gradient.

# %%
scores = x @ favourite.T
p, correction, spread = torch.sigmoid(scores), torch.zeros(E), []
for step in range(150):
    chosen_now = torch.topk(p + correction, k, dim=1)[1]
    n = counts(chosen_now).float()
    spread.append((n.max() - n.min()).item())
    correction = correction + 0.01 * torch.sign(n.mean() - n)
print(f"busiest minus idlest expert: {spread[0]:.0f} -> {spread[-1]:.0f} tokens")
assert spread[-1] < 0.5 * spread[0]
weights_now = torch.gather(p, 1, chosen_now)  # the correction is not in it
assert (weights_now < 1.0).all()

# %% [markdown]
# ## Scores that stay small: the z-loss
# Softmax does not see a number that is added to all scores, so scores may grow without end, and large numbers round
# coarsely in half precision. The mean of logsumexp² pulls them to where logsumexp is 0 (Zoph et al., 2022).

# %%
scores = (50.0 + torch.randn(4, E)).requires_grad_()
z_loss = (torch.logsumexp(scores, dim=1) ** 2).mean()
(gradient,) = torch.autograd.grad(z_loss, scores)
z = torch.logsumexp(scores, dim=1, keepdim=True)  # (4, 1)
assert torch.allclose(gradient, 2.0 * z * torch.softmax(scores, dim=1) / 4, atol=1e-4)
print("gradient of the z-loss: 2·logsumexp·softmax / tokens, all positive:", bool((gradient > 0).all()))

# %% [markdown]
# ## With the package
# One class has all of this as arguments: Mixtral, Qwen2 and Qwen3-Next (a shared expert with a gate), DeepSeek-V3.

# %% tags=["package"]
from tinygrad_llm.layers.feed_forward import GatedFeedForward
from tinygrad_llm.layers.moe import (
    MixtureOfExperts, collected_router_logits, load_balancing_loss, router_z_loss,
)

layer = MixtureOfExperts(C, hidden, E, k, capacity_factor=1.0)
layer.router.weight.data = favourite.clone()
with collected_router_logits() as logits:
    layer(x)
    print("dropped:", int(layer.tokens_dropped), "of", N * k, "; in evaluation none")
assert int(layer.tokens_dropped) == int((~with_room(chosen, 1.0)).sum())
assert torch.allclose(load_balancing_loss(logits, k), torch.tensor(history[0]), atol=1e-4)
assert torch.allclose(router_z_loss(logits), (torch.logsumexp(x @ favourite.T, dim=1) ** 2).mean(), atol=1e-4)

deepseek = MixtureOfExperts(
    C, hidden, E, k, sigmoid=True, groups=(3, 2), scale=2.5, shared=GatedFeedForward(C, hidden)
)
deepseek.router.weight.data = favourite.clone()
for _ in range(150):
    deepseek(x)
    deepseek.balance(0.01)
print("DeepSeek's router after 150 corrections:", deepseek.tokens_per_expert.tolist())
print(deepseek)

figure, axes = plt.subplots(1, 3, figsize=(14, 4))
axes[0].bar([e - 0.2 for e in range(E)], before.tolist(), width=0.4, label="before")
axes[0].bar([e + 0.2 for e in range(E)], after.tolist(), width=0.4, label="with the loss")
axes[0].set_xlabel("expert"), axes[0].set_ylabel("tokens"), axes[0].legend()
axes[1].plot(list(dropped), [100 * d for d in dropped.values()], "o-")
axes[1].set_xlabel("capacity factor"), axes[1].set_ylabel("% dropped")
axes[2].plot(spread), axes[2].set_xlabel("step"), axes[2].set_ylabel("busiest − idlest, with the correction")
save_plot(figure, "07_experts_in_depth")

# %% [markdown]
# ## Exercises
# 1. Why may a capacity not be used in evaluation, if a text is generated token by token?
# 2. Show that softmax over the k largest scores (Mixtral) and softmax over all, divided by the sum of the k
#    largest (Qwen), give the same weights.
# 3. Put the balance loss's f into the graph, as if the count had a gradient: why is there nothing to differentiate?
#    Replace f by P, so that the loss is E·ΣP². Where is its minimum?
#
# Solutions: `lessons/solutions/11_attention_variants/07_experts_in_depth.py`
