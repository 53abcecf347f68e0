"""What every tokenizer here can do: text to ids and back, special tokens, streaming, files.

A tokenizer turns text into a list of integers, its token ids, and turns such a list back into
text. The kinds differ in what a token is (a character, a word, a run of bytes); everything else is
the same, and it is in this file.
"""

from __future__ import annotations

import codecs
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..files.json_files import read_json_object, write_json
from ..files.paths import local_path
from ..files.untrusted import describe

__all__ = [
    "ENCODER_TOKENS",
    "END_OF_TEXT",
    "StreamDecoder",
    "Tokenizer",
    "TokenizerFields",
    "check_fits",
    "check_text",
    "load_tokenizer",
    "number_special_tokens",
    "split_on_special",
]

END_OF_TEXT = "<|endoftext|>"
CLS, SEP = "[CLS]", "[SEP]"
ENCODER_TOKENS = ("[PAD]", "[UNK]", CLS, SEP, "[MASK]")  # of a BERT
FORMAT = "tinygrad_llm tokenizer"
VERSION = 1
KINDS: dict[str, type[Tokenizer]] = {}
T = TypeVar("T", bound="Tokenizer")
V = TypeVar("V")


class Tokenizer(ABC):
    """The base of all tokenizers.

    name:           free text, kept in the file
    special_tokens: spelling -> id, e.g. {"<|endoftext|>": 50256}

    A special token stands for something that is not in the text, such as the end of a document. So
    that nobody puts one in by typing it, encode() raises ValueError if a text spells one that the
    caller did not allow.
    """

    kind: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            KINDS[cls.kind] = cls

    def __init__(self, name: str, special_tokens: Mapping[str, int]) -> None:
        if "" in special_tokens:
            raise ValueError("a special token must have at least one character, got ''")
        self.name = name
        self.special_tokens = dict(special_tokens)

    # -- what a kind of tokenizer must define ----------------------------------------------

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """How many ids there are, special tokens included: ids are 0 .. vocab_size - 1."""

    @abstractmethod
    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text, in which special tokens are spelled like any other characters."""

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of one token (a token of bytes may end in the middle of a character)."""

    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """What save() writes into the file, except format, version, kind and name."""

    @classmethod
    @abstractmethod
    def _from_fields(cls: type[T], fields: TokenizerFields) -> T:
        """The tokenizer whose `_fields()` these are."""

    # -- text to ids -----------------------------------------------------------------------

    def encode(
        self,
        text: str,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        *,
        add_special_tokens: bool = True,
    ) -> list[int]:
        """The ids of a text.

        allowed_special:    special tokens that become their one id where the text spells them, or
            "all"
        disallowed_special: special tokens that must not be spelled in the text; "all" means all
            that are not allowed, () means none: their spelling is then ordinary text (as in
            tiktoken)
        add_special_tokens: put around the text what `with_special_tokens` does (for most kinds here
            nothing; for Llama the token that begins a text)

        Raises: ValueError if the text has a disallowed special token, a character that the
        tokenizer does not know, or a lone surrogate (half a character, which UTF-8 cannot write).
        """
        ids: list[int] = []
        for part in self._parts(text, allowed_special, disallowed_special):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids.extend(self._encode_part(part, not ids))
        return self.with_special_tokens(ids)[0] if add_special_tokens else ids

    def with_special_tokens(
        self, ids: Sequence[int], pair_ids: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """The ids of a text, or of two, with the special tokens that the model wants around them.

        Returns the ids, and for each the type id: which of the two texts it belongs to. Kinds that
        are trained here add something only if they have the special tokens [CLS] and [SEP]: as for
        a BERT, [CLS] text [SEP] other text [SEP].
        """
        first, second = list(ids), list(pair_ids or ())
        if CLS in self.special_tokens and SEP in self.special_tokens:
            end = [self.special_tokens[SEP]]
            first = [self.special_tokens[CLS], *first, *end]
            second = [] if pair_ids is None else [*second, *end]
        return first + second, [0] * len(first) + [1] * len(second)

    def _encode_part(self, text: str, first: bool) -> list[int]:
        """The ids of a part between special tokens; first: whether the text begins with it."""
        return self.encode_ordinary(text)

    def encode_to_array(
        self,
        text: str,
        allowed_special: Collection[str] | str = (),
        disallowed_special: Collection[str] | str = "all",
        dtype: Any = np.int32,
    ) -> np.ndarray:
        """The ids of a text as an array of shape (n,): for large texts, in less memory.

        Raises: ValueError if an id does not fit in the integer type `dtype`; else as encode() does.
        """
        dtype = np.dtype(dtype)
        if dtype.kind not in "iu" or np.iinfo(dtype).max < self.vocab_size - 1:
            raise ValueError(
                f"dtype {dtype} cannot hold the ids 0 .. {self.vocab_size - 1}; use int32 or int64"
            )
        arrays = [np.empty(0, dtype)]
        for part in self._parts(text, allowed_special, disallowed_special):
            if isinstance(part, int):
                arrays.append(np.array([part], dtype))
            else:
                arrays.append(self._ordinary_array(part, dtype))
        return arrays[-1] if len(arrays) == 2 else np.concatenate(arrays)

    def _ordinary_array(self, text: str, dtype: np.dtype) -> np.ndarray:
        return np.array(self.encode_ordinary(text), dtype)

    def _parts(
        self, text: str, allowed: Collection[str] | str, disallowed: Collection[str] | str
    ) -> Iterator[str | int]:
        """Cut the text at its allowed special tokens: texts and ids, in order."""
        check_text(text)
        known = frozenset(self.special_tokens)
        allowed = known if allowed == "all" else known & _names(allowed)
        if disallowed == "all":
            disallowed = known - allowed if allowed else known
        else:
            disallowed = known & _names(disallowed)
        if disallowed and (match := _either(disallowed).search(text)):
            token = match.group()
            raise ValueError(
                f"the text spells the special token {token!r} at position {match.start()}; pass "
                f"allowed_special={{{token!r}}} to encode it as one token, or "
                "disallowed_special=() to encode its spelling as ordinary text"
            )
        start = 0
        for match in _either(allowed).finditer(text) if allowed else ():
            if match.start() > start:
                yield text[start : match.start()]
            yield self.special_tokens[match.group()]
            start = match.end()
        if start < len(text):
            yield text[start:] if start else text

    # -- ids to text -----------------------------------------------------------------------

    def decode(self, ids: Any) -> str:
        """The text of a flat sequence of ids (a list, an array, a Tensor), or of one id.

        Bytes that are not UTF-8, such as a cut character, become U+FFFD. Special tokens are spelled
        out.
        Raises: IndexError if an id is not in the vocabulary; TypeError if `ids` is not a flat
        sequence of integers.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Any) -> bytes:
        """The bytes of a flat sequence of ids, exactly."""
        return b"".join(map(self.token_bytes, self._flat(ids)))

    def stream(self, after: Sequence[int] = ()) -> StreamDecoder:
        """A decoder that takes the ids one at a time, as they are generated.

        after: ids that stand before them, such as a prompt: their text is not returned
        """
        return StreamDecoder(self)

    def count_bytes(self, ids: Any) -> int:
        """The number of UTF-8 bytes of text that the ids stand for; special tokens count as 0.

        Bits per byte = cross-entropy in nats, summed over the ids / (ln 2 · count_bytes(ids)).
        """
        ids = np.asarray(self._flat(ids), np.int64)
        return int(self._token_lengths[ids].sum())

    @cached_property
    def _token_lengths(self) -> np.ndarray:
        special = set(self.special_tokens.values())
        lengths = (0 if i in special else len(self.token_bytes(i)) for i in range(self.vocab_size))
        return np.fromiter(lengths, np.int64, self.vocab_size)  # (V,)

    def _flat(self, ids: Any) -> list[int]:
        """The ids as a list of ints, every one of them in the vocabulary."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        ids = [ids] if isinstance(ids, int) else list(ids)
        try:
            outside = ids and (min(ids) < 0 or max(ids) >= self.vocab_size)
        except TypeError:
            outside = True
        if outside or not all(isinstance(i, (int, np.integer)) for i in ids):
            for place, i in enumerate(ids):
                if not isinstance(i, (int, np.integer)):
                    raise TypeError(
                        f"ids must be a flat sequence of integers, got {type(i).__name__} at place "
                        f"{place}; decode the rows of a batch one at a time"
                    )
                if not 0 <= i < self.vocab_size:
                    raise IndexError(
                        f"token id {i} at place {place} is not in this tokenizer's vocabulary of "
                        f"0 .. {self.vocab_size - 1}"
                    )
        return ids

    @property
    def eot_token(self) -> int | None:
        """The id of <|endoftext|>, or None if this tokenizer has none."""
        return self.special_tokens.get(END_OF_TEXT)

    @property
    def pad_token(self) -> int | None:
        """The id of [PAD] or <pad>, which fills short texts, or None if this tokenizer has none."""
        return self._spelled("[PAD]", "<pad>")

    @property
    def mask_token(self) -> int | None:
        """The id of [MASK] or <mask>, which hides a token, or None if this tokenizer has none."""
        return self._spelled("[MASK]", "<mask>")

    def _spelled(self, *spellings: str) -> int | None:
        known = self.special_tokens
        return next((known[s] for s in spellings if s in known), None)

    # -- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON that people can read; an older file is replaced in one step."""
        head = {"format": FORMAT, "version": VERSION, "kind": self.kind, "name": self.name}
        write_json(path, {**head, **self._fields()})

    @classmethod
    def load(cls: type[T], path: str | os.PathLike[str]) -> T:
        """Read what save() wrote.

        Raises: ValueError if the file holds anything else.
        """
        tokenizer = load_tokenizer(path)
        if not isinstance(tokenizer, cls):
            raise ValueError(
                f"{path} holds a tokenizer of kind {tokenizer.kind!r}, not a {cls.__name__}; "
                "load_tokenizer(path) reads any kind"
            )
        return tokenizer

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self.kind == other.kind and self._fields() == other._fields()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, vocab_size={self.vocab_size})"


class StreamDecoder:
    """Text from ids that come one at a time.

    push(id) returns what can be shown now: a character whose bytes are spread over several tokens
    comes with the last of them. finish() returns what remains. All of it together is decode() of
    all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """Take one id; returns the text that is now complete (often all of it, sometimes '')."""
        return self._utf8.decode(self._tokenizer.decode_bytes(token_id))

    def finish(self) -> str:
        """The end: bytes of a character that never came whole become U+FFFD."""
        return self._utf8.decode(b"", final=True)


class TokenizerFields(dict[str, Any]):
    """The fields of a tokenizer file, with errors that name the file."""

    def __init__(self, fields: dict[str, Any], path: Path) -> None:
        super().__init__(fields)
        self.path = path

    def get_as(self, name: str, kind: type[V]) -> V:
        """The field.

        Raises: ValueError if it is not of the type `kind`.
        """
        value = self.get(name)
        if not isinstance(value, kind):
            raise ValueError(
                f"{self.path}: the tokenizer's {name!r} should be a {kind.__name__}, "
                f"got {describe(value)}"
            )
        return value

    def strings(self, name: str) -> list[str]:
        """The field.

        Raises: ValueError if it is not a list of strings.
        """
        values = self.get_as(name, list)
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{self.path}: the tokenizer's {name!r} should be a list of strings")
        return values


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer in a file, of any kind.

    path: a file that save() wrote, a tokenizer.json of a published model, or a folder (or the
        vocab.bpe in it) with GPT-2's two files vocab.bpe and encoder.json
    Raises: FileNotFoundError; ValueError that says what is wrong with the file.
    """
    path = local_path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: a tokenizer is a file that save() wrote, or a folder with "
            "GPT-2's vocab.bpe and encoder.json"
        )
    if path.is_dir() or path.name == "vocab.bpe":
        bpe: Any = KINDS["bpe"]  # the class in bpe.py, which imports this file
        return bpe.from_gpt2_files(path)
    try:
        fields = TokenizerFields(read_json_object(path), path)
    except ValueError as error:
        raise ValueError(f"not a tokenizer file: {error}") from error
    if "model" in fields and "format" not in fields:  # as `tokenizers` writes it
        return KINDS["pipeline"]._from_fields(fields)
    if fields.get("format") != FORMAT:
        raise ValueError(f'not a tokenizer file: {path} lacks "format": "{FORMAT}"')
    if fields.get("version") != VERSION:
        raise ValueError(
            f"{path} is a tokenizer file of version {describe(fields.get('version'))}; this "
            f"release reads version {VERSION}"
        )
    kind = KINDS.get(str(fields.get("kind")))
    if kind is None:
        raise ValueError(
            f"{path} holds a tokenizer of kind {describe(fields.get('kind'))}; known are "
            f"{sorted(KINDS)}"
        )
    name = fields.get_as("name", str)
    try:
        tokenizer = kind._from_fields(fields)
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error
    tokenizer.name = name
    return tokenizer


def check_fits(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Raises: ValueError if the tokenizer has ids that a model of vocab_size tokens does not."""
    if tokenizer.vocab_size > vocab_size:
        raise ValueError(
            f"the tokenizer ({tokenizer.name}) has {tokenizer.vocab_size:,} tokens and the model "
            f"{vocab_size:,}: take the tokenizer that the model was trained with"
        )


def check_text(text: str) -> None:
    """Raises: TypeError if text is not a str; ValueError if UTF-8 cannot write it."""
    if not isinstance(text, str):
        hint = ": decode the bytes first" if isinstance(text, (bytes, bytearray)) else ""
        raise TypeError(f"a text must be a str, got {type(text).__name__}{hint}")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text has a lone surrogate U+{ord(text[error.start]):04X} at position "
            f"{error.start}: half a character, which UTF-8 cannot write. "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace') joins pairs and "
            "replaces the rest"
        ) from None


def number_special_tokens(special_tokens: Collection[str], first_id: int) -> dict[str, int]:
    """special token -> id: first_id and the numbers after it, in the order of the tokens.

    Raises: TypeError if special_tokens is a string; ValueError if two are equal.
    """
    if isinstance(special_tokens, str):
        raise TypeError(
            f"special_tokens must be a list of strings, got the string {special_tokens!r}"
        )
    numbered = {token: first_id + i for i, token in enumerate(special_tokens)}
    if len(numbered) < len(special_tokens):
        raise ValueError(f"special_tokens must differ from one another, got {list(special_tokens)}")
    return numbered


def split_on_special(text: str, special_tokens: Collection[str]) -> list[str]:
    """The parts of a text between special tokens."""
    return _either(frozenset(special_tokens)).split(text) if special_tokens else [text]


@lru_cache(maxsize=32)
def _either(tokens: frozenset[str]) -> re.Pattern[str]:
    """A pattern for any of the tokens; of two that start at the same place the longer wins.

    It is kept: Gemma has 6,249 special tokens, and a pattern of them takes 20 ms to write.
    """
    return re.compile("|".join(map(re.escape, sorted(tokens, key=lambda t: (-len(t), t)))))


def _names(tokens: Collection[str] | str) -> set[str]:
    if isinstance(tokens, str):
        raise TypeError(
            f'special tokens must be given as a set of strings or "all", got {tokens!r}'
        )
    return set(tokens)
