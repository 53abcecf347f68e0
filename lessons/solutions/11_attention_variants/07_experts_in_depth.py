# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: experts in depth
#
# ## 1. A token would depend on its neighbours
# With a capacity, whether a token is dropped depends on how many others chose its expert. In a batch of 8 tokens the
# last may be dropped; alone, with a cache, it never is: the two would return different texts.

# %%
import tinygrad_llm as torch

chosen = [0] * 8  # every token wants expert 0 of 4
room = -(-1 * 8 // 4)  # capacity factor 1: two tokens
together = [n < room for n in range(8)]
alone = [n < -(-1 * 1 // 4) for n in range(1)]
print("kept in the batch:", together, " the last token alone:", alone)
assert not together[-1] and alone[0]

# %% [markdown]
# ## 2. The same weights
# exp(s_i)/Z divided by Σ exp(s_j)/Z: the sum Z over all experts cancels.

# %%
torch.manual_seed(0)
scores = torch.randn(5, 6)
best, which = torch.topk(scores, 2, dim=1)
p = torch.softmax(scores, dim=1)
of_all = torch.gather(p, 1, which)
of_all = of_all / of_all.sum(1, keepdim=True)
print("largest difference:", (torch.softmax(best, dim=1) - of_all).abs().max().item())
assert torch.allclose(torch.softmax(best, dim=1), of_all, atol=1e-6)

# %% [markdown]
# ## 3. A count is a step function
# A count changes by jumps: its derivative is 0 almost everywhere, so only P can carry a gradient. E·ΣP² is least
# where all P are equal, 1/E, and there it is 1. But P may be equal while the *choices* are not: f says who is busy.

# %%
E = 6
logits = torch.randn(E).requires_grad_()
for _ in range(1000):
    P = torch.softmax(logits, dim=0)  # (E)
    (gradient,) = torch.autograd.grad(E * (P * P).sum(), logits)
    logits = (logits - 0.5 * gradient).detach().requires_grad_()
P = torch.softmax(logits, dim=0)
print("P at the minimum:", [round(v, 3) for v in P.tolist()], " loss", round((E * (P * P).sum()).item(), 4))
assert torch.allclose(P, torch.full((E,), 1 / E), atol=1e-3)
uneven = torch.tensor([[0.51, 0.49]] * 5 + [[0.45, 0.55]])  # nearly equal means, but five of six choose the first
assert torch.allclose(uneven.mean(0), torch.tensor([0.5, 0.5]), atol=1e-5)
assert int((uneven.argmax(1) == 0).sum()) == 5
