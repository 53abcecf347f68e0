"""Lets processes that nothing started together find each other: a small server of PMI, version 1.

MPI libraries of MPICH's family ask a process manager for their rank, and store there where each
process can be reached. mpiexec is such a manager; this file is one for processes that
`multiprocessing.spawn` or a user's shells started. It answers a few commands, one line each
(cmd=put key=... value=..., cmd=get, cmd=barrier_in, ...), until every process has ended.

It runs as a separate program, from its file, and imports nothing of the package:

    python pmi_server.py LISTENING_SOCKET SIZE SECONDS

Each rank connects twice: once for PMI, and once to hear "lost RANK" when another rank's process
has ended without cmd=finalize. The first line of a connection says which:

    tinygrad_llm pmi|watch RANK SIZE HOST
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time

__all__ = ["serve"]

LONGEST_LINE = 4096
LIMITS = "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024"


class Refused(Exception):
    """A connection that does not belong here, or comes twice."""


class Server:
    """The connections of all ranks, and what they have stored."""

    def __init__(self, listening: socket.socket, size: int, seconds: float) -> None:
        self.listening, self.size = listening, size
        self.until = time.monotonic() + seconds
        self.pmi: dict[int, socket.socket] = {}
        self.watch: dict[int, socket.socket] = {}
        self.hosts: dict[int, str] = {}
        self.stored: dict[str, str] = {}
        self.name = f"tinygrad_llm_{os.urandom(8).hex()}"  # MPI names shared memory after it
        self.waiting: set[int] = set()  # ranks in the barrier
        self.finalized: set[int] = set()
        self.ended: set[int] = set()  # ranks whose connection is gone

    # -------------------------------------------------------------------- until all are here
    def gather(self) -> bool:
        """Accept connections until every rank has two; False if that took too long."""
        parent = os.getppid()
        while len(self.pmi) < self.size or len(self.watch) < self.size:
            self.listening.settimeout(0.5)
            try:
                connection, _ = self.listening.accept()
            except TimeoutError:
                if time.monotonic() > self.until or os.getppid() != parent:
                    return self._give_up()
                continue
            try:
                connection.settimeout(5)
                self._greet(connection)
            except (OSError, ValueError, Refused) as error:
                answer(connection, f"error {error}")
                connection.close()
        blocks = self._blocks()
        self.stored["PMI_process_mapping"] = f"(vector,{blocks})"
        for connection in self.pmi.values():
            answer(connection, "ok")
        return True

    def _greet(self, connection: socket.socket) -> None:
        """Note a connection under the rank that its first line names."""
        name, kind, rank_text, size_text, host = read_line(connection).split(" ", 4)
        rank, size = int(rank_text), int(size_text)
        if name != "tinygrad_llm" or kind not in ("pmi", "watch"):
            raise Refused("this port belongs to a group of tinygrad_llm's processes")
        if size != self.size or not 0 <= rank < size:
            raise Refused(f"rank {rank} of {size} came to a group of {self.size} processes")
        place = self.pmi if kind == "pmi" else self.watch
        if rank in place:
            raise Refused(f"rank {rank} is there twice: each process needs its own RANK")
        place[rank], self.hosts[rank] = connection, host

    def _give_up(self) -> bool:
        missing = sorted(set(range(self.size)) - set(self.watch))
        text = ", ".join(map(str, missing))
        for connection in self.pmi.values():
            answer(connection, f"error rank {text} of {self.size} did not come in time")
        return False

    def _blocks(self) -> str:
        """Which ranks share a machine: (number of the machine, 1, how many ranks), in a row."""
        numbers: dict[str, int] = {}
        blocks: list[list[int]] = []
        for rank in range(self.size):
            number = numbers.setdefault(self.hosts[rank], len(numbers))
            if blocks and blocks[-1][0] == number:
                blocks[-1][2] += 1
            else:
                blocks.append([number, 1, 1])
        return ",".join(f"({a},{b},{c})" for a, b, c in blocks)

    # -------------------------------------------------------------------- until all have ended
    def run(self) -> None:
        """Answer until the last rank has ended."""
        selector = selectors.DefaultSelector()
        rest = dict.fromkeys(self.pmi, b"")
        for rank, connection in self.pmi.items():
            connection.settimeout(None)
            selector.register(connection, selectors.EVENT_READ, rank)
        while rest:
            for key, _ in selector.select():
                rank = key.data
                try:
                    data = self.pmi[rank].recv(65536)
                except OSError:
                    data = b""
                if not data:
                    selector.unregister(self.pmi[rank])
                    del rest[rank]
                    self._has_ended(rank)
                    continue
                *lines, rest[rank] = (rest[rank] + data).split(b"\n")
                for line in lines:
                    self._command(rank, line.decode("ascii", "replace"))

    def _has_ended(self, rank: int) -> None:
        self.ended.add(rank)
        if rank not in self.finalized:
            for other, connection in self.watch.items():
                if other != rank:
                    answer(connection, f"lost {rank}")
        self._open_barrier()

    def _open_barrier(self) -> None:
        """Let the ranks go on when all are in the barrier, except those that have ended."""
        if self.waiting and len(self.waiting | self.ended) == self.size:
            for each in self.waiting - self.ended:
                answer(self.pmi[each], "cmd=barrier_out rc=0")
            self.waiting = set()

    def _command(self, rank: int, line: str) -> None:
        """Answer a line such as "cmd=put kvsname=all key=k value=v"."""
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        command, key = fields.get("cmd", ""), fields.get("key", "")
        if command == "barrier_in":
            self.waiting.add(rank)
            self._open_barrier()
            return
        if command == "put":
            self.stored[key] = fields.get("value", "")
        if command == "finalize":
            self.finalized.add(rank)
        if command == "get" and key in self.stored:
            text = f"cmd=get_result rc=0 msg=success value={self.stored[key]}"
        elif command == "get":
            text = "cmd=get_result rc=-1 msg=key_not_found value=unknown"
        else:
            text = {
                "init": "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0",
                "get_maxes": LIMITS,
                "get_appnum": "cmd=appnum appnum=0",
                "get_my_kvsname": f"cmd=my_kvsname kvsname={self.name}",
                "get_universe_size": f"cmd=universe_size size={self.size}",
                "put": "cmd=put_result rc=0 msg=success",
                "finalize": "cmd=finalize_ack rc=0",
            }.get(command, f"cmd={command}_result rc=-1 msg=unknown_command")
        answer(self.pmi[rank], text)


def answer(connection: socket.socket, line: str) -> None:
    """Send a line; nothing if the other side has ended."""
    try:
        connection.sendall(line.encode() + b"\n")
    except OSError:
        return


def read_line(connection: socket.socket) -> str:
    """The next line of a connection, byte by byte, so that nothing behind it is taken.

    Raises: ValueError if it is too long, OSError if the connection ends before.
    """
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionResetError("the connection has ended")
        line += byte
        if len(line) > LONGEST_LINE:
            raise ValueError("the line is too long")
    return line[:-1].decode("utf-8", "replace")


def serve(arguments: list[str]) -> None:
    """Serve one group: the number of the listening socket, its size, seconds to wait for all."""
    listening = socket.socket(fileno=int(arguments[0]))
    server = Server(listening, int(arguments[1]), float(arguments[2]))
    here = server.gather()
    listening.close()
    if here:
        server.run()


if __name__ == "__main__":
    serve(sys.argv[1:])
