# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: adapting a whole model

# %%
import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.models import GPT
from tinygrad_llm.layers import lora
from tinygrad_llm.text import CharTokenizer
from tinygrad_llm.training import EvaluationBatches, TokenBatches, Trainer, evaluate

plays = corpora.load("tinyshakespeare").text[:100_000]
story = corpora.load("the-verdict").text
tokenizer = CharTokenizer.train(plays + story)
cut = int(0.8 * len(story))
val = EvaluationBatches(tokenizer.encode(story[cut:]), 32, 48)
config = dict(vocab_size=tokenizer.vocab_size, context_length=48, emb_dim=48, n_heads=4, n_layers=2, drop_rate=0.0)


def train(model, text, steps, lr):
    optimizer = tl.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    batches = TokenBatches(tokenizer.encode(text), 16, 48)
    return Trainer(model, optimizer, batches, steps=steps, progress=False).run(plan=False)


tl.manual_seed(123)
base = GPT(config)
train(base, plays, 300, 3e-3)
start = evaluate(base, val)[0]


def adapted(names, rank, alpha, lr=5e-3, steps=80):
    """(trained parameters, validation loss)"""
    model = GPT(config)
    model.load_state_dict(base.state_dict())
    tl.manual_seed(7)
    lora.add(model, rank=rank, alpha=alpha, names=names)
    train(model, story[:cut], steps, lr)
    return lora.count(model)["trainable"], evaluate(model, val)[0]


# %% [markdown]
# ## 1. Attention or feed-forward
# A block's attention has 48 x 144 and 48 x 48, its feed-forward twice 48 x 192. With rank 5 for the first
# and rank 3 for the second they have the same number of parameters: 5·(192 + 96) = 3·(240 + 240).

# %%
attention, feed_forward = adapted(["att.*"], 5, 10), adapted(["ff.*"], 3, 6)
print(f"before {start:.3f};  attention {attention[1]:.3f} ({attention[0]:,} parameters);  "
      f"feed-forward {feed_forward[1]:.3f} ({feed_forward[0]:,} parameters)")
assert attention[0] == feed_forward[0]
assert attention[1] < start and feed_forward[1] < start

# %% [markdown]
# Both learn; with so small a model the difference is small. The usual choice is both.
#
# ## 2. Two adapters, one base

# %%
model = GPT(config)
model.load_state_dict(base.state_dict())
for text in (story[:cut], plays[:5000]):
    lora.add(model, rank=2, alpha=4)
    train(model, text, 10, 5e-3)
    lora.remove(model)
afterwards = model.state_dict()
assert all(tl.equal(afterwards[name], value) for name, value in base.state_dict().items())
print("two adapters came and went; the base is the same to the byte")

# %% [markdown]
# ## 3. α
# ΔW is multiplied by α/r, and so is its gradient: α works like a learning rate. If it is too small, learning
# is slow; if it is too large, the loss jumps.

# %%
loss_at = {}
for factor in (1 / 8, 2, 128):
    loss_at[factor] = adapted(["trf_blocks.*"], 4, 4 * factor)[1]
    print(f"α = {factor:g}·r: loss {loss_at[factor]:.3f}")
assert loss_at[2] < loss_at[1 / 8] and loss_at[2] < loss_at[128]
