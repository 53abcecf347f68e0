"""DeviceMesh: the ranks as a grid, with a group for each row along each dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import groups
from .not_offered import not_offered

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Ranks in a grid: mesh["dp"] is a dimension by its name, get_group() the ranks along one.

    device_type      "cpu" or "cuda": where the tensors are
    mesh             the ranks, an array of one or more dimensions; the ranks before the last
                     dimension's follow each other, as in PyTorch
    mesh_dim_names   the dimensions' names
    Every process calls it, with the same mesh.
    Raises: ValueError if a rank comes twice, or names and dimensions do not fit.
    """

    def __init__(
        self, device_type: str, mesh: Any, *, mesh_dim_names: Sequence[str] | None = None
    ) -> None:
        grid = np.asarray(getattr(mesh, "array", mesh), dtype=np.int64)
        if len(np.unique(grid)) != grid.size:
            raise ValueError(f"DeviceMesh: a rank comes twice in {grid.tolist()}")
        if mesh_dim_names is not None and len(mesh_dim_names) != grid.ndim:
            raise ValueError(
                f"mesh_shape and mesh_dim_names should have same length! Found len(mesh_dim_names):"
                f" {len(mesh_dim_names)} and len(mesh_shape):{grid.ndim}."
            )
        self.device_type, self.mesh = device_type, grid
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        self._root, self._places = self, list(range(grid.ndim))  # of which mesh it is a part
        self._groups = [self._group_along([dim]) for dim in range(grid.ndim)]

    def _group_along(self, dims: list[int]) -> Any:
        """The group of the ranks along dimensions through this rank; all ranks make all."""
        size = math.prod(self.mesh.shape[dim] for dim in dims)
        last = np.moveaxis(self.mesh, dims, range(-len(dims), 0))  # (..., n, ...) -> (..., n)
        rows = last.reshape(-1, size)  # (..., n) -> (N, n)
        everyone = list(range(groups.get_world_size()))
        mine: Any = groups.GroupMember.NON_GROUP_MEMBER
        for row in rows.tolist():
            if sorted(row) == everyone:
                return groups.GroupMember.WORLD
            made = groups.new_group(row)
            if groups.get_rank() in row:
                mine = made
        return mine

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.mesh.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of ranks along each dimension."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """The number of ranks along a dimension; of all if it is None."""
        return self.mesh.size if mesh_dim is None else self.mesh.shape[mesh_dim]

    def _place(self, mesh_dim: int | str | None) -> int:
        """The number of a dimension.

        Raises: KeyError for an unknown name; RuntimeError without a dimension if there are several.
        """
        if mesh_dim is None:
            if self.ndim != 1:
                raise RuntimeError(
                    f"Found the DeviceMesh have {self.ndim} dimensions. Optional kwarg `mesh_dim` "
                    "needs to be specified when device_mesh.ndim > 1."
                )
            return 0
        if isinstance(mesh_dim, str):
            if mesh_dim not in (self.mesh_dim_names or ()):
                raise KeyError(
                    f"Invalid mesh_dim_name {mesh_dim!r} specified. Valid mesh_dim_names are "
                    f"{list(self.mesh_dim_names or ())}."
                )
            return (self.mesh_dim_names or ()).index(mesh_dim)
        return mesh_dim

    def get_group(self, mesh_dim: int | str | None = None) -> Any:
        """The group of the ranks along a dimension, which may be left out if there is one.

        Raises: KeyError for an unknown name; RuntimeError without a dimension if there are several.
        """
        return self._groups[self._place(mesh_dim)]

    def get_all_groups(self) -> list[Any]:
        """The group along each dimension."""
        return list(self._groups)

    def get_coordinate(self) -> tuple[int, ...] | None:
        """This rank's place in the grid, None if it is outside."""
        places = np.argwhere(self.mesh == groups.get_rank())
        return tuple(places[0].tolist()) if len(places) else None

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This rank's place along a dimension.

        Raises: as get_group, and RuntimeError if this rank is not in the mesh.
        """
        place = self.get_coordinate()
        if place is None:
            raise RuntimeError(f"rank {groups.get_rank()} is not in the mesh {self.mesh.tolist()}")
        return place[self._place(mesh_dim)]

    def get_rank(self) -> int:
        """This process's rank among all."""
        return groups.get_rank()

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        """The part of the mesh along some dimensions through this rank.

        Raises: KeyError for an unknown name.
        """
        chosen = (names,) if isinstance(names, str) else tuple(names)
        places = [self._place(name) for name in chosen]
        here = self.get_coordinate()
        if here is None:
            raise RuntimeError(f"rank {groups.get_rank()} is not in the mesh {self.mesh.tolist()}")
        where = tuple(slice(None) if i in places else at for i, at in enumerate(here))
        kept = sorted(places)
        part = DeviceMesh.__new__(DeviceMesh)
        part.device_type, part.mesh_dim_names = self.device_type, chosen
        part.mesh = np.transpose(self.mesh[where], [kept.index(i) for i in places])
        part._groups = [self._groups[i] for i in places]
        part._root, part._places = self._root, [self._places[i] for i in places]
        return part

    def _flatten(self, mesh_dim_name: str | None = None) -> DeviceMesh:
        """The mesh as one dimension: mesh["dp", "tp"]._flatten(). All processes call it.

        mesh_dim_name: the dimension's name; the names joined by "_" if None.
        """
        if self.ndim == 1:
            return self
        part = DeviceMesh.__new__(DeviceMesh)
        part.device_type, part.mesh = self.device_type, self.mesh.reshape(-1)  # (...) -> (N,)
        names = self.mesh_dim_names or ()
        part.mesh_dim_names = (mesh_dim_name or "_".join(names),)
        part._groups = [self._root._group_along(self._places)]
        part._root, part._places = part, [0]
        return part

    def __repr__(self) -> str:
        sizes = self.shape
        if self.mesh_dim_names:
            text = ", ".join(f"{n}={s}" for n, s in zip(self.mesh_dim_names, sizes, strict=True))
        else:
            text = ", ".join(map(str, sizes))
        return f"DeviceMesh(({text}), device: {self.device_type!r})"


def init_device_mesh(
    device_type: str, mesh_shape: tuple[int, ...], *, mesh_dim_names: Sequence[str] | None = None
) -> DeviceMesh:
    """All ranks as a grid of this shape; makes the group of all processes if there is none.

    Raises: RuntimeError if the shape does not have as many places as there are ranks; ValueError
    for names that do not fit or come twice.
    """
    if not groups.is_initialized():
        groups.init_process_group()
    size, world = int(np.prod(mesh_shape)), groups.get_world_size()
    if size > world:
        raise RuntimeError(
            f"Mesh should not be bigger than default world size {world}, but found {size} ranks!"
        )
    if size < world:
        raise RuntimeError(f"the mesh {tuple(mesh_shape)} has {size} of the {world} ranks")
    if mesh_dim_names is not None and len(set(mesh_dim_names)) != len(mesh_dim_names):
        raise RuntimeError(
            "Each mesh_dim_name must be unique.",
            f"Found repeated mesh_dim_name in mesh_dim_names {tuple(mesh_dim_names)}",
        )
    grid = np.arange(size).reshape(mesh_shape)  # (N,) -> (mesh_shape)
    return DeviceMesh(device_type, grid, mesh_dim_names=mesh_dim_names)


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
