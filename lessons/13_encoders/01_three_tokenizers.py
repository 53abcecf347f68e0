# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Three tokenizers: BPE, WordPiece, Unigram
#
# **Question.** GPT-2 has BPE, BERT has WordPiece, T5 has Unigram. All three learn a vocabulary from a text. What
# does each of them try to make small or large, and which cuts a text into the fewest tokens?
#
# **For example.** Pieces hug 0.1, h 0.05, ug 0.1, s 0.05: "hugs" as hug + s has 0.005, as h + ug + s 0.00025.
# The first cut wins.
#
# **Predict first.** The words hug (10 times), pug (5), pun (12), bun (4) and hugs (5) are the text. BPE joins the
# most frequent pair of neighbours. WordPiece joins the pair with the largest
#
#     score(a, b) = count(ab) / (count(a) · count(b)).
#
# Which pair does each of them join first?
#
# **You need.** Chapter 02, lesson 2.

# %%
import math
from collections import Counter
from itertools import pairwise

import matplotlib.pyplot as plt

from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain, save_plot

# %% [markdown]
# ## By hand: WordPiece's score
# A word starts as its characters. All except the first are written with ##, because "u inside a word" and "u at the
# beginning" are different symbols.

# %%
words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
rows = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
singles, pairs = Counter(), Counter()
for word, n in words.items():
    for symbol in rows[word]:
        singles[symbol] += n
    for pair in pairwise(rows[word]):
        pairs[pair] += n
print(f"{'pair':14}{'count':>6}{'score':>9}")
for (a, b), n in pairs.most_common():
    print(f"{a + ' ' + b:14}{n:6}{n / (singles[a] * singles[b]):9.4f}")
most_frequent = max(pairs, key=pairs.get)
best_score = max(pairs, key=lambda p: pairs[p] / (singles[p[0]] * singles[p[1]]))
print("BPE joins", most_frequent, "and WordPiece joins", best_score)
assert most_frequent == ("##u", "##g") and best_score == ("##g", "##s")

# %% [markdown]
# u is everywhere, so that "u before g" says little. s comes after g and nowhere else. The logarithm of the score is,
# up to a constant, the *pointwise mutual information* of a and b. To look up a word, WordPiece does not need the
# order of the merges: it takes the longest token that fits, from the left.

# %%
def longest_match(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        fits = [e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in vocabulary]
        if not fits:
            return ["[UNK]"]
        pieces.append(("##" if start else "") + word[start : fits[0]])
        start = fits[0]
    return pieces


vocabulary = {"h", "p", "b", "##u", "##g", "##n", "##s", "##gs", "hu"}
print(longest_match("hugs", vocabulary), longest_match("bugs", vocabulary), longest_match("mug", vocabulary))
assert longest_match("hugs", vocabulary) == ["hu", "##gs"] and longest_match("mug", vocabulary) == ["[UNK]"]

# %% [markdown]
# ## By hand: Unigram
# Unigram goes the other way round. It starts with *many* pieces, gives each a probability, and takes away those that
# the text can do without. A word has many cuts, and the probability of a cut is the product of its pieces:

# %%
def all_cuts(word, p):
    if not word:
        return [[]]
    heads = [word[:n] for n in range(1, len(word) + 1) if word[:n] in p]
    return [[head, *rest] for head in heads for rest in all_cuts(word[len(head) :], p)]


p = {"h": 0.1, "u": 0.2, "g": 0.15, "s": 0.05, "hu": 0.1, "ug": 0.2, "hug": 0.1, "gs": 0.1}
cuts = {tuple(c): math.prod(p[x] for x in c) for c in all_cuts("hugs", p)}
z = sum(cuts.values())
for cut, probability in sorted(cuts.items(), key=lambda row: -row[1]):
    print(f"{' '.join(cut):10} {probability:.6f}   share {probability / z:.3f}")

# %% [markdown]
# **Viterbi** finds the best cut without listing all: `best[j]` is the best score (sum of logarithms) of the first j
# characters. **Forward** is the same with a sum in place of the maximum, and returns Z, the sum over all cuts.

# %%
def best_and_sum(word, p):
    n = len(word)
    best, last, total = [0.0] + [-math.inf] * n, [0] * (n + 1), [1.0] + [0.0] * n
    for j in range(1, n + 1):
        for i in range(j):
            if word[i:j] in p:
                total[j] += total[i] * p[word[i:j]]
                if best[i] + math.log(p[word[i:j]]) > best[j]:
                    best[j], last[j] = best[i] + math.log(p[word[i:j]]), i
    pieces, j = [], n
    while j:
        pieces.append(word[last[j] : j])
        j = last[j]
    return pieces[::-1], best[n], total


cut, score, total = best_and_sum("hugs", p)
print("Viterbi:", cut, f"log p = {score:.4f};  Z = {total[-1]:.6f}")
assert abs(total[-1] - z) < 1e-12 and cut == list(max(cuts, key=cuts.get))

# %% [markdown]
# **EM** improves the probabilities. E: how often is each piece expected, if every cut counts with its share? M: the new
# probabilities are these counts, divided by their sum. The expected count of x is ∂ log Z / ∂ log p(x): the backward
# half of "forward-backward" is a backward pass.

# %%
def expected(words, p):
    counts = Counter()
    for word, n in words.items():
        shares = {tuple(c): math.prod(p[x] for x in c) for c in all_cuts(word, p)}
        for c, probability in shares.items():
            for piece in c:
                counts[piece] += n * probability / sum(shares.values())
    return counts


def log_likelihood(words, p):
    return sum(n * math.log(best_and_sum(word, p)[2][-1]) for word, n in words.items())


pieces = sorted({word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, len(word) + 1)})
p = {piece: 1 / len(pieces) for piece in pieces}
history = []
for _ in range(8):
    history.append(log_likelihood(words, p))
    counts = expected(words, p)
    p = {piece: counts[piece] / sum(counts.values()) for piece in pieces}
print("log-likelihood:", " ".join(f"{x:.1f}" for x in history))
print("the most probable:", sorted(p, key=p.get, reverse=True)[:5])
assert all(b >= a - 1e-9 for a, b in pairwise(history)), "EM never makes it worse"

h = 1e-6  # the expected count is a derivative: move log p("ug") a little
q = {piece: 1 / len(pieces) for piece in pieces}
moved = [log_likelihood(words, {**q, "ug": q["ug"] * math.exp(s)}) for s in (h, -h)]
print(f"∂ log Z / ∂ log p(ug) = {(moved[0] - moved[1]) / (2 * h):.6f}, expected {expected(words, q)['ug']:.6f}")
assert abs((moved[0] - moved[1]) / (2 * h) - expected(words, q)["ug"]) < 1e-6

# %% [markdown]
# **Pruning** asks of each piece: how much log-likelihood is lost without it? Single characters must stay.

# %%
losses = {}
for piece in [x for x in pieces if len(x) > 1]:
    rest = {x: max(v, 1e-9) for x, v in p.items() if x != piece}
    losses[piece] = history[-1] - log_likelihood(words, {x: v / sum(rest.values()) for x, v in rest.items()})
print("loss without:", ", ".join(f"{x} {v:.1f}" for x, v in sorted(losses.items(), key=lambda row: -row[1])[:5]))
assert max(losses, key=losses.get) in words

# %% [markdown]
# ## With the package
# `train_wordpiece` and `train_unigram` do this on real texts, with every word once and in arrays; `train_bpe` is BPE.
# What each returns is a tokenizer like one from a published file. Its ids are a sequence of shape (n) for a model.

# %% tags=["package"]
from tinygrad_llm.text import sampled, train_bpe, train_unigram, train_wordpiece

toy = train_wordpiece(words, 5 + 7 + 1)
assert toy.token(12) == "##gs"
story = (get_or_explain(lambda: corpora.load("the-verdict"), "we read Python's manual.") or corpora.load()).text[:20_000]
seen, new = story[:16_000], story[16_000:]
sizes = (500, 700, 1000, 1400)
makers = {"BPE": train_bpe, "WordPiece": train_wordpiece, "Unigram": train_unigram}
per_word = {name: [] for name in makers}
for name, train in makers.items():
    for size in sizes:
        tokenizer = train(seen, size)
        per_word[name].append(len(tokenizer.encode(new)) / len(new.split()))
    lost = tokenizer.encode(new).count(tokenizer.special_tokens.get("[UNK]"))
    back = tokenizer.decode(tokenizer.encode(new)) == new
    print(f"{name:10} tokens per word: {' '.join(f'{x:.2f}' for x in per_word[name])}; unknown {lost}; comes back: {back}")
    assert back == (name != "WordPiece")
assert per_word["WordPiece"][-1] > per_word["BPE"][-1] and per_word["WordPiece"][-1] > per_word["Unigram"][-1]

# %% [markdown]
# WordPiece's score loves rare pairs: with a small text it spends its vocabulary on them. (Exercise 1 changes that.) And
# it gives back words, not the text: white space is gone.
#
# **Sampling.** Only Unigram knows how probable a cut is. So it can cut a word differently each time, which makes a
# model see that the cuts mean the same ("subword regularisation", Kudo 2018).

# %% tags=["package"]
unigram = train_unigram(seen, 1000)
drawing = sampled(unigram, alpha=0.3, seed=1)
word = " understanding"
shown = Counter("|".join(drawing.token(i) for i in drawing.encode(word)) for _ in range(200))
for cut, n in shown.most_common(4):
    print(f"{n:4} {cut}")
print("the best:", "|".join(unigram.token(i) for i in unigram.encode(word)))
assert len(shown) > 3 and drawing.decode(drawing.encode(word)) == word

# %% [markdown]
# **Japanese** has no spaces. There MeCab finds the words first (`words="mecab"`, `pip install 'tinygrad_llm[ja]'`), or the
# trainer sees whole sentences. The merges of four words show how BPE finds stems and endings:

# %% tags=["package"]
japanese = {"たのしい": 6, "たのしさ": 2, "うつくしい": 4, "うつくしさ": 1}
bpe = train_bpe(japanese, 257 + 9 + 9, special_tokens=(), min_count=1)
merges = list(bpe.model.ranks)
print("merges:", " ".join(f"({a},{b})" for a, b in merges))
assert merges[:3] == [("し", "い"), ("た", "の"), ("たの", "しい")] and merges[-1] == ("うつく", "しさ")

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for name, values in per_word.items():
    axes[0].plot(sizes, values, "o-", label=name)
axes[0].set_xlabel("size of the vocabulary"), axes[0].set_ylabel("tokens per word, new text"), axes[0].legend()
axes[1].plot(history, "o-")
axes[1].set_xlabel("round of EM"), axes[1].set_ylabel("log-likelihood of the five words")
save_plot(figure, "01_three_tokenizers")

# %% [markdown]
# ## Exercises
# 1. Train WordPiece with `min_count=8` and compare tokens per word with 350 tokens. Why does it change so much?
# 2. Draw cuts of "hugs" by hand: compute `total` (forward) first, then choose the last piece with its share of
#    `total[j]`, and continue from its beginning. Compare the frequencies with the shares above.
# 3. BPE and Unigram give every text back, WordPiece does not. Find a text of two words that WordPiece cannot
#    distinguish from another.
#
# Solutions: `lessons/solutions/13_encoders/01_three_tokenizers.py`
