"""Small files of published tokenizers, made here: for the tests of damaged files."""

from __future__ import annotations

import base64
import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

from tinygrad_llm.files.json_files import parse_json
from tinygrad_llm.text import from_pretrained
from tinygrad_llm.text.letters import letter_of_byte
from tinygrad_llm.text.stages import patterns

HAS_TEMPLATES = importlib.util.find_spec("jinja2") is not None
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m.content | trim ~ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'answer: ' }}{% endif %}"
)
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
SPECIAL = [
    {"id": 0, "content": "<unk>", "special": True},
    {"id": 1, "content": "<s>", "special": True, "lstrip": True},
]
UNITS = [1 << 10, *([0] * 96), (1 << 9 | 97) | 1 << 8, *([0] * 300)]  # a small trie, of "a"
CHARSMAP = struct.pack("<I", 4 * len(UNITS)) + struct.pack(f"<{len(UNITS)}I", *UNITS) + b"b\0"


def byte_level() -> dict[str, Any]:
    letters = ["<unk>", "<s>", *letter_of_byte().values(), "th", "the", "Ġthe", "at"]
    return {
        "added_tokens": SPECIAL,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "Split", "pattern": {"Regex": patterns.LLAMA3}, "behavior": "Isolated"},
                LEVEL,
            ],
        },
        "model": {
            "type": "BPE",
            "vocab": {t: i for i, t in enumerate(letters)},
            "merges": ["t h", ["th", "e"], "Ġ the", "a t"],
            "unk_token": "<unk>",
        },
        "decoder": LEVEL,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
    }


def unigram() -> dict[str, Any]:
    rules = base64.b64encode(CHARSMAP).decode()
    return {
        "added_tokens": SPECIAL,
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": rules},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": [
                ["<unk>", 0.0],
                ["<s>", 0.0],
                ["▁the", -2.5],
                ["▁", -3],
                ["c", -4],
                ["a", -1],
            ],
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
    }


def word_piece() -> dict[str, Any]:
    words = ["[UNK]", "[CLS]", "[SEP]", "the", "c", "##a", "##t"]
    return {
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]",
                  "vocab": {w: i for i, w in enumerate(words)}},
        "decoder": {"type": "WordPiece", "prefix": "##"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
    }  # fmt: skip


def described(make):
    def write(folder: Path) -> Path:
        folder = folder / "published"
        folder.mkdir()
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(make(), ensure_ascii=False), "utf-8")
        return path

    return write


def field(number: int, value: bytes | int | float) -> bytes:
    """A field of a protocol buffer (small ones only)."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    return bytes([number << 3 | 2]) + bytes([len(value) & 127 | 128, len(value) >> 7]) + value


def sentencepiece(kind: int):
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("<x>", 0.0, 4),
              ("▁the", -1.0, 1), ("th", -3.0, 1), ("the", -2.0, 1), ("t", -4.0, 1), ("h", -5.0, 1),
              ("e", -6.0, 1), ("▁", -7.0, 1), ("c", -8.0, 1)]  # fmt: skip

    def write(folder: Path) -> Path:
        data = b"".join(
            field(1, field(1, piece.encode()) + field(2, score) + field(3, kind_of))
            for piece, score, kind_of in pieces
        )
        data += field(2, field(3, kind)) + field(3, field(2, CHARSMAP) + field(3, 1))
        path = folder / "tokenizer.model"
        path.write_bytes(data)
        return path

    return write


def ranks(folder: Path) -> Path:
    tokens = [bytes([i]) for i in range(256)] + [b"th", b"the"]
    path = folder / "small.tiktoken"
    path.write_bytes(
        b"".join(base64.b64encode(token) + b" %d\n" % i for i, token in enumerate(tokens))
    )
    return path


def vocab_txt(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nc\n##a\n##t\n")
    return path


def config(folder: Path) -> Path:
    described(word_piece)(folder)
    path = folder / "published" / "tokenizer_config.json"
    fields = {"bos_token": {"content": "[CLS]"}, "eos_token": "[SEP]", "chat_template": TEMPLATE}
    path.write_text(json.dumps(fields))
    return path


def metadata(kind: str):
    """The metadata of a GGUF file, as JSON, so that its values can be damaged one by one."""
    letters = ["<unk>", "<s>", "</s>", *letter_of_byte().values(), "th", "the"]
    names = {"gpt2": letters, "llama": ["<unk>", "<s>", "</s>", "▁the", "th", "t", "h", "e", "▁"]}
    tokens = names[kind]
    fields: dict[str, Any] = {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": TEMPLATE,
    }
    if kind == "gpt2":
        fields["tokenizer.ggml.merges"] = ["t h", "th e"]
    else:
        fields["tokenizer.ggml.scores"] = [-float(i) for i in range(len(tokens))]

    def write(folder: Path) -> Path:
        path = folder / "metadata.json"
        path.write_text(json.dumps(fields, ensure_ascii=False), "utf-8")
        return path

    return write


def use_metadata(path: Path) -> None:
    fields = parse_json(path.read_bytes(), str(path))
    if not isinstance(fields, dict):
        return
    tokenizer = from_pretrained(fields)
    tokenizer.decode(tokenizer.encode("The cat 12", disallowed_special=()))
    if tokenizer.names.get("chat_template") and HAS_TEMPLATES:
        tokenizer.chat([{"role": "user", "content": "the cat"}])


def use(path: Path) -> None:
    """Read it, and use every stage."""
    options = {}
    if path.suffix == ".tiktoken":
        options = {"pattern": patterns.GPT2, "special_tokens": {"<s>": 300}}
    tokenizer = from_pretrained(path, **options)
    ids = tokenizer.encode("The cat 12", disallowed_special=())
    tokenizer.decode(ids)
    tokenizer.count_bytes(ids)


def use_config(path: Path) -> None:
    tokenizer = from_pretrained(path.parent)
    _ = tokenizer.eot_token
    if tokenizer.names.get("chat_template") and HAS_TEMPLATES:
        tokenizer.chat([{"role": "user", "content": "the cat"}])


WRITERS = {
    "tokenizer.json, byte-level BPE": described(byte_level),
    "tokenizer.json, Unigram": described(unigram),
    "tokenizer.json, WordPiece": described(word_piece),
    "tokenizer.model, Unigram": sentencepiece(1),
    "tokenizer.model, BPE": sentencepiece(2),
    "tiktoken's ranks": ranks,
    "vocab.txt": vocab_txt,
}
