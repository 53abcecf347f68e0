"""The names of backends, and which of ours serves them."""

from __future__ import annotations

import warnings
from typing import Any

from .nccl_library import nccl_is_available

__all__ = ["DEFAULT_BACKENDS", "Backend", "known_backend", "say_what_serves"]


class Backend(str):
    """The names of PyTorch's backends: Backend.GLOO is "gloo", and Backend("GLOO") too.

    Of these init_process_group takes MPI, GLOO and NCCL. No others can be registered.
    """

    __slots__ = ()
    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    UCC = "ucc"
    MPI = "mpi"
    XCCL = "xccl"
    FAKE = "fake"

    def __new__(cls, name: str) -> Any:
        """The name in small letters, an ordinary str.

        Raises: ValueError if it is not a text.
        """
        if not isinstance(name, str):
            raise ValueError(f"Backend: expected a backend's name, got {name!r}")
        return name.lower()


BACKENDS = ("mpi", "gloo", "nccl")
DEFAULT_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}  # PyTorch's, for each kind of device
_remarks: set[str] = set()  # remarks that were made already


def _names_in(backend: str | None) -> list[str]:
    """The backends in "nccl", or in "cpu:gloo,cuda:nccl"."""
    return [part.rpartition(":")[2] for part in (backend or "mpi").split(",")]


def known_backend(backend: str | None, who: str) -> str | None:
    """The backend in small letters.

    Raises: ValueError for an unknown one.
    """
    known = None if backend is None else str(backend).lower()
    for name in _names_in(known):
        if name not in BACKENDS:
            raise ValueError(
                f"{who}: there is no backend {name!r}; the backends are {', '.join(BACKENDS)}"
            )
    return known


def say_what_serves(backend: str | None, rank: int) -> None:
    """One rank says that MPI serves a backend with another name."""
    names = _names_in(backend)
    over_nccl = "nccl" in names and nccl_is_available()
    served = set(names) - ({"mpi", "nccl"} if over_nccl else {"mpi"})
    if rank == 0 and served and "backend" not in _remarks:
        _remarks.add("backend")
        text = f"backend {backend!r} is served by MPI here"
        if over_nccl:
            text += " for tensors on the CPU, and by NCCL for those on a GPU"
        elif "nccl" in names:
            text += ": tensors on a GPU are sent through the computer's memory"
        warnings.warn(text, stacklevel=3)
