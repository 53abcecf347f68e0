# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: numerical stability
#
# ## 1. The logarithm of a sigmoid
# ln σ(x) = −ln(1 + e⁻ˣ). For x = −200 in float32, e²⁰⁰ overflows. For negative x take out e⁻ˣ: ln σ(x) = x −
# ln(1 + eˣ). Both cases in one formula, in which the exponent is never positive:
#
#     ln σ(x) = min(x, 0) − ln(1 + e^(−|x|))
#
# Its derivative is σ(−x) = 1 − σ(x): 1 at the left end, and at the right end e⁻²⁰⁰, which float32 rounds to 0.

# %%
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

x = np.array([-200.0, -20.0, 0.0, 20.0, 200.0], np.float32)


def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


with np.errstate(over="ignore", divide="ignore"):
    naive = np.log(1 / (1 + np.exp(-x)))
print("naive:", naive, "\nright:", log_sigmoid(x))
assert np.isinf(naive[0]) and log_sigmoid(x)[0] == -200.0
assert naive[3] == 0.0 and abs(log_sigmoid(x)[3] / -2.0611537e-9 - 1) < 1e-6  # all digits were lost

t = torch.tensor(x, requires_grad=True)
y = F.logsigmoid(t)
y.sum().backward()
assert np.allclose(y.detach().numpy(), log_sigmoid(x), rtol=1e-6, atol=0)
assert t.grad[0].item() == 1.0 and t.grad[2].item() == 0.5 and 0 <= t.grad[4].item() < 1e-30
assert abs(t.grad[3].item() / 2.0611537e-9 - 1) < 1e-5

# %% [markdown]
# ## 2. eˣ − 1
# e^(1e-6) is 1.000001, and float32 has steps of 1.2e-7 there: after the subtraction about one digit is right.
# `expm1` computes eˣ − 1 without writing down the 1: for small x it uses the series x + x²/2. `log1p` does the
# same for ln(1 + x), and stands in ln σ above.

# %%
small = np.float32(1e-6)
naive, right = np.exp(small) - np.float32(1), np.expm1(small)
print(f"exp(x) − 1 = {naive:.6e}, expm1(x) = {right:.6e}")
true = np.expm1(1e-6)
assert abs(naive / true - 1) > 0.01 and abs(right / true - 1) < 1e-6
assert abs(np.log1p(small) / np.log1p(1e-6) - 1) < 1e-6 < 0.01 < abs(np.log(1 + small) / np.log1p(1e-6) - 1)
e = torch.tensor([1e-6], requires_grad=True)
torch.expm1(e).backward()
assert abs(e.grad.item() - 1) < 1e-5  # the derivative eˣ
