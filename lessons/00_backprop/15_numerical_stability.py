# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 15. Numerical stability
#
# **Question.** A formula can be right on paper and wrong in float32. Which formulas, and what helps?
#
# **For example.** e¹⁰⁰ is larger than the largest float32: the computer says infinity. e¹⁰⁰/(e¹⁰⁰ + e⁹⁹) is
# still just 0.73, if 100 is subtracted from both exponents first.
#
# float32 has 24 bits: about 7 digits, up to 3.4e38. So there are three dangers: numbers too **large**
# (eˣ overflows at x = 89), numbers too **close** (10,000² − 10,000·10,000.0001 keeps no digit), and sums too
# **long** (adding 1 to 16,777,216 changes nothing).
#
# **You need.** Lesson 5, and what float32 is.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

rng = np.random.default_rng(0)

# %% [markdown]
# ## Too large: softmax by hand
# e^x of a large x is infinite, and ∞/∞ is not a number. But softmax(x) = softmax(x − c) for any c. With
# c = max(x) the largest exponent is 0.

# %%
x = np.array([1000.0, 999.0, -5.0], np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    naive = np.exp(x) / np.exp(x).sum()
shifted = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
print("naive:", naive, "  shifted:", shifted)
assert np.isnan(naive).any()
assert np.allclose(torch.softmax(torch.tensor(x), 0).numpy(), shifted)

# %% [markdown]
# The gradient must be safe as well. An example is softplus, ln(1 + eˣ):

# %%
t = torch.tensor([-200.0, -20.0, 0.0, 20.0, 200.0], requires_grad=True)
y = F.softplus(t)
y.sum().backward()
print("softplus", y.tolist(), " derivative", t.grad.tolist())
assert torch.isfinite(y).all() and torch.isfinite(t.grad).all()
assert abs(t.grad[1].item() / np.exp(-20) - 1) < 1e-4  # small, and still exact in its digits

# %% [markdown]
# A row in which every key is masked: all scores are −∞, and −∞ − (−∞) is not a number. The fused
# attention gives 0 there, forward and backward, so that padding cannot turn the loss into NaN.

# %%
q = torch.randn(1, 2, 4, requires_grad=True)
mask = torch.tensor([[True, True], [False, False]])
out = F.scaled_dot_product_attention(q, q, q, attn_mask=mask)
out.sum().backward()
print("a row in which every key is masked:", out[0, 1].tolist())
assert torch.isfinite(out).all() and torch.isfinite(q.grad).all()

# %% [markdown]
# ## Too close: the variance
# mean(x²) − mean(x)² is the variance on paper. With a mean of 10,000 both terms are 1e8, and float32
# has steps of 8 there. Two passes, mean((x − mean(x))²), do not have this problem.

# %%
offsets = np.logspace(0, 5, 11)
one_pass, two_pass = [], []
for offset in offsets:
    x = (rng.normal(size=4096) + offset).astype(np.float32)
    true = x.astype(np.float64).var()
    one_pass.append(abs(float((x * x).mean() - x.mean() ** 2) - true) + 1e-9)
    two_pass.append(abs(float(((x - x.mean()) ** 2).mean()) - true) + 1e-9)
print(f"at a mean of 10,000: the error of one pass is {one_pass[8]:.2g}, of two passes {two_pass[8]:.2g}")
assert one_pass[8] > 100 * two_pass[8]

# %% [markdown]
# ## Too long: sums
# The running sum of ones in float32 stops at 2²⁴. Adding in groups, and then adding the groups, does
# not.

# %%
n = 17_000_000
ones = np.ones(n, np.float32)
running = np.cumsum(ones)[-1]  # one by one
grouped = torch.from_numpy(ones).sum().item()
print(f"{n:,} ones: one by one {running:,.0f}, in groups {grouped:,.0f}")
assert running == 2**24 and grouped == n

# %%
figure, axis = plt.subplots(figsize=(6, 4))
axis.loglog(offsets, one_pass, "o-", label="one pass: mean(x²) − mean(x)²")
axis.loglog(offsets, two_pass, "s-", label="two passes: mean((x − mean)²)")
axis.set_xlabel("mean of x (its variance is 1)"), axis.set_ylabel("error of the variance")
axis.legend()
save_plot(figure, "15_numerical_stability")

# %% [markdown]
# ## Break it
# The logarithm of a softmax in two steps: accurate for small logits, and −∞ as soon as one is far away.

# %%
logits = torch.tensor([0.0, -200.0], requires_grad=True)
two_steps, one_step = torch.log(torch.softmax(logits, 0)), F.log_softmax(logits, 0)
print("two steps:", two_steps.tolist(), "  one step:", one_step.tolist())
assert two_steps[1].item() == float("-inf") and one_step[1].item() == -200.0

# %% [markdown]
# ## Exercises
# 1. Write ln(σ(x)) so that it is accurate for x = −200 and x = 200. (The package calls it `logsigmoid`.)
#    Check both ends, and the gradient there.
# 2. eˣ − 1 for x = 1e-6 in float32: how many digits are right? What does `expm1` do, and which function
#    does the same for ln(1 + x)?
#
# Solutions: `lessons/solutions/00_backprop/15_numerical_stability.py`
