"""Training over ranks: several processes train one model, each on its part of every batch.

    trainer.join(Ranks.here())          # after init_process_group, on every rank

All ranks have the same weights and read the same batches. Of each batch a rank takes its own
examples; the gradients of all are added up (`Ranks.reduce`), so that a step is the one that a
single process makes: the mean over all targets of the batch, never a mean of the ranks' means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np

from .. import distributed as dist
from .. import random
from ..arrays.devices import on_gpu
from ..arrays.parallel import thread_count
from ..distributed.fsdp import whole_model
from ..distributed.gradients import joined_gradients, put_gradient
from ..distributed.groups import member_group
from ..distributed.steps import divided
from ..random import Generator
from ..tensor import Tensor, wrap

__all__ = ["ALONE", "AnotherRankError", "Ranks", "part_of_rows", "reduce_over_ranks"]

BUCKET = 25 << 20  # bytes of gradients that travel together


class AnotherRankError(RuntimeError):
    """Another rank has an error, which it reports itself: this one has nothing to add."""


class Ranks:
    """The processes that train one model together, and which of them this one is.

    rank, size: this process's number and how many there are; group: a process group, None for that
    of all processes. ALONE, one process by itself, has nothing to exchange: its methods return what
    they are given.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank, self.size, self.group = rank, size, group
        self.interruptions: Any = None  # of the run, see training/guard.py
        self.stop_signal: int | None = None  # that came to any of the ranks
        self.pause_asked: Callable[[], bool] = lambda: False  # on rank 0, see training/live.py
        self.pause = False  # whether it was, in the step's exchange
        self.sharded = False  # whether each rank has only a part of the parameters
        self._random: np.ndarray | None = None  # the state of this rank's own generator

    @classmethod
    def here(cls, group: Any = None) -> Ranks:
        """The ranks of a group, all of them with None; ALONE where there is no other process."""
        if not dist.is_initialized() or dist.get_world_size(group) == 1:
            return ALONE
        return cls(dist.get_rank(group), dist.get_world_size(group), group)

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and shows what happens."""
        return self.rank == 0

    @property
    def averaged(self) -> int:
        """The number by which gradients are divided: fully_shard takes the mean over the ranks."""
        return self.size if self.sharded else 1

    @property
    def several(self) -> bool:
        """Whether there are other ranks."""
        return self.size > 1

    def line(self) -> str:
        """For the user: how many ranks there are, and how many threads each has."""
        threads = thread_count()
        return (
            f"ranks        {self.size}, each with {threads} thread{'s' * (threads != 1)} and its "
            "part of every batch"
        )

    # --------------------------------------------------------------------- what ranks exchange
    def everyones(self, value: Any) -> list[Any]:
        """The value of each rank: numbers, texts, arrays, and lists and dicts of them."""
        values: list[Any] = [value] * self.size
        if self.several:
            dist.all_gather_object(values, value, self.group)
        return values

    def same(self, value: Any) -> Any:
        """The value that rank 0 has."""
        if not self.several:
            return value
        values = [value if self.first else None]
        dist.broadcast_object_list(values, dist.get_global_rank(self.group, 0), group=self.group)
        return values[0]

    def begin_alike(self, model: Any) -> None:
        """Give all ranks the weights and buffers of rank 0; parts of weights stay as they are."""
        if not self.several:
            return
        source = dist.get_global_rank(self.group, 0)
        for each in (*model.parameters(), *model.buffers()):
            if not hasattr(each, "division"):
                dist.broadcast(each.detach(), source, self.group)

    def sums(self, *numbers: float) -> list[float]:
        """The numbers added up over the ranks, in float64 and in the order of the ranks."""
        if not self.several:
            return list(numbers)
        total = wrap(np.array(numbers, np.float64))
        dist.all_reduce(total, group=self.group)
        return [float(number) for number in total.tolist()]

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block after which all ranks go on or none: they wait for each other at its end.

        Inside it ranks exchange nothing, or all exchange the same before any has an error.
        Raises: the error of this rank, if no rank before it has one; AnotherRankError otherwise
        where any rank has an error.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as fault:
            error = fault
        failed = [rank for rank, bad in enumerate(self.everyones(error is not None)) if bad]
        if error is not None and failed[0] == self.rank:
            raise error
        if failed:
            raise AnotherRankError(f"rank {failed[0]} has an error") from error

    @contextmanager
    def together_around(self, block: AbstractContextManager[Any]) -> Iterator[None]:
        """The block, which all ranks enter or none.

        Raises: as `together`.
        """
        with ExitStack() as stack:
            with self.together():
                stack.enter_context(block)
            yield

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """A block that rank 0 ends before the others begin: it may download what they need too."""
        if self.several and not self.first:
            dist.barrier(self.group)
        try:
            yield
        finally:
            if self.several and self.first:
                dist.barrier(self.group)

    @contextmanager
    def whole(self, model: Any) -> Iterator[None]:
        """A block in which each rank has the whole model, and may compute with it by itself."""
        if not self.sharded:
            yield
            return
        with whole_model(model):
            yield

    # ---------------------------------------------------------------------------- random numbers
    @contextmanager
    def own_random(self) -> Iterator[None]:
        """A block in which the default generator is this rank's own: its dropout differs.

        Outside of it the default generator draws the same numbers on all ranks.
        """
        if not self.several:
            yield
            return
        common = random.get_rng_state()
        random.set_rng_state(common if self._random is None else self._random)
        try:
            yield
        finally:
            self._random = random.get_rng_state()
            random.set_rng_state(common)

    def seed_from(self, state: Any, step: int = 0) -> None:
        """Begin this rank's own random numbers, from the state of the common generator."""
        if self.several:
            seed = np.asarray(state).tobytes() + f"{step} {self.rank}".encode()
            number = int.from_bytes(hashlib.sha256(seed).digest()[:4], "little")
            self._random = Generator().manual_seed(number).state()

    @contextmanager
    def kept_random(self) -> Iterator[None]:
        """A block after which this rank's own random numbers continue as before it."""
        before = self._random
        try:
            yield
        finally:
            self._random = before

    def random_states(self) -> list[np.ndarray]:
        """The state of every rank's own generator, for a checkpoint; nothing for one process."""
        return self.everyones(self._random) if self.several else []

    def continue_random(self, states: Sequence[Any], common: Any, step: int) -> None:
        """Continue from the states in a checkpoint; where another number of ranks wrote it, start
        again from its step and the state of the common generator.

        Raises: TypeError or RuntimeError for what is not a state.
        """
        self.seed_from(common, step)
        if self.several and len(states) == self.size:
            generator = Generator()
            generator.set_state(states[self.rank])
            self._random = generator.state()

    # ---------------------------------------------------------------------------------- a step
    def asked_to_stop(self, signal: int | None) -> int | None:
        """The signal that should end the run, on all ranks after the same step.

        signal: the one that came here; of several ranks those count that came before the step's
        exchange.
        """
        return self.stop_signal if self.several else signal

    def asked_to_pause(self, asked: Callable[[], bool]) -> bool:
        """Whether the run should wait, on all ranks after the same step; asked: says it here."""
        return self.pause if self.several else asked()

    def settle(self, loss: float, failed: bool) -> tuple[float, bool]:
        """(sum of the ranks' losses, whether any has failed), and what was asked of any."""
        if not self.several:
            return loss, failed
        signal = getattr(self.interruptions, "signal", None) or 0
        pause = self.first and self.pause_asked()
        total, bad, signals, pauses = self.sums(
            0.0 if failed else loss, float(failed), float(signal), float(pause)
        )
        self.pause = pauses > 0
        if signals:
            self.stop_signal = max(self.everyones(int(signal)))
        return total, bad > 0

    def reduce(self, parameters: Iterable[Tensor], targets: Any) -> Any:
        """Replaces the gradients by their sum over the ranks; returns `targets`, those of all.

        For Setup.reduce: each rank's loss was divided by the number of targets of all ranks. Where
        the parameters are sharded the backward pass has added up their gradients.
        """
        group = member_group(self.group, "Ranks.reduce") if self.several else None
        if group is not None and targets and not self.sharded:
            _sum_gradients(parameters, None, group)
        return targets


ALONE = Ranks()


def part_of_rows(batch: Any, rank: int, size: int) -> Any:
    """The examples of a batch that belong to a rank of `size`; None if there are none for it.

    batch: tensors in a tuple, list or dict. The one with the fewest rows has a row for each of B
    examples, the others k rows one after the other (k·B, ...). Ranks get the examples in their
    order, as many as any other or one more.
    """
    values = list(batch.values()) if isinstance(batch, Mapping) else list(batch)
    rows = [len(value) for value in values if isinstance(value, Tensor | list)]
    B = min(rows)
    begin = sum(divided(B, size)[:rank])
    end = begin + divided(B, size)[rank]
    if begin == end:
        return None

    def own(value: Any) -> Any:
        if not isinstance(value, Tensor | list):
            return value
        k = len(value) // B
        return value[begin * k : end * k]  # (k·B, ...) -> (k·b, ...)

    if isinstance(batch, Mapping):
        return {name: own(value) for name, value in batch.items()}
    return type(batch)(own(value) for value in values)


def reduce_over_ranks(group: Any = None) -> Callable[[Iterable[Tensor], Any], int]:
    """A function for Setup.reduce where every rank has its own batches: afterwards every rank has
    the gradients of the mean loss over the targets of all ranks.

    Rank r's gradients are those of the mean over its n_r targets. The result is Σ n_r·g_r / Σ n_r,
    so a rank with a short batch has less weight, and one without targets none. A mean of the ranks'
    means would be another loss. The function returns Σ n_r.

        trainer.setup.reduce = reduce_over_ranks()

    Every rank has the same weights, and its own batches.
    """

    def reduce(parameters: Iterable[Tensor], targets: Any) -> Any:
        chosen = member_group(group, "reduce_over_ranks")
        if chosen is None:
            return targets
        if isinstance(targets, Tensor) and chosen.takes(targets.array) and on_gpu((targets.array,)):
            return _reduce_on_gpu(parameters, targets, chosen)
        counts = wrap(np.array([int(targets)], np.int64))
        dist.all_reduce(counts, group=group)
        total = int(counts.item())
        if total:
            _sum_gradients(parameters, int(targets) / total, chosen)
        return total

    return reduce


def _reduce_on_gpu(parameters: Iterable[Tensor], targets: Tensor, group: Any) -> Tensor:
    """reduce for a step that may be captured in a CUDA graph: nothing waits for the GPU.

    targets: a 0-d tensor on the GPU, above 0. The same parameters have gradients on all ranks.
    """
    total = wrap(targets.array.reshape(1).copy())  # () -> (1,)
    dist.all_reduce(total, group=group)
    weight = (targets.array / total.array).reshape(())  # float64; (1,) -> ()
    present = [p for p in parameters if p.requires_grad and p.grad is not None]
    for bucket in _buckets(present):
        _combine(bucket, weight, group)
    return wrap(total.array.reshape(()))


def _sum_gradients(parameters: Iterable[Tensor], weight: float | None, group: Any) -> None:
    """Replace the gradients by the sum over the ranks of weight·gradient; None does not weight."""
    trained = [p for p in parameters if p.requires_grad]
    used = wrap(np.array([p.grad is not None for p in trained], np.uint8))
    dist.all_reduce(used, dist.ReduceOp.MAX, group)
    present = [p for p, is_used in zip(trained, used.tolist(), strict=True) if is_used]
    for bucket in _buckets(present):
        _combine(bucket, weight, group)


def _buckets(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters in order, cut where the dtype changes or a bucket is full."""
    bucket: list[Tensor] = []
    size = 0
    for p in parameters:
        if bucket and (p.dtype is not bucket[0].dtype or size + p.array.nbytes > BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.array.nbytes
    if bucket:
        yield bucket


def _combine(parameters: list[Tensor], weight: Any, group: Any) -> None:
    """Replace the gradients by the sum over the ranks of weight·gradient.

    Gradients with weight 0 may be anything (the mean of no losses is NaN) and count as zeros.
    """
    dtype = parameters[0].array.dtype
    wide = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    joined, parts = joined_gradients(parameters, group, weight, wide)
    dist.all_reduce(wrap(joined), group=group)
    for p, part in zip(parameters, parts, strict=True):
        put_gradient(p, part, "reduce_over_ranks")
