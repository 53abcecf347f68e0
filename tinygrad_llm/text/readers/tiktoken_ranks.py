"""tiktoken's files: one line per token, its bytes in base64 and its rank. Llama 3 comes so."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path

from ...files.paths import local_path
from ...files.untrusted import describe
from ..letters import letter_of_byte, spell
from ..pipeline import PipelineTokenizer
from ..stages import patterns
from ..stages.part import MOST_TOKENS
from ..stages.pieces import BPE
from ..stages.templates import template_of

__all__ = ["llama3_special_tokens", "looks_like_ranks", "read_tiktoken"]

LARGEST = 1 << 28  # bytes of a file; that of Llama 3 has 2.2 million
LLAMA3_RANKS = 128_000
_LINE = re.compile(rb"([A-Za-z0-9+/=]{1,65536}) ([0-9]{1,9})")


def llama3_special_tokens(first_id: int = LLAMA3_RANKS) -> dict[str, int]:
    """Llama 3's 256 special tokens, which its file does not hold: spelling -> id."""
    reserved = [f"<|reserved_special_token_{i}|>" for i in range(251)]
    begin = ["<|begin_of_text|>", "<|end_of_text|>", *reserved[:4]]
    turn = ["<|start_header_id|>", "<|end_header_id|>", reserved[4], "<|eot_id|>"]
    return {token: first_id + i for i, token in enumerate([*begin, *turn, *reserved[5:]])}


def looks_like_ranks(path: Path) -> bool:
    """Whether a file begins as tiktoken's do."""
    with path.open("rb") as file:
        head = file.read(1 << 17)
    return bool(_LINE.fullmatch(head.split(b"\n", 1)[0].rstrip(b"\r")))


def read_tiktoken(
    path: str | Path,
    *,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> PipelineTokenizer:
    """The tokenizer of a file of ranks.

    pattern, special_tokens: how texts are cut, and spelling -> id; the file does not hold them. By
        default Llama 3's, for a file of its 128,000 ranks
    Raises: OSError; ValueError if the file is damaged, or not Llama 3's and no pattern is passed.
    """
    path = local_path(path)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: too large for a file of ranks")
    ranks = _ranks(path.read_bytes(), path)
    llama3 = pattern is None and special_tokens is None and len(ranks) == LLAMA3_RANKS
    if llama3:
        pattern, special_tokens = patterns.LLAMA3, llama3_special_tokens()
    if pattern is None:
        raise ValueError(
            f"{path} has {len(ranks):,} ranks, Llama 3's has {LLAMA3_RANKS:,}: pass pattern=... "
            "and special_tokens=..., which a file of ranks does not hold"
        )
    missing = [byte for byte, letter in letter_of_byte().items() if letter not in ranks]
    if missing:
        raise ValueError(f"{path}: {len(missing)} bytes have no token, the first is {missing[0]}")
    special = dict(special_tokens or {})
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    description = {
        "added_tokens": [
            {"id": i, "content": token, "special": True} for token, i in special.items()
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [cut, {**level, "use_regex": False}],
        },
        "decoder": {**level, "use_regex": True},
    }
    begin = [special["<|begin_of_text|>"]] if llama3 else []
    return PipelineTokenizer(
        description,
        model=BPE(ranks, ranks, False, whole=True),
        template=template_of(begin, []),
        names={"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"} if llama3 else {},
        name="llama3" if llama3 else path.stem,
        where=str(path),
    )


def _ranks(data: bytes, path: Path) -> dict[str, int]:
    """token in GPT-2's letters -> rank.

    Raises: ValueError that names the line that is wrong.
    """
    ranks: dict[str, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        try:
            token = base64.b64decode(match.group(1), validate=True) if match else b""
        except (binascii.Error, ValueError):
            token = b""
        if match is None or not token:
            raise ValueError(
                f"{path}: line {number} is {describe(line)}, not base64 and a rank with a space "
                "between them"
            )
        rank = int(match.group(2))
        spelled = spell(token)
        if spelled in ranks or rank in seen or rank >= MOST_TOKENS:
            raise ValueError(f"{path}: line {number} repeats a token or a rank, or it is too large")
        ranks[spelled] = rank
        seen.add(rank)
    if not ranks:
        raise ValueError(f"{path} has no ranks")
    return ranks
