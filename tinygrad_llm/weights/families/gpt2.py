"""GPT-2's published weights: their names and layouts, to and from this package's GPT.

Three names for one weight, here of the layer that makes queries, keys and values in block 0:

    Hugging Face   h.0.attn.c_attn.weight      (C, 3C)     with or without "transformer." in front
    OpenAI         model/h0/attn/c_attn/w      (1, C, 3C)  with or without "model/" and ":0"
    here           trf_blocks.0.att.qkv.weight (3C, C)

Both older layouts store the matrix of y = x·W (a "Conv1D" of width 1), nn.Linear that of y = x·Wᵀ,
so these matrices are transposed. Queries, keys and values stay fused, in this order.

Everything here works on arrays; models/pretrained.py makes a GPT of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...files.paths import local_path
from ...files.untrusted import describe
from ..sources import ArraySource, Source, open_huggingface
from . import config_json, table
from .table import Weight, listed

__all__ = [
    "ARCHITECTURES",
    "MODEL_TYPES",
    "GPT2Weights",
    "check_parts",
    "module_names",
    "read",
    "read_config",
    "to_huggingface",
    "to_openai",
    "weights",
    "write_config",
]

MODEL_TYPES = ("gpt2",)  # in a config.json
ARCHITECTURES = ("GPT2LMHeadModel", "GPT2Model")
# The fields that put other parts into a GPT, and GPT-2's own
_PLAIN = {
    "attention": "mha", "feed_forward": "dense", "positions": "learned", "head_dim": None,
    "sinks": False, "norm": "layer", "qk_norm": False, "value_embeddings": False,
    "logit_softcap": None, "mup_base": None,
}  # fmt: skip
_TOP = {  # Hugging Face's name: (ours, shape)
    "wte.weight": ("tok_emb.weight", "VC"),
    "wpe.weight": ("pos_emb.weight", "TC"),
    "ln_f.weight": ("final_norm.weight", "C"),
    "ln_f.bias": ("final_norm.bias", "C"),
}
_BLOCK = {  # the same inside block i; two letters in a block: a matrix that is transposed
    "ln_1.weight": ("norm1.weight", "C"),
    "ln_1.bias": ("norm1.bias", "C"),
    "attn.c_attn.weight": ("att.qkv.weight", "CQ"),
    "attn.c_attn.bias": ("att.qkv.bias", "Q"),
    "attn.c_proj.weight": ("att.out_proj.weight", "CC"),
    "attn.c_proj.bias": ("att.out_proj.bias", "C"),
    "ln_2.weight": ("norm2.weight", "C"),
    "ln_2.bias": ("norm2.bias", "C"),
    "mlp.c_fc.weight": ("ff.layers.0.weight", "CF"),
    "mlp.c_fc.bias": ("ff.layers.0.bias", "F"),
    "mlp.c_proj.weight": ("ff.layers.2.weight", "FC"),
    "mlp.c_proj.bias": ("ff.layers.2.bias", "C"),
}
_HEAD = "lm_head.weight"
_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # the causal mask, once stored with them


def _names(n_layers: int) -> dict[str, tuple[str, str, bool]]:
    """Hugging Face's name -> (our name, letters of the shape in the file, whether transposed)."""
    names = {theirs: (ours, shape, False) for theirs, (ours, shape) in _TOP.items()}
    for i in range(n_layers):
        for theirs, (ours, shape) in _BLOCK.items():
            names[f"h.{i}.{theirs}"] = (f"trf_blocks.{i}.{ours}", shape, len(shape) == 2)
    return names


def _weights(V: int, T: int, C: int, n_layers: int, prefix: str = "") -> dict[str, Weight]:
    """Hugging Face's name -> Weight of a GPT-2 of this size, with a separate output layer."""
    sizes = {"V": V, "T": T, "C": C, "Q": 3 * C, "F": 4 * C}
    named = {
        prefix + name: Weight(ours, tuple(sizes[letter] for letter in letters), turned=turned)
        for name, (ours, letters, turned) in _names(n_layers).items()
    }
    return {**named, _HEAD: Weight("out_head.weight", (V, C))}


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a GPT with these fields; lm_head.weight too if it is tied.

    Raises: see check_parts.
    """
    check_parts(fields)
    return _weights(
        fields["vocab_size"], fields["context_length"], fields["emb_dim"], fields["n_layers"],
        "transformer.",
    )  # fmt: skip


def check_parts(fields: Mapping[str, Any]) -> None:
    """Raises: ValueError for a GPT with other parts than GPT-2's, which its files cannot hold."""
    for name, plain in _PLAIN.items():
        if fields.get(name, plain) != plain:
            raise ValueError(
                f"a GPT with {name}={fields[name]!r} has no place in GPT-2's files: "
                "save_checkpoint keeps it"
            )


def module_names(n_layers: int) -> dict[str, tuple[str, bool]]:
    """Our name of each module -> (its name in GPT2LMHeadModel, whether its matrix is transposed).

    These are the names in an adapter of PEFT: "transformer.h.0.attn.c_attn".
    """
    names = {"out_head": (_HEAD.removesuffix(".weight"), False)}
    for theirs, (ours, _, transposed) in _names(n_layers).items():
        if theirs.endswith(".weight"):
            module = "transformer." + theirs.removesuffix(".weight")
            names[ours.removesuffix(".weight")] = module, transposed
    return names


# ------------------------------------------------------------------------- OpenAI's names
def _openai_name(name: str) -> str:
    """Hugging Face's name of a weight in OpenAI's spelling."""
    *path, last = re.sub(r"^h\.(\d+)\.", r"h\1.", name).split(".")
    if path[-1] in ("wte", "wpe"):
        return "/".join(["model", *path])
    letter = "b" if last == "bias" else "g" if path[-1].startswith("ln_") else "w"
    return "/".join(["model", *path, letter])


def _from_openai(variables: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's variables under Hugging Face's names; a matrix (1, in, out) loses its first axis."""
    renamed = {}
    for name, array in variables.items():
        path = name.removesuffix(":0").removeprefix("model/")
        parts = re.sub(r"^h(\d+)/", r"h/\1/", path).split("/")
        last = parts[-1]
        if last in ("wte", "wpe"):
            parts.append("weight")
        elif last in ("g", "w", "b"):
            parts[-1] = "bias" if last == "b" else "weight"
        array = np.asarray(array)
        if array.ndim == 3 and array.shape[0] == 1 and last == "w":
            array = array[0]  # (1, in, out) -> (in, out)
        renamed[".".join(parts)] = array
    return renamed


# -------------------------------------------------------------------------------- reading
class GPT2Weights(Mapping[str, np.ndarray]):
    """Arrays under Hugging Face's names without "transformer." and without stored masks.

    weights: name -> array or tensor, under Hugging Face's names or OpenAI's; read when asked for
    where: what error messages call them
    Raises: ValueError if a weight is there twice; on reading TypeError if it is not floating-point.
    """

    def __init__(self, weights: Mapping[str, Any], where: str = "the weights") -> None:
        renamed = _from_openai(weights) if any("/" in name for name in weights) else weights
        self._source: Source = ArraySource(renamed, where=where)
        self._shorten()

    @classmethod
    def of(cls, source: Source) -> GPT2Weights:
        """The same over a source of weights."""
        self = cls.__new__(cls)
        self._source = source
        self._shorten()
        return self

    def _shorten(self) -> None:
        self.where, self.config = self._source.where, self._source.config
        self._keys: dict[str, str] = {}
        for name in self._source.names():
            short = name.removeprefix("transformer.")
            if _BUFFER.fullmatch(short):
                continue
            if short in self._keys:
                raise ValueError(
                    f"{self.where}: {short} is there twice, as {self._keys[short]} too"
                )
            self._keys[short] = name

    def names(self) -> list[str]:
        """The names of all weights, in short."""
        return list(self._keys)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight as it is stored, without reading it if that is possible."""
        return self._source.shape(self._keys[name])

    def read(self, name: str) -> np.ndarray:
        """A weight as it is stored.

        Raises: TypeError if it is not floating-point.
        """
        return self._source.read(self._keys[name])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def fields(self) -> dict[str, int]:
        """The fields of GPTConfig that follow from the shapes.

        Raises: ValueError if these cannot be the weights of a GPT-2.
        """
        for name in ("wte.weight", "wpe.weight"):
            if name not in self._keys:
                raise ValueError(
                    f"{self.where}: {name} is missing, so this is not a GPT-2; there are: "
                    f"{listed(sorted(self)) or 'no arrays at all'}"
                )
            if len(self.shape(name)) != 2:
                raise ValueError(
                    f"{self.where}: {name} has shape {self.shape(name)}, expected a matrix"
                )
        return {
            "vocab_size": self.shape("wte.weight")[0],
            "context_length": self.shape("wpe.weight")[0],
            "emb_dim": self.shape("wte.weight")[1],
            "n_layers": len({name.split(".")[1] for name in self if re.match(r"h\.\d+\.", name)}),
        }

    def has_own_head(self) -> bool:
        """Whether there is an lm_head.weight that differs from wte.weight."""
        if _HEAD not in self._keys:
            return False
        return self.shape(_HEAD) != self.shape("wte.weight") or not np.array_equal(
            self[_HEAD], self["wte.weight"]
        )

    def check(self, vocab_size: int, context_length: int, emb_dim: int, n_layers: int) -> None:
        """Compare all names and shapes with those of a GPT-2 of this size.

        Raises: ValueError that lists missing and unexpected names, and wrong shapes with both
        shapes.
        """
        named = _weights(vocab_size, context_length, emb_dim, n_layers)
        if _HEAD not in self._keys:
            del named[_HEAD]
        shapes = {name: weight.shape for name, weight in named.items()}
        table.check(self, shapes, "the GPT-2")

    def state(self, n_layers: int) -> Iterator[tuple[str, np.ndarray]]:
        """(our name, array in our layout) one by one; the head comes last, tied or not."""
        for name, (ours, _, transposed) in _names(n_layers).items():
            yield ours, self[name].T if transposed else self[name]  # (in, out) -> (out, in)
        yield "out_head.weight", self[_HEAD if _HEAD in self._keys else "wte.weight"]


_FIELDS = {  # a field of config.json: that of GPTConfig
    "vocab_size": "vocab_size",
    "n_positions": "context_length",
    "n_embd": "emb_dim",
    "n_head": "n_heads",
    "n_layer": "n_layers",
}
_FIXED: dict[str, tuple[Any, ...]] = {  # a field of config.json: the values that this GPT can have
    "model_type": MODEL_TYPES,
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of GPTConfig in the object of a config.json; where: the file, for messages.

    Raises: ValueError if it is broken, or describes what this GPT cannot be.
    """
    config_json.check_fixed(where, config, _FIXED, "this GPT")
    fields: dict[str, Any] = {}
    for theirs, ours in _FIELDS.items():
        if theirs in config:
            fields[ours] = config_json.number(where, theirs, config[theirs], int)
    inner = config.get("n_inner")
    if inner is not None and inner != 4 * fields.get("emb_dim", 768):
        raise ValueError(f"{where}: n_inner is {describe(inner)}, but this GPT has 4·n_embd")
    names = [n for n in ("embd_pdrop", "attn_pdrop", "resid_pdrop") if n in config]
    rates = {config_json.number(where, name, config[name], float) for name in names}
    if len(rates) == 1:
        fields["drop_rate"] = rates.pop()
    elif rates:
        fields["drop_rate"] = None  # this GPT has one rate: the caller has to choose
    return fields


def read(path: str | Path) -> tuple[GPT2Weights, dict[str, Any]]:
    """(the weights, fields of GPTConfig in a config.json in the same folder) of a file or folder.

    path: as sources.open_huggingface takes it
    Raises: FileNotFoundError if there is no such file; SafeTensorsError or TorchFileError if it is
    cut short or damaged; ValueError if it does not hold a state dict.
    """
    path = local_path(path)
    source = open_huggingface(path)
    described = (path if path.is_dir() else path.parent) / "config.json"
    fields = read_config(source.config, str(described)) if described.is_file() else {}
    return GPT2Weights.of(source), fields


# -------------------------------------------------------------------------------- writing
def to_huggingface(
    state: Mapping[str, Any], prefix: str = "transformer.", tied: bool = True
) -> dict[str, np.ndarray]:
    """A GPT's state dict under Hugging Face's names, as NumPy arrays in Hugging Face's layout.

    prefix: "transformer." as GPT2LMHeadModel has it, or "" as GPT2Model and the published files
    tied: whether the head is the embedding; if not, it becomes lm_head.weight
    Without qkv.bias the bias is written as zeros, which computes the same.
    Raises: KeyError if the state dict has not all names of a GPT.
    """
    n_layers = len({name.split(".")[1] for name in state if name.startswith("trf_blocks.")})
    sizes = (*state["tok_emb.weight"].shape, len(state["pos_emb.weight"]))
    named = _weights(sizes[0], sizes[2], sizes[1], n_layers, prefix)
    if tied:
        del named[_HEAD]
    return dict(table.to_huggingface(named, state))


def to_openai(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict of a GPT with a tied head under OpenAI's names; matrices are (1, in, out)."""
    renamed = {}
    for name, array in to_huggingface(state, "").items():
        matrix = name.startswith("h.") and array.ndim == 2
        renamed[_openai_name(name)] = array[None] if matrix else array  # (in, out) -> (1, in, out)
    return renamed


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json that transformers reads with the weights, from GPTConfig's."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": MODEL_TYPES[0],
        **{theirs: fields[ours] for theirs, ours in _FIELDS.items()},
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        **{name: fields["drop_rate"] for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")},
        "tie_word_embeddings": fields["tie_weights"],
        "bos_token_id": fields["vocab_size"] - 1,
        "eos_token_id": fields["vocab_size"] - 1,
    }
