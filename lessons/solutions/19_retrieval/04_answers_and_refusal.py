# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: answers and refusal

# %%
import math

import tinygrad_llm as torch

# %% [markdown]
# ## 1. The price of an overlap
# Each chunk begins 80 words after the last: 1 + ⌈(1,000 − 100)/80⌉ = 13 chunks. 12 neighbours share 20 words each, so
# 1,000 + 12·20 words are stored at most: 1.24 times the text.

# %%
chunks = 1 + math.ceil((1000 - 100) / 80)
starts = [80 * i for i in range(chunks)]
stored = sum(min(1000, s + 100) - s for s in starts)
print(chunks, "chunks,", stored / 1000, "times each word")
assert chunks == 13 and abs(stored / 1000 - 1.24) < 1e-9

# %% [markdown]
# ## 2. Two kinds of errors
# At 0.35 nothing with an answer is refused, and 2 of 10 foreign questions pass: 10 % · 0.2 = 2 % wrong answers. At 0.6 two
# of ten with an answer are refused, 90 % · 0.2 = 18 % wrong refusals, and no foreign one passes.

# %%
answered = torch.tensor([0.53, 0.58, 0.61, 0.66, 0.70, 0.72, 0.74, 0.79, 0.83, 0.90])
foreign = torch.tensor([0.16, 0.18, 0.20, 0.21, 0.22, 0.25, 0.28, 0.31, 0.37, 0.55])
for threshold in (0.35, 0.6):
    refusals = 0.9 * (answered < threshold).float().mean().item()
    answers = 0.1 * (foreign >= threshold).float().mean().item()
    print(f"{threshold}: wrong refusals {refusals:.2f}, wrong answers {answers:.2f}")
assert abs(refusals - 0.18) < 1e-6 and answers == 0.0

# %% [markdown]
# ## 3. Short is not close
# The order by length forgets the order by cosine: questions whose answer stands in a long passage lose it, and the prompt is
# filled with headings and list items.

# %%
passages = [(0.8, "Green tea steeps for two minutes at eighty degrees."), (0.3, "Tea."), (0.2, "Cups."), (0.1, "Milk.")]
by_cosine = sorted(passages, reverse=True)[:3]
wrong = sorted(by_cosine + passages[3:], key=lambda p: len(p[1]))[:3]
print([text for _, text in wrong])
assert any("two minutes" in text for _, text in by_cosine) and not any("two minutes" in text for _, text in wrong)
