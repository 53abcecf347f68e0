# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Words as tokens
#
# **Question.** A model works with numbers. How does a text become a sequence of numbers, and how does the
# sequence become a text again?
#
# **For example.** "Hello, world." becomes "Hello" "," "world" ".", and these four get the numbers 2, 0, 3, 1
# of a sorted list. Numbers back to words is the same table, read in reverse.
#
# **Answer.** Cut the text into pieces, the *tokens*. Number the different tokens: that is the
# *vocabulary*. The text is then the sequence of its tokens' numbers, its *token ids*. The simplest way is
# to cut at words, and it soon shows the problem with words.
#
# **You need.** Python, and what a regular expression is.

# %%
import re
from collections import Counter

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain, save_plot
from tinygrad_llm.text import END_OF_TEXT, SimpleTokenizer

corpus = get_or_explain(
    lambda: corpora.load("the-verdict"), "we read Python's own manual; the numbers will differ."
) or corpora.load()
story = corpus.text
print(f"{corpus.name}: {len(story):,} characters, begins with {story[:42]!r}")

# %% [markdown]
# ## By hand
# One regular expression finds three kinds of pieces: a double hyphen, a punctuation mark, and any other
# run of characters without white space.

# %%
PIECE = re.compile(r"""--|[,.:;?_!"()']|(?:(?!--)[^\s,.:;?_!"()'])+""")


def cut(text):
    return PIECE.findall(text)


print(cut('"Well--no," she said (softly). Why?'))
assert cut("Well--no, thanks.") == ["Well", "--", "no", ",", "thanks", "."]

tokens = cut(story)
vocab = {token: i for i, token in enumerate(sorted(set(tokens)))}
names = {i: token for token, i in vocab.items()}
print(f"{len(tokens):,} tokens, {len(vocab):,} of them different")
ids = [vocab[token] for token in tokens]
print("the first ids:", ids[:10], "=", [names[i] for i in ids[:10]])


def join(ids):
    text = " ".join(names[i] for i in ids)
    return re.sub(r"""\s+([,.:;?!"()'])""", r"\1", text)  # no space before a punctuation mark


print("back again:", join(ids[:23]))
assert cut(join(ids)) == tokens  # the same tokens, but not the same text: line ends are lost
assert join(ids) != story

# %% [markdown]
# ## The problem with words
# Look up a word that the text does not contain:

# %%
try:
    vocab["smartphone"]
except KeyError as error:
    print("no number for", error)

# %% [markdown]
# Two *special tokens* help. `<|unk|>` stands for every unknown word, and `<|endoftext|>` is put between
# texts that are not related to each other. They take the last two ids.
#
# ## With the package

# %%
tokenizer = SimpleTokenizer.train(story)
assert [tokenizer.vocab[t] for t in tokens] == ids  # the same cut, the same numbers
assert tokenizer.vocab_size == len(vocab) + 2
two_texts = f"she painted a smartphone {END_OF_TEXT} a palace"
row = tokenizer.encode(two_texts, allowed_special={END_OF_TEXT})
print(row, "->", tokenizer.decode(row))
batch = torch.tensor(row).unsqueeze(0)  # (T) -> (1, T): what a model takes
print("as a batch: shape", batch.shape, batch.dtype)
assert tokenizer.encode("smartphone") == [tokenizer.special_tokens["<|unk|>"]]

# %% [markdown]
# Special tokens are for the programmer, not for users who type a text. So a text that contains one is
# refused, unless it is allowed as above.

# %%
try:
    tokenizer.encode(two_texts)
except ValueError as error:
    print(str(error).split(";")[0])
else:
    raise AssertionError("this must be refused")

# %% [markdown]
# How bad is it? Encode another text, Python's own manual, and count the unknown words.

# %%
manual = corpora.load().text[:50_000]
other = tokenizer.encode(manual, disallowed_special=())
share = other.count(tokenizer.special_tokens["<|unk|>"]) / len(other)
print(f"unknown in another text: {100 * share:.0f} of 100 tokens")
assert share > 0.2 or corpus.name != "the-verdict"

# %%
counts = sorted(Counter(tokens).values(), reverse=True)
once = counts.count(1) / len(counts)
print(f"{100 * once:.0f} of 100 entries of the vocabulary occur once: nothing can be learned about them")
assert once > 0.3
figure, axis = plt.subplots(figsize=(6.5, 4))
axis.loglog(range(1, len(counts) + 1), counts, ".", ms=4, label="the tokens of this text")
axis.loglog([1, len(counts)], [counts[0], counts[0] / len(counts)], "--", lw=1, label="count ~ 1/rank (Zipf's law)")
axis.set_xlabel("rank of the token"), axis.set_ylabel("how often it occurs"), axis.legend()
axis.annotate(f"{100 * once:.0f} % occur only once", (len(counts) * 0.4, 1), (1.2, 0.9),
              arrowprops={"arrowstyle": "->"})
save_plot(figure, "01_words")

# %% [markdown]
# ## Exercises
# 1. Convert the story to lower case first. How many entries does the vocabulary lose, and which words can
#    no longer be distinguished?
# 2. Take single characters as tokens (`CharTokenizer`). How large is the vocabulary, how long the
#    sequence, and what is unknown now?
# 3. A token can be a word alone, or a word together with the space before it. Change `PIECE` so that
#    joining all tokens with nothing between them gives back the text, character for character.
#
# Solutions: `lessons/solutions/02_text/01_words.py`
