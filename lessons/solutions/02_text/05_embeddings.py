# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: embeddings
#
# ## 1. GPT-2's tables
# 50,257·768 + 1,024·768 = 38.6 + 0.8 million: almost a third of the model, and looking them up needs no
# arithmetic at all.

# %%
import tinygrad_llm as torch
from tinygrad_llm import nn

tokens, positions = 50_257 * 768, 1_024 * 768
print(f"{tokens:,} + {positions:,}: {(tokens + positions) / 124_439_808:.3f} of the whole")
assert tokens + positions == 39_383_808

# %% [markdown]
# ## 2. Which rows move?
# SGD moves w by lr·g: only the rows that were looked up. AdamW's weight decay multiplies *all* rows by
# 1 − lr·λ, looked up or not.

# %%
ids = torch.tensor([[1, 3, 3]])
moved = {}
for name, make in (
    ("SGD", lambda p: torch.optim.SGD(p, lr=0.1)),
    ("AdamW", lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5)),
):
    torch.manual_seed(1)
    table = nn.Embedding(6, 4)
    before = table.weight.detach().clone()
    optimizer = make(table.parameters())
    table(ids).pow(2).sum().backward()
    optimizer.step()
    moved[name] = [i for i in range(6) if not torch.equal(before[i], table.weight[i].detach())]
    print(name, "moved the rows", moved[name])
assert moved == {"SGD": [1, 3], "AdamW": [0, 1, 2, 3, 4, 5]}

# %% [markdown]
# ## 3. The order
# A mean does not depend on the order of what it averages. Adding positions alone does not help yet: the
# mean of (token + position) is again the mean of the tokens plus that of the positions! A non-linear
# function after the sum (here tanh) is needed, so that the two are no longer simply added.

# %%
torch.manual_seed(2)
tok_emb, pos_emb = nn.Embedding(3, 8), nn.Embedding(3, 8)
one, two = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0])  # dog bites man, man bites dog
at = pos_emb(torch.arange(3))
with torch.no_grad():
    assert torch.allclose(tok_emb(one).mean(0), tok_emb(two).mean(0))
    assert torch.allclose((tok_emb(one) + at).mean(0), (tok_emb(two) + at).mean(0), atol=1e-6)
    after_tanh = [torch.tanh(tok_emb(ids) + at).mean(0) for ids in (one, two)]
print("difference after tanh:", (after_tanh[0] - after_tanh[1]).abs().max().item())
assert not torch.allclose(*after_tanh, atol=1e-3)
