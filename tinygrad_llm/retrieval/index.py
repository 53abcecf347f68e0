"""An index on disk: chunks, their vectors and how both were made, in one safetensors file.

    index = build_index(read_folder("notes").documents, SentenceEmbedder.load())
    index.save("rag-index")
    for passage in load_index("rag-index").search("How is tea made?", k=3):
        print(passage.score, passage.chunk.source, passage.chunk.text)

One file is written in one step, so that vectors and chunks always fit together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..evaluation.words import CUTS
from ..files.json_files import json_bytes, parse_json
from ..files.paths import local_path
from ..files.untrusted import translated
from ..finetune.embedding import SentenceEmbedder
from ..weights.formats.safetensors import SafeTensorsFile, load_file, save_file
from .bm25 import BM25
from .chunks import Chunk, chunks_of
from .search import Hits, best

__all__ = ["FILE", "WAYS", "Index", "IndexFileError", "Passage", "build_index", "load_index"]

FILE = "index.safetensors"
WAYS = ("vectors", "bm25", "hybrid")
PROBE = "The quick brown fox jumps over the lazy dog."  # its vector says which encoder it was
SAME = 0.999  # the least cosine of two vectors of PROBE by the same encoder
PART = 256  # chunks that get their vectors at a time
DEPTH, CONSTANT = 100, 60  # hits of each list that `hybrid` joins, and the constant of its source


class IndexFileError(ValueError):
    """The file is not an index, or is damaged."""


class Passage(NamedTuple):
    """A chunk that was retrieved: its number in the index, its score, and how close it is.

    cosine: of its vector and the question's, None without vectors; share: without vectors the share
    of the question's words that it has, see BM25.share
    """

    id: int
    chunk: Chunk
    score: float
    cosine: float | None
    share: float | None = None

    @property
    def closeness(self) -> float:
        """The cosine, or without vectors the share: by this a question is refused."""
        if self.cosine is not None:
            return self.cosine
        return 1.0 if self.share is None else self.share


class Index:
    """Chunks that can be searched by vectors, by words, or by both.

    chunks: at least one; vectors: float32 (N, C) of length 1, or None for an index of words alone
    embedder_name: the name or folder of the encoder that made the vectors; probe: its vector (C) of
    a fixed sentence; cut: how BM25 cuts words
    Raises: ValueError if these do not fit together.
    """

    def __init__(
        self, chunks: list[Chunk], vectors: np.ndarray | None = None,
        embedder_name: str | None = None, probe: np.ndarray | None = None, cut: str = "rouge",
    ) -> None:  # fmt: skip
        if not chunks:
            raise ValueError("an index needs at least one chunk with a letter or a digit in it")
        if cut not in CUTS:
            raise ValueError(f"the cut must be one of {', '.join(CUTS)}, got {cut!r}")
        if vectors is not None:
            if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(chunks):
                raise ValueError(
                    f"{len(chunks):,} chunks need vectors ({len(chunks):,}, C) in float32, got "
                    f"{vectors.dtype} {vectors.shape}"
                )
            if probe is None or probe.shape != vectors.shape[1:] or embedder_name is None:
                raise ValueError("vectors need the name of their encoder and its probe (C)")
            if not np.isfinite(vectors).all() or not np.isfinite(probe).all():
                raise ValueError("the vectors have NaN or infinite numbers")
        self.chunks, self.vectors, self.cut = list(chunks), vectors, cut
        self.embedder_name, self.probe = embedder_name, probe
        self._embedder: SentenceEmbedder | None = None

    def __len__(self) -> int:
        return len(self.chunks)

    @cached_property
    def bm25(self) -> BM25:
        """BM25 over the chunks, made at the first use."""
        return BM25([chunk.text for chunk in self.chunks], self.cut)

    @property
    def embedder(self) -> SentenceEmbedder:
        """The encoder that made the vectors, loaded at the first use.

        Raises: ValueError for an index of words alone; as `use`.
        """
        if self._embedder is None:
            if self.embedder_name is None:
                raise ValueError("this index has words alone: search it with bm25")
            self.use(SentenceEmbedder.load(self.embedder_name))
        assert self._embedder is not None
        return self._embedder

    def use(self, embedder: SentenceEmbedder) -> Index:
        """Takes an encoder that is loaded already, after a check that it made these vectors.

        Raises: ValueError if it is another one: its vectors would fit none of these.
        """
        own = embedder.embed(PROBE)
        assert self.probe is not None
        cosine = float(own @ self.probe) if own.shape == self.probe.shape else 0.0
        if cosine < SAME:
            raise ValueError(
                f"this index was made by another encoder than the one now called "
                f"{self.embedder_name} (a test sentence has the cosine {cosine:.3f}): index again"
            )
        self._embedder = embedder
        return self

    def search(self, query: str, k: int = 3, way: str | None = None) -> list[Passage]:
        """The k best chunks, the best first.

        way: "vectors" (cosine, exact), "bm25" (words), or "hybrid": the sum of 1 / (60 + place) in
        both lists (Cormack et al., 2009, "Reciprocal rank fusion"); None: vectors if there are any
        Raises: ValueError for another way, a k below 1, a blank query, or vectors without any.
        """
        way = way or ("bm25" if self.vectors is None else "vectors")
        if way not in WAYS:
            raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        if not query.strip():
            raise ValueError("the question is empty")
        cosines = None
        if self.vectors is not None:
            cosines = self.vectors @ self.embedder.embed(query)  # (N, C) @ (C) -> (N)
        elif way != "bm25":
            raise ValueError(f"this index has words alone: {way} needs vectors, index again")
        ranked = self._ranked(query, k, way, cosines)
        if cosines is not None:
            return [Passage(i, self.chunks[i], score, float(cosines[i])) for i, score in ranked]
        return [
            Passage(i, self.chunks[i], score, None, self.bm25.share(query, i))
            for i, score in ranked
        ]

    def _ranked(
        self, query: str, k: int, way: str, cosines: np.ndarray | None
    ) -> list[tuple[int, float]]:
        """(number of a chunk, score), the best first."""
        lists = []
        if way != "vectors":
            lists.append(self.bm25.search(query, k if way == "bm25" else DEPTH))
        if way != "bm25":
            assert cosines is not None
            near = best(cosines[None], k if way == "vectors" else DEPTH)  # (N) -> (1, N) -> (1, k)
            lists.append(Hits(near.ids[0], near.scores[0]))
        if way != "hybrid":
            return [(int(i), float(s)) for i, s in zip(*lists[0], strict=True)]
        joined: dict[int, float] = {}
        for hits in lists:
            for place, i in enumerate(hits.ids.tolist(), 1):
                joined[i] = joined.get(i, 0.0) + 1 / (CONSTANT + place)
        return sorted(joined.items(), key=lambda hit: (-hit[1], hit[0]))[:k]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes the index into a folder, which is made if it is not there; returns the file.

        Raises: OSError from the disk. An index that was there before is then unchanged.
        """
        path = local_path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [[chunk.text, chunk.source, chunk.number] for chunk in self.chunks]
        arrays = {"chunks": np.frombuffer(json_bytes(rows), np.uint8)}
        if self.vectors is not None and self.probe is not None:
            arrays |= {"vectors": self.vectors, "probe": self.probe}
        settings = {"version": 1, "embedder_name": self.embedder_name, "cut": self.cut}
        save_file(arrays, path, {"settings": json.dumps(settings)})
        return path


def build_index(
    documents: Iterable[Mapping[str, Any]], embedder: SentenceEmbedder | None = None,
    embedder_name: str = "all-minilm-l6-v2", size: int = 400, overlap: int = 100,
    cut: str | None = None, progress: Callable[[int, int], None] | None = None,
) -> Index:  # fmt: skip
    """An index of documents {"text", "title"}.

    embedder: None for an index of words alone; embedder_name: under which it is loaded again
    size, overlap: see split_text; cut: see BM25, None for "rouge", or "pairs" of characters if
    most letters are not English ones
    progress: called with the number of chunks that have their vectors and of all, after each PART
    Chunks without a letter or a digit are left out.
    Raises: ValueError as chunks_of, or without any chunk.
    """
    made = chunks_of(documents, size, overlap)
    chunks = [chunk for chunk in made if any(map(str.isalnum, chunk.text))]
    if cut is None:
        letters = [c for chunk in chunks for c in chunk.text if c.isalpha()]
        english = sum(map(str.isascii, letters))
        cut = "rouge" if 2 * english >= len(letters) else "pairs"
    if embedder is None or not chunks:
        return Index(chunks, cut=cut)
    parts = []
    for start in range(0, len(chunks), PART):
        part = [chunk.text for chunk in chunks[start : start + PART]]
        parts.append(embedder.embed(part))  # (n, C)
        if progress is not None:
            progress(start + len(part), len(chunks))
    vectors = np.concatenate(parts)  # (N, C)
    return Index(chunks, vectors, embedder_name, embedder.embed(PROBE), cut).use(embedder)


def load_index(folder: str | os.PathLike[str]) -> Index:
    """The index that `Index.save` wrote; nothing in the file is run.

    Raises: FileNotFoundError if there is none; IndexFileError if the file is damaged.
    """
    path = local_path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no index in {local_path(folder)}: make one first")
    with translated(str(path), IndexFileError):
        arrays, metadata = load_file(path), SafeTensorsFile(path).metadata
        settings = parse_json(metadata.get("settings", ""), "its settings")
        if not isinstance(settings, dict) or settings.get("version") != 1:
            raise ValueError("it is not an index of version 1")
        if not {"chunks"} <= set(arrays) <= {"chunks", "vectors", "probe"}:
            raise ValueError(f"an index has chunks, vectors and a probe, not {sorted(arrays)}")
        name, cut = settings.get("embedder_name"), settings.get("cut")
        if not (name is None or isinstance(name, str)) or not isinstance(cut, str):
            raise ValueError("its settings do not name the encoder and the cut")
        if arrays["chunks"].dtype != np.uint8:
            raise ValueError(f"its chunks should be bytes, got {arrays['chunks'].dtype}")
        chunks = _chunks(parse_json(arrays["chunks"].tobytes(), "its chunks"))
        return Index(chunks, arrays.get("vectors"), name, arrays.get("probe"), cut)


def _chunks(rows: Any) -> list[Chunk]:
    if not isinstance(rows, list):
        raise ValueError("its chunks are not a list")
    for i, row in enumerate(rows):
        if not isinstance(row, list) or [type(value) for value in row] != [str, str, int]:
            raise ValueError(f"chunk {i} is not a text, a source and a number")
    return [Chunk(*row) for row in rows]
