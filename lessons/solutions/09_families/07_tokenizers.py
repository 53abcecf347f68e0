# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: tokenizers of the families
#
# ## 1. When the longest first piece is a mistake
# Greedy takes "abc" and must spell the rest. Viterbi compares whole cuts.

# %%
import tinygrad_llm as tl
from tinygrad_llm.models import Llama, resize_vocabulary
from tinygrad_llm.models.llama import PRESETS
from tinygrad_llm.text import BPETokenizer

scores = {"a": -5.0, "b": -5.0, "c": -5.0, "d": -5.0, "ab": -2.0, "abc": -2.0, "cd": -2.0}


def greedy(text):
    pieces = []
    while text:
        pieces.append(next(text[:n] for n in range(len(text), 0, -1) if text[:n] in scores))
        text = text[len(pieces[-1]) :]
    return pieces


def best(text):
    if not text:
        return 0.0, []
    cuts = [(scores[text[:n]] + best(text[n:])[0], [text[:n], *best(text[n:])[1]])
            for n in range(1, len(text) + 1) if text[:n] in scores]
    return max(cuts)


for name, pieces in (("greedy", greedy("abcd")), ("best", best("abcd")[1])):
    print(f"{name:6} {pieces}, score {sum(scores[p] for p in pieces)}")
assert greedy("abcd") == ["abc", "d"] and best("abcd")[1] == ["ab", "cd"]

# %% [markdown]
# ## 2. Another tokenizer's ids
# The 256 single bytes may agree; the merged tokens do not. No error comes: every id is in range.

# %%
first = BPETokenizer.train("the lower the lowest, the newer the newest; " * 20, 268)
second = BPETokenizer.train("a tram stops at an old market and waits; " * 20, 268)
text = "the lowest tram"
mixed = second.decode(first.encode(text))
print(f"{text!r} becomes {mixed!r}")
assert mixed != text and max(first.encode(text)) < second.vocab_size

# %% [markdown]
# ## 3. One token more
# Special tokens come last, so no old id changes. The model needs one row more in its embedding and its output layer:
# `resize_vocabulary` adds it, and the old rows stay as they are.

# %%
grown = BPETokenizer.train("the lower the lowest, the newer the newest; " * 20, first.vocab_size + 1, special_tokens=["<tool>"])
assert grown.encode("the lowest") == first.encode("the lowest")
tl.manual_seed(1)
model = Llama({**vars(PRESETS["tiny"]), "vocab_size": first.vocab_size})
old = model.tok_emb.weight.detach().clone()
resize_vocabulary(model, grown.vocab_size)
print(f"<tool> is {grown.special_tokens['<tool>']}; embedding {tuple(old.shape)} -> {tuple(model.tok_emb.weight.shape)}")
assert model.tok_emb.weight.shape[0] == grown.vocab_size
assert tl.equal(model.tok_emb.weight[: len(old)], old)
