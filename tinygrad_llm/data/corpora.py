"""Texts to train on: the embedded default, any file or folder, and named data sets.

corpora.load()                     the language reference that comes with every Python
corpora.load("tinyshakespeare")    a named set: from the cache folder, or downloaded and checked
corpora.load("my/notes")           a UTF-8 file, or a folder of them
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..files.downloads import Progress, RemoteFile, fetch
from ..files.paths import local_path
from .parallel import PARALLEL

DEFAULT = "python-reference"

_BOOK = "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main"

_JGLUE = "https://raw.githubusercontent.com/yahoojapan/JGLUE/main/datasets"


def _jglue(folder: str, part: str, n_bytes: int, sha256: str, description: str) -> RemoteFile:
    """A file of JGLUE (Kurihara, Kawahara and Shibata, 2022), JSON lines."""
    name, version = folder.rsplit("-", 1)
    return RemoteFile(
        file_name=f"jglue/{name}-{part}-{version}.json",
        addresses=(f"{_JGLUE}/{folder}/{part}-{version}.json",),
        sha256=sha256,
        n_bytes=n_bytes,
        licence="CC BY-SA 4.0",
        description=description,
    )


NAMED: dict[str, RemoteFile] = {
    "the-verdict": RemoteFile(
        file_name="the-verdict.txt",
        addresses=(f"{_BOOK}/ch02/01_main-chapter-code/the-verdict.txt",),
        sha256="b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f",
        n_bytes=20479,
        licence="public domain",
        description="Edith Wharton's short story of 1908, the books' pretraining text.",
    ),
    "tinyshakespeare": RemoteFile(
        file_name="tinyshakespeare.txt",
        addresses=(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        ),
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        n_bytes=1115394,
        licence="public domain",
        description="From Shakespeare's plays: the 1.1 million characters of char-rnn and nanoGPT.",
    ),
    "sms-spam": RemoteFile(
        file_name="sms-spam.tsv",
        addresses=(
            "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
        ),
        sha256="7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        n_bytes=477907,
        licence="CC BY 4.0",
        description="UCI SMS Spam Collection: label, tab, message; 4,827 ham and 747 spam rows.",
        member="SMSSpamCollection",
    ),
    "instruction-data": RemoteFile(
        file_name="instruction-data.json",
        addresses=(f"{_BOOK}/ch07/01_main-chapter-code/instruction-data.json",),
        sha256="7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
        n_bytes=203524,
        licence="Apache-2.0",
        description="1,100 entries with instruction, input and output.",
    ),
    "instruction-preferences": RemoteFile(
        file_name="instruction-data-with-preference.json",
        addresses=(
            f"{_BOOK}/ch07/04_preference-tuning-with-dpo/instruction-data-with-preference.json",
        ),
        sha256="305315abf14f65fa42c01a0877572f832606571c2a7d49f152ac1d758b16756e",
        n_bytes=386968,
        licence="Apache-2.0",
        description="The 1,100 instructions, each with a chosen and a rejected answer.",
    ),
    "jsts-train": _jglue(
        "jsts-v1.3",
        "train",
        3164816,
        "db6bd653270ac9786759920413a48973164d322998f34dd4ae32202af5e66969",
        "12,451 pairs of Japanese sentences, how similar they are from 0 to 5.",
    ),
    "jsts-valid": _jglue(
        "jsts-v1.3",
        "valid",
        372253,
        "7c0bdcb381179f01096c635d058853d96da1e1248d23fe3f5c2beed5dc2d9b1a",
        "1,457 more pairs of JSTS, its published test.",
    ),
    "jnli-valid": _jglue(
        "jnli-v1.3",
        "valid",
        632446,
        "ca0353efc7c2eebfb6de4e13f16295053c8b1ee65e7b0849190c90426fbc495f",
        "2,434 pairs of Japanese sentences: entailment, contradiction or neutral.",
    ),
    "jcommonsenseqa-train": _jglue(
        "jcommonsenseqa-v1.3",
        "train",
        1879961,
        "9b55fae5ecb3aedd6f8ce5bc09196c3b629864668ec6c18eee4d65c0aa48229e",
        "8,939 Japanese questions with five answers.",
    ),
    "jcommonsenseqa-valid": _jglue(
        "jcommonsenseqa-v1.3",
        "valid",
        235633,
        "0d8d76f3bfa0d174866939882faccdd01fbc2bcd5a76c43748ba0c40a7b3b8d4",
        "1,119 more questions of JCommonsenseQA.",
    ),
    "ner-wikipedia-ja": RemoteFile(
        file_name="ner-wikipedia-ja.json",
        addresses=(
            "https://raw.githubusercontent.com/stockmarkteam/ner-wikipedia-dataset/main/ner.json",
        ),
        sha256="5796effb85c473aec5b85784545349ed42e408bb0fecdb78f82bc107d53edbe3",
        n_bytes=4042700,
        licence="CC BY-SA 3.0",
        description="5,343 sentences of Japanese Wikipedia with named entities of 8 types.",
    ),
    **PARALLEL,
}


@dataclass(frozen=True)
class Corpus:
    """A text and where it comes from.

    text:    the characters, with \\n as the only line end
    name:    the set's name, or the name of the file or folder
    source:  where it comes from: an address or a path
    licence: of a named set; "unknown" for the user's files
    skipped: of a folder, the files that were left out: "a.png (not a text)"
    n_bytes: the length of the text in UTF-8 (computed)
    """

    text: str = field(repr=False)
    name: str
    source: str
    licence: str
    skipped: tuple[str, ...] = ()
    n_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.text) if self.text.isascii() else len(self.text.encode("utf-8"))
        object.__setattr__(self, "n_bytes", n)


def names() -> list[str]:
    """The names that load() knows, the embedded default first."""
    return [DEFAULT, *NAMED]


def path(name: str, *, progress: Progress | None = None, timeout: float = 30.0) -> Path:
    """The checked local file of a named set, downloaded if needed (errors: see downloads.fetch).

    Raises: ValueError if no set of files has this name.
    """
    if name not in NAMED:
        raise ValueError(
            f"no data set file named {name!r}{_suggest(name)}; there are {_list(NAMED)}"
        )
    return fetch(NAMED[name], progress=progress, timeout=timeout)


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Corpus:
    """A corpus by name, or from a UTF-8 file or a folder of them.

    A name takes precedence over a file of the same name: write ./NAME for the file. Of a folder,
    all files are joined in the order of their paths, with an empty line between two; those whose
    name or folder starts with a dot are left out, and so are, with a line in `skipped`, files that
    are not texts (a zero byte is in them) and the folders of earlier runs. \\r\\n and
    \\r become \\n, and a byte order mark
    at the start of a file is dropped.

    Raises: FileNotFoundError if there is no such name or file; ValueError if a file is not UTF-8
    (with the place of the first wrong byte) or there is no text in it; downloads.DownloadError
    if a named set is neither in the cache folder nor can be downloaded.
    """
    if name_or_path == DEFAULT:
        return _python_reference()
    if isinstance(name_or_path, str) and name_or_path in NAMED:
        remote = NAMED[name_or_path]
        file = path(name_or_path, progress=progress, timeout=timeout)
        return Corpus(_read(file), name_or_path, remote.addresses[0], remote.licence)
    skipped: tuple[str, ...] = ()
    place = local_path(name_or_path)
    if place.is_dir():
        text, skipped = _read_folder(place)
    elif place.exists():
        text = _read(place)
    else:
        raise FileNotFoundError(
            f"no corpus and no file is called {str(name_or_path)!r}{_suggest(str(name_or_path))}; "
            f"the corpora are {_list(names())}"
        )
    if not text.strip():
        raise ValueError(f"{place} is empty: there is no text in it")
    return Corpus(text, place.resolve().name, str(place.resolve()), "unknown", skipped)


def _read_folder(folder: Path) -> tuple[str, tuple[str, ...]]:
    """(the texts in a folder, joined; what was left out and why).

    Raises: ValueError if there are no texts, or one is not UTF-8.
    """
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not _hidden(f, folder))
    if not files:
        raise ValueError(
            f"the folder {folder} holds no files (those that start with a dot do not count)"
        )
    runs = {f.parent for f in files if f.name == "manifest.json"}
    runs |= {f.parent.parent for f in runs if f.parent.name == "checkpoints"}
    runs.discard(folder)
    texts, skipped, binary = [], [], []
    for run in sorted(runs):
        if not any(run.is_relative_to(other) for other in runs - {run}):
            skipped.append(f"{run.relative_to(folder)} (the folder of a run)")
    for file in files:
        if any(file.is_relative_to(run) for run in runs):
            continue
        if _is_binary(file):
            binary.append(file)
            skipped.append(f"{file.relative_to(folder)} (not a text)")
        else:
            texts.append(_read(file).strip("\n"))
    if not texts and binary:
        _read(binary[0])  # says where it is not UTF-8
    if not texts:
        raise ValueError(f"the folder {folder} holds no texts, only {_list(skipped[:3])}")
    return "\n\n".join(texts) + "\n", tuple(skipped)


def _is_binary(file: Path) -> bool:
    """Whether a zero byte is in a file: a text has none, nearly every other format does."""
    with open(file, "rb") as data:
        while block := data.read(1 << 20):
            if b"\0" in block:
                return True
    return False


def help_topics(instead: str = "") -> dict[str, str]:
    """The topics of Python's help(), by name; instead: what else can be done, for the message.

    Raises: FileNotFoundError for a Python without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise FileNotFoundError(
            "this Python has no pydoc_data.topics, the text of the default corpus: "
            f"install Python's full standard library{instead}"
        ) from error
    return topics


def _python_reference() -> Corpus:
    """CPython's language reference, the topics of help(), in alphabetical order of their names.

    About 466,000 characters of English. The text belongs to the running Python, so it differs a
    little between versions. Long sections repeat some short topics, so about a fifth of the
    paragraphs occurs twice.
    """
    topics = help_topics(f", or name a file or another corpus: {_list(NAMED)}")
    text = "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return Corpus(text, DEFAULT, f"pydoc_data.topics of CPython {version}", "PSF-2.0")


def _read(file: Path) -> str:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (len(data) - len(error.object))  # the decoder may have dropped a mark
        raise ValueError(
            f"{file} is not UTF-8: byte {at} (0x{data[at]:02x}) is not valid there. "
            "Save it as UTF-8, or leave it out if it is not a text."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _suggest(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
