# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. A CRF: tags that know their neighbours
#
# **Question.** A model scores every tag of every token. Some tags cannot follow each other, and some rarely do.
# How can a whole row of tags be scored, if there are Kᵀ such rows?
#
# **For example.** Two tags and three tokens make 2³ = 8 rows of tags. With 9 tags and 20 tokens it is 10¹⁹,
# and they are still added up in 20 steps.
#
# **Predict first.** Three tags, ten tokens: how many rows of tags are there? And how many numbers does one pass
# over the tokens have to keep, so that it has added up all of them?
#
#     s(y) = start[y_1] + Σ e[t, y_t] + Σ A[y_(t-1), y_t] + end[y_T]      the score of a path y
#     p(y) = exp(s(y)) / Z,    Z = Σ exp(s(y)) over all paths             a conditional random field
#
# Source: Lafferty et al. (2001), "Conditional random fields".
#
# **You need.** Chapter 05, lesson 1; softmax.

# %%
import itertools
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: three paths
# Two tags, O and N (a name), and three tokens. `e` (shape (T, K)) is what an encoder says about each token alone,
# `A` (K, K) what follows what: after N another N is likely here.

# %%
tags = ["O", "N"]
e = torch.tensor([[1.0, 2.0], [1.2, 1.0], [0.5, 1.5]], dtype=torch.float64)  # (T, K)
A = torch.tensor([[0.5, -0.5], [-1.0, 1.0]], dtype=torch.float64)  # (K, K): from the row to the column
start = torch.tensor([0.3, -0.2], dtype=torch.float64)
end = torch.tensor([0.1, 0.0], dtype=torch.float64)


def score(path):
    """The score of one path, a list of tags as numbers."""
    total = start[path[0]] + end[path[-1]]
    for t, tag in enumerate(path):
        total = total + e[t, tag]
        if t > 0:
            total = total + A[path[t - 1], tag]
    return total


for path in ([1, 0, 1], [1, 1, 1], [0, 0, 1]):
    print("".join(tags[k] for k in path), f"s = {score(path).item():.2f}")
# NNN: start -0.2, e 2.0 + 1.0 + 1.5, A 1.0 + 1.0, end 0.0
assert abs(score([1, 1, 1]).item() - 6.3) < 1e-12

# %% [markdown]
# Token by token, the best row would be N O N: the largest number of each row of e. As a path it is not the best.
# Now all eight paths, their sum Z, and the probability of each:

# %%
T, K = e.shape
paths = list(itertools.product(range(K), repeat=T))
scores = torch.stack([score(path) for path in paths])  # (K^T)
log_Z = torch.logsumexp(scores, dim=0)
for path, s in zip(paths, scores):
    print("".join(tags[k] for k in path), f"p = {(s - log_Z).exp().item():.4f}")
alone = e.argmax(1).tolist()
best = list(paths[int(scores.argmax())])
print("token by token:", "".join(tags[k] for k in alone), " as a path:", "".join(tags[k] for k in best))
assert alone == [1, 0, 1] and best == [1, 1, 1]

# %% [markdown]
# ## By hand: the forward algorithm
# alpha[j] is the logarithm of the sum over all paths so far that end with the tag j. The next token needs these K
# numbers only: a path that ends with j came from some i. T·K² additions in place of Kᵀ paths.

# %%
def forward_algorithm():
    """log Z, and alpha of every token, (T, K)."""
    alpha = [start + e[0]]  # (K)
    for t in range(1, T):
        through = alpha[-1].unsqueeze(1) + A  # (K, 1) + (K, K): from i, to j
        alpha.append(torch.logsumexp(through, dim=0) + e[t])  # (K)
    return torch.logsumexp(alpha[-1] + end, dim=0), torch.stack(alpha)


by_steps, alpha = forward_algorithm()
print(f"log Z: {log_Z.item():.6f} from {len(paths)} paths, {by_steps.item():.6f} from {T} steps")
assert abs(by_steps.item() - log_Z.item()) < 1e-12

# %% [markdown]
# ## By hand: Viterbi
# The same steps with max in place of the sum find the best path. For each tag we note which tag before it was best,
# and follow the notes from the end.

# %%
def viterbi():
    """The path with the highest score."""
    value, notes = start + e[0], []
    for t in range(1, T):
        best_of, before = torch.max(value.unsqueeze(1) + A, dim=0)  # (K, K) -> (K), (K)
        value = best_of + e[t]
        notes.append(before.tolist())
    path = [int((value + end).argmax())]
    for before in reversed(notes):
        path.append(before[path[-1]])
    return path[::-1]


print("Viterbi:", "".join(tags[k] for k in viterbi()))
assert viterbi() == best

# %% [markdown]
# ## By hand: the gradient is marginals minus indicator
# The loss is −log p(y) = log Z − s(y). The derivative of log Z with respect to e[t, k] is the share of all paths
# that have the tag k at t, its *marginal*: each path contributes its probability. The derivative of s(y) is 1 where y has
# the tag. So nothing changes when the mean path is the right one.

# %%
target = [1, 1, 0]
marginals = torch.zeros(T, K, dtype=torch.float64)
pairs = torch.zeros(K, K, dtype=torch.float64)
for path, s in zip(paths, scores):
    p = (s - log_Z).exp()
    for t, tag in enumerate(path):
        marginals[t, tag] += p
        if t > 0:
            pairs[path[t - 1], tag] += p
indicator = torch.zeros(T, K, dtype=torch.float64)
for t, tag in enumerate(target):
    indicator[t, tag] = 1.0
for x in (e, A, start, end):
    x.requires_grad_()
loss = forward_algorithm()[0] - score(target)
loss.backward()
print("marginals   ", [[round(v, 4) for v in row] for row in marginals.tolist()])
print("gradient of e", [[round(v, 4) for v in row] for row in e.grad.tolist()])
assert torch.allclose(e.grad, marginals - indicator, atol=1e-12)
counted = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)  # N N and N O in the target
assert torch.allclose(A.grad, pairs - counted, atol=1e-12)

# %% [markdown]
# ## With the package
# `CRF` has pytorch-crf's names. `crf_log_partition` is one op: forward is the algorithm above, backward goes from the
# last token to the first and computes the marginals with the same K² numbers for each token.

# %% tags=["package"]
from tinygrad_llm.layers.crf import CRF, Allowed

crf = CRF(num_tags=2, batch_first=True).double()
for parameter, values in zip(crf.parameters(), (start, end, A)):
    parameter.data = values.detach()
emissions = e.detach().unsqueeze(0).requires_grad_()  # (1, T, K)
value = -crf(emissions, torch.tensor([target]))
value.backward()
assert abs(value.item() - loss.item()) < 1e-12
assert torch.allclose(emissions.grad[0], e.grad, atol=1e-12)
assert torch.allclose(crf.transitions.grad, A.grad, atol=1e-12)
assert crf.decode(emissions) == [best]

# Nobody may begin with N here, nor have an N after an O: the best of the paths that remain.
allowed = Allowed(first=(torch.tensor([1, 0]) == 1).numpy(), following=(torch.tensor([[1, 0], [1, 1]]) == 1).numpy())
print("allowed:", "".join(tags[k] for k in crf.decode(emissions, allowed=allowed)[0]))
assert crf.decode(emissions, allowed=allowed) == [[0, 0, 0]]

# %% [markdown]
# ## The trellis
# Every path goes through one tag of each token. A line is as wide as the marginal of its pair of tags.

# %%
with torch.no_grad():
    width = torch.zeros(T, K, K, dtype=torch.float64)
    for path, s in zip(paths, scores):
        for t in range(1, T):
            width[t, path[t - 1], path[t]] += (s - log_Z).exp()
figure, axes = plt.subplots(figsize=(7, 3.2))
for t in range(1, T):
    for i in range(K):
        for j in range(K):
            on_best = best[t - 1] == i and best[t] == j
            color = "tab:red" if on_best else "0.6"
            axes.plot([t - 1, t], [-i, -j], color=color, lw=0.5 + 10 * width[t, i, j].item(), zorder=1)
for t in range(T):
    for k in range(K):
        axes.scatter(t, -k, s=1300, color="white", edgecolors="black", zorder=2)
        axes.text(t, -k, f"{tags[k]}\n{marginals[t, k].item():.2f}", ha="center", va="center", zorder=3)
axes.set_xlim(-0.4, T - 0.6), axes.set_ylim(-1.5, 0.5), axes.axis("off")
axes.set_title("marginals of tags and of pairs; red: the best path", fontsize=10)
save_plot(figure, "01_crf")
assert math.isclose(float(width[1].sum()), 1.0, rel_tol=1e-12)

# %% [markdown]
# ## Exercises
# 1. With A = 0, start = end = 0 a CRF is something that you know. What are log Z, the marginals and the loss then?
# 2. Add 3 to every number of A. Which probabilities change, and why?
# 3. How many paths are there for 9 tags and 60 tokens, and how many additions does the forward algorithm need?
#
# Solutions: `lessons/solutions/14_tagging_and_similarity/01_crf.py`
