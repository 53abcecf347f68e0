"""Trainers whose parameters are divided: the numbers, files and errors of one process.

With the environment variable LONG more schemes, dtypes and steps.
"""

from __future__ import annotations

import errno
import os
import re

import numpy as np
import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks import shared_batches
from on_ranks.models import TOLERANCE
from on_ranks.shared_batches import ADAMW, SGD, ragged, same_numbers, shared_folder
from on_ranks.training import model_of
from tinygrad_llm import optim
from tinygrad_llm.distributed.fsdp import whole_model
from tinygrad_llm.distributed.traffic import watching
from tinygrad_llm.training import Trainer, checkpoint, divided_checkpoint, find_checkpoint
from tinygrad_llm.training.checkpoint import StorageError
from tinygrad_llm.training.ranks import AnotherRankError, Ranks
from tinygrad_llm.training.sharding import shard_model
from tinygrad_llm.training.storage import Storage
from tinygrad_llm.training.weight_decay import decay_groups
from tinygrad_llm.weights import load_file


def decayed(parameters):
    return optim.AdamW(decay_groups(parameters, 0.3), lr=0.01)


def trained(dtype, make, shard=None, steps=9, **options):
    """As in shared_batches; with `shard` on all ranks."""
    ranks = None if shard is None else Ranks.here()
    return shared_batches.trained(dtype, make, ranks, steps, shard=shard, **options)


LONG = "LONG" in os.environ
STEPS = 9 if LONG else 4
SAMPLE = lambda model: str(model.loss(*ragged(1)[0]))  # noqa: E731


def check_losses_and_weights_are_those_of_one_process():
    kinds = [("fsdp", torch.float32, SGD)]
    if LONG:
        kinds += [("zero2", torch.float64, SGD), ("fsdp", torch.float64, decayed)]
    for shard, dtype, make in kinds:
        for options in ({}, {"accumulation": 1})[: 1 + LONG]:
            ours, result = trained(
                dtype, make, shard, STEPS, sample=SAMPLE, sample_every=2, **options
            )  # fmt: skip
            one, expected = trained(dtype, make, None, STEPS, **options)
            assert sum(p.numel() for p in ours.model.parameters()) < sum(
                p.numel() for p in one.model.parameters()
            )
            limit = 1e-9 if make is decayed else 3 * TOLERANCE[dtype]
            with whole_model(ours.model):
                for p, q in zip(ours.model.parameters(), one.model.parameters(), strict=True):
                    worst = np.abs(p.array - q.array).max()
                    assert worst <= limit * max(1.0, np.abs(q.array).max()), (shard, worst)
            same_numbers(ours, result, one, expected, limit)


def check_a_checkpoint_is_that_of_one_process():
    """Cut and resumed to the last bit; one process, and other schemes, resume it."""
    folder, ranks, n = shared_folder("divided"), Ranks.here(), 3 if LONG else 1
    options = {"drop_rate": 0.5, "checkpoint_every": n if LONG else 100}

    def run(shard, steps, folder=folder):
        return trained(torch.float32, decayed, shard, steps, folder=folder, **options)

    whole, _ = run("fsdp", 3 * n, None)
    run("fsdp", 2 * n)
    again, result = run("fsdp", 3 * n)
    for p, q in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert np.array_equal(p.array, q.array)
    one = model_of(torch.float32, 0.5)
    stored = load_file(result.checkpoint / "model.safetensors")
    assert all(stored[n].shape == p.shape for n, p in one.named_parameters() if n in stored)
    moments = find_checkpoint(folder).state()["optimizer"]["state"]
    assert {m["exp_avg"].shape for m in moments.values()} == {p.shape for p in one.parameters()}
    if LONG:
        assert run("zero2", 3 * n + 1)[0].step == 3 * n + 1
    if ranks.first:
        alone, ended = run(None, 3 * n + 2)
        assert ended.step == 3 * n + 2 and alone.checkpoint.name == f"step-{ended.step:08d}"
    dist.barrier()
    if LONG:
        assert run("fsdp", 3 * n + 3)[1].step == 3 * n + 3  # of what one process wrote


def saved_by(folder, steps, **options):
    """The trainer of a run, and what its ranks sent for its checkpoint: bytes."""
    exchanges = []
    save = Storage.save

    def watched(self, *args, **kwargs):
        with watching(exchanges.append):
            save(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "save", watched)
        trainer, result = trained(
            torch.float32, decayed, "fsdp", steps, folder=folder, checkpoint_every=100, **options
        )  # fmt: skip
    sent = sum(n for e in exchanges for n in e.sent().values())
    return trainer, result, sent


def files_of(result):
    return [
        (result.checkpoint / name).read_bytes()
        for name in ("model.safetensors", "training.safetensors")
    ]


def check_each_rank_writes_its_rows():
    """Nothing is sent but small things; the files are those that rank 0 writes alone."""
    first, second = shared_folder("rows"), shared_folder("joined")
    trainer, result, sent = saved_by(first, 2)
    parameters = sum(4 * p.numel() for p in trainer.model.parameters())  # of this rank
    with pytest.MonkeyPatch.context() as patch:  # as on machines without a common file system
        if dist.get_rank() == dist.get_world_size() - 1:
            patch.setattr(divided_checkpoint.os.path, "isdir", lambda path: False)
        _, joined, sent_to_first = saved_by(second, 2)
    assert sent + 2 * parameters < sent_to_first, (sent, sent_to_first, parameters)
    dist.barrier()
    assert files_of(result) == files_of(joined)
    find_checkpoint(result.checkpoint)  # sizes and sums are right
    assert not [p for p in result.checkpoint.parent.iterdir() if p.name.startswith(".")]


def check_a_rank_whose_disk_is_full():
    """No checkpoint of that name is left, and rank 0 says which rank it was."""
    folder, last = shared_folder("full"), dist.get_world_size() - 1

    def refuses(path, tensors):
        raise OSError(errno.ENOSPC, "full", str(path))

    with pytest.MonkeyPatch.context() as patch:
        if dist.get_rank() == last:
            patch.setattr(checkpoint, "write_parts", refuses)
        with pytest.raises((StorageError, AnotherRankError)) as caught:
            saved_by(folder, 2)
    if dist.get_rank() == 0:
        message = rf"checkpoint of step 2 was not written: rank {last}: .*the disk is full"
        assert re.search(message, str(caught.value)), caught.value
    dist.barrier()
    assert not list((folder / "checkpoints").iterdir())


def check_a_loss_that_is_not_finite_is_reported_by_its_rank():
    def loss(model, batch):
        value = model.loss(*batch)
        return value * float("inf") if dist.get_rank() == 1 else value

    batch = (torch.zeros(3, 6, dtype=torch.int64), torch.ones(3, 6, dtype=torch.int64))
    for plan in (True, False)[: 1 + LONG]:
        model = model_of(torch.float32)
        trainer = Trainer(model, ADAMW(model.parameters()), [batch], steps=1, loss=loss,
                          folder=None, progress=False)  # fmt: skip
        shard_model(model, trainer.optimizer, "fsdp", Ranks.here())
        trainer.join(Ranks.here())
        with pytest.raises(Exception) as caught:
            trainer.run(plan=plan)
        expected = "NonFiniteError" if dist.get_rank() == 1 else "AnotherRankError"
        assert type(caught.value).__name__ == expected, caught.value
    assert issubclass(AnotherRankError, RuntimeError)
