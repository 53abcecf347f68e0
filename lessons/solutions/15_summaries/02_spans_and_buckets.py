# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: spans and buckets
#
# ## 1. Half of the text hidden
# 500 tokens in 100 holes: the input has 500 + 100 + 1 tokens, the target as many. The decoder writes 601 tokens
# instead of 150 + 50 + 1.

# %%
from tinygrad_llm.data.spans import corrupt_spans, span_lengths, uncorrupt

half = span_lengths(1000, 0.5, 5.0)
usual = span_lengths(1000)
print(half, usual, f"the decoder writes {half.target / usual.target:.1f} times as much")
assert (half.input, half.target) == (601, 601) and usual.target == 201

# %% [markdown]
# ## 2. The last sentinel
# A hole at the end is followed by nothing, and the end token says so. Where the text goes on, the last sentinel says
# that the last hole is full; without it only the end token does. Both can be undone.

# %%
at_end = corrupt_spans([1, 2, 3], [False, False, True], [100, 101])
inside = corrupt_spans([1, 2, 3], [False, True, False], [100, 101])
print(at_end, inside)
assert at_end.target == [100, 3] and inside.target == [100, 2, 101]
assert uncorrupt(*at_end, [100, 101]) == uncorrupt(*inside, [100, 101]) == [1, 2, 3]

# %% [markdown]
# ## 3. Neighbours of −20
# The ranges grow: 8 to 11, 12 to 15, 16 to 22, ...

# %%
import tinygrad_llm as tl
from tinygrad_llm.layers.positions import RelativeBias

buckets = RelativeBias(8, bidirectional=True).buckets(tl.arange(300), tl.arange(300))[299]  # (300): −299 ... 0
same = [j - 299 for j in range(300) if buckets[j].item() == buckets[299 - 20].item()]
print(f"from {same[0]} to {same[-1]}")
assert -20 in same and same == list(range(same[0], same[-1] + 1)) and len(same) > 4
