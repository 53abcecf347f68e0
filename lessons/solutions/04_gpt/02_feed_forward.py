# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: GELU and the feed-forward layer
#
# ## 1. Where are the parameters?
# Feed forward: C·4C + 4C + 4C·C + C = 8C² + 5C. Attention: 4C² + 4C. Two thirds are in the feed-forward layer.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

C = 768
feed_forward = [nn.Linear(C, 4 * C), nn.Linear(4 * C, C)]
attention = [nn.Linear(C, 3 * C), nn.Linear(C, C)]
counts = [sum(p.numel() for m in part for p in m.parameters()) for part in (feed_forward, attention)]
print(f"feed forward {counts[0]:,}   attention {counts[1]:,}   share {counts[0] / sum(counts):.3f}")
assert counts == [8 * C * C + 5 * C, 4 * C * C + 4 * C]

# %% [markdown]
# ## 2. The lowest point
# Near x = −0.75, with the value −0.17. To the left of it, a *larger* input gives a *smaller* output: unlike
# ReLU, GELU is not monotonic.

# %%
x = torch.linspace(-3, 0, 3001)
y = F.gelu(x)
place = int(y.argmin())
print(f"lowest at x = {x[place].item():.2f}: {y[place].item():.4f}")
assert abs(x[place].item() + 0.75) < 0.01 and abs(y[place].item() + 0.17) < 0.001

# %% [markdown]
# ## 3. Dead units
# ReLU's derivative is exactly 0 below 0. GELU's is small there but not 0, down to about −5: a unit can
# recover. At −10 it is as dead as the other (in float32 the derivative is 0 there).

# %%
for bias in (-10.0, -2.0, -1.0):
    gradients = {}
    for name, activation in (("ReLU", F.relu), ("GELU", F.gelu)):
        b = torch.tensor([bias], requires_grad=True)
        activation(b).sum().backward()
        gradients[name] = b.grad.item()
    print(f"input {bias:5}: derivative of ReLU {gradients['ReLU']}, of GELU {gradients['GELU']:.4f}")
    assert gradients["ReLU"] == 0.0 and (abs(gradients["GELU"]) > 0.05) == (bias > -5)
