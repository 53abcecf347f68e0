"""Steps of training one after the other, and what made a number that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .. import random
from ..models.base import undisturbed
from ..nn.utils import clip_grad_norm_
from .autopsy import NonFiniteError, diagnose_gradient, diagnose_loss, diagnose_weights
from .graphed_step import GraphedStep, graphable, obstacle
from .ranks import AnotherRankError
from .step import (
    AnotherRanksLossError,
    BadLossError,
    Setup,
    reduce_gradients,
    to_device_of,
)

__all__ = ["Step", "Stepper"]


class Step(NamedTuple):
    """A step that was made.

    loss: the mean over its targets; norm: the gradient's norm before clipping, None if no target
    counted and nothing was changed; targets: how many counted.
    """

    loss: float
    norm: float | None
    targets: int


class Stepper:
    """Makes the steps of a setup, in one launch each where `graph` says so (None: if possible).

    Every loss and gradient norm is checked before the weights change. note: is called with a line
    if a part of the step cannot be captured where `graph` is None: steps are then made without one.
    """

    def __init__(
        self, setup: Setup, graph: bool | None = False, note: Callable[[str], None] = print
    ) -> None:
        self.setup, self.note = setup, note
        self.graph = graph
        self._graphed: GraphedStep | None = None
        self._last: list[Any] = []  # the batches of the last step

    def forget_graphs(self) -> None:
        """To be called if weights or the optimizer's state may have moved since the last step."""
        self._graphed = None

    def step(self, number: int, checkpoint: Path | None) -> Step:
        """Makes the step of this number, the schedule's included.

        Raises: NonFiniteError, which names the number and the last good checkpoint.
        """
        setup = self.setup
        setup.model.train()
        self._last = setup.take(number)
        random_state = random.get_rng_state()
        try:
            made, updated = self._graph_or_eager_step(random_state)
        except BadLossError as error:
            raise self.bad_loss(error, number, checkpoint) from error
        if made.norm is None:
            return made
        if not math.isfinite(made.norm):
            raise self._bad_gradient(made.norm, random_state, number, checkpoint)
        if not updated:
            setup.optimizer.step()
        if setup.average is not None:
            setup.average.update()
        if setup.scheduler is not None:
            setup.scheduler.step()
        return made

    def _graph_or_eager_step(self, random_state: Any) -> tuple[Step, bool]:
        """A step, and whether its update was made too.

        Raises: RuntimeError if `graph` is True and a part of the step cannot be captured, or the
        trainer is one of several.
        """
        s = self.setup
        graph = self.graph
        if s.ranks.several:
            if graph:
                raise RuntimeError("graph=True is for one process: leave it out with several ranks")
            graph = False
        if graph is None:
            graph = graphable(s.model, s.optimizer, s.loss, s.accumulation)
            why = obstacle(s.optimizer)
            if why and next(s.model.parameters()).is_cuda:
                self.note(f"without a CUDA graph: {why}")
                self.graph = False
        if not graph:
            return self._eager_step(), False
        try:
            return self._graph_step(), True
        except RuntimeError as error:
            if self.graph is not None or "cannot be captured" not in str(error):
                raise
            self.note(f"without a CUDA graph: {error}")
        self.graph = False
        random.set_rng_state(random_state)
        return self._eager_step(), False

    def _eager_step(self) -> Step:
        """A step up to the update."""
        setup = self.setup
        loss, targets = setup.gradients(self._last)
        if not targets:
            return Step(loss, None, 0)
        norm = float(clip_grad_norm_(setup.model.parameters(), setup.largest_norm).item())
        if setup.noise is not None:
            setup.noise.step(norm, targets)
        return Step(loss, norm, targets)

    def _graph_step(self) -> Step:
        """A whole step in one launch, which changes nothing if a number is not finite.

        Raises: BadLossError if that is the loss; RuntimeError for a rank without targets.
        """
        (batch,) = self._last
        targets = self.setup.count(batch)
        if not targets:
            if self.setup.reduce is not reduce_gradients:  # the others wait for this rank there
                raise RuntimeError(
                    "this rank's batch has no targets, and a captured step over ranks needs some "
                    "on each of them: use graph=False"
                )
            return Step(math.nan, None, 0)
        random_state = random.get_rng_state()
        self.setup.at_gradients()
        if self._graphed is None:
            self._graphed = GraphedStep(self.setup)
        loss, norm = self._graphed(batch, targets)
        if not math.isfinite(loss):
            raise BadLossError(loss, to_device_of(self.setup.model, batch), random_state)
        return Step(loss, norm, targets)

    # ------------------------------------------------------------------- what was not finite
    def bad_loss(self, error: BadLossError, number: int, checkpoint: Path | None) -> Exception:
        """The error of a step, before its update, whose loss is not finite; all ranks call this."""

        def again() -> None:
            random.set_rng_state(error.random_state)
            self.setup.loss(self.setup.model, error.batch)

        with self.setup.ranks.whole(self.setup.model):
            if isinstance(error, AnotherRanksLossError):
                return AnotherRankError("a loss on another rank is not finite")
            return NonFiniteError(*diagnose_loss(error.value, again), number, checkpoint)

    def _bad_gradient(
        self, norm: float, random_state: Any, number: int, checkpoint: Path | None
    ) -> NonFiniteError:
        """random_state: the default generator's before the batches' losses were computed."""
        setup = self.setup
        random.set_rng_state(random_state)
        batches = [to_device_of(setup.model, b) for b in self._last if setup.count(b)]
        with setup.ranks.whole(setup.model):
            diagnosis = diagnose_gradient(norm, lambda b: setup.loss(setup.model, b), batches)
        return NonFiniteError(*diagnosis, number, checkpoint)

    def diverged(
        self, number: int, checkpoint: Path | None, batches: Sequence[Any] | None = None
    ) -> NonFiniteError | None:
        """The error of a model whose weights or losses are not finite after a step; None if it is
        in order.

        batches: whose losses are looked at, with the default those of the last step; () looks at
        the weights alone.
        """
        setup = self.setup
        if (diagnosis := diagnose_weights(setup.model)) is not None and number:
            return NonFiniteError(*diagnosis, number, checkpoint, updated=True)
        with undisturbed(setup.model):
            for batch in self._last if batches is None else batches:
                if not setup.count(batch):
                    continue
                moved = to_device_of(setup.model, batch)
                compute = partial(setup.loss, setup.model, moved)
                value = float(compute().item())
                if not math.isfinite(value):
                    what, op, origin = diagnose_loss(value, compute)
                    where = "in validation " if batches else ""
                    return NonFiniteError(
                        where + what, op, origin, number, checkpoint, updated=number > 0
                    )
        return None
