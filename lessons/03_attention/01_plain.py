# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Looking at the others: attention without trained weights
#
# **Question.** "She put the *bat* back into its cage." Alone, "bat" may be an animal or a stick. How
# can the vector of a word take in what stands around it?
#
# **For example.** x₁ = (1, 0), x₂ = (1, 1): the scores of x₁ are 1·1 = 1 and 1·1 = 1, so both get the weight
# ½, and the context is (1, 0.5).
#
# **Answer.** Mix. The new vector of a token is a weighted mean of all vectors in the text. The more
# similar two tokens are, the more weight each has in the other's mean. Three steps:
#
#     scores    s_ij = x_i · x_j                    how similar are i and j? (dot product)
#     weights   a_ij = exp(s_ij) / Σₖ exp(s_ik)     positive, and each row sums to 1 (softmax)
#     context   c_i  = Σⱼ a_ij·x_j                  the mean
#
# **You need.** Chapter 02, lesson 5; the dot product.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# The vectors here are made by hand, with a meaning for each of the three channels: animal, tool, place.

# %%
words = ["bat", "back", "into", "its", "cage"]
x = torch.tensor([
    [0.9, 0.8, 0.0],  # bat: animal or tool
    [0.0, 0.1, 0.3],
    [0.0, 0.0, 0.4],
    [0.3, 0.1, 0.1],
    [1.1, 0.1, 0.9],  # cage: of animals, a place
])  # (T, C) = (5, 3)
print("x:", x.shape)

# %% [markdown]
# ## By hand
# One token first: what does "bat" become?

# %%
query = x[0]
scores = [sum((query[c] * x[j, c]).item() for c in range(3)) for j in range(5)]
largest = max(scores)
exponentials = [math.exp(s - largest) for s in scores]  # minus the largest: no overflow, same weights
weights = [e / sum(exponentials) for e in exponentials]
context = [sum(weights[j] * x[j, c].item() for j in range(5)) for c in range(3)]
for word, s, a in zip(words, scores, weights):
    print(f"{word:5} score {s:.3f}   weight {a:.3f}")
print("bat was    ", [round(c, 4) for c in x[0].tolist()], "\nbat becomes", [round(c, 4) for c in context])
assert abs(sum(weights) - 1) < 1e-12
assert x[0, 0] - x[0, 1] < 0.11 < context[0] - context[1]  # now the animal is stronger

# %% [markdown]
# Besides itself, "bat" looks at "cage" most, and so the animal in it outweighs the tool.
#
# ## With the package
# For all tokens together it is two matrix products with a softmax between them.

# %%
scores = x @ x.T  # (5, 3) @ (3, 5) -> (5, 5)
weights = torch.softmax(scores, dim=-1)  # (5, 5): each row sums to 1
contexts = weights @ x  # (5, 5) @ (5, 3) -> (5, 3)
print(weights)
print("rows sum to", weights.sum(dim=-1))
print(contexts)
assert torch.allclose(contexts[0], torch.tensor(context), atol=1e-6)
assert torch.allclose(weights.sum(dim=-1), torch.ones(5))

# %% [markdown]
# Two facts about this mixing.
#
# **It does not see the order.** Shuffle the words, and each gets the same vector as before.

# %%
order = torch.tensor([3, 0, 4, 2, 1])
shuffled = torch.softmax(x[order] @ x[order].T, dim=-1) @ x[order]  # (5, 3)
assert torch.allclose(shuffled, contexts[order], atol=1e-6)
print("shuffled words give shuffled results: True")

# %% [markdown]
# **Long vectors make it one-sided.** Multiply all vectors by a number, and the weights move from "all
# equal" to "only the largest". That is why later the scores are divided by √C.

# %%
for size in (0.1, 1.0, 3.0, 10.0):
    row = torch.softmax((size * x[0]) @ (size * x).T, dim=-1)  # (5)
    print(f"vectors x {size:4}: weights of bat {[round(a, 3) for a in row.tolist()]}")
assert row.max() > 0.99

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
image = axes[0].imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=0.6)
axes[0].set_xticks(range(5), words), axes[0].set_yticks(range(5), words)
axes[0].set_xlabel("token that is looked at"), axes[0].set_ylabel("token that looks"), axes[0].set_title("weights")
for i in range(5):
    for j in range(5):
        axes[0].text(j, i, f"{weights[i, j].item():.2f}", ha="center", va="center", fontsize=8)
for j, word in enumerate(words):
    arrow = {"arrowstyle": "->", "color": "grey"}
    axes[1].annotate("", contexts[j, :2].tolist(), x[j, :2].tolist(), arrowprops=arrow)
    axes[1].text(x[j, 0].item() + 0.02, x[j, 1].item() + 0.03, word)
axes[1].plot(x[:, 0].tolist(), x[:, 1].tolist(), "o", label="before")
axes[1].plot(contexts[:, 0].tolist(), contexts[:, 1].tolist(), "s", ms=4, label="after")
axes[1].set_xlabel("animal"), axes[1].set_ylabel("tool")
axes[1].set_xlim(-0.1, 1.3), axes[1].set_ylim(-0.1, 0.95), axes[1].legend()
save_plot(figure, "01_plain")

# %% [markdown]
# ## Exercises
# 1. Replace the softmax: divide each score by the sum of its row. What goes wrong with scores such as
#    1, −2 and 0.5?
# 2. Add 100 to all scores, and see what the weights do. Which derivation of one line explains it?
# 3. Give "bat" a sentence about sport: replace "cage" by "ball" = (0.0, 1.2, 0.3). What does it become?
#
# Solutions: `lessons/solutions/03_attention/01_plain.py`
