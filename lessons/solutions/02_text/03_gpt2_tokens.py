# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: GPT-2's tokens

# %%
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain
from tinygrad_llm.text import BPETokenizer, GPT2Tokenizer

tokenizer = get_or_explain(GPT2Tokenizer, "a tokenizer trained here on Python's manual replaces it.")
gpt2 = tokenizer is not None
if tokenizer is None:
    tokenizer = BPETokenizer.train(corpora.load().text, vocab_size=2000)

# %% [markdown]
# ## 1. Longest tokens
# The long words come from boilerplate that appears on very many pages. No token has two spaces: each
# space of an indented line of Python is its own token, so little of a program fits into GPT-2's context.
# Later tokenizers have tokens for runs of spaces.

# %%
texts = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size - 1)]
word = max((t for t in texts if t.strip().isalpha()), key=len)
spaces = max((t for t in texts if t.strip(b" ") == b""), key=len)
print("longest word:", word.decode(), "  most spaces:", len(spaces))
assert len(word) > 10 and (not gpt2 or len(spaces) == 1)
indented = tokenizer.encode("        return x")
print([tokenizer.decode(i) for i in indented])
assert not gpt2 or len(indented) == 9

# %% [markdown]
# ## 2. Nothing is unknown
# What no merge joins stays a sequence of bytes, and every byte is a token.

# %%
ids = tokenizer.encode("Zyqwvux fnord")
print([(i, tokenizer.decode(i)) for i in ids])
assert tokenizer.decode(ids) == "Zyqwvux fnord" and len(ids) >= 5

# %% [markdown]
# ## 3. Half a character
# A character of three bytes may be cut between tokens. Such a token alone is not valid text and becomes
# �. The stream holds it back until the character is complete.

# %%
ids = tokenizer.encode("東京")
alone = [tokenizer.decode(i) for i in ids]
stream = tokenizer.stream()
pieces = [stream.push(i) for i in ids]
print("one by one:", alone, "  streamed:", pieces)
assert "".join(pieces) + stream.finish() == "東京"
assert "�" in "".join(alone) and "�" not in "".join(pieces)
