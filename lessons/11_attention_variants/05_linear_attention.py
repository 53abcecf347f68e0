# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. Linear attention: the past as one matrix
#
# **Question.** Attention compares every query with every key: T·T products. What must change in the formula so
# that the sum over all keys can be computed *before* the query is known?
#
# **For example.** A query 2, keys 3 and 5: (2·3)·v₁ + (2·5)·v₂ = 2·(3·v₁ + 5·v₂). The right side adds over
# the keys before the 2 is known. With exp(q·k) that does not work.
#
# **Predict first.** (q·k)·v can be read as (k·vᵀ)ᵀ·q. Which part of softmax attention forbids this?
#
#     softmax:   y_t = Σ_s exp(q_t·k_s)·v_s / Σ_s exp(q_t·k_s)
#     linear:    y_t = Σ_s (φ(q_t)·φ(k_s))·v_s / Σ_s φ(q_t)·φ(k_s)          φ(x) = elu(x) + 1 > 0
#
# exp(q·k) is not a product of something of q and something of k. φ(q)·φ(k) is: the sum over s goes inside, and
# S = Σ φ(k_s)·v_sᵀ, a matrix, is all that a later token needs (Katharopoulos et al., 2020).
#
# **You need.** Lesson 1, chapter 00, lesson 10.

# %%
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: three forms of one formula

# %%
def feature(x):
    return F.elu(x) + 1.0


def with_all_weights(q, k, v):
    """q, k (T, D), v (T, M) -> (T, M): the T x T weights of attention, those of later tokens 0."""
    weights = (feature(q) @ feature(k).T).tril()  # (T, T)
    return weights @ v / weights.sum(1, keepdim=True)


def token_by_token(q, k, v):
    """The same, with a memory S (D, M) and a sum z (D)."""
    S, z, rows = torch.zeros(k.shape[1], v.shape[1], dtype=v.dtype), torch.zeros(k.shape[1], dtype=v.dtype), []
    for t in range(len(k)):
        S = S + feature(k[t]).unsqueeze(1) * v[t]  # (D, 1)·(M) -> (D, M)
        z = z + feature(k[t])
        rows.append(feature(q[t]) @ S / (feature(q[t]) @ z))  # (M)
    return torch.stack(rows)


def in_chunks(q, k, v, size=8):
    """Within a chunk all weights, before it the memory: tokens / size steps."""
    S, z, rows = torch.zeros(k.shape[1], v.shape[1], dtype=v.dtype), torch.zeros(k.shape[1], dtype=v.dtype), []
    for first in range(0, len(k), size):
        a, b, c = feature(q[first : first + size]), feature(k[first : first + size]), v[first : first + size]
        weights = (a @ b.T).tril()  # (size, size)
        rows.append((a @ S + weights @ c) / (a @ z + weights.sum(1)).unsqueeze(1))  # (size, M)
        S, z = S + b.T @ c, z + b.sum(0)
    return torch.cat(rows)


torch.manual_seed(123)
T, D, M = 20, 4, 3
inputs = [torch.randn(T, n).double().requires_grad_() for n in (D, D, M)]
g = torch.randn(T, M).double()
expected = with_all_weights(*inputs)
gradients = torch.autograd.grad((expected * g).sum(), inputs)
for form in (token_by_token, in_chunks):
    y = form(*inputs)
    assert torch.allclose(y, expected, atol=1e-12)
    for one, other in zip(torch.autograd.grad((y * g).sum(), inputs), gradients):
        assert torch.allclose(one, other, atol=1e-10)
    print(f"{form.__name__}: the same output, shape {tuple(y.shape)}, and the same gradients")

# %% [markdown]
# ## By hand: the backward pass is a memory from the other end
# S is read by the token and by all that follow. So what arrives at k_t and v_t is a sum over *later* tokens:
# R_t = Σ_{s ≥ t} φ(q_s)·G_sᵀ, with G the gradient of the two sums. Forward keeps S from the left, backward R from
# the right; neither needs a T x T matrix.

# %%
q, k, v = (x.detach() for x in inputs)
fq, fk = feature(q), feature(k)
v1 = torch.cat([v, torch.ones(T, 1).double()], dim=1)  # (T, M + 1): the last column makes z a part of S
S = (fk.unsqueeze(2) * v1.unsqueeze(1)).cumsum(0)  # (T, D, M + 1): S of every token
n = (fq.unsqueeze(1) @ S).squeeze(1)  # (T, M + 1): both sums
y = n[:, :M] / n[:, M:]
G = torch.cat([g, -(g * y).sum(1, keepdim=True)], dim=1) / n[:, M:]  # (T, M + 1)
R = (fq.unsqueeze(2) * G.unsqueeze(1)).flip(0).cumsum(0).flip(0)  # (T, D, M + 1)
derivative = lambda x: torch.where(x > 0, torch.ones_like(x), x.exp())  # φ′
g_q = (S @ G.unsqueeze(2)).squeeze(2) * derivative(q)  # (T, D)
g_k = (R @ v1.unsqueeze(2)).squeeze(2) * derivative(k)  # (T, D)
g_v = (fk.unsqueeze(1) @ R).squeeze(1)[:, :M]  # (T, M)
for name, mine, autograd in zip("qkv", (g_q, g_k, g_v), gradients):
    assert torch.allclose(mine, autograd, atol=1e-10), name
print("the gradients of q, k and v by hand are autograd's")

# %% [markdown]
# ## What is lost: a softmax can point at one token
# exp makes a large q·k dominate. φ(q)·φ(k) grows only linearly, so the weights stay flat: no scale of q and k
# lets a query look at one key alone.

# %%
keys = torch.randn(64, 16)
sharpness = {"softmax": [], "linear": []}
scales = (1.0, 2.0, 4.0, 8.0, 16.0)
for scale in scales:
    query = keys[17] * scale  # a copy of key 17: it is the best match
    linear = feature(keys) @ feature(query)  # (64)
    sharpness["softmax"].append(torch.softmax(keys @ query / 4.0, dim=0)[17].item())
    sharpness["linear"].append((linear / linear.sum())[17].item())
for name, s in sharpness.items():
    print(f"{name:8} weight of the best key at scales {scales}: {[round(x, 3) for x in s]}")
assert sharpness["softmax"][-1] > 0.99 and max(sharpness["linear"]) < 0.1

# %% [markdown]
# ## With the package
# `LinearAttention` does it for all heads, in chunks of 64; its cache is S and nothing else. So the time of a new
# token does not depend on how many came before, and neither does the memory.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.linear_attention import LinearAttention

layer = LinearAttention(32, 4)
x = torch.randn(1, 150, 32)
cache = layer.new_cache(150)
with torch.no_grad():
    pieces = [layer(x[:, t : t + 1], cache=cache) for t in range(150)]
    assert torch.allclose(torch.cat(pieces, dim=1), layer(x), atol=1e-4)  # (1, 150, 32)
print("cache in bytes, any length:", layer.cache_bytes(150), "; of attention:", 2 * 150 * 32 * 4)

lengths, seconds = (64, 256, 1024, 4096), {"attention": [], "linear": []}
for n in lengths:
    x = torch.randn(1, n, 32)
    for name, layer in (("attention", Attention(32, 4)), ("linear", LinearAttention(32, 4))):
        with torch.no_grad():
            layer(x)
            start = time.perf_counter()
            layer(x)
            seconds[name].append(time.perf_counter() - start)
print("4096 tokens:", ", ".join(f"{name} {s[-1] * 1e3:.0f} ms" for name, s in seconds.items()))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, s in sharpness.items():
    left.plot(scales, s, "o-", label=name)
left.set_xlabel("scale of the query"), left.set_ylabel("weight of the best of 64 keys"), left.legend()
for name, s in seconds.items():
    right.loglog(lengths, [x * 1e3 for x in s], "o-", label=name)
right.set_xlabel("tokens"), right.set_ylabel("ms"), right.legend()
save_plot(figure, "05_linear_attention")

# %% [markdown]
# ## Exercises
# 1. Replace φ by elu alone. What can happen to the denominator? Find q and k for which the output explodes.
# 2. A value is written under the same key twice. What is read afterwards, and what would the delta rule of
#    lesson `09_families/05_delta_net.py` return?
# 3. Multiply S and z by 0.9 before each token. Which tokens does y then depend on? Compute the weights.
#
# Solutions: `lessons/solutions/11_attention_variants/05_linear_attention.py`
