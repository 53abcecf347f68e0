"""What a preparation will cost, measured on a sample of its files; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ...text import TRAINED_KINDS, CharTokenizer, GPT2Tokenizer, Tokenizer, from_pretrained
from ...text.trainers.kinds import train_largest
from .formats import documents_in
from .pipeline import changed, cut, looked_at, refused
from .run import Preparation
from .sources import Source, Unit
from .tokens import LEARN_FROM, dtype_for

__all__ = ["Plan", "make_plan"]

_SAMPLE = 1 << 20  # characters of text
_UNPACKED = {"": 1.0, "gz": 3.0, "zst": 3.5}  # bytes of text for a byte of a file, about


@dataclass
class Plan:
    """What was counted, and estimates from a sample; sizes in bytes, speeds in bytes per second."""

    files: int
    bytes: int
    units: int
    cleaning: float
    tokenizing: float
    seconds: float
    tokens: float
    shard_bytes: float
    work_bytes: float
    kept: float

    def __str__(self) -> str:
        speed = 1.0 / (1.0 / self.cleaning + 1.0 / self.tokenizing)
        return (
            f"files        {self.files:,}, {self.bytes / 1e6:,.1f} MB, in {self.units:,} units\n"
            f"speed        {speed / 1e6:.1f} MB/s per process: cleaning {self.cleaning / 1e6:.1f},"
            f" tokenizing {self.tokenizing / 1e6:.1f} MB/s\n"
            f"time         about {_time(self.seconds)}\n"
            f"tokens       about {self.tokens / 1e6:,.2f} million, if {self.kept:.0%} of the text "
            "stays, as in the sample (repeats go too)\n"
            f"disk         about {self.shard_bytes / 1e6:,.1f} MB for the shards, and "
            f"{self.work_bytes / 1e6:,.1f} MB while it works"
        )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def make_plan(preparation: Preparation, processes: int = 1) -> Plan:
    """The plan; the sample is read, cleaned and tokenized here. Training a tokenizer is guessed.

    Raises: ValueError if the sample has no texts, or the tokenizer cannot be made.
    """
    p = preparation
    began = time.perf_counter()
    read, kept = _sample(p)
    cleaning = time.perf_counter() - began
    if not kept:
        raise ValueError(f"nothing is left of the first texts in {p.folder}")
    began = time.perf_counter()
    tokenizer, learned = _tokenizer(p, kept)
    learning = time.perf_counter() - began
    began = time.perf_counter()
    n_tokens = sum(len(tokenizer.encode_to_array(text, disallowed_special=())) for text in kept)
    tokenizing = max(time.perf_counter() - began, 1e-6)
    kept_bytes = sum(len(text.encode("utf-8", "replace")) for text in kept)
    text_bytes = sum(source.size * _UNPACKED[source.packed] for source in p.sources)
    share = kept_bytes / read
    tokens = n_tokens / kept_bytes * text_bytes * share
    speed_clean, speed_tokens = read / cleaning, kept_bytes / tokenizing
    seconds = text_bytes / speed_clean + text_bytes * share / speed_tokens
    if learned:
        seconds += processes * learning * min(LEARN_FROM, text_bytes) / kept_bytes
    width = dtype_for(tokenizer.vocab_size).itemsize
    return Plan(
        len(p.sources), p.n_bytes, len(p.units), speed_clean, speed_tokens,
        seconds / min(processes, len(p.units)), tokens, tokens * width, text_bytes * share * 1.2,
        min(1.0, share),
    )  # fmt: skip


def _sample(p: Preparation) -> tuple[int, list[str]]:
    """(bytes of text that were read, the documents that are left of them), from all over."""
    read, kept, waiting = 0, [], []
    step = max(1, len(p.units) // 8)
    for unit, source in ((u, s) for u in p.units[::step] for s in _few(u)):
        ignore = [].append  # type: ignore[var-annotated]
        for text in documents_in(p.folder, source, unit.begin, unit.end, p.settings, ignore):
            read += len(text.encode("utf-8", "replace"))
            documents = cut(changed(text, p.settings), p.settings.most_characters)
            waiting += [d for d in documents if not refused(d, p.settings)]
            if sum(map(len, waiting)) > _SAMPLE // 8:
                break
        if sum(map(len, waiting)) > _SAMPLE // 8:
            kept += looked_at(waiting, p.settings).texts
            waiting = []
        if read > _SAMPLE:
            break
    kept += looked_at(waiting, p.settings).texts if waiting else []
    return max(1, read), kept


def _few(unit: Unit) -> tuple[Source, ...]:
    return unit.sources[:: max(1, len(unit.sources) // 50)]


def _tokenizer(p: Preparation, texts: list[str]) -> tuple[Tokenizer, bool]:
    """A tokenizer of the kind, and whether it is learned from the texts."""
    kind = p.settings.tokenizer
    try:
        if kind == "char":
            return CharTokenizer(sorted(set("".join(texts)))), False
        if kind in TRAINED_KINDS:
            return train_largest(kind, texts, p.settings.vocab_size), True
        return (GPT2Tokenizer() if kind == "gpt2" else from_pretrained(kind)), False
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"`tokenizer`: {error}") from error
