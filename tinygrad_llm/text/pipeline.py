"""A published tokenizer: normaliser, cuts, model, special tokens and decoder, as its file says.

Every format (tokenizer.json, SentencePiece's tokenizer.model, vocab.txt, GGUF, tiktoken's ranks) is
read into one description, a dict as in tokenizer.json; this class does what the description says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

from ..files.json_files import write_json
from ..files.paths import local_path
from ..files.untrusted import describe
from .letters import spell_text
from .stages.added import MARK, AddedToken, Finder, cut_at_tokens, read_added_tokens
from .stages.decoders import build_decoder
from .stages.normalizers import STRIP, build_normalizer
from .stages.part import MOST_TOKENS, Part
from .stages.pieces import BPE, PieceModel, WordPiece
from .stages.pre_tokenizers import build_pre_tokenizer
from .stages.templates import Template, build_template
from .stages.unigram import Unigram
from .stages.written import read_names, written_description, written_names
from .tokenizer import StreamDecoder, Tokenizer, TokenizerFields, check_text

__all__ = ["PipelineTokenizer"]

CACHE_PIECES = 1 << 17
LONGEST_CACHED = 64  # characters; longer pieces rarely come twice
_MODELS: dict[str, type[BPE] | type[WordPiece] | type[Unigram]] = {
    "BPE": BPE,
    "WordPiece": WordPiece,
    "Unigram": Unigram,
}


class PipelineTokenizer(Tokenizer):
    """A tokenizer as its description says.

    description: as in tokenizer.json: added_tokens, normalizer, pre_tokenizer, model,
        post_processor, decoder
    model:    in place of the description's, if the reader has made it already
    template: in place of the description's post_processor
    names:    the spellings of bos_token, eos_token, unk_token, pad_token, ..., and chat_template
    where:    the file, for messages

    `encode` puts the special tokens of the template around a text (BOS for Llama and Gemma, [CLS]
    and [SEP] for BERT); add_special_tokens=False leaves them out.
    Raises: ValueError if the description is not one, or needs what is not known here.
    """

    kind = "pipeline"

    def __init__(
        self,
        description: Mapping[str, Any],
        *,
        model: PieceModel | None = None,
        template: Template | None = None,
        names: Mapping[str, str] | None = None,
        name: str = "pipeline",
        where: str = "the tokenizer",
    ) -> None:
        whole = Part(description, where)
        self.description = dict(description)
        self.names = dict(names or {})
        self.model = model or _read_model(whole)
        self.template = template or build_template(whole.part("post_processor"))
        self._normalize = build_normalizer(whole.part("normalizer"))
        self._cuts = build_pre_tokenizer(whole.part("pre_tokenizer"))
        self._decoder = build_decoder(whole.part("decoder"))
        self._cache: dict[str, tuple[int, ...]] = {}
        self._byte_cache: dict[tuple[int, bool], bytes] = {}
        super().__init__(name, {})
        self._take_added(read_added_tokens(whole, MOST_TOKENS - 1), where)

    def _take_added(self, added: list[AddedToken], where: str) -> None:
        """Set everything that depends on the added tokens."""
        self.added = sorted(added, key=lambda token: token.id)
        self._number_tokens(where)
        self._special = {t.content: t for t in self.added if t.special}
        self.special_tokens = {t.content: t.id for t in self._special.values()}
        self._special_strips = any(t.lstrip or t.rstrip for t in self._special.values())
        self._special_ids = {i for i, t in enumerate(self._tokens) if t in self._special}
        self._raw = {t.content: t for t in self.added if not (t.special or t.normalized)}
        self._normalized = {
            self._normalize(t.content): t for t in self.added if t.normalized and not t.special
        }
        self._normalized.pop("", None)
        self._finders = Finder(self._raw), Finder(self._normalized)
        self._byte_cache.clear()
        self.__dict__.pop("_token_lengths", None)  # counted for the old vocabulary

    def _number_tokens(self, where: str) -> None:
        """id -> token, of the model's vocabulary and the added tokens; checks that they agree."""
        vocabulary, names = self.model.vocabulary, self.model.names()
        most = max(chain(names, (t.id for t in self.added)))
        tokens: list[str | None] = [None] * (most + 1)
        for i, token in names.items():
            tokens[i] = token
        for added in self.added:
            if names.get(added.id) != added.content and added.content in vocabulary:
                raise ValueError(
                    f"{where}: the added token {describe(added.content)} has the id {added.id}, in "
                    f"the vocabulary it has {vocabulary[added.content]}"
                )
            tokens[added.id] = added.content
        for i in self.template.ids():
            if i > most or tokens[i] is None:
                raise ValueError(f"{where}: the post-processor adds the id {i}, which has no token")
        self._tokens = tokens

    # -- text to ids -----------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    def id_of(self, token: str) -> int | None:
        """The id of a token as its file spells it ("Ġthe", "▁the"), or None."""
        added = next((t.id for t in self.added if t.content == token), None)
        return self.model.vocabulary.get(token) if added is None else added

    def token(self, token_id: int) -> str:
        """The token with this id as its file spells it; '' if no token has it."""
        return self._tokens[self._flat(token_id)[0]] or ""

    def with_special_tokens(
        self, ids: Sequence[int], pair_ids: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """The ids of a text, or of two, with special tokens around; and each token's type id."""
        return self.template.around(ids, pair_ids)

    def encode_ordinary(self, text: str) -> list[int]:
        check_text(text)
        return self._encode_part(text, True)

    def _encode_part(self, text: str, first: bool) -> list[int]:
        ids: list[int] = []
        for section in cut_at_tokens(text, self._finders[0], self._raw) if self._raw else [text]:
            if isinstance(section, AddedToken):
                ids.append(section.id)
            else:
                self._encode_normalized(self._normalize(section), first, ids)
            first = False
        return ids

    def _encode_normalized(self, text: str, first: bool, ids: list[int]) -> None:
        tokens = self._normalized
        for section in cut_at_tokens(text, self._finders[1], tokens) if tokens else [text]:
            if isinstance(section, AddedToken):
                ids.append(section.id)
            else:
                for block in self._blocks(section):
                    for piece in self._cuts(block, first):
                        ids.extend(self._cache.get(piece) or self._encode_piece(piece))
                    first = False
            first = False

    def _blocks(self, text: str) -> Iterable[str]:
        """The text, cut where no token can cross, if the model looks at whole texts."""
        if self._cuts.cuts or self._safe_cut is None:
            return [text] if text else []
        return self._safe_cut.split(text)

    @cached_property
    def _safe_cut(self) -> re.Pattern[str] | None:
        """Where ▁ follows a character that no token has before ▁: no join crosses that place.

        Only for BPE, whose result inside such a piece does not depend on what is outside.
        """
        model = self.model
        if not isinstance(model, BPE) or self._cuts.byte_level or model.suffix or model.prefix:
            return None
        if "▁" not in model.vocabulary and model.bytes is None:
            return None  # unknown signs next to each other may become one
        crossing = {"▁"}
        for token in model.vocabulary:
            if "▁" in token[1:]:
                crossing.update(a for a, b in pairwise(token) if b == "▁")
        return re.compile(f"(?<=[^{re.escape(''.join(sorted(crossing)))}])(?=▁)")

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        spelled = spell_text(piece) if self._cuts.byte_level else piece
        ids = tuple(self.model.encode(spelled))
        if len(piece) <= LONGEST_CACHED and not self.model.varies:
            if len(self._cache) >= CACHE_PIECES:
                self._cache.clear()
            self._cache[piece] = ids
        return ids

    def _parts(
        self, text: str, allowed: Collection[str] | str, disallowed: Collection[str] | str
    ) -> Iterator[str | int]:
        whole = list(super()._parts(text, allowed, disallowed))
        if not self._special_strips:
            yield from whole
            return
        contents = {t.id: t for t in self._special.values()}
        for i, part in enumerate(whole):
            if isinstance(part, str):
                before = contents[whole[i - 1]] if i else None  # type: ignore[index]
                after = contents[whole[i + 1]] if i + 1 < len(whole) else None  # type: ignore
                part = STRIP[True, False].sub("", part) if before and before.rstrip else part
                part = STRIP[False, True].sub("", part) if after and after.lstrip else part
            if part != "":
                yield part

    # -- ids to text -----------------------------------------------------------------------

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text that it does not begin."""
        return self._bytes(token_id, False)

    def _bytes(self, token_id: int, first: bool) -> bytes:
        key = (token_id, first)
        if key not in self._byte_cache:
            token = self._tokens[token_id]
            if token in self._special:
                before = "" if first else self._decoder.before_special
                self._byte_cache[key] = (before + token).encode("utf-8")
            else:
                self._byte_cache[key] = (
                    b"" if token is None else self._decoder.bytes_of(token, first)
                )
        return self._byte_cache[key]

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of a flat sequence of ids, or of one id.

        skip_special_tokens: leave special tokens out; otherwise they are spelled
        Bytes that are not UTF-8 become U+FFFD.
        Raises: see Tokenizer.decode.
        """
        ids = self._flat(ids)
        if skip_special_tokens:
            ids = [i for i in ids if i not in self._special_ids]
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Any) -> bytes:
        state = _Beginning(self)
        return b"".join(map(state.push, self._flat(ids)))

    def stream(self, after: Sequence[int] = ()) -> StreamDecoder:
        return _PipelineStream(self, after)

    def count_bytes(self, ids: Any) -> int:
        """The number of UTF-8 bytes of decode(ids), special tokens left out."""
        return len(self.decode_bytes([i for i in self._flat(ids) if i not in self._special_ids]))

    @property
    def eot_token(self) -> int | None:
        """The id that ends a text: the eos_token of its files, or <|endoftext|>, or None."""
        name = self.names.get("eos_token")
        end_id = None if name is None else self.id_of(name)
        return super().eot_token if end_id is None else end_id

    @property
    def bos_token(self) -> int | None:
        """The id that begins a text, as the model's files say, or None."""
        name = self.names.get("bos_token")
        return None if name is None else self.id_of(name)

    # -- chat ------------------------------------------------------------------------------

    def chat(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True,
        *, tokenize: bool = True, **variables: Any,
    ) -> Any:  # fmt: skip
        """A conversation as the model's chat template writes it.

        messages: [{"role": "user", "content": "..."}, ...]; add_generation_prompt: end with what
        begins an answer; variables: others that the template knows, such as tools.
        Returns the ids, or the text with tokenize=False. A special token that a message spells
        stays ordinary text.
        Raises: ImportError without jinja2 (the extra "chat"); ValueError without a template, or
        chat.TemplateError if it is wrong, takes too long or writes too much.
        """
        from .chat import render_chat

        template = self.names.get("chat_template")
        if template is None:
            raise ValueError(f"the tokenizer {self.name!r} has no chat template")
        values = {**variables, **{k: v for k, v in self.names.items() if k != "chat_template"}}
        values["add_generation_prompt"] = bool(add_generation_prompt)
        text = render_chat(template, messages, values, self.special_tokens)
        if not tokenize:
            return text.replace(MARK, "")
        ids: list[int] = []
        for part in cut_at_tokens(text, Finder(self._special), self._special):
            if isinstance(part, AddedToken):
                ids.append(part.id)
            else:
                part = part.replace(MARK, "")
                check_text(part)
                ids += self._encode_part(part, not ids)
        return ids

    # -- growing and files -----------------------------------------------------------------

    def add_tokens(self, tokens: Sequence[str], special: bool = False) -> list[int]:
        """Add tokens at the end of the vocabulary; returns their ids. Known ones keep theirs.

        special: whether they stand for something outside the text
        Models need rows for them: models.resize_vocabulary(model, tokenizer.vocab_size).
        Raises: TypeError for a string in place of a list; ValueError for an empty token.
        """
        if isinstance(tokens, str):
            raise TypeError(f"add_tokens needs a list of strings, got the string {tokens!r}")
        for token in tokens:
            check_text(token)
            if not token:
                raise ValueError("a token must have at least one character, got ''")
        added = {token.content: token for token in self.added}
        n = self.vocab_size
        for token in tokens:
            known = self.id_of(token)
            if token not in added:
                added[token] = AddedToken(token, n if known is None else known, special=special)
                n += known is None
        self._take_added(list(added.values()), self.name)
        return [added[token].id for token in tokens]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokenizer.json and tokenizer_config.json into a folder, as `tokenizers` reads them.

        path: the folder, or the path of tokenizer.json in it
        """
        path = local_path(path)
        file = path if path.suffix == ".json" else path / "tokenizer.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, self._fields())
        write_json(file.with_name("tokenizer_config.json"), written_names(self.names))

    def _fields(self) -> dict[str, Any]:
        return written_description(self.description, self.model, self.template, self.added)

    @classmethod
    def _from_fields(cls, fields: TokenizerFields) -> PipelineTokenizer:
        names = read_names(fields.path.parent)
        return cls(fields, names=names, name=fields.path.parent.name, where=str(fields.path))


def _read_model(whole: Part) -> PieceModel:
    part = whole.part("model")
    if part is None:
        raise ValueError(f"{whole.where}: there is no 'model'")
    kind = part.get("type", str, "")
    if not kind:  # files before tokenizers 0.9 do not name it
        kind = "BPE" if "merges" in part.fields else "WordPiece"
    if kind not in _MODELS:
        raise ValueError(
            f"{part.where}: type {describe(kind)} is not known here; known are {', '.join(_MODELS)}"
        )
    return _MODELS[kind].read(part)


class _Beginning:
    """Tokens to bytes one at a time; knows what to leave out at the beginning of the text."""

    def __init__(self, tokenizer: PipelineTokenizer) -> None:
        self._tokenizer = tokenizer
        self._first = True
        self._leading = tokenizer._decoder.leading

    def push(self, token_id: int) -> bytes:
        data = self._tokenizer._bytes(token_id, self._first)
        self._first = False
        while self._leading and data:
            if not data.startswith(b" "):
                self._leading = 0
                break
            data = data[1:]
            self._leading -= 1
        return data


class _PipelineStream(StreamDecoder):
    """The bytes of whole tokens, with the beginning that decode() has."""

    def __init__(self, tokenizer: PipelineTokenizer, after: Sequence[int]) -> None:
        super().__init__(tokenizer)
        self._state = _Beginning(tokenizer)
        for token_id in after:
            self._state.push(token_id)

    def push(self, token_id: int) -> str:
        return self._utf8.decode(b"".join(map(self._state.push, self._tokenizer._flat(token_id))))
