# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: positions
#
# ## 1. The matrix of a shift
# sin(a + b) = sin a·cos b + cos a·sin b, and cos(a + b) = cos a·cos b − sin a·sin b. With b = n·ω this is a
# matrix that does not know t.

# %%
import math

import tinygrad_llm as torch

omega, t, n = 0.3, 3, 4
before = torch.tensor([math.sin(t * omega), math.cos(t * omega)])  # (2)
turn = torch.tensor([[math.cos(n * omega), math.sin(n * omega)], [-math.sin(n * omega), math.cos(n * omega)]])
after = turn @ before  # (2, 2) @ (2) -> (2)
print("turned:", " ".join(f"{v:.4f}" for v in after.tolist()))
assert abs(after[0].item() - math.sin((t + n) * omega)) < 1e-6
assert abs(after[1].item() - math.cos((t + n) * omega)) < 1e-6

# %% [markdown]
# ## 2. How far a head sees
# The weight is multiplied by exp(−m·d): less than 1/1000 from d = ln(1000)/m on.

# %%
reach = {m: math.ceil(math.log(1000) / m) for m in (1 / 2, 1 / 256)}
print("tokens until the weight is below 1/1000:", ", ".join(f"m = 1/{1 / m:.0f}: {d}" for m, d in reach.items()))
assert reach == {1 / 2: 14, 1 / 256: 1769}

# %% [markdown]
# ## 3. Numbers that are stored
# Only the learned table grows with the context: it is 0.6 % of GPT-2 at 1,024 tokens.

# %%
numbers = {T: {"learned": T * 768, "t5": 32 * 12, "sinusoidal, rotary, alibi, none": 0} for T in (1024, 100_000)}
for T, kinds in numbers.items():
    print(f"{T:7,} tokens:", ", ".join(f"{kind}: {n:,}" for kind, n in kinds.items()))
assert numbers[1024]["learned"] == 786_432 and numbers[100_000]["learned"] == 76_800_000
