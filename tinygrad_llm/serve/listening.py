"""The web server under the application: uvicorn, with patience that ends.

A client that opens a connection and sends no whole request, or one byte at a time, costs a place
among those that may be open. uvicorn waits for it without an end; here the connection is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["web_server"]

MOST_CONNECTIONS = 1000  # more get 503
HEADER_BYTES = 16 << 10  # of the request line and headers, more get 400


def web_server(app: Any, header_seconds: float = 10.0, **options: Any) -> Any:
    """A uvicorn.Server for an application; run(sockets=[...]) serves until it is ended.

    header_seconds   time for a whole request line and headers, at most twice that
    options          of uvicorn.Config, over those that are set here
    """
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Closes a connection on which no request has begun for a time."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._before: Any = None
            self._clock = asyncio.get_running_loop().call_later(header_seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._clock.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            waits = self.cycle is None or self.cycle.response_complete
            if waits and self._before == (self.cycle,):
                self.transport.close()
                return
            self._before = (self.cycle,) if waits else None
            seconds = header_seconds / 4 if waits else header_seconds
            self._clock = asyncio.get_running_loop().call_later(seconds, self._look)

    config = {
        "log_level": "warning", "access_log": False, "server_header": False, "lifespan": "off",
        "limit_concurrency": MOST_CONNECTIONS, "timeout_keep_alive": 10,
        "timeout_graceful_shutdown": 2, "http": Impatient, "ws": "none",
        "h11_max_incomplete_event_size": HEADER_BYTES,
    }  # fmt: skip
    return uvicorn.Server(uvicorn.Config(app, **{**config, **options}))
