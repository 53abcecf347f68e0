"""One POST of JSON over HTTP, with a limit for everything: seconds, bytes, and no redirects.

A redirect is reported, not followed: it would carry the key to another server.
"""

from __future__ import annotations

import email.utils
import math
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..files.json_files import json_bytes, no_constants, parse_json
from ..files.plain_text import one_line
from .errors import ChatError, TemporaryError

__all__ = ["checked_address", "post"]

_LARGEST = 1 << 24  # bytes of an answer
_SHOWN = 300  # characters of a server's own message
_LOCAL = ("localhost", "127.0.0.1", "::1")


def checked_address(address: str, has_key: bool) -> str:
    """The address without a slash at its end.

    has_key: whether a key will be sent, which plain http shows to the network
    Raises: ValueError for an address that is not http(s), or not https where a key is sent to
    another machine.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"the address {address!r} cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"the address must begin with http:// or https://, got {address!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the address must be a host and a path only: keys come from a variable")
    if has_key and parts.scheme == "http" and host not in _LOCAL:
        raise ValueError(f"a key must not be sent to {host} over plain http: use https")
    return address.rstrip("/")


def post(
    address: str, body: Any, *, key: str | None, timeout: float, time_limit: float
) -> Any:  # fmt: skip
    """The JSON that a server answers to a POST of `body`.

    key: sent as a bearer token, and taken out of everything that comes back
    timeout: seconds without a byte; time_limit: seconds in all
    Raises: TemporaryError if asking again may help (408, 425, 429, 5xx, a connection that breaks,
    an answer that is not JSON); ChatError for another status.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "tinygrad_llm"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    status, answer_headers, data = _exchange(
        urlsplit(address), json_bytes(body), headers, timeout, time_limit
    )
    text = data.decode("utf-8", "replace")
    if key:
        text = text.replace(key, "***")
    if 300 <= status < 400:
        place = one_line(str(answer_headers.get("Location")))[:_SHOWN]
        raise ChatError(f"the server sends on to {place}: give that address if you trust it")
    if status != 200:
        message = f"the server answered {status}: {_message(text)}"
        if status in (408, 425, 429) or status >= 500:
            raise TemporaryError(message, _retry_after(answer_headers.get("Retry-After")))
        raise ChatError(message)
    try:
        return parse_json(text, "the answer", unique=False, numbers=no_constants)
    except ValueError as error:
        raise TemporaryError(f"{error}: {_message(text)}") from None


def _exchange(
    parts: SplitResult, body: bytes, headers: dict[str, str], timeout: float, time_limit: float
) -> tuple[int, Any, bytes]:
    """Status, headers and bytes of an answer.

    Raises: TemporaryError if the connection fails or takes longer than it may.
    """
    import http.client

    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    late = threading.Event()

    def stop() -> None:
        late.set()
        sock = connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # ends a read that waits

    timer = threading.Timer(time_limit, stop)
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", parts.path or "/", body, headers)
        response = connection.getresponse()
        data = response.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ChatError(f"the answer has more than {_LARGEST:,} bytes")
        if response.length:  # read(n) does not say that bytes are missing
            raise TemporaryError(f"the answer was cut short: {response.length:,} bytes are missing")
        if late.is_set():
            raise TimeoutError
        return response.status, response.headers, data
    except ChatError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TemporaryError(_reason(error, late.is_set(), timeout, time_limit)) from None
    finally:
        timer.cancel()
        connection.close()


def _reason(error: Exception, late: bool, timeout: float, time_limit: float) -> str:
    if late:
        return f"the whole answer took longer than {time_limit:g} seconds"
    if isinstance(error, TimeoutError):
        return f"nothing came for {timeout:g} seconds"
    return one_line(f"{type(error).__name__}: {error}")[:_SHOWN]


def _message(text: str) -> str:
    """The message in a server's answer to a request that failed, in one line."""
    try:
        value = parse_json(text, "", unique=False)
        error = value.get("error", value) if isinstance(value, dict) else value
        text = error.get("message", text) if isinstance(error, dict) else str(error)
    except ValueError:
        pass
    return one_line(" ".join(str(text).split()))[:_SHOWN] or "(nothing)"


def _retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header, which may be a number or a date; None if neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
