# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: windows, holes and sinks
#
# ## 1. The cache of a mixture
# 27 layers keep 1,024 tokens, 5 keep all: (27·1024 + 5·32768) / (32·32768).

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

share = (27 * 1024 + 5 * 32768) / (32 * 32768)
print(f"{share:.4f} of the full cache: 17.18 GB become {17.18 * share:.2f} GB")
assert round(17.18 * share, 2) == 3.14

# %% [markdown]
# ## 2. The first token becomes the sink
# A key whose value is 0 is all that a head needs. This is what models without a learned sink do with the first
# token of every text, and why a window must keep it.

# %%
torch.manual_seed(2)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(11, 8, bias=False), nn.Linear(11, 8, bias=False)
        self.v = nn.Linear(11, 1, bias=False)

    def weights(self, x):
        T = x.shape[1]
        scores = self.q(x) @ self.k(x).transpose(1, 2) / math.sqrt(8)
        return torch.softmax(scores.masked_fill(torch.triu(torch.ones(T, T), diagonal=1).bool(), -math.inf), dim=-1)

    def forward(self, x):
        return self.weights(x) @ self.v(x)


def batch(n, T=9):
    value, marked = torch.rand(n, T, 1) + 0.5, (torch.rand(n, T, 1) < 0.3).float()
    value[:, 0], marked[:, 0] = 0.0, 0.0  # the first token holds nothing
    x = torch.cat([value, marked, torch.eye(T).expand(n, T, T)], dim=-1)  # (n, T, 11)
    return x, torch.cat([torch.zeros(n, 1, 1), (value * marked)[:, :-1]], dim=1), marked


head = Head()
optimizer = torch.optim.AdamW(head.parameters(), lr=0.03)
for _ in range(500):
    x, target, _ = batch(64)
    loss = F.mse_loss(head(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
x, target, marked = batch(64)
weights = head.weights(x)
nothing = (marked[:, :-1, 0] == 0).float()  # (n, T − 1): the token before is not marked
to_first = (weights[:, 1:, 0] * nothing).sum() / nothing.sum()
print("without anything to copy, most weight goes to the first token:", to_first.item() > 0.5)
assert to_first.item() > 0.5

# %% [markdown]
# ## 3. Dilations that grow
# (4 − 1)·1 + (4 − 1)·4 + (4 − 1)·16 = 63 tokens back: every one of the last 64 is reached by exactly one path.

# %%
paths = {}
for a in range(4):
    for b in range(4):
        for c in range(4):
            back = a * 1 + b * 4 + c * 16
            paths[back] = paths.get(back, 0) + 1
print("reach:", max(paths), " paths to each:", set(paths.values()))
assert sorted(paths) == list(range(64)) and set(paths.values()) == {1}
