# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 10. Trained side by side: one text, one seed, one part exchanged
#
# **Question.** Fewer key heads, a window, a memory in place of attention, experts: what does each choice cost in
# loss, and what does it bring in speed and memory, when everything else is the same?
#
# **For example.** Model A has a loss of 2.31, model B of 2.29, with one seed each. With three seeds both vary
# by 0.05: nothing was shown.
#
# **Predict first.** Small GPTs see the same batches of the same text. Order them by their loss after the same
# number of steps: full attention, 1 key head for 4 query heads, a window of 8 characters in three of four
# blocks, a gated DeltaNet, 4 experts of which 2 compute.
#
#     fair comparison: the same text, batches, seed, width, depth, learning rate, steps
#     not the same: the number of parameters, and the time of a step; both belong into the table
#
# **You need.** Lessons 1 to 9.

# %%
import math
import time

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.models.estimate import estimate
from tinygrad_llm.study.lesson import full_run, save_plot
from tinygrad_llm.text import CharTokenizer

full = full_run("2,000 steps of each model in place of 80: about half an hour on two cores")
STEPS, T, BATCH = (2000 if full else 80), 48, 12
text = corpora.load().text[:300_000]
tokenizer = CharTokenizer.train(text)
ids = tl.tensor(tokenizer.encode(text))  # (N)

# %% [markdown]
# ## By hand: what must be equal
# Every model gets the same windows in the same order: the seed of a batch is the number of its step. The
# weights start from one seed too, but a layer of another shape draws other numbers. So one run says little
# about a difference of 0.02; repeat with other seeds before you believe it.

# %%
def batch(step, part):
    draw = tl.Generator().manual_seed(step)
    starts = tl.randint(0, len(part) - T - 1, (BATCH,), generator=draw)
    rows = tl.stack([part[int(s) : int(s) + T + 1] for s in starts])  # (BATCH, T + 1)
    return rows[:, :-1], rows[:, 1:]


a, b = batch(3, ids)[0], batch(3, ids)[0]
print("shape of a batch:", tuple(a.shape))
assert (a == b).all() and not (a == batch(4, ids)[0]).all()

# %% [markdown]
# ## With the package
# The switch is one field of the config.

# %%
KINDS = {
    "mha": {},
    "mqa": dict(attention="mqa"),
    "swa": dict(attention="swa", window=8, ratio=3),
    "deltanet": dict(attention="deltanet", positions="none"),
    "moe": dict(feed_forward="moe", n_experts=4, n_experts_per_token=2, expert_dim=64),
    "mha, rotary": dict(positions="rotary"),
}
rows, curves = {}, {}
print(f"{'model':12}{'parameters':>12}{'loss':>8}{'tokens/s':>10}{'cache, bytes':>14}")
for name, kind in KINDS.items():
    tl.manual_seed(1)
    config = GPTConfig(tokenizer.vocab_size, T, 32, 4, 4, drop_rate=0.0, **kind)
    model = GPT(config)
    optimizer = tl.optim.AdamW(model.parameters(), lr=4e-3)
    curve, times = [], []
    for step in range(STEPS):
        inputs, targets = batch(step, ids[:270_000])
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = model.loss(inputs, targets)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
        curve.append(loss.item())
    model.eval()
    with tl.no_grad():
        losses = [model.loss(*batch(10_000 + i, ids[270_000:])).item() for i in range(20)]
    costs = estimate(config)
    rows[name] = {"loss": sum(losses) / len(losses), "costs": costs, "seconds": sorted(times)[len(times) // 2]}
    curves[name] = curve
    speed = BATCH * T / rows[name]["seconds"]
    print(f"{name:12}{costs.parameters:12,}{rows[name]['loss']:8.3f}{speed:10,.0f}{costs.cache_bytes:14,}")

# %% [markdown]
# All of them learn: from ln V, the loss of a uniform guess, to less than 3. The differences in loss are small
# against that; those in cache are not. Experts have the most parameters and nearly the same operations per
# token as a dense layer as wide as the two that compute.

# %%
guess = math.log(tokenizer.vocab_size)
cache = {name: row["costs"].cache_bytes for name, row in rows.items()}
assert all(row["loss"] < 0.75 * guess for row in rows.values())
assert cache["mqa"] * 4 == cache["mha"] and cache["swa"] < cache["mha"]
assert cache["deltanet"] < cache["mha"]
assert rows["moe"]["costs"].active_parameters < rows["moe"]["costs"].parameters
spread = max(row["loss"] for row in rows.values()) - min(row["loss"] for row in rows.values())
print(f"a uniform guess has {guess:.3f} nats; between the best and the worst model: {spread:.3f}")

figure, axes = plt.subplots(figsize=(9, 4.5))
for name, curve in curves.items():
    wide = max(1, len(curve) // 20)
    means = [sum(curve[i : i + wide]) / wide for i in range(0, len(curve) - wide + 1, wide)]
    axes.plot([wide * (i + 0.5) for i in range(len(means))], means, label=name)
axes.set_xlabel("step"), axes.set_ylabel("training loss, nats per character"), axes.legend()
save_plot(figure, "10_trained_side_by_side")

# %% [markdown]
# A larger run with more kinds is in `tinygrad_llm/models/ESTIMATES.md`; its command is
# `python -m benchmarks attention-variants`. The same switch from a terminal:
# `tinygrad-llm pretrain --attention gqa --positions rotary`.
#
# ## Exercises
# 1. Train full attention with three seeds. How large is the spread of the loss, and which differences in the
#    table above are larger?
# 2. Give `mqa` as many parameters as `mha` by a wider model or one more block, and compare again.
# 3. Which share of all weights does a token meet in the model with experts? Compute it by hand from the shapes.
#
# Solutions: `lessons/solutions/11_attention_variants/10_trained_side_by_side.py`
