"""tinygrad-llm serve: a model over HTTP, for OpenAI's and Ollama's clients."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

import typer

from ..arrays.parallel import set_thread_count
from ..files.paths import local_path
from ..files.plain_text import say
from ..generation import end_tokens
from .errors import BadValue, blame
from .generate import check_weights, model_flags, read_model
from .options import must_be, with_flags

__all__ = ["register"]

_KEY = "TINYGRAD_LLM_API_KEY"
_HELP = """Serve a model over HTTP, under the routes of OpenAI and Ollama.

MODEL is a run or a checkpoint, a folder in Hugging Face's layout, a .gguf file, or the name of a
published model (tinygrad-llm models list). Only this machine can reach the server, unless --host
says otherwise: then clients must send a key, which stands in a file (--key-file) or in the
environment variable TINYGRAD_LLM_API_KEY.

\b
Examples:
  tinygrad-llm serve smollm2-135m-instruct
  tinygrad-llm serve smollm2-135m-instruct --embeddings all-minilm-l6-v2
  curl http://127.0.0.1:8000/v1/models
"""

# Type, default and help of the limits that a command sets; see serve.Limits.
_LIMITS: dict[str, tuple[Any, Any, str]] = {
    "batch": (int, 32, "Texts that are written at a time."),
    "queue": (int, 64, "Texts that may wait besides."),
    "prefixes": (
        int,
        256,
        "Megabytes for beginnings of prompts, which are kept.",
    ),
    "tokens": (int, 1024, "The most tokens of an answer."),
    "seconds": (float, 300.0, "The most time for an answer."),
}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    flags = {
        name: (hint, typer.Option(default, f"--{name}", help=help))
        for name, (hint, default, help) in _LIMITS.items()
    }
    app.command(name="serve", help=_HELP)(with_flags(serve, {**flags, **model_flags(False)}))


def serve(
    model: str = typer.Argument(..., help="A run, a folder, a file, or a name."),
    host: str = typer.Option("127.0.0.1", help="The address to listen at."),
    port: int = typer.Option(8000, help="The port; 0 takes one that is free."),
    name: str | None = typer.Option(None, help="The name that clients use; else MODEL's own."),
    key_file: str | None = typer.Option(None, help="A file with the key that clients send."),
    allow_host: list[str] = typer.Option([], help="A further name of this server."),
    embeddings: str | None = typer.Option(None, help="A model or run of sentence embeddings."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
    threads: int | None = typer.Option(None, help="Cores that run the model [all]."),
    **more: Any,
) -> None:
    """Serve a model until Ctrl-C.

    Raises: BadValue if an option is out of range, or other machines could ask without a key;
    ImportError without FastAPI and uvicorn.
    """
    must_be("port", 0 <= port < 65536, "between 0 and 65535", port)
    own = {limit: more.pop(limit) for limit in _LIMITS}
    batch, queue, tokens, seconds = own["batch"], own["queue"], own["tokens"], own["seconds"]
    must_be("batch", 1 <= batch <= 256, "between 1 and 256", batch)
    must_be("queue", 0 <= queue <= 10_000, "between 0 and 10,000", queue)
    must_be("prefixes", 0 <= own["prefixes"] <= 10**6, "between 0 and 1,000,000", own["prefixes"])
    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    must_be("seconds", 0 < seconds <= 86_400, "above 0 and at most 86,400", seconds)
    if threads is not None:
        must_be("threads", 1 <= threads <= 1024, "between 1 and 1,024", threads)
        set_thread_count(threads)
    key = _key(key_file)
    if key is None and not _is_local(host):
        raise BadValue(
            f"--host {host} lets other machines ask: write a key into a file for --key-file, or "
            f"into the environment variable {_KEY}"
        )
    weights = check_weights(more, device)
    from ..serve import Engine, Limits
    from ..serve.app import check_installed, make_app
    from ..serve.pages import chat_pages
    from ..serve.service import Service

    check_installed()
    loaded, tokenizer = read_model(model, **weights)
    loaded.to(device)
    limits = Limits(**own)
    embedder = _embedder(embeddings)
    # The model's thread computes without the interpreter's lock, and asks for it between two
    # kernels; the web server's thread would hold it for 5 ms each time.
    sys.setswitchinterval(1e-4)
    with Engine(loaded, tokenizer, limits) as engine:
        known = name or local_path(model).name.removesuffix(".gguf")
        service = Service(engine, known, end_tokens(loaded, tokenizer), embedder)
        names = {"127.0.0.1", "localhost", "::1", host.strip("[]"), *allow_host}
        pages = chat_pages(embeddings=embedder is not None)
        _listen(make_app(service, names, key, pages), host.strip("[]"), port, known)


def _listen(app: Any, host: str, port: int, name: str) -> None:
    import socket

    from ..serve.listening import web_server

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(1024)  # clients that come from now on wait, and are not refused
        except OSError as error:
            raise BadValue(f"--host {host} --port {port}: {error.strerror or error}") from None
        place = f"[{host}]" if ":" in host else host
        say(
            f"{name} at http://{place}:{listening.getsockname()[1]}/v1 (Ctrl-C ends)",
            file=sys.stderr,
        )
        web_server(app).run(sockets=[listening])


def _key(path: str | None) -> str | None:
    """The key of a file or of the environment, or None.

    Raises: BadValue if it is shorter than 16 characters, or not in one line of ASCII.
    """
    if path is None:
        key = os.environ.get(_KEY)
    else:
        with blame("--key-file", ValueError):
            key = local_path(path).read_text(encoding="utf-8").strip()
    if key is not None and not (len(key) >= 16 and key.isascii() and key.isprintable()):
        source = _KEY if path is None else f"--key-file {path}"
        raise BadValue(f"{source} must hold one line of at least 16 ASCII characters")
    return key


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _embedder(name: str | None) -> Any:
    if name is None:
        return None
    from ..finetune.embedding import SentenceEmbedder

    with blame("--embeddings", ValueError, OSError):
        return SentenceEmbedder.load(name)
