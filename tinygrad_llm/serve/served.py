"""What a server has: language models by name, classifiers, sentence embeddings, a watched run."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from ..files.plain_text import say
from .engine import Limits
from .fields import ApiError, Fields
from .service import Service

__all__ = ["Models", "Served"]

_MOST_CHARACTERS = 256  # of a model's name


class Models:
    """Language models by name, of which at most `most` are in memory; all if None.

    loaders: by name, what reads a model and starts its engine. The one that was asked for least
    recently is given up for another, unless it is writing. Each name was chosen when the server
    was started: nothing that a client sends is a path.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], Service]], most: int | None = None
    ) -> None:
        self._loaders = dict(loaders)
        self.most = len(self._loaders) if most is None else most
        self._loaded: OrderedDict[str, Service] = OrderedDict()
        self._loading = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """The names, in the order of the command."""
        return list(self._loaders)

    @property
    def in_memory(self) -> list[str]:
        """The names of those in memory, the least recently used one first."""
        return list(self._loaded)

    @property
    def counts(self) -> tuple[int, int]:
        """How many texts are being written, and how many wait, of all models."""
        counts = [service.engine.counts for service in list(self._loaded.values())]
        return sum(running for running, _ in counts), sum(waiting for _, waiting in counts)

    def load(self, name: str) -> Service:
        """Read a model that is not in memory; there must be room.

        Raises: what its loader raises.
        """
        self._loaded[name] = service = self._loaders[name]()
        return service

    async def get(self, name: str) -> Service:
        """The model of this name, which is read now if it is not in memory.

        Raises: ApiError with 503 if all models in memory are writing, 500 if it cannot be read.
        """
        if name not in self._loaded:
            async with self._loading:  # one at a time
                if name not in self._loaded:
                    await self._make_room()
                    await self._read(name)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    async def _read(self, name: str) -> None:
        try:
            await asyncio.to_thread(self.load, name)
        except Exception as error:  # a file may have gone: the other models stay
            say(f"tinygrad-llm: {name}: {type(error).__name__}: {error}", file=sys.stderr)
            raise ApiError(500, "the model could not be read", "model") from None

    async def _make_room(self) -> None:
        while len(self._loaded) >= self.most:
            idle = [n for n, s in self._loaded.items() if s.engine.counts == (0, 0)]
            if not idle:
                busy = "another model is writing, and there is memory for no more: try again later"
                raise ApiError(503, busy, "model", "model_busy")
            service = self._loaded.pop(idle[0])
            await asyncio.to_thread(service.engine.close)  # a request that comes now gets 429

    def close(self) -> None:
        """End the threads of all models."""
        while self._loaded:
            self._loaded.popitem()[1].engine.close()


class Served:
    """All that clients can ask a server.

    models        language models by name
    classifiers   by name; see serve.classifying.Classifier
    embedder      texts -> vectors, (N, C), or None
    run           a training run that pages watch, see serve.watching.WatchedRun; or None
    limits        of requests
    """

    def __init__(
        self, models: Models, *, classifiers: Mapping[str, Any] | None = None,
        embedder: Any = None, run: Any = None, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.models, self.embedder, self.run = models, embedder, run
        self.classifiers = dict(classifiers or {})
        self.limits, self.created = limits or Limits(), int(time.time())
        self.computing = asyncio.Lock()  # embeddings, classes and attention: one at a time
        self.reading = asyncio.Lock()  # of the run's files

    @property
    def kinds(self) -> dict[str, str]:
        """What each name of this server is."""
        names = dict.fromkeys(self.models.names, "language-model")
        names |= dict.fromkeys(self.classifiers, "classifier")
        return names | ({} if self.embedder is None else {"embeddings": "embeddings"})

    async def service(self, fields: Fields) -> Service:
        """The language model that a request names.

        Raises: ApiError with 404 unless `model` names what was started; as Models.get.
        """
        return await self.models.get(self._named(fields, self.models.names, "language model"))

    def classifier(self, fields: Fields) -> Any:
        """The classifier that a request names; without a name the first one.

        Raises: ApiError with 404 if there is none of this name.
        """
        if fields.get("model") is None and self.classifiers:
            return next(iter(self.classifiers.values()))
        return self.classifiers[self._named(fields, list(self.classifiers), "classifier")]

    def _named(self, fields: Fields, names: list[str], kind: str) -> str:
        name, known = fields.text("model", most=_MOST_CHARACTERS), self.kinds
        if not names:
            raise ApiError(404, f"this server has no {kind}", "model", "model_not_found")
        listed = ", ".join(f'"{one}"' for one in names)
        if name is None:
            raise fields.wrong("model", f"{listed}, the models of this server")
        plain: str = name.removesuffix(":latest")
        if name in names or plain in names:
            return name if name in names else plain
        if name in known:
            raise ApiError(404, f'"{name}" is not a {kind}', "model", "model_not_found")
        message = f"there is no model of this name here: this server has {listed}"
        raise ApiError(404, message, "model", "model_not_found")
