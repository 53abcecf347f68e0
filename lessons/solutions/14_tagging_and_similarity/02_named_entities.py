# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: named entities
#
# ## 1. Nearly all tags, and no entity
# Twenty-five characters, one entity of three, whose first character is missed.

# %%
import numpy as np

from tinygrad_llm.data.bio import Entity, bio_labels, bio_rules, from_bio
from tinygrad_llm.evaluation import entity_report, tag_report
from tinygrad_llm.layers.crf import Allowed, viterbi

true = ["O"] * 22 + ["B-x", "I-x", "I-x"]
predicted = ["O"] * 23 + ["I-x", "I-x"]
right = sum(a == b for a, b in zip(true, predicted)) / len(true)
print(f"tags {right:.0%}, F1 {tag_report([true], [predicted]).f1}")
assert right == 0.96 and tag_report([true], [predicted]).f1 == 0.0

# %% [markdown]
# ## 2. The rules change more than one tag
# The second token prefers I-x. Alone it stands after O; with the rules the first token becomes B-x, because that costs
# less than to give up I-x.

# %%
labels = bio_labels(["x"])  # O, B-x, I-x
scores = np.array([[[1.0, 0.8, 0.0], [0.0, 0.5, 2.0]]], np.float32)  # (1, T, K)
alone = [labels[k] for k in scores[0].argmax(-1)]
none = np.zeros(3, np.float32)
best = [labels[k] for k in viterbi(scores, np.zeros((3, 3)), none, none, None, Allowed(*bio_rules(labels)))[0]]
print(alone, best)
assert alone == ["O", "I-x"] and best == ["B-x", "I-x"]
assert from_bio(best, strict=True) == [Entity(0, 2, "x")]

# %% [markdown]
# ## 3. Below
# The mean counts every type the same, so a rare type that is hard weighs as much as a frequent one that is easy.

# %%
often = [Entity(i, i + 1, "often") for i in range(9)]
rare = Entity(20, 21, "rare")
report = entity_report([[*often, rare]], [often])
print(f"all {report.f1:.3f}, mean of the types {report.macro.f1:.3f}")
assert report.macro.f1 == 0.5 < report.f1
