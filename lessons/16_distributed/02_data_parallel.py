# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Data parallel: one model, a part of the batch each
#
# **Question.** R processes have the same weights. Each computes the gradients of one part of the batch. What
# must they send each other, and when, so that afterwards all have the weights that one process would have?
#
# **For example.** Rank 0 has three examples with the gradients 0, 1 and 2, rank 1 has one with 5. One process
# with all four would have the mean 8/4 = 2.
#
# **Predict first.** One rank has 5 examples, the other 3. Is the mean of the two ranks' gradients the gradient of
# the mean over all 8?
#
# **Answer.** The gradient of a mean over N examples is (1/N)·Σ of the examples' gradients. Rank r has n_r of them
# and the mean g_r over its own, so the gradient of all is
#
#     g = Σ_r n_r·g_r / Σ_r n_r         equal to the mean of the g_r only where all n_r are equal
#
# One all-reduce of the gradients is everything that is sent. The optimizer then does the same on every rank.
#
# **You need.** Lesson 1, chapter 00, lesson 13.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
R = 2
x, y = torch.randn(8, 4), torch.randn(8, 2)  # the batch: (N, 4) -> (N, 2)
parts = [slice(0, 5), slice(5, 8)]  # which examples each rank has


def make_model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))


def gradients(model, inputs, targets):
    """The gradients of the mean loss over these examples, by parameter."""
    model.zero_grad()
    nn.functional.mse_loss(model(inputs), targets).backward()
    return [p.grad.clone() for p in model.parameters()]


# %% [markdown]
# ## By hand: the ranks as a list
# All start with the same weights: from one seed here; `DistributedDataParallel` sends rank 0's to all.

# %%
models = [make_model() for _ in range(R)]
own = [gradients(models[r], x[parts[r]], y[parts[r]]) for r in range(R)]  # what each rank computes
n = [len(x[part]) for part in parts]
print("shapes of the gradients:", [tuple(g.shape) for g in own[0]])

weighted = [sum(n[r] * own[r][i] for r in range(R)) / sum(n) for i in range(4)]
mean_of_means = [sum(own[r][i] for r in range(R)) / R for i in range(4)]
expected = gradients(make_model(), x, y)  # one process with the whole batch
error = max((a - b).abs().max().item() for a, b in zip(weighted, expected))
wrong = max((a - b).abs().max().item() for a, b in zip(mean_of_means, expected))
print(f"difference from one process: weighted {error:.1e}, mean of means {wrong:.1e}")
assert error < 1e-6 < 1e-2 < wrong

# %% [markdown]
# In a language model the examples are *tokens*, and padding is not counted: ranks nearly always have different
# numbers of them. So the count must be sent too. Ten steps, with the weighted sum on every rank:

# %%
one = make_model()
optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (*models, one)]
for _ in range(10):
    own = [gradients(models[r], x[parts[r]], y[parts[r]]) for r in range(R)]
    for r in range(R):
        for i, p in enumerate(models[r].parameters()):
            p.grad = sum(n[q] * own[q][i] for q in range(R)) / sum(n)
    gradients(one, x, y)
    for optimizer in optimizers:
        optimizer.step()
for model in models:
    for p, q in zip(model.parameters(), one.parameters()):
        assert torch.allclose(p, q, atol=1e-6)
print("after ten steps both ranks have the weights of one process")

# %% [markdown]
# ## When: buckets, while the backward pass still runs
# The backward pass computes the last layer's gradients first. They can travel while older layers are computed. One
# message per parameter costs a start each time; one message for all cannot begin before the end. So parameters are
# put into **buckets**, and each leaves when it is complete.
#
# Here L layers take 1 ms each in the backward pass, sending a layer takes `send` ms, and each message `start` ms
# more; messages go one after the other.

# %%
L, start = 12, 0.8


def end_of_step(send, layers_per_bucket):
    """Milliseconds until all gradients are summed."""
    free = 0.0  # when the link is free again
    for first in range(0, L, layers_per_bucket):
        layers = min(layers_per_bucket, L - first)
        complete = first + layers  # the backward pass has come so far
        free = max(free, complete) + start + layers * send
    return free


sizes = [1, 2, 3, 4, 6, 12]
figure, axes = plt.subplots(figsize=(7, 4))
for send in (0.1, 0.5, 1.0):
    times = [end_of_step(send, size) for size in sizes]
    axes.plot(sizes, times, marker="o", label=f"{send} ms to send a layer")
    print(f"{send} ms: layer by layer {times[0]:.1f} ms, the best {min(times):.1f}, all at the end {times[-1]:.1f}")
    assert min(times) < times[-1] and min(times) <= times[0]
axes.axhline(L, color="gray", ls=":", label="the backward pass alone")
axes.set_xlabel("layers in a bucket"), axes.set_ylabel("ms until all gradients are summed"), axes.legend()
save_plot(figure, "02_data_parallel")

# %% [markdown]
# ## With the package: two processes
# `DistributedDataParallel` does this: buckets of 25 MB in the order in which gradients arrive. `study.trace` counts
# what is sent: an all-reduce sends 2·P·(R − 1)/R numbers per rank, and that is what the program checks.

# %% tags=["package"]
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from tinygrad_llm.distributed import is_mpi_available  # noqa: E402

PROGRAM = """
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn, study

dist.init_process_group("mpi")
rank, R = dist.get_rank(), dist.get_world_size()
torch.manual_seed(rank)  # different weights: rank 0's are sent to all
model = nn.Sequential(nn.Linear(32, 256), nn.Tanh(), nn.Linear(256, 2))
ddp = nn.parallel.DistributedDataParallel(model)
torch.manual_seed(7)
x, y = torch.randn(8, 32), torch.randn(8, 2)
mine = slice(4 * rank, 4 * rank + 4)
with study.trace() as t:
    nn.functional.mse_loss(ddp(x[mine]), y[mine]).backward()
ours = [p.grad.clone() for p in model.parameters()]
model.zero_grad()
nn.functional.mse_loss(model(x), y).backward()  # the whole batch, without ddp
for g, p in zip(ours, model.parameters()):
    assert torch.allclose(g, p.grad, atol=1e-6)
P = sum(p.numel() for p in model.parameters())
sent = sum(e.bytes for e in t.exchanges if e.name == "all_reduce")
if rank == 0:
    print(f"{R} processes have the gradients of the whole batch; {P} parameters, {sent} bytes sent")
    assert sent == 2 * 4 * P * (R - 1) // R
    print(t.table("communication", width=100))
dist.destroy_process_group()
"""
if is_mpi_available():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "data_parallel"
        program.write_text(PROGRAM, encoding="utf-8")
        launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2", str(program)]
        print(subprocess.run(launch, capture_output=True, text=True, check=True, timeout=60).stdout)
else:
    print("This part needs mpi4py and an MPI library: pip install 'tinygrad_llm[mpi]'")

# %% [markdown]
# ## Exercises
# 1. A rank has no example in the last batch. What does it send, so that the others do not wait and the result is
#    right? Note that its mean is 0/0.
# 2. The gradients of k batches are added up before a step. Write it so that the ranks send once per step, not k
#    times, and show that the result is the same.
# 3. Gradients are clipped to a norm of 1. Clip before and after the all-reduce. Which one is what one process does?
#
# Solutions: `lessons/solutions/16_distributed/02_data_parallel.py`
