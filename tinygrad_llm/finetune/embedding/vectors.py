"""Vectors of sentences, and how similar two texts are.

    embed(["A man is eating food.", "A plane lands."])                   # (2, 384), of length 1
    similarity("A man is eating food.", "A man is eating a piece of bread.")        # 0.755

Without another name the vectors are those of all-MiniLM-L6-v2 (English). A run of finetune embed,
an encoder's folder or a SentenceEmbedder stands in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...arrays.devices import to_numpy
from ...autograd.grad_mode import no_grad
from ...files.paths import local_path
from ...models.base import evaluation
from ...models.encoder import Encoder
from ...models.sentence import SentenceEncoder
from ...text import Tokenizer
from ...text.tokenizer import check_fits
from ...training.checkpoint import Checkpoint
from ...training.step import to_device_of
from ...weights.packaged import PACKAGED
from ..pairs.data import padded_ids, pair_ids
from ..task_models import TaskModel

__all__ = ["DEFAULT", "SentenceEmbedder", "embed", "embed_texts", "similarity"]

DEFAULT = "all-minilm-l6-v2"


@no_grad()
def embed_texts(
    model: SentenceEncoder, tokenizer: Tokenizer, texts: Sequence[str],
    max_length: int | None = None, batch_size: int = 64,
) -> np.ndarray:  # fmt: skip
    """The vectors of texts, of length 1: (N, C) float32; the model's mode is restored.

    max_length: longer texts are cut at the end; None for the model's context
    Texts of about the same length share a batch.
    Warns if texts have only tokens that the tokenizer does not know: their vectors are alike.
    Raises: ValueError for a text without tokens, with its number.
    """
    check_fits(tokenizer, model.config.model.vocab_size)
    limit = model.context_length if max_length is None else min(max_length, model.context_length)
    encoded = []
    for i, text in enumerate(texts):
        try:
            encoded.append(pair_ids(tokenizer, text, None, limit))
        except ValueError as error:
            where = f"text {i}: " if len(texts) > 1 else ""
            raise ValueError(f"{where}{error}") from error
    _warn_of_unknown(tokenizer, texts, [ids for ids, _ in encoded])
    order = np.argsort([len(ids) for ids, _ in encoded], kind="stable")  # (N)
    vectors = np.empty((len(encoded), model.config.model.emb_dim), np.float32)
    with evaluation(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = padded_ids([encoded[int(i)] for i in rows], tokenizer.pad_token or 0)
            batch = to_device_of(model, batch)
            own = model.embed(batch["ids"], batch["attention_mask"])  # (B, T) -> (B, C)
            vectors[rows] = to_numpy(own.array)
    return vectors


def _warn_of_unknown(
    tokenizer: Tokenizer, texts: Sequence[str], encoded: Sequence[Sequence[int]]
) -> None:
    """A warning if texts have only special tokens, which is to say unknown ones between them."""
    special = set(tokenizer.special_tokens.values())
    alike = [text for text, ids in zip(texts, encoded, strict=True) if special.issuperset(ids)]
    if alike:
        warnings.warn(
            f"{len(alike):,} of {len(texts):,} texts have only characters that the tokenizer "
            f"({tokenizer.name}) does not know, such as {alike[0][:20]!r}: their vectors do not "
            "say what they mean",
            stacklevel=3,
        )


@dataclass
class SentenceEmbedder:
    """A sentence encoder with its tokenizer; max_length: tokens of a text, None for the context."""

    model: SentenceEncoder
    tokenizer: Tokenizer
    max_length: int | None = None

    @classmethod
    def load(cls, name: str | Path | Checkpoint = DEFAULT) -> SentenceEmbedder:
        """A run of finetune embed or of an encoder; or an encoder by name or folder, its mean.

        Raises: ValueError if there is no such encoder; StorageError if a run is damaged.
        """
        loaded = TaskModel.load(name)
        model, length = loaded.model, loaded.settings.get("max_length")
        if isinstance(model, Encoder):
            model = SentenceEncoder(model).eval()
        if not isinstance(model, SentenceEncoder) or not (length is None or type(length) is int):
            raise ValueError(f"{loaded.name} holds a {type(model).__name__}, no sentence encoder")
        return cls(model, loaded.tokenizer, length)

    def embed(self, texts: Sequence[str] | str) -> np.ndarray:
        """The vectors of texts (N, C), or of one (C); float32, of length 1.

        Raises: TypeError for something else than texts; ValueError for a text without tokens.
        """
        one = isinstance(texts, str)
        if not isinstance(texts, Iterable) or isinstance(texts, bytes | bytearray):
            raise TypeError(f"texts must be a text or a list of them, got {type(texts).__name__}")
        listed = [texts] if isinstance(texts, str) else list(texts)
        vectors = embed_texts(self.model, self.tokenizer, listed, self.max_length)
        return vectors[0] if one else vectors

    def similarity(
        self, a: Sequence[str] | str, b: Sequence[str] | str
    ) -> float | np.ndarray:  # fmt: skip
        """The cosine of the angle between the vectors of two texts, from −1 to 1.

        Of several texts all cosines: (N, M) for N texts a and M texts b, (N) or (M) if the other
        is one text.
        """
        cosines = self.embed(a) @ self.embed(b).T
        return float(cosines) if cosines.ndim == 0 else cosines


@lru_cache(maxsize=1)
def _packaged(name: str) -> SentenceEmbedder:
    return SentenceEmbedder.load(name)


def _embedder(model: SentenceEmbedder | str | Path) -> SentenceEmbedder:
    if isinstance(model, SentenceEmbedder):
        return model
    name = str(model)
    known = name in PACKAGED and not local_path(name).exists()  # its files do not change
    return _packaged(name) if known else SentenceEmbedder.load(model)


def embed(
    texts: Sequence[str] | str, model: SentenceEmbedder | str | Path = DEFAULT
) -> np.ndarray:  # fmt: skip
    """The vectors of texts (N, C), or of one text (C): float32, of length 1.

    model: a name, the folder of a run of finetune embed or of an encoder's weights, or a
        SentenceEmbedder, which keeps what it has loaded
    Raises: ValueError for a text without tokens, or a name that is not known.
    """
    return _embedder(model).embed(texts)


def similarity(
    a: Sequence[str] | str, b: Sequence[str] | str,
    model: SentenceEmbedder | str | Path = DEFAULT,
) -> float | np.ndarray:  # fmt: skip
    """The cosine of the angle between two texts' vectors, see SentenceEmbedder.similarity.

    Raises: ValueError as `embed`.
    """
    return _embedder(model).similarity(a, b)
