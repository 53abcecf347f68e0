# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: scores of texts
#
# ## 1. BLEU is not a mean
# The counts are added: 6 of 9 words match, 5 of 7 pairs, 4 of 5 triples, 3 of 3 quadruples (the second text has
# none). The root of these shares is much more than one half, and the brevity penalty lowers it: 9 words for 12.

# %%
import math

from tinygrad_llm.evaluation import corpus_bleu

both = corpus_bleu(["the cat sat on the mat", "a dog ran"], ["the cat sat on the mat"] * 2)
print(both)
shares = [6 / 9, 5 / 7, 4 / 5, 3 / 3]
by_hand = 100 * math.exp(1 - 12 / 9) * math.exp(sum(map(math.log, shares)) / 4)
assert abs(both.score - by_hand) < 1e-9 and both.score != 50

# %% [markdown]
# ## 2. Long summaries
# Recall divides by the reference: more words can only add matches. Precision divides by what was written and falls.
# F1 is high only if both are.

# %%
from tinygrad_llm.evaluation import rouge

reference = "a bridge was opened in arden"
short = "a bridge was opened"
long = "on monday the mayor said that a bridge was opened in arden while many people stood in the rain"
for text in (short, long):
    score = rouge([text], [reference])["rouge1"]
    print(f"precision {score.precision[0]:.2f}  recall {score.recall[0]:.2f}  F1 {score.f1[0]:.2f}")
scores = rouge([short, long], [reference] * 2)["rouge1"]
assert scores.recall[1] == 1.0 > scores.recall[0] and scores.precision[1] < scores.precision[0] == 1.0
assert scores.f1[0] > scores.f1[1]

# %% [markdown]
# ## 3. A token that all references have
# n = N: log((N + 1)/(N + 1)) = 0, it weighs nothing. [CLS] and [SEP] are in every text, so idf removes them.

# %%
N = 500


def weight(n):
    return math.log((N + 1) / (n + 1))


print(f"in all: {weight(N):.1f}, in half: {weight(N / 2):.2f}, in none: {weight(0):.2f}")
assert weight(N) == 0.0 < weight(N / 2) < weight(0) and abs(weight(0) - math.log(501)) < 1e-12
