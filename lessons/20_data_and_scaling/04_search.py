# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Searching for good options
#
# **Question.** A run has a dozen options, and a run takes an hour. How do you find good values without trying them all?
#
# **For example.** With learning rates 0.001, 0.01 and 0.1 and 2, 4 or 8 layers a grid has 9 runs. If the depth hardly matters, three
# of them are enough, and the others could have tried six more learning rates.
#
# **Predict first.** Two options, nine runs. A grid of 3 x 3, or nine random points: which of them tries more different values of
# the option that matters? And of 27 runs, how much time is saved if two thirds of them are stopped after a ninth of the steps?
#
# **You need.** A training loop, and what a learning rate is (chapter 05).

# %%
import math
import random

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: a run that takes no time
# A small network learns y = sin(3x₁) + x₂². Its options: the learning rate, and the width. 0.03 s a run, so that we may look
# at everything.

# %%
x = torch.rand(256, 2) * 2 - 1
y = torch.sin(3 * x[:, :1]) + x[:, 1:] ** 2  # shape (256, 1)
x_val = torch.rand(256, 2) * 2 - 1
y_val = torch.sin(3 * x_val[:, :1]) + x_val[:, 1:] ** 2


class Run:
    """A run that can make some steps, and later go on."""

    def __init__(self, lr, width, seed=1):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        self.steps = 0

    def until(self, steps):
        while self.steps < steps:
            self.optimizer.zero_grad()
            ((self.model(x) - y) ** 2).mean().backward()
            self.optimizer.step()
            self.steps += 1
        with torch.no_grad():
            return ((self.model(x_val) - y_val) ** 2).mean().item()


print(f"lr 0.01, width 16, 81 steps: {Run(0.01, 16).until(81):.4f}")

# %% [markdown]
# ## By hand: a learning rate is searched by factors
# Between 0.001 and 1, drawn evenly, nine of ten draws are above 0.1. Drawn evenly **in the logarithm**, each factor of ten
# has a third of them. Any option that acts by its factor (learning rate, weight decay, width) is searched so.

# %%
draw = random.Random(5)
even = [draw.uniform(1e-3, 1.0) for _ in range(1000)]
log = [math.exp(draw.uniform(math.log(1e-3), math.log(1.0))) for _ in range(1000)]
shares = [sum(v < 1e-2 for v in values) / 1000 for values in (even, log)]
print(f"below 0.01: {shares[0]:.1%} of even draws, {shares[1]:.1%} of even draws of the logarithm")
assert shares[0] < 0.03 and 0.28 < shares[1] < 0.39

# %% [markdown]
# ## By hand: a grid against random points
# Nine runs in a grid try three learning rates. Nine random ones try nine (Bergstra and Bengio, 2012). Mostly one option matters
# far more than the others, and then a grid makes each of its runs three times over.

# %%
def grid():
    return [(lr, width) for lr in (1e-3, 3.2e-2, 1.0) for width in (4, 11, 32)]


def randomly(n, seed):
    own = random.Random(seed)
    return [(math.exp(own.uniform(math.log(1e-3), math.log(1.0))),
             round(math.exp(own.uniform(math.log(3.5), math.log(32.5))))) for _ in range(n)]  # fmt: skip


STEPS = 81
of_grid = [(Run(*options).until(STEPS), options) for options in grid()]
of_random = [[(Run(*options).until(STEPS), options) for options in randomly(9, seed)] for seed in range(4)]
print(f"grid: {len({lr for lr, _ in grid()})} learning rates, best loss {min(of_grid)[0]:.4f}")
for trials in of_random:
    print(f"random: 9 learning rates, best loss {min(trials)[0]:.4f} at lr {min(trials)[1][0]:.4f}, width {min(trials)[1][1]}")
better = sum(min(trials) < min(of_grid) for trials in of_random)
assert better >= 2, "random points win mostly, not always"

# %% [markdown]
# ## By hand: stop what is hopeless
# **Successive halving** (Jamieson and Talwalkar, 2016): 27 runs make 3 steps of 81. The best 9 continue to 9 steps, of these the best
# 3 to 27, the best one to the end. Each round costs about the same, and all four cost as much as a few whole runs. They *go
# on*: nothing is made twice, and each has the schedule of a whole run.

# %%
def halving(candidates, steps, eta=3):
    runs = [(Run(*options), options) for options in candidates]
    rounds = round(math.log(len(runs), eta))
    made, table = 0, []
    for k in range(rounds + 1):
        until = steps // eta ** (rounds - k)
        made += sum(until - run.steps for run, _ in runs)
        ranked = sorted(((run.until(until), options, run) for run, options in runs), key=lambda row: row[0])
        table.append([(loss, options) for loss, options, _ in ranked])
        runs = [(run, options) for _, options, run in ranked[: max(1, len(ranked) // eta)]]
    return table, made


candidates = randomly(27, 7)
table, made = halving(candidates, STEPS)
every = sorted((Run(*options).until(STEPS), options) for options in candidates)
place = [options for _, options in every].index(table[-1][0][1])
print(f"halving: {made} steps in place of {27 * STEPS}; its best is number {place + 1} of 27")
print("rounds:", [len(rows) for rows in table])
assert [len(rows) for rows in table] == [27, 9, 3, 1] and made < 27 * STEPS / 7

# %% [markdown]
# The second prediction asks for less: one cut only. After a ninth of the steps 18 of the 27 runs stop, and 9 run to the end.

# %%
one_cut = 18 / 9 + 9  # in whole runs
print(f"one cut: {one_cut:.0f} whole runs in place of 27, {27 - one_cut:.0f} are saved: {1 - one_cut / 27:.0%}")
print(f"four rounds: {made / STEPS:.1f} whole runs, {1 - made / (27 * STEPS):.0%} are saved")
assert one_cut == 11 and round(100 * (1 - one_cut / 27)) == 59

# %% [markdown]
# What it can get wrong: after 3 steps a high learning rate looks better than it will at the end, or a large model worse.
# The more the order changes later, the longer the first round must be.
#
# ## With the package
# `tinygrad-llm search` does this with any command's options. The space is made of the same declarations as the flags, so what
# a run would refuse, the space refuses. A trial's values depend on the seed and its number alone: a search that was killed goes on
# where it was.

# %% tags=["package"]
from tinygrad_llm.training.presets import PretrainOptions  # noqa: E402
from tinygrad_llm.training.search.space import Space  # noqa: E402
from tinygrad_llm.training.search.strategies import rounds_of  # noqa: E402

space = Space.parse(PretrainOptions, {"lr": "1e-4..1e-1:log", "n_layers": "2,4,6", "steps": "81"})
print(space.searched, space.fixed)
assert [n for n, _ in rounds_of(27, 81, 3, None)] == [27, 9, 3, 1]
assert [steps for _, steps in rounds_of(27, 81, 3, None)] == [3, 9, 27, 81]

# %% [markdown]
# **Answer.** Nine random points try nine values, the grid three; one cut saves 16 of 27 runs, 59 %. Draw, do not count; draw
# what acts by factors in the logarithm; stop what is behind. And the best of many trials is also the luckiest: its loss on
# the data that chose it is too good. Measure the winner once more, with another seed.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for name, trials, marker in (("grid", of_grid, "s"), ("random", of_random[0], "o")):
    axes[0].scatter([o[0] for _, o in trials], [loss for loss, _ in trials], marker=marker, label=name)
axes[0].set_xscale("log"), axes[0].set_yscale("log"), axes[0].legend()
axes[0].set_xlabel("learning rate"), axes[0].set_ylabel("validation loss")
budgets = [STEPS // 3 ** (3 - k) for k in range(4)]
for options in candidates:
    seen = [(b, dict((o, loss) for loss, o in rows)[options]) for b, rows in zip(budgets, table)
            if options in [o for _, o in rows]]  # fmt: skip
    axes[1].plot(*zip(*seen), "o-", markersize=3, linewidth=0.8, color="tab:red" if len(seen) == 4 else "tab:blue")
axes[1].set_xscale("log"), axes[1].set_yscale("log")
axes[1].set_xticks(budgets, [str(b) for b in budgets]), axes[1].minorticks_off()
axes[1].set_xlabel("steps"), axes[1].set_ylabel("validation loss"), axes[1].set_title("successive halving")
save_plot(figure, "04_search")

# %% [markdown]
# ## Exercises
# 1. n random points: with which probability is one of them among the best 5 % of the space? How many are needed for 95 %?
# 2. How many steps does successive halving make for eta = 2 with 32 trials and 512 steps, and how many whole runs is that?
# 3. A mistake that runs without an error: the seed of the weights is the same in all trials, and the best value is chosen with it.
#    Take the best three of the 27, and run each with 5 other seeds. Is the order the same?
#
# Solutions: `lessons/solutions/20_data_and_scaling/04_search.py`
