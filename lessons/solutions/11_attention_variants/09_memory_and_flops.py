# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: memory and operations
#
# ## 1. A memory against a cache
# Full attention keeps 2·T·32·128 numbers of 2 bytes, the memory is 32·128·128 numbers of 4 bytes: equal at
# T = 128, the channels of a head.

# %%
memory = 32 * 128 * 128 * 4
equal = memory / (2 * 32 * 128 * 2)
print(f"{memory:,} bytes, as many as the cache of {equal:.0f} tokens")
assert equal == 128

# %% [markdown]
# ## 2. Weights and operations of experts
# All 64 experts are stored, 4 are computed (and a router, which is small).

# %%
weights, operations = 64, 4
print(f"{weights} times the weights, {operations} times the operations")
assert weights / operations == 16

# %% [markdown]
# ## 3. Days of training
# Operations per token by convention are those of a text divided by its 1,024 tokens.

# %%
per_token = 874_944_921_600 / 1024
days = 10e9 * per_token / (100e12 * 0.4) / 86_400
print(f"{per_token:,.0f} operations per token, {days:.1f} days")
assert 2.4 < days < 2.5
