# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Latent attention: what a token must remember
#
# **Question.** A cache keeps the keys and values of every head. Grouped queries keep fewer heads. Can all heads
# have different keys, and the cache still be small?
#
# **For example.** 16 heads with keys and values of 64 are 2,048 numbers per token. A latent of 128 numbers
# from which they are computed is 16 times smaller.
#
# **Predict first.** 128 heads of 128 channels, keys and values: how many numbers per token? DeepSeek keeps 576.
#
#     c = norm(W_down·x)            R numbers, the latent: all that is kept
#     k_h = W_K,h·c   v_h = W_V,h·c     keys and values of every head, computed from c
#
# And a second idea: q·(W_K·c) = (W_Kᵀ·q)·c. The matrix moves from the keys, of which there are many, to the
# query, of which there is one. While text is written, no key is ever computed.
#
# **You need.** Lesson 1, chapter 09, lesson 2.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: expanded and absorbed
# One text, H heads of D channels, a latent of R. All matrices are random; the two forms must agree.

# %%
torch.manual_seed(123)
T, C, H, D, R = 10, 32, 4, 8, 6
x = torch.randn(T, C).double()
w_q, w_down = torch.randn(H, D, C).double() * 0.2, torch.randn(R, C).double() * 0.2
w_k, w_v = torch.randn(H, D, R).double() * 0.4, torch.randn(H, D, R).double() * 0.4
weights = [w.requires_grad_() for w in (w_q, w_down, w_k, w_v)]
future = torch.triu(torch.ones(T, T), diagonal=1).bool()


def weigh(scores):
    return torch.softmax((scores / math.sqrt(D)).masked_fill(future, -math.inf), dim=-1)  # (H, T, T)


def expanded(x):
    c = F.rms_norm(x @ w_down.T, (R,))  # (T, R)
    q, k, v = x @ w_q.transpose(1, 2), c @ w_k.transpose(1, 2), c @ w_v.transpose(1, 2)  # (H, T, D) each
    return weigh(q @ k.transpose(1, 2)) @ v


def absorbed(x):
    c = F.rms_norm(x @ w_down.T, (R,))  # (T, R): key and value of every head
    moved = x @ w_q.transpose(1, 2) @ w_k  # (H, T, D) @ (H, D, R) -> (H, T, R)
    return weigh(moved @ c.T) @ c @ w_v.transpose(1, 2)  # (H, T, R) @ (H, R, D) -> (H, T, D)


g = torch.randn(H, T, D).double()
one, two = expanded(x), absorbed(x)
assert torch.allclose(one, two, atol=1e-10)
for a, b in zip(torch.autograd.grad(one, weights, g), torch.autograd.grad(two, weights, g)):
    assert torch.allclose(a, b, atol=1e-8)
print("expanded and absorbed: equal outputs", tuple(one.shape), "and equal gradients of all four matrices")

# %% [markdown]
# ## Why the position needs separate channels
# A rotation that depends on the position stands between q and k: q·Rot(i − j)·W_K·c. The product W_Kᵀ·Rot·q differs
# for every pair of positions, so nothing can be absorbed. DeepSeek adds P channels to each query and *one* key of P
# channels for all heads. They are turned; the others are not.

# %%
def turn(y, position):
    """Pairs of neighbours turned by position·ω: y (..., 2)."""
    angle = torch.tensor(0.5 * position)
    a, b = y[..., 0], y[..., 1]
    return torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


q, r = torch.randn(2), torch.randn(2)
far = [(turn(q, i) @ turn(r, j)).item() for i, j in ((3, 1), (7, 5), (9, 4))]
print("the score of the position depends on the distance alone:", [round(s, 4) for s in far])
assert abs(far[0] - far[1]) < 1e-6 < abs(far[0] - far[2])

# %% [markdown]
# ## What it costs
# Numbers per token and layer in the cache, and multiplications of a head for T new tokens among S keys:
#
#     cache      many heads 2·H·D     grouped 2·KV·D     latent R + P
#     expanded   S·R·2D + T·S·(2D + P)          absorbed   T·R·2D + T·S·(2R + P)

# %%
def per_token(H, D, KV, R, P):
    return 2 * H * D, 2 * KV * D, R + P


full, grouped, latent = per_token(128, 128, 8, 512, 64)
print(f"DeepSeek V3: {full} numbers per token with all heads, {grouped} with 8 key heads, {latent} with the latent")
assert (full, grouped, latent) == (32768, 2048, 576)


def work(T, S, D=128, R=512, P=64):
    return S * R * 2 * D + T * S * (2 * D + P), T * R * 2 * D + T * S * (2 * R + P)


for T_new, S in ((4096, 4096), (1, 4096)):
    a, b = work(T_new, S)
    print(f"{T_new:4} new tokens of {S}: expanded {a / 1e6:9.1f} million, absorbed {b / 1e6:9.1f} million")
assert work(4096, 4096)[0] < work(4096, 4096)[1] and work(1, 4096)[0] > 100 * work(1, 4096)[1]

# %% [markdown]
# ## With the package
# `LatentAttention` chooses the form with less work. Its cache holds R + P numbers per token.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.latent_attention import LatentAttention
from tinygrad_llm.layers.rotary import Rotary

layer = LatentAttention(64, 8, kv_rank=16, q_rank=24, rotary=Rotary(4, interleaved=True))
x = torch.randn(1, 40, 64)
cache = layer.new_cache(40)
with torch.no_grad():
    pieces = [layer(x[:, t : t + 1], cache=cache) for t in range(40)]
    assert torch.allclose(torch.cat(pieces, dim=1), layer(x), atol=1e-5)  # (1, 40, 64)
print("one token after the other equals the whole;", layer.cache_bytes_per_token() // 4, "numbers per token, an Attention has",
      2 * 64)
assert layer.cache_bytes_per_token() == 4 * 20
lengths = [1 << n for n in range(0, 13)]
shares = [work(n, 4096)[1] / work(n, 4096)[0] for n in lengths]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.bar(["all heads", "8 key heads", "latent"], [full, grouped, latent]), left.set_yscale("log")
left.set_ylabel("numbers per token and layer")
right.loglog(lengths, shares, "o-"), right.axhline(1, color="black", ls=":")
right.set_xlabel("new tokens of 4096"), right.set_ylabel("absorbed / expanded, multiplications")
save_plot(figure, "02_latent_attention")

# %% [markdown]
# ## Exercises
# 1. What is the rank of the matrix W_Kᵀ·W_Q of one head at most, and what does the latent do to it?
# 2. From how many new tokens on (of S = 4096) is the expanded form less work with the numbers above?
# 3. Leave the norm away and set R = C with W_down the identity. What have you got?
#
# Solutions: `lessons/solutions/11_attention_variants/02_latent_attention.py`
