# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: BERT
#
# ## 1. Without positions and text numbers
# Attention is a sum over a set. Exchange two tokens, and their outputs are exchanged: the output at [CLS] is the
# same number for "a [SEP] b" and for "b [SEP] a". An embedding of the text's number, or of positions, ends that.

# %%
import math

from tinygrad_llm import allclose, manual_seed, no_grad, optim, randint, tensor
from tinygrad_llm.models import Bert, BertConfig

manual_seed(1)
model = Bert(BertConfig(10, 8, 16, 32, 2, 2, drop_rate=0.0, attention_drop_rate=0.0)).eval()
CLS, SEP, A, B = 1, 2, 5, 6
one, two = tensor([[CLS, A, SEP, B]]), tensor([[CLS, B, SEP, A]])
types = tensor([[0, 0, 0, 1]])
with no_grad():
    model.pos_emb.weight.zero_()
    assert allclose(model(one)[:, 0], model(two)[:, 0], atol=1e-5)
    model.type_emb.weight[1] += 1.0
    apart = (model(one, token_type_ids=types)[:, 0] - model(two, token_type_ids=types)[:, 0]).abs().max().item()
print(f"without both: the same; with text numbers the largest difference is {apart:.3f}")
assert apart > 1e-4

# %% [markdown]
# ## 2. The smallest loss
# Ten words, each hidden equally often. Eight cost nothing: had, in, the, because, was and tired are always the same,
# the pronoun follows from the name, and the time from the drink. A name is one of four, a drink one of two.

# %%
costs = {"name": math.log(4), "drink": math.log(2)}
smallest = sum(costs.values()) / 10
print(f"{smallest:.3f} nats per hidden token")
assert abs(smallest - 0.2079) < 1e-3

# %% [markdown]
# With 15 % hidden it is a little more: sometimes name and pronoun are both hidden, and each costs ln 2 more.
#
# ## 3. Nothing hidden
# The loss falls to 0 within a few steps, because the model copies: the token itself stands at its place. It has
# learned its embedding's inverse, and nothing about the language.

# %%
from tinygrad_llm.models import BertForMaskedLM

model = BertForMaskedLM(BertConfig(30, 12, 32, 64, 2, 1, drop_rate=0.0, attention_drop_rate=0.0))
optimizer = optim.AdamW(model.parameters(), lr=1e-2)
for step in range(120):
    ids = randint(0, 30, (32, 12))  # random tokens: nothing but noise
    loss = model.loss(ids, ids)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f} on random tokens")
assert loss.item() < 0.1
