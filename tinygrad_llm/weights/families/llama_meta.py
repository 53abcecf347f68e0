"""Meta's own files of Llama 2 and 3: params.json and consolidated.00.pth, shown as Hugging Face's.

Three things differ. The names. The rows of queries and keys: rotary pairs are neighbours there,
(x₂ⱼ, x₂ⱼ₊₁), and halves here, (xⱼ, xⱼ₊D/2), so the rows of each head are put into that order. And
large models are in several files, each with a part of every matrix.
Source: Meta, "llama-models", class Transformer of Llama 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...files.json_files import read_json_object
from ..sources import ArraySource, open_arrays
from .config_json import flag, numbers

__all__ = ["PARAMS", "MetaFolder", "half_split"]

PARAMS = "params.json"
SMALL = 3072  # channels of the largest Llama 3.2 of texts: tied, and smoothed by 32
# Meta's name: (Hugging Face's, the axis along which several files divide it; None: each has all)
_TOP: dict[str, tuple[str, int | None]] = {
    "tok_embeddings.weight": ("model.embed_tokens.weight", 1),  # Llama 3: along axis 0
    "norm.weight": ("model.norm.weight", None),
    "output.weight": ("lm_head.weight", 0),
}
_BLOCK: dict[str, tuple[str, int | None]] = {
    "attention_norm.weight": ("input_layernorm.weight", None),
    "attention.wq.weight": ("self_attn.q_proj.weight", 0),
    "attention.wk.weight": ("self_attn.k_proj.weight", 0),
    "attention.wv.weight": ("self_attn.v_proj.weight", 0),
    "attention.wo.weight": ("self_attn.o_proj.weight", 1),
    "ffn_norm.weight": ("post_attention_layernorm.weight", None),
    "feed_forward.w1.weight": ("mlp.gate_proj.weight", 0),
    "feed_forward.w3.weight": ("mlp.up_proj.weight", 0),
    "feed_forward.w2.weight": ("mlp.down_proj.weight", 1),
}
_IGNORED = ("rope.freqs",)
_FIELDS: dict[str, tuple[str, type, Any]] = {  # of params.json: Hugging Face's, kind, if absent
    "dim": ("hidden_size", int, ...),
    "n_layers": ("num_hidden_layers", int, ...),
    "n_heads": ("num_attention_heads", int, ...),
    "n_kv_heads": ("num_key_value_heads", int, None),
    "norm_eps": ("rms_norm_eps", float, 1e-5),
    "rope_theta": ("rope_theta", float, 10000.0),
    "rope_scaling_factor": ("factor", float, None),
    "max_seq_len": ("max_position_embeddings", int, None),
}


def half_split(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows (H·D, ...) of interleaved rotary pairs, in half-split order: the same shape.

    In each head row 2j becomes row j, and row 2j + 1 becomes row j + D/2.
    """
    pairs = rows.reshape(n_heads, -1, 2, *rows.shape[1:])  # (H·D, ...) -> (H, D/2, 2, ...)
    return pairs.swapaxes(1, 2).reshape(rows.shape)  # (H, 2, D/2, ...) -> (H·D, ...)


class MetaFolder:
    """A folder with Meta's params.json and consolidated.00.pth, consolidated.01.pth and so on.

    Its `config` is the config.json that Hugging Face's conversion writes. params.json does not say
    the context: it is 4,096 tokens, 8,192 with a rope_theta over 10,000, and 131,072 with
    use_scaled_rope, whose factor is 8, and 32 in models of at most 3,072 channels (Llama 3.2).
    Nothing in the files runs.
    Raises: FileNotFoundError without weights; TorchFileError for a damaged file; ValueError if
    params.json is broken or a weight that it needs is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.where = str(folder)
        files = sorted(folder.glob("consolidated.*.pth"))
        if not files:
            raise FileNotFoundError(f"{folder} has {PARAMS}, but no consolidated.00.pth")
        self._parts = [ArraySource(open_arrays(file), where=str(file)) for file in files]
        for part in self._parts[1:]:
            for name in sorted(set(part.names()) ^ set(self._parts[0].names())):
                raise ValueError(
                    f"{self._parts[0].where} and {part.where} are not parts of one model: {name} "
                    "is in one of them only"
                )
        self._meta_name: dict[str, tuple[str, int | None]] = {}
        for theirs in self._parts[0].names():
            if theirs not in _IGNORED:
                name, axis = _huggingface(theirs)
                self._meta_name[name] = theirs, axis
        self.config = self._config(str(folder / PARAMS), read_json_object(folder / PARAMS))

    def _config(self, where: str, params: dict[str, Any]) -> dict[str, Any]:
        """The object of config.json for these params and shapes."""
        fields = numbers(where, params, _FIELDS, PARAMS)
        factor, context = fields.pop("factor"), fields.pop("max_position_embeddings")
        scaling = None
        if flag(where, params, "use_scaled_rope", False):
            scaling = {
                "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "factor": factor or (32.0 if fields["hidden_size"] <= SMALL else 8.0),
                "original_max_position_embeddings": 8192,
            }  # fmt: skip
        usual = 131072 if scaling else 8192 if fields["rope_theta"] > 10000.0 else 4096
        sizes = {
            "vocab_size": ("model.embed_tokens.weight", 0),
            "intermediate_size": ("model.layers.0.mlp.gate_proj.weight", 0),
        }
        for field, (name, axis) in sizes.items():
            if name not in self._meta_name or len(self.shape(name)) != 2:
                theirs = self._meta_name[name][0] if name in self._meta_name else name
                raise ValueError(f"{self.where}: {theirs} is missing, or not a matrix")
            fields[field] = self.shape(name)[axis]
        return {
            **fields,
            "model_type": "llama",
            "num_key_value_heads": fields["num_key_value_heads"] or fields["num_attention_heads"],
            "max_position_embeddings": context or usual,
            "rope_scaling": scaling,
            "tie_word_embeddings": bool(scaling) and fields["hidden_size"] <= SMALL,
        }

    def names(self) -> list[str]:
        """Hugging Face's names of all weights."""
        return list(self._meta_name)

    def _axis(self, name: str) -> int | None:
        """The axis along which the files divide a weight; None if each file has all of it."""
        theirs, axis = self._meta_name[name]
        if len(self._parts) == 1 or axis is None:
            return None
        if theirs == "tok_embeddings.weight" and self._parts[0].shape(theirs)[-1:] == (
            self._parts[0].shape("norm.weight")
        ):
            return 0  # whole rows: Llama 3 divides the vocabulary
        return axis

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight, all files together."""
        theirs, axis = self._meta_name[name][0], self._axis(name)
        shape = list(self._parts[0].shape(theirs))
        if axis is not None and len(shape) == 2:
            shape[axis] = sum(part.shape(theirs)[axis] for part in self._parts)
        return tuple(shape)

    def read(self, name: str) -> np.ndarray:
        """A weight in Hugging Face's layout.

        Raises: TypeError if it is not floating-point.
        """
        theirs, axis = self._meta_name[name][0], self._axis(name)
        if axis is None:
            array = self._parts[0].read(theirs)
        else:
            array = np.concatenate([part.read(theirs) for part in self._parts], axis)
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
        for part, field in heads.items():
            if f".{part}." in name:
                return half_split(array, self.config[field])
        return array


def _huggingface(name: str) -> tuple[str, int | None]:
    """Hugging Face's name for one of Meta's, and its axis; the name itself if it is not known."""
    layers, _, rest = name.partition(".")
    number_of_block, _, rest = rest.partition(".")
    if layers == "layers" and rest in _BLOCK:
        theirs, axis = _BLOCK[rest]
        return f"model.layers.{number_of_block}.{theirs}", axis
    return _TOP.get(name, (name, None))
