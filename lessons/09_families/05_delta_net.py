# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. Qwen3.5: a memory of fixed size (gated DeltaNet)
#
# **Question.** Attention keeps every key and value, so its cache grows with the text. Can a layer remember a long
# text in a memory that does *not* grow?
#
# **For example.** Write 5 under key 1: the memory returns 5. Write 7 under key 1: a memory that only adds
# returns 12.
#
# **Predict first.** Store a value v under a key k, then another value under the *same* key. A memory that
# simply adds returns the sum of the two. What would you subtract before you add?
#
#     S = 0                                     a matrix (K, D): keys of K channels, values of D
#     S <- a·S                                  forget a little: 0 < a <= 1
#     δ  = β·(v − Sᵀ·k)                         what is missing: the value minus what is predicted for k
#     S <- S + k·δᵀ                             write it
#     y  = Sᵀ·q                                 read
#
# In three of four blocks of Qwen3.5 this stands in place of attention (Yang et al., 2024). The loop is slow: one
# token after the other. The *chunked* form computes 64 tokens together, with the same result.
#
# **You need.** Lesson 4, chapter 04, lesson 5.

# %%
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: one token after the other

# %%
def recurrent(q, k, v, a, beta):
    """q, k (T, K), v (T, D), a and beta (T) -> y (T, D), and the memory (K, D)."""
    S = torch.zeros(k.shape[1], v.shape[1], dtype=v.dtype)
    y = []
    for t in range(len(k)):
        S = a[t] * S
        delta = beta[t] * (v[t] - k[t] @ S)  # (D): v minus the prediction
        S = S + k[t].unsqueeze(1) * delta  # (K, 1)·(D) -> (K, D)
        y.append(q[t] @ S)  # (D)
    return torch.stack(y), S


one = torch.ones(3)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])  # the first key comes back
v = torch.tensor([[5.0], [7.0], [9.0]])
y, S = recurrent(k, k, v, one, one)
print("memory", S.flatten().tolist(), " reading the first key:", (k[0] @ S).item())
assert (k[0] @ S).item() == 9.0 and (k[1] @ S).item() == 7.0  # 9 has *replaced* 5, and 7 is still there
added = k.T @ v  # linear attention: S = Σ k·vᵀ
print("a memory that only adds:", added.flatten().tolist())
assert added[0].item() == 14.0

# %% [markdown]
# The delta rule is a step of gradient descent! Let L = ½·|Sᵀ·k − v|² be the error of the prediction. Then
# ∂L/∂S = k·(Sᵀ·k − v)ᵀ, and S − β·∂L/∂S is what we wrote. The layer trains its memory while it reads.

# %%
torch.manual_seed(123)
S = torch.randn(4, 3).requires_grad_()
k, v, beta = F.normalize(torch.randn(4), dim=0), torch.randn(3), 0.7
(0.5 * (k @ S - v).pow(2).sum()).backward()
written = S.detach() + k.unsqueeze(1) * (beta * (v - k @ S.detach()))
assert torch.allclose(S.detach() - beta * S.grad, written, atol=1e-6)
print("writing = one step of gradient descent with the learning rate β")

# %% [markdown]
# ## By hand: all tokens of a chunk together
# Each δ depends on those before it: δ_t = β_t·(v_t − prediction from δ_0 … δ_{t−1}). That is a *triangular*
# system of equations, and a triangular system is solved in one go. With b_t = the sum of log a up to t, and
# Γ_tj = exp(b_t − b_j) what of token j is left at t:
#
#     A = β·(K·Kᵀ∘Γ), below the diagonal         (1 + A)·Δ = β·V         Y = (Q·Kᵀ∘Γ)·Δ

# %%
def chunked(q, k, v, a, beta):
    """The same for one chunk from an empty memory: T x T products in place of a loop."""
    b = a.log().cumsum(0)  # (T)
    left = (b.unsqueeze(1) - b).exp().tril()  # (T, T): Γ
    A = (beta.unsqueeze(1) * (k @ k.T) * left).tril(-1)  # (T, T)
    delta = torch.linalg.solve(torch.eye(len(k), dtype=k.dtype) + A, beta.unsqueeze(1) * v)  # (T, D)
    return ((q @ k.T) * left) @ delta  # (T, D)


T, K, D = 48, 8, 6
q, k, v = torch.randn(T, K).double(), F.normalize(torch.randn(T, K).double(), dim=1), torch.randn(T, D).double()
a, beta = torch.sigmoid(torch.randn(T).double() + 3), torch.sigmoid(torch.randn(T).double())
inputs = [p.requires_grad_() for p in (q, k, v, a, beta)]
g = torch.randn(T, D).double()
loop, _ = recurrent(*inputs)
grad_loop = torch.autograd.grad((loop * g).sum(), inputs)
in_a_chunk = chunked(*inputs)
grad_chunked = torch.autograd.grad((in_a_chunk * g).sum(), inputs)
print("output", tuple(loop.shape), " equal:", torch.allclose(loop, in_a_chunk, atol=1e-10))
assert torch.allclose(loop, in_a_chunk, atol=1e-10)
for name, one_by_one, together in zip("qkvaβ", grad_loop, grad_chunked):
    assert torch.allclose(one_by_one, together, atol=1e-8), name
print("and the gradients of q, k, v, a, β:", [round(x.norm().item(), 3) for x in grad_loop])

# %% [markdown]
# ## What it forgets
# a = 0.9 leaves 0.9^t after t tokens. The gradient of an old value fades in the same way: 0.9^t. This is why a
# is computed from the token: "keep" is a ≈ 1.

# %%
def memory_after(a, n):
    v = torch.zeros(n, 1).double()
    v[0] = 1.0
    v.requires_grad_()
    k = torch.eye(n).double()  # each token has its own key
    y, _ = recurrent(k[:1].expand(n, n), k, v, torch.full((n,), a).double(), torch.ones(n).double())
    y[-1].sum().backward()  # read the first key at the end
    return y[-1].item(), v.grad[0].item()


for a_value in (1.0, 0.99, 0.9):
    read, gradient = memory_after(a_value, 30)
    print(f"a = {a_value:4}: after 29 tokens {read:.3f} of the value is left, gradient {gradient:.3f}")
    assert abs(read - a_value**29) < 1e-6 and abs(gradient - read) < 1e-6

# %% [markdown]
# And what it cannot hold: K channels have room for K keys at right angles. With more, reading is a mixture.

# %%
errors = {}
for n in (4, 16, 32, 64, 256):
    keys, values = F.normalize(torch.randn(n, 32), dim=1), torch.randn(n, 8)
    _, S = recurrent(keys, keys, values, torch.ones(n), torch.ones(n))
    errors[n] = ((keys @ S - values).norm() / values.norm()).item()
    print(f"{n:3} pairs in a memory with K = 32: error of reading {errors[n]:.2f}")
assert errors[4] < 0.5 < errors[256]

# %% [markdown]
# ## With the package
# `gated_delta_rule` is one op, chunked, with its backward by hand: see `tinygrad-llm study gated_delta_rule`.
# decay is the logarithm of a.

# %% tags=["package"]
from tinygrad_llm.layers.delta_net import GatedDeltaNet
from tinygrad_llm.models.qwen3_5 import PRESETS, Qwen35

ours = [p.detach().clone().requires_grad_() for p in inputs]
q, k, v, a, beta = (p.unsqueeze(0).unsqueeze(0) for p in ours)  # (T, …) -> (1, 1, T, …)
y = F.gated_delta_rule(q, k, v, a.log(), beta)[0, 0]
assert torch.allclose(y, loop, atol=1e-10)
for theirs, mine in zip(grad_loop, torch.autograd.grad((y * g).sum(), ours)):
    assert torch.allclose(theirs, mine, atol=1e-8)

seconds = {"loop": [], "chunks": []}
lengths = (64, 128, 256, 512)
for n in lengths:
    q, k, v = (torch.randn(n, 32) for _ in range(3))
    k, decay, beta = F.normalize(k, dim=1), torch.full((n,), -0.01), torch.full((n,), 0.5)
    start = time.perf_counter()
    recurrent(q, k, v, decay.exp(), beta)
    seconds["loop"].append(time.perf_counter() - start)
    start = time.perf_counter()
    F.gated_delta_rule(*(x.unsqueeze(0).unsqueeze(0) for x in (q, k, v, decay, beta)))
    seconds["chunks"].append(time.perf_counter() - start)
print("512 tokens:", ", ".join(f"{name} {s[-1] * 1e3:.1f} ms" for name, s in seconds.items()))

# %% [markdown]
# A whole layer computes k, v, q, β and a from x, with a short convolution before them and a gate after. Written
# one by one with its cache it gives the same, and the cache never grows:

# %% tags=["package"]
layer = GatedDeltaNet(32, 2, head_dim=16)
x = torch.randn(1, 40, 32)
cache = layer.new_cache(40)
with torch.no_grad():
    pieces = [layer(x[:, t : t + 1], cache=cache) for t in range(40)]
    assert torch.allclose(torch.cat(pieces, dim=1), layer(x), atol=1e-5)  # (1, 40, 32)
c = PRESETS["qwen3.5-0.8b"]
state = c.linear_n_heads * c.linear_key_head_dim * c.linear_head_dim
per_token = 2 * c.n_kv_heads * c.head_dim
print(f"Qwen3.5 0.8B: a DeltaNet block holds {state:,} numbers for any text; an attention block {per_token:,} per token: "
      f"equal at {state // per_token} tokens")
assert state // per_token == 256
model = Qwen35(PRESETS["tiny"])
print("blocks:", [type(block.att).__name__ for block in model.trf_blocks])

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, s in seconds.items():
    left.plot(lengths, [x * 1e3 for x in s], "o-", label=name)
left.set_xlabel("tokens"), left.set_ylabel("ms"), left.legend()
right.plot(list(errors), list(errors.values()), "o-"), right.set_xscale("log", base=2)
right.axvline(32, color="black", ls=":"), right.set_xlabel("pairs stored (K = 32)"), right.set_ylabel("error of reading")
save_plot(figure, "05_delta_net")

# %% [markdown]
# ## Exercises
# 1. Set β = 0.5 and write the same pair (k, v) n times, with a = 1. How much of v is read after 1, 2, 3, 10?
# 2. A text of two chunks: compute the first with `recurrent`, and give its memory to the second. Which two terms
#    must `chunked` gain? Check against the loop over both.
# 3. Why must keys have the length 1? Try |k| = 2 with β = 1 and write one pair again and again.
#
# Solutions: `lessons/solutions/09_families/05_delta_net.py`
