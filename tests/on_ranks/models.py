"""What checks of training share: models, data, one process that computes the same."""

from __future__ import annotations

import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm import nn

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


class Net(nn.Module):
    """Three layers, a weight that is used twice, and a buffer that follows the data."""

    def __init__(self, dtype=torch.float32, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(5, 7, dtype=dtype)
        self.shared = nn.Linear(7, 7, dtype=dtype)
        self.last = nn.Linear(7, 3, dtype=dtype)
        self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(7, dtype=dtype))

    def forward(self, x):
        self.calls += 1
        x = torch.tanh(self.first(x))
        self.mean.copy_(0.9 * self.mean + 0.1 * x.detach().mean(0))
        return self.last(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


def batches(steps, dtype, rows=None, seed=0):
    """Inputs (R * rows, 5) and targets (R * rows, 3) of each step, for all ranks together."""
    n = dist.get_world_size() * (4 if rows is None else rows)
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(n, 5, generator=generator).to(dtype),
            torch.randn(n, 3, generator=generator).to(dtype),
        )
        for _ in range(steps)
    ]


def mine(tensor, group=None):
    """This rank's rows."""
    return tensor.chunk(dist.get_world_size(group))[dist.get_rank(group)]


def near(ours, expected, tolerance, least=0.1):
    """Within tolerance of the largest entry, which counts as `least` if it is smaller."""
    a, b = (np.asarray(t.detach().cpu().array) for t in (ours, expected))
    assert a.shape == b.shape and a.dtype == b.dtype
    worst = np.abs(a - b).max() if a.size else 0
    assert worst <= tolerance * max(np.abs(b).max() if b.size else 0, least), worst


def all_near(ours, expected, tolerance):
    """The parameters of two modules, and their gradients where both have them."""
    pairs = zip(ours.named_parameters(), expected.named_parameters(), strict=True)
    for (_, p), (_, q) in pairs:
        near(p, q, tolerance)
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            near(p.grad, q.grad, tolerance)


def equal_on_all_ranks(tensors):
    """To the last bit."""
    for tensor in tensors:
        copies = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(copies, tensor.detach())
        assert len({c.array.tobytes() for c in copies}) == 1
