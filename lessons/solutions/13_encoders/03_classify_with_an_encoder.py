# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: classify with an encoder
#
# ## 1. Pairs of words
# "ann beat" stands in the text exactly if ann won: pairs are enough. "ann beat" would not be enough for
# "ann never beat bob": that needs triples, and the table grows with every word more.

# %%
import numpy as np

from tinygrad_llm.finetune.counts import CountsBaseline

draw = np.random.default_rng(3)
NAMES = "ann bob cem dan eva".split()


def match():
    other, won = str(draw.choice(NAMES[1:])), int(draw.integers(2))
    first, second = ("ann", other) if won else (other, "ann")
    return f"yesterday {first} beat {second}", won


def pairs(rows):
    return [(" ".join(f"{a}_{b}" for a, b in zip(t.split(), t.split()[1:])), label) for t, label in rows]


rows = [match() for _ in range(600)]
single = CountsBaseline.fit(rows[:400], rows[400:450], 2).right(rows[450:]).mean()
double = CountsBaseline.fit(pairs(rows[:400]), pairs(rows[400:450]), 2).right(pairs(rows[450:])).mean()
print(f"words {single:.0%}, pairs of words {double:.0%}")
assert single < 0.65 and double == 1.0

# %% [markdown]
# ## 2. The first token of a GPT
# Its vector depends on the first token alone, which is the same in every sentence: the answer is a coin.

# %%
from tinygrad_llm import equal, manual_seed, tensor
from tinygrad_llm.finetune import GPTClassifier
from tinygrad_llm.models import GPT, GPTConfig

manual_seed(1)
model = GPTClassifier(GPT(GPTConfig(10, 8, 16, 2, 1)), pool="first", pad_token_id=0).eval()
one, two = model(tensor([[1, 2, 3]])), model(tensor([[1, 3, 2]]))
print(one.tolist(), two.tolist())
assert equal(one, two)

# %% [markdown]
# ## 3. How many sentences
# A share p of N texts has the standard error √(p(1 − p)/N). Two scores differ by more than chance if their
# difference is about twice its own error, √(p(1 − p)/N + q(1 − q)/N): N is about 750. On the *same* test set
# fewer are enough, because what makes a sentence hard is hard for both.

# %%
p, q = 0.95, 0.97
N = 4 * (p * (1 - p) + q * (1 - q)) / (q - p) ** 2
print(f"{N:.0f} sentences")
assert 700 < N < 800
