# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. A small change is a product of two thin matrices
#
# **Question.** A weight matrix of 768 x 768 has 590,000 numbers. To teach a trained model something new,
# must we really change every one of them?
#
# **For example.** A change of 1,000 x 1,000 numbers as the product of a 1,000 x 4 and a 4 x 1,000 matrix:
# 8,000 numbers in place of a million.
#
# **Answer.** No. The change ΔW that fine-tuning makes to a matrix has nearly a low rank: a few directions
# carry almost all of it. Then ΔW can be written with few numbers, and LoRA trains only those (Hu et al.,
# 2021):
#
#     W + ΔW,     ΔW = (α/r)·B·A        A (r, in), B (out, r), r small
#     numbers:    r·(in + out)  instead of  in·out
#
# B begins at zero. So ΔW begins at zero, and at the start the model is exactly the old one.
#
# **You need.** Chapter 04, lesson 2; the matrix product.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: rank
# The product of two thin matrices is a large one. All its rows are mixtures of the same r rows:

# %%
torch.manual_seed(123)
A, B = torch.randn(2, 64), torch.randn(48, 2)  # r = 2
change = B @ A  # (48, 2) @ (2, 64) -> (48, 64)
singular = np.linalg.svd(change.numpy())[1]  # (48), the size of each direction
print(f"shapes {tuple(B.shape)} · {tuple(A.shape)} -> {tuple(change.shape)}")
print(f"{A.numel() + B.numel()} numbers make {change.numel()}; singular values {singular[:4].round(3)}")
assert singular[1] > 1.0 and singular[2] < 1e-4  # two directions, not three

# %% [markdown]
# ## By hand: is a real change of low rank?
# A network learns y = sin(3·x·a). Then the task changes a little: the direction a turns. We continue to
# train all weights, and look at what was added to the first matrix.

# %%
old_direction = F.normalize(torch.randn(16), dim=0)  # (16)
new_direction = F.normalize(old_direction + 0.35 * F.normalize(torch.randn(16), dim=0), dim=0)


def batch(direction, n=256):
    x = torch.randn(n, 16)
    return x, torch.sin(3 * (x @ direction)).unsqueeze(1)  # (n, 16), (n, 1)


def train(model, direction, steps, lr=3e-3):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        x, y = batch(direction)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def mean_of_last(losses):
    return sum(losses[-20:]) / 20


torch.manual_seed(1)
base = nn.Sequential(nn.Linear(16, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 1))
pretraining = train(base, old_direction, 500)
with torch.no_grad():
    x, y = batch(new_direction, 2000)
    unchanged = F.mse_loss(base(x), y).item()
print(f"old task: loss {mean_of_last(pretraining):.2f};  the new task with the old weights: {unchanged:.2f}")


def copy_of_base():
    model = nn.Sequential(nn.Linear(16, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 1))
    model.load_state_dict(base.state_dict())
    return model


torch.manual_seed(2)
tuned = copy_of_base()
all_losses = train(tuned, new_direction, 200)
delta = (tuned[0].weight - base[0].weight).detach().numpy()  # (128, 16)
u, s, v = np.linalg.svd(delta, full_matrices=False)  # (128, 16), (16), (16, 16)
share = np.cumsum(s**2) / np.sum(s**2)
print("share of the change in the first 1, 2, 3, 4 of 16 directions: "
      + ", ".join(f"{x:.2f}" for x in share[:4]))
assert share[3] > 0.6

# %% [markdown]
# ## By hand: a layer of our own
# The Linear is frozen. A and B are added next to it.

# %%
class LowRank(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        self.linear.requires_grad_(False)
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        low = x @ self.A.T  # (..., in) -> (..., r): never a matrix of (out, in)
        return self.linear(x) + low @ self.B.T * self.scale  # (..., r) -> (..., out)


def with_low_rank(rank):
    model = copy_of_base()
    model.requires_grad_(False)
    for i in (0, 2):
        model[i] = LowRank(model[i], rank, alpha=2 * rank)
    return model


torch.manual_seed(3)
model = with_low_rank(4)
x, y = batch(new_direction)
with torch.no_grad():
    assert torch.equal(model(x), base(x))  # no change at the start, to the last bit
print("at the start: exactly the old model")

before = base[2].weight.detach().clone()
full_count = sum(p.numel() for p in base.parameters())
results = {}
for rank in (1, 2, 4, 8):
    torch.manual_seed(3)
    model = with_low_rank(rank)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    losses = train(model, new_direction, 200, lr=1e-2)
    results[rank] = trained, losses
    print(f"rank {rank}: {trained:5} of {full_count} parameters trained, loss {mean_of_last(losses):.4f}")
    assert torch.equal(model[2].linear.weight, before)  # the frozen matrix has not moved
print(f"all:    {full_count:5} of {full_count} parameters trained, loss {mean_of_last(all_losses):.4f}")
assert mean_of_last(results[8][1]) < 0.6 * unchanged

# %% [markdown]
# B is zero at first, so A's first gradient is zero: ∂L/∂A = Bᵀ·(...). Only B moves in the first step. If
# both began at zero, neither would ever move.

# %%
torch.manual_seed(3)
model = with_low_rank(4)
F.mse_loss(model(x), y).backward()
print(f"first gradients: |A| {model[2].A.grad.norm().item():.1f}, |B| above 0: {model[2].B.grad.norm().item() > 0}")
assert model[2].A.grad.norm().item() == 0.0 < model[2].B.grad.norm().item()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.bar(range(1, 17), s / s[0]), left.set_xlabel("direction"), left.set_ylabel("singular value of ΔW, relative")
left.set_title("what fine-tuning added to the first matrix")


def smooth(losses):
    return [sum(losses[max(0, i - 9) : i + 1]) / len(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))]


for rank, (trained, losses) in results.items():
    right.plot(smooth(losses), label=f"rank {rank}: {trained:,} parameters")
right.plot(smooth(all_losses), "k--", label=f"all {full_count:,} parameters")
right.set_xlabel("step"), right.set_ylabel("loss on the new task"), right.legend()
save_plot(figure, "01_low_rank")

# %% [markdown]
# ## With the package
# `LinearWithLoRA` is this layer, and more: dropout before A, merging, PEFT's file format.

# %% tags=["package"]
from tinygrad_llm.layers.lora import LinearWithLoRA

linear = nn.Linear(16, 128)
layer = LinearWithLoRA(linear, rank=4, alpha=8)
by_hand = LowRank(linear, 4, 8)
with torch.no_grad():
    by_hand.A.copy_(layer.lora.lora_A)
    layer.lora.lora_B.copy_(torch.randn(128, 4))
    by_hand.B.copy_(layer.lora.lora_B)
unmerged = by_hand(x)
assert torch.allclose(layer(x), unmerged, atol=1e-5)
layer.merge()
assert torch.allclose(layer(x), unmerged, atol=1e-5)  # one matrix again, the same results
print("with the package:", layer.lora)

# %% [markdown]
# ## Exercises
# 1. For which rank does LoRA on a 768 x 768 matrix train 1 % of its numbers? From which rank on does it save
#    nothing?
# 2. Cut the ΔW of full fine-tuning down to rank r by its singular values (U·S·V with r of them), and add it
#    to the first layer only. How does the loss on the new task depend on r?
# 3. Initialise B at random too. What is the loss on the *old* task before the first step?
#
# Solutions: `lessons/solutions/A_lora/01_low_rank.py`
