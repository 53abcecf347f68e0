"""ShardedParameter: this rank's part of a parameter that is divided among ranks."""

from __future__ import annotations

from typing import Any

from ..nn.parameter import Parameter
from ..tensor import Tensor, wrap
from .parts import Division, gathered, own_part
from .process_group import ProcessGroup

__all__ = ["ShardedParameter", "divide_parameter"]


class ShardedParameter(Parameter):
    """This rank's part of a parameter; an optimizer changes it like any other.

    data        the part
    division    the group, the dimension and its whole length
    nn.utils.clip_grad_norm_ adds up the norm over the ranks.
    """

    division: Division

    def __init__(
        self, data: Tensor | None = None, requires_grad: bool = True,
        division: Division | None = None,
    ) -> None:  # fmt: skip
        super().__init__(data, requires_grad)
        if division is not None:
            self.division = division

    def to_local(self) -> Tensor:
        """This rank's part, outside of the graph."""
        return self.detach()

    def full_tensor(self) -> Tensor:
        """The whole parameter, outside of the graph; every rank of the group calls it."""
        group, dim, length = self.division
        return wrap(gathered(group, self.array, dim, length))


def divide_parameter(parameter: Any, group: ProcessGroup, dim: int) -> ShardedParameter:
    """This rank's part of a parameter along dim; the same object for the same parameter.

    So weights that two modules share stay shared.
    """
    known = parameter.__dict__.setdefault("_parts", {})
    key = (id(group), dim)
    if key not in known:
        part = own_part(group, parameter.array, dim).copy()
        division = Division(group, dim, parameter.array.shape[dim])
        known[key] = ShardedParameter(wrap(part), parameter.requires_grad, division)
    return known[key]
