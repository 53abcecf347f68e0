# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: words as tokens
#
# ## 1. Lower case
# The vocabulary shrinks. The start of a sentence, a name ("Jack") and "I" can no longer be recognised by
# their capital letter.

# %%
import re

from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain
from tinygrad_llm.text import CharTokenizer, SimpleTokenizer

corpus = get_or_explain(
    lambda: corpora.load("the-verdict"), "we read Python's own manual; the numbers will differ."
) or corpora.load()
story = corpus.text
upper, lower = SimpleTokenizer.train(story), SimpleTokenizer.train(story.lower())
print("vocabulary:", upper.vocab_size, "-> lower case:", lower.vocab_size)
assert lower.vocab_size < upper.vocab_size
assert lower.encode("Rose".lower()) == lower.encode("rose")  # the painter's model, or the flower

# %% [markdown]
# ## 2. Characters
# A tiny vocabulary, and a sequence about four times as long. No word made of these letters is unknown any
# more, but a letter that the text does not contain still is.

# %%
characters = CharTokenizer.train(story)
row, words = characters.encode(story), upper.encode(story)
print("vocabulary", characters.vocab_size, "  ids:", len(row), "instead of", len(words))
assert len(row) == len(story) > 3 * len(words)
assert characters.decode(characters.encode("a smart phone")) == "a smart phone"
try:
    characters.encode("東京")
    raise AssertionError("these letters are not in the text")
except ValueError:
    print("東京 is unknown")

# %% [markdown]
# ## 3. Nothing lost
# Let a piece be a run of non-space characters with at most one space before it, or a single white space.

# %%
PIECE = re.compile(r" ?\w+| ?[^\w\s]+|\s")
pieces = PIECE.findall(story)
print(pieces[:12])
assert "".join(pieces) == story
