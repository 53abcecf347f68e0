# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. The whole GPT, and what it costs
#
# **Question.** All parts are there: embeddings, attention, norms, feed forward, shortcuts. How do they make a
# GPT, and how many parameters, bytes and operations is that?
#
# **For example.** GPT-2 small has 12 blocks of 768 channels: 12·12·768² = 85 million parameters in the
# blocks, and 50,257·768 = 39 million in the token embedding.
#
# **Answer.** A *block* is attention and feed forward, each with a norm before it and a shortcut around it.
# A GPT is two embeddings, a stack of blocks, a last norm, and a linear layer that gives every token of the
# vocabulary a score:
#
#     x = token vectors + position vectors
#     x = x + attention(norm(x));   x = x + feed_forward(norm(x))        n_layers times
#     logits = norm(x)·W_outᵀ
#
# **You need.** Lessons 1 to 3, chapter 03.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import full_run, save_plot

# %% [markdown]
# ## By hand, in forty lines

# %%
class Attention(nn.Module):
    def __init__(self, C, H):
        super().__init__()
        self.H = H
        self.qkv = nn.Linear(C, 3 * C)
        self.out_proj = nn.Linear(C, C)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.H, C // self.H).transpose(1, 2) for y in self.qkv(x).split(C, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, C))  # (B, T, C)


class FeedForward(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))

    def forward(self, x):
        return self.layers(x)


class Block(nn.Module):
    def __init__(self, C, H):
        super().__init__()
        self.norm1, self.att = nn.LayerNorm(C), Attention(C, H)
        self.norm2, self.ff = nn.LayerNorm(C), FeedForward(C)

    def forward(self, x):
        x = x + self.att(self.norm1(x))
        return x + self.ff(self.norm2(x))  # (B, T, C)


class OwnGPT(nn.Module):
    def __init__(self, V, T, C, H, L):
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(V, C), nn.Embedding(T, C)
        self.trf_blocks = nn.ModuleList([Block(C, H) for _ in range(L)])
        self.final_norm = nn.LayerNorm(C)
        self.out_head = nn.Linear(C, V, bias=False)

    def forward(self, ids):
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1], device=ids.device))  # (B, T, C)
        for block in self.trf_blocks:
            x = block(x)
        return self.out_head(self.final_norm(x))  # (B, T, C) -> (B, T, V)


torch.manual_seed(123)
V, T, C, H, L = 100, 16, 24, 4, 3
model = OwnGPT(V, T, C, H, L)
ids = torch.randint(0, V, (2, 8))  # (B, T)
logits = model(ids)
print("ids", ids.shape, "-> logits", logits.shape)
print(logits[0, 0, :5])
assert logits.shape == (2, 8, V)

# %% [markdown]
# Is it causal? Change the last token: no logits before it may change. Is it untrained? Then the loss must
# be about ln V, the loss of a uniform guess.

# %%
other = ids.clone()
other[:, -1] = (other[:, -1] + 1) % V
assert torch.allclose(model(other)[:, :-1], logits[:, :-1], atol=1e-5)
loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())  # (B·T, V), (B·T)
print(f"loss {loss.item():.3f}   ln V = {math.log(V):.3f}")
assert abs(loss.item() - math.log(V)) < 0.6
loss.backward()
assert all(p.grad is not None and p.grad.any() for p in model.parameters())  # every parameter gets a gradient

# %% [markdown]
# ## With the package
# `GPT` has the same parts under the same names, so our weights fit into it, and the logits are equal.

# %% tags=["package"]
from tinygrad_llm.models import GPT, GPTConfig

config = GPTConfig(vocab_size=V, context_length=T, emb_dim=C, n_heads=H, n_layers=L, drop_rate=0.0, tie_weights=False)
gpt = GPT(config)
print(gpt.load_state_dict(model.state_dict()))
assert torch.allclose(gpt(ids), model(ids), atol=1e-5)

# %% [markdown]
# ## Counting parameters
# A block: queries, keys and values 3C² + 3C, their output C² + C, feed forward 8C² + 5C, two norms 4C.
# Together 12C² + 13C. Around the blocks: V·C + T·C for the embeddings, 2C for the last norm, and V·C for
# the output layer, unless it *shares* the token embedding's table, as in GPT-2.

# %%
def count(V, T, C, L, tied):
    return V * C * (1 if tied else 2) + T * C + L * (12 * C * C + 13 * C) + 2 * C


counted = sum(p.numel() for p in model.parameters())
print("counted", counted, "  formula", count(V, T, C, L, tied=False))
assert counted == count(V, T, C, L, tied=False)

gpt2 = {"small": (768, 12), "medium": (1024, 24), "large": (1280, 36), "xl": (1600, 48)}
print("GPT-2     parameters    float32   to train with AdamW")
for name, (C_, L_) in gpt2.items():
    n = count(50257, 1024, C_, L_, tied=True)
    # to train: weights, gradients and AdamW's two means, 4 bytes each, and the activations on top
    print(f"{name:7}{n:15,}{4 * n / 1e9:8.2f} GB{16 * n / 1e9:10.2f} GB")
assert count(50257, 1024, 768, 12, tied=True) == 124_439_808
print(f"small, not tied: {count(50257, 1024, 768, 12, tied=False):,}")

# %% [markdown]
# ## Counting operations
# A weight in a matrix costs one multiplication and one addition for each token: 2 operations. Attention
# adds, in each layer, T scores of C numbers and T weights of C numbers; half of them are masked. Per token:
#
#     forward = 2·(L·12C² + V·C) + 2·L·C·T          forward and backward = 3 times that

# %%
def forward_flops(V, T, C, L):
    return 2 * (L * 12 * C * C + V * C) + 2 * L * C * T


for T_ in (64, 1024, 16384):
    total = forward_flops(50257, T_, 768, 12)
    print(f"GPT-2 small, {T_:6} tokens: {total / 1e6:7.1f} million operations per token, "
          f"{100 * 2 * 12 * 768 * T_ / total:4.1f} % of them in attention's products")

# %% tags=["package"]
from tinygrad_llm.models.costs import flops_per_token

assert flops_per_token(gpt, T) == 3 * forward_flops(V, T, C, L)
print("the package's plan says the same:", f"{flops_per_token(gpt, T):,.0f} for our small model")

# %%
parts = {"embeddings": [], "attention": [], "feed forward": []}
for C_, L_ in gpt2.values():
    n = count(50257, 1024, C_, L_, tied=True)
    parts["embeddings"].append((50257 + 1024) * C_ / n * 100)
    parts["attention"].append(L_ * (4 * C_ * C_ + 4 * C_) / n * 100)
    parts["feed forward"].append(L_ * (8 * C_ * C_ + 5 * C_) / n * 100)
figure, axis = plt.subplots(figsize=(6.5, 3.8))
bottom = [0.0] * 4
for name, shares in parts.items():
    axis.bar(list(gpt2), shares, bottom=bottom, label=name, width=0.6)
    for i, share in enumerate(shares):
        axis.text(i, bottom[i] + share / 2, f"{share:.0f} %", ha="center", va="center", color="w")
    bottom = [b + s for b, s in zip(bottom, shares)]
axis.set_ylabel("% of the parameters"), axis.set_title("GPT-2: where the parameters are")
axis.set_xlim(-0.5, 5.2), axis.legend(loc="center right")
save_plot(figure, "04_model")
assert all(98 < b <= 100 for b in bottom)  # the norms have the remaining share

# %% [markdown]
# ## The real size

# %%
if full_run("builds GPT-2 small, 0.5 GB, and sends 64 tokens through it: about 10 seconds on two cores"):
    big = OwnGPT(50257, 1024, 768, 12, 12)
    print(f"{sum(p.numel() for p in big.parameters()):,} parameters")
    with torch.no_grad():
        print("logits", big(torch.randint(0, 50257, (1, 64))).shape)

# %% [markdown]
# ## Exercises
# 1. Tie the output layer to the token embedding. Show that both are one tensor, that it is counted once, and
#    that its gradient is the sum of both uses.
# 2. Give embeddings, attention and shortcuts separate dropout rates. Which three numbers must the
#    configuration hold, and where is each one used?
# 3. How large may C be for a model of 12 layers with at most 50 million parameters (V = 50,257, T = 1,024,
#    tied)? C must be a multiple of 64.
#
# Solutions: `lessons/solutions/04_gpt/04_model.py`
