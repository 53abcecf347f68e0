"""Where the MPI library and mpiexec are that pip installed, also where mpi4py does not see them.

mpi4py looks for the library in the environment of the running Python. Where packages of another
environment are visible (a .pth file, PYTHONPATH, `pip install --target`), the library lies beside
those; the list of files of its package says where.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Container

__all__ = ["find_mpi_library", "find_mpiexec", "is_open_mpi", "with_mpi_library"]

_PACKAGES = ("mpich", "openmpi", "impi-rt")
_NAMES = ("libmpi.so.12", "libmpi.so.40", "libmpi.12.dylib", "libmpi.40.dylib", "impi.dll")


def _file_of_a_package(names: Container[str]) -> str | None:
    """The path of a file with one of the names in an installed MPI package, or None."""
    for package in _PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name in names and os.path.exists(path := file.locate()):
                return os.path.realpath(path)
    return None


def find_mpi_library() -> str | None:
    """The path of the MPI library of an installed package, or None if no package has one."""
    return _file_of_a_package(_NAMES)


def with_mpi_library(environment: dict[str, str]) -> dict[str, str]:
    """A copy of the environment in which mpi4py finds the library of an installed package.

    A library that the user chose (MPI4PY_LIBMPI) stays.
    """
    library = environment.get("MPI4PY_LIBMPI") or find_mpi_library()
    return {**environment, "MPI4PY_LIBMPI": library} if library else dict(environment)


def find_mpiexec() -> str | None:
    """The path of mpiexec: beside this Python, of an installed package, or on the PATH."""
    nearest = shutil.which("mpiexec", path=os.path.dirname(sys.executable))
    return nearest or _file_of_a_package(("mpiexec", "mpiexec.exe")) or shutil.which("mpiexec")


def is_open_mpi(mpiexec: str) -> bool:
    """Whether an mpiexec is Open MPI's, whose options are others than those of MPICH's family.

    Its --version says "(Open MPI)", or "(OpenRTE)" before version 5.
    """
    try:
        done = subprocess.run(
            [mpiexec, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False  # what is wrong with it is seen when it starts the ranks
    return any(name in done.stdout + done.stderr for name in ("Open MPI", "OpenRTE"))
