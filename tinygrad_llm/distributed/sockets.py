"""The transport over TCP sockets, for tensors on the CPU where NCCL connects the GPUs and no
mpiexec started the processes, and where mpi4py is not installed.

Every process has a connection to every other one. A message has a head (channel, kind, tag, length)
and its bytes; what has arrived waits until it is asked for. A collective is a few messages, with
the number of the collective as their tag. It is made for few ranks and small messages.
"""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from .errors import DistNetworkError
from .transport import Request

__all__ = ["Mesh", "SocketTransport", "connect"]

HEAD = struct.Struct("<8sBqQ")  # channel, kind, tag, bytes
MESSAGE, PART, GOODBYE = 0, 1, 2  # kinds: between two ranks, of a collective, the last
HELLO = struct.Struct("<iiH")  # rank, number of ranks, the port on which it listens


class Mesh:
    """This process's connections to all others.

    sockets: by rank, one for each of the others.
    """

    def __init__(self, rank: int, size: int, sockets: dict[int, socket.socket]) -> None:
        self.rank, self.size, self.sockets = rank, size, sockets
        self.arrived: Any = defaultdict(deque)  # (source, channel, kind, tag): bytes
        self.goodbyes: set[tuple[int, bytes]] = set()
        self.ended: set[int] = set()  # ranks whose connection has ended
        self._in = {other: bytearray() for other in sockets}
        self._out = {other: bytearray() for other in sockets}
        self._lock = threading.RLock()
        for each in sockets.values():
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, to: int, channel: bytes, kind: int, tag: int, data: Any) -> None:
        """Begin to send a message; a rank that has ended gets none."""
        with self._lock:
            if to not in self.ended:
                self._out[to] += HEAD.pack(channel, kind, tag, len(data)) + bytes(data)
            self.pump()

    def flushed(self) -> bool:
        """Whether everything was sent."""
        self.pump()
        return not any(self._out[other] for other in self.sockets if other not in self.ended)

    def pump(self) -> None:
        """Send and receive what is possible without waiting."""
        with self._lock:
            for other, each in self.sockets.items():
                if other not in self.ended:
                    self._pump(other, each)

    def _pump(self, other: int, each: socket.socket) -> None:
        try:
            while self._out[other]:
                sent = each.send(memoryview(self._out[other])[: 1 << 20])
                del self._out[other][:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._out[other].clear()
        try:
            while True:
                data = each.recv(1 << 20)
                if not data:
                    self.ended.add(other)
                    break
                self._in[other] += data
        except BlockingIOError:
            pass
        except OSError:
            self.ended.add(other)
        self._take(other)

    def _take(self, other: int) -> None:
        """Put complete messages where they are asked for."""
        buffer, at = self._in[other], 0
        while len(buffer) - at >= HEAD.size:
            channel, kind, tag, length = HEAD.unpack_from(buffer, at)
            end = at + HEAD.size + length
            if len(buffer) < end:
                break
            if kind == GOODBYE:
                self.goodbyes.add((other, channel))
            else:
                self.arrived[other, channel, kind, tag].append(bytes(buffer[at + HEAD.size : end]))
            at = end
        if at:
            del buffer[:at]

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        until = time.monotonic() + 2.0
        while not self.flushed() and time.monotonic() < until:
            select.select([], list(self.sockets.values()), [], 0.05)


class _Receive:
    """A request for one message from each of some ranks, and for what is sent to be sent."""

    def __init__(self, mesh: Mesh, parts: Sequence[tuple[tuple, Any]]) -> None:
        self._mesh, self._parts, self.length = mesh, deque(parts), -1

    def done(self) -> bool:
        """Whether all have arrived, in their arrays."""
        flushed = self._mesh.flushed()
        while self._parts:
            key, into = self._parts[0]
            waiting = self._mesh.arrived.get(key)
            if not waiting:
                return False
            data = np.frombuffer(waiting.popleft(), np.uint8)
            if not waiting:
                del self._mesh.arrived[key]
            self.length = data.size
            n = min(data.size, into.size)
            into[:n] = data[:n]
            self._parts.popleft()
        return flushed


class _Find:
    """Done when a message with a tag waits; `source` is the rank that sent it."""

    def __init__(self, mesh: Mesh, keys: dict[tuple, int]) -> None:
        self._mesh, self._keys, self.source = mesh, keys, -1

    def done(self) -> bool:
        """Whether a message waits."""
        self._mesh.pump()
        for key, rank in self._keys.items():
            if self._mesh.arrived.get(key):
                self.source = rank
                return True
        return False


class SocketTransport:
    """Bytes between some ranks of a mesh; channel: what keeps their messages apart from others."""

    def __init__(self, mesh: Mesh, ranks: Sequence[int], name: str) -> None:
        self._mesh, self._ranks, self._name = mesh, list(ranks), name
        self._channel = hashlib.sha256(name.encode()).digest()[:8]
        self._collectives = self._parts = 0
        self.rank, self.size = self._ranks.index(mesh.rank), len(self._ranks)

    def _collective(
        self, out: Any, out_counts: Sequence[int], into: Any, into_counts: Sequence[int]
    ) -> Request:
        """Send part r of out to rank r; fill into with what comes, in rank order."""
        self._collectives += 1
        tag = self._collectives
        starts, ends = [0, *accumulate(out_counts)], [0, *accumulate(into_counts)]
        parts = []
        for r, other in enumerate(self._ranks):
            mine = out[starts[r] : starts[r + 1]]
            place = into[ends[r] : ends[r + 1]]
            if r == self.rank:
                place[...] = mine[: place.size]
                continue
            if mine.size:
                self._mesh.send(other, self._channel, PART, tag, mine.data)
            if place.size:
                parts.append(((other, self._channel, PART, tag), place))
        return _Receive(self._mesh, parts)

    def _only(self, rank: int, count: int) -> list[int]:
        return [count if r == rank else 0 for r in range(self.size)]

    def _to_each(self, mine: Any, into: Any, into_counts: Sequence[int]) -> Request:
        """Send mine to every rank."""
        self._collectives += 1
        key = self._channel, PART, self._collectives
        ends, parts = [0, *accumulate(into_counts)], []
        for r, other in enumerate(self._ranks):
            place = into[ends[r] : ends[r + 1]]
            if r == self.rank:
                place[...] = mine[: place.size]
                continue
            if mine.size:
                self._mesh.send(other, *key, mine.data)
            if place.size:
                parts.append(((other, *key), place))
        return _Receive(self._mesh, parts)

    def broadcast(self, array: np.ndarray, root: int) -> Request:
        """A message from root to each other rank."""
        if self.rank == root:
            return self._to_each(array, array, self._only(root, array.size))
        return self._to_each(array[:0], array, self._only(root, array.size))

    def all_gather(self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int]) -> Request:
        """A message from each rank to each other one."""
        return self._to_each(mine, everyones, counts)

    def gather(
        self, mine: np.ndarray, everyones: np.ndarray, counts: Sequence[int], root: int
    ) -> Request:
        """A message from each other rank to root."""
        into = list(counts) if self.rank == root else [0] * self.size
        return self._collective(mine, self._only(root, mine.size), everyones, into)

    def scatter(
        self, everyones: np.ndarray, counts: Sequence[int], mine: np.ndarray, root: int
    ) -> Request:
        """A message from root to each other rank."""
        out = list(counts) if self.rank == root else [0] * self.size
        return self._collective(everyones, out, mine, self._only(root, mine.size))

    def all_to_all(
        self, out: np.ndarray, out_counts: Sequence[int], into: np.ndarray,
        into_counts: Sequence[int],
    ) -> Request:  # fmt: skip
        """A separate message from each rank to each other one."""
        return self._collective(out, out_counts, into, into_counts)

    def send(self, array: np.ndarray, to: int, tag: int) -> Request:
        """One message."""
        self._mesh.send(self._ranks[to], self._channel, MESSAGE, tag, array.data)
        return _Receive(self._mesh, ())

    def receive(self, array: np.ndarray, source: int, tag: int) -> Any:
        """One message."""
        key = self._ranks[source], self._channel, MESSAGE, tag
        return _Receive(self._mesh, [(key, array)])

    def find(self, tag: int) -> Any:
        """A message from any rank."""
        keys = {(o, self._channel, MESSAGE, tag): r for r, o in enumerate(self._ranks)}
        return _Find(self._mesh, keys)

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """Ranks whose connection has ended without a goodbye."""
        self._mesh.pump()
        polite = {other for other, _ in self._mesh.goodbyes}
        others = [(r, self._ranks[r]) for r in ranks if r != self.rank]
        return [r for r, other in others if other in self._mesh.ended and other not in polite]

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """Ranks whose goodbye has come."""
        self._mesh.pump()
        known = self._mesh.goodbyes
        others = [r for r in ranks if r != self.rank]
        return [r for r in others if (self._ranks[r], self._channel) in known]

    def say_goodbye(self) -> None:
        """A last message to every other rank."""
        for r, other in enumerate(self._ranks):
            if r != self.rank:
                self._mesh.send(other, self._channel, GOODBYE, 0, b"")

    def close(self) -> None:
        """Send what is left."""
        self._mesh.close()

    def part(self, ranks: Sequence[int]) -> SocketTransport:
        """The transport of some of the ranks: the same connections, another channel."""
        members = [self._ranks[r] for r in ranks]
        self._parts += 1
        return SocketTransport(self._mesh, members, f"{self._name}/{members}/{self._parts}")


# ----------------------------------------------------------------------------------- connecting
def connect(rank: int, size: int, host: str, port: int, timeout: float) -> Mesh:
    """Connect all processes with each other: they meet at rank 0, which listens at host:port.

    timeout: seconds to wait for all.
    Raises: DistNetworkError if they do not come, or the place cannot be used.
    """
    until = time.monotonic() + min(timeout, 1e6)
    where = f"init_process_group: at {host}:{port}"
    try:
        own = socket.create_server((host, port) if rank == 0 else ("", 0), backlog=2 * size)
    except OSError as error:
        raise DistNetworkError(
            f"{where}: rank 0 cannot listen there ({error}); choose another MASTER_PORT"
        ) from error
    with own:
        sockets: dict[int, socket.socket] = {}
        try:
            if rank == 0:
                places = _greet(own, size, sockets, until)
            else:
                places = _register(rank, size, own, (host, port), sockets, until)
            for other in range(1, rank):  # those below connect to nobody above
                sockets[other] = _reach(places[other], until)
                sockets[other].sendall(HELLO.pack(rank, size, 0))
            while len(sockets) < size - 1:
                connection, (other, _, _) = _accept(own, size, until)
                sockets[other] = connection
        except OSError as error:
            raise DistNetworkError(
                f"{where}: rank {rank} did not find all of {size} processes in time ({error})"
            ) from error
    return Mesh(rank, size, sockets)


def _greet(own: Any, size: int, sockets: dict[int, Any], until: float) -> dict[int, Any]:
    """In rank 0: accept every other rank, and let each know where all are."""
    places: dict[int, tuple[str, int]] = {}
    while len(sockets) < size - 1:
        connection, (other, _, port) = _accept(own, size, until)
        sockets[other], places[other] = connection, (connection.getpeername()[0], port)
    text = "\n".join(f"{r} {host} {port}" for r, (host, port) in places.items()).encode()
    for connection in sockets.values():
        connection.sendall(struct.pack("<I", len(text)) + text)
    return places


def _register(
    rank: int, size: int, own: Any, place: Any, sockets: dict[int, Any], until: float
) -> dict[int, Any]:
    """Say to rank 0 where this rank listens; where the others do."""
    sockets[0] = _reach(place, until)
    sockets[0].sendall(HELLO.pack(rank, size, own.getsockname()[1]))
    (length,) = struct.unpack("<I", _exactly(sockets[0], 4, until))
    lines = _exactly(sockets[0], length, until).decode().splitlines()
    words = (line.split() for line in lines)
    return {int(r): (host, int(port)) for r, host, port in words}


def _accept(own: Any, size: int, until: float) -> tuple[socket.socket, tuple[int, int, int]]:
    """The next process that connects, and what it says; others than ours are refused."""
    while True:
        own.settimeout(max(until - time.monotonic(), 0.01))
        connection, _ = own.accept()
        try:
            rank, number, port = HELLO.unpack(_exactly(connection, HELLO.size, until))
        except OSError:
            connection.close()
            continue
        if number == size and 0 < rank < size:
            return connection, (rank, number, port)
        connection.close()


def _reach(place: tuple[str, int], until: float) -> socket.socket:
    while True:
        try:
            connection = socket.create_connection(place, timeout=5)
            connection.settimeout(None)
            return connection
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _exactly(connection: socket.socket, count: int, until: float) -> bytes:
    data = b""
    while len(data) < count:
        connection.settimeout(max(until - time.monotonic(), 0.01))
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the connection was closed")
        data += more
    connection.settimeout(None)
    return data
