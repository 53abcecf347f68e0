"""Trainers that share batches: ranks compute the losses and weights of one process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from test_shards import documents, write

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, all_near, equal_on_all_ranks
from on_ranks.training import model_of
from tinygrad_llm import optim
from tinygrad_llm.data.shard_batches import PACKINGS, ShardBatches
from tinygrad_llm.data.shards import Shards
from tinygrad_llm.training import Trainer
from tinygrad_llm.training.ranks import AnotherRankError, Ranks, part_of_rows
from tinygrad_llm.training.sharding import shard_model


def ragged(steps, rows=5):
    """Batches of 1 to `rows` rows, some of whose targets do not count."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for step in range(steps):
        ids = torch.randint(0, 11, (1 + step % rows, 7), generator=generator)
        inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
        targets[0, : step % 5] = -100
        if step % 4 == 3:
            targets[0] = -100  # at times the only row: a step without targets
        made.append((inputs, targets))
    return made


def trained(
    dtype, make, ranks=None, steps=9, drop_rate=0.0, folder=None, shard=None, **options
):  # fmt: skip
    """A trainer and its result: alone, or on all ranks, which divide the parameters by `shard`."""
    model = model_of(dtype, drop_rate)
    more = {"accumulation": 2, "clip": 0.5, "eval_every": 3, **options}
    trainer = Trainer(
        model, make(model.parameters()), ragged(7), steps=steps, validation=ragged(4),
        folder=folder, progress=False, **more,
    )  # fmt: skip
    if shard is not None:
        shard_model(model, trainer.optimizer, shard, ranks)
    if ranks is not None:
        trainer.join(ranks)
    return trainer, trainer.run(plan=options.get("accumulation") == 1, resume=folder is not None)


def numbers(trainer, *names):
    return [[line.get(name) for name in names] for line in trainer.metrics.lines]


def same_numbers(ours, result, one, expected, limit):
    """Two trainers and their results: the same steps, tokens, losses and norms of gradients."""
    assert result.tokens == expected.tokens and result.step == expected.step
    names = ("step", "tokens", "loss", "val_loss", "grad_norm")
    for a, b in zip(numbers(ours, *names), numbers(one, *names), strict=True):
        assert [x is None for x in a] == [x is None for x in b]
        known = [(x, y) for x, y in zip(a, b, strict=True) if x is not None]
        assert np.allclose(*zip(*known, strict=True), rtol=10 * limit, atol=0), (a, b)


SGD = lambda p: optim.SGD(p, lr=0.1)  # noqa: E731
ZERO = lambda p: dist.optim.ZeroRedundancyOptimizer(  # noqa: E731
    p, optim.AdamW, lr=0.01, weight_decay=0.1
)
ADAMW = lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)  # noqa: E731


def check_losses_and_weights_are_those_of_one_process():
    for dtype, make in ((torch.float32, SGD), (torch.float64, SGD), (torch.float64, ADAMW)):
        for options in ({}, {"accumulation": 1}):
            ours, result = trained(dtype, make, Ranks.here(), **options)
            one, expected = trained(dtype, make, **options)
            limit = TOLERANCE[dtype]
            all_near(ours.model, one.model, limit)
            equal_on_all_ranks(ours.model.parameters())
            same_numbers(ours, result, one, expected, limit)


def check_parts_of_rows():
    batch = (torch.arange(5), [1, 2, 3, 4, 5], torch.arange(10).view(10, 1))
    parts = [part_of_rows(batch, rank, 3) for rank in range(3)]
    assert [p[0].tolist() for p in parts] == [[0], [1, 2], [3, 4]]
    assert [p[1] for p in parts] == [[1], [2, 3], [4, 5]]
    assert [p[2].view(-1).tolist() for p in parts] == [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert part_of_rows({"ids": torch.zeros(1, 2), "n": 1}, 0, 2) is None
    assert part_of_rows({"ids": torch.zeros(1, 2), "n": 1}, 1, 2)["n"] == 1


def shared_folder(name):
    """A folder that all ranks know."""
    return Path(os.environ["RUN_FOLDER"]) / f"{name}-{dist.get_world_size()}"


def check_dropout_differs_and_a_resumed_run_is_bit_exact():
    folder, ranks = shared_folder("run"), Ranks.here()
    options = {"drop_rate": 0.5, "checkpoint_every": 3}
    whole, _ = trained(torch.float32, ADAMW, Ranks.here(), folder=folder / "whole", **options)
    cut, _ = trained(torch.float32, ADAMW, Ranks.here(), 6, folder=folder / "cut", **options)
    again, result = trained(torch.float32, ADAMW, ranks, folder=folder / "cut", **options)
    for p, q in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert np.array_equal(p.array, q.array)
    assert result.checkpoint == again.checkpoint and result.checkpoint.name == "step-00000009"
    states = [bytes(state) for state in ranks.random_states()]
    assert len(set(states)) == ranks.size  # each rank has its own numbers
    assert [bytes(s) for s in whole.setup.ranks.random_states()] == states
    dist.barrier()
    if ranks.first:
        lines = [(folder / kind / "metrics.jsonl").read_text().splitlines()
                 for kind in ("whole", "cut")]  # fmt: skip
        kept = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in each]
                for each in lines]  # fmt: skip
        assert kept[0] == kept[1] and len(kept[0]) > 9
        one, ended = trained(torch.float32, ADAMW, None, 12, folder=folder / "cut", **options)
        assert ended.step == 12  # one process resumes what several wrote
    dist.barrier()


def rows_of_a_run(folder, packing, ranks, steps, state=None):
    """(the rows of ids that this process computed with, where its batches are afterwards)."""
    seen = []

    def loss(model, batch):
        seen.append(np.concatenate([each.numpy() for each in batch], axis=1))
        return model.loss(batch[0], batch[-1])

    batches = ShardBatches([Shards(folder)], 5, 6, packing=packing, seed=2)
    if state is not None:
        batches.load_state_dict(state)
    model = model_of(torch.float32)
    trainer = Trainer(
        model, SGD(model.parameters()), batches, loss=loss, steps=steps, progress=False
    )
    if ranks is not None:
        trainer.join(ranks)
    trainer.run(plan=False)
    return np.concatenate(seen) if seen else np.zeros((0, 0), int), batches.state_dict()


def check_ranks_take_disjoint_parts_of_shards():
    """An epoch over R ranks has the windows of one process, each on one rank alone."""
    ranks = Ranks.here()
    folder = shared_folder("shards")
    if ranks.first:
        texts = [[*(i % 10 for i in text[:-1]), 10] for text in documents(1, 12)]
        write(folder, {"train": [texts], "val": [texts[:2]]}, end=10, vocab_size=11)
    dist.barrier()
    for packing in PACKINGS:
        steps = len(ShardBatches([Shards(folder)], 5, 6, packing=packing)) - 1
        mine, state = rows_of_a_run(folder, packing, ranks, steps)
        alone, expected = rows_of_a_run(folder, packing, None, steps)
        assert state == expected
        parts = [[tuple(row) for row in each.tolist()] for each in ranks.everyones(mine)]
        every = [row for part in parts for row in part]
        assert sorted(every) == sorted(map(tuple, alone.tolist()))
        assert len(set(every)) == len(every) == 5 * steps  # no row twice, and so on two ranks
        # Another number of processes goes on where these stopped
        mine, _ = rows_of_a_run(folder, packing, ranks, 3, state)
        alone, _ = rows_of_a_run(folder, packing, None, 3, expected)
        every = [row for each in ranks.everyones(mine) for row in each.tolist()]
        assert sorted(every) == sorted(alone.tolist())


def check_zero_redundancy():
    """AdamW's state is divided: the weights of one process, and its checkpoint."""
    options = {"accumulation": 1, "checkpoint_every": 3}
    for dtype, folder in ((torch.float64, None), (torch.float32, shared_folder("zero") / "cut")):
        ours, _ = trained(dtype, ZERO, Ranks.here(), 6, folder=folder, **options)
        ours, _ = trained(dtype, ZERO, Ranks.here(), folder=folder, **options)
        one, _ = trained(dtype, ADAMW, None, **options)
        if folder is None:
            all_near(ours.model, one.model, 1e-9)
        equal_on_all_ranks(ours.model.parameters())
        own = len(ours.optimizer.optim.state)
        assert own < len(one.optimizer.state) == sum(Ranks.here().everyones(own))
    whole, _ = trained(
        torch.float32, ZERO, Ranks.here(), folder=shared_folder("zero") / "whole", **options
    )
    for p, q in zip(whole.model.parameters(), ours.model.parameters(), strict=True):
        assert np.array_equal(p.array, q.array)  # the run that was cut is the same
    if dist.get_rank() == 0:
        one, ended = trained(torch.float32, ADAMW, None, 11, folder=folder, **options)
        assert ended.step == 11 and len(one.optimizer.state) == len(list(one.model.parameters()))
    dist.barrier()


def check_an_error_of_one_rank_ends_all():
    ranks = Ranks.here()
    with pytest.raises(ZeroDivisionError if ranks.rank == 1 else AnotherRankError):
        with ranks.together():
            1 / (ranks.rank - 1)
    with pytest.raises(ValueError if ranks.first else AnotherRankError):
        with ranks.together():
            raise ValueError
    assert ranks.same(ranks.rank) == 0 and ranks.everyones(ranks.rank) == list(range(ranks.size))


def check_a_loss_that_is_not_finite_is_reported_by_its_rank():
    def loss(model, batch):
        value = model.loss(*batch)
        return value * float("inf") if dist.get_rank() == 1 else value

    model = model_of(torch.float32)
    batch = (torch.zeros(3, 6, dtype=torch.int64), torch.ones(3, 6, dtype=torch.int64))
    for plan in (True, False):
        trainer = Trainer(model, SGD(model.parameters()), [batch], steps=1, loss=loss,
                          folder=None, progress=False)  # fmt: skip
        trainer.join(Ranks.here())
        with pytest.raises(Exception) as caught:
            trainer.run(plan=plan)
        expected = "NonFiniteError" if dist.get_rank() == 1 else "AnotherRankError"
        assert type(caught.value).__name__ == expected, caught.value
