# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6. The ladder: which ideas make training better, and how would you know?
#
# **Question.** Every year brings ideas: another optimizer, another norm, an average of the weights. Each paper reports a gain.
# What does each of them do, and how is a gain measured so that you may believe it?
#
# **For example.** A run ends at 2.489 nats per character, with an idea at 2.463: a gain of 0.026. The same run with another
# seed ends at 2.510.
#
# **Predict first.** Orders of size: by how many nats per character does one run differ from the same run with another *seed*?
# And what does the best single idea bring?
#
# **You need.** Chapter 05; for Muon, what singular values are.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## Muon by hand: one step for all directions
# The gradient of a matrix has a few large singular values and many small ones: a step along it learns the frequent directions
# and hardly the rare ones. Muon makes all singular values about 1. No decomposition is needed: the polynomial
# f(σ) = a·σ + b·σ³ + c·σ⁵ pulls values between 0 and 1 towards 1, and x ← a·x + (b·s + c·s²)·x with s = x·xᵀ applies it to all
# of them together (Newton–Schulz). Five rounds are five times three matrix products.

# %%
a, b, c = 3.4445, -4.7750, 2.0315
gradient = torch.randn(24, 3) @ torch.randn(3, 40) + 0.05 * torch.randn(
    24, 40
)  # three strong directions
x = gradient / gradient.norm()
courses = [torch.linalg.svdvals(x)]
for _ in range(5):
    s = x @ x.T  # shape (24, 24)
    x = a * x + (b * s + c * s @ s) @ x
    courses.append(torch.linalg.svdvals(x))
print("singular values before:", [f"{v:.3f}" for v in courses[0][[0, 2, 3, 23]].tolist()])
print("after five rounds:     ", [f"{v:.3f}" for v in courses[5][[0, 2, 3, 23]].tolist()])
assert courses[0][0] / courses[0][12] > 20 and courses[5][0] / courses[5][12] < 4

# %% [markdown]
# ## An average of the weights by hand
# With a constant learning rate the weights never rest: each batch pushes them another way. Near a minimum the loss is a bowl,
# w swings about its bottom, and the *average* of w lies deeper than any single w. EMA: average ← d·average + (1 − d)·w.

# %%
w, average, d = torch.tensor([2.0, -2.0]), torch.tensor([2.0, -2.0]), 0.98
losses, of_average = [], []
for _ in range(400):
    w = w - 0.3 * (w + torch.randn(2))  # the gradient of |w|²/2, and the noise of a batch
    average = d * average + (1 - d) * w
    losses.append((w**2).sum().item() / 2)
    of_average.append((average**2).sum().item() / 2)
late, late_average = (sum(course[200:]) / 200 for course in (losses, of_average))
print(f"loss of the weights {late:.3f}, of their average {late_average:.3f}")
assert late_average < late / 5

# %% [markdown]
# The average needs no other run and no schedule. But a rate that falls to 0 brings the weights to rest as well: where there is a
# cosine, little is left for the average to gain.
#
# ## The noise scale by hand: when does a larger batch pay?
# A batch's gradient is the true one, G, with noise: E|g_B|² = |G|² + tr(Σ)/B. Norms of two batch sizes are two equations for
# the two unknowns. Their ratio tr(Σ)/|G|² is a batch size: far below it, twice the batch is worth twice the steps; far above
# it, the larger batch only costs.

# %%
G, sigma, small, big = torch.full((50,), 0.1), 2.0, 16, 64
true = 50 * sigma**2 / (G**2).sum().item()
of_small, of_big = 0.0, 0.0
for _ in range(500):
    g = G + sigma * torch.randn(big, 50)  # shape (B, 50): the gradient of each example
    of_small += (g[:small].mean(0) ** 2).sum().item() / 500
    of_big += (g.mean(0) ** 2).sum().item() / 500
signal = (big * of_big - small * of_small) / (big - small)
noise = (of_small - of_big) / (1 / small - 1 / big)
print(f"noise scale: {noise / signal:.0f} examples, true {true:.0f}")
assert 0.6 < noise / signal / true < 1.6

# %% [markdown]
# ## Two changes of one line
# **ReLU²** is relu(x)·relu(x): still 0 for half of its inputs, and without a corner. **Zero-initialised projections**: the
# layers whose output is added to the shortcut start at 0, so that every block begins as the identity.

# %%
x = torch.linspace(-2, 2, 9, requires_grad=True)
y = F.relu(x) * F.relu(x)
(derivative,) = torch.autograd.grad(y.sum(), x)
assert torch.allclose(derivative, 2 * F.relu(x)), "the derivative is continuous"


class Part(nn.Module):
    def __init__(self, zero):
        super().__init__()
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)
        if zero:
            nn.init.zeros_(self.down.weight)
            nn.init.zeros_(self.down.bias)

    def forward(self, x):
        return x + self.down(F.relu(self.up(x)) ** 2)


x = torch.randn(32, 16)
for zero in (False, True):
    y = nn.Sequential(*[Part(zero) for _ in range(12)])(x)
    print(
        f"12 parts, {'zero' if zero else 'usual'} projections: size {x.std().item():.2f} -> {y.std().item():.2f}"
    )
    assert torch.equal(y, x) == zero

# %% [markdown]
# ## With the package: a small ladder
# Every idea is a field of the config or an option of `pretrain`. To measure one: the same seed, the same windows in the same
# order, the same test windows, and *paired* differences with their interval, because what makes a window hard cancels out.
# And the one number that most tables leave out: how much another seed changes the result.

# %% tags=["package"]
from tinygrad_llm.data import corpora  # noqa: E402
from tinygrad_llm.data.batches import TokenBatches  # noqa: E402
from tinygrad_llm.evaluation import paired_difference  # noqa: E402
from tinygrad_llm.models import GPT, GPTConfig  # noqa: E402
from tinygrad_llm.optim.lr_scheduler import WarmupStableDecayLR  # noqa: E402
from tinygrad_llm.text import CharTokenizer  # noqa: E402
from tinygrad_llm.training import Trainer  # noqa: E402
from tinygrad_llm.training.weight_decay import make_optimizer  # noqa: E402

text = corpora.load().text  # Python's own manual
tokenizer = CharTokenizer.train(text)
ids = tokenizer.encode_to_array(text)
held = torch.from_numpy(ids[-8193:].astype("int64"))
inputs, targets = held[:-1].view(256, 32), held[1:].view(256, 32)  # shape (N, T)
STEPS = 100


def run(seed=1, ema=None, decay=0.0, optimizer="adamw", lr=3e-3, **fields):
    """The loss of each test window after so many steps."""
    torch.manual_seed(seed)
    shape = {"context_length": 32, "emb_dim": 48, "n_heads": 4, "n_layers": 2, "drop_rate": 0.0}
    model = GPT(GPTConfig(tokenizer.vocab_size, **shape, **fields))
    made = make_optimizer(optimizer, model, "none", lr=lr, betas=(0.9, 0.99), weight_decay=0.1)
    schedule = WarmupStableDecayLR(made, 10, STEPS, int(decay * STEPS))
    batches = TokenBatches(ids[:-8193], 16, 32, seed=seed)
    trainer = Trainer(
        model, made, batches, steps=STEPS, scheduler=schedule, ema=ema, progress=False
    )
    trainer.run(plan=False)
    with torch.no_grad():
        each = F.cross_entropy(
            model.eval()(inputs).flatten(0, 1), targets.flatten(), reduction="none"
        )
    return each.view(256, 32).mean(1).numpy()


ideas = {
    "another seed": {"seed": 2}, "a third seed": {"seed": 3}, "a fall at the end (WSD)": {"decay": 0.4},
    "EMA 0.95": {"ema": 0.95}, "RMSNorm": {"norm": "rms"}, "rotary": {"positions": "rotary"},
    "ReLU²": {"feed_forward": "relu2"}, "qk-norm": {"qk_norm": True},
    "zero projections": {"init": "zero"}, "Muon": {"optimizer": "muon"},
}  # fmt: skip
plain = run()
print(f"plain: {plain.mean():.3f} nats per character")
differences = {name: paired_difference(run(**changes), plain) for name, changes in ideas.items()}
for name, d in differences.items():
    print(f"{name:24} {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]")

# %% [markdown]
# **Answer.** The intervals are narrow: chance in the *test windows* is small. But two other seeds differ from the first one by
# some hundredths, as much as most ideas here, and no interval over windows shows that. A gain counts if it is clearly larger
# than what a seed does, or if it stays over several seeds. After these 100 steps that are two: positions as angles, and Muon.
# A norm, an average or an activation brings nothing that can be seen, and projections that start at zero cost the first
# steps. It need not stay so: benchmarks/LADDER.md has the ladder on Shakespeare with four times the steps, each idea alone
# and on top of the others, at equal tokens and at equal time (an idea whose steps take longer gets fewer of them).

# %% tags=["package"]
seeds = max(abs(differences[name].value) for name in ("another seed", "a third seed"))
assert max(differences[name].value for name in ("Muon", "rotary")) < -2 * seeds, (
    "more than a seed does"
)
figure, axis = plt.subplots(figsize=(8, 4))
values = [d.value for d in differences.values()]
errors = [
    [d.value - d.low for d in differences.values()],
    [d.high - d.value for d in differences.values()],
]
axis.barh(list(differences), values, xerr=errors, capsize=3)
axis.axvspan(-seeds, seeds, alpha=0.2, color="gray", label="what another seed does")
axis.set_xlabel("loss minus that of the plain run"), axis.legend(), axis.invert_yaxis()
save_plot(figure, "06_ladder")

# %% [markdown]
# ## Exercises
# 1. Newton–Schulz has no exact fixed point here: apply f(σ) = a·σ + b·σ³ + c·σ⁵ to σ = 1 twenty times. Between which values
#    does it move, and why is that good enough for a step?
# 2. EMA: how many steps does an average with d = 0.98 look back, and what does the average of the first 50 steps contain that
#    a corrected one, divided by 1 − dᵗ, does not?
# 3. Gains do not add up. Two ideas bring 0.10 each alone; together 0.12. Name two reasons, and say in which order a ladder
#    should show them.
#
# Solutions: `lessons/solutions/20_data_and_scaling/06_ladder.py`
