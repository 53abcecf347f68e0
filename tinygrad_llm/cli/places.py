"""Which of several processes this one is, and which of them explains an error."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..distributed.errors import DistError
from ..distributed.rendezvous import LAUNCHERS
from ..training.ranks import AnotherRankError

__all__ = ["CHILD", "Place", "another_explains", "arguments_of_program", "place", "prefix"]

CHILD = "TINYGRAD_LLM_RESUME_NOTE"  # of ranks that --ranks started: the file for how to resume

arguments_of_program: list[str] = []  # of the command line, which ranks started here get too


class Place(NamedTuple):
    """A process among those that a launcher started."""

    rank: int
    size: int


def place() -> Place | None:
    """What mpiexec, tinygrad-llm launch, torchrun or srun says of this process; None without one.

    Slurm's variables count only where srun started the process: a batch script has them too.
    """
    for rank, size in (("RANK", "WORLD_SIZE"), *LAUNCHERS):
        if rank.startswith("SLURM") and "SLURM_STEP_NUM_TASKS" not in os.environ:
            continue
        numbers = os.environ.get(rank, ""), os.environ.get(size, "")
        if all(number.isascii() and number.isdigit() for number in numbers):
            return Place(int(numbers[0]), int(numbers[1]))
    return None


def another_explains(error: BaseException) -> bool:
    """Whether another process explains this error: another rank, or the one that started all."""
    here = place()
    if isinstance(error, AnotherRankError):
        return True
    if here is None or here.size == 1:
        return False
    if isinstance(error, KeyboardInterrupt):
        return here.rank > 0
    lost = isinstance(error, DistError) and CHILD in os.environ
    return lost and any(words in str(error) for words in ("has ended", "has left"))


def prefix() -> str:
    """What stands before an error's line: the rank, where it is not the first."""
    here = place()
    return f"rank {here.rank}: " if here is not None and here.rank > 0 else ""
