"""python -m benchmarks prepare: MB/s of each stage of `tinygrad-llm prepare`, and a whole run.

Seconds are processor time of one process. The texts are those that every machine has: the sources
of Python's standard library as plain text, and the language reference. --corpora instead prepares
all free texts that are found here, in one process and in two, compares the bytes and prints what
was left out.
"""

from __future__ import annotations

import hashlib
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm import text as texts
from tinygrad_llm.data import corpora
from tinygrad_llm.data.free_texts import find_free_texts, python_files
from tinygrad_llm.data.preparation.encoding import decode
from tinygrad_llm.data.preparation.minhash import signatures
from tinygrad_llm.data.preparation.pipeline import CHANGES, FILTERS, cut, hash_of, paragraphs_of
from tinygrad_llm.data.preparation.repeats import decide_repeats
from tinygrad_llm.data.preparation.run import Preparation
from tinygrad_llm.data.preparation.settings import Settings
from tinygrad_llm.data.preparation.shingles import shingles_of
from tinygrad_llm.data.preparation.work import Job, run_pass
from tinygrad_llm.text.trainers.kinds import train_largest

from . import common, machine

_NAMED = ("tinyshakespeare", "the-verdict", "enja-train.en", "enja-train.ja")


def plain_texts(most: float) -> list[bytes]:
    """The files of the speed measurement."""
    library = python_files(Path(sysconfig.get_path("stdlib")), most)
    return [corpora.load().text.encode(), *(file.read_bytes() for file in library)]


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """(least processor time, result)."""
    best, result = float("inf"), None
    for _ in range(repeats):
        began = time.process_time()
        result = function()
        best = min(best, time.process_time() - began)
    return best, result


def each_of(function: Callable[[str], Any], rows: list[str]) -> list[Any]:
    """The function of each row."""
    return [function(row) for row in rows]


def stages(data: list[bytes], repeats: int) -> dict[str, float]:
    """Seconds of each stage, and of each kind of tokenizer."""
    settings = Settings(scrub=True, languages="en")
    seconds: dict[str, float] = {}
    seconds["decode"], rows = timed(lambda: [decode(d)[0] or "" for d in data], repeats)
    for stage in CHANGES:
        name = stage.name + (" (off unless asked for)" if stage.name == "scrub" else "")
        seconds[name], changed = timed(partial(each_of, stage.change, rows), repeats)
        rows = rows if stage.name == "scrub" else changed
    most = settings.most_characters
    seconds["cut"], pieces = timed(lambda: [p for row in rows for p in cut(row, most)], repeats)
    for each in FILTERS:
        seconds[f"filter: {each.name}"], _ = timed(
            partial(each_of, partial(each.refuses, s=settings), pieces), repeats
        )
    groups = [pieces[i : i + 40] for i in range(0, len(pieces), 40)]
    seconds["shingles"], runs = timed(lambda: [shingles_of(group) for group in groups], repeats)
    seconds["MinHash"], _ = timed(lambda: [signatures(*pair) for pair in runs], repeats)
    seconds["repetition"], _ = timed(lambda: [np.sort(pair[0]) for pair in runs], repeats)
    seconds["hashes of paragraphs"], _ = timed(
        lambda: [hash_of(p) for piece in pieces for p in paragraphs_of(piece) if len(p) >= 80],
        repeats,
    )
    learned = train_largest("bpe", "".join(pieces[::7])[:2_000_000], 4096)
    kinds = {"char": texts.CharTokenizer.train("".join(pieces)), "bpe, 4,096": learned}
    try:
        kinds["gpt2"] = texts.GPT2Tokenizer()
    except (ImportError, OSError):
        print("GPT-2's tokenizer is not here: left out")
    for name, kind in kinds.items():
        seconds[f"tokens: {name}"], _ = timed(
            lambda t=kind: [t.encode_to_array(p, disallowed_special=()) for p in pieces], repeats
        )
    return seconds


def whole(data: list[bytes], tokenizer: str) -> float:
    """Processor seconds of a run in this process, without the training of the tokenizer."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "texts")
        folder.mkdir()
        for i, each in enumerate(data):
            (folder / f"{i:05}.txt").write_bytes(each)
        p = Preparation(folder, Path(place, "out"), Settings(tokenizer=tokenizer, vocab_size=4096))
        p.store.work.mkdir(parents=True)
        job = Job(p.folder, p.out, p.units, p.settings)
        began = time.process_time()
        run_pass("clean", job, 1, lambda done, of: None)
        decide_repeats(p.store, len(p.units), p.settings)
        seconds = time.process_time() - began
        p._tokenizer()
        began = time.process_time()
        run_pass("tokenize", job, 1, lambda done, of: None)
        return seconds + time.process_time() - began


def gather(folder: Path, extra: Path | None) -> dict[str, int]:
    """Copy all free texts into a folder; bytes of each source."""
    sizes: dict[str, int] = {}

    def add(name: str, file: str, data: bytes) -> None:
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sizes[name] = sizes.get(name, 0) + len(data)

    there, missing = find_free_texts()
    for source, files in there.items():
        for name, data in files:
            add(source.name, name, data)
    print("\n".join(missing))
    for name in _NAMED:
        try:
            add("data sets", f"{name}.txt", corpora.path(name).read_bytes())
        except OSError:
            print(f"{name} is not here: left out")
    for file in sorted(extra.rglob("*")) if extra else ():
        if file.is_file():
            add(extra.name, str(file.relative_to(extra)), file.read_bytes())  # type: ignore[union-attr]
    return sizes


def all_corpora(extra: Path | None, tokenizer: str) -> dict[str, Any]:
    """Prepare all texts in one process and in two; the counts, and whether the bytes are equal."""
    place = Path(tempfile.mkdtemp())
    try:
        sizes = gather(place / "texts", extra)
        print("\n| texts | MB |\n|---|---|")
        for name, size in sizes.items():
            print(f"| {name} | {size / 1e6:.2f} |")
        digests, seconds, manifest = [], [], {}
        for n in (1, 2):
            began = time.perf_counter()
            settings = Settings(tokenizer=tokenizer, vocab_size=8192)
            manifest = Preparation(place / "texts", place / f"out{n}", settings).run(n)
            seconds.append(time.perf_counter() - began)
            digest = hashlib.sha256()
            for path in sorted((place / f"out{n}").iterdir()):
                digest.update(path.name.encode() + path.read_bytes())
            digests.append(digest.hexdigest())
        manifest.pop("shards")
        same = "equal" if digests[0] == digests[1] else "DIFFERENT"
        print(f"\n1 process {seconds[0]:.1f} s, 2 processes {seconds[1]:.1f} s; bytes are {same}")
        for name in ("read", "left_out", "repeated_paragraphs", "train", "val"):
            print(f"{name}: {manifest[name]}")
        return {"sizes": sizes, "times": seconds, "manifest": manifest, "sha256": digests}
    finally:
        shutil.rmtree(place)


def main(argv: list[str] | None = None) -> Any:
    parser = common.parser("prepare", __doc__)
    parser.add_argument("--megabytes", type=float, default=8.0, help="of text [8]")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--corpora", action="store_true", help="prepare all free texts here")
    parser.add_argument("--texts", type=Path, help="of --corpora: one more folder of texts")
    parser.add_argument("--tokenizer", default="gpt2")
    options = parser.parse_args(argv)
    print(machine.describe(), flush=True)
    if options.corpora:
        return all_corpora(options.texts, options.tokenizer)
    data = plain_texts(options.megabytes * 1e6)
    size = sum(map(len, data))
    seconds = stages(data, options.repeats)
    print(f"{size / 1e6:.1f} MB of plain text, processor time of one process\n")
    print("| stage | ms per MB | MB/s |\n|---|---|---|")
    for name, each in seconds.items():
        print(f"| {name} | {each / size * 1e9:.1f} | {size / max(each, 1e-9) / 1e6:,.0f} |")
    for tokenizer in ("char", "bpe", *(["gpt2"] if "tokens: gpt2" in seconds else [])):
        each = whole(data, tokenizer)
        seconds[f"all, {tokenizer}"] = each
        print(f"| **all, {tokenizer}** | {each / size * 1e9:.1f} | {size / each / 1e6:.1f} |")
    return {"bytes": size, "seconds": seconds}
