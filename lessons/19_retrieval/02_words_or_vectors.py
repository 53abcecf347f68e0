# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Words or vectors: which search is better, and who says so?
#
# **Question.** One search counts common words, another compares vectors. Which one should look for your passages, and can
# both vote?
#
# **For example.** The right text is at place 1, 2 and 4 for three questions: recall@1 is 1/3, and MRR is (1 +
# 0.5 + 0.25)/3 = 0.58.
#
# **Predict first.** A search has the right text at place 3 for every question. What are its recall@1, recall@5 and mean
# reciprocal rank? A second search has it at place 1 for half of the questions and at place 100 for the others. Which of the
# two do you prefer, and which one does each number prefer?
#
# **You need.** Lesson 1.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: three numbers for a list of hits
# recall@k: the share of the right texts among the first k hits. Reciprocal rank: 1 / the place of the first right one. nDCG:
# every right hit counts 1 / log2(place + 1), divided by the best list's sum.


# %%
def recall(hits, right, k):
    return len(set(hits[:k]) & right) / len(right)


def reciprocal_rank(hits, right):
    return next((1 / place for place, hit in enumerate(hits, 1) if hit in right), 0.0)


def ndcg(hits, right, k):
    gain = sum(1 / math.log2(place + 1) for place, hit in enumerate(hits[:k], 1) if hit in right)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(right)) + 1))


steady, moody = [[7, 8, 0, 9]] * 4, [[0, 7, 8, 9]] * 2 + [[7, 8, 9, 6]] * 2
for name, lists in (("place 3", steady), ("place 1 or nowhere", moody)):
    numbers = [sum(f(hits, {0}) for hits in lists) / 4 for f in (
        lambda h, r: recall(h, r, 1), lambda h, r: recall(h, r, 4), reciprocal_rank, lambda h, r: ndcg(h, r, 4))]
    print(f"{name:20} recall@1 {numbers[0]:.2f}  recall@4 {numbers[1]:.2f}  MRR {numbers[2]:.2f}  nDCG@4 {numbers[3]:.2f}")
assert recall(steady[0], {0}, 4) == 1.0 and reciprocal_rank(steady[0], {0}) == 1 / 3
assert ndcg([1, 2], {1, 2}, 2) == 1.0 and abs(ndcg([7, 0], {0}, 2) - 1 / math.log2(3)) < 1e-12

# %% [markdown]
# **Answer.** A reader that sees only the first passage prefers the second search, as MRR does; a model that reads the first
# four passages prefers the first one, as recall@4 does. Choose the number that fits what reads the hits.
#
# ## By hand: why words fail, and what vectors do about it
# A text as a vector of word counts: the cosine of two texts without a common word is 0, however close their meanings are. A
# table that gives each word a vector of meaning repairs that: "automobile" and "car" point in the same direction.

# %%
vocabulary = ["car", "automobile", "engine", "cat", "kitten", "sleeps"]
meaning = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.0], [0.0, 1.0], [0.1, 0.9], [0.2, 0.6]])  # shape (V, C)


def counts(text):
    """How often each word of the vocabulary is in a text, shape (V,)."""
    return torch.tensor([float(text.split().count(word)) for word in vocabulary])


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


pair = counts("automobile engine"), counts("car")
print(f"counts {cosine(*pair):.2f}, meanings {cosine(pair[0] @ meaning, pair[1] @ meaning):.2f}")
assert cosine(*pair) == 0.0 and cosine(pair[0] @ meaning, pair[1] @ meaning) > 0.95
assert cosine(pair[0] @ meaning, counts("kitten") @ meaning) < 0.3

# %% [markdown]
# ## By hand: both vote
# BM25's scores are sums of logarithms, cosines lie between −1 and 1: adding them adds apples and oranges. Reciprocal rank
# fusion adds places instead: each list gives 1 / (60 + place).


# %%
def fused(*lists):
    """The ids of all lists, the best first; scores of equal size keep the smaller id first."""
    total = {}
    for hits in lists:
        for place, hit in enumerate(hits, 1):
            total[hit] = total.get(hit, 0.0) + 1 / (60 + place)
    return sorted(total, key=lambda hit: (-total[hit], hit))


words, vectors = [4, 1, 2, 3], [5, 1, 6, 7]
print("joined:", fused(words, vectors))
assert fused(words, vectors)[0] == 1, "second in both lists wins over first in one of them"

# %% [markdown]
# ## With the package: twenty topics of Python's reference
# Two kinds of questions, made by rule: sentences with a gap keep the text's words, headings do not. Without MiniLM the
# lesson continues with words alone.

# %% tags=["package"]
from tinygrad_llm.evaluation import bootstrap  # noqa: E402
from tinygrad_llm.evaluation.ranking import recall as package_recall  # noqa: E402
from tinygrad_llm.finetune.embedding import SentenceEmbedder  # noqa: E402
from tinygrad_llm.retrieval import build_index  # noqa: E402
from tinygrad_llm.retrieval.questions import cloze_questions, python_topics, title_questions  # noqa: E402
from tinygrad_llm.weights import packaged  # noqa: E402

assert package_recall([[7, 8, 0]], [{0, 8}], 2)[0] == recall([7, 8, 0], {0, 8}, 2) == 0.5

documents, headings = python_topics()
few = [d for d in documents if len(d["text"]) < 2500][:20]
minilm = SentenceEmbedder.load() if packaged.locate(packaged.PACKAGED["all-minilm-l6-v2"]) else None
index = build_index(few, minilm)
questions = {
    "gaps": cloze_questions(index.chunks, [d["text"] for d in few], 30),
    "headings": title_questions(index.chunks, headings),
}
ways = ("bm25", "vectors", "hybrid") if minilm else ("bm25",)
curves = {}
for kind, asked in questions.items():
    right = [set(q.relevant) for q in asked]
    for way in ways:
        hits = [[p.id for p in index.search(q.text, 10, way)] for q in asked]
        curves[kind, way] = [package_recall(hits, right, k).mean() for k in range(1, 11)]
        print(f"{kind:9} {way:8} recall@1 {bootstrap(package_recall(hits, right, 1))}")
assert curves["gaps", "bm25"][2] > 0.9, "a gap keeps the other words of its sentence"
if minilm:
    assert curves["headings", "vectors"][2] > curves["headings", "bm25"][2]

# %% [markdown]
# **Answer.** It depends on the questions, so measure on questions like yours, and look at the intervals: thirty questions
# leave room for luck. The hybrid lies between the two. On the whole reference: benchmarks/RETRIEVAL.md.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
for axis, kind in zip(axes, questions):
    for way in ways:
        axis.plot(range(1, 11), curves[kind, way], "o-", label=way)
    axis.set_title(f"{len(questions[kind])} {kind}"), axis.set_xlabel("k"), axis.legend()
axes[0].set_ylabel("recall@k"), axes[0].set_ylim(0, 1.05)
save_plot(figure, "02_words_or_vectors")

# %% [markdown]
# ## Exercises
# 1. A question has 3 right texts. What is the largest recall@1 that a search can have, and which hits have nDCG@3 = 1?
# 2. Replace the constant 60 of the fusion by 0. Which text wins now in the example above, and why does a large constant
#    favour texts that both lists know?
# 3. A mistake that runs without an error: the scores of both lists are added as they are. Show with BM25's scores 12.1 and
#    11.9 and cosines 0.1 and 0.9 that the vectors have no say.
#
# Solutions: `lessons/solutions/19_retrieval/02_words_or_vectors.py`
