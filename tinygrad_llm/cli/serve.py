"""tinygrad-llm serve: models over HTTP, for OpenAI's and Ollama's clients."""

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
from .errors import BadValue, blame, newest_checkpoint, published_names
from .generate import check_weights, model_flags, read_model
from .options import must_be, with_flags

__all__ = ["register"]

_KEY = "TINYGRAD_LLM_API_KEY"
_HELP = """Serve models over HTTP, under the routes of OpenAI and Ollama, with pages for a browser.

MODEL is a run or a checkpoint, a folder in Hugging Face's layout, a .gguf file, or the name of a
published model (tinygrad-llm models list). Clients and the chat page choose among several by name.
A run of finetune classify has a page too, /classify, which shows the tokens that mattered. --run
watches a run while it trains, at /run. Only this machine can reach the server, unless --host
says otherwise: then clients must send a key, which stands in a file (--key-file) or in the
environment variable TINYGRAD_LLM_API_KEY.

\b
Examples:
  tinygrad-llm serve smollm2-135m-instruct
  tinygrad-llm serve smollm2-135m-instruct --embeddings all-minilm-l6-v2
  tinygrad-llm serve smollm2-135m-instruct runs/first --loaded 1
  tinygrad-llm serve runs/classify-sms-spam-1              then open /classify
  tinygrad-llm serve --run runs/first                      then open /run
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


_MEMORY: dict[str, tuple[Any, Any, str]] = {
    "loaded": (int | None, None, "The most language models in memory [all]."),
}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    flags = {
        name: (hint, typer.Option(default, f"--{name}", help=help))
        for name, (hint, default, help) in {**_LIMITS, **_MEMORY}.items()
    }
    app.command(name="serve", help=_HELP)(with_flags(serve, {**flags, **model_flags(False)}))


def serve(
    models: list[str] | None = typer.Argument(
        None, metavar="[MODEL]...", help="Runs, folders, files, or names."
    ),
    run: str | None = typer.Option(None, help="A run's folder to watch: losses, samples, pause."),
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
    """Serve models until Ctrl-C.

    Raises: BadValue if an option is out of range, or other machines could ask without a key;
    ImportError without FastAPI and uvicorn.
    """
    must_be("port", 0 <= port < 65536, "between 0 and 65535", port)
    own, loaded = _limits(more), more.pop("loaded")
    must_be("loaded", loaded is None or 1 <= loaded <= 1000, "between 1 and 1,000", loaded)
    if threads is not None:
        must_be("threads", 1 <= threads <= 1024, "between 1 and 1,024", threads)
        set_thread_count(threads)
    key = _key(key_file)
    if key is None and not _is_local(host):
        raise BadValue(
            f"--host {host} lets other machines ask: write a key into a file for --key-file, or "
            f"into the environment variable {_KEY}"
        )
    named = _names(models or [], name, run, embeddings)
    weights = check_weights(more, device)
    from ..serve import Limits
    from ..serve.app import check_installed, make_app
    from ..serve.pages import server_pages
    from ..serve.served import Served

    check_installed()
    watched = _watched(run)
    classifiers = {known: _classifier(model, known) for known, model in named.items()}
    language = {known: model for known, model in named.items() if classifiers[known] is None}
    most = min(len(language), loaded or len(language))
    limits = Limits(**own | {"prefixes": own["prefixes"] // max(1, most)})
    shelf = _models(language, most, weights, device, limits)
    served = Served(
        shelf, classifiers={known: one for known, one in classifiers.items() if one is not None},
        embedder=_embedder(embeddings), run=watched, limits=limits,
    )  # fmt: skip
    # A model's thread computes without the interpreter's lock, and asks for it between two
    # kernels; the web server's thread would hold it for 5 ms each time.
    sys.setswitchinterval(1e-4)
    try:
        hosts = {"127.0.0.1", "localhost", "::1", host.strip("[]"), *allow_host}
        pages = server_pages(served.kinds.values(), watched is not None)
        app = make_app(served, hosts, key, pages)
        shown, path = (", ".join(named), "v1") if named else ("the pages", "")
        _listen(app, host.strip("[]"), port, shown, path)
    finally:
        shelf.close()


def _limits(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the limits out of the options of the command; returns them, checked.

    Raises: BadValue if one is out of range.
    """
    own = {limit: options.pop(limit) for limit in _LIMITS}
    batch, queue, tokens, seconds = own["batch"], own["queue"], own["tokens"], own["seconds"]
    must_be("batch", 1 <= batch <= 256, "between 1 and 256", batch)
    must_be("queue", 0 <= queue <= 10_000, "between 0 and 10,000", queue)
    must_be("prefixes", 0 <= own["prefixes"] <= 10**6, "between 0 and 1,000,000", own["prefixes"])
    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    must_be("seconds", 0 < seconds <= 86_400, "above 0 and at most 86,400", seconds)
    return own


def _names(
    models: list[str], name: str | None, run: str | None, embeddings: str | None
) -> dict[str, str]:
    """The name of each model for clients: no two are equal, and none is a path.

    Raises: BadValue if there is nothing to serve, or one name for several models.
    """
    if not models and run is None and embeddings is None:
        raise BadValue("name a MODEL to serve, or a run to watch with --run FOLDER")
    if name is not None and len(models) != 1:
        raise BadValue("--name is for one MODEL: several have their own names")
    named: dict[str, str] = {}
    for model in models:
        plain = known = name or local_path(model).name.removesuffix(".gguf")
        number = 1
        while known in named or known == "embeddings":
            number += 1
            known = f"{plain}-{number}"
        named[known] = model
    return named


def _models(
    language: dict[str, str], most: int, weights: dict[str, Any], device: str, limits: Any
) -> Any:
    """The language models, of which as many are read now as may be in memory.

    Raises: BadValue if there is no such model.
    """
    from ..serve.served import Models

    def reader(known: str, model: str) -> Any:
        return lambda: _service(known, model, weights, device, limits)

    models = Models({known: reader(known, model) for known, model in language.items()}, most)
    for i, (known, model) in enumerate(language.items()):
        if i < most:
            models.load(known)
        elif not local_path(model).exists() and model not in published_names():
            raise BadValue(f"there is no model {model}")
    return models


def _service(known: str, model: str, weights: dict[str, Any], device: str, limits: Any) -> Any:
    """A model that is read, its engine started."""
    from ..serve import Engine
    from ..serve.service import Service

    made, tokenizer = read_model(model, **weights)
    with blame("--quantize", NotImplementedError):
        made.to(device)
    engine = Engine(made, tokenizer, limits)
    engine.start()
    return Service(engine, known, end_tokens(made, tokenizer))


def _classifier(model: str, known: str) -> Any:
    """The classifier that MODEL is, a run of finetune classify; None for other models."""
    path = local_path(model)
    if not ((path / "checkpoints").is_dir() or (path / "manifest.json").is_file()):
        return None
    saved = newest_checkpoint(path)
    if saved.config.get("finetune") != "classify":
        return None
    from ..finetune.task_models import TaskModel
    from ..serve.looking import Classifier

    return Classifier(TaskModel.load(saved), known)


def _watched(run: str | None) -> Any:
    """The run to watch, or None. Its folder may not be there yet.

    Raises: BadValue if it is a file.
    """
    if run is None:
        return None
    path = local_path(run)
    if path.exists() and not path.is_dir():
        raise BadValue(f"--run must be a run's folder, and {run} is a file")
    if not path.exists():
        say(f"note: {run} is not there yet; /run shows it when it is")
    from ..serve.watching import WatchedRun

    return WatchedRun(path)


def _listen(app: Any, host: str, port: int, name: str, path: str) -> None:
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
            f"{name} at http://{place}:{listening.getsockname()[1]}/{path} (Ctrl-C ends)",
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
