# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Chance, pairs, and what was seen before
#
# **Question.** A model scores 62 of 100, and after a change 66 of the same 100. Is it better? And a third model scores 90:
# what must be excluded before anybody believes that?
#
# **For example.** 62 of 100 are right. With 100 other questions of the same kind it may be 58 or 67; how far
# it may be is what an interval says.
#
# **Predict first.** How wide is the 95 % interval of a score of 62 % on 100 questions: ±1, ±3 or ±10 points?
#
# **You need.** Lesson 2.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: the bootstrap
# The questions are a sample. Draw 100 of these 100 with repetition, compute the score, and do that 2,000 times: the middle
# 95 % of the scores are the interval. For a share p it is close to ±1.96·√(p(1 − p)/N).

# %%
N = 100
hard = torch.rand(N)  # how hard each question is: the same for both models
before = (hard + 0.2 * torch.randn(N) < 0.60).float()  # shape (N,)
after = (hard + 0.2 * torch.randn(N) < 0.68).float()
draws = torch.randint(0, N, (2000, N))  # shape (2000, N)


def interval(scores):
    """The middle 95 % of the drawn means."""
    ordered = scores[draws].mean(1).sort().values  # shape (2000,)
    return ordered[50].item(), ordered[1949].item()


p = before.mean().item()
low, high = interval(before)
half = 1.96 * math.sqrt(p * (1 - p) / N)
print(f"before {p:.2f} [{low:.2f}, {high:.2f}], by the formula ±{half:.3f}; after {after.mean().item():.2f}")
assert abs((high - low) / 2 - half) < 0.02, "about ten points to each side"

# %% [markdown]
# ## By hand: pairs
# Two intervals that overlap do not say that there is no difference. Both models answered the *same* questions, and what makes
# a question hard is common to both: so draw the questions once for both, and look at the difference.

# %%
difference = after - before  # shape (N,): 1, 0 or -1
paired = interval(difference)
unpaired = after[torch.randint(0, N, (2000, N))].mean(1) - before[draws].mean(1)
ordered = unpaired.sort().values
apart = ordered[50].item(), ordered[1949].item()
print(f"difference {difference.mean().item():+.2f}, paired [{paired[0]:+.2f}, {paired[1]:+.2f}], apart [{apart[0]:+.2f}, {apart[1]:+.2f}]")
assert paired[1] - paired[0] < apart[1] - apart[0], "the paired interval is narrower"
gained, lost = (difference > 0).sum().item(), (difference < 0).sum().item()
print(f"it gained {gained} questions and lost {lost}; the other {N - gained - lost} say nothing about the change")

# %% [markdown]
# ## By hand: what was seen before
# A "model" that only looks up: it answers with the label of the most similar text of its training set, and labels are drawn
# by chance, so nothing can be learned. 30 % of the test questions stand in the training set with one word changed.

# %%
words = "red blue old new big small fast slow hot cold long short".split()
things = "car house tree dog river stone cloud boat lamp chair book door".split()


def texts(n):
    picked = torch.randint(0, 12, (n, 6)).tolist()
    return [f"{words[a]} {things[b]} is near {words[c]} {things[d]} and {words[e]} {things[f]}" for a, b, c, d, e, f in picked]


train, test = texts(200), texts(100)
labels = torch.randint(0, 2, (200,)).tolist()
truth = torch.randint(0, 2, (100,)).tolist()
for i in range(30):  # a leak: the same question with "at" for "near"
    test[i], truth[i] = train[i].replace("is near", "is at"), labels[i]


def runs(text, n=3):
    return {text[i : i + n] for i in range(len(text) - n + 1)}


def similarity(a, b):
    """Jaccard: common runs of three characters per all of them."""
    return len(a & b) / len(a | b)


known = [runs(text) for text in train]
nearest = []
for text in test:
    own = runs(text)
    scores = [similarity(own, other) for other in known]
    nearest.append((max(scores), labels[scores.index(max(scores))]))
hits = torch.tensor([float(answer == right) for (_, answer), right in zip(nearest, truth)])  # shape (100,)
print(f"it looks up: {hits.mean().item():.2f} right, {hits[:30].mean().item():.2f} of the leaked, {hits[30:].mean().item():.2f} of the others")
assert hits[:30].mean() > 0.8 and abs(hits[30:].mean().item() - 0.5) < 0.15

# %% [markdown]
# ## With the package
# `near_duplicates` compares texts by the cosine of their runs of characters, where rare runs weigh more. What is left without
# the near ones is what the model can do with questions that it has not seen.

# %% tags=["package"]
import numpy as np

from tinygrad_llm.evaluation import bootstrap, paired_difference
from tinygrad_llm.evaluation.duplicates import near_duplicates

print("before", bootstrap(before.numpy()), " after", bootstrap(after.numpy()), " difference", paired_difference(after.numpy(), before.numpy()))
pairs = near_duplicates([*train, *test], 0.85)
leaked = {pair.second - 200 for pair in pairs if pair.first < 200 <= pair.second}
clean = [i for i in range(100) if i not in leaked]
n_leaked = len(leaked & set(range(30)))
print(f"{n_leaked} of the 30 are found, {len(leaked) - n_leaked} others too; without them {bootstrap(hits.numpy()[clean])}")
assert n_leaked >= 28
assert 0.5 in bootstrap(hits.numpy()[clean]), "nothing was learned"

# %% [markdown]
# **Answer.** 62 and 66 of 100: the interval of each is about ±10 points, and only the paired difference can say more. And 90
# means nothing until the training data has been searched for the questions.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
paired_draws = difference[draws].mean(1).numpy()
axes[0].hist(paired_draws, bins=np.arange(-0.305, 0.4, 0.02), alpha=0.6, label="the same questions for both")
axes[0].hist(unpaired.numpy(), bins=np.arange(-0.305, 0.4, 0.02), alpha=0.6, label="drawn apart")
axes[0].axvline(0, color="k", ls="--"), axes[0].set_xlabel("difference of the scores"), axes[0].legend()
shown = {"all": hits.numpy(), "leaked": hits.numpy()[sorted(leaked)], "without them": hits.numpy()[clean]}
for i, (name, values) in enumerate(shown.items()):
    one = bootstrap(values)
    axes[1].bar(i, one.value)
    axes[1].plot([i, i], [one.low, one.high], "k-")
axes[1].axhline(0.5, color="gray", ls="--"), axes[1].set_xticks(range(3)), axes[1].set_xticklabels(shown)
axes[1].set_ylabel("right, by looking up")
figure.tight_layout()
save_plot(figure, "04_chance_and_duplicates")

# %% [markdown]
# ## Exercises
# 1. How many questions are needed until the 95 % interval of a score of 60 % is ±1 point? And of 95 %?
# 2. One model gains 12 questions and loses 8. The sign test asks how likely 12 or more of 20 are by tossing a coin. Compute
#    it; what does it say?
# 3. Twenty models that are all the same are tested, and the best one is published with its interval. How far above the true
#    score is it on average? Draw it for p = 0.6 and N = 100.
#
# Solutions: `lessons/solutions/18_evaluation/04_chance_and_duplicates.py`
