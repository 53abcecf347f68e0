# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Byte-pair encoding from scratch
#
# **Question.** Whole words leave many words unknown; single letters make long sequences. Is there a unit in
# between that can represent every text?
#
# **For example.** In "low low lower" the letters l and o are neighbours three times: they become one token,
# lo. Then lo and w: low. The word is one token now, "lower" is low + e + r.
#
# **Answer.** Start with the 256 bytes: every text in every language can be written with them. Then find the
# pair of neighbours that occurs most often, make it a new token, and repeat. Frequent words end up as one
# token, rare ones as a few pieces, and nothing is ever unknown. (Gage 1994; for language models Sennrich,
# Haddow and Birch 2016.)
#
# **You need.** Lesson 1.

# %%
import time
from collections import Counter

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import full_run, get_or_explain, save_plot
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.text.split import count_pieces

# %% [markdown]
# ## By hand
# A word is a sequence of symbols. Words repeat, so we keep each once, with its count. A pair never crosses
# the boundary of a word.

# %%
def pairs_of(words):
    """How often each pair of neighbours occurs."""
    counts = Counter()
    for symbols, n in words.items():
        for pair in zip(symbols, symbols[1:]):
            counts[pair] += n
    return counts


def merged(symbols, pair, symbol):
    """The symbols with `symbol` in place of `pair`, from left to right."""
    out = []
    for s in symbols:
        if out and (out[-1], s) == pair:
            out[-1] = symbol
        else:
            out.append(s)
    return tuple(out)


def learn(words, n):
    """The first n merges: pairs, in the order in which they were made."""
    merges = []
    for i in range(n):
        counts = pairs_of(words)
        best = min(counts, key=lambda pair: (-counts[pair], pair))  # most frequent; then the smallest
        merges.append(best)
        words = {merged(symbols, best, 256 + i): n for symbols, n in words.items()}
    return merges, words


toy = Counter("low low low lower lowest newer newer wider".split())
words = {tuple(word.encode()): n for word, n in toy.items()}
merges, split_words = learn(words, 6)
spelled = [bytes([i]) for i in range(256)]
for left, right in merges:
    spelled.append(spelled[left] + spelled[right])
    a, b, c = (s.decode() for s in (spelled[left], spelled[right], spelled[-1]))
    print(f"{len(spelled) - 1}: {a!r:6} + {b!r:6} -> {c!r}")
for symbols in split_words:
    print("  ", " ".join(spelled[s].decode() for s in symbols))
assert spelled[256] == b"lo" and b"newer" in spelled  # l and o are neighbours 5 times, in 3 words

# %% [markdown]
# A trap: `merged` compares with the symbol just written. In "aaa" with the pair (a, a) the result must be
# (aa, a): the new symbol must not be treated as an a.

# %%
assert merged((97, 97, 97), (97, 97), 256) == (256, 97)

# %% [markdown]
# To encode a new word, apply the merges in the order in which they were learned.

# %%
def encode(word):
    symbols = tuple(word.encode())
    for i, pair in enumerate(merges):
        symbols = merged(symbols, pair, 256 + i)
    return symbols


for word in ("lower", "slower", "東"):
    print(word, "->", encode(word), " = ", [spelled[s] for s in encode(word)])
    assert b"".join(spelled[s] for s in encode(word)).decode() == word  # nothing is ever lost

# %% [markdown]
# ## With the package
# The same on a whole story. The text is first cut into words as in GPT-2, each with the space before it;
# `count_pieces` counts them. Our code takes a second or two for 200 merges; the package learns thousands in
# that time, because it recounts only what a merge changed.

# %%
corpus = get_or_explain(
    lambda: corpora.load("the-verdict"), "we read a part of Python's own manual; the numbers will differ."
) or corpora.load()
story = corpus.text[:20_479]
words = {tuple(piece.encode()): n for piece, n in count_pieces(story).items()}
merges, split_words = learn(words, 200)
tokenizer = BPETokenizer.train(story, vocab_size=256 + 200 + 1)  # 1 for <|endoftext|>
assert tokenizer.merges == merges
print("the first merges:", [tokenizer.decode(256 + i) for i in range(14)])
print("the last:        ", [tokenizer.decode(456 - i) for i in range(1, 11)])

ids = tokenizer.encode(story)
assert len(ids) == sum(len(symbols) * n for symbols, n in split_words.items())
assert tokenizer.decode(ids) == story  # to the last line end
print(f"{len(story):,} characters -> {len(ids):,} tokens; as a tensor: shape {torch.tensor(ids).shape}")
print([tokenizer.decode(i) for i in tokenizer.encode("a smartphone for the painter")])

# %% [markdown]
# ## How many merges?
# More merges make shorter sequences: the model sees more text in its context and takes fewer steps. But
# each token needs a row in the embedding and in the output layer, and a token that is seen three times
# teaches little.

# %%
sizes = [257, 300, 400, 600, 900, 1300]
lengths = [len(BPETokenizer.train(story, size).encode(story)) for size in sizes]
for size, length in zip(sizes, lengths):
    print(f"vocabulary {size:5}: {length:6,} tokens, {len(story) / length:.2f} characters per token")
assert lengths == sorted(lengths, reverse=True)
figure, axis = plt.subplots(figsize=(6.5, 4))
axis.plot(sizes, [len(story) / n for n in lengths], "o-")
axis.set_xlabel("vocabulary size"), axis.set_ylabel("characters per token"), axis.set_ylim(0)
axis.set_title("Each doubling gains less")
save_plot(figure, "02_bpe")

# %% [markdown]
# ## A larger text

# %%
if full_run("learns 2,000 merges on all of tinyshakespeare, by hand and with the package: about a minute"):
    plays = get_or_explain(lambda: corpora.load("tinyshakespeare"), "Python's own manual is read.") or corpora.load()
    words = {tuple(piece.encode()): n for piece, n in count_pieces(plays.text).items()}
    start = time.perf_counter()
    merges, split_words = learn(words, 2000)
    middle = time.perf_counter()
    tokenizer = BPETokenizer.train(plays.text, vocab_size=2257)
    end = time.perf_counter()
    assert tokenizer.merges == merges
    print(f"{len(words):,} different words; by hand {middle - start:.1f} s, the package {end - middle:.1f} s")
    print("the last:", [tokenizer.decode(2256 - i) for i in range(1, 11)])

# %% [markdown]
# ## Exercises
# 1. Which token is the longest after 200 merges? Print the sequence of merges that made it.
# 2. Encode Python's manual with the tokenizer of the story, and with one of 457 tokens trained on the
#    manual itself. How many characters per token do they reach, and why?
# 3. Our `encode` goes through all merges for every word. Write one that looks at the pairs *in the word*
#    and applies the one that was learned first, until none is left. Check that both agree.
#
# Solutions: `lessons/solutions/02_text/02_bpe.py`
