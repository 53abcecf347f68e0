# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: trained side by side
#
# ## 1. Three seeds
# The same model, other random numbers at the start.

# %%
import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

T, BATCH = 48, 12
text = corpora.load().text[:300_000]
tokenizer = CharTokenizer.train(text)
ids = tl.tensor(tokenizer.encode(text))


def batch(step, part):
    draw = tl.Generator().manual_seed(step)
    starts = tl.randint(0, len(part) - T - 1, (BATCH,), generator=draw)
    rows = tl.stack([part[int(s) : int(s) + T + 1] for s in starts])
    return rows[:, :-1], rows[:, 1:]


def loss_of(seed, steps=60, emb_dim=32, n_layers=4, **kind):
    tl.manual_seed(seed)
    model = GPT(GPTConfig(tokenizer.vocab_size, T, emb_dim, 4, n_layers, drop_rate=0.0, **kind))
    optimizer = tl.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(*batch(step, ids[:270_000])).backward()
        optimizer.step()
    with tl.no_grad():
        losses = [model.eval().loss(*batch(10_000 + i, ids[270_000:])).item() for i in range(10)]
    return sum(losses) / len(losses), model.n_parameters()


losses = [loss_of(seed)[0] for seed in (1, 2, 3)]
spread = max(losses) - min(losses)
print("three seeds:", " ".join(f"{loss:.3f}" for loss in losses), f" spread {spread:.3f}")
assert 0.0 < spread < 0.3

# %% [markdown]
# ## 2. As many parameters
# One key head saves 2·(C − D)·C weights and 2·(C − D) biases per block, and a wider model gives them back.

# %%
plain, n = loss_of(1)
wider, m = loss_of(1, emb_dim=36, attention="mqa")
print(f"mha with {n:,} parameters: {plain:.3f}; mqa with {m:,}: {wider:.3f}")
assert abs(m / n - 1) < 0.15

# %% [markdown]
# ## 3. The share that a token meets
# Of the 4 experts of a block 2 compute. An expert has 3·32·64 weights.

# %%
model = GPT(GPTConfig(tokenizer.vocab_size, T, 32, 4, 4, feed_forward="moe", n_experts=4, expert_dim=64))
idle = 4 * 2 * 3 * 32 * 64  # blocks · experts that rest · weights of one
share = 1 - idle / model.n_parameters()
print(f"{share:.0%} of the weights")
assert 0.4 < share < 0.8
