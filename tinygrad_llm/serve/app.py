"""The application: routes, who may ask, and errors that say nothing of this machine."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..files.packages import importing, install_extra
from . import looking, ollama, openai, watching
from .fields import ApiError
from .served import Served

__all__ = ["Page", "check_installed", "make_app"]

_ADDRESS = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Page(NamedTuple):
    """A file for browsers. It holds no data of the server, so that it is sent without a key.

    kind     its Content-Type
    policy   its Content-Security-Policy, in place of one that allows nothing; nothing from outside
    """

    content: bytes
    kind: str = "text/html; charset=utf-8"
    policy: str = "default-src 'none'; frame-ancestors 'none'"


def check_installed() -> None:
    """Raises: MissingPackage if FastAPI or uvicorn is not installed."""
    install = f"{install_extra('serve')} (or fastapi and uvicorn alone)"
    with importing("the server needs FastAPI and uvicorn", install):
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401


def make_app(
    served: Served, hosts: Collection[str], key: str | None = None,
    pages: Mapping[str, Page] | None = None,
) -> Any:  # fmt: skip
    """A FastAPI application.

    hosts  the names in the Host header that are answered, without ports: any other may be a page
           from elsewhere whose name was pointed at this machine (DNS rebinding)
    key    what clients must send as `Authorization: Bearer KEY`, or None
    pages  files for browsers by their path, such as "/chat"
    """
    from fastapi import FastAPI
    from fastapi import Request as Http
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def health() -> dict[str, Any]:
        running, waiting = served.models.counts
        return {"status": "ok", "running": running, "waiting": waiting}

    def route(method: str, path: str, answer: Callable[..., Any]) -> None:
        async def call(http: Any) -> Any:
            return await answer(served, http)

        call.__annotations__ = {"http": Http}
        app.add_api_route(path, call, methods=[method], response_model=None)

    get, post = partial(route, "GET"), partial(route, "POST")

    app.add_api_route("/health", health, methods=["GET"])
    get("/v1/models", openai.models)
    get("/v1/models/{name}", openai.model)
    post("/v1/chat/completions", openai.chat)
    post("/v1/completions", openai.completions)
    post("/v1/embeddings", openai.embeddings)
    post("/v1/classify", looking.classify)
    post("/v1/attention", looking.attention)
    get("/v1/run", watching.status)
    post("/v1/run/pause", watching.pause)
    post("/v1/run/continue", watching.resume)
    get("/api/tags", ollama.tags)
    get("/api/version", ollama.version)
    post("/api/chat", ollama.chat)
    post("/api/generate", ollama.generate)

    def show(path: str, page: Page) -> None:
        async def call() -> Any:
            headers = {"content-type": page.kind, "content-security-policy": page.policy}
            return Response(page.content, headers=headers)

        app.add_api_route(path, call, methods=["GET"], response_model=None)

    for path, page in (pages or {}).items():
        show(path, page)

    async def explain(http: Http, error: Exception) -> Any:
        if isinstance(error, ApiError):
            return _error(http.url.path, error)
        status = error.status_code if isinstance(error, HTTPException) else 500
        known = {404: "there is no such route", 405: "this route has another method"}
        return _error(http.url.path, ApiError(status, known.get(status, "an error of the server")))

    app.add_exception_handler(ApiError, explain)
    app.add_exception_handler(HTTPException, explain)
    app.add_exception_handler(Exception, explain)
    return _Guard(app, hosts, key, {"/health", *(pages or {})})


def _error(path: str, error: ApiError) -> Any:
    """The error in the form of the client that asked; 429 says when to come again."""
    from starlette.responses import JSONResponse

    body: Any = error.message
    if not path.startswith("/api/"):
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        body = {"message": error.message, "type": kind, "param": error.field, "code": error.code}
    headers = {"retry-after": "2"} if error.status in (429, 503) else None
    return JSONResponse({"error": body}, error.status, headers)


class _Guard:
    """Looks at Host, Origin and key before a request reaches the application."""

    def __init__(
        self, app: Any, hosts: Collection[str], key: str | None, open_to_all: Collection[str]
    ) -> None:
        self.app, self.hosts = app, {host.lower() for host in hosts}
        self.open_to_all = open_to_all  # paths that need no key
        self.key = None if key is None else key.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        error = self._refused(scope)

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                known = {name.lower() for name, _ in given}
                own = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                own = [(k, v) for k, v in own if k not in known]
                message = {**message, "headers": [*given, *own]}
            await send(message)

        if error is not None:
            await _error(scope["path"], error)(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    def _refused(self, scope: Any) -> ApiError | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = headers.get(b"host", [])
        if len(host) != 1 or self._name(f"http://{host[0].decode('latin-1')}") not in self.hosts:
            return ApiError(403, "this server is not known under the name in the Host header")
        for origin in headers.get(b"origin", []):
            if self._name(origin.decode("latin-1")) not in self.hosts:
                return ApiError(403, "pages from elsewhere may not use this server")
        if self.key is None or scope["path"] in self.open_to_all:
            return None
        given = headers.get(b"authorization", [b""])[0]
        if not hmac.compare_digest(given, b"Bearer " + self.key):
            return ApiError(401, "the key is missing or wrong", code="invalid_api_key")
        return None

    @staticmethod
    def _name(address: str) -> str | None:
        """The name in http://NAME or http://NAME:PORT; None for anything else."""
        match = _ADDRESS.fullmatch(address)
        return None if match is None else match[1].strip("[]").lower()
