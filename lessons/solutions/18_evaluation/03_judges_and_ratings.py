# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: judges and ratings

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

# %% [markdown]
# ## 1. Ten wins to one
# The likeliest P is 10/11, so σ(d) = 10/11, d = ln 10, and 400/ln 10 · ln 10 = 400. With 11 of 11 P = 1: the likelihood grows
# for ever with d, and there is no largest value; the package says so instead of returning a number.

# %%
d = torch.tensor(math.log(10.0))
print(round(torch.sigmoid(d).item(), 6), round(400 / math.log(10) * d.item(), 3))
assert abs(torch.sigmoid(d).item() - 10 / 11) < 1e-6
losses = [F.softplus(torch.tensor(-x)).item() for x in (1.0, 5.0, 20.0)]
assert losses[0] > losses[1] > losses[2], "it never stops falling"

# %% [markdown]
# ## 2. Elo is gradient descent, one vote at a time
# ∂ softplus(b − a)/∂a = −σ(b − a) = −(1 − P). A step of k·ln(10)/400 on s is k·(1 − P) points: Elo's rule, whose step does not
# become smaller, so that it never comes to rest.

# %%
s = torch.zeros(2, requires_grad=True)  # shape (2,)
(g,) = torch.autograd.grad(F.softplus(s[1] - s[0]), s)
points = -g * (400 / math.log(10)) * (32 * math.log(10) / 400)
print([round(p, 4) for p in points.tolist()])
assert abs(points[0].item() - 16) < 1e-4 and abs(points[1].item() + 16) < 1e-4

# %% [markdown]
# ## 3. What is not said is not guessed
# The scale is another one, and there are two numbers. A guess of 7 of 100 is far off; a 0 moves the mean by as much as the
# worst answer would. None leaves the question out, and its number is reported.

# %%
scores = [80.0, 90.0, None, 85.0]
read = [v for v in scores if v is not None]
as_zero = [v or 0.0 for v in scores]
print(sum(read) / len(read), sum(as_zero) / len(as_zero))
assert sum(read) / len(read) == 85.0 and sum(as_zero) / len(as_zero) < 65
