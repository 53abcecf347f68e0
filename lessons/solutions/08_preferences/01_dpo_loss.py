# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the loss of DPO

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

# %% [markdown]
# ## 1. Two equal answers
# The margin is 0 for every model: the loss stays ln 2, and the two gradients cancel. Leave such pairs out.

# %%
torch.manual_seed(123)
logits = torch.randn(5, requires_grad=True)
log_p = F.log_softmax(logits, dim=-1)
margin = 0.1 * (log_p[2] - log_p[2])
loss = -F.logsigmoid(margin)
loss.backward()
print(f"loss {loss.item():.4f}, largest gradient {logits.grad.abs().max().item():.1f}")
assert abs(loss.item() - math.log(2)) < 1e-6 and logits.grad.abs().max().item() == 0.0

# %% [markdown]
# ## 2. Length
# Not directly: only the difference to the reference counts, and that begins at 0 for every length. But a long
# answer has more tokens that can change, so its reward changes faster. The mean over tokens removes this effect.

# %%
def reward_after_a_step(n, average):
    """How far a reward moves if each of n tokens gains 0.01 nats."""
    gain = torch.full((n,), 0.01)
    return (gain.mean() if average else gain.sum()).item()


for average in (False, True):
    print("mean" if average else "sum ", [round(reward_after_a_step(n, average), 3) for n in (5, 50)])
assert reward_after_a_step(50, False) > 9 * reward_after_a_step(5, False)
assert abs(reward_after_a_step(50, True) - reward_after_a_step(5, True)) < 1e-6

# %% [markdown]
# ## 3. Label smoothing
# loss = −(1 − ε)·log σ(m) − ε·log σ(−m). Its derivative is σ(m) − (1 − ε), zero at m = ln((1 − ε)/ε): the model
# should be exactly that sure.

# %%
eps = 0.1
m = torch.tensor(0.0, requires_grad=True)
for _ in range(400):
    loss = -(1 - eps) * F.logsigmoid(m) - eps * F.logsigmoid(-m)
    m.grad = None
    loss.backward()
    with torch.no_grad():
        m -= 0.5 * m.grad
print(f"lowest at a margin of {m.item():.3f}; ln 9 = {math.log(9):.3f}")
assert abs(m.item() - math.log((1 - eps) / eps)) < 1e-2
