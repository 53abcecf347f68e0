# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Cleaning a corpus: what a model should not read twice
#
# **Question.** Collected texts repeat each other: copies, new editions, the same licence in every file. How are texts found
# that are *nearly* equal, among millions, without comparing each with each?
#
# **For example.** {a, b, c} and {b, c, d} have 2 in common of 4: a similarity of 0.5. The smallest hash of
# both sets is the same in half of all cases.
#
# **Predict first.** Two texts share 80 % of their runs of five words. You keep only 128 numbers of each text. How precisely
# can you say how similar they are? And how often would you find such a pair?
#
# **You need.** Python, and sets.

# %%
import math
import random

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
draw = random.Random(1)

# %% [markdown]
# ## By hand: how similar two texts are
# A text is the set of its shingles, runs of 5 words. The Jaccard similarity of two sets is the share that both have:
#
#     J(A, B) = |A ∩ B| / |A ∪ B|
#
# One changed word is in 5 shingles, so it costs 10 of them: 5 that only A has, 5 that only B has.

# %%
def shingles(text, n=5):
    words = text.lower().split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def jaccard(a, b):
    return len(a & b) / len(a | b)


vocabulary = [f"word{i}" for i in range(2000)]
original = [draw.choice(vocabulary) for _ in range(104)]  # 100 shingles
changed = list(original)
changed[50] = "another"
A, B = shingles(" ".join(original)), shingles(" ".join(changed))
print(f"{len(A)} shingles, one word changed: J = {jaccard(A, B):.3f}")
assert len(A) == 100 and jaccard(A, B) == 95 / 105

# %% [markdown]
# ## By hand: MinHash
# A hash function puts all shingles into a random order. Look at the union A ∪ B: its first shingle in that order is equally
# likely to be any of them. The minima of A and of B are equal exactly if that first one is in both sets. So
#
#     P(min h(A) = min h(B)) = J(A, B)
#
# K functions are K draws: the share of equal minima is an estimate with the standard error √(J(1 − J)/K).
# Here a hash function is h(s) = (a·s + b) mod p, with random a and b, for shingles s that are numbers.

# %%
K, p = 128, (1 << 31) - 1
a = torch.randint(1, 1 << 31, (K, 1))  # shape (K, 1)
b = torch.randint(0, 1 << 31, (K, 1))
number = {}  # each shingle's own number below p


def signature(own):
    s = torch.tensor([number.setdefault(x, draw.randrange(p)) for x in sorted(own)])  # shape (n,)
    return ((a * s + b) % p).min(dim=1).values  # shape (K,): a·s needs 62 bits


def edited(words, share):
    """The text with about this share of the words replaced."""
    return [draw.choice(vocabulary) if draw.random() < share else word for word in words]


true, estimated = [], []
for i in range(60):
    other = shingles(" ".join(edited(original, 0.12 * i / 60)))
    true.append(jaccard(A, other))
    estimated.append((signature(A) == signature(other)).float().mean().item())
errors = [(e - t) / max(0.02, math.sqrt(t * (1 - t) / K)) for t, e in zip(true, estimated)]
mean = sum(errors) / len(errors)
print(f"60 pairs: mean error {mean:+.2f} standard errors, largest {max(map(abs, errors)):.2f}")
assert abs(mean) < 0.6 and max(map(abs, errors)) < 4, "no bias, and errors as large as the formula says"

# %% [markdown]
# ## By hand: find the pairs without comparing all
# Cut the K minima into b bands of r rows. Texts that agree in *all* rows of some band become candidates: they land in the
# same bucket of a dictionary, so nobody compares each with each. A band agrees with probability Jʳ, some band with
#
#     P(found) = 1 − (1 − Jʳ)ᵇ
#
# The curve is an S: nearly nothing below a threshold, nearly everything above it. It rises near (1/b)^(1/r).

# %%
def detected(j, bands, rows):
    return 1 - (1 - j**rows) ** bands


for j in (0.5, 0.7, 0.8, 0.9):
    print(f"J = {j}: found with probability {detected(j, 16, 8):.4f}")
threshold = (1 / 16) ** (1 / 8)
assert 0.68 < threshold < 0.72 and detected(0.5, 16, 8) < 0.07 and detected(0.9, 16, 8) > 0.999


def buckets(signatures, bands, rows):
    """Pairs of texts with an equal band."""
    pairs = set()
    for band in range(bands):
        seen = {}
        for i, own in enumerate(signatures):
            key = tuple(own[band * rows : (band + 1) * rows].tolist())
            pairs |= {(other, i) for other in seen.get(key, ())}
            seen.setdefault(key, []).append(i)
    return pairs


texts = [[draw.choice(vocabulary) for _ in range(104)] for _ in range(40)]
texts[31] = edited(texts[7], 0.01)
texts[22] = list(texts[5])
pairs = buckets([signature(shingles(" ".join(t))) for t in texts], 16, 8)
print("candidates:", sorted(pairs), f"of {40 * 39 // 2} pairs")
assert pairs == {(5, 22), (7, 31)}

# %% [markdown]
# ## With the package
# `data.preparation` does the same with NumPy for whole corpora: words become numbers without a Python loop, one call
# computes the minima of a megabyte of texts in some 12 ms. Repair and normalisation come first, or the same text in two
# spellings would count as two.

# %% tags=["package"]
from tinygrad_llm.data.corpora import load  # noqa: E402
from tinygrad_llm.data.preparation.minhash import detection_probability, near_duplicates  # noqa: E402
from tinygrad_llm.data.preparation.minhash import jaccard as exact_jaccard  # noqa: E402
from tinygrad_llm.data.preparation.normalise import japanese, plain  # noqa: E402
from tinygrad_llm.data.preparation.personal import scrubbed  # noqa: E402
from tinygrad_llm.data.preparation.quality import language_of, symbol_share  # noqa: E402

assert abs(exact_jaccard(" ".join(original), " ".join(changed)) - jaccard(A, B)) < 1e-12
assert abs(detection_probability(0.8) - detected(0.8, 16, 8)) < 1e-12
print(repr(plain("one line\r\n\n\n\nanother \x07line  ")), repr(japanese("ｶﾞｽ料金！！！　２０２６年")))
print(repr(scrubbed("Write to jane@example.org or call 090-1234-5678.")))
print(language_of("Der Hund ist nicht mit der Katze auf dem Dach."), f"{symbol_share('=-=-=-= x'):.2f}")

paragraphs = [q for q in load().text.split("\n\n") if len(q.split()) > 30]
again = near_duplicates(paragraphs, 0.8)
copies = {pair.second for pair in again}
equal = len(paragraphs) - len(set(paragraphs))
print(f"Python's reference: {len(paragraphs):,} long paragraphs, {equal} equal copies, {len(copies)} nearly equal too")
assert len(copies) >= equal > 0
pair = min(again, key=lambda one: one.similarity)
print(f"least similar pair: estimated {pair.similarity:.2f}, "
      f"true {exact_jaccard(paragraphs[pair.first], paragraphs[pair.second]):.2f}")  # fmt: skip

# %% [markdown]
# **Answer.** With 128 minima the error is 0.035 at J = 0.8, and 16 bands of 8 find such a pair with probability 0.947. For
# a corpus that is enough: what is missed is a little of what repeats. `tinygrad-llm prepare FOLDER --out shards` runs all
# stages; benchmarks/PREPARATION.md has counts and speeds.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
axes[0].plot([0.2, 1], [0.2, 1], color="gray", linewidth=1)
axes[0].scatter(true, estimated, s=14)
axes[0].set_xlabel("true Jaccard similarity"), axes[0].set_ylabel("share of equal minima, K = 128")
js = [i / 200 for i in range(201)]
for bands, rows in ((16, 8), (32, 4), (8, 16)):
    axes[1].plot(js, [detected(j, bands, rows) for j in js], label=f"{bands} bands of {rows}")
axes[1].set_xlabel("Jaccard similarity"), axes[1].set_ylabel("probability to be found"), axes[1].legend()
save_plot(figure, "01_cleaning")

# %% [markdown]
# ## Exercises
# 1. How many minima are needed for a standard error of 0.01 at J = 0.5?
# 2. Two bands more cost little: compare 16 bands of 8 with 32 bands of 4. Which J is found with probability 1/2 in each,
#    and what does the second one cost?
# 3. A mistake that runs without an error: the seed is set again before each hash function, so that all K have the same a
#    and b. Estimate J = 0.9 two hundred times with both, and compare the errors with the formula for K and for 1.
#
# Solutions: `lessons/solutions/20_data_and_scaling/01_cleaning.py`
