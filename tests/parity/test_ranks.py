"""Programs of several processes, each run under PyTorch's gloo and here: the same text per rank."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from ranks import needs_mpi, run

from .chapter5 import with_our_import

pytest.importorskip("torch.distributed")
pytestmark = [needs_mpi, pytest.mark.slow, pytest.mark.ci]
PROGRAMS = Path(__file__).parent / "programs" / "ranks"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def written(folder: Path) -> list[str]:
    """What each rank has written."""
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]


def both(name: str, tmp_path: Path, ranks: int, start) -> None:
    """Run a program under both; start: (library, program, folder) -> the command."""
    source = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    texts = {}
    for library, text in {"torch": source, "tinygrad_llm": with_our_import(source)}.items():
        folder = tmp_path / library
        folder.mkdir()
        program = folder / f"{name}.py"
        program.write_text(text, encoding="utf-8")
        code, output = run(start(library, str(program), str(folder)), seconds=120)
        assert code == 0, output
        texts[library] = written(folder)
    assert len(texts["torch"]) == ranks and texts["tinygrad_llm"] == texts["torch"]


def test_spawn_and_messages(tmp_path):
    both(
        "messages", tmp_path, 3,
        lambda library, program, folder: [sys.executable, program, folder, free_port()],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["training", "tensor_parallel", "fully_sharded"])
def test_the_launcher_and_training(tmp_path, name):
    launchers = {
        "torch": ["-m", "torch.distributed.run", "--master-port", free_port()],
        "tinygrad_llm": ["-m", "tinygrad_llm.cli", "launch"],
    }
    both(
        name, tmp_path, 2,
        lambda library, program, folder: [
            sys.executable, *launchers[library], "--nproc-per-node", "2", program, folder,
        ],
    )  # fmt: skip


def test_pipelines(tmp_path):
    launchers = {
        "torch": ["-m", "torch.distributed.run", "--master-port", free_port()],
        "tinygrad_llm": ["-m", "tinygrad_llm.cli", "launch"],
    }
    both(
        "pipeline", tmp_path, 2,
        lambda library, program, folder: [
            sys.executable, *launchers[library], "--nproc-per-node", "2", program, folder,
        ],
    )  # fmt: skip
