# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Tensor parallel: a matrix in parts, and two conjugate operators
#
# **Question.** One layer is too large for one rank, or too slow on it. Several ranks should compute it together, for
# the same tokens. How is a matrix cut, and what must be sent in the forward and in the backward pass?
#
# **For example.** (1, 2)·(3, 4)ᵀ = 11. Rank 0 computes 1·3 = 3, rank 1 computes 2·4 = 8; one sum over the
# ranks gives 11.
#
# **Predict first.** A feed-forward layer is y = gelu(x·A)·B. Cut A by columns or by rows? And B? How many sums over
# the ranks does the forward pass need?
#
# **Answer.** GELU works on each number by itself, so A is cut by **columns**: rank r has all of its channels'
# numbers, and needs no other rank for GELU. Then B is cut by **rows**: rank r multiplies its channels with its rows,
# and the products are added up. One sum, at the end:
#
#     y = Σ_r gelu(x·A_r)·B_r        A = [A_0 A_1 ...]   B = [B_0; B_1; ...]
#
# Two operators say what happens at both ends. Each one's forward is the other's backward:
#
#     f (copy_to_ranks)     forward: x -> x              backward: Σ_r g_r      (at the beginning)
#     g (sum_over_ranks)    forward: Σ_r y_r             backward: g -> g       (at the end)
#
# Source: Shoeybi et al. 2019, "Megatron-LM".
#
# **You need.** Lesson 1, chapter 04, lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)
R, N, C, F = 2, 5, 8, 32  # ranks, tokens, channels, hidden channels
x = torch.randn(N, C)
A, B = torch.randn(C, F) / C**0.5, torch.randn(F, C) / F**0.5
upstream = torch.randn(N, C)  # ∂L/∂y
gelu = nn.functional.gelu


def whole(x, A, B):
    """One process: y, and the gradients of x, A, B."""
    x, A, B = (t.clone().requires_grad_() for t in (x, A, B))
    y = gelu(x @ A) @ B  # (N, C) -> (N, F) -> (N, C)
    y.backward(upstream)
    return y.detach(), x.grad, A.grad, B.grad


y, gx, gA, gB = whole(x, A, B)

# %% [markdown]
# ## By hand, forward
# `chunk` along dim 1 cuts columns, along dim 0 rows.

# %%
A_parts, B_parts = A.chunk(R, 1), B.chunk(R, 0)
hidden = [gelu(x @ A_parts[r]) for r in range(R)]  # R times (N, F / R)
partial = [hidden[r] @ B_parts[r] for r in range(R)]  # R times (N, C): each a part of the sum
print("shapes: A_r", tuple(A_parts[0].shape), " B_r", tuple(B_parts[0].shape), " partial", tuple(partial[0].shape))
total = sum(partial)  # g, forward: one all-reduce
assert torch.allclose(total, y, atol=1e-5)
assert not torch.allclose(partial[0], y, atol=1e-1)

# %% [markdown]
# ## By hand, backward
# y is a sum, so ∂L/∂y goes to every rank's product as it is: that is **g's backward**, and nothing is sent. Each rank
# computes the gradients of its parts alone. But x went into both ranks' products: its gradient is the **sum** of what
# they send back. That is **f's backward**, the second all-reduce.

# %%
gx_parts, gA_parts, gB_parts = [], [], []
for r in range(R):
    a = (x @ A_parts[r]).requires_grad_()
    h = gelu(a)
    gB_parts.append(h.detach().T @ upstream)  # (F / R, N) @ (N, C) -> (F / R, C)
    h.backward(upstream @ B_parts[r].T)  # (N, C) @ (C, F / R): what arrives at gelu
    gA_parts.append(x.T @ a.grad)  # (C, N) @ (N, F / R) -> (C, F / R)
    gx_parts.append(a.grad @ A_parts[r].T)  # (N, F / R) @ (F / R, C) -> (N, C)

assert torch.allclose(torch.cat(gA_parts, 1), gA, atol=1e-5)  # no message was needed
assert torch.allclose(torch.cat(gB_parts, 0), gB, atol=1e-5)
assert torch.allclose(sum(gx_parts), gx, atol=1e-5)  # f, backward: one all-reduce

# %% [markdown]
# ## Break it
# Without f's all-reduce nothing fails. The loss even falls. But each rank sends another gradient to what comes
# before, and the ranks' copies of those weights (norms, embeddings) drift apart.

# %%
for r in range(R):
    angle = nn.functional.cosine_similarity(gx_parts[r].reshape(-1), gx.reshape(-1), dim=0).item()
    size = (gx_parts[r].norm() / gx.norm()).item()
    print(f"rank {r} without the sum: cosine {angle:.2f} with the true gradient, {size:.2f} of its length")
    assert angle < 0.95
assert not torch.allclose(gx_parts[0], gx_parts[1], atol=1e-2)

# %% [markdown]
# ## Attention
# Heads do not mix before the output matrix. So each rank takes some heads: the rows of W_q, W_k, W_v of its heads
# (columns of the transposed matrices), and the columns of W_o that belong to them. Again one sum at the end.

# %%
H, D = 4, 2
Wq, Wk, Wv, Wo = (torch.randn(C, C) / C**0.5 for _ in range(4))


def attention(x, Wq, Wk, Wv, Wo, heads):
    """Self-attention of some heads, and their share of the output: (N, C) -> (N, C)."""
    q, k, v = ((x @ W).view(N, heads, D).transpose(0, 1) for W in (Wq, Wk, Wv))  # (heads, N, D)
    weights = torch.softmax(q @ k.transpose(1, 2) / D**0.5, dim=-1)  # (heads, N, N)
    return (weights @ v).transpose(0, 1).reshape(N, heads * D) @ Wo


all_heads = attention(x, Wq, Wk, Wv, Wo, H)
columns = [[W.chunk(R, 1)[r] for W in (Wq, Wk, Wv)] for r in range(R)]
some_heads = [attention(x, *columns[r], Wo.chunk(R, 0)[r], H // R) for r in range(R)]
assert torch.allclose(sum(some_heads), all_heads, atol=1e-5)
print("heads divided: the sum of the ranks' outputs is the attention of all heads")

# %% [markdown]
# ## What it costs
# Each block has two such pairs (attention, feed-forward): 2 all-reduces of N·C numbers forward and 2 backward. Each
# rank sends 2·N·C·(R − 1)/R numbers for each: for long texts more than data parallel training sends, and in the
# middle of the computation, where little can overlap. So the ranks of tensor parallelism stand close together.

# %%
channels = [1024, 2048, 4096, 8192]
tokens = 4096
blocks = {"tensor parallel, 8 ranks": [8 * tokens * c * 7 / 8 for c in channels],
          "data parallel, 8 ranks": [2 * 12 * c * c * 7 / 8 for c in channels]}  # fmt: skip
figure, axes = plt.subplots(figsize=(7, 4))
for name, numbers in blocks.items():
    axes.plot(channels, [v / 1e6 for v in numbers], marker="o", label=name)
axes.set_xlabel("channels C"), axes.set_ylabel("million numbers sent per block and rank")
axes.set_title(f"{tokens:,} tokens per step; a block has 12·C² parameters"), axes.legend()
save_plot(figure, "04_tensor_parallel")
assert blocks["tensor parallel, 8 ranks"][0] > blocks["data parallel, 8 ranks"][0]

# %% [markdown]
# ## With the package: two processes
# First the two operators by themselves, as ops with a gradient; then `parallelize_module`, which cuts the matrices of
# an existing model. `study.explain("copy_to_ranks")` shows the operator, its mistakes and finite differences.

# %% tags=["package"]
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

from tinygrad_llm import study  # noqa: E402
from tinygrad_llm.distributed import is_mpi_available  # noqa: E402

explanation = study.explain("copy_to_ranks")
assert explanation.right
print(explanation.text(width=110))

PROGRAM = """
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn, study
from tinygrad_llm.distributed.nn import copy_to_ranks, sum_over_ranks
from tinygrad_llm.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

dist.init_process_group("mpi")
rank, R = dist.get_rank(), dist.get_world_size()
torch.manual_seed(5)
N, C, F = 6, 8, 32
x, upstream = torch.randn(N, C), torch.randn(N, C)
model = nn.Sequential(nn.Linear(C, F), nn.GELU(), nn.Linear(F, C))
one = x.clone().requires_grad_()
expected = model(one)
expected.backward(upstream)

mine = x.clone().requires_grad_()  # by hand, with f and g
A, B = model[0], model[2]
a = copy_to_ranks(mine) @ A.weight.chunk(R, 0)[rank].T + A.bias.chunk(R)[rank]
y = sum_over_ranks(nn.functional.gelu(a) @ B.weight.chunk(R, 1)[rank].T) + B.bias
y.backward(upstream)
assert torch.allclose(y, expected, atol=1e-5) and torch.allclose(mine.grad, one.grad, atol=1e-5)

mesh = dist.device_mesh.init_device_mesh("cpu", (R,))
parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
again = x.clone().requires_grad_()
with study.trace(model) as t:
    y = model(again)
    y.backward(upstream)
assert torch.allclose(y, expected, atol=1e-5) and torch.allclose(again.grad, one.grad, atol=1e-5)
sent = sum(e.bytes for e in t.exchanges)
if rank == 0:
    print(f"by hand and by parallelize_module: the numbers of one process; weight of rank 0 {tuple(model[0].weight.shape)}")
    print(f"{len(t.exchanges)} sums over the ranks, {sent} bytes sent")
    assert len(t.exchanges) == 2 and sent == 2 * (2 * N * C * 4 * (R - 1) // R)
dist.destroy_process_group()
"""
if is_mpi_available():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "tensor_parallel"
        program.write_text(PROGRAM, encoding="utf-8")
        launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2", str(program)]
        print(subprocess.run(launch, capture_output=True, text=True, check=True, timeout=60).stdout)
else:
    print("This part needs mpi4py and an MPI library: pip install 'tinygrad_llm[mpi]'")

# %% [markdown]
# ## Exercises
# 1. Cut A by rows and B by columns instead. Write the forward pass. How many sums over the ranks does it need, and
#    where?
# 2. Where must the bias of B be added, and what happens if each rank adds it before the sum?
# 3. The head computes V logits per token, divided among the ranks. Compute the cross-entropy without joining the
#    logits: which numbers per token must the ranks send?
#
# Solutions: `lessons/solutions/16_distributed/04_tensor_parallel.py`
