"""DistributedSampler: each rank's share of the examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

from ... import distributed as dist
from ...functions.random import Generator
from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every num_replicas-th example from the rank-th on, in an order that all ranks share.

    dataset          anything with a length
    num_replicas     the number of ranks; None: distributed.get_world_size()
    rank             this rank, from 0; None: distributed.get_rank()
    shuffle          a new random order in each epoch, from seed + epoch
    drop_last        leave out the last examples so that ranks have equally many; else the first
                     ones are repeated at the end

    Call set_epoch(epoch) before each epoch, or every epoch has the same order.
    Raises: ValueError for a rank outside [0, num_replicas − 1], and without a process group where
    num_replicas or rank is None.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = dist.get_world_size()
        if rank is None:
            rank = dist.get_rank()
        if rank >= num_replicas or rank < 0:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        n = len(dataset)
        if drop_last and n % num_replicas != 0:
            self.num_samples = math.ceil((n - num_replicas) / num_replicas)
        else:
            self.num_samples = math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        indices = list(range(n))
        if self.shuffle:
            indices = Generator().manual_seed(self.seed + self.epoch).randperm(n).tolist()
        if self.drop_last:
            indices = indices[: self.total_size]
        elif indices:
            repeats = math.ceil(self.total_size / n)
            indices = (indices * repeats)[: self.total_size]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from which the order is drawn."""
        self.epoch = epoch
