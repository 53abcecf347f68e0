# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: words or vectors

# %%
import math

# %% [markdown]
# ## 1. Three right texts
# One hit can hold one of three: recall@1 is at most 1/3. nDCG@3 is 1 exactly if the first three hits are the right ones,
# in any order.


# %%
def ndcg(hits, right, k):
    gain = sum(1 / math.log2(place + 1) for place, hit in enumerate(hits[:k], 1) if hit in right)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(right)) + 1))


right = {1, 2, 3}
print("recall@1", len({2} & right) / 3, " nDCG@3", ndcg([2, 3, 1], right, 3), round(ndcg([2, 9, 1], right, 3), 3))
assert ndcg([2, 3, 1], right, 3) == 1.0 and ndcg([2, 9, 1], right, 3) < 1

# %% [markdown]
# ## 2. The constant of the fusion
# With 0 a first place gives 1, and two second places give 1/2 + 1/2 = 1 as well: a first place in one list is enough for a
# tie, which the smaller id wins, and a third place in both would lose. With 60 the first place gives 1/61, two second
# places 2/62: nearly twice as much, so what both lists know wins.


# %%
def fused(constant, *lists):
    total = {}
    for hits in lists:
        for place, hit in enumerate(hits, 1):
            total[hit] = total.get(hit, 0.0) + 1 / (constant + place)
    return total


words, vectors = [4, 1, 2, 3], [5, 1, 6, 7]
for constant in (0, 60):
    print(constant, {hit: round(score, 4) for hit, score in fused(constant, words, vectors).items()})
assert fused(0, words, vectors)[1] == fused(0, words, vectors)[4] == 1.0
assert fused(60, words, vectors)[1] > 1.9 * fused(60, words, vectors)[4]

# %% [markdown]
# ## 3. Apples and oranges
# The cosine of the second text is nine times that of the first one; the sum still follows BM25 unless its gap is below the
# gap of the cosines. With scores of one word more, which are 3 or 4 apart, the vectors never win.

# %%
bm25, cosines = [12.1, 11.9], [0.1, 0.9]
near = [a + b for a, b in zip(bm25, cosines)]
far = [a + b for a, b in zip([12.1, 8.7], cosines)]
print("sums", near, far)
assert near[1] > near[0] and far[0] > far[1], "a word more in common outweighs any cosine"
