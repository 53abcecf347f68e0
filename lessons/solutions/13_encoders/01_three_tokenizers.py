# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: three tokenizers
#
# ## 1. A lower bound for the count of a pair
# The score divides by the counts of both parts, so two rare characters that come together twice beat "th". With a
# bound the vocabulary goes to pairs that the text has often, and a word needs fewer tokens.

# %%
import math
import random
from collections import Counter

from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain
from tinygrad_llm.text import train_wordpiece

story = (get_or_explain(lambda: corpora.load("the-verdict"), "we read Python's manual.") or corpora.load()).text[:20_000]
seen, new = story[:16_000], story[16_000:]
per_word = {}
for least in (2, 8):
    tokenizer = train_wordpiece(seen, 350, min_count=least)
    per_word[least] = len(tokenizer.encode(new)) / len(new.split())
    print(f"min_count {least}: {per_word[least]:.2f} tokens per word; {[tokenizer.token(i) for i in range(340, 350)]}")
assert per_word[8] < per_word[2]

# %% [markdown]
# ## 2. Cuts by chance
# Z of the first j characters is a sum over the pieces that end there. A piece gets its share of this sum.

# %%
p = {"h": 0.1, "u": 0.2, "g": 0.15, "s": 0.05, "hu": 0.1, "ug": 0.2, "hug": 0.1, "gs": 0.1}
word = "hugs"
total = [1.0] + [0.0] * len(word)
for j in range(1, len(word) + 1):
    total[j] = sum(total[i] * p[word[i:j]] for i in range(j) if word[i:j] in p)


def draw(rng):
    pieces, j = [], len(word)
    while j:
        starts = [i for i in range(j) if word[i:j] in p]
        i = rng.choices(starts, [total[i] * p[word[i:j]] for i in starts])[0]
        pieces.append(word[i:j])
        j = i
    return tuple(pieces[::-1])


rng = random.Random(0)
n = 20_000
for cut, times in Counter(draw(rng) for _ in range(n)).most_common():
    share = math.prod(p[x] for x in cut) / total[-1]
    print(f"{' '.join(cut):10} drawn {times / n:.3f}, share {share:.3f}")
    assert abs(times / n - share) < 0.02

# %% [markdown]
# ## 3. Two texts with the same tokens
# White space separates words and is then gone; punctuation is cut apart.

# %%
tokenizer = train_wordpiece("well, well . well", 5 + 5)
a, b = "well , well", "well,\n\nwell"
print(tokenizer.encode(a), tokenizer.encode(b), "->", tokenizer.decode(tokenizer.encode(b)))
assert tokenizer.encode(a) == tokenizer.encode(b) and a != b
