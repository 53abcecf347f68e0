"""How many threads each rank has: the cores of a machine, divided among its ranks."""

from __future__ import annotations

import os
import warnings

from ..arrays.parallel import core_count, set_thread_count, thread_count

__all__ = ["share_cores"]


def share_cores(rank: int, here: int, sharing: int) -> None:
    """Divide the cores among the ranks that have them, unless the program has set its threads.

    here: the ranks of this machine; sharing: those that may use the same cores as this one, fewer
    where mpiexec has bound each rank to some. OMP_NUM_THREADS says how many threads each rank has,
    where it is set. Where a rank has a single core of many, as Open MPI gives each of two, rank 0
    says how to have more.
    """
    cores, in_all = core_count(), os.cpu_count() or 1
    if rank == 0 and sharing < here and cores == 1 < in_all // here:
        warnings.warn(
            f"mpiexec has bound each rank to 1 of {in_all} cores: start the program with "
            "tinygrad-llm launch, or pass --bind-to none to mpiexec",
            stacklevel=4,
        )
    if thread_count() != cores:
        return
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the library of products cannot be set
        set_thread_count(int(threads) if threads.isdigit() else max(cores // sharing, 1))
