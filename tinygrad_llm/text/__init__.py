"""Tokenizers: text to token ids and back.

CharTokenizer    a character is a token
SimpleTokenizer  a word or a punctuation mark is a token
BPETokenizer     a run of bytes is a token; trained here, or from GPT-2's files
GPT2Tokenizer    GPT-2's, through tiktoken
PipelineTokenizer  a published model's: Llama, Qwen, Gemma, BERT, T5; or one trained by
train_bpe        over characters or bytes, with other cuts than GPT-2's: Japanese words
train_wordpiece  by the score of each pair, ## for what continues a word
train_unigram    by likelihood: EM and pruning, as in SentencePiece
train_tokenizer  one of the TRAINED_KINDS, by its name, for a language model
train_largest    the same, smaller if the text cannot fill it
sampled          a Unigram tokenizer that draws its cuts
japanese_normalizer  one spelling for what Japanese writes in several ways
write_sentencepiece  a trained Unigram tokenizer as a .model
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
from .sampled import sampled
from .sentencepiece_file import write_sentencepiece
from .stages.japanese import japanese_normalizer
from .tokenizer import END_OF_TEXT, StreamDecoder, Tokenizer, load_tokenizer
from .trainers.bpe import train_bpe
from .trainers.kinds import TRAINED_KINDS, train_largest, train_tokenizer
from .trainers.unigram import train_unigram
from .trainers.wordpiece import train_wordpiece

__all__ = [
    "END_OF_TEXT",
    "TRAINED_KINDS",
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
    "japanese_normalizer",
    "load_tokenizer",
    "sampled",
    "train_bpe",
    "train_largest",
    "train_tokenizer",
    "train_unigram",
    "train_wordpiece",
    "write_sentencepiece",
]
