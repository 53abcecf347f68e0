# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: ZeRO in three stages

# %%
import tinygrad_llm as torch

torch.manual_seed(123)
R, P = 3, 20
g = torch.randn(P)
parts = [g[P * r // R : P * (r + 1) // R] for r in range(R)]

# %% [markdown]
# ## 1. A norm over parts
# One number each: the sum of squares of the own part. The square root is taken of the sum over the ranks. The sum of
# the parts' norms would be another number.

# %%
squares = [(part * part).sum() for part in parts]
norm = sum(squares).sqrt()
print("global norm", norm.item(), " sum of the parts' norms", sum(part.norm() for part in parts).item())
assert torch.allclose(norm, g.norm()) and sum(part.norm() for part in parts) > 1.2 * norm

# %% [markdown]
# ## 2. Whole at the same time
# Stored are L·n/R numbers per rank. A unit is whole while it computes: one layer is n numbers, the model L·n.

# %%
def numbers_per_rank(L, n, R, one_unit):
    return L * n / R + (L * n if one_unit else n)


L, n = 32, 200
for ranks in (1, 8, 64):
    layers, model = (numbers_per_rank(L, n, ranks, one) for one in (False, True))
    print(f"{ranks} ranks: {layers:.0f} with a unit per layer, {model:.0f} with one unit, {L * n} undivided")
assert numbers_per_rank(L, n, 64, False) < 0.05 * L * n < L * n < numbers_per_rank(L, n, 64, True)

# %% [markdown]
# ## 3. Not thrown away
# The all-gather of the backward pass is left out: (R − 1)·P numbers of 3·(R − 1)·P, a third. But at the end of the
# forward pass all weights are whole on every rank: as much memory for weights as in stage 2.

# %%
sent = {"thrown away": 3 * (R - 1) * P, "kept": 2 * (R - 1) * P}
print("numbers sent per step:", sent)
assert sent["kept"] * 3 == sent["thrown away"] * 2
