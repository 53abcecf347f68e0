"""Groups of several processes: on 2 and 3 ranks over mpiexec, by spawn, and by the launcher."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from ranks import environment, needs_mpi, on_ranks, run

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from tinygrad_llm.cli import launch as launch_command
from tinygrad_llm.cli import main
from tinygrad_llm.cli.errors import BadValue
from tinygrad_llm.distributed import cores, work
from tinygrad_llm.distributed.launch import command_of
from tinygrad_llm.distributed.objects import from_bytes, to_bytes
from tinygrad_llm.distributed.pmi_server import Refused, Server, read_line
from tinygrad_llm.distributed.rank_start import variables
from tinygrad_llm.distributed.tensor.parallel.loss import loss_parallel, note_columns

pytestmark = needs_mpi
CHECKS = (
    "collectives", "leaving", "ops", "data_parallel", "sharded", "sequence", "experts", "meshes",
    "training", "pipeline", "ring", "stand_in", "traffic",
)  # fmt: skip
LONG = [pytest.mark.slow, pytest.mark.ci]


@pytest.mark.parametrize(
    "n,names",
    [
        (2, CHECKS),
        pytest.param(3, (*CHECKS, "memory"), marks=LONG),
        pytest.param(4, (*CHECKS, "memory"), marks=pytest.mark.slow),
        pytest.param(8, ("meshes", "pipeline", "ring"), marks=pytest.mark.slow),
    ],
    ids=["2", "3", "4", "8"],
)
def test_checks_on_ranks(n, names):
    code, output = on_ranks(n, "-m", "on_ranks", *names, seconds=240)
    assert code == 0 and output.splitlines()[-1].endswith(" passed, 0 failed"), output


# ------------------------------------------------------------------- how processes are started
PROGRAM = """
import os, sys, time, warnings
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
import tinygrad_llm.multiprocessing as mp

def work(rank, size, how):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dist.init_process_group("gloo", rank=rank, world_size=size)
    assert [str(w.message) for w in said] == (
        ["backend 'gloo' is served by MPI here"] if dist.get_rank() == 0 and how != "again" else [])
    rank = dist.get_rank()
    x = torch.ones(3) * (rank + 1)
    dist.all_reduce(x)
    if rank == 1:
        if how == "raise":
            raise KeyError("a reason")
        if how == "kill":
            os.kill(os.getpid(), 9)
        if how in ("exit", "message"):
            sys.exit(3)
    if how == "message" and rank == 0:
        dist.recv(x, 1)
    dist.barrier()
    # one write, also where print makes two of a line
    sys.stdout.write(f"rank {rank} of {dist.get_world_size()} has {x.tolist()}\\n")
    sys.stdout.flush()
    if how == "twice":
        dist.destroy_process_group()
        work(rank, size, "again")

def spawned(i, port, how):
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", port
    work(i, 2, how)

if __name__ == "__main__":
    if sys.argv[1] == "spawn":
        mp.spawn(spawned, args=(sys.argv[2], sys.argv[3]), nprocs=2)
    else:
        work(-1, -1, sys.argv[1])
"""
LEFT = "rank 1 has left the group, because it ended or called destroy_process_group"


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return str(path)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def lines(output: str) -> list[str]:
    return sorted(line for line in output.splitlines() if line.startswith("rank "))


WELL = ["rank 0 of 2 has [3.0, 3.0, 3.0]", "rank 1 of 2 has [3.0, 3.0, 3.0]"]


def test_the_launcher(program):
    launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2", program]
    code, output = run([*launch, "twice"], OMP_NUM_THREADS="")
    assert code == 0 and lines(output) == sorted(WELL * 2), output


@pytest.mark.slow
@pytest.mark.ci
def test_an_error_under_the_launcher_ends_all(program):
    launch = [sys.executable, "-m", "tinygrad_llm.cli", "launch", "--nproc-per-node", "2", program]
    start = time.perf_counter()
    code, output = run([*launch, "raise"])
    assert code != 0 and "KeyError: 'a reason'" in output, output
    assert "tinygrad-llm: a rank of" in output and time.perf_counter() - start < 60


@pytest.mark.parametrize(
    "how,text",
    [("exit", LEFT), ("message", "rank 0 waited in recv(src=1): rank 1 has ended")],
)
def test_a_rank_that_ends_ends_the_others(program, how, text):
    code, output = on_ranks(2, program, how)
    assert code != 0 and text in output and not lines(output), output


@pytest.mark.skipif(os.name != "posix", reason="elsewhere mpiexec starts the processes")
@pytest.mark.parametrize(
    "how,code,text",
    [
        ("twice", 0, ""),
        ("raise", 1, "Process 1 terminated with the following error"),
        pytest.param("kill", 1, "process 1 terminated with signal SIGKILL", marks=LONG),
        pytest.param("exit", 1, LEFT, marks=pytest.mark.slow),
    ],
)
def test_spawn(program, how, code, text):
    ended, output = run([sys.executable, program, "spawn", free_port(), how])
    assert ended == code and text in output, output
    assert lines(output) == (sorted(WELL * 2) if code == 0 else [])


@pytest.mark.slow
@pytest.mark.ci
def test_a_rank_that_ends_before_it_makes_the_group(tmp_path):
    path = tmp_path / "early.py"
    path.write_text(
        "import os, sys\n"
        "import tinygrad_llm.distributed as dist\n"
        "if dist.get_node_local_rank(): sys.exit()\n"
        "dist.init_process_group('mpi', timeout=2)\n",
        encoding="utf-8",
    )
    code, output = on_ranks(2, str(path))
    assert code != 0 and "wait_until_all_ranks_call_init_process_group" in output, output


SLEEPING = """
import os, sys, time
import tinygrad_llm.multiprocessing as mp

def work(i):
    sys.stdout.write(f"{os.getpid()}\\n")
    sys.stdout.flush()
    time.sleep(60)

if __name__ == "__main__":
    mp.spawn(work, nprocs=2)
"""


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_spawned_them(tmp_path, how):
    path = tmp_path / "sleeping.py"
    path.write_text(SLEEPING, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment(), start_new_session=True,
    )  # fmt: skip
    try:
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(how)
        parent.communicate(timeout=60)  # its end: the children have the pipe too
        for child in children:
            assert ended(child), child
    finally:
        parent.kill()


def ended(process: int) -> bool:
    """Whether a process has ended; waits a little for that."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{process}/status")
        if status.is_file() and "State:\tZ" in status.read_text(encoding="utf-8"):
            return True  # nobody has asked for its exit code yet
        time.sleep(0.05)
    return False


@pytest.mark.skipif(os.name != "posix", reason="elsewhere mpiexec starts the processes")
@pytest.mark.parametrize(
    "how", [pytest.param("kill", marks=LONG), pytest.param("raise", marks=pytest.mark.slow)]
)
def test_processes_that_a_user_started(program, how):
    """Nothing watches over them except the server at which they met."""
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, program, how], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment(
                MASTER_ADDR="localhost", MASTER_PORT=port, RANK=str(rank), WORLD_SIZE="3"
            ),
        )
        for rank in range(3)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=60)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for rank in (0, 2):
        assert f"rank {rank} waited in barrier(): rank 1 has ended" in outputs[rank], outputs


LOOP = """
import sys
import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
dist.init_process_group("mpi", timeout=60)
print("started", flush=True)
x = torch.ones(30_000)
while True:
    dist.all_reduce(x, op=dist.ReduceOp.AVG)
    dist.broadcast(x[:5], src=1)
"""


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(os.name != "posix", reason="elsewhere mpiexec starts the processes")
def test_a_kill_at_any_moment_ends_the_others_with_a_message():
    random.seed(0)
    for _ in range(8):
        where = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": "3"}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", LOOP], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, env=environment(RANK=str(rank), **where),
            )
            for rank in range(3)
        ]  # fmt: skip
        try:
            for process in started:
                while process.stdout.readline() != "started\n":
                    assert process.poll() is None
            time.sleep(random.uniform(0, 0.3))
            killed = random.randrange(3)
            started[killed].kill()
            start = time.perf_counter()
            outputs = [process.communicate(timeout=60)[0] for process in started]
            assert time.perf_counter() - start < 60
        finally:
            for process in started:
                process.kill()
        for rank in {0, 1, 2} - {killed}:
            assert started[rank].returncode == 1 and "DistBackendError" in outputs[rank], outputs


def test_who_does_not_come():
    code = (
        "import tinygrad_llm.distributed as dist\n"
        "try: dist.init_process_group('mpi', timeout=0.5)\n"
        "except dist.DistNetworkError as error: print(error)"
    )
    port = free_port()
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "3"}
    assert run([sys.executable, "-c", code], RANK="0", **where) == (
        0, f"init_process_group: at 127.0.0.1:{port}: rank 1, 2 of 3 did not come in time\n"
    )  # fmt: skip
    late = run([sys.executable, "-c", code], RANK="2", **where)[1]
    assert late.startswith(f"init_process_group: at 127.0.0.1:{port}: rank 2 found no rank 0")


# ------------------------------------------------------------------------- without other processes
def test_what_rank_start_sets():
    hydra = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    assert variables(hydra) == {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
    }  # fmt: skip
    open_mpi = {f"OMPI_COMM_WORLD_{n}": "0" for n in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")}
    assert variables({**open_mpi, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"})["RANK"] == "0"
    with pytest.raises(SystemExit, match="mpiexec"):
        variables({})


HYDRA = "HYDRA build details:\n    Version:                                 5.0.2"
OPEN = ["--host", "left:2,right:2", "--bind-to", "none", "-x", "MASTER_ADDR", "-x", "MASTER_PORT"]


@pytest.mark.skipif(os.name != "posix", reason="the mpiexec of this test is a shell script")
@pytest.mark.parametrize(
    "version,hosts,words",
    [
        (HYDRA, ["left", "right"], ["-hosts", "left,right", "-ppn", "2", "-n", "4"]),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.17", [], ["-n", "2"]),
        ("mpiexec (OpenRTE) 4.1.6", ["left", "right"], [*OPEN, "-n", "4"]),
        ("mpirun (Open MPI) 5.0.11", ["left", "right"], [*OPEN, "-n", "4"]),
        ("mpirun (Open MPI) 5.0.11", [], ["--host", "localhost:2", "--bind-to", "none", "-n", "2"]),
    ],
)
def test_the_command_for_each_mpiexec(version, hosts, words, tmp_path):
    """MPICH's and Open MPI's options for machines differ, and Open MPI binds ranks to cores."""
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text(f"#!/bin/sh\ncat <<'END'\n{version}\nEND\n", encoding="utf-8")
    mpiexec.chmod(0o755)
    set_here = {"MASTER_ADDR": "left", "MASTER_PORT": "4", "HOME": "/root"}
    command = command_of(["python", "a.py"], 2, hosts, str(mpiexec), set_here)
    assert command[: 1 + len(words)] == [str(mpiexec), *words]
    assert command[-2:] == ["python", "a.py"]


@pytest.mark.parametrize(
    "arguments,text",
    [
        (["--nproc-per-node", "none", "a.py"], "is a number of processes, gpu, cpu or auto"),
        (["--nnodes", "2", "a.py"], "--nnodes 2 needs --hosts with 2 names"),
        (["--nnodes", "1", "--hosts", "a,b", "a.py"], "--nnodes 1 needs --hosts with 1 names"),
        (["--master-port", "0", "a.py"], "--master-port must be a port"),
        (["no such file.py"], "there is no file no such file.py"),
    ],
)
def test_values_that_launch_refuses(capsys, arguments, text):
    with pytest.raises(SystemExit) as ended:
        main(["launch", *arguments])
    assert ended.value.code == 2 and text in capsys.readouterr().err


def test_processes_for_each_gpu_or_core(monkeypatch):
    monkeypatch.setattr(launch_command, "core_count", lambda: 5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [launch_command._ranks(text) for text in ("3", "cpu", "auto")] == [3, 5, 5]
    with pytest.raises(BadValue, match="there is no GPU"):
        launch_command._ranks("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [launch_command._ranks(text) for text in ("gpu", "cpu", "auto")] == [4, 5, 4]


def test_names_of_backends():
    assert dist.Backend.GLOO == dist.Backend("Gloo") == "gloo" and dist.Backend.NCCL == "nccl"
    assert type(dist.Backend("MPI")) is str and type(dist.Backend.MPI) is str
    with pytest.raises(ValueError, match="expected a backend's name, got 3"):
        dist.Backend(3)


def test_the_server_refuses_who_does_not_belong_there():
    server = Server(None, 2, 1)
    for greeting in ("tinygrad_llm pmi 0 3 host", "tinygrad_llm pmi 2 2 host", "GET / HTTP 1 1"):
        ours, theirs = socket.socketpair()
        theirs.sendall(greeting.encode() + b"\n")
        with pytest.raises((Refused, ValueError)):
            server._greet(ours)
        theirs.sendall(b"x" * 5000)
        with pytest.raises(ValueError, match="too long"):
            read_line(ours)
        ours.close()
        theirs.close()
    ours, theirs = socket.socketpair()
    server.hosts = {0: "a", 1: "a"}
    assert server._blocks() == "(0,1,2)"
    server.size, server.hosts = 3, {0: "a", 1: "b", 2: "a"}
    assert server._blocks() == "(0,1,1),(1,1,1),(0,1,1)"
    ours.close()
    theirs.close()


def test_logits_of_one_rank_have_the_usual_loss():
    """Also behind an op: nothing is divided among one rank."""
    logits = torch.randn(3, 5).requires_grad_()
    noted = note_columns(logits * 1.0, dist.ProcessGroup("gloo"), 5)
    targets = torch.tensor([1, 4, 0])
    with loss_parallel():
        loss = torch.nn.functional.cross_entropy(noted / 2, targets)
    assert loss.item() == torch.nn.functional.cross_entropy(logits / 2, targets).item()


class After:
    """A request that is done after some seconds."""

    def __init__(self, seconds):
        self.end = time.perf_counter() + seconds

    def done(self):
        return time.perf_counter() > self.end


def test_a_rank_sleeps_less_while_numbers_arrive(monkeypatch):
    """The first request of a collective is the agreement, for which a rank may wait long."""
    sleeps, sleep = [[], []], time.sleep

    def steps():
        yield After(0.2)
        sleeps.reverse()
        yield After(0.1)

    def counted(seconds):
        sleeps[0].append(seconds)
        sleep(seconds)

    monkeypatch.setattr(work, "BUSY_WHILE_THEY_ARRIVE", 0.01)
    monkeypatch.setattr(work.time, "sleep", counted)
    work.Work(dist.ProcessGroup("mpi", alone=True), "sum", steps()).wait()
    arriving, waiting = sleeps
    assert max(waiting) > 1e-4 and set(arriving) == {work.SLEEP_WHILE_THEY_ARRIVE}


@pytest.mark.parametrize(
    "here,sharing,own,in_all,threads,says",
    [
        (2, 2, 16, 16, 8, False),  # not bound
        (2, 1, 1, 16, 1, True),  # Open MPI's default for two ranks
        (4, 2, 8, 16, 4, False),  # to a socket each
        (2, 1, 1, 2, 1, False),  # to a core each, and the machine has two
    ],
)
def test_how_many_threads_a_rank_has(monkeypatch, here, sharing, own, in_all, threads, says):
    chosen = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: in_all)
    for name, value in (("core_count", own), ("thread_count", own)):
        monkeypatch.setattr(cores, name, lambda value=value: value)
    monkeypatch.setattr(cores, "set_thread_count", chosen.append)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        cores.share_cores(0, here, sharing)
    assert chosen == [threads] and bool(warned) == says
    assert all("--bind-to none" in str(warning.message) for warning in warned)


@pytest.mark.parametrize("rank,size", [(2, 2), (5, 3)])
def test_a_rank_that_does_not_exist(rank, size):
    with pytest.raises(ValueError, match=f"rank {rank} of {size} processes does not exist"):
        dist.init_process_group("mpi", rank=rank, world_size=size)


def test_what_init_process_group_refuses(monkeypatch):
    for given in ({"backend": "ucx"}, {"init_method": "file:///tmp/x"}, {"store": object()}):
        with pytest.raises(ValueError, match="backend|init_method|store"):
            dist.init_process_group(**{"backend": "gloo", **given}, rank=1, world_size=2)
    with pytest.raises(ValueError, match="no backend 'nonsense'"):  # also for one process
        dist.init_process_group("nonsense", rank=0, world_size=1)
    with pytest.raises((ValueError, TypeError), match="timeout"):
        dist.init_process_group("mpi", rank=0, world_size=1, timeout=-1)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="WORLD_SIZE is a number"):
        dist.init_process_group("mpi")
    assert not dist.is_initialized()


@pytest.mark.parametrize("value", [object(), {"a": {((1, 2), 3)}}, lambda: 0])
def test_objects_that_are_not_plain(value):
    with pytest.raises(TypeError, match="cannot be stored"):
        to_bytes(value)


@pytest.mark.parametrize("value", [set(), {1, "1", None, 2.5}, {(1, "a"), frozenset({2})}])
def test_sets_come_back(value):
    for given in (value, frozenset(value), {"a": [value]}):
        got = from_bytes(to_bytes(given))
        assert got == given and type(got) is type(given)


def test_equal_sets_are_equal_bytes():
    orders = [
        {x for i in order for x in (str(i), i)[::step]}  # "1" and 1 print equally
        for order, step in ((range(100), 1), (range(99, -1, -1), -1))
    ]
    assert orders[0] == orders[1]
    assert to_bytes(orders[0]).tobytes() == to_bytes(orders[1]).tobytes()


def test_bytes_that_are_not_an_object():
    whole = to_bytes({"x": torch.ones(3)})
    assert from_bytes(whole)["x"].tolist() == [1.0] * 3
    for cut in (0, 5, 9, len(whole) - 1):
        with pytest.raises(ValueError):
            from_bytes(whole[:cut])


@pytest.mark.parametrize(
    "package,name,text",
    [
        (dist.pipelining, "ScheduleInterleaved1F1B", "with one stage for each rank"),
        (dist.pipelining, "pipe_split", "nothing is traced"),
        (dist.tensor.experimental, "local_map", "each rank has ordinary tensors"),
        (dist, "TCPStore", "pass init_method, or set MASTER_ADDR"),
        (dist, "all_reduc", "the nearest is all_reduce"),
        (dist.fsdp, "FullyShardedDataParallel", r"fsdp\.fully_shard divides parameters"),
        (dist.optim, "PostLocalSGDOptimizer", "no_sync"),
        (dist.tensor, "DTensor", "each rank has ordinary tensors"),
        (dist.tensor.parallel, "input_reshard", "has no 'input_reshard'"),
        (dist.ReduceOp, "PREMUL_SUM", "it has SUM, AVG, PRODUCT"),
    ],
)
def test_names_that_are_not_offered_say_what_to_use(package, name, text):
    with pytest.raises(AttributeError, match=text):
        getattr(package, name)
