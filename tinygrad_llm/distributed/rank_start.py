"""What mpiexec starts for each rank: sets the variables of torchrun, then becomes the program.

    python rank_start.py program and its arguments

It runs from its file and imports nothing of the package. RANK and the others come from what mpiexec
(of MPICH, Intel MPI or Open MPI) has set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

__all__ = ["variables"]

# torchrun's name: the names under which MPI's launchers have the same number
NAMES = {
    "RANK": ("PMI_RANK", "OMPI_COMM_WORLD_RANK"),
    "WORLD_SIZE": ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"),
    "LOCAL_RANK": ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "LOCAL_WORLD_SIZE": ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"),
}


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE and GROUP_RANK, the number of the machine.

    Raises: SystemExit if no launcher of MPI set the rank.
    """
    numbers = {
        name: next((environment[other] for other in others if other in environment), "")
        for name, others in NAMES.items()
    }
    if not numbers["RANK"]:
        raise SystemExit("rank_start.py is started by mpiexec, which sets the rank: it did not")
    numbers["LOCAL_RANK"] = numbers["LOCAL_RANK"] or numbers["RANK"]
    numbers["LOCAL_WORLD_SIZE"] = numbers["LOCAL_WORLD_SIZE"] or numbers["WORLD_SIZE"]
    numbers["GROUP_RANK"] = str(int(numbers["RANK"]) // int(numbers["LOCAL_WORLD_SIZE"]))
    return numbers


if __name__ == "__main__":
    os.environ.update(variables(os.environ))
    if os.name == "posix":
        os.execv(sys.argv[1], sys.argv[1:])
    raise SystemExit(subprocess.call(sys.argv[1:]))
