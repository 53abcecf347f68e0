# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: attention without trained weights
#
# ## 1. Why not just divide by the sum?
# Negative scores become negative weights, and a sum near 0 makes them huge. The exponential is always
# positive, and it is larger for larger scores.

# %%
import tinygrad_llm as torch

scores = torch.tensor([1.0, -2.0, 0.5])
print("divided by the sum:", scores / scores.sum(), "  softmax:", torch.softmax(scores, dim=0))
assert (scores / scores.sum() < 0).any() and (torch.softmax(scores, dim=0) > 0).all()
assert (scores / scores.sum()).argmax() == 1  # the smallest score gets the largest weight!

# %% [markdown]
# ## 2. A constant
# exp(s + 100)/Σ exp(s + 100) = e¹⁰⁰·exp(s)/(e¹⁰⁰·Σ exp(s)): the factor cancels. So the largest score
# may be subtracted first, and nothing overflows.

# %%
assert torch.allclose(torch.softmax(scores + 100, dim=0), torch.softmax(scores, dim=0), atol=1e-5)
overflow = torch.exp(scores + 100)
print("without subtracting:", (overflow / overflow.sum()).tolist(), " softmax:", torch.softmax(scores + 100, dim=0))
assert overflow.isinf().any()  # e¹⁰¹ is more than float32 can hold

# %% [markdown]
# ## 3. The other sentence

# %%
x = torch.tensor([[0.9, 0.8, 0.0], [0.0, 0.1, 0.3], [0.0, 0.0, 0.4], [0.3, 0.1, 0.1], [1.1, 0.1, 0.9]])
sport = x.clone()
sport[4] = torch.tensor([0.0, 1.2, 0.3])
for name, vectors in (("cage", x), ("ball", sport)):
    bat = torch.softmax(vectors[0] @ vectors.T, dim=-1) @ vectors  # (5) @ (5, 3) -> (3)
    print(f"with {name}: animal {bat[0].item():.3f}, tool {bat[1].item():.3f}")
assert bat[1] > bat[0]
