# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: sentence embeddings
#
# ## 1. The floor depends on the temperature
# Four unit vectors can be at cosine −1/3 of each other (a tetrahedron), not further. The loss is then
# log(1 + 3·exp((−1/3 − 1)/τ)).

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
a = corners / corners.norm(dim=1, keepdim=True)
floors = {}
for tau in (0.05, 1.0):
    floors[tau] = F.cross_entropy(a @ a.T / tau, torch.arange(4)).item()
    print(f"temperature {tau}: smallest loss {floors[tau]:.6f}")
    assert abs(floors[tau] - math.log(1 + 3 * math.exp((-1 / 3 - 1) / tau))) < 1e-5
assert floors[0.05] < 1e-6 < 0.5 < floors[1.0]

# %% [markdown]
# With τ = 0.05 the loss is near zero as soon as partners are a little nearer than all others. Whether similar sentences
# are near each other is not asked: only the test on scored pairs says that.
#
# ## 2. A negative is only pushed
# ∂L/∂s = (P − [partner])/B. A column of a hard negative is nobody's partner: its sum is Σᵢ Pᵢⱼ/B ≥ 0.

# %%
torch.manual_seed(0)
scores = torch.randn(3, 6, requires_grad=True)  # 3 pairs and 3 negatives
(gradient,) = torch.autograd.grad(F.cross_entropy(scores, torch.arange(3)), scores)
P = torch.softmax(scores, dim=1)
print("gradient of the negatives' columns:", [round(v, 4) for v in gradient[:, 3:].sum(0).tolist()])
assert torch.allclose(gradient[:, 3:].sum(0), P[:, 3:].sum(0) / 3, atol=1e-6)
assert (gradient[:, 3:] > 0).all() and (torch.diagonal(gradient) < 0).all()

# %% [markdown]
# ## 3. A lower loss and worse angles
# A product of two vectors is large if they are long, at any angle. Without the normalisation the loss comes near zero
# while the angles have hardly moved; with it only the angles can help.

# %%
torch.manual_seed(1)
start = torch.randn(4, 6), torch.randn(4, 6)
losses, quality = {}, {}
for normalised in (True, False):
    x, y = (v.clone().requires_grad_() for v in start)
    for _ in range(200):
        both = [F.normalize(v, dim=1) if normalised else v for v in (x, y)]
        loss = F.cross_entropy(both[0] @ both[1].T / 0.5, torch.arange(4))
        for v, g in zip((x, y), torch.autograd.grad(loss, (x, y))):
            v.data = v.data - 0.5 * g
    losses[normalised] = loss.item()
    quality[normalised] = torch.diagonal(F.normalize(x, dim=1) @ F.normalize(y, dim=1).T).mean().item()
    print(f"normalised {normalised}: loss {losses[normalised]:.4f}, cosine of partners {quality[normalised]:.2f}")
assert losses[False] < losses[True] and quality[True] > quality[False] + 0.2
