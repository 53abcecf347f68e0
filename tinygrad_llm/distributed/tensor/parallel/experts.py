"""Expert parallelism: the experts of a mixture divided among ranks, and tokens sent to them.

Each rank has its own tokens and E/R of the E experts. A router's choice sends a token to the rank
that has the expert, which computes, and sends the result back:

    rows by expert -> all-to-all -> by own expert -> experts -> all-to-all -> rows by expert

The ranks send each other unequal numbers of rows, which they let each other know before. Backward
goes the same way with the gradients, since the backward of an all-to-all is an all-to-all.
Source: Lepikhin et al. 2020, "GShard"; Fedus et al. 2021, "Switch Transformers", section 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....arrays.devices import asarray, to_numpy, xp_of
from ....autograd.engine import Op
from ....nn.module import Module
from ....tensor import Tensor, wrap
from ... import groups
from ...nn.functional import AllToAll
from ...parts import own_slice
from ...sharded import divide_parameter
from ...steps import all_gathered, divided
from .styles import ParallelStyle, other_parameters, take_weights

__all__ = ["ExpertParallel"]


class MeanOverRanks(Op, listed=False):
    """y_i = x_i for several x_i, whose gradients have arrived from the losses of all R ranks.

    Backward:   ∂L/∂x_i = g_i/R   (L is the mean of the ranks' losses, as where DDP averages)
    """

    def forward(self, *xs: Any, ranks: int) -> Any:
        self.ranks = ranks
        return tuple(x.view() for x in xs) if len(xs) > 1 else xs[0].view()

    def backward(self, g: Any) -> Any:
        gs = g if isinstance(g, tuple) else (g,)
        return tuple(None if each is None else each * (1.0 / self.ranks) for each in gs)


class ExpertParallel(ParallelStyle):
    """Experts divided among ranks that have different tokens.

    For layers.Experts, or a MixtureOfExperts, whose `experts` it divides: every parameter has the
    experts in dimension 0, and forward takes rows sorted by expert and where each expert's end.
    The gradients of experts are means over the ranks, as DistributedDataParallel makes those of all
    other parameters; it leaves experts alone that are divided over its own ranks.
    """

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Divide the experts.

        Raises: NotImplementedError for a module that has no experts in dimension 0.
        """
        experts = getattr(module, "experts", module)
        n = getattr(experts, "n_experts", None)
        own = {} if n is None else {k: p for k, p in experts._parameters.items() if p is not None}
        if not own or any(p.ndim == 0 or p.shape[0] != n for p in own.values()):
            raise NotImplementedError(
                "ExpertParallel supports modules whose parameters have n_experts as dimension 0, "
                f"such as layers.Experts (got {type(module).__name__})"
            )
        take_weights(experts, group, source)
        for name, parameter in own.items():
            setattr(experts, name, divide_parameter(parameter, group, 0))
        kind = type(experts)
        experts.__dict__["tp"] = group
        experts.__class__ = type(f"Divided{kind.__name__}", (DividedExperts, kind), {})

    def __repr__(self) -> str:
        return "ExpertParallel()"


class DividedExperts:
    """Experts of which this rank has some; others' rows are sent to the ranks that have them."""

    divided_experts = True  # what fully_shard asks: it leaves them alone

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """x (N, C), the rows of expert 0 first; ends (E): where each expert's rows end."""
        group, xp = self.__dict__["tp"], xp_of(x.array)
        counts = np.diff(to_numpy(ends.array), prepend=0).astype(np.int64)  # (E)
        steps = all_gathered(group, counts)
        everyones = groups.run(group, f"rows for {counts.size} experts", steps)
        everyones = everyones.reshape(group.size(), -1)  # (R * E,) -> (R, E)
        mine = own_slice(group, counts.size)
        sizes = everyones[:, mine]  # (R, e): the rows that come here, by rank and expert
        parts = np.split(counts, np.cumsum(divided(counts.size, group.size()))[:-1])
        out, into = [int(part.sum()) for part in parts], sizes.sum(1).tolist()
        rows = AllToAll.apply(x, group=group, into=into, out=out)  # (N, C) -> (n, C)
        if mine.stop > mine.start:
            expert = np.tile(np.arange(sizes.shape[1]), group.size()).repeat(sizes.reshape(-1))
            order = expert.argsort(kind="stable")  # by expert, then by rank: (n,)
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            here = wrap(xp.asarray(sizes.sum(0).cumsum()))  # (e)
            with other_parameters(self, lambda own: _averaged(own, group.size())):
                rows = super().forward(rows[_ids(order, x)], here)  # type: ignore[misc]
            rows = rows[_ids(back, x)]
        return AllToAll.apply(rows, group=group, into=out, out=into)  # (n, C) -> (N, C)


def _ids(order: np.ndarray, like: Tensor) -> Tensor:
    """Row numbers as a tensor where `like` is."""
    return wrap(asarray(order, like.array))


def _averaged(parameters: list[Tensor], ranks: int) -> tuple:
    """The parameters, whose gradients are divided by the number of ranks."""
    copies = MeanOverRanks.apply(*parameters, ranks=ranks)
    return copies if isinstance(copies, tuple) else (copies,)
