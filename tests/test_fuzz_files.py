"""Every reader of files, fed with thousands of damaged files: a value, or an error of the package.

An error counts as the package's if it is raised by a `raise` in the package, is of a type that the
reader's docstring names, and is short. CI takes some thousand files, `-m slow` a hundred thousand.
"""

from __future__ import annotations

import io
import json
import linecache
import os
import random
import tempfile
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import tokenizer_files
from mutations import change_bytes, change_json

import tinygrad_llm as torch
from tinygrad_llm.finetune.files import class_names, number_labels, read_entries, read_labelled
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTConfig, load_gpt2, save_pretrained
from tinygrad_llm.optim import AdamW
from tinygrad_llm.study.exercises.progress import Progress
from tinygrad_llm.text import (
    BPETokenizer,
    CharTokenizer,
    SimpleTokenizer,
    load_tokenizer,
    train_bpe,
    train_unigram,
    train_wordpiece,
    write_sentencepiece,
)
from tinygrad_llm.training import StorageError, find_checkpoint, read_metrics, save_checkpoint
from tinygrad_llm.training.options import OptionError
from tinygrad_llm.training.presets import PretrainOptions
from tinygrad_llm.training.settings import read_config
from tinygrad_llm.weights import SafeTensorsError
from tinygrad_llm.weights import save as safetensors
from tinygrad_llm.weights.formats import gguf

PACKAGE = os.path.dirname(torch.__file__) + os.sep
SECONDS, BYTES, LETTERS = 20.0, 500e6, 3000  # of one file: time (5 s on a quiet machine), memory
X = np.arange(6, dtype=np.float32).reshape(2, 3)
CONFIG = GPTConfig(11, 4, 8, 2, 1, 0.0)


def ends_well(call, errors, what):
    """Run the call: it must end soon, in little memory, with a value or one of these errors."""
    tracemalloc.start()
    begin = time.process_time()  # other programs do not count
    try:
        call()
    except errors as error:
        last = error.__traceback__
        while last.tb_next is not None:
            last = last.tb_next
        file, line = last.tb_frame.f_code.co_filename, last.tb_lineno
        source = "".join(linecache.getline(file, n) for n in range(line, line + 3))
        ours = file.startswith(PACKAGE) and "raise" in source
        assert ours or isinstance(error, OSError), f"{what}: {error!r} comes from {file}:{line}"
        assert len(str(error)) < LETTERS, f"{what}: {str(error)[:200]}"
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}"[:600]) from error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - begin < SECONDS and peak < BYTES, what


# ------------------------------------------------------------------ the readers and whole files
def saved_file() -> bytes:
    buffer = io.BytesIO()
    value = {
        "w": torch.from_numpy(X.copy()),
        "p": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "n": np.arange(3),
        "rest": [1, -2.5, "text", b"bytes", None, True, (1, 2), {3, 4}, torch.Size([1]), 1j],
        "o": OrderedDict(a=torch.device("cpu"), b=torch.float16),
    }
    torch.save(value, buffer)
    return buffer.getvalue()


def new_code(data: bytes, rng) -> bytes:
    """A file of torch.save whose byte code is damaged, with the right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            raw = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                raw = change_bytes(raw, rng)
            new.writestr(entry.filename, raw)
    return buffer.getvalue()


def new_header(data: bytes, rng) -> bytes:
    """A safetensors file whose header is damaged as JSON, with the right length."""
    n = int.from_bytes(data[:8], "little")
    text = change_json(data[8 : 8 + n].decode(), rng).encode("utf-8", "replace")
    return len(text).to_bytes(8, "little") + text + data[8 + n :]


def load(data: bytes):
    return torch.load(io.BytesIO(data))


def first_form() -> bytes:
    def kind(of, **fields):
        return {"$dict": [["$type", of], *([name, value] for name, value in fields.items())]}

    structure = {
        "w": kind("Tensor", name="w", requires_grad=True),
        "s": kind("set", items=[1, 2]),
        "o": kind("OrderedDict", items=[["a", {"$bytes": "00"}], [2, {"$float": "nan"}]]),
        "c": kind("complex", real=1.0, imag=2.0),
        "z": kind("Size", items=[1, 2]),
        "t": {"$tuple": [1, kind("dtype", name="float32"), kind("device", name="cpu")]},
    }
    return safetensors({"w": X}, {"tinygrad_llm.structure": json.dumps(structure)})


def new_structure(data: bytes, rng) -> bytes:
    """A file of save's first form whose structure is damaged as JSON."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    text = header["__metadata__"]["tinygrad_llm.structure"]
    return safetensors({"w": X}, {"tinygrad_llm.structure": change_json(text, rng)})


def gguf_file() -> bytes:
    metadata = {"a.b": "text", "n": 5, "list": ["x", "yy"], "numbers": [1, 2], "f": 0.5}
    rows = np.arange(64, dtype=np.float32).reshape(2, 32)
    with tempfile.TemporaryDirectory() as folder:
        tensors = gguf.pending({"w": rows, "q": rows}, ["F32", "Q4_1"])
        return gguf.write(Path(folder) / "a.gguf", metadata, tensors).read_bytes()


def use_gguf(data: bytes):
    file = gguf.GGUFFile.from_bytes(data)
    return dict(file.metadata), dict(file)


BYTES_READERS = {
    "torch.save, any byte": (saved_file, change_bytes, load),
    "torch.save, its byte code": (saved_file, new_code, load),
    "safetensors, any byte": (lambda: safetensors({"w": X, "n": X[0]}), change_bytes, load),
    "safetensors, its header": (
        lambda: safetensors({"w": X, "n": X[0]}, {"format": "pt"}), new_header, load,
    ),
    "the first form, its structure": (first_form, new_structure, load),
    "GGUF, any byte": (gguf_file, change_bytes, use_gguf),
}  # fmt: skip


@pytest.mark.parametrize("reader", BYTES_READERS)
def test_damaged_bytes(reader, count):
    make, change, read = BYTES_READERS[reader]
    whole = make()
    read(whole)
    for seed in range(count):
        data = change(whole, random.Random(seed))
        ends_well(lambda: read(data), (RuntimeError, gguf.GGUFError), f"{reader}, seed {seed}")  # noqa: B023


TEXT = "the cat sat on the mat, and the dog? It's there -- again. " * 5
ROWS = [{"instruction": "say a", "input": "", "output": "a", "text": "b", "label": "c"},
        {"instruction": "say d", "input": "x", "output": "d", "text": "e", "label": 1}]  # fmt: skip
SPECIAL = {"<|endoftext|>"}


def tokenizer(kind):
    def write(folder: Path) -> Path:
        made = {
            "bpe": lambda: BPETokenizer.train(TEXT, 270),
            "char": lambda: CharTokenizer.train(TEXT),
            "words": lambda: SimpleTokenizer.train(TEXT),
            "unigram": lambda: train_unigram(TEXT, 330),
            "wordpiece": lambda: train_wordpiece(TEXT, 40, around=("[CLS]", "[SEP]")),
            "japanese": japanese_words,
        }[kind]()
        made.save(folder / "tokenizer.json")
        return folder / "tokenizer.json"

    return write


def japanese_words():
    pytest.importorskip("fugashi")
    return train_bpe(TEXT, 300, words="mecab")


def trained_model(folder: Path) -> Path:
    write_sentencepiece(train_unigram(TEXT, 330), folder / "tokenizer.model")
    return folder / "tokenizer.model"


def use_tokenizer(path: Path):
    made = load_tokenizer(path)
    made.decode(made.encode("the cat")[:1])


def entries(suffix):
    def write(folder: Path) -> Path:
        path = folder / f"rows.{suffix}"
        if suffix == "json":
            path.write_text(json.dumps(ROWS))
        elif suffix == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        else:
            mark = "," if suffix == "csv" else "\t"
            lines = [("text", "label"), ('"a ""b"" c"', "x"), ("d e", "y"), ("f", "10")]
            path.write_text("".join(mark.join(line) + "\n" for line in lines))
        return path

    return write


def labelled(path: Path):
    rows = read_labelled(path)
    number_labels(rows, class_names(rows))


def adapter(folder: Path) -> Path:
    model = GPT(CONFIG)
    lora.add(model, rank=2, names=["qkv"])
    return lora.save(model, folder / "adapter") / "adapter_config.json"


def checkpoint(name):
    def write(folder: Path) -> Path:
        model = GPT(CONFIG)
        optimizer = AdamW(model.parameters())
        config = {"model": {"class": "GPT", "config": {**CONFIG.__dict__}}, "seed": 1}
        state = {"optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
        return save_checkpoint(folder / "checkpoints", 5, model, state, config) / name

    return write


def use_checkpoint(path: Path):
    newest = find_checkpoint(path.parent)
    newest.state()
    newest.build_model()


def gpt2(folder: Path) -> Path:
    save_pretrained(GPT(GPTConfig(11, 4, 64, 1, 1, 0.0)), folder / "gpt2")
    return folder / "gpt2" / "config.json"


def config(folder: Path) -> Path:
    path = folder / "options.json"
    path.write_text(
        json.dumps({"steps": 3, "lr": 0.1, "n-layers": 2, "seed": 5, "tokenizer": "bpe"})
    )
    return path


def metrics(folder: Path) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25, "val_loss": 3}\n')
    return path


def progress(folder: Path) -> Path:
    path = folder / "progress.json"
    path.write_text('{"done": ["a"], "hints": {"b": 2}, "current": "c"}')
    return path


BAD = (ValueError, OSError)
FILE_READERS = {
    **{name: (write, tokenizer_files.use, BAD) for name, write in tokenizer_files.WRITERS.items()},
    "GGUF's BPE": (tokenizer_files.metadata("gpt2"), tokenizer_files.use_metadata, BAD),
    "GGUF's scores": (tokenizer_files.metadata("llama"), tokenizer_files.use_metadata, BAD),
    "tokenizer_config.json": (tokenizer_files.config, tokenizer_files.use_config, BAD),
    "BPE tokenizer": (tokenizer("bpe"), use_tokenizer, BAD),
    "character tokenizer": (tokenizer("char"), use_tokenizer, BAD),
    "word tokenizer": (tokenizer("words"), use_tokenizer, BAD),
    "trained Unigram": (tokenizer("unigram"), use_tokenizer, BAD),
    "trained WordPiece": (tokenizer("wordpiece"), use_tokenizer, BAD),
    "trained on Japanese words": (tokenizer("japanese"), use_tokenizer, BAD),
    "Unigram written as SentencePiece": (trained_model, tokenizer_files.use, BAD),
    "entries, json": (entries("json"), lambda p: read_entries(p, ("instruction", "output")), BAD),
    "entries, jsonl": (entries("jsonl"), lambda p: read_entries(p, ("instruction",)), BAD),
    "labelled, json": (entries("json"), labelled, BAD),
    "labelled, csv": (entries("csv"), labelled, BAD),
    "labelled, tsv": (entries("tsv"), labelled, BAD),
    "adapter": (adapter, lambda p: lora.load(GPT(CONFIG), p.parent), (*BAD, RuntimeError)),
    "checkpoint, its state": (checkpoint("state.json"), use_checkpoint, (StorageError,)),
    "checkpoint, its manifest": (checkpoint("manifest.json"), use_checkpoint, (StorageError,)),
    "GPT-2's config": (gpt2, lambda p: load_gpt2(p.parent), (*BAD, TypeError, SafeTensorsError)),
    "options": (config, lambda p: read_config(p, PretrainOptions), (OptionError,)),
    "metrics": (metrics, read_metrics, BAD),
    "progress": (progress, lambda p: Progress(p.parent).save(), BAD),
}


@pytest.mark.parametrize("reader", FILE_READERS)
def test_damaged_files(reader, count, tmp_path):
    write, read, errors = FILE_READERS[reader]
    path = write(tmp_path)
    whole = path.read_bytes()
    read(path)
    outside = sorted(os.listdir(tmp_path.parent))
    for seed in range(count):
        rng = random.Random(seed)
        if path.suffix == ".json" and seed % 3:
            data = change_json(whole.decode(), rng).encode("utf-8", "surrogatepass")
        else:
            data = change_bytes(whole, rng)
        path.write_bytes(data)
        if path.name == "state.json":
            renew_manifest(path)
        ends_well(lambda: read(path), errors, f"{reader}, seed {seed}")
    assert sorted(os.listdir(tmp_path.parent)) == outside, "nothing is written elsewhere"


def renew_manifest(path: Path) -> None:
    """Make the manifest fit the damaged file, so that the file itself is read."""
    import zlib

    manifest = path.parent / "manifest.json"
    sums = json.loads(manifest.read_text())
    data = path.read_bytes()
    sums["files"][path.name] = [len(data), zlib.crc32(data)]
    manifest.write_text(json.dumps(sums))


@pytest.fixture(params=["100", pytest.param("5000", marks=pytest.mark.slow)])
def count(request) -> int:
    """How many damaged files of each kind."""
    return int(request.param)
