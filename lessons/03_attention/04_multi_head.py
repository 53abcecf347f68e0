# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Several heads
#
# **Question.** One attention gives each token *one* set of weights. What if it must look for two things at
# the same time?
#
# **For example.** Eight channels, two heads: channels 1 to 4 look at the word before, channels 5 to 8 at the
# subject of the sentence. Afterwards the eight numbers stand side by side again.
#
# **Answer.** Cut the channels into H groups, the *heads*. Each head has its own queries, keys and values of
# D = C/H numbers, looks where it wants, and outputs D numbers. Concatenated they are C numbers again, and a
# last linear layer mixes them. The amount of arithmetic stays the same.
#
#     (B, T, C) -> (B, T, H, D) -> (B, H, T, D)   attention in each head   -> (B, T, H, D) -> (B, T, C)
#
# **You need.** Lesson 3.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand, head by head
# A list of small causal attentions whose results are concatenated.

# %%
class Head(nn.Module):
    def __init__(self, C, D):
        super().__init__()
        self.W_query, self.W_key, self.W_value = (nn.Linear(C, D, bias=False) for _ in range(3))

    def forward(self, x):
        q, k, v = self.W_query(x), self.W_key(x), self.W_value(x)  # (B, T, D) each
        future = torch.triu(torch.ones(x.shape[1], x.shape[1]), diagonal=1).bool()
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(future, -torch.inf)
        return torch.softmax(scores, dim=-1) @ v  # (B, T, D)


class HeadByHead(nn.Module):
    def __init__(self, C, H):
        super().__init__()
        self.heads = nn.ModuleList([Head(C, C // H) for _ in range(H)])
        self.out_proj = nn.Linear(C, C)

    def forward(self, x):
        return self.out_proj(torch.cat([head(x) for head in self.heads], dim=-1))  # H of (B, T, D) -> (B, T, C)


torch.manual_seed(123)
B, T, C, H = 2, 5, 12, 3
D = C // H
x = torch.randn(B, T, C)
head_by_head = HeadByHead(C, H)
print("head by head:", head_by_head(x).shape)

# %% [markdown]
# ## By hand, all heads together
# One product makes all queries, (B, T, C). Cutting C into H·D and swapping T and H turns the heads into one
# more batch dimension, and matrix products go through batch dimensions by themselves.

# %%
class MultiHead(nn.Module):
    def __init__(self, C, H, drop_rate=0.0):
        super().__init__()
        if C % H:
            raise ValueError(f"{C} channels cannot be cut into {H} heads")
        self.H, self.D = H, C // H
        self.W_query, self.W_key, self.W_value = (nn.Linear(C, C, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(C, C)
        self.dropout = nn.Dropout(drop_rate)

    def split(self, y):
        B, T, C = y.shape
        return y.view(B, T, self.H, self.D).transpose(1, 2)  # (B, T, C) -> (B, T, H, D) -> (B, H, T, D)

    def weights(self, x):
        T = x.shape[1]
        q, k = self.split(self.W_query(x)), self.split(self.W_key(x))  # (B, H, T, D)
        future = torch.triu(torch.ones(T, T), diagonal=1).bool()
        scores = (q @ k.transpose(2, 3) / self.D**0.5).masked_fill(future, -torch.inf)  # (B, H, T, T)
        return torch.softmax(scores, dim=-1)

    def forward(self, x):
        B, T, C = x.shape
        y = self.dropout(self.weights(x)) @ self.split(self.W_value(x))  # (B, H, T, T) @ (B, H, T, D)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, C))  # (B, H, T, D) -> (B, T, C)


multi_head = MultiHead(C, H)
with torch.no_grad():
    for name in ("W_query", "W_key", "W_value"):  # the heads' matrices, stacked
        getattr(multi_head, name).weight.copy_(torch.cat([getattr(h, name).weight for h in head_by_head.heads]))
    multi_head.out_proj.load_state_dict(head_by_head.out_proj.state_dict())
print("all together:", multi_head(x).shape)
print(multi_head(x)[0, :, :3])
assert torch.allclose(multi_head(x), head_by_head(x), atol=1e-6)
n = [sum(p.numel() for p in m.parameters()) for m in (head_by_head, multi_head)]
print("parameters:", n)
assert n[0] == n[1] == 4 * C * C + C

# %% [markdown]
# ## With the package
# `F.scaled_dot_product_attention` takes (B, H, T, D) as it is.

# %%
q, k, v = (multi_head.split(w(x)) for w in (multi_head.W_query, multi_head.W_key, multi_head.W_value))
y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
assert torch.allclose(multi_head.out_proj(y.transpose(1, 2).reshape(B, T, C)), multi_head(x), atol=1e-6)

# %% [markdown]
# GPT-2's layer goes one step further: one matrix makes queries, keys and values together, (C, 3C). With the
# three matrices stacked, the package's layer gives the same result as ours.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention

layer = Attention(C, H, bias=False, out_bias=True)
with torch.no_grad():
    layer.qkv.weight.copy_(torch.cat([multi_head.W_query.weight, multi_head.W_key.weight, multi_head.W_value.weight]))
    layer.out_proj.load_state_dict(multi_head.out_proj.state_dict())
assert torch.allclose(layer(x), multi_head(x), atol=1e-6)
print("the package's layer:", layer(x).shape, " its qkv matrix:", layer.qkv.weight.shape)

# %% [markdown]
# ## What two heads can do and one cannot
# The task: each token holds a number. At each place the model must output two numbers: the *first* of the
# text, and the one just *before*. One head has one set of weights, so its output is a mixture of both, and
# they cannot be separated any more. Two heads can look at two places.

# %%
def batch(n, T=8):
    numbers = torch.rand(n, T, 1)
    place = torch.eye(T).expand(n, T, T)  # one-hot positions
    first = numbers[:, :1].expand(n, T, 1)
    before = torch.cat([numbers[:, :1], numbers[:, :-1]], dim=1)
    return torch.cat([numbers, place], dim=-1), torch.cat([first, before], dim=-1)  # (n, T, 9), (n, T, 2)


curves, models = {}, {}
for heads in (1, 2):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(9, 16), MultiHead(16, heads), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    curves[heads] = []
    for step in range(400):
        numbers, target = batch(32)
        loss = F.mse_loss(model(numbers), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curves[heads].append(loss.item())
    models[heads] = model
    print(f"heads {heads}: first loss {curves[heads][0]:.3f}")
end = {heads: sum(c[-50:]) / 50 for heads, c in curves.items()}
print("two heads end at less than a third of one head's loss:", end[2] < end[1] / 3)
assert end[2] < end[1] / 3

# %%
with torch.no_grad():
    hidden = models[2][0](batch(1)[0])
    maps = models[2][1].weights(hidden)[0]  # (1, H, T, T) -> (2, 8, 8)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.9), width_ratios=[1.5, 1, 1])
for heads, curve in curves.items():
    axes[0].semilogy(curve, lw=1, label=f"{heads} head" + "s" * (heads > 1))
axes[0].set_xlabel("step"), axes[0].set_ylabel("loss"), axes[0].legend()
for h in range(2):
    axes[1 + h].imshow(maps[h].numpy(), cmap="Blues", vmin=0, vmax=1)
    axes[1 + h].set_title(f"head {h} of the two"), axes[1 + h].set_xlabel("token that is looked at")
save_plot(figure, "04_multi_head")

# %% [markdown]
# ## Exercises
# 1. How many parameters has the attention layer of GPT-2 small (C = 768, H = 12, with biases)? Does the
#    number of heads change it?
# 2. `y.view(B, H, T, D)` instead of `view(B, T, H, D).transpose(1, 2)` has the right shape. What can
#    the last token no longer see then?
# 3. Prune a head: set its columns in `out_proj` to zero. Show that the result is the same as without the
#    head.
#
# Solutions: `lessons/solutions/03_attention/04_multi_head.py`
