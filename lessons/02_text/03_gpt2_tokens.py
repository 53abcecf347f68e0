# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. GPT-2's tokens
#
# **Question.** GPT-2 has 50,257 tokens. What are they, and what surprises do they hold?
#
# **For example.** "hello" and " hello", with a space, have different numbers in GPT-2. And an emoji is
# several tokens, none of which is a letter.
#
# **Answer.** 256 bytes, 50,000 merges learned from millions of web pages, and `<|endoftext|>`. It is lesson
# 2's algorithm with a longer list. The surprises: a space belongs to the word *after* it, so " the" and
# "the" are two tokens; numbers are split at odd places; other scripts need many tokens.
#
# **You need.** Lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain, save_plot
from tinygrad_llm.text import BPETokenizer, GPT2Tokenizer, find_gpt2_files

tokenizer = get_or_explain(
    GPT2Tokenizer, "a tokenizer of 2,000 tokens, trained here on Python's manual, replaces GPT-2's."
)
gpt2 = tokenizer is not None
if tokenizer is None:
    tokenizer = BPETokenizer.train(corpora.load().text, vocab_size=2000)
print(tokenizer.name, "with", tokenizer.vocab_size, "tokens")

# %% [markdown]
# ## By hand
# The published file `vocab.bpe` lists the merges, one per line, in the order in which they were learned. In
# it a space is written as Ġ, because a space separates the two halves. Apply the earliest merge again and
# again:

# %%
if gpt2:
    lines = find_gpt2_files()[0].read_text(encoding="utf-8").splitlines()[1:]
    rank = {tuple(line.split(" ")): i for i, line in enumerate(lines) if line}
    print(len(rank), "merges; the first ten:", lines[:10])
    symbols = list("Ġhomework")
    while True:
        known = [pair for pair in zip(symbols, symbols[1:]) if pair in rank]
        if not known:
            break
        left, right = min(known, key=rank.get)
        at = next(i for i in range(len(symbols)) if (symbols[i], symbols[i + 1]) == (left, right))
        symbols[at : at + 2] = [left + right]
        print(f"merge {rank[left, right]:6}:", " ".join(symbols))
    assert [tokenizer.decode(i) for i in tokenizer.encode(" homework")] == [s.replace("Ġ", " ") for s in symbols]

# %% [markdown]
# ## With the package
# `GPT2Tokenizer` uses tiktoken, OpenAI's library. `BPETokenizer.from_gpt2_files` is this package's own code
# with the same merges. They give the same ids for every text.

# %%
samples = {
    "English": "The weather was fine, so we walked along the river.",
    "Python": "for i in range(10):\n    print(i * i)",
    "numbers": "1984 + 12345678 = 3.14159265",
    "German": "Das Wetter war schön, also gingen wir am Fluss spazieren.",
    "Japanese": "天気がよかったので、川沿いを歩きました。",
    "emoji": "😀😀🚴🌞",
}
for name, text in samples.items():
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text  # every text can be encoded, and comes back unchanged
    print(f"{name:9} {len(text):3} characters, {len(ids):3} tokens:", [tokenizer.decode(i) for i in ids][:9])
if gpt2:
    own = BPETokenizer.from_gpt2_files(*find_gpt2_files())
    assert all(own.encode(text) == tokenizer.encode(text) for text in samples.values())

# %% [markdown]
# A � in these lists is a token that holds only a part of a character: its bytes alone are not valid text.
#
# Four traps:

# %%
for a, b in (("the", " the"), ("river", "River"), ("1000", "1001"), ("river ", "river")):
    print(f"{a!r:9}{tokenizer.encode(a)!s:20}{b!r:9}{tokenizer.encode(b)}")
    assert tokenizer.encode(a) != tokenizer.encode(b)
if gpt2:
    assert tokenizer.encode("river ")[-1] == 220  # a space alone: a prompt should not end with one

# %% [markdown]
# `<|endoftext|>` separates documents. Typed by a user it is just thirteen characters, unless allowed:

# %%
end = "<|endoftext|>"
print("allowed:", tokenizer.encode(end, allowed_special={end}))
print("as text:", tokenizer.encode(end, disallowed_special=()))
assert tokenizer.encode(end, allowed_special="all") == [tokenizer.vocab_size - 1]
assert len(tokenizer.encode(end, disallowed_special=())) > 1
if gpt2:
    story = get_or_explain(lambda: corpora.load("the-verdict").text, "the story is skipped.")
    if story:
        ids = torch.tensor(tokenizer.encode(story))
        print("the-verdict: the shape of its ids", ids.shape, "- largest id", ids.max().item())
        assert len(ids) == 5145

# %%
figure, axis = plt.subplots(figsize=(7, 3.6))
rates = [len(text.encode()) / len(tokenizer.encode(text)) for text in samples.values()]
tokens = [len(text) / len(tokenizer.encode(text)) for text in samples.values()]
place = range(len(samples))
axis.bar([p - 0.2 for p in place], tokens, width=0.4, label="characters per token")
axis.bar([p + 0.2 for p in place], rates, width=0.4, label="bytes per token")
axis.set_xticks(list(place), list(samples))
axis.legend(), axis.set_title("Text of a kind that the tokenizer rarely saw needs more tokens")
save_plot(figure, "03_gpt2_tokens")

# %% [markdown]
# ## Exercises
# 1. Which is the longest token that consists only of letters, and which the longest that consists only of
#    spaces? What does the second mean for Python programs?
# 2. Encode "Zyqwvux fnord" and print the id and the text of each token. Why is a word never unknown?
# 3. Decode the ids of "東京" one by one, and with `tokenizer.stream()`. What does the stream do with half a
#    character?
#
# Solutions: `lessons/solutions/02_text/03_gpt2_tokens.py`
