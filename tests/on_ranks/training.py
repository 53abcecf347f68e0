"""The Trainer over ranks: the mean over the targets of all ranks, never a mean of means."""

from __future__ import annotations

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, all_near, equal_on_all_ranks
from tinygrad_llm import optim
from tinygrad_llm.models.gpt import GPT, GPTConfig
from tinygrad_llm.training import Trainer
from tinygrad_llm.training.ranks import reduce_over_ranks


def model_of(dtype, drop_rate=0.0):
    torch.manual_seed(2)
    config = GPTConfig(
        vocab_size=11, context_length=6, emb_dim=8, n_layers=2, n_heads=2, drop_rate=drop_rate
    )
    return GPT(config).to(dtype)


def batches_of_all(steps):
    """For each step and rank inputs and targets: ragged, and at times a rank without targets."""
    generator = torch.Generator().manual_seed(3)
    size, made = dist.get_world_size(), []
    for step in range(steps):
        for rank in range(size):
            rows = 1 + (step + rank) % 3
            ids = torch.randint(0, 11, (rows, 7), generator=generator)
            inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
            targets[:, : (rank + 2 * step) % 5] = -100
            if (step + rank) % 4 == 3:
                targets[:] = -100
            made.append((inputs, targets))
    return made


def trained(dtype, batches, make, accumulation, reduce=None, steps=10):
    model = model_of(dtype)
    optimizer = make(model.parameters())
    trainer = Trainer(
        model, optimizer, batches, steps=steps, accumulation=accumulation, clip=0.5, folder=None,
        progress=False,
    )  # fmt: skip
    if reduce is not None:
        trainer.setup.reduce = reduce
    result = trainer.run(plan=False)
    return model, result


def check_ragged_ranks_and_ranks_without_targets():
    rank, size = dist.get_rank(), dist.get_world_size()
    batches = batches_of_all(10)
    sgd = lambda p: optim.SGD(p, lr=0.1)  # noqa: E731
    adamw = lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1)  # noqa: E731
    for dtype, make in ((torch.float32, sgd), (torch.float64, sgd), (torch.float64, adamw)):
        ours, result = trained(dtype, batches[rank::size], make, 1, reduce_over_ranks())
        one, expected = trained(dtype, batches, make, size)
        all_near(ours, one, TOLERANCE[dtype])
        equal_on_all_ranks(ours.parameters())
        assert result.tokens == expected.tokens
