"""The BPE tokenizer: training against the textbook loop, encoding against tiktoken.

    python -m benchmarks tokenizer                 everything: about a quarter of an hour
    python -m benchmarks tokenizer --merges 50     fewer merges: quick, and a smaller ratio

Training is measured from the text to the merges, with the cutting into pieces, in both. The
textbook loop (text/textbook.py) runs twice: over every word of the text, and over each different
word once with its count, which is half of our method already. All find the same merges.

Encoding uses the trained vocabulary in all, first with an empty word cache, then with a filled
one; "published" is the same vocabulary as a model's tokenizer.json describes it. Everything here
runs in one thread, and seconds are processor time, which other processes on the machine change
little. Runs that are compared alternate; of several runs the median counts.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tinygrad_llm.data import corpora
from tinygrad_llm.text import BPETokenizer, PipelineTokenizer
from tinygrad_llm.text.letters import spell
from tinygrad_llm.text.merges import Pair
from tinygrad_llm.text.split import count_pieces, split
from tinygrad_llm.text.textbook import join, textbook_merges

from . import common, machine


def counted_merges(counts: dict[bytes, int], n_merges: int, min_count: int = 2) -> list[Pair]:
    """The textbook loop over different words with their counts (Sennrich et al. 2016)."""
    rows = [(list(word), n) for word, n in counts.items()]
    merges: list[Pair] = []
    while len(merges) < n_merges:
        totals: Counter[Pair] = Counter()
        for row, n in rows:
            for pair in pairwise(row):
                totals[pair] += n
        best = min(totals, key=lambda pair: (-totals[pair], pair))
        if totals[best] < min_count:
            break
        rows = [(join(row, best, 256 + len(merges)), n) for row, n in rows]
        merges.append(best)
    return merges


def by_rounds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of processor time; in every round each of them runs once."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def measure_training(
    text: str, n_merges: int, rounds: int, slow: bool
) -> tuple[BPETokenizer, dict[str, float]]:
    """Print the training times and ratios; return the trained tokenizer and the seconds."""
    merges: dict[str, list[Pair]] = {}

    def ours() -> None:
        merges["ours"] = BPETokenizer.train(text, 256 + n_merges, special_tokens=()).merges

    def counted() -> None:
        words = {piece.encode(): n for piece, n in count_pieces(text).items()}
        merges["counted"] = counted_merges(words, n_merges)

    def textbook() -> None:
        merges["textbook"] = textbook_merges((piece.encode() for piece in split(text)), n_merges)

    print(f"training, {n_merges} merges:")
    fast = by_rounds({"ours": ours}, rounds)["ours"]
    times = {"training, ours": fast}
    row("ours", fast)
    slow_runs = {"textbook, each word once": counted}
    if slow:
        slow_runs["textbook, whole text"] = textbook
    for name, run in slow_runs.items():
        seconds = times[name] = by_rounds({name: run}, 1)[name]
        row(name, seconds, f"{seconds / fast:6.0f} times ours")
    row("ours, again", by_rounds({"ours": ours}, rounds)["ours"])
    assert all(pairs == merges["ours"] for pairs in merges.values()), "the merges differ"
    print(f"  the merges are the same ({len(merges['ours'])})\n")
    return BPETokenizer(merges["ours"]), times


def published(tokenizer: BPETokenizer) -> PipelineTokenizer:
    """The same merges, as the tokenizer.json of a published model describes them."""
    tokens = [spell(tokenizer.token_bytes(i)) for i in range(256 + len(tokenizer.merges))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return PipelineTokenizer(
        {
            "model": {
                "type": "BPE",
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": [[tokens[left], tokens[right]] for left, right in tokenizer.merges],
            },
            "pre_tokenizer": level,
            "decoder": level,
        }
    )


def measure_encoding(text: str, tokenizer: BPETokenizer, rounds: int) -> dict[str, float]:
    """Print and return the seconds of encoding the text, as list and array, against tiktoken."""
    encoding = tokenizer.to_tiktoken()
    n_tokens = len(tokenizer.encode(text))
    assert encoding.encode_ordinary(text) == tokenizer.encode(text), (
        "the ids differ from tiktoken's"
    )

    as_published = published(tokenizer)
    assert as_published.encode(text) == tokenizer.encode(text), "a published file's ids differ"

    def cold() -> None:
        BPETokenizer(tokenizer.merges).encode(text)

    def cold_published() -> None:
        as_published._cache.clear()
        as_published.encode(text)

    times = by_rounds(
        {
            "tiktoken, list": lambda: encoding.encode_ordinary(text),
            "ours, list, new tokenizer": cold,
            "ours, list": lambda: tokenizer.encode(text),
            "published, list, empty cache": cold_published,
            "published, list": lambda: as_published.encode(text),
            "tiktoken, array": lambda: encoding.encode_to_numpy(text),
            "ours, array": lambda: tokenizer.encode_to_array(text),
        },
        rounds,
    )
    size = len(text.encode())
    print(f"encoding with that vocabulary ({n_tokens:,} tokens, {size / n_tokens:.2f} bytes each):")
    for name, seconds in times.items():
        base = times["tiktoken, array" if "array" in name else "tiktoken, list"]
        ratio = "" if "tiktoken" in name else f"{seconds / base:6.2f} times tiktoken's time"
        row(name, seconds, f"{size / seconds / 1e6:6.1f} MB/s {ratio}")
    print("  the ids are the same\n")
    return times


def row(name: str, seconds: float, note: str = "") -> None:
    print(f"  {name:28} {seconds:9.3f} s  {note}".rstrip(), flush=True)


def main(argv: Iterable[str] | None = None) -> dict[str, Any]:
    parser = common.parser("tokenizer", __doc__)
    parser.add_argument("--corpus", default="tinyshakespeare", help="name or path of a text")
    parser.add_argument("--merges", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7, help="runs of the quick parts")
    parser.add_argument(
        "--skip-textbook", action="store_true", help="without the loop over the whole text"
    )
    options = parser.parse_args(None if argv is None else list(argv))
    corpus = corpora.load(options.corpus)
    print(machine.describe())
    print(f"{corpus.name}: {corpus.n_bytes:,} bytes, from {Path(corpus.source).name}\n")
    tokenizer, times = measure_training(
        corpus.text, options.merges, options.rounds, not options.skip_textbook
    )
    times |= measure_encoding(corpus.text, tokenizer, options.rounds)
    return {"corpus": corpus.name, "merges": options.merges, "seconds": times}


if __name__ == "__main__":
    main()
