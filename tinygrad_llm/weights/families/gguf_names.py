"""The weights of a GGUF file under the names of Hugging Face's files, and back.

    source = GGUFSource("model.gguf")           # a Source, as the loader takes it
    source.config["model_type"], source.read("model.layers.0.self_attn.q_proj.weight")

The numbers of some weights lie otherwise there: gguf_layouts.py. The experts of a layer are one
array (experts, rows, columns), here an array each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..formats.gguf import GGUFFile, Kind
from ..formats.pages import drop_pages
from .gguf_config import (
    config_of,
    head_dim_of,
    metadata_of,
    rope_factors,
    rope_of_full_layers,
)
from .gguf_layouts import Layout, delta_net, interleaved_pairs, norms_plus_one, turned

__all__ = ["ARCHITECTURES", "Architecture", "GGUFSource", "Named", "to_gguf"]

_TOP = {  # in the file: Hugging Face's
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_ATTENTION = {  # the same in a block, after "blk.N." and "model.layers.N."
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_QK_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_FEED_FORWARD = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_LLAMA = _ATTENTION | _FEED_FORWARD | _NORMS
_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.*.gate_proj",
    "ffn_up_exps": "mlp.experts.*.up_proj",
    "ffn_down_exps": "mlp.experts.*.down_proj",
}


@dataclass(frozen=True)
class Architecture:
    """How llama.cpp names and stores the weights of a family.

    name         general.architecture
    model_types  of config.json, that are written as this architecture
    block        the modules of a block: in the file -> Hugging Face's; * is the expert's number
    top          the weights outside the blocks
    prefix       of Hugging Face's blocks
    whole        weights of a block whose names differ in the last part too
    layout       for a weight's name and config.json how its numbers lie in the file, if otherwise
    """

    name: str
    model_types: tuple[str, ...]
    block: Mapping[str, str]
    top: Mapping[str, str]
    prefix: str = "model.layers."
    whole: Mapping[str, str] = field(default_factory=dict)
    layout: Callable[[str, Mapping[str, Any]], Layout | None] = lambda name, config: None


_ALL = (
    Architecture("llama", ("llama", "mistral"), _LLAMA, _TOP, layout=interleaved_pairs),
    Architecture("qwen2", ("qwen2",), _LLAMA, _TOP),
    Architecture("qwen3", ("qwen3",), _LLAMA | _QK_NORM, _TOP),
    Architecture(
        "qwen35",
        ("qwen3_5_text", "qwen3_5"),
        {
            **_ATTENTION,
            **_QK_NORM,
            **_FEED_FORWARD,
            "attn_norm": "input_layernorm",
            "post_attention_norm": "post_attention_layernorm",
            "attn_qkv": "linear_attn.in_proj_qkv",
            "attn_gate": "linear_attn.in_proj_z",
            "ssm_alpha": "linear_attn.in_proj_a",
            "ssm_beta": "linear_attn.in_proj_b",
            "ssm_conv1d": "linear_attn.conv1d",
            "ssm_norm": "linear_attn.norm",
            "ssm_out": "linear_attn.out_proj",
        },
        _TOP,
        whole={"ssm_a": "linear_attn.A_log", "ssm_dt.bias": "linear_attn.dt_bias"},
        layout=delta_net,
    ),
    Architecture("qwen3moe", ("qwen3_moe",), _ATTENTION | _NORMS | _QK_NORM | _EXPERTS, _TOP),
    Architecture(
        "gemma3",
        ("gemma3_text",),
        {
            **_ATTENTION,
            **_QK_NORM,
            **_FEED_FORWARD,
            "attn_norm": "input_layernorm",
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        },
        _TOP,
        layout=norms_plus_one,
    ),
    Architecture(
        "olmo2",
        ("olmo3",),
        {
            **_ATTENTION,
            **_QK_NORM,
            **_FEED_FORWARD,
            "post_attention_norm": "post_attention_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        },
        _TOP,
    ),
    Architecture(
        "cohere2", ("cohere2",), _ATTENTION | _FEED_FORWARD | {"attn_norm": "input_layernorm"}, _TOP
    ),
    Architecture(
        "gpt2",
        ("gpt2",),
        {
            "attn_norm": "ln_1",
            "attn_qkv": "attn.c_attn",
            "attn_output": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
        {
            "token_embd.weight": "transformer.wte.weight",
            "position_embd.weight": "transformer.wpe.weight",
            "output_norm.weight": "transformer.ln_f.weight",
            "output_norm.bias": "transformer.ln_f.bias",
            "output.weight": "lm_head.weight",
        },
        prefix="transformer.h.",
        layout=turned,
    ),
)
ARCHITECTURES: dict[str, Architecture] = {each.name: each for each in _ALL}
_IN_BLOCK = re.compile(r"blk\.(\d{1,5})\.(\w+)\.(weight|bias)")
_WHOLE = re.compile(r"blk\.(\d{1,5})\.(.+)")


class _Place(NamedTuple):
    """Where a weight of Hugging Face's is in the file.

    name: of the tensor; expert: its index along the first axis, or None for all of it
    """

    name: str
    expert: int | None = None


def _published(arch: Architecture, name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """(Hugging Face's name, _Place) for a tensor of the file; its own name if it is not known."""
    whole = _WHOLE.fullmatch(name)
    if whole and whole[2] in arch.whole:
        yield f"{arch.prefix}{whole[1]}.{arch.whole[whole[2]]}", _Place(name)
        return
    match = _IN_BLOCK.fullmatch(name)
    theirs = arch.block.get(match[2]) if match else None
    if match is None or theirs is None:
        yield arch.top.get(name, name), _Place(name)
        return
    full = f"{arch.prefix}{match[1]}.{theirs}.{match[3]}"
    if "*" not in full:
        yield full, _Place(name)
        return
    for i in range(shape[0] if len(shape) == 3 else 0):
        yield full.replace("*", str(i)), _Place(name, i)


class GGUFSource:
    """A GGUF file as a source of weights under the names of Hugging Face.

    file: its path, or a GGUFFile. `config` is the object of config.json that its metadata describe.
    Raises: FileNotFoundError if there is no such file; GGUFError if it is cut short or damaged;
    ValueError if its architecture is unknown.
    """

    def __init__(self, file: str | os.PathLike[str] | GGUFFile) -> None:
        self.file = file if isinstance(file, GGUFFile) else GGUFFile(file)
        self.where = self.file.where
        shapes: dict[str, Any] = {name: self.file.shape(name) for name in self.file}
        if "rope_freqs.weight" in shapes:
            shapes["rope_freqs.weight"] = self.file["rope_freqs.weight"]
        self.config: dict[str, Any] = config_of(self.file.metadata, self.where, shapes)
        self.architecture = ARCHITECTURES[self.file.metadata["general.architecture"]]
        self._places: dict[str, _Place] = {}
        for name in self.file:
            if name != "rope_freqs.weight":
                shape = self.file.shape(name)
                self._places.update(_published(self.architecture, name, shape))

    def names(self) -> list[str]:
        """The names of all weights, Hugging Face's."""
        return list(self._places)

    def place(self, name: str) -> tuple[str, int | None]:
        """(the tensor's name in the file, index along its first axis or None) of a weight."""
        return self._places[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight in Hugging Face's layout."""
        place = self._places[name]
        shape = self.file.shape(place.name)
        shape = shape if place.expert is None else shape[1:]
        layout = self._layout(name)
        return shape if layout is None else layout.shape(shape)

    def _layout(self, name: str) -> Layout | None:
        return self.architecture.layout(name, self.config)

    def read_into(self, name: str, out: np.ndarray) -> bool:
        """Decode a weight into `out`, chunk by chunk; False if it has another layout there."""
        place = self._places[name]
        whole = out.shape == self.shape(name) and out.flags.c_contiguous
        if self._layout(name) is not None or not whole or not isinstance(out, np.ndarray):
            return False
        if self.file.kind(place.name).dtype.kind == "i":
            return False
        self.file.read(place.name, out, place.expert)
        return True

    def stored(self, name: str) -> tuple[np.ndarray, Kind] | None:
        """(the bytes of a matrix (rows, bytes of a row), their format), with the rows in order.

        None for plain numbers, a matrix of which more than the rows differ, or no matrix.
        """
        place, layout = self._places[name], self._layout(name)
        kind, shape = self.file.kind(place.name), self.shape(name)
        if kind.is_plain or len(shape) != 2 or (layout is not None and not layout.rows_only):
            return None
        rows = self.file.raw(place.name, place.expert).reshape(shape[0], -1)
        return (rows if layout is None else layout.read(self._checked(rows, layout, name))), kind

    def drop(self, name: str) -> None:
        """Let the pages of a weight go that has been read."""
        place = self._places[name]
        drop_pages(self.file.raw(place.name, place.expert))

    def _checked(self, array: np.ndarray, layout: Layout, name: str) -> np.ndarray:
        """Raises: ValueError if the weight has not as many rows as its layout needs."""
        what = f"{self.where}: {self._places[name].name} has {len(array)} rows"
        if layout.rows is not None and len(array) != layout.rows:
            raise ValueError(f"{what}, expected {layout.rows}")
        if layout.heads is not None and len(array) % (2 * layout.heads):
            raise ValueError(f"{what}, which are not {layout.heads} heads")
        return array

    def read(self, name: str) -> np.ndarray:
        """A weight in float32, in Hugging Face's layout.

        Raises: TypeError if it is not floating-point; GGUFError if its format needs a package;
        ValueError if its rows cannot be split into heads.
        """
        place, layout = self._places[name], self._layout(name)
        kind = self.file.kind(place.name)
        if kind.dtype.kind == "i":
            raise TypeError(f"{self.where}: {place.name} holds integers, {kind.name}")
        array = self.file.read(place.name, index=place.expert)
        return array if layout is None else layout.read(self._checked(array, layout, name))


# --------------------------------------------------------------------------------- writing
class Named(NamedTuple):
    """A tensor to be written into a GGUF file: its shape and how to read it."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def to_gguf(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], np.ndarray],
) -> tuple[dict[str, Any], dict[str, Named]]:  # fmt: skip
    """(metadata without a tokenizer, tensors by their names) of a GGUF file for a model.

    config: the object of config.json; shapes: Hugging Face's name -> shape of all weights; read:
    returns a weight by this name
    Raises: ValueError if llama.cpp has no such architecture, or no place for a weight.
    """
    kind = config.get("model_type")
    arch = next((each for each in _ALL if kind in each.model_types), None)
    if arch is None:
        known = ", ".join(kind for each in _ALL for kind in each.model_types)
        raise ValueError(f"a model of type {kind} cannot be written as GGUF; those are {known}")
    placed: dict[str, list[str]] = {}
    for name in shapes:
        placed.setdefault(_name_in_file(arch, name), []).append(name)
    tensors = {}
    for ours, names in placed.items():
        layout, shape = arch.layout(names[0], config), shapes[names[0]]
        shape = shape if layout is None else layout.file_shape(shape)
        stacked = "_exps." in ours
        shape = (len(names), *shape) if stacked else shape

        def one(ours: str = ours, names: list[str] = names, stacked: bool = stacked) -> np.ndarray:
            arrays = [_stored(arch.layout(name, config), read(name)) for name in names]
            return np.stack(arrays) if stacked else arrays[0]  # (experts, rows, columns)

        tensors[ours] = Named(shape, one)
    metadata = metadata_of(config, arch.name)
    base, scaling = (0.0, None) if arch.name == "gpt2" else rope_of_full_layers(config)
    if scaling is not None and scaling["rope_type"] == "llama3":
        factors = rope_factors(base, head_dim_of(config), scaling)
        tensors["rope_freqs.weight"] = Named(factors.shape, lambda: factors)
    return metadata, tensors


def _name_in_file(arch: Architecture, name: str) -> str:
    """Raises: ValueError if the architecture has no such weight."""
    for ours, theirs in arch.top.items():
        if theirs == name:
            return ours
    whole = re.fullmatch(rf"{re.escape(arch.prefix)}(\d+)\.(.+)", name)
    for ours, theirs in arch.whole.items():
        if whole and whole[2] == theirs:
            return f"blk.{whole[1]}.{ours}"
    match = re.fullmatch(rf"{re.escape(arch.prefix)}(\d+)\.(.+)\.(weight|bias)", name)
    if match:
        module = re.sub(r"\.experts\.\d+\.", ".experts.*.", match[2])
        for ours, theirs in arch.block.items():
            if theirs == module:
                return f"blk.{match[1]}.{ours}.{match[3]}"
    raise ValueError(f"llama.cpp's architecture {arch.name} has no place for the weight {name}")


def _stored(layout: Layout | None, array: np.ndarray) -> np.ndarray:
    """A weight in Hugging Face's layout, in the file's layout."""
    return array if layout is None else layout.write(array)
