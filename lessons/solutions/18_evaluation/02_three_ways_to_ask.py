# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: three ways to ask

# %%
import re

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

torch.manual_seed(123)

# %% [markdown]
# ## 1. A reader of letters
# A letter counts before a mark or at the end, so that "A dog" has none: there it is an article.


# %%
def letter(text, allowed="ABCD"):
    match = re.search(rf"(?<![A-Za-z])([{allowed}])(?=\s*(?:[^\w\s']|$))", text)
    return match and match[1]


print([letter(t) for t in ("The answer is (B).", "C", "A dog", "Bad")])
assert [letter(t) for t in ("The answer is (B).", "C", "A dog", "Bad")] == ["B", "C", None, None]

# %% [markdown]
# ## 2. Every taste scores 1/K
# It takes place k with some probability t_k, which does not depend on what is right. The right answer stands at k with 1/K:
# Σ t_k · 1/K = 1/K.

# %%
taste = F.softmax(torch.tensor([3.0, 0.0, -1.0, 0.5]), 0)  # shape (4,)
print(round((taste * 0.25).sum().item(), 4))
assert abs((taste * 0.25).sum().item() - 0.25) < 1e-6

# %% [markdown]
# ## 3. The blank belongs to the word
# After "is" comes the token " Paris"; the token "Paris" stands at the beginning of lines and has another logit.

# %%
vocabulary = [" Paris", "Paris", " Rome", "Rome", " the"]
log_p = F.log_softmax(torch.tensor([4.0, -1.0, 2.0, 0.0, 3.0]), 0)  # shape (5,)
with_blank = log_p[0] > log_p[2]
without = log_p[1] > log_p[3]
print({w: round(v, 2) for w, v in zip(vocabulary, log_p.tolist())})
assert with_blank.item() and not without.item(), "without the blank the wrong answer wins"
