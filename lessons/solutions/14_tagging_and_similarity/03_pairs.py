# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: pairs
#
# ## 1. A constant model looks good
# Places in order give equal numbers the ranks 1, 2, 3 …: if the pairs happen to be sorted, a model that always says the
# same gets 1. With shared ranks its variance is 0, and the correlation is not defined: NaN.

# %%
import math

import numpy as np

from tinygrad_llm.evaluation import pearson, ranks, spearman

people, constant = [0.0, 1.0, 2.5, 4.0, 5.0], [0.7] * 5
in_order = np.argsort(np.argsort(constant, kind="stable"), kind="stable") + 1
print("places in order:", in_order.tolist(), " correlation", round(pearson(in_order, ranks(people)), 3))
print("shared ranks:", ranks(constant).tolist(), " correlation", spearman(constant, people))
assert pearson(in_order, ranks(people)) > 0.999 and math.isnan(spearman(constant, people))

# %% [markdown]
# ## 2. Only differences count
# exp(s + c)/Σ exp(s + c): the factor eᶜ cancels. A question whose five answers are all strange gives no reason to say
# "none": one must be chosen. Five sigmoids are each pushed to 0 or 1 alone, and a hard question pushes all down.

# %%
scores = np.array([1.0, -0.5, 3.0, 0.2, 0.0])


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


once, less = softmax(scores), softmax(scores - 2.0)
print("softmax:", once.round(3), " and 2 less:", less.round(3))
sigmoid = 1.0 / (1.0 + np.exp(-scores)), 1.0 / (1.0 + np.exp(-(scores - 2.0)))
print("sigmoid:", sigmoid[0].round(3), " and 2 less:", sigmoid[1].round(3))
assert np.allclose(once, less) and abs(once.sum() - 1) < 1e-12 and not np.allclose(*sigmoid)

# %% [markdown]
# ## 3. Groups stay together
# 300 sentences in 400 pairs: at random nearly every test pair has a sentence that training has seen. By groups none has;
# the groups must be small enough (here pairs join neighbours only).

# %%
from tinygrad_llm.finetune.splits import group_split, random_split

rng = np.random.default_rng(0)
pairs = [(f"s{i}", f"s{i + 1}") for i in range(300) if i % 5 < 4]  # groups of five sentences


def seen_before(parts):
    known = {text for pair in parts[0] for text in pair}
    return sum(a in known or b in known for a, b in parts[2]) / len(parts[2])


at_random = seen_before(random_split(pairs, 0.7, 0.1, seed=1))
by_groups = seen_before(group_split(pairs, lambda pair: pair, 0.7, 0.1, seed=1))
print(f"test pairs with a sentence of training: {at_random:.0%} at random, {by_groups:.0%} by groups")
assert at_random > 0.7 and by_groups == 0.0
