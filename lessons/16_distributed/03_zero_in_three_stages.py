# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. ZeRO in three stages: nothing is stored twice
#
# **Question.** In data parallel training every rank has all weights, all gradients and all of AdamW's state: R
# copies of the same numbers. Can each rank keep only a part, and what does that cost in messages?
#
# **For example.** A million parameters with AdamW are 16 MB on each rank. On 4 ranks in parts that is 4 MB
# each.
#
# **Predict first.** Which of the three is the largest? With 64 ranks, which stage brings the most?
#
# **Answer.** AdamW has two moments per parameter. An all-reduce is a reduce-scatter followed by an all-gather
# (lesson 1). Between the two, rank r has the finished sum of part r, and that is all it needs to update part r:
#
#     stage 1   state divided        all-reduce g;      rank r updates part r;   all-gather w
#     stage 2   gradients too        reduce-scatter g;  rank r updates part r;   all-gather w
#     stage 3   weights too          all-gather a layer's w when it is needed, forward and backward; reduce-scatter g
#
# Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models".
#
# **You need.** Lesson 2, chapter 00, lesson 12.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
R, STEPS = 2, 5
x, y = torch.randn(2 * R, 6), torch.randn(2 * R, 3)


def make_model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))


def flat_gradient(model, r):
    """The gradients of rank r's examples, one after the other: (P,)."""
    model.zero_grad()
    nn.functional.mse_loss(model(x[2 * r : 2 * r + 2]), y[2 * r : 2 * r + 2]).backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


one = make_model()
optimizer = torch.optim.AdamW(one.parameters(), lr=0.01, weight_decay=0.1)
for _ in range(STEPS):
    optimizer.zero_grad()
    nn.functional.mse_loss(one(x), y).backward()
    optimizer.step()
expected = nn.utils.parameters_to_vector(one.parameters()).detach()  # what every scheme must reach
P = len(expected)
print("shapes: all parameters in a row", tuple(expected.shape))

# %% [markdown]
# ## By hand: AdamW on a part
# AdamW treats every number by itself, so it works on any part of the row of parameters.

# %%
class AdamWOfPart:
    """AdamW for the numbers of one rank: two moments of that length, and no more."""

    def __init__(self, n):
        self.m, self.v, self.t = torch.zeros(n), torch.zeros(n), 0

    def step(self, w, g, lr=0.01, decay=0.1, b1=0.9, b2=0.999, eps=1e-8):
        self.t += 1
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g * g
        m, v = self.m / (1 - b1**self.t), self.v / (1 - b2**self.t)
        return w - lr * decay * w - lr * m / (v.sqrt() + eps)


bounds = [P * r // R for r in range(R + 1)]  # sizes that R does not divide work too
mine = [slice(bounds[r], bounds[r + 1]) for r in range(R)]


def train(stage):
    """Weights after STEPS steps, and how many numbers all ranks together have sent."""
    models = [make_model() for _ in range(R)]
    states = [AdamWOfPart(bounds[r + 1] - bounds[r]) for r in range(R)]
    sent = 0
    for _ in range(STEPS):
        grads = [flat_gradient(models[r], r) for r in range(R)]
        total = sum(grads) / R
        sent += (R - 1) * P  # reduce-scatter: rank r has total[mine[r]] now
        if stage == 1:
            sent += (R - 1) * P  # and an all-gather: every rank has all of it, but does not need it
        w = nn.utils.parameters_to_vector(models[0].parameters()).detach()
        parts = [states[r].step(w[mine[r]], total[mine[r]]) for r in range(R)]
        sent += (R - 1) * P  # all-gather of the new weights
        for model in models:
            nn.utils.vector_to_parameters(torch.cat(parts), model.parameters())
    return nn.utils.parameters_to_vector(models[0].parameters()).detach(), sent


for stage in (1, 2):
    w, sent = train(stage)
    print(f"stage {stage}: difference {(w - expected).abs().max().item():.1e}, {sent // STEPS} numbers sent per step")
    assert torch.allclose(w, expected, atol=1e-5)
assert train(2)[1] == STEPS * 2 * (R - 1) * P  # no more than data parallel training

# %% [markdown]
# Stage 2 sends what data parallel training sends. Stage 1 as `ZeroRedundancyOptimizer` does it sends half as much
# again, because DistributedDataParallel gives every rank all gradients.
#
# ## By hand: stage 3
# Each rank keeps a part of each layer. A layer's whole weights exist only while it computes: gathered in the forward
# pass, thrown away, and gathered again in the backward pass.

# %%
layers = [make_model()[0], make_model()[2]]
stored = [[torch.cat([layer.weight.reshape(-1), layer.bias]).detach() for layer in layers] for _ in range(R)]
stored = [[w[len(w) * r // R : len(w) * (r + 1) // R] for w in stored[r]] for r in range(R)]
largest, gathers = 0, 0


def gather(i):
    """All ranks' parts of layer i: (n,)."""
    global largest, gathers
    whole = torch.cat([stored[r][i] for r in range(R)])
    largest, gathers = max(largest, len(whole)), gathers + 1
    return whole


def layer_forward(i, h):
    w, (out, inp) = gather(i), layers[i].weight.shape
    return h @ w[: out * inp].view(out, inp).T + w[out * inp :]  # (N, in) -> (N, out)


h = torch.tanh(layer_forward(0, x))
out = layer_forward(1, h)
with torch.no_grad():
    assert torch.allclose(out, make_model()(x), atol=1e-6)
# backward: the input's gradient needs the weights of layer 1 again
g = 2 * (out - y) / out.numel()  # ∂L/∂out
W = gather(1)[:30].view(3, 10)
g_h = g @ W  # (N, 3) -> (N, 10)
print(f"{gathers} all-gathers; at most {largest} of {P} numbers were whole, {sum(map(len, stored[0]))} stored per rank")
assert largest < P and gathers == 3

# %% [markdown]
# ## What each rank stores
# Per parameter: 4 bytes of weights, 4 of gradients, 8 of moments in float32. Mixed precision has 2, 2 and 12 (weights
# in float32, and two moments). For 7 billion parameters:

# %%
ranks = [1, 2, 4, 8, 16, 32, 64]
w, g, o = 2, 2, 12
curves = {
    "data parallel": [w + g + o for n in ranks],
    "stage 1: state": [w + g + o / n for n in ranks],
    "stage 2: gradients": [w + (g + o) / n for n in ranks],
    "stage 3: weights": [(w + g + o) / n for n in ranks],
}
figure, axes = plt.subplots(figsize=(7, 4))
for name, per_parameter in curves.items():
    gigabytes = [7 * b for b in per_parameter]
    axes.plot(ranks, gigabytes, marker="o", label=name)
    print(f"{name:20} {gigabytes[0]:6.1f} GB on 1 rank, {gigabytes[-1]:6.1f} GB on 64")
axes.set_xscale("log", base=2), axes.set_xlabel("ranks"), axes.set_ylabel("GB per rank, 7 B parameters")
axes.legend()
save_plot(figure, "03_zero_in_three_stages")
assert curves["stage 1: state"][-1] < 4.5 and curves["stage 3: weights"][-1] == 0.25

# %% [markdown]
# ## With the package: two processes
# `ZeroRedundancyOptimizer` is stage 1, `fully_shard` is stage 3; the optimizer is an ordinary one there, over parts.

# %% tags=["package"]
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from tinygrad_llm.distributed import is_mpi_available  # noqa: E402

PROGRAM = """
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn, optim, study

dist.init_process_group("mpi")
rank, R = dist.get_rank(), dist.get_world_size()

def make():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 3))

torch.manual_seed(7)
x, y = torch.randn(2 * R, 64), torch.randn(2 * R, 3)
mine = slice(2 * rank, 2 * rank + 2)

def train(model, optimizer, rows):
    for _ in range(5):
        with study.trace() as t:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return sum(e.bytes for e in t.exchanges)

one = make()
train(one, optim.AdamW(one.parameters(), lr=0.01), slice(None))
P = sum(p.numel() for p in one.parameters())
stage1 = nn.parallel.DistributedDataParallel(make())
zero = dist.optim.ZeroRedundancyOptimizer(stage1.parameters(), optim.AdamW, lr=0.01)
sent1 = train(stage1, zero, mine)
stage3 = make()
for layer in (stage3[0], stage3[2]):
    dist.fsdp.fully_shard(layer)
adamw = optim.AdamW(stage3.parameters(), lr=0.01)
sent3 = train(stage3, adamw, mine)
for a, b, c in zip(one.parameters(), stage1.parameters(), stage3.parameters()):
    assert torch.allclose(a, b, atol=1e-5) and torch.allclose(a, c.full_tensor(), atol=1e-5)
kept = [sum(s["exp_avg"].numel() for s in o.state.values()) for o in (zero, adamw)]
total = torch.tensor([kept[0], kept[1], sent1, sent3])
dist.all_reduce(total)
if rank == 0:
    print(f"{P} parameters; rank 0 keeps moments for {kept[0]} (stage 1) and {kept[1]} (stage 3)")
    print(f"bytes sent per step by all ranks: stage 1 {total[2].item()}, stage 3 {total[3].item()}")
    assert total[0].item() == total[1].item() == P
    assert total[2].item() == 3 * 4 * P * (R - 1) == total[3].item()
dist.destroy_process_group()
"""
if is_mpi_available():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "zero"
        program.write_text(PROGRAM, encoding="utf-8")
        launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2", str(program)]
        print(subprocess.run(launch, capture_output=True, text=True, check=True, timeout=60).stdout)
else:
    print("This part needs mpi4py and an MPI library: pip install 'tinygrad_llm[mpi]'")

# %% [markdown]
# ## Exercises
# 1. The gradients are clipped by their norm over all parameters, but in stage 2 each rank has only a part. What must
#    the ranks send?
# 2. A model has L layers of n parameters. How many numbers are whole at the same time in stage 3 if each layer is a
#    unit, and how many if the model is one unit? Write both as functions of L, n and R, with what is stored.
# 3. Stage 3 with its `reshard_after_forward=False` does not throw the weights away after the forward pass. What does
#    it save in messages, and what does it cost in memory?
#
# Solutions: `lessons/solutions/16_distributed/03_zero_in_three_stages.py`
