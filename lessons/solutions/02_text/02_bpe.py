# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: byte-pair encoding
#
# ## 1. The longest token and its history

# %%
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.text.split import split

corpus = get_or_explain(
    lambda: corpora.load("the-verdict"), "we read a part of Python's own manual; the numbers will differ."
) or corpora.load()
story = corpus.text[:20_479]
tokenizer = BPETokenizer.train(story, vocab_size=457)
spelled = [tokenizer.token_bytes(i) for i in range(456)]
longest = max(range(456), key=lambda i: len(spelled[i]))


def history(i, depth=0):
    if i < 256:
        return
    left, right = tokenizer.merges[i - 256]
    print("   " * depth + f"{i}: {spelled[left].decode()!r} + {spelled[right].decode()!r} -> {spelled[i].decode()!r}")
    history(left, depth + 1), history(right, depth + 1)


history(longest)
assert len(spelled[longest]) >= 5

# %% [markdown]
# ## 2. Another text
# The merges of the story know what is frequent in a story. Other words are frequent in the manual, so the
# story's tokens fit it less well. Train a tokenizer on the kind of text that it will read.

# %%
manual = corpora.load().text[100_000:140_000]
own = BPETokenizer.train(manual, vocab_size=457)
per_token = [len(manual) / len(t.encode(manual, disallowed_special=())) for t in (tokenizer, own)]
print(f"characters per token: the story's tokenizer {per_token[0]:.2f}, the manual's own {per_token[1]:.2f}")
assert per_token[1] > per_token[0]

# %% [markdown]
# ## 3. The earliest merge first
# A merge can only use symbols that earlier merges made. So the earliest pair in the word is always the next
# one to apply, and the order is the same as before.

# %%
rank = {pair: i for i, pair in enumerate(tokenizer.merges)}


def encode(word):
    symbols = list(word.encode())
    while True:
        known = [pair for pair in zip(symbols, symbols[1:]) if pair in rank]
        if not known:
            return symbols
        best = min(known, key=rank.get)
        out = []
        for s in symbols:
            if out and (out[-1], s) == best:
                out[-1] = 256 + rank[best]
            else:
                out.append(s)
        symbols = out


assert [i for piece in split(story) for i in encode(piece)] == tokenizer.encode(story)
print("both agree on", len(split(story)), "words")
