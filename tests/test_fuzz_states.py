"""Training states that are edited at random: resumed and trained on, or refused by name.

CI takes 2,000 of them, `-m slow` 20,000: an edit deletes a value, renames it, puts a bad one in its
place, or changes numbers inside a tensor. Each state that is believed must train a step.
"""

from __future__ import annotations

import copy
import math
import random

import pytest
from mutations import NASTY
from test_fuzz_files import ends_well

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.training import StorageError, Trainer, find_checkpoint
from tinygrad_llm.training.autopsy import NonFiniteError
from tinygrad_llm.utils.data import DataLoader, TensorDataset

OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "Adam with amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "Lion": lambda p: torch.optim.Lion(p, lr=0.01),
    "Schedule-Free": lambda p: torch.optim.AdamWScheduleFree(p, lr=0.01),
}


def trainer(kind: str, steps: int, folder=None) -> Trainer:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.2), nn.Linear(3, 1))
    optimizer = OPTIMIZERS[kind](model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    data = DataLoader(TensorDataset(torch.randn(12, 2)), batch_size=3, shuffle=True)
    return Trainer(
        model, optimizer, data, scheduler=schedule, steps=steps, folder=folder, progress=False,
        checkpoint_every=100, loss=lambda m, batch: m(batch[0]).pow(2).mean(),
        count=lambda batch: len(batch[0]),
    )  # fmt: skip


def containers(value, places):
    """Every dict and list inside a state."""
    if isinstance(value, dict | list):
        places.append(value)
        for item in value.values() if isinstance(value, dict) else value:
            containers(item, places)
    return places


def bad_value(old, rng):
    """Another value: of the same kind but wrong, or of another kind."""
    if isinstance(old, torch.Tensor) and rng.randrange(4):
        new = old.detach().clone()
        how = rng.randrange(6)
        if how == 0:
            return new.reshape(-1)[: max(0, new.numel() - 1)]
        if how == 1:
            return torch.cat([new.reshape(-1), new.reshape(-1)])
        if how == 2:
            return new.to(rng.choice([torch.float16, torch.float64, torch.int64, torch.bool]))
        if new.dtype.is_floating_point and new.numel():
            new.reshape(-1)[0] = rng.choice([math.nan, math.inf, -1.0, 1e30])
            return new
        return new * 0
    if isinstance(old, float | int) and not isinstance(old, bool) and rng.randrange(2):
        return old * rng.choice([-1, 0, 1000, 10**12, 0.5]) - rng.choice([0, 1])
    return copy.deepcopy(rng.choice(NASTY))


def edit(state, rng):
    """One to three edits at random places of a state."""
    for _ in range(rng.randint(1, 3)):
        everywhere = [c for c in containers(state, []) if c]
        container = rng.choice(everywhere)
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        key = rng.choice(keys)
        how = rng.randrange(6)
        if how == 0:
            del container[key]
        elif how == 1 and isinstance(container, dict):
            container[rng.choice(["x", 0, 99, "step", ""])] = container.pop(key)
        elif how == 2 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            container[key] = bad_value(container[key], rng)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_edited_states(kind, count, tmp_path):
    first = trainer(kind, 3, tmp_path)
    first.run(plan=False)
    checkpoint = find_checkpoint(tmp_path)
    whole = checkpoint.state()
    believed = 0
    for seed in range(count):
        state = copy.deepcopy(whole)
        edit(state, random.Random(seed))
        checkpoint.state = lambda state=state: state

        def resumed():
            nonlocal believed
            run = trainer(kind, 4)
            run.restore(checkpoint)  # noqa: B023
            believed += 1
            run.run(plan=False)

        ends_well(resumed, (StorageError, NonFiniteError), f"{kind}, seed {seed}")
    print(f"{kind}: {count} edited states, {believed} of them believed")
    assert 0 < believed < count


@pytest.fixture(params=["40", pytest.param("300", marks=[pytest.mark.slow, pytest.mark.ci]),
                        pytest.param("5000", marks=pytest.mark.slow)])  # fmt: skip
def count(request) -> int:
    """How many states of each optimizer."""
    return int(request.param)
