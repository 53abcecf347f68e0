"""Shards of tokens, as `tinygrad-llm prepare` writes them, read piece by piece.

    shards = Shards("shards")
    shards.row("train")[10**9 : 10**9 + 1024]       # tokens, wherever they lie
    shards.documents("train")[7]                    # where document 7 begins and ends

Files are read at the places that are asked for. They could be mapped into memory too, but every
page of a map that was looked at counts as this process's memory as long as it stays there.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..files.json_files import read_json_object
from ..files.paths import local_path
from ..files.untrusted import describe

__all__ = ["FORMAT", "VERSION", "DocumentEnds", "Shards", "TokenRow"]

FORMAT, VERSION = "tinygrad_llm shards", 1
_NAME = re.compile(r"(train|val)-\d{5,9}\.bin")
_OPEN = 32  # files that stay open


class _Files:
    """Numbers of one type in several files, as one row; a few files stay open."""

    def __init__(self, paths: list[Path], lengths: list[int], dtype: np.dtype) -> None:
        self.paths, self.dtype = paths, dtype
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, begin: int, end: int) -> np.ndarray:
        """The numbers begin … end: (end − begin).

        Raises: ValueError if a file has become shorter.
        """
        parts = []
        while begin < end:
            number = int(np.searchsorted(self.starts, begin, "right")) - 1
            stop = min(end, int(self.starts[number + 1]))
            parts.append(self._read(number, begin - int(self.starts[number]), stop - begin))
            begin = stop
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def _read(self, number: int, begin: int, count: int) -> np.ndarray:
        file = self._open.pop(number, None)
        if file is None:
            if len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            file = open(self.paths[number], "rb", buffering=0)
        self._open[number] = file
        file.seek(begin * self.dtype.itemsize)
        values = np.empty(count, self.dtype)
        view = memoryview(values.view(np.uint8))  # type: ignore[arg-type]
        while view.nbytes:
            n = file.readinto(view)  # type: ignore[attr-defined]
            if not n:
                raise ValueError(f"{self.paths[number]} is shorter than its manifest says")
            view = view[n:]
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


class TokenRow:
    """All tokens of one part, training or validation, as one long row that lies in files.

    It has what batches ask of a row: a length, a dtype and slices. Every token is looked at when it
    is read.
    """

    ndim = 1

    def __init__(self, files: _Files, vocab_size: int) -> None:
        self.files, self.vocab_size, self.dtype = files, vocab_size, files.dtype

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: slice) -> np.ndarray:
        """The tokens of a slice with a step of 1.

        Raises: ValueError if there is a token in it that the vocabulary does not have.
        """
        begin, end, step = place.indices(len(self))
        if step != 1:
            raise ValueError(f"a row of shards is read with a step of 1, got {step}")
        ids = self.files.read(begin, max(begin, end))
        if len(ids) and (most := int(ids.max())) >= self.vocab_size:
            raise ValueError(
                f"{self.files.paths[0].parent} is damaged: near place {begin:,} there is a token "
                f"{most}, and the vocabulary has {self.vocab_size:,}; prepare the texts again"
            )
        return ids


class DocumentEnds:
    """Where the documents of one part begin and end in its row of tokens."""

    def __init__(self, files: _Files, row: TokenRow) -> None:
        self.files, self.row = files, row

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[int, int]:
        """(place of the first token, place after the last) of document i.

        Raises: ValueError if the index is damaged.
        """
        starts, offsets = self.files.starts, self.row.files.starts
        shard = int(np.searchsorted(starts, i, "right")) - 1
        first = i == int(starts[shard])
        ends = self.files.read(i - (not first), i + 1).tolist()
        begin = 0 if first else ends[0]
        length = int(offsets[shard + 1] - offsets[shard])
        if not begin < ends[-1] <= length:
            raise ValueError(f"{self.files.paths[shard]} is damaged: prepare the texts again")
        return begin + int(offsets[shard]), ends[-1] + int(offsets[shard])


class Shards:
    """A folder of shards.

    manifest: what its manifest.json says; vocab_size; end: the token that ends a document, or None
    Raises: FileNotFoundError if there is no such folder or file; ValueError if they are not shards,
    or not as long as the manifest says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = local_path(folder)
        path = self.folder / "manifest.json"
        if not path.exists():
            what = (
                "does not exist"
                if not self.folder.exists()
                else (
                    "is still being prepared: the same command of prepare goes on"
                    if (self.folder / "work").is_dir()
                    else "holds no manifest.json of prepare"
                )
            )
            raise FileNotFoundError(f"{self.folder} {what}")
        self.manifest = read_json_object(path)
        if (self.manifest.get("format"), self.manifest.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{path} is not the manifest of shards (version {VERSION})")
        self.vocab_size = self._number("vocab_size", 1, 1 << 32)
        self.end = None if self.manifest.get("end") is None else (
            self._number("end", 0, self.vocab_size - 1))  # fmt: skip
        dtype = self.manifest.get("dtype")
        if dtype not in ("uint16", "uint32"):
            raise ValueError(f"{path}: dtype must be uint16 or uint32, got {describe(dtype)}")
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._rows: dict[str, TokenRow] = {}
        self._ends: dict[str, DocumentEnds] = {}
        for part in ("train", "val"):
            self._open(part)

    def _number(self, name: str, least: int, most: int) -> int:
        value = self.manifest.get(name)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"{self.folder / 'manifest.json'}: {name} must be a whole number from {least} to "
                f"{most}, got {describe(value)}"
            )
        return value

    def _open(self, part: str) -> None:
        """Looks at the files of a part.

        Raises: ValueError if a size is not that of the manifest, FileNotFoundError.
        """
        listed = self.manifest.get("shards")
        rows = listed.get(part) if isinstance(listed, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{self.folder / 'manifest.json'}: there is no list of {part} shards")
        paths, tokens, documents = [], [], []
        for row in rows:
            name, counts = row.get("file"), (row.get("tokens"), row.get("documents"))
            named = isinstance(name, str) and _NAME.fullmatch(name)
            if not named or not all(type(n) is int and 0 < n < 1 << 50 for n in counts):
                raise ValueError(
                    f"{self.folder / 'manifest.json'}: a shard is described by {describe(name)}, "
                    f"{describe(counts[0])} tokens and {describe(counts[1])} documents"
                )
            path = self.folder / name
            _check_size(path, counts[0] * self.dtype.itemsize)
            _check_size(path.with_suffix(".idx"), counts[1] * 8)
            paths.append(path)
            tokens.append(counts[0])
            documents.append(counts[1])
        row_of_tokens = TokenRow(_Files(paths, tokens, self.dtype), self.vocab_size)
        indexes = [path.with_suffix(".idx") for path in paths]
        self._rows[part] = row_of_tokens
        self._ends[part] = DocumentEnds(_Files(indexes, documents, np.dtype("<u8")), row_of_tokens)

    def row(self, part: str = "train") -> TokenRow:
        """All tokens of "train" or "val"."""
        return self._rows[part]

    def documents(self, part: str = "train") -> DocumentEnds:
        """The documents of "train" or "val"."""
        return self._ends[part]

    @property
    def named_sources(self) -> list[dict[str, str]]:
        """Names, licences and descriptions of the texts, where `prepare` found a sources.json.

        Raises: ValueError if the manifest holds something else there.
        """
        rows = self.manifest.get("sources", [])
        good = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        if not good or not all(isinstance(v, str) for row in rows for v in row.values()):
            raise ValueError(f"{self.folder / 'manifest.json'}: sources are {describe(rows)}")
        return rows

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer's file."""
        return self.folder / "tokenizer.json"


def _check_size(path: Path, size: int) -> None:
    there = os.stat(path).st_size
    if there != size:
        raise ValueError(
            f"{path} has {there:,} bytes and should have {size:,}: prepare the texts again"
        )
