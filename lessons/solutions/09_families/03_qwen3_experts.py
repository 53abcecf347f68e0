# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a mixture of experts
#
# ## 1. Not divided by the sum
# Then the weight of a chosen expert is p_e itself, a softmax over *all* scores: if another score grows, p_e
# falls. So every row of the router has a gradient, through the denominator of the softmax.

# %%
import numpy as np

import tinygrad_llm as tl
from tinygrad_llm.layers.moe import MixtureOfExperts

tl.manual_seed(1)
rows = {}
x, g = tl.randn(3, 8), tl.randn(3, 8)  # 3 tokens, at most 6 experts chosen
for divided in (True, False):
    tl.manual_seed(2)
    layer = MixtureOfExperts(8, 12, 8, 2, norm_topk_prob=divided)
    (layer(x) * g).sum().backward()
    rows[divided] = int((layer.router.weight.grad.abs().max(dim=1).values > 1e-7).sum())
    chosen = int((layer.tokens_per_expert > 0).sum())
    print(f"norm_topk_prob={divided!s:5}: {rows[divided]} rows of the router have a gradient, {chosen} experts chosen")
assert rows[False] == 8 and rows[True] == chosen < 8

# %% [markdown]
# ## 2. Eight copies
# The weights sum to 1, so Σ w·f(x) = f(x): one feed forward, for every choice. The output does not depend
# on the router, so its gradient is zero. Upcycling starts like this: copies of a trained feed forward, which
# become different only because each sees other tokens.

# %%
layer = MixtureOfExperts(8, 12, 8, 2)
with tl.no_grad():
    for p in layer.experts.parameters():
        p.copy_(p[:1].expand(p.shape))
y = layer(x)
(y * g).sum().backward()
both = x @ layer.experts.gate_up[0].T  # (3, 8) -> (3, 24)
alone = (tl.nn.functional.silu(both[:, :12]) * both[:, 12:]) @ layer.experts.down[0].T  # (3, 12) -> (3, 8)
print("the layer equals one expert:", tl.allclose(y, alone, atol=1e-6))
assert tl.allclose(y, alone, atol=1e-6)
assert layer.router.weight.grad.abs().max().item() < 1e-6

# %% [markdown]
# ## 3. The busiest expert
# 1,000 tokens with 8 choices are 62.5 for each of 128 experts, with a standard deviation of about √62.5 = 8. The
# largest of 128 lies 2 to 3 deviations above, at about 80 to 85: all others wait for it, a third longer.

# %%
rng = np.random.default_rng(0)
scores = rng.random((1000, 128))
chosen = np.argsort(scores, axis=1)[:, :8]  # (1000, 8), 8 different experts each
counts = np.bincount(chosen.ravel(), minlength=128)  # (128)
print(f"mean {counts.mean()}, busiest {counts.max()}: {counts.max() / counts.mean():.2f} times the mean")
assert counts.sum() == 8000 and 1.15 < counts.max() / counts.mean() < 1.6
