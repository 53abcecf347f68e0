# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: all-reduce by hand, in a ring

# %%
import tinygrad_llm as torch

torch.manual_seed(123)

# %% [markdown]
# ## 1. Any N
# Part i has the numbers from N·i/R to N·(i+1)/R, rounded down: no two parts differ by more than one number.

# %%
def ring(tensors):
    """All-reduce of one tensor per rank; (the results, how many numbers each rank sent)."""
    R, N = len(tensors), len(tensors[0])
    bounds = [N * i // R for i in range(R + 1)]
    parts = [[t[a:b].clone() for a, b in zip(bounds, bounds[1:])] for t in tensors]
    sent = [0] * R
    for first, add in ((0, True), (1, False)):
        for s in range(R - 1):
            messages = [((r + first - s) % R, parts[r][(r + first - s) % R].clone()) for r in range(R)]
            for r, (i, numbers) in enumerate(messages):
                after = (r + 1) % R
                parts[after][i] = parts[after][i] + numbers if add else numbers
                sent[r] += len(numbers)
    return [torch.cat(p) for p in parts], sent


tensors = [torch.randn(10) for _ in range(3)]
results, sent = ring(tensors)
print("10 numbers on 3 ranks, sent:", sent)
for result in results:
    assert torch.allclose(result, tensors[0] + tensors[1] + tensors[2], atol=1e-6)

# %% [markdown]
# ## 2. Doubling
# In step s each rank exchanges everything with the rank whose number differs in bit s. After log₂ R steps each
# has the sum of all. Each rank sends N·log₂ R numbers: more than the ring's 2·N from R = 8 on, but in few steps.

# %%
def doubling(tensors):
    R = len(tensors)
    now, sent, distance = [t.clone() for t in tensors], 0, 1
    while distance < R:
        now = [now[r] + now[r ^ distance] if r < r ^ distance else now[r ^ distance] + now[r] for r in range(R)]
        sent += len(tensors[0])
        distance *= 2
    return now, sent


tensors = [torch.randn(6) for _ in range(8)]
results, sent = doubling(tensors)
print("8 ranks, 6 numbers: each sends", sent, " in the ring", ring(tensors)[1][0])
for result in results:
    assert torch.equal(result, results[0])
    assert torch.allclose(result, ring(tensors)[0][0], atol=1e-5)

# %% [markdown]
# ## 3. Sums and counts, not means
# The mean over all examples is Σ n_r·mean_r / Σ n_r. So each rank multiplies its gradient by its number of
# examples, all add up gradients and numbers, and divide at the end. The mean of the means is another number.

# %%
batches = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0])]
total = sum(len(b) * b.mean() for b in batches) / sum(len(b) for b in batches)
of_means = sum(b.mean() for b in batches) / len(batches)
print(f"mean over all {total.item():.3f}, mean of means {of_means.item():.3f}")
assert total.item() == torch.cat(batches).mean().item() and of_means.item() != total.item()
