# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. All-reduce by hand, in a ring
#
# **Question.** Four processes have the gradients of four batches, one each, and all four need the sum. One process
# could collect everything, add, and send the sum back. But then one link carries everything. Can all links work
# all the time?
#
# **For example.** Three ranks hold (1, 2, 3), (10, 20, 30), (100, 200, 300). Afterwards each of them has
# (111, 222, 333).
#
# **Predict first.** With R processes and N numbers, how many numbers does each process send? Does it grow with R?
#
# **Answer.** The processes stand in a ring, each sends only to its neighbour. Cut the numbers into R parts. In
# R − 1 steps each part goes around and collects the sum; in another R − 1 steps each finished part goes around
# once more, so that all have it:
#
#     reduce-scatter:  step s:  rank r sends part (r − s) to rank r + 1, which adds it to its own
#     all-gather:      step s:  rank r sends part (r + 1 − s) to rank r + 1, which copies it
#
# **You need.** Chapter 01.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
R = 4
N = 12
gradients = [torch.randn(N) for _ in range(R)]
expected = gradients[0] + gradients[1] + gradients[2] + gradients[3]

# %% [markdown]
# ## By hand: the ranks as a list
# `parts[r][i]` is part i on rank r. In a step all ranks send at the same time, so what is sent is taken before
# anything is added.

# %%
parts = [list(g.clone().chunk(R)) for g in gradients]  # R ranks, each R parts of shape (N / R,)
print("shapes: each rank has", len(parts[0]), "parts of", tuple(parts[0][0].shape))
whose = [[{r} for _ in range(R)] for r in range(R)]  # which ranks' numbers are in parts[r][i]
sent = [0] * R
history = [[[len(w) for w in row] for row in whose]]


def step(part_of, add):
    """Every rank r sends its part number part_of(r) to the next rank."""
    messages = [(part_of(r) % R, parts[r][part_of(r) % R].clone(), set(whose[r][part_of(r) % R])) for r in range(R)]
    for r, (i, numbers, ranks) in enumerate(messages):
        after = (r + 1) % R
        parts[after][i] = parts[after][i] + numbers if add else numbers
        whose[after][i] = whose[after][i] | ranks if add else ranks
        sent[r] += numbers.numel()
    history.append([[len(w) for w in row] for row in whose])


for s in range(R - 1):
    step(lambda r: r - s, add=True)  # noqa: B023
complete = [[i for i in range(R) if len(whose[r][i]) == R] for r in range(R)]
print("after the reduce-scatter rank r has the sum of part", complete)
assert complete == [[(r + 1) % R] for r in range(R)]

for s in range(R - 1):
    step(lambda r: r + 1 - s, add=False)  # noqa: B023
for r in range(R):
    assert torch.allclose(torch.cat(parts[r]), expected, atol=1e-6)
print("each rank has sent", sent, "numbers of", N)
assert sent == [2 * (R - 1) * N // R] * R

# %% [markdown]
# ## What each rank sends
# 2·N·(R − 1)/R numbers: less than 2·N for any R. The process that collects everything would receive (R − 1)·N.
#
# Left: how many ranks' numbers are in each part after each step, on rank 0. Right: the busiest link.

# %%
ranks = list(range(2, 33))
ring = [2 * (n - 1) / n for n in ranks]
one_collects = [n - 1 for n in ranks]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.imshow([row[0] for row in history], cmap="Blues", vmin=0, vmax=R)
left.set_xlabel("part on rank 0"), left.set_ylabel("step"), left.set_title("numbers of how many ranks")
right.plot(ranks, one_collects, label="one collects"), right.plot(ranks, ring, label="ring")
right.set_xlabel("ranks"), right.set_ylabel("numbers over the busiest link, in N"), right.legend()
save_plot(figure, "01_all_reduce_by_hand_in_a_ring")
assert max(ring) < 2 < max(one_collects)

# %% [markdown]
# ## The order of a sum
# All ranks have equal bits here, because each part was finished on one rank and copied. But part 0 began at
# rank 0, part 1 at rank 1: they were added in different orders, and with another R in others again. In float32
# the order changes the last bits.

# %%
big = torch.tensor([1e8, 1.0, -1e8, 1.0])
orders = [sum(big[(start + i) % 4].item() * torch.ones(()) for i in range(4)).item() for start in range(4)]
print("1e8 + 1 - 1e8 + 1, begun at each of its numbers:", orders)
assert len(set(orders)) > 1

# %% [markdown]
# ## With the package: two processes
# `distributed.all_reduce` adds in rank order, so that a run has the same bits every time: rank r receives part r
# of all ranks, adds, and sends the sum to all. The program below does both, the ring with `isend` and `irecv`.
# The launcher starts it in two processes. Without mpi4py this cell says what to install.

# %% tags=["package"]
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from tinygrad_llm.distributed import is_mpi_available  # noqa: E402

PROGRAM = """
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist

dist.init_process_group("mpi")
rank, R = dist.get_rank(), dist.get_world_size()
torch.manual_seed(rank)
mine = torch.randn(10)
parts = list(mine.clone().chunk(R))

def step(i, j, add):
    received = torch.empty_like(parts[j])
    works = [dist.isend(parts[i], (rank + 1) % R), dist.irecv(received, (rank - 1) % R)]
    for work in works:
        work.wait()
    parts[j] = parts[j] + received if add else received

for s in range(R - 1):
    step((rank - s) % R, (rank - s - 1) % R, True)
for s in range(R - 1):
    step((rank + 1 - s) % R, (rank - s) % R, False)
total = mine.clone()
dist.all_reduce(total)
assert torch.allclose(torch.cat(parts), total, atol=1e-6)
if rank == 0:
    print(f"{R} processes: the ring and all_reduce agree; total[0] is {total[0].item():.4f}")
dist.destroy_process_group()
"""
if is_mpi_available():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ring"
        program.write_text(PROGRAM, encoding="utf-8")
        launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2", str(program)]
        print(subprocess.run(launch, capture_output=True, text=True, check=True, timeout=60).stdout)
else:
    print("This part needs mpi4py and an MPI library: pip install 'tinygrad_llm[mpi]'")

# %% [markdown]
# ## Exercises
# 1. All ranks stand in a ring, but N is not divisible by R: cut the numbers so that the ring still works.
# 2. With many ranks and few numbers the 2·(R − 1) steps cost more than the numbers. Write an all-reduce in log₂ R
#    steps in which ranks exchange *all* numbers with a partner. How many numbers does each rank send?
# 3. The loss is a mean over the batch, and the ranks' batches have different sizes. What must be added up so that
#    the result is the gradient of the mean over all examples?
#
# Solutions: `lessons/solutions/16_distributed/01_all_reduce_by_hand_in_a_ring.py`
