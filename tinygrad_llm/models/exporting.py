"""Models as GGUF files, which llama.cpp runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..layers import lora, quantized
from ..layers.value import remove_value_head
from ..weights.families.gguf_names import to_gguf
from ..weights.families.table import Weight, to_huggingface
from ..weights.formats import gguf
from .base import LanguageModel, PretrainedModel
from .loading import published
from .registry import of

__all__ = ["FILE_TYPES", "compare", "plain", "rewrite", "save_gguf"]

_Some = TypeVar("_Some", bound=PretrainedModel)
UNUSED = 5  # a type of tokens in GGUF

# general.file_type, which says how most of the weights are stored (llama.h, llama_ftype)
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32}


def plain(model: _Some) -> _Some:
    """The same model as one matrix of floats for each layer, changed in place.

    LoRA layers are merged into their layers, quantised matrices become floats again, and the value
    head of PPO is taken out.
    """
    remove_value_head(model)
    quantized.dequantize(model)
    if lora.layers(model):
        lora.merge(model)
        lora.remove(model)
    return model


def save_gguf(
    model: LanguageModel, path: str | Path, kind: str = "F16",
    tokenizer: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a model into a GGUF file that llama.cpp reads; returns its path.

    kind: of the matrices, "F32", "F16", "BF16", "Q8_0", "Q4_0" or "Q4_1". Norms and biases stay
        float32; the embedding and the output layer are Q8_0 where the others have 4 bits; a matrix
        whose rows cannot be cut into blocks of 32 is F16 in their place
    tokenizer: entries of metadata (tokenizer.ggml...), from text.gguf_entries or another file;
        without them llama.cpp reads the file, but it has no texts
    Raises: ValueError for another kind, a model that llama.cpp does not know, or one that `plain`
    has to change first; OSError if the disk refuses.
    """
    file_type = _file_type(kind)
    metadata, tensors = _parts(model)
    entries = {
        **metadata,
        "general.name": type(model).__name__,
        "general.file_type": file_type,
        "general.quantization_version": 2,
        **_filled(tokenizer or {"tokenizer.ggml.model": "no_vocab"}, model.config.vocab_size),
    }
    stored = {
        name: gguf.Pending(tensor.shape, stored_kind(name, tensor.shape, kind), tensor.read)
        for name, tensor in tensors.items()
    }
    return gguf.write(path, entries, stored)


def _parts(model: LanguageModel) -> tuple[dict[str, Any], Any]:
    """The metadata and the tensors of a model's GGUF file, each with its shape and how to read it.

    Raises: ValueError for a model that llama.cpp does not know.
    """
    family = of(model)
    if family is None or family.names is None or not isinstance(model, LanguageModel):
        raise ValueError(f"save_gguf: there is no table of names for a {type(model).__name__}")
    weights, config = published(family, model)
    config = {"num_key_value_heads": config.get("num_attention_heads"), **config}
    shapes = {name: weight.shape for name, weight in weights.items()}
    return to_gguf(config, shapes, _reader(weights, model.state_dict()))


def _filled(entries: Mapping[str, Any], n: int) -> Mapping[str, Any]:
    """The entries of a tokenizer with n tokens: rows of the embedding that no token has count."""
    tokens = entries.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or len(tokens) >= n:
        return entries
    types = entries["tokenizer.ggml.token_type"] + [UNUSED] * (n - len(tokens))
    more = [f"[UNUSED{i}]" for i in range(len(tokens), n)]
    return {
        **entries, "tokenizer.ggml.tokens": tokens + more, "tokenizer.ggml.token_type": types
    }  # fmt: skip


def _reader(weights: Mapping[str, Weight], state: Mapping[str, Any]) -> Callable[[str], np.ndarray]:
    """A function from Hugging Face's name to the array, in float32."""

    def read(name: str) -> np.ndarray:
        ((_, array),) = to_huggingface({name: weights[name]}, state)
        return np.asarray(array, np.float32)

    return read


def stored_kind(name: str, shape: tuple[int, ...], kind: str) -> str:
    """The number format of one tensor in a file of this kind."""
    if len(shape) == 1 or name.endswith("_norm.weight") or ".ffn_gate_inp." in name:
        return "F32"
    if kind in ("Q4_0", "Q4_1") and name in ("token_embd.weight", "output.weight"):
        kind = "Q8_0"
    if name == "position_embd.weight":  # llama.cpp adds it to the embedding in float32
        return "F32"
    return "F16" if kind.startswith("Q") and shape[-1] % 32 else kind


def _file_type(kind: str) -> int:
    """Raises: ValueError if such files cannot be written."""
    if kind not in FILE_TYPES:
        raise ValueError(f"kind must be {', '.join(FILE_TYPES)}, got {kind!r}")
    return FILE_TYPES[kind]


def rewrite(source: str | Path, path: str | Path, kind: str) -> Path:
    """Write a GGUF file again with its tensors in another format; metadata stay as they are.

    kind: as save_gguf's. A tensor that has this format already is copied byte for byte.
    Raises: ValueError for another kind; GGUFError if the source is damaged.
    """
    file_type = _file_type(kind)
    file = gguf.GGUFFile(source)
    metadata: dict[str, Any] = {key: file.metadata.encoded(key) for key in file.metadata}
    metadata |= {"general.file_type": file_type, "general.quantization_version": 2}
    tensors = {}
    for name in file:
        shape, old = file.shape(name), file.kind(name)
        new = old.name if old.dtype.kind == "i" else stored_kind(name, shape, kind)
        read = file.raw if new == old.name else file.read
        tensors[name] = gguf.Pending(shape, new, partial(read, name))
    return gguf.write(path, metadata, tensors)


def compare(before: gguf.GGUFFile | LanguageModel, after: gguf.GGUFFile) -> tuple[float, int, int]:
    """(root mean square of the change over that of the weights, bytes before, bytes after).

    Of the weights that have another format in the second file. before: a file, or the model whose
    weights were written
    """
    tensors: dict[str, Any] = {}
    if isinstance(before, gguf.GGUFFile):
        names = [name for name in before if name in after and before.kind(name) != after.kind(name)]
        n_bytes = sum(len(before.raw(name)) for name in before)
    else:
        tensors = _parts(before)[1]
        names = [name for name in tensors if after.kind(name).name != "F32"]
        n_bytes = sum(p.nbytes for p in before.parameters())
    change = size = 0.0
    for name in names:
        own: Any = tensors[name].read() if tensors else before[name]  # type: ignore[index]
        old, new = own.astype(np.float64), after[name]
        change += float(((new - old) ** 2).sum())
        size += float((old**2).sum())
    error = (change / size) ** 0.5 if size else 0.0
    return error, n_bytes, sum(len(after.raw(name)) for name in after)
