# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: finite differences
#
# ## 1. One direction
# (f(x + h·d) − f(x − h·d))/2h is the derivative along d, which is Σ g·d. Two calls of f check all parameters.
# The error e of a wrong gradient shows as Σ e·d. For a random d of independent numbers that is a random number
# of size |e|: it is almost never zero, so every kind of mistake shows. What it misses are errors that are small
# *beside Σ g·d*: one wrong number among millions, or one of a tensor whose gradients are small. And it says
# that something is wrong, not where.

# %%
import numpy as np

import tinygrad_llm as torch
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.study.lesson import broken

rng = np.random.default_rng(8)


def along(f, x, gradient, h=1e-6):
    """(difference, Σ g·d) along one random direction."""
    d = rng.normal(size=x.shape)
    return (f(x + h * d) - f(x - h * d)) / (2 * h), (gradient * d).sum()


def f(x):
    return np.log(np.exp(x).sum())


x = rng.normal(size=1000)
right = np.exp(x) / np.exp(x).sum()
difference, claimed = along(f, x, right)
print(f"right gradient: {difference:.8f} and {claimed:.8f}")
assert abs(difference - claimed) < 1e-8

wrong_everywhere, wrong_once = right * 1.01, right.copy()
wrong_once[7] *= 1.01
errors = [abs(np.subtract(*along(f, x, g))) for g in (wrong_everywhere, wrong_once)]
print(f"1 % wrong everywhere: differs by {errors[0]:.1e}; in one of 1,000 numbers: by {errors[1]:.1e}")
assert errors[0] > 10 * errors[1]

logits = torch.tensor(rng.normal(size=(20, 30)), requires_grad=True)
assert gradcheck(lambda z: torch.softmax(z, -1), logits, directions=3)
with broken("softmax", lambda self, g: self.saved[0] * g):
    assert not gradcheck(lambda z: torch.softmax(z, -1), logits, directions=3, raise_exception=False)

# %% [markdown]
# ## 2. One side or both
# f(x + h) = f + h·f′ + h²·f″/2 + …, so (f(x + h) − f)/h = f′ + h·f″/2: the error falls as h, by 10. In the
# difference to both sides the terms with h² cancel, and the error falls as h², by 100. So the second call buys
# twice as many digits.

# %%
def errors_of(h):
    true = np.cos(1.0)
    one = (np.sin(1 + h) - np.sin(1.0)) / h
    two = (np.sin(1 + h) - np.sin(1 - h)) / (2 * h)
    return abs(one - true), abs(two - true)


(one1, two1), (one2, two2) = errors_of(1e-2), errors_of(1e-3)
print(f"h / 10: one side {one1 / one2:.1f} times better, both sides {two1 / two2:.1f} times")
assert abs(one1 / one2 - 10) < 0.2 and abs(two1 / two2 - 100) < 1
