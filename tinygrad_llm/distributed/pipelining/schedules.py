"""In which order a stage computes the forward and backward passes of its micro-batches.

    GPipe   all forward passes, then all backward passes: m micro-batches' activations are kept
    1F1B    backward passes as early as possible: at most p − s micro-batches on stage s of p

Both wait equally long (see timeline.bubble_expected). Every action of a stage that needs numbers of
a neighbour waits for them; sending does not wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.grad_mode import is_grad_enabled, no_grad
from ...functions.shape.split import tensor_split
from ...tensor import Tensor
from .microbatch import TensorChunkSpec, merge_chunks, split_args_kwargs_into_chunks
from .stage import PipelineStage
from .timeline import Event

__all__ = ["PipelineScheduleSingle", "Schedule1F1B", "ScheduleGPipe"]


class PipelineScheduleSingle:
    """A schedule of one stage per rank; a subclass says the `order` of its actions.

    stage             this rank's PipelineStage
    n_microbatches    into how many parts `step` cuts a batch, along dim 0; the first have one row
                      more where it does not divide the rows
    loss_fn           (output, target) -> loss of a micro-batch, 0-d; only the last stage calls it.
                      Without one there are no backward passes
    args_chunk_spec, kwargs_chunk_spec, output_merge_spec   other dimensions than 0
    scale_grads       divide the gradients by n_microbatches: True for a loss_fn that is a mean over
                      the micro-batch, False for one that is a sum (see gradients.token_loss)
    `events` are the computations of the last step (see timeline).
    Raises: ValueError if n_microbatches is below 1.
    """

    def __init__(
        self, stage: PipelineStage, n_microbatches: int,
        loss_fn: Callable[..., Tensor] | None = None,
        args_chunk_spec: Sequence[TensorChunkSpec] | None = None,
        kwargs_chunk_spec: dict[str, TensorChunkSpec] | None = None,
        output_merge_spec: Any = None, scale_grads: bool = True,
    ) -> None:  # fmt: skip
        if n_microbatches < 1:
            raise ValueError(f"n_microbatches must be at least 1, got {n_microbatches}")
        self.stage, self.n_microbatches, self.loss_fn = stage, n_microbatches, loss_fn
        self.args_chunk_spec, self.kwargs_chunk_spec = args_chunk_spec, kwargs_chunk_spec
        self.output_merge_spec, self.scale_grads = output_merge_spec, scale_grads
        self.events: list[Event] = []

    def order(self) -> list[tuple[str, int]]:
        """The stage's actions: ("F", i) and ("B", i) for micro-batch i."""
        raise NotImplementedError(f"{type(self).__name__} must define order")

    def step(
        self, *args: Any, target: Tensor | None = None, losses: list[Any] | None = None,
        return_outputs: bool = True, loss_kwargs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """One step with a whole batch: forward, and backward if there is a loss_fn.

        args: the first stage's inputs, none on the others; kwargs: those of this stage's module;
        target: for the last stage; losses: a list that the last stage fills with the loss of each
        micro-batch. Returns the outputs of the whole batch on the last stage, else None.
        Raises: RuntimeError inside of no_grad; ValueError for a batch with fewer rows than
        micro-batches, or if the last stage has no target.
        """
        if self.loss_fn is not None and not is_grad_enabled():
            raise RuntimeError(
                "step() requires gradients to be enabled for backward computation; it should not "
                "be used under torch.no_grad() context. Please call eval() instead."
            )
        if self.loss_fn is not None and self.stage.is_last and target is None:
            raise ValueError("step: the last stage needs a target for its loss_fn")
        backward = self.loss_fn is not None
        return self._run(args, kwargs, target, losses, return_outputs, loss_kwargs, backward)

    def eval(
        self, *args: Any, target: Tensor | None = None, losses: list[Any] | None = None,
        return_outputs: bool = True, loss_kwargs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """step without a backward pass; losses are computed if there is a target. Nothing is
        recorded. Modules are in the mode in which they are: call stage.submod.eval() before.

        Raises: ValueError as step.
        """
        with no_grad():
            return self._run(args, kwargs, target, losses, return_outputs, loss_kwargs, False)

    def _run(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], target: Tensor | None,
        losses: list[Any] | None, return_outputs: bool, loss_kwargs: dict[str, Any] | None,
        backward: bool,
    ) -> Any:  # fmt: skip
        n, stage = self.n_microbatches, self.stage
        if args and not stage.is_first:
            raise ValueError(
                f"stage {stage.stage_index} gets its inputs from the stage before: only the first "
                "stage passes them to step()"
            )
        inputs, named = split_args_kwargs_into_chunks(
            args, kwargs, n, self.args_chunk_spec if args else None, self.kwargs_chunk_spec
        )
        targets = None if target is None else _targets(target, n)
        stage.begin(list(zip(inputs, named, strict=True)), backward)
        values: list[Any] = []
        outputs: list[Any] = []
        waiting: dict[int, Any] = {}  # losses whose backward pass has not come yet
        self.events.clear()
        for kind, i in self.order():
            if kind == "F":
                with stage.synchronised(last=i == n - 1), self._timed("F", i):
                    out = stage.forward_one(i, inputs[i], named[i])
                    if stage.is_last:
                        outputs.append(out if return_outputs else None)
                        if self.loss_fn is not None and targets is not None:
                            loss = self.loss_fn(out, targets[i], **(loss_kwargs or {}))
                            values.append(loss.detach())
                            waiting[i] = loss
            elif backward:
                with stage.synchronised(last=i == n - 1), self._timed("B", i):
                    stage.backward_one(i, waiting.pop(i, None))
        stage.finish(n if self.scale_grads else 1)
        if losses is not None and stage.is_last:
            losses[:] = values
        if not (stage.is_last and return_outputs):
            return None
        with no_grad():
            return merge_chunks(outputs, self.output_merge_spec)

    def _timed(self, kind: str, i: int) -> Any:
        return _Timed(self, kind, i)


class _Timed:
    """Adds an Event; the time until a message has arrived is not counted."""

    def __init__(self, schedule: PipelineScheduleSingle, kind: str, i: int) -> None:
        self.schedule, self.kind, self.i = schedule, kind, i

    def __enter__(self) -> None:
        self.schedule.stage.arrived = time.perf_counter()

    def __exit__(self, *error: Any) -> None:
        start = self.schedule.stage.arrived
        self.schedule.events.append(Event(self.kind, self.i, start, time.perf_counter()))


def _targets(target: Tensor, n: int) -> list[Tensor]:
    """The targets of the micro-batches.

    Raises: ValueError if there are fewer rows than micro-batches.
    """
    if not target.ndim or target.shape[0] < n:
        raise ValueError(
            f"a target of shape {tuple(target.shape)} cannot be cut into {n} micro-batches"
        )
    return list(tensor_split(target, n, 0))


class ScheduleGPipe(PipelineScheduleSingle):
    """All forward passes, then all backward passes."""

    def order(self) -> list[tuple[str, int]]:
        """F0 F1 ... B0 B1 ..."""
        n = self.n_microbatches
        return [("F", i) for i in range(n)] + [("B", i) for i in range(n)]


class Schedule1F1B(PipelineScheduleSingle):
    """Stage s of p computes p − s forward passes, then backward and forward passes alternately.

    Raises: ValueError if there are fewer micro-batches than stages.
    """

    def __init__(self, stage: PipelineStage, n_microbatches: int, *args: Any, **more: Any) -> None:
        super().__init__(stage, n_microbatches, *args, **more)
        if n_microbatches < stage.num_stages:
            raise ValueError(
                f"Number of microbatches ({n_microbatches}) must be greater than or equal to the "
                f"number of stages ({stage.num_stages})."
            )

    def order(self) -> list[tuple[str, int]]:
        """F0 ... F(p−s−1) B0 F(p−s) B1 ... B(m−1)."""
        n = self.n_microbatches
        ahead = min(n, self.stage.num_stages - self.stage.stage_index)
        actions = [("F", i) for i in range(ahead)]
        for i in range(n):
            actions.append(("B", i))
            if ahead + i < n:
                actions.append(("F", ahead + i))
        return actions
