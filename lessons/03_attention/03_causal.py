# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Not looking ahead: mask, dropout, buffers
#
# **Question.** A model that can see the next token while it predicts it only learns to copy. How is the
# future hidden from all tokens of a window at the same time?
#
# **For example.** Scores (1, 1, 1) for three tokens. The second token may see two: (1, 1, −∞) gives the
# weights (½, ½, 0).
#
# **Answer.** Set the scores of future tokens to −∞ *before* the softmax. exp(−∞) = 0: their weight is
# exactly 0, and the other weights of the row still sum to 1.
#
#     s_ij = q_i·k_j/√D  if j ≤ i,   else −∞
#
# The mask is a fixed triangle. It is not a parameter, but it must follow the model to a GPU and, if we
# want it, into the file. That is what a *buffer* is for.
#
# **You need.** Lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand

# %%
torch.manual_seed(4)
T, D = 5, 4
q, k, v = torch.randn(T, D), torch.randn(T, D), torch.randn(T, D)
scores = q @ k.T / D**0.5  # (T, T)
future = torch.triu(torch.ones(T, T), diagonal=1).bool()  # (T, T): True above the diagonal
masked = scores.masked_fill(future, -torch.inf)
weights = torch.softmax(masked, dim=-1)  # (T, T)
print(future)
print(weights)
assert not weights[future].any() and torch.allclose(weights.sum(-1), torch.ones(T))
assert weights[0, 0] == 1.0  # the first token has only itself

# %% [markdown]
# The proof that nothing leaks: change the last token, and all contexts before it stay the same.

# %%
k_2, v_2 = k.clone(), v.clone()
k_2[-1], v_2[-1] = 100.0, 100.0
weights_2 = torch.softmax((q @ k_2.T / D**0.5).masked_fill(future, -torch.inf), dim=-1)
assert torch.equal((weights @ v)[:-1], (weights_2 @ v_2)[:-1])
assert not torch.equal((weights @ v)[-1], (weights_2 @ v_2)[-1])

# %% [markdown]
# A tempting mistake is to mask *after* the softmax, by multiplying with 0. Then the sum is below 1.
# Dividing by the sum makes the numbers right again: the future's share cancels. But −∞ needs one step
# less, and it never computes with the future.

# %%
late = torch.softmax(scores, dim=-1).masked_fill(future, 0.0)
print("sums, masked after the softmax:", late.sum(-1))
assert torch.allclose(late / late.sum(-1, keepdim=True), weights, atol=1e-6)

# %% [markdown]
# ## Dropout on the weights
# In training each weight is set to 0 with probability p, and the others grow by 1/(1 − p), so that the sum
# stays the same on average. So a token learns not to rely on a single other one.

# %%
torch.manual_seed(123)
dropped = F.dropout(weights, p=0.5)
print(dropped)
kept = dropped != 0
assert torch.allclose(dropped[kept], 2 * weights[kept])

# %% [markdown]
# ## With the package
# Our own class for batches, with the mask as a buffer; and the op that has all of it built in.

# %%
class CausalAttention(nn.Module):
    def __init__(self, d_in, d_out, context_length, drop_rate=0.0):
        super().__init__()
        self.W_query = nn.Linear(d_in, d_out, bias=False)
        self.W_key = nn.Linear(d_in, d_out, bias=False)
        self.W_value = nn.Linear(d_in, d_out, bias=False)
        self.dropout = nn.Dropout(drop_rate)
        future = torch.triu(torch.ones(context_length, context_length), diagonal=1).bool()
        self.register_buffer("future", future, persistent=False)

    def forward(self, x):
        T = x.shape[1]
        q, k, v = self.W_query(x), self.W_key(x), self.W_value(x)  # (B, T, C) -> (B, T, D)
        scores = q @ k.transpose(1, 2) / k.shape[-1] ** 0.5  # (B, T, D) @ (B, D, T) -> (B, T, T)
        scores = scores.masked_fill(self.future[:T, :T], -torch.inf)
        return self.dropout(torch.softmax(scores, dim=-1)) @ v  # (B, T, D)


torch.manual_seed(123)
layer = CausalAttention(6, 4, context_length=16, drop_rate=0.5)
x = torch.randn(2, 5, 6)  # (B, T, C): shorter than the context, so a corner of the mask is used
print("training:", layer(x)[0, 1])
layer.eval()
print("evaluation:", layer(x)[0, 1], " shape", layer(x).shape)
assert torch.equal(layer(x), layer(x))  # no dropout in evaluation mode
fused = F.scaled_dot_product_attention(layer.W_query(x), layer.W_key(x), layer.W_value(x), is_causal=True)
assert torch.allclose(layer(x), fused, atol=1e-6)

# %% [markdown]
# ## Buffers
# A plain attribute would stay on the CPU when the model moves, and the two could not be added. A buffer
# moves with the model, and changes its dtype with it. A *persistent* buffer is part of the state dict;
# this one can be computed again, so it need not be.

# %%
class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain = torch.zeros(2)
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("temporary", torch.zeros(2), persistent=False)
        self.weight = nn.Parameter(torch.zeros(2))


counter = Counter().to(torch.float64)
print("parameters:", [name for name, _ in counter.named_parameters()])
print("buffers:   ", [name for name, _ in counter.named_buffers()])
print("state dict:", list(counter.state_dict()))
print("after .to(float64): plain", counter.plain.dtype, "  buffers", counter.kept.dtype, counter.temporary.dtype)
assert counter.plain.dtype == torch.float32 and counter.kept.dtype == torch.float64
assert list(counter.state_dict()) == ["weight", "kept"] and "future" not in layer.state_dict()

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.9))
shown = (torch.softmax(scores, dim=-1), weights, dropped)
for axis, value, title in zip(axes, shown, ("without a mask", "with the causal mask", "with dropout, p = 0.5")):
    axis.imshow(value.numpy(), cmap="Blues", vmin=0, vmax=1)
    axis.set_title(title, fontsize=11), axis.set_xlabel("token that is looked at")
    for i in range(T):
        for j in range(T):
            a = value[i, j].item()
            color = "w" if a > 0.6 else "k"
            axis.text(j, i, f"{a:.2f}" if a else "0", ha="center", va="center", fontsize=8, color=color)
axes[0].set_ylabel("token that looks")
save_plot(figure, "03_causal")

# %% [markdown]
# ## Exercises
# 1. What is the result if a *whole* row is masked? When does that happen in practice?
# 2. Write a mask for a window: each token sees itself and the two before it. Check it by changing a token
#    that is too far away.
# 3. Show for T = 6 that one causal pass gives the same last vectors as six passes over the growing text.
#
# Solutions: `lessons/solutions/03_attention/03_causal.py`
