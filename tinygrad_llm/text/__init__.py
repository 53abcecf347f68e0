"""Tokenizers: text to token ids and back.

CharTokenizer    a character is a token
SimpleTokenizer  a word or a punctuation mark is a token
BPETokenizer     a run of bytes is a token; trained here, or from GPT-2's files
GPT2Tokenizer    GPT-2's, through tiktoken
load_tokenizer   any of them from its file
"""

from .bpe import BPETokenizer
from .char import CharTokenizer
from .gpt2 import GPT2Tokenizer, find_gpt2_files
from .regex import SimpleTokenizer
from .tokenizer import END_OF_TEXT, StreamDecoder, Tokenizer, load_tokenizer

__all__ = [
    "END_OF_TEXT",
    "BPETokenizer",
    "CharTokenizer",
    "GPT2Tokenizer",
    "SimpleTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "find_gpt2_files",
    "load_tokenizer",
]
