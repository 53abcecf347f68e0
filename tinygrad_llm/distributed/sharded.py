"""ShardedParameter: this rank's part of a parameter that is divided among ranks."""

from __future__ import annotations

from typing import Any

from ..nn.parameter import Parameter
from ..tensor import Tensor, wrap
from .parts import Division, gathered, own_part
from .process_group import ProcessGroup

__all__ = ["ShardedParameter", "divide_parameter", "joined_parts"]


class ShardedParameter(Parameter):
    """This rank's part of a parameter; an optimizer changes it like any other.

    data        the part
    division    the group, the dimension and its whole length
    earlier     the divisions that made what this one divides, the innermost first: a matrix that
                tensor-parallel ranks have divided, and data-parallel ranks then divide their parts
    nn.utils.clip_grad_norm_ adds up the norm over the ranks.
    """

    division: Division
    earlier: tuple[Division, ...] = ()

    def __init__(
        self, data: Tensor | None = None, requires_grad: bool = True,
        division: Division | None = None,
    ) -> None:  # fmt: skip
        super().__init__(data, requires_grad)
        if division is not None:
            self.division = division

    @property
    def divided_among(self) -> tuple[ProcessGroup, ...]:
        """The groups whose ranks have different parts, the innermost first."""
        return tuple(division.group for division in (self.division, *self.earlier))

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """The shape of the whole parameter."""
        shape = list(self.array.shape)
        for division in (self.division, *self.earlier):
            shape[division.dim] = division.length
        return tuple(shape)

    def part_of(self, array: Any) -> Any:
        """This rank's part of an array of the whole shape, as a view."""
        for division in reversed((self.division, *self.earlier)):
            array = own_part(division.group, array, division.dim)
        return array

    def to_local(self) -> Tensor:
        """This rank's part, outside of the graph."""
        return self.detach()

    def full_tensor(self) -> Tensor:
        """The whole parameter, outside of the graph; every rank of its groups calls it."""
        return wrap(joined_parts(self, self.array))


def joined_parts(parameter: ShardedParameter, array: Any) -> Any:
    """The ranks' arrays joined as the parameter's parts are: its whole numbers, or gradient."""
    for group, dim, length in (parameter.division, *parameter.earlier):
        array = gathered(group, array, dim, length)
    return array


def divide_parameter(parameter: Any, group: ProcessGroup, dim: int) -> ShardedParameter:
    """This rank's part of a parameter along dim; the same object for the same parameter.

    So weights that two modules share stay shared. A part that other ranks have made is divided
    further.
    """
    known = parameter.__dict__.setdefault("_parts", {})
    key = (id(group), dim)
    if key not in known:
        part = own_part(group, parameter.array, dim).copy()
        division = Division(group, dim, parameter.array.shape[dim])
        known[key] = made = ShardedParameter(wrap(part), parameter.requires_grad, division)
        if isinstance(parameter, ShardedParameter):
            made.earlier = (parameter.division, *parameter.earlier)
    return known[key]
