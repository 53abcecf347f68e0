# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6. Mamba: the token decides what is kept
#
# **Question.** A recurrence h ← a·h + b·x forgets at a fixed rate. How can it keep one number for a thousand
# tokens and drop another after one, and still be computed for many tokens together?
#
# **For example.** h = 0.9·h + x keeps a number for long, h = 0.1·h + x forgets it within two steps. If the
# factor depends on the token, the model chooses.
#
# **Predict first.** Two steps of h ← a·h + u in a row are one step of the same form. Which a and u has it?
#
#     Δ = softplus(…x…)          a step length, for each channel, computed from the token
#     h <- exp(Δ·A)·h + Δ·x·b    A < 0: a large Δ forgets, a small one keeps. b says where to write
#     y = c·h + D·x              c says what to read
#
# Every channel keeps N numbers h. Δ, b and c come from the token, which is why the scan is called *selective*
# (Gu and Dao, 2023).
#
# **You need.** Lesson 5.

# %%
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: one token after the other

# %%
def one_by_one(x, delta, A, b, c):
    """x, delta (D, T), A (D, N), b, c (N, T) -> y (D, T)."""
    h, rows = torch.zeros(A.shape, dtype=x.dtype), []
    for t in range(x.shape[1]):
        step = delta[:, t].unsqueeze(1)  # (D, 1)
        h = (step * A).exp() * h + step * x[:, t].unsqueeze(1) * b[:, t]  # (D, N)
        rows.append((h * c[:, t]).sum(1))  # (D)
    return torch.stack(rows, dim=1)


one = torch.ones(1, 6)
x = torch.tensor([[7.0, 0.0, 0.0, 3.0, 0.0, 0.0]])
A = torch.tensor([[-1.0]])
for name, delta in (("small steps keep", 0.001 * one), ("large steps replace", 9.0 * one)):
    y = one_by_one(x, delta, A, one, one) / delta
    print(f"{name:20}", [round(v, 2) for v in y.flatten().tolist()])
keep = one_by_one(x, 0.001 * one, A, one, one) / 0.001
drop = one_by_one(x, 9.0 * one, A, one, one) / 9.0
assert keep[0, -1].item() > 9.9 and abs(drop[0, 3].item() - 3.0) < 0.01  # 7 + 3 are kept; 3 has replaced 7

# %% [markdown]
# ## By hand: all tokens together, in log₂ T steps
# Two steps are one: a₂·(a₁·h + u₁) + u₂ = (a₂·a₁)·h + (a₂·u₁ + u₂). So pairs can be joined, then pairs of pairs.
# After log₂ T rounds each token has the sum over all before it; every round is one operation on whole arrays.

# %%
def by_doubling(x, delta, A, b, c):
    """The same: factors a and sums u, (D, T, N), joined with those n tokens before, n = 1, 2, 4, …"""
    a = (delta.unsqueeze(2) * A.unsqueeze(1)).exp()  # (D, T, N)
    u = (delta * x).unsqueeze(2) * b.T  # (D, T, N)
    n, rounds = 1, 0
    while n < x.shape[1]:
        u = torch.cat([u[:, :n], u[:, n:] + a[:, n:] * u[:, :-n]], dim=1)
        a = torch.cat([a[:, :n], a[:, n:] * a[:, :-n]], dim=1)
        n, rounds = 2 * n, rounds + 1
    return (u * c.T).sum(2), rounds  # (D, T)


torch.manual_seed(123)
D, N, T = 5, 3, 40
x, c, b = torch.randn(D, T).double(), torch.randn(N, T).double(), torch.randn(N, T).double()
delta, A = F.softplus(torch.randn(D, T).double()), -torch.rand(D, N).double() - 0.1
inputs = [p.requires_grad_() for p in (x, delta, A, b, c)]
g = torch.randn(D, T).double()
slow = one_by_one(*inputs)
gradients = torch.autograd.grad((slow * g).sum(), inputs)
fast, rounds = by_doubling(*inputs)
assert torch.allclose(slow, fast, atol=1e-12) and rounds == 6
for one_, other in zip(torch.autograd.grad((fast * g).sum(), inputs), gradients):
    assert torch.allclose(one_, other, atol=1e-9)
print(f"{T} tokens in {rounds} rounds: same shape {tuple(fast.shape)}, same output, same gradients")

# %% [markdown]
# ## By hand: backward is a scan from the other end
# h_t reaches the loss by y_t and by h_{t+1}. So λ_t = ∂L/∂h_t = g_t·c_t + a_{t+1}·λ_{t+1}: the same recurrence,
# from the last token to the first.

# %%
with torch.no_grad():
    x, delta, A, b, c = inputs
    a = (delta.unsqueeze(2) * A.unsqueeze(1)).exp()  # (D, T, N)
    h, states = torch.zeros(D, N).double(), []
    for t in range(T):
        h = a[:, t] * h + (delta[:, t] * x[:, t]).unsqueeze(1) * b[:, t]
        states.append(h)
    lam, later = [None] * T, torch.zeros(D, N).double()
    for t in reversed(range(T)):
        lam[t] = g[:, t].unsqueeze(1) * c[:, t] + later  # (D, N)
        later = a[:, t] * lam[t]
    lam, states = torch.stack(lam, 1), torch.stack(states, 1)  # (D, T, N)
    before = torch.cat([torch.zeros(D, 1, N).double(), states[:, :-1]], 1)
    u = lam * before * a  # of Δ·A
    written = (lam * b.T).sum(2)  # (D, T)
    by_hand = [
        delta * written, (u * A.unsqueeze(1)).sum(2) + x * written, (u * delta.unsqueeze(2)).sum(1),
        (lam * (delta * x).unsqueeze(2)).sum(0).T, (states * g.unsqueeze(2)).sum(0).T,
    ]
for name, mine, autograd in zip(("x", "Δ", "A", "b", "c"), by_hand, gradients):
    assert torch.allclose(mine, autograd, atol=1e-9), name
print("the gradients of x, Δ, A, b and c by hand are autograd's")

# %% [markdown]
# ## Why the choice must come from the token
# A task: most tokens are noise, two carry a mark. At the end, say the value of the *first* marked token. With a
# fixed Δ the noise is written too; with Δ from the token a mark can open the memory and noise leaves it closed.

# %%
marks = torch.zeros(1, 30)
marks[0, 4] = 1.0
noise = torch.randn(1, 30)
value = torch.where(marks > 0, torch.full((1, 30), 2.0), noise)
fixed = torch.full((1, 30), 0.2)
chosen = torch.where(marks > 0, torch.full((1, 30), 1.0), torch.full((1, 30), 1e-4))
ones, slow_A = torch.ones(1, 30), torch.tensor([[-0.01]])
curves = {"fixed Δ": one_by_one(value, fixed, slow_A, ones, ones)[0],
          "Δ from the token": one_by_one(value, chosen, slow_A, ones, ones)[0]}
for name, y in curves.items():
    print(f"{name:17}: read at the end {y[-1].item():.2f}, the marked value is 2")
assert abs(curves["Δ from the token"][-1].item() - 2.0) < 0.05
assert abs(curves["fixed Δ"][-1].item() - 2.0) > 0.2

# %% [markdown]
# ## With the package
# `selective_scan` is one op: chunks of 16 tokens, and only h at each chunk's start is kept for backward. A `Mamba`
# computes Δ, b and c from x, with a short convolution before the scan and a gate after it.

# %% tags=["package"]
from tinygrad_llm.layers.mamba import Mamba

ours = [p.detach().clone().requires_grad_() for p in inputs]
x, delta, A, b, c = ours
y = F.selective_scan(x.unsqueeze(0), delta.unsqueeze(0), A, b.unsqueeze(0), c.unsqueeze(0))[0]
assert torch.allclose(y, slow, atol=1e-12)
for theirs, mine in zip(gradients, torch.autograd.grad((y * g).sum(), ours)):
    assert torch.allclose(theirs, mine, atol=1e-9)

layer = Mamba(32, state_dim=8)
x = torch.randn(1, 60, 32)
cache = layer.new_cache(60)
with torch.no_grad():
    pieces = [layer(x[:, t : t + 1], cache=cache) for t in range(60)]
    assert torch.allclose(torch.cat(pieces, dim=1), layer(x), atol=1e-5)  # (1, 60, 32)
print("bytes of the cache for any text:", layer.cache_bytes(60))

lengths, seconds = (128, 512, 2048), {"a loop of tensors": [], "the op": []}
for n in lengths:
    x, delta, A = torch.randn(64, n), torch.rand(64, n), -torch.rand(64, 8)
    b, c = torch.randn(8, n), torch.randn(8, n)
    start = time.perf_counter()
    with torch.no_grad():
        one_by_one(x, delta, A, b, c)
    seconds["a loop of tensors"].append(time.perf_counter() - start)
    start = time.perf_counter()
    F.selective_scan(x.unsqueeze(0), delta.unsqueeze(0), A, b.unsqueeze(0), c.unsqueeze(0))
    seconds["the op"].append(time.perf_counter() - start)
print("2048 tokens:", ", ".join(f"{name} {s[-1] * 1e3:.0f} ms" for name, s in seconds.items()))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, y in curves.items():
    left.plot(y.numpy(), label=name)
left.axhline(2.0, color="black", ls=":"), left.axvline(4, color="black", ls=":")
left.set_xlabel("token"), left.set_ylabel("what is read"), left.legend()
for name, s in seconds.items():
    right.loglog(lengths, [v * 1e3 for v in s], "o-", label=name)
right.set_xlabel("tokens"), right.set_ylabel("ms"), right.legend()
save_plot(figure, "06_selective_scan")

# %% [markdown]
# ## Exercises
# 1. With a_t = exp(Δ_t·A) the sum could also be written with P_t = a_1·…·a_t: h_t = P_t·Σ u_s/P_s, one `cumsum`.
#    Try it with Δ = 20 and A = −2 in float32. What goes wrong, and why does doubling not have the problem?
# 2. How many multiplications do the loop and doubling need for T tokens? When is doubling worth it?
# 3. A = 0 and Δ = 1 turn the scan into something that you know. What?
#
# Solutions: `lessons/solutions/11_attention_variants/06_selective_scan.py`
