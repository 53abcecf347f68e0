"""What a rank keeps when parameters are divided: as the closed forms of fsdp say."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.sharded import sharded
from tinygrad_llm import nn, optim

NUMBERS = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(x)))


class Model(nn.Module):
    """Nearly all of its memory is parameters."""

    def __init__(self, channels=200, words=301, n_blocks=4):
        super().__init__()
        self.words = nn.Embedding(words, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(n_blocks))
        self.head = nn.Linear(channels, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def kept():
    """The bytes of all arrays."""
    gc.collect()
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([NUMBERS]).traces)


def of_a_step(reshard):
    """Bytes of the second step: (between forward and backward, at most, afterwards)."""
    model = sharded(Model(), reshard_after_forward=reshard)
    optimizer = optim.AdamW(model.parameters())
    ids = torch.arange(6).view(1, 6)
    for _ in range(2):
        optimizer.zero_grad()
        gc.collect()
        tracemalloc.reset_peak()
        before, numbers = tracemalloc.get_traced_memory()[0], kept()
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        between = kept()
        loss.backward()
        del loss
        most = tracemalloc.get_traced_memory()[1] - before + numbers
        optimizer.step()
    return between, most, kept()


def check_memory_as_the_closed_forms_say():
    size = dist.get_world_size()
    whole = Model()  # also draws random numbers, whose memory is kept for the next ones
    P, U = (sum(p.numel() for p in m.parameters()) for m in (whole, whole.blocks[0]))
    V = whole.words.weight.numel()
    del whole
    for reshard, between, most in (
        (True, 12 * P / size, 16 * P / size + 4 * (5 * U + 2 * V)),
        (False, 12 * P / size + 4 * P, 16 * P / size + 4 * (P + 2 * U)),
    ):
        tracemalloc.start()
        try:
            measured = of_a_step(reshard)
        finally:
            tracemalloc.stop()
        assert np.isclose(measured[0], between, rtol=0.1), (reshard, measured, between)
        # less where the exchange of gradients ends before the next ones are there
        assert 0.7 * most < measured[1] < 1.02 * most, (reshard, measured, most)
        assert np.isclose(measured[2], 16 * P / size, rtol=0.02), (reshard, measured)
