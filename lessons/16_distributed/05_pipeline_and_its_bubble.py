# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. A pipeline and its bubble
#
# **Question.** A model does not fit on one machine. The first machine gets the first half of its layers, the second
# machine the other half. But the second half needs the output of the first, and the backward pass runs in the
# other direction: is one of the two machines always idle?
#
# **For example.** 2 stages and 1 batch: while one stage works, the other waits. In 4 pieces, the second stage
# can begin when the first piece is through.
#
# **Predict first.** The batch is cut into 8 micro-batches, which pass through 2 stages one after the other. What
# share of the time is a stage idle? And with 32 micro-batches?
#
# **Answer.** With p stages and m micro-batches, (p − 1)/(m + p − 1) of the time is lost: the *bubble*. It exists
# because the last stage waits for the first micro-batch, and the first stage waits for the last gradient.
#
# **You need.** Chapter 04, lesson 4.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## Two stages by hand
# Between the stages the graph is cut. What arrives at stage 1 is a leaf: `detach().requires_grad_()`. Its
# gradient is sent back, and stage 0 continues the backward pass from there, with `y.backward(gradient)`.

# %%
first = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh())
second = torch.nn.Linear(8, 3)
x, target = torch.randn(12, 5), torch.randn(12, 3)
mse = torch.nn.functional.mse_loss

mse(second(first(x)), target).backward()  # both in one process
expected = [p.grad.clone() for p in (*first.parameters(), *second.parameters())]

for module in (first, second):
    module.zero_grad()
for part, part_target in zip(x.chunk(3), target.chunk(3)):
    sent = first(part)  # stage 0: (4, 5) -> (4, 8)
    received = sent.detach().requires_grad_()  # stage 1: (4, 8), a leaf
    loss = mse(second(received), part_target) / 3
    loss.backward()
    sent.backward(received.grad)  # stage 0 again
gradients = [p.grad for p in (*first.parameters(), *second.parameters())]
print("shapes: what travels forward and backward is", tuple(sent.shape), "and", tuple(received.grad.shape))
assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, expected))
print("the gradients of 3 micro-batches add up to those of the batch")

# %% [markdown]
# ## Who computes what when
# Two schedules. **GPipe** makes all forward passes, then all backward passes. **1F1B** begins a backward pass as
# soon as it can: stage s of p makes p − s forward passes, then backward and forward passes alternately.
#
# A stage can begin a forward pass when the stage before has finished it, and a backward pass when the stage after
# has. Let a forward pass take one second, and a backward pass two.


# %%
def gpipe(s, p, m):
    return [("F", i) for i in range(m)] + [("B", i) for i in range(m)]


def one_forward_one_backward(s, p, m):
    ahead = min(m, p - s)
    actions = [("F", i) for i in range(ahead)]
    for i in range(m):
        actions.append(("B", i))
        if ahead + i < m:
            actions.append(("F", ahead + i))
    return actions


def timetable(order, p, m, seconds=(1, 2)):
    """For each stage a list of (kind, micro-batch, start, end)."""
    waiting = [order(s, p, m) for s in range(p)]
    table, ended = [[] for _ in range(p)], {}
    while any(waiting):
        for s in range(p):
            while waiting[s]:
                kind, i = waiting[s][0]
                neighbour = s - 1 if kind == "F" else s + 1
                if 0 <= neighbour < p and (kind, neighbour, i) not in ended:
                    break
                start = max(ended.get((kind, neighbour, i), 0), table[s][-1][3] if table[s] else 0)
                end = start + (seconds[0] if kind == "F" else seconds[1])
                table[s].append((kind, i, start, end))
                ended[kind, s, i] = end
                waiting[s].pop(0)
    return table


def bubble(table):
    """The share of idle time of all stages."""
    length = max(row[-1][3] for row in table) - min(row[0][2] for row in table)
    busy = sum(end - start for row in table for _, _, start, end in row)
    return 1 - busy / (length * len(table))


def most_alive(row):
    """The most micro-batches whose activations a stage keeps at a time."""
    alive = most = 0
    for kind, *_ in row:
        alive += 1 if kind == "F" else -1
        most = max(most, alive)
    return most


def draw(axis, table, title):
    for s, row in enumerate(table):
        for kind, i, start, end in row:
            color = "tab:blue" if kind == "F" else "tab:orange"
            axis.barh(s, end - start, left=start, color=color, edgecolor="white")
            axis.text((start + end) / 2, s, str(i), ha="center", va="center", color="white", fontsize=7)
    axis.set_yticks(range(len(table)), [f"stage {s}" for s in range(len(table))])
    axis.invert_yaxis(), axis.set_title(title)


p, m = 4, 6
figure, axes = plt.subplots(2, 1, figsize=(10, 4), sharex=True)
for axis, order in zip(axes, (gpipe, one_forward_one_backward)):
    table = timetable(order, p, m)
    alive = [most_alive(row) for row in table]
    draw(axis, table, f"{order.__name__}: idle {bubble(table):.0%}, micro-batches kept {alive}")
    print(f"{order.__name__:>24}: idle {bubble(table):.3f}, kept on each stage {alive}")
    assert abs(bubble(table) - (p - 1) / (m + p - 1)) < 1e-12
axes[-1].set_xlabel("seconds; blue: forward, orange: backward")
figure.tight_layout()
save_plot(figure, "05_two_schedules")

# %% [markdown]
# Both lose the same time. But GPipe keeps the activations of all m micro-batches, 1F1B of p − s at most: with
# 1F1B you can make m as large as you like, which makes the bubble small, and memory does not grow.

# %%
for m in (2, 4, 8, 32, 128):
    table = timetable(one_forward_one_backward, 4, m)
    kept = most_alive(table[0]), most_alive(timetable(gpipe, 4, m)[0])
    print(f"m = {m:3d}: idle {bubble(table):.1%}, kept on stage 0: {kept[0]} with 1F1B, {kept[1]} with GPipe")
assert bubble(table) < 0.03

# %% [markdown]
# ## What breaks: a mean of means
# Micro-batches of texts have different numbers of targets, because padding does not count. The mean of the
# micro-batches' means is then another loss than the mean over all targets. A check says so:

# %%
logits = torch.randn(4, 5, 7)
targets = torch.randint(0, 7, (4, 5))
targets[0, 1:] = -100  # one target in the first text, five in the others
cross_entropy = torch.nn.functional.cross_entropy
whole = cross_entropy(logits.flatten(0, 1), targets.flatten())
means = [cross_entropy(a.flatten(0, 1), b.flatten()) for a, b in zip(logits.chunk(4), targets.chunk(4))]
mean_of_means = sum(means) / 4
print(f"mean over all targets {whole.item():.4f}, mean of the micro-batches' means {mean_of_means.item():.4f}")
assert abs(whole.item() - mean_of_means.item()) > 1e-3
sums = [
    cross_entropy(a.flatten(0, 1), b.flatten(), reduction="sum") for a, b in zip(logits.chunk(4), targets.chunk(4))
]
assert torch.allclose(sum(sums) / (targets != -100).sum(), whole)
print("sums, divided by the number of all targets, are right")

# %% [markdown]
# ## With the package: a GPT on two ranks
# `cut_into_stages` divides a GPT by its blocks, `PipelineStage` and the schedules have PyTorch's names. Each of two
# processes trains its half; the schedule remembers when it computed what. The drawing below is of that run. Where
# the bars of one stage have gaps, it waited. Other programs on your machine make gaps too.

# %% tags=["package"]
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from tinygrad_llm.distributed import is_mpi_available  # noqa: E402

PROGRAM = """
import json, sys, tracemalloc
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm.distributed import pipelining
from tinygrad_llm.models.gpt import GPT, GPTConfig
from tinygrad_llm.models.stages import cut_into_stages

dist.init_process_group("mpi")
rank, p, m = dist.get_rank(), dist.get_world_size(), 8
torch.manual_seed(123)
model = GPT(GPTConfig(vocab_size=65, context_length=64, emb_dim=64, n_heads=4, n_layers=4, drop_rate=0.0))
ids = torch.randint(0, 65, (4 * m, 65))
inputs, targets = ids[:, :-1], ids[:, 1:]
expected = model.loss(inputs, targets).item()
module = cut_into_stages(model, p)[rank]
stage = pipelining.PipelineStage(module, rank, p, "cpu")
result = {}
for kind in (pipelining.ScheduleGPipe, pipelining.Schedule1F1B):
    schedule = kind(stage, m, pipelining.token_loss, scale_grads=False)

    def step():
        losses = []
        module.zero_grad()
        dist.barrier()
        args = (inputs,) if stage.is_first else ()
        more = {"target": targets, "losses": losses, "loss_kwargs": {"tokens": targets.numel()}}
        schedule.step(*args, **(more if stage.is_last else {}), return_outputs=False)
        pipelining.sum_tied_gradients(stage, module.tied_weight)
        assert not stage.is_last or abs(sum(losses).item() - expected) < 1e-5
        return pipelining.all_events(schedule)

    step()
    length = lambda events: max(row[-1].end for row in events) - min(row[0].start for row in events)
    events = min((step() for _ in range(8)), key=length)  # the run that others disturbed least
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    peaks = [None] * p
    dist.all_gather_object(peaks, (peak, stage.most_alive))
    result[kind.__name__] = {
        "events": events, "peaks": peaks, "bubble": pipelining.bubble_measured(events),
        "expected": pipelining.bubble_expected(p, m),
    }
if rank == 0:
    with open(sys.argv[1], "w") as file:
        json.dump(result, file)
dist.destroy_process_group()
"""
if is_mpi_available():
    with tempfile.TemporaryDirectory() as folder:
        program, written = Path(folder) / "pipeline", Path(folder) / "result"
        program.write_text(PROGRAM, encoding="utf-8")
        launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2"]
        subprocess.run([*launch, str(program), str(written)], check=True, timeout=120)
        result = json.loads(written.read_text(encoding="utf-8"))
    figure, axes = plt.subplots(2, 1, figsize=(10, 3.5), sharex=True)
    for axis, (name, run) in zip(axes, result.items()):
        begin = min(event[2] for row in run["events"] for event in row)
        table = [[(k, i, 1e3 * (a - begin), 1e3 * (b - begin)) for k, i, a, b in row] for row in run["events"]]
        draw(axis, table, f"{name}: idle {run['bubble']:.0%}, the formula says {run['expected']:.0%}")
        memory = ", ".join(f"stage {s} {mb:.1f} MB with {n} kept" for s, (mb, n) in enumerate(run["peaks"]))
        print(f"{name}: idle {run['bubble']:.3f} (formula {run['expected']:.3f}); {memory}")
    axes[-1].set_xlabel("milliseconds; blue: forward, orange: backward")
    figure.tight_layout()
    save_plot(figure, "05_pipeline_and_its_bubble")
    kept = [run["peaks"][0] for run in result.values()]
    assert kept[0][1] == 8 and kept[1][1] == 2 and kept[0][0] > kept[1][0]
else:
    print("This part needs mpi4py and an MPI library: pip install 'tinygrad_llm[mpi]'")

# %% [markdown]
# ## Exercises
# 1. The layers are not equally fast: stage 2 of 4 takes twice as long as the others. Compute the idle time of each
#    stage with `timetable`. How would you cut a model whose head is much slower than a block?
# 2. With v pieces of the model on each rank, rank r has the stages r, r + p, r + 2p, ... (interleaved). What is the
#    bubble? What does it cost? Write the order for v = 2 and check it with a timetable.
# 3. The embedding of a GPT is also the matrix of its head, so the first and the last stage have a copy. What happens
#    if their gradients are not added up? Show it with two copies and two steps of SGD.
#
# Solutions: `lessons/solutions/16_distributed/05_pipeline_and_its_bubble.py`
