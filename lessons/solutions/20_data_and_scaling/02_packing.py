# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: packing

# %%
import random

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

torch.manual_seed(123)
draw = random.Random(3)
T = 64
lengths = [min(60, 1 + int(draw.expovariate(1 / 18))) for _ in range(60)]


def first_fit(lengths):
    rows = []
    for n in lengths:
        row = next((row for row in rows if sum(row) + n <= T), None)
        if row is None:
            rows.append([n])
        else:
            row.append(n)
    return rows


# %% [markdown]
# ## 1. Documents of one length
# T² scores for the whole row; (T/n)·n² = T·n within documents: T/n times fewer, as many times as there are documents.

# %%
for n in (8, 16, 32):
    print(f"n = {n}: {T * T} and {T // n * n * n} scores")
    assert T * T / (T // n * n * n) == T // n

# %% [markdown]
# ## 2. Longest first
# Sorted, fewer rows are needed: the short ones fill the gaps. But the first rows then hold the long documents only and the
# last rows the short ones; batches in this order are not random draws of the corpus. Sort within a buffer, or shuffle rows.

# %%
plain, best = len(first_fit(lengths)), len(first_fit(sorted(lengths, reverse=True)))
least = -(-sum(lengths) // T)
print(f"{plain} rows in the order of the corpus, {best} sorted; {least} at least")
assert least <= best <= plain

# %% [markdown]
# ## 3. Targets that cross
# Each document but the last of a row makes one such target: rows with m documents have m − 1 of them. cross_entropy leaves
# out the targets that are −100, and divides by the number of the others.

# %%
rows = first_fit(lengths)
crossing = sum(len(row) - 1 for row in rows)
row = max(rows, key=len)
targets = torch.randint(0, 50, (sum(row),))  # shape (t,)
end = 0
for n in row[:-1]:
    end += n
    targets[end - 1] = -100
print(f"{crossing} of {sum(lengths)} targets; in the fullest row {int((targets == -100).sum().item())}")
logits = torch.randn(len(targets), 50)
kept = targets != -100
assert crossing == len(lengths) - len(rows) and int((~kept).sum().item()) == len(row) - 1
assert torch.allclose(F.cross_entropy(logits, targets), F.cross_entropy(logits[kept], targets[kept]))
