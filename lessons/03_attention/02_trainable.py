# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Attention that learns what to look for
#
# **Question.** Similar words look at each other. But a verb should look for its subject, and a closing
# bracket for the one that opened it. How can a token look for something *unlike* itself?
#
# **For example.** A verb's query (0, 1) meets the noun's key (0, 3): score 3. It meets another verb's key (3,
# 0): score 0. So it looks at the noun, although the two verbs are alike.
#
# **Answer.** Give each token three vectors instead of one, made by three learned matrices:
#
#     q = x·W_q    the query: what am I looking for?
#     k = x·W_k    the key:   what can others find me by?
#     v = x·W_v    the value: what do I pass on?
#
#     context = softmax(q·kᵀ/√D)·v           D: the length of q and k
#
# (Vaswani et al. 2017, "Attention is all you need", equation 1.)
#
# **You need.** Lesson 1.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand
# Four tokens of three numbers, a query, key and value of two numbers each.

# %%
torch.manual_seed(123)
x = torch.rand(4, 3)  # (T, C)
W_query, W_key, W_value = torch.rand(3, 2), torch.rand(3, 2), torch.rand(3, 2)  # (C, D) each
q, k, v = x @ W_query, x @ W_key, x @ W_value  # (4, 3) @ (3, 2) -> (4, 2)
one = [sum((q[1, d] * k[j, d]).item() for d in range(2)) for j in range(4)]  # token 1 asks all
one = [math.exp(s / math.sqrt(2)) for s in one]
one = [e / sum(one) for e in one]
context_1 = sum(one[j] * v[j] for j in range(4))  # (2)
print("token 1: weights", [round(a, 4) for a in one], " context", context_1)

scores = q @ k.T / math.sqrt(2)  # (4, 2) @ (2, 4) -> (4, 4)
context = torch.softmax(scores, dim=-1) @ v  # (4, 4) @ (4, 2) -> (4, 2)
print("all tokens: shape", context.shape)
assert torch.allclose(context[1], context_1, atol=1e-6)


class SelfAttention(nn.Module):
    """Three linear layers without bias, and the two products."""

    def __init__(self, d_in, d_out):
        super().__init__()
        self.W_query = nn.Linear(d_in, d_out, bias=False)
        self.W_key = nn.Linear(d_in, d_out, bias=False)
        self.W_value = nn.Linear(d_in, d_out, bias=False)

    def weights(self, x):
        scores = self.W_query(x) @ self.W_key(x).transpose(-2, -1)  # (..., T, D) -> (..., T, T)
        return torch.softmax(scores / self.W_key.out_features**0.5, dim=-1)

    def forward(self, x):
        return self.weights(x) @ self.W_value(x)  # (..., T, T) @ (..., T, D) -> (..., T, D)


# %% [markdown]
# ## With the package
# `F.scaled_dot_product_attention` does both products, the division and the softmax in one op.

# %%
torch.manual_seed(789)
attention = SelfAttention(3, 2)
print(attention(x))
fused = F.scaled_dot_product_attention(
    attention.W_query(x)[None], attention.W_key(x)[None], attention.W_value(x)[None]
)[0]  # (1, T, D) -> (T, D)
assert torch.allclose(attention(x), fused, atol=1e-6)

# %% [markdown]
# ## Why √D?
# A score is a sum of D products. If the parts of q and k have size 1, the sum has the size √D. Then the
# largest score is far ahead, softmax gives it all the weight, and its gradient is nearly 0: nothing can be
# learned.

# %%
torch.manual_seed(1)
curves = {"divided by √D": [], "not divided": []}
sizes = [2, 8, 32, 128, 512]
for D in sizes:
    queries, keys = torch.randn(400, D), torch.randn(16, D)
    for name, factor in (("divided by √D", D**-0.5), ("not divided", 1.0)):
        p = torch.softmax(queries @ keys.T * factor, dim=-1)  # (400, 16)
        curves[name].append((p * (1 - p)).sum(-1).mean().item())  # the gradient that softmax lets through
print("gradient left at D = 512:", {name: round(c[-1], 3) for name, c in curves.items()})
assert curves["divided by √D"][-1] > 0.7 and curves["not divided"][-1] < 0.15

# %% [markdown]
# ## It learns to look for something unlike itself
# The task: four *askers* A, B, C, D and four *answers* a, b, c, d with a value each, in random order. Each
# asker must output the value of its own letter. "A" and "a" have nothing in common except what is learned.

# %%
def batch(n):
    """Askers in rows 0 … 3, answers in random order in rows 4 … 7; the values that the askers must output."""
    kinds = torch.stack([torch.randperm(4) for _ in range(n)])  # (n, 4): which answer is where
    values = torch.rand(n, 4)  # (n, 4): of the answers a, b, c, d
    askers = torch.cat([torch.eye(4), torch.zeros(4, 5)], dim=1).expand(n, 4, 9)  # (n, 4, 9)
    answers = F.one_hot(kinds, 4).float()  # (n, 4, 4)
    shown = values.gather(1, kinds).unsqueeze(-1)  # (n, 4, 1)
    answers = torch.cat([torch.zeros(n, 4, 4), answers, shown], dim=-1)  # (n, 4, 9)
    return torch.cat([askers, answers], dim=1), values  # (n, 8, 9), (n, 4)


torch.manual_seed(2)
model = nn.Sequential(SelfAttention(9, 8), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
losses = []
for step in range(300):
    x, target = batch(64)
    loss = F.mse_loss(model(x)[:, :4, 0], target)  # (64, 8, 1) -> (64, 4)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step in (0, 49):
        print(f"step {step:3}: loss {losses[-1]:.3f}")
print("at the end below 0.005:", sum(losses[-20:]) / 20 < 0.005, "  (guessing the mean gives 1/12 = 0.083)")
assert losses[49] > losses[-1] and sum(losses[-20:]) / 20 < 0.005
x, target = batch(1)
with torch.no_grad():
    weights = model[0].weights(x)[0]  # (1, 8, 8) -> (8, 8)
names = ["A", "B", "C", "D"] + ["abcd"[i] for i in x[0, 4:, 4:8].argmax(-1).tolist()]
for i in range(4):
    print(f"{names[i]} looks at {names[int(weights[i].argmax())]}")
    assert names[int(weights[i].argmax())] == names[i].lower()

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for name, curve in curves.items():
    axes[0].semilogx(sizes, curve, "o-", label=name)
axes[0].set_xlabel("D"), axes[0].set_ylabel("Σ p·(1 − p): gradient left"), axes[0].set_ylim(0), axes[0].legend()
axes[1].imshow(weights[:4].numpy(), cmap="Blues", vmin=0, vmax=1)
axes[1].set_xticks(range(8), names), axes[1].set_yticks(range(4), names[:4])
axes[1].set_title("learned weights"), axes[1].set_xlabel("token that is looked at")
save_plot(figure, "02_trainable")

# %% [markdown]
# ## Exercises
# 1. `nn.Linear` stores its matrix as (out, in) and draws it differently from `torch.rand`. Copy the weights
#    of a `SelfAttention` into three plain matrices, so that both give the same context vectors.
# 2. Train the task above with queries and keys made by *one* matrix (W_key = W_query). Does it still learn?
# 3. The queries see the keys only through q·kᵀ = x·W_q·W_kᵀ·xᵀ. Show that scaling W_q by 2 and W_k by 1/2
#    changes nothing. What does that say about interpreting a single learned matrix?
#
# Solutions: `lessons/solutions/03_attention/02_trainable.py`
