# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: sliding windows
#
# ## 1. How far back
# 15·511 = 7,665 tokens, but thinly: something from far away has to pass through 15 blocks, and each mixes it
# with 511 others. A full block looks it up directly.

# %%
import tinygrad_llm as tl
import tinygrad_llm.nn.functional as F

far = 15 * (512 - 1)
print(f"at most {far:,} tokens back; of an average over 512, passed on twice, {1 / 512**2:.0e} is left")
assert far == 7665

# %% [markdown]
# ## 2. Scores
# The first w tokens see 1, 2, … w, and each other sees w: w·T − w·(w − 1)/2 in all.

# %%
def scores(T, w):
    return w * T - w * (w - 1) // 2


assert scores(16, 4) == sum(min(t + 1, 4) for t in range(16))
T = next(T for T in range(512, 100_000) if scores(T, 512) <= (T * (T + 1) // 2) / 10)
print(f"a tenth from T = {T:,} on")
assert 9_000 < T < 11_000

# %% [markdown]
# ## 3. The factor √C
# The norm before attention removes it, but the shortcut does not: x + f(norm(x)). What the blocks add has
# a size of about 1 per channel (there is a norm after them too), so an embedding that is √C times
# larger keeps its weight in the sum. In the gradient: the embedding's is √C times larger.

# %%
tl.manual_seed(1)
C, f = 64, tl.randn(64)
sizes, gradients = {}, {}
for factor in (1.0, C**0.5):
    e = tl.randn(C, generator=tl.Generator().manual_seed(2)) * 0.02
    e.requires_grad_()
    x = e * factor
    y = x + F.rms_norm(f, (C,))  # what a block adds, after its norm
    sizes[factor] = F.cosine_similarity(x, y, dim=0).item()
    (y * f).sum().backward()
    gradients[factor] = e.grad.norm().item()
    print(f"factor {factor:.0f}: share of the embedding in the sum (cosine) {sizes[factor]:+.2f}, |gradient| {gradients[factor]:.0f}")
assert abs(gradients[C**0.5] / gradients[1.0] - 8) < 1e-4
assert sizes[C**0.5] > sizes[1.0]
