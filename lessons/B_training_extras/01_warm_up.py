# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Warm-up
#
# **Question.** A learning rate that is right for step 1,000 can ruin step 1. Why, and what helps?
#
# **For example.** Peak 0.001, ten steps of warm-up: 0.0001, 0.0002, …, 0.001.
#
# **Answer.** AdamW divides by a mean square of past gradients. In the first steps there is almost no past:
# the mean comes from one or two batches, and every weight moves by the full learning rate, whether its
# gradient is reliable or noise. So start small and increase the learning rate in a straight line:
#
#     lr(step) = peak · (step + 1) / warm-up steps        for the first steps
#
# The usual length is 1 to 10 % of the run.
#
# **You need.** Chapter 05, lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: how far does AdamW move at step 1?
# Two weights: one gradient is large, the other a thousand times smaller and mere noise. Both move by exactly
# lr.

# %%
w = torch.tensor([1.0, 1.0], requires_grad=True)
optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=0.0)
w.grad = torch.tensor([5.0, 0.005])
optimizer.step()
moved = (1.0 - w.detach()).tolist()
print("gradients 5 and 0.005: both move by", [round(m, 4) for m in moved])
assert abs(moved[0] - 0.1) < 1e-4 and abs(moved[1] - 0.1) < 1e-4

# %% [markdown]
# With gradients that change their sign, as noise does, a noisy weight soon stands almost still, because the
# mean gradient is near zero. The first steps do not have that memory yet.

# %%
torch.manual_seed(123)
w = torch.zeros(500, requires_grad=True)  # 500 weights whose gradients are only noise
optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=0.0)
sizes = []
for _ in range(30):
    before = w.detach().clone()
    w.grad = torch.randn(500)
    optimizer.step()
    sizes.append((w.detach() - before).abs().mean().item() / 0.1)
print("mean step, in units of lr:", ", ".join(f"{sizes[i]:.2f}" for i in (0, 1, 4, 9, 29)), "at steps 1, 2, 5, 10, 30")
assert sizes[0] > 0.99 and sizes[-1] < 0.4

# %% [markdown]
# ## By hand: a class of our own
# It sets the optimizer's `lr` before each step. Nothing more is needed.

# %%
class WarmUp:
    def __init__(self, optimizer, peak, steps):
        self.optimizer, self.peak, self.steps, self.n = optimizer, peak, steps, 0
        self.set()

    def set(self):
        lr = self.peak * min(1.0, (self.n + 1) / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def step(self):
        self.n += 1
        return self.set()


# %% [markdown]
# It matters most where there is something to lose: a *trained* model whose training continues with a new
# optimizer. Ours reads a row of 12 numbers and says which is the largest. It has no normalisation.

# %%
def start():
    torch.manual_seed(1)
    layers = [nn.Linear(12, 64), nn.GELU()]
    for _ in range(6):
        layers += [nn.Linear(64, 64), nn.GELU()]
    model = nn.Sequential(*layers, nn.Linear(64, 12))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return model


def train(model, optimizer, schedule=None, steps=150):
    torch.manual_seed(2)
    losses, rates = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        x = torch.randn(64, 12)  # (B, 12)
        loss = F.cross_entropy(model(x), x.argmax(dim=-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.item())
    return losses, rates


trained = start()
losses, _ = train(trained, torch.optim.AdamW(trained.parameters(), lr=2e-3), steps=400)
print(f"trained: loss {losses[0]:.2f} -> {sum(losses[-20:]) / 20:.2f}; first weight matrix", tuple(trained[0].weight.shape))

# %% [markdown]
# Now continue with a new AdamW and a larger learning rate.

# %%
peak = 1e-2
runs = {}
for name, steps in (("no warm-up", None), ("20 steps of warm-up", 20)):
    model = start()
    model.load_state_dict(trained.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak)
    runs[name] = train(model, optimizer, steps and WarmUp(optimizer, peak, steps), steps=100)
    losses = runs[name][0]
    print(f"{name:20} first loss {losses[0]:.2f}, worst of the next 10: {max(losses[1:11]):.1f}")
plain, warm = (max(losses[1:11]) for losses, _ in runs.values())
assert plain > 2 * warm  # five steps destroyed most of what 400 had learned

# %% [markdown]
# ## With the package
# The same names as in PyTorch. `LinearLR` multiplies by a factor that goes from `start_factor` to 1.

# %%
from tinygrad_llm.optim.lr_scheduler import LinearLR

model = start()
optimizer = torch.optim.AdamW(model.parameters(), lr=peak)
_, rates = train(model, optimizer, LinearLR(optimizer, start_factor=1 / 20, total_iters=19), steps=30)
print("LinearLR:", [round(r, 5) for r in rates[:3]], "...", [round(r, 5) for r in rates[18:21]])
assert all(abs(a - b) < 1e-9 for a, b in zip(rates, runs["20 steps of warm-up"][1]))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for name, (losses, rates) in runs.items():
    left.plot(rates[:60], label=name)
    right.plot(losses, label=name)
left.set_xlabel("step"), left.set_ylabel("learning rate"), left.set_ylim(0, peak * 1.1), left.legend()
right.set_xlabel("step"), right.set_ylabel("loss"), right.legend()
save_plot(figure, "01_warm_up")

# %% [markdown]
# ## Exercises
# 1. Start the warm-up at 0 itself, with lr = peak · step / warm-up steps. What does the first step do?
# 2. β₂ = 0.999 remembers about a thousand steps, β₂ = 0.95 about twenty. How does the *size* of AdamW's steps
#    on noise differ?
# 3. Does plain SGD need a warm-up for the reason given here?
#
# Solutions: `lessons/solutions/B_training_extras/01_warm_up.py`
