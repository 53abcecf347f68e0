"""A preparation from beginning to end: plan it, run it, resume it after it was interrupted.

Preparation("texts", "shards", Settings(tokenizer="gpt2")).run(processes=2)
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...files.atomic import atomic_write
from ...files.json_files import json_bytes, read_json, read_json_object, write_json
from ...files.paths import local_path
from ...text import Tokenizer, load_tokenizer
from ..shards import FORMAT, VERSION
from .formats import check_packages
from .repeats import decide_repeats
from .settings import Settings
from .sources import find_sources, unit_bytes, units_of
from .store import Store
from .tokens import PARTS, check_tokenizer, dtype_for, end_token, make_tokenizer
from .work import Job, run_pass

__all__ = ["Preparation"]

Progress = Callable[[str, int, int], None]


class Preparation:
    """The texts of a folder become shards of tokens in another folder.

    folder: files in txt, md, rst, py, html and jsonl, also packed as gz or zst; out: a folder that
    is new, empty, or holds an interrupted preparation of the same files with the same settings.
    The bytes of the results depend on names and contents of the files and on the settings alone.
    Raises: ValueError for settings that are not allowed, no files, or a folder that holds something
    else; FileNotFoundError or NotADirectoryError for a folder that is not there; ImportError for a
    package that is missing.
    """

    def __init__(
        self, folder: str | Path, out: str | Path, settings: Settings = Settings()
    ) -> None:
        settings.check()
        self.settings = settings
        self.folder, self.out = local_path(folder), local_path(out)
        self.sources, self.skipped = find_sources(self.folder, self.out)
        if not self.sources:
            what = ", ".join(f"{n:,} × {name}" for name, n in self.skipped.most_common(3))
            raise ValueError(
                f"{self.folder} holds no files in txt, md, rst, py, html or jsonl (gz, zst)"
                + (f", only {what}" if what else "")
            )
        check_packages(self.sources, settings.repair)
        self.named_sources = self._named_sources()
        self.unit_bytes = unit_bytes(self.sources)
        self.units = units_of(self.sources, self.unit_bytes)
        self.store = Store(self.out)
        self.troubles: list[str] = []  # after run: a line for each thing that could not be read
        self._check_out()

    @property
    def n_bytes(self) -> int:
        """The size of all files."""
        return sum(source.size for source in self.sources)

    @property
    def finished(self) -> bool:
        """Whether all is done: the manifest is written last."""
        return (self.out / "manifest.json").exists()

    def _description(self) -> dict[str, Any]:
        """What must be the same for going on."""
        files = [
            [*source, (self.folder / source.path).stat().st_mtime_ns] for source in self.sources
        ]
        settings: dict[str, Any] = json.loads(json_bytes(self.settings.stored()))
        return {"settings": settings, "unit_bytes": self.unit_bytes, "files": files}

    def _check_out(self) -> None:
        """Raises: ValueError if the folder of the results holds something else."""
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise ValueError(f"`out`: {self.out} is not a folder")
        description = self.store.work / "units.json"
        if self.finished:
            manifest = read_json_object(self.out / "manifest.json")
            if manifest.get("format") == FORMAT:
                shutil.rmtree(self.store.work, ignore_errors=True)  # a kill may have left it
                raise ValueError(
                    f"`out`: {self.out} holds a finished preparation; take another folder, or "
                    "delete it"
                )
        if description.exists():
            before, now = read_json_object(description), self._description()
            changed = [name for name in now if before.get(name) != now[name]]
            if changed:
                raise ValueError(
                    f"`out`: {self.out} holds a preparation that was interrupted, with other "
                    f"{' and '.join(name.replace('_', ' ') for name in changed)}; continue with "
                    "those, take another folder, or delete it"
                )
        elif any(
            path.name != "work" or any(map(_shown, path.iterdir()))
            for path in filter(_shown, self.out.iterdir())
        ):  # hidden ones are the lock, and what a kill left of units.json
            raise ValueError(f"`out`: {self.out} is not empty; take a new folder")

    def run(self, processes: int = 1, progress: Progress = lambda name, done, of: None) -> dict:
        """Does what is not done yet; returns the manifest.

        progress: called with the name of a pass and how many units of how many are done
        Raises: PreparationError or OSError if a pass could not end; ValueError if nothing is left
        of the texts, or for a tokenizer that cannot be made.
        """
        if processes < 1:
            raise ValueError(f"`processes` must be at least 1, got {processes}")
        if not (self.out / "tokenizer.json").exists():
            with _blamed():
                check_tokenizer(self.settings)
        self.store.work.mkdir(parents=True, exist_ok=True)
        self.store.remove_parts()
        if not (self.store.work / "units.json").exists():
            write_json(self.store.work / "units.json", self._description())
        job = Job(self.folder, self.out, self.units, self.settings)
        run_pass("clean", job, processes, lambda done, of: progress("clean", done, of))
        self.troubles = self._troubles()
        decide_repeats(self.store, len(self.units), self.settings)
        tokenizer = self._tokenizer()
        run_pass("tokenize", job, processes, lambda done, of: progress("tokenize", done, of))
        manifest = self._manifest(tokenizer)
        with atomic_write(self.out / "sources.jsonl") as file:
            for n in range(len(self.units)):
                for row in self.store.facts(n)["rows"]:
                    file.write(json_bytes(row) + b"\n")
        write_json(self.out / "manifest.json", manifest)
        shutil.rmtree(self.store.work, ignore_errors=True)
        return manifest

    def _troubles(self) -> list[str]:
        lines = []
        for n in range(len(self.units)):
            facts = self.store.facts(n)
            lines += facts["troubles"]
            if facts["more_troubles"]:
                lines.append(f"... and {facts['more_troubles']:,} more of this kind")
        return lines

    def _tokenizer(self) -> Tokenizer:
        """The tokenizer, which is made once and then read from the folder.

        Raises: ValueError if nothing is left of the texts, or it cannot be made.
        """
        path = self.out / "tokenizer.json"
        if path.exists():
            return load_tokenizer(path)
        if not any(self.store.facts(n)["bytes"] for n in range(len(self.units))):
            left_out = ", ".join(f"{name} {n:,}" for name, n in self._left_out().items())
            raise ValueError(
                f"nothing is left of the texts in {self.folder}: left out were {left_out or 'none'}"
                + (f"; {self.troubles[0]}" if self.troubles else "")
            )
        with _blamed():
            made = make_tokenizer(self.store, len(self.units), self.settings)
        made.save(path)
        return load_tokenizer(path)

    def _left_out(self) -> dict[str, int]:
        """How many documents each filter left out."""
        counts: Counter[str] = Counter()
        for n in range(len(self.units)):
            for row in self.store.facts(n)["rows"]:
                counts.update(row["left_out"])
        return dict(sorted(counts.items()))

    def _manifest(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """All counts, hashes and settings.

        Raises: ValueError if nothing is left of the texts, or sources.json is something else.
        """
        shards: dict[str, list[Any]] = {part: [] for part in PARTS}
        documents = read = troubles = 0
        for n in range(len(self.units)):
            facts = self.store.facts(n, "tokens.json")
            for part in PARTS:
                if facts[part]:
                    shards[part].append(facts[part])
            cleaned = self.store.facts(n)
            documents += sum(row["documents"] for row in cleaned["rows"])
            read += sum(row["texts"] for row in cleaned["rows"])
            troubles += len(cleaned["troubles"]) + cleaned["more_troubles"]
        if not shards["train"]:
            raise ValueError(f"nothing is left of the texts in {self.folder} for training")
        repeats = read_json_object(self.store.work / "kept.json")
        kept = sum(shard["documents"] for part in PARTS for shard in shards[part])
        totals = {
            part: {name: sum(shard[name] for shard in shards[part])
                   for name in ("tokens", "documents", "characters", "bytes")}
            for part in PARTS
        }  # fmt: skip
        return {
            "format": FORMAT, "version": VERSION,
            "dtype": dtype_for(tokenizer.vocab_size).name, "vocab_size": tokenizer.vocab_size,
            "end": end_token(tokenizer), "settings": self.settings.stored(),
            "read": {"files": len(self.sources), "bytes": self.n_bytes, "texts": read,
                     "documents": documents, "could_not_be_read": troubles,
                     "not_looked_at": dict(sorted(self.skipped.items()))},
            "left_out": {**self._left_out(), "equal": repeats["equal"], "near": repeats["near"],
                         "only_repeated_paragraphs": documents - kept - repeats["equal"]
                         - repeats["near"] - sum(self._left_out().values())},
            "repeated_paragraphs": repeats["paragraphs"],
            **totals, "shards": shards, "sources": self.named_sources,
        }  # fmt: skip

    def _named_sources(self) -> list[dict[str, str]]:
        """Names and licences of the texts, as sources.json in their folder says them.

        Raises: ValueError if it holds something else.
        """
        path = self.folder / "sources.json"
        rows = read_json(path) if path.is_file() else []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} should be a list of objects with name and licence")
        names = ("name", "licence", "description")
        return [{name: str(row.get(name, "")) for name in names} for row in rows]


@contextmanager
def _blamed() -> Iterator[None]:
    """What is wrong with a tokenizer names the setting.

    Raises: ValueError for what was raised inside.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"`tokenizer`: {error}") from error


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")
