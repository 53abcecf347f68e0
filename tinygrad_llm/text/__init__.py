"""Tokenizers: text to token ids and back.

CharTokenizer    a character is a token
SimpleTokenizer  a word or a punctuation mark is a token
BPETokenizer     a run of bytes is a token; trained here, or from GPT-2's files
GPT2Tokenizer    GPT-2's, through tiktoken
PipelineTokenizer  a published model's: Llama, Qwen, Gemma, BERT, T5
from_pretrained  a published one from its folder or file
load_tokenizer   any of them from its file
gguf_entries     one of them as the metadata of a GGUF file
"""

from .bpe import BPETokenizer
from .char import CharTokenizer
from .gguf_entries import gguf_entries
from .gpt2 import GPT2Tokenizer, find_gpt2_files
from .pipeline import PipelineTokenizer
from .pretrained import from_pretrained, is_pretrained
from .regex import SimpleTokenizer
from .tokenizer import END_OF_TEXT, StreamDecoder, Tokenizer, load_tokenizer

__all__ = [
    "END_OF_TEXT",
    "BPETokenizer",
    "CharTokenizer",
    "GPT2Tokenizer",
    "PipelineTokenizer",
    "SimpleTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "find_gpt2_files",
    "from_pretrained",
    "gguf_entries",
    "is_pretrained",
    "load_tokenizer",
]
