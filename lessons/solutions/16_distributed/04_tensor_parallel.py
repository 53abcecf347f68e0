# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: tensor parallel

# %%
import tinygrad_llm as torch
from tinygrad_llm import nn

torch.manual_seed(123)
R, N, C, F = 2, 5, 8, 32
x = torch.randn(N, C)
A, B, bias = torch.randn(C, F) / C**0.5, torch.randn(F, C) / F**0.5, torch.randn(C)
gelu = nn.functional.gelu
expected = gelu(x @ A) @ B

# %% [markdown]
# ## 1. Rows first
# A by rows needs the channels of x divided, and x·A is a sum: GELU of a sum is not the sum of GELUs, so the ranks must
# add up before GELU, F numbers per token. After it every rank has all of the hidden channels; B by columns gives each
# rank some outputs, which an all-gather joins. Two exchanges in place of one, and the first is F/C times as large.

# %%
before_gelu = sum(x.chunk(R, 1)[r] @ A.chunk(R, 0)[r] for r in range(R))  # a sum over the ranks, (N, F)
y = torch.cat([gelu(before_gelu) @ B.chunk(R, 1)[r] for r in range(R)], 1)  # and an all-gather
wrong = sum(gelu(x.chunk(R, 1)[r] @ A.chunk(R, 0)[r]) for r in range(R))
print("GELU before the sum is off by", (wrong - gelu(x @ A)).abs().max().item())
assert torch.allclose(y, expected, atol=1e-5) and not torch.allclose(wrong, gelu(x @ A), atol=0.1)

# %% [markdown]
# ## 2. The bias
# After the sum. Added before it on every rank, it is added R times.

# %%
partial = [gelu(x @ A.chunk(R, 1)[r]) @ B.chunk(R, 0)[r] for r in range(R)]
after = sum(partial) + bias
before = sum(p + bias for p in partial)
print("added on every rank:", ((before - after) / bias).mean().item(), "times too often")
assert torch.allclose(after, expected + bias, atol=1e-5) and torch.allclose(before, expected + R * bias, atol=1e-5)

# %% [markdown]
# ## 3. The loss of divided logits
# Three numbers per token instead of V: the largest logit (a maximum over the ranks), Σ exp(logit − largest) and the
# target's logit, which one rank has and the others count as 0 (sums over the ranks).

# %%
V = 12
logits, targets = torch.randn(N, V), torch.randint(0, V, (N,))
parts = logits.chunk(R, 1)
largest = torch.stack([p.max(1).values for p in parts]).max(0).values  # (R, N) -> (N,)
sums = sum((p - largest[:, None]).exp().sum(1) for p in parts)  # (N,)
own = torch.zeros(N)
for r, p in enumerate(parts):
    ids = targets - r * (V // R)
    here = (ids >= 0) & (ids < V // R)
    logit = p.gather(1, ids.clamp(0, V // R - 1)[:, None])[:, 0]
    own = own + torch.where(here, logit, torch.zeros(N))
loss = (sums.log() + largest - own).mean()
print("loss of divided logits:", loss.item())
assert torch.allclose(loss, nn.functional.cross_entropy(logits, targets), atol=1e-6)
