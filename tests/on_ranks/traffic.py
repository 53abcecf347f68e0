"""What a trace counts as sent equals the closed forms, to the byte."""

from __future__ import annotations

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from benchmarks.schemes import BLOCKS, ROWS, SCHEMES, C, Stack, exchanges_of
from tinygrad_llm import study
from tinygrad_llm.models.estimate_ranks import all_reduce_bytes
from tinygrad_llm.study.draw.ranks import bytes_between, events_of


def of_all_ranks(name):
    """Bytes that all ranks together send in a step."""
    every = study.all_exchanges(exchanges_of(name))
    assert all(e.ended is not None and e.blocked >= 0 for of_rank in every for e in of_rank)
    total = sum(map(sum, bytes_between(every)))
    assert total == sum(sum(event.sent.values()) for event in events_of(every))
    return total


def check_bytes_equal_the_closed_forms():
    R = dist.get_world_size()
    P = 4 * sum(p.numel() for p in Stack().parameters())
    sums, parameters = R * all_reduce_bytes(P, R), (R - 1) * P
    if R == 2:  # with more ranks small sums go to all in one exchange, which sends more
        assert of_all_ranks("dp") == sums
        assert of_all_ranks("zero1") == sums + parameters
        assert of_all_ranks("tp") == 2 * BLOCKS * R * all_reduce_bytes(4 * ROWS * C, R)
    assert of_all_ranks("zero2") == 2 * parameters
    assert of_all_ranks("zero3") == 3 * parameters
    x = 4 * ROWS * C  # bytes of all tokens' channels
    # 6 all-gathers and 4 reduce-scatters; two biases' gradients; three lengths
    assert of_all_ranks("sequence") == (R - 1) * (10 * x + 2 * R * 4 * C + 3 * R * 8)
    assert of_all_ranks("pipeline") == (R - 1) * (2 * x + 24)  # and what the activations are
    # keys and values: R - 1 turns forward and backward, R of their gradients; two lengths
    assert of_all_ranks("ring") == R * (3 * R - 2) * 2 * x + R * (R - 1) * 16
    # four all-to-alls with a size and an answer each; before them the rows of each of 2R experts
    rows, rest = divmod(of_all_ranks("experts") - R * (R - 1) * (16 * R + 4 * 9), 4 * 4 * C)
    assert rest == 0 and 0 < rows < 2 * R * ROWS  # those that leave their rank


def check_a_trace_shows_what_is_sent():
    x = torch.ones(5000)
    with study.trace() as t:
        dist.all_reduce(x)
        dist.barrier()
    assert [e.name for e in t.exchanges] == ["all_reduce", "barrier"]
    table = t.table("communication", width=120)
    assert "all_reduce" in table and f"{len(t.exchanges)} collectives" in table
    assert "Between the ranks" in t.html() and 0 < t.communication <= t.seconds
    sent = t.as_dict()["exchanges"][0]["sent"]
    part = [5000 * (r + 1) // dist.get_world_size() - 5000 * r // dist.get_world_size()
            for r in range(dist.get_world_size())]  # fmt: skip
    mine = part[dist.get_rank()]
    assert sent == {r: 4 * (part[r] + mine) for r in sent} and len(sent) == len(part) - 1
    x = torch.ones(3)
    dist.all_reduce(x)
    assert len(t.exchanges) == 2  # nothing is noted outside of the context


def check_a_picture_of_every_scheme():
    every = study.all_exchanges(exchanges_of("ring"))
    if dist.get_rank() == 0:
        figure = study.draw_ranks(every, title="ring")
        assert len(figure.axes) == 2 and len(SCHEMES) == 9
        written = [text.get_text() for text in figure.axes[0].texts]
        assert any(word.startswith("send") for word in written)
