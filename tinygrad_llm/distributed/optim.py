"""ZeroRedundancyOptimizer: each rank keeps the optimizer's state of a part of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.grad_mode import enable_grad
from ..optim.optimizer import Optimizer
from . import groups
from .collectives import broadcast
from .not_offered import not_offered
from .objects import gather_object
from .process_group import divided_within

__all__ = ["ZeroRedundancyOptimizer"]

PART = -1  # in place of the owner of a parameter of which each rank has its part


class ZeroRedundancyOptimizer(Optimizer):
    """optimizer_class over all parameters, of which each rank changes its part and sends it.

    params            as for every optimizer; the same on all ranks, with equal gradients, as
                      DistributedDataParallel makes them
    optimizer_class   for example optim.AdamW; **defaults are its hyperparameters
    process_group     the ranks; None for all
    Every parameter belongs to one rank, which alone has its state: with R ranks AdamW's two moments
    take about 1/R of the memory. The parameters are divided by size, the largest first, each to the
    rank that has least. After a step all ranks have all parameters, the same bits as one process
    would have computed from these gradients.
    Each rank changes its own part of parameters that are divided already, such as experts.
    Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
    Models", stage 1.
    Raises: ValueError if there is no group; RuntimeError for overlap_with_ddp, not offered here.
    """

    def __init__(
        self, params: Any, optimizer_class: type[Optimizer], process_group: Any = None,
        parameters_as_bucket_view: bool = False, overlap_with_ddp: bool = False, **defaults: Any,
    ) -> None:  # fmt: skip
        if overlap_with_ddp:
            raise RuntimeError(
                "ZeroRedundancyOptimizer: overlap_with_ddp is not offered: leave it out"
            )
        self.process_group = process_group
        self._rank = groups.get_rank(process_group)  # an error without a group
        self._group: Any = groups.GroupMember.WORLD if process_group is None else process_group
        self._loads = [0] * groups.get_world_size(process_group)
        self._owner: dict[int, int] = {}  # by a parameter's id
        self._whole: dict[str, Any] | None = None  # the consolidated state
        self.optim = optimizer_class(params, **defaults)
        super().__init__(self.optim.param_groups, self.optim.defaults)
        self.param_groups, self.state = self.optim.param_groups, self.optim.state
        for group in self.param_groups:
            self._divide(group["params"])
        self._ready = True

    def _divide(self, params: list[Any]) -> None:
        """Give each parameter to the rank that has least, the largest first."""
        for p in sorted(params, key=lambda p: p.numel(), reverse=True):
            if divided_within(p, self._group):
                self._owner[id(p)] = PART
                continue
            owner = self._loads.index(min(self._loads))
            self._owner[id(p)] = owner
            self._loads[owner] += p.numel()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose parameters are divided among the ranks too.

        Raises: as every optimizer.
        """
        if self.__dict__.get("_ready"):
            self.optim.add_param_group(param_group)
            self._divide(self.param_groups[-1]["params"])
        else:
            super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Change this rank's parameters, and send all of them; returns what closure returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._opt_called = True
        self._whole = None
        mine = [{**group, "params": self._own(group["params"])} for group in self.param_groups]
        whole, self.optim.param_groups = self.param_groups, mine
        try:
            self.optim.step(**kwargs)
        finally:
            self.optim.param_groups = whole
        for group, part in zip(whole, mine, strict=True):
            group.update({name: value for name, value in part.items() if name != "params"})
        self._send()
        return loss

    def _own(self, params: list[Any]) -> list[Any]:
        return [p for p in params if self._owner[id(p)] in (self._rank, PART)]

    def _send(self) -> None:
        """Every parameter that may have changed goes from its owner to the other ranks."""
        works = [
            broadcast(
                p, groups.get_global_rank(self.process_group, self._owner[id(p)]),
                self.process_group, async_op=True,
            )
            for group in self.param_groups for p in group["params"]
            if p.requires_grad and self._owner[id(p)] != PART
        ]  # fmt: skip
        for work in works:
            work.wait()

    # ------------------------------------------------------------------------ saving and loading
    def consolidate_state_dict(self, to: int = 0) -> None:
        """Send every rank's part of the state to rank `to`, which can call state_dict() then.

        Raises: RuntimeError if each rank has its own part of a parameter.
        """
        if PART in self._owner.values():
            raise RuntimeError(
                "consolidate_state_dict: each rank has its own part of a parameter, and the state "
                "of that part: save optimizer.optim.state_dict() of every rank"
            )
        parts: list[Any] = [None] * len(self._loads)
        local = self.optim.state_dict()["state"]
        here = groups.get_rank() == to
        gather_object(local, parts if here else None, to, self.process_group)
        if here:
            state = {number: entry for part in parts for number, entry in part.items()}
            groups_of_all = self.optim.state_dict()["param_groups"]
            self._whole = {"state": dict(sorted(state.items())), "param_groups": groups_of_all}

    def state_dict(self) -> dict[str, Any]:
        """The whole state in the optimizer's format, as one process would have it.

        Raises: RuntimeError if consolidate_state_dict was not called on all ranks since the last
        step.
        """
        if self._whole is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={self._rank})` on all ranks beforehand if you meant "
                "to save the global state."
            )
        return self._whole

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a whole state; this rank keeps its part.

        Raises: as every optimizer.
        """
        self.optim.load_state_dict(state_dict)
        self.param_groups, self.state = self.optim.param_groups, self.optim.state
        for group in self.param_groups:
            for p in group["params"]:
                if self._owner[id(p)] not in (self._rank, PART):
                    self.state.pop(p, None)
        self._whole = None


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
