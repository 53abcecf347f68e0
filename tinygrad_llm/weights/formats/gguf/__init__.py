"""GGUF, the format of llama.cpp: read over a memory map, decoded, encoded and written.

kinds.py    the number formats as records      reader.py   GGUFFile: metadata and tensors
decode.py   blocks to float32                  encode.py   float32 to blocks
writer.py   a file, tensor by tensor
"""

from .encode import WRITABLE, encode
from .kinds import KINDS, Kind
from .reader import Encoded, GGUFError, GGUFFile, is_gguf, tokenizer_entries
from .writer import Pending, pending, write

__all__ = [
    "KINDS",
    "WRITABLE",
    "Encoded",
    "GGUFError",
    "GGUFFile",
    "Kind",
    "Pending",
    "encode",
    "is_gguf",
    "pending",
    "tokenizer_entries",
    "write",
]
