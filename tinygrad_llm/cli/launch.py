"""tinygrad-llm launch: a program in several processes, as torchrun starts it."""

from __future__ import annotations

import sys

import typer

from ..arrays.parallel import core_count
from ..files.paths import local_path
from .errors import BadValue, print_error
from .options import must_be

__all__ = ["register"]

_HELP = """Run a Python program in several processes, which make a group with torch.distributed.

Sets RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun does,
and starts the processes with mpiexec. When one ends with an error, the others are stopped. The
options of launch stand before the program; what follows it are the program's arguments.

Needs mpi4py and an MPI library: pip install "tinygrad_llm[mpi]".

\\b
Examples:
  tinygrad-llm launch --nproc-per-node 2 train.py --lr 1e-3
  tinygrad-llm launch --nproc-per-node auto train.py
  tinygrad-llm launch --nproc-per-node 8 --nnodes 2 --hosts left,right train.py
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    settings = {"allow_interspersed_args": False}
    app.command(name="launch", help=_HELP, context_settings=settings)(launch_command)


def launch_command(
    script: str = typer.Argument(help="A Python file, or with -m the name of a module."),
    arguments: list[str] | None = typer.Argument(None, help="The program's own arguments."),
    nproc_per_node: str = typer.Option(
        "1",
        "--nproc-per-node",
        "--nproc_per_node",
        help="Processes per machine: 2, gpu (one per GPU), "
        "cpu (one per core), or auto: gpu if there is one, else cpu.",
    ),
    nnodes: int = typer.Option(1, help="How many machines; more than 1 needs --hosts."),
    hosts: str | None = typer.Option(None, help="The machines: names that ssh knows, a,b,c."),
    master_addr: str | None = typer.Option(
        None, "--master-addr", "--master_addr", help="MASTER_ADDR [the first machine]."
    ),
    master_port: int | None = typer.Option(
        None, "--master-port", "--master_port", help="MASTER_PORT [a free one]."
    ),
    module: bool = typer.Option(False, "-m", "--module", help="SCRIPT is a module's name."),
    standalone: bool = typer.Option(
        False, "--standalone", help="Accepted, as by torchrun: one machine."
    ),
) -> None:
    """Run a program in several processes.

    Raises: BadValue if a value cannot be used; typer.Exit with the exit code of mpiexec.
    """
    from ..distributed.launch import Interrupted, launch

    ranks = _ranks(nproc_per_node)
    names = [name for name in (hosts or "").split(",") if name]
    must_be("nnodes", nnodes >= 1, "at least 1", nnodes)
    if nnodes != max(len(names), 1):
        raise BadValue(f"--nnodes {nnodes} needs --hosts with {nnodes} names, got {hosts}")
    must_be("master-port", master_port is None or 0 < master_port < 65536, "a port", master_port)
    if not module and not local_path(script).is_file():
        raise BadValue(f"there is no file {script}")
    what = ["-m", script] if module else [script]
    try:
        code = launch(
            [sys.executable, *what, *(arguments or [])], ranks, names, master_addr, master_port
        )
    except Interrupted:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        raise BadValue(str(error)) from error
    if code != 0:
        print_error(f"a rank of {script} ended with an error (exit code {code}); all were stopped")
        raise typer.Exit(code if 0 < code < 256 else 1)


def _ranks(text: str) -> int:
    """The number of processes: a number; gpu or cpu for the number of GPUs or cores; auto for gpu
    if there is one, else cpu.

    Raises: BadValue for anything else, and for gpu without one.
    """
    if text in ("auto", "gpu"):
        from .. import cuda

        if cuda.is_available():
            return cuda.device_count()
        if text == "gpu":
            raise BadValue("--nproc-per-node gpu: there is no GPU that CuPy can use; take cpu")
    if text in ("auto", "cpu"):
        return core_count()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise BadValue(f"--nproc-per-node is a number of processes, gpu, cpu or auto, got {text}")
    return int(text)
