# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: decoding

# %%
import time

import tinygrad_llm as tl
from tinygrad_llm.generation import generate, top_p_filter
from tinygrad_llm.models import GPT

tl.manual_seed(123)
model = GPT(dict(vocab_size=200, context_length=64, emb_dim=64, n_heads=4, n_layers=4, drop_rate=0.0))
with tl.no_grad():
    model.tok_emb.weight.mul_(3.0)  # an untrained model that is more sure of its choice
prompt = [1, 2, 3]

# %% [markdown]
# ## 1. Nothing random
# Temperature 0, or only one token to sample from: top_k = 1, or a p so small that one token reaches it.

# %%
def different(**options):
    """How many different texts come from ten seeds."""
    return len({tuple(generate(model, prompt, 20, seed=s, **options).tolist()) for s in range(10)})


for options in (dict(), dict(temperature=1.0, top_k=1), dict(temperature=1.0, top_p=1e-6), dict(temperature=1.0)):
    print(f"{different(**options):3} texts with {options or 'greedy'}")
assert different() == different(temperature=1.0, top_k=1) == different(temperature=1.0, top_p=1e-6) == 1
assert different(temperature=1.0) > 5

# %% [markdown]
# ## 2. Min-p
# p ≥ m·p_max is, in logits, x ≥ x_max + ln m. No sorting is needed.

# %%
def min_p_filter(logits, m):
    largest = logits.max(dim=-1, keepdim=True).values  # (B, 1)
    threshold = largest + tl.log(tl.tensor(m))  # (B, 1)
    return logits.masked_fill(logits < threshold, float("-inf"))


def kept(filtered):
    return int(tl.isfinite(filtered).sum())


flat = tl.zeros(1, 1000)  # all tokens equal
peak = tl.zeros(1, 1000)
peak[0, 0] = 6.0  # one token with p = 0.29, and a long tail of 0.0007 each
for name, row in (("flat", flat), ("peak and tail", peak)):
    print(f"{name:14} min-p 0.1 keeps {kept(min_p_filter(row, 0.1))}, top-p 0.9 keeps {kept(top_p_filter(row, 0.9))}")
p = tl.softmax(peak, dim=-1)
assert tl.equal(tl.isfinite(min_p_filter(peak, 0.1)), p >= 0.1 * p.max())
assert kept(min_p_filter(flat, 0.1)) > kept(top_p_filter(flat, 0.9))
assert kept(min_p_filter(peak, 0.1)) < kept(top_p_filter(peak, 0.9))

# %% [markdown]
# With all tokens equal min-p keeps every one, top-p nine tenths. With a peak and a long tail top-p has
# to fill up from the tail; min-p leaves the tail out.
#
# ## 3. Without the cache
# The same tokens. Each step without the cache computes all tokens again instead of one.

# %%
results = {}
for use_cache in (True, False):
    generate(model, prompt, 5, use_cache=use_cache)  # warm up
    began = time.perf_counter()
    ids = [generate(model, prompt, 25, use_cache=use_cache).tolist() for _ in range(4)]
    results[use_cache] = (time.perf_counter() - began) / 4, ids[0]
print(f"with the cache {1e3 * results[True][0]:.1f} ms, without {1e3 * results[False][0]:.1f} ms for 25 tokens")
with_cache, without = results[True][1], results[False][1]
assert with_cache == without
