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

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.devices import to_numpy
from ...files.json_files import read_json_object
from ...files.paths import local_path
from ...files.untrusted import describe
from ..formats.safetensors import SafeTensorsFile
from ..formats.torch_file import TorchFile, is_torch_file

__all__ = [
    "MODEL_TYPE",
    "GPT2Weights",
    "fields_of_json",
    "json_of_fields",
    "module_names",
    "read",
    "to_huggingface",
    "to_openai",
]

MODEL_TYPE = "gpt2"  # in a config.json
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
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def _names(n_layers: int) -> dict[str, tuple[str, str, bool]]:
    """Hugging Face's name -> (our name, letters of the shape in the file, whether transposed)."""
    names = {theirs: (ours, shape, False) for theirs, (ours, shape) in _TOP.items()}
    for i in range(n_layers):
        for theirs, (ours, shape) in _BLOCK.items():
            names[f"h.{i}.{theirs}"] = (f"trf_blocks.{i}.{ours}", shape, len(shape) == 2)
    return names


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


def _listed(names: list[str]) -> str:
    """The first six of the names, and how many more there are."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


# -------------------------------------------------------------------------------- reading
class GPT2Weights(Mapping[str, np.ndarray]):
    """Arrays under Hugging Face's names without "transformer." and without stored masks.

    weights: name -> array or tensor, under Hugging Face's names or OpenAI's; read when asked for
    where: what error messages call them
    Raises: ValueError if a weight is there twice; on reading TypeError if it is not floating-point.
    """

    def __init__(self, weights: Mapping[str, Any], where: str = "the weights") -> None:
        self.where = where
        self._weights = _from_openai(weights) if any("/" in name for name in weights) else weights
        self._keys: dict[str, str] = {}
        for name in self._weights:
            short = name.removeprefix("transformer.")
            if _BUFFER.fullmatch(short):
                continue
            if short in self._keys:
                raise ValueError(f"{where}: {short} is there twice, as {self._keys[short]} too")
            self._keys[short] = name

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight as it is stored, without reading it if that is possible."""
        key, weights = self._keys[name], self._weights
        stored = weights.tree[key] if isinstance(weights, TorchFile) else weights[key]
        return tuple(getattr(stored, "shape", ()))

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._weights[self._keys[name]]
        array = getattr(array, "array", array)
        dtype = getattr(array, "dtype", type(array).__name__)
        if str(dtype) not in _FLOATS:
            raise TypeError(
                f"{self.where}: {name} is {dtype}, but weights are {', '.join(_FLOATS)}"
            )
        return to_numpy(array)

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
                    f"{_listed(sorted(self)) or 'no arrays at all'}"
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
        V, T, C = vocab_size, context_length, emb_dim
        sizes = {"V": V, "T": T, "C": C, "Q": 3 * C, "F": 4 * C}
        shapes = {
            name: tuple(sizes[letter] for letter in letters)
            for name, (_, letters, _) in _names(n_layers).items()
        }
        if _HEAD in self._keys:
            shapes[_HEAD] = (V, C)
        missing = [name for name in shapes if name not in self._keys]
        unexpected = [name for name in self if name not in shapes]
        wrong = [
            f"{name} has shape {self.shape(name)}, expected {shape}"
            for name, shape in shapes.items()
            if name in self._keys and self.shape(name) != shape
        ]
        problems = [
            *([f"missing: {_listed(missing)}"] if missing else []),
            *([f"unexpected: {_listed(unexpected)}"] if unexpected else []),
            *wrong[:6],
            *([f"and {len(wrong) - 6} more wrong shapes"] if len(wrong) > 6 else []),
        ]
        if problems:
            raise ValueError(f"{self.where} is not the GPT-2 expected:\n  " + "\n  ".join(problems))

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
    "model_type": (MODEL_TYPE,),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def fields_of_json(path: Path) -> dict[str, Any]:
    """The fields of GPTConfig in a config.json of transformers.

    Raises: ValueError if the file is broken, or describes what this GPT cannot be.
    """
    config = read_json_object(path)
    for name, possible in _FIXED.items():
        if config.get(name, possible[0]) not in possible:
            allowed = " or ".join(map(repr, possible))
            raise ValueError(
                f"{path}: {name} is {describe(config[name])}, but this GPT has {allowed}"
            )
    fields: dict[str, Any] = {}
    for theirs, ours in _FIELDS.items():
        if theirs in config:
            fields[ours] = _number(path, theirs, config[theirs], int)
    inner = config.get("n_inner")
    if inner is not None and inner != 4 * fields.get("emb_dim", 768):
        raise ValueError(f"{path}: n_inner is {describe(inner)}, but this GPT has 4·n_embd")
    names = [n for n in ("embd_pdrop", "attn_pdrop", "resid_pdrop") if n in config]
    rates = {_number(path, name, config[name], float) for name in names}
    if len(rates) == 1:
        fields["drop_rate"] = rates.pop()
    elif rates:
        fields["drop_rate"] = None  # this GPT has one rate: the caller has to choose
    return fields


def _number(path: Path, name: str, value: Any, kind: type) -> Any:
    """The value of a field, if it is a number of this kind (an int is a float too)."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        words = "an integer" if kind is int else "a number"
        raise ValueError(f"{path}: {name} should be {words}, got {describe(value)}")
    return value


def read(path: str | Path) -> tuple[GPT2Weights, dict[str, Any]]:
    """(the weights, fields of GPTConfig in a config.json in the same folder) of a file or folder.

    path: a .safetensors file, a .bin file of torch.save (read without running anything in it), or
        a folder with model.safetensors or pytorch_model.bin
    Raises: FileNotFoundError if there is no such file; SafeTensorsError or TorchFileError if it is
    cut short or damaged; ValueError if it does not hold a state dict.
    """
    path = local_path(path)
    if path.is_dir():
        candidates = [path / "model.safetensors", path / "pytorch_model.bin"]
        present = [file for file in candidates if file.is_file()]
        if not present:
            raise FileNotFoundError(f"{path} has neither model.safetensors nor pytorch_model.bin")
        path = present[0]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        head = file.read(16)
    weights: Mapping[str, Any]
    if is_torch_file(head):
        weights = torch_file = TorchFile(path)
        if not isinstance(torch_file.tree, dict):
            raise ValueError(f"{path} holds a {type(torch_file.tree).__name__}, not a state dict")
    else:
        weights = SafeTensorsFile(path)
    json_file = path.with_name("config.json")
    fields = fields_of_json(json_file) if json_file.is_file() else {}
    return GPT2Weights(weights, str(path)), fields


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
    own = {name: to_numpy(getattr(value, "array", value)) for name, value in state.items()}
    n_layers = len({name.split(".")[1] for name in own if name.startswith("trf_blocks.")})
    renamed = {}
    for name, (ours, _, transposed) in _names(n_layers).items():
        if ours.endswith("qkv.bias") and ours not in own:
            weight = own[ours.replace("bias", "weight")]
            own[ours] = np.zeros(len(weight), weight.dtype)
        renamed[prefix + name] = np.ascontiguousarray(own[ours].T if transposed else own[ours])
    if not tied:
        renamed[_HEAD] = own["out_head.weight"]
    return renamed


def to_openai(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict of a GPT with a tied head under OpenAI's names; matrices are (1, in, out)."""
    renamed = {}
    for name, array in to_huggingface(state, "").items():
        matrix = name.startswith("h.") and array.ndim == 2
        renamed[_openai_name(name)] = array[None] if matrix else array  # (in, out) -> (1, in, out)
    return renamed


def json_of_fields(fields: Mapping[str, Any]) -> bytes:
    """The config.json that transformers reads with the weights, from the fields of GPTConfig."""
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": MODEL_TYPE,
        **{theirs: fields[ours] for theirs, ours in _FIELDS.items()},
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        **{name: fields["drop_rate"] for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")},
        "tie_word_embeddings": fields["tie_weights"],
        "bos_token_id": fields["vocab_size"] - 1,
        "eos_token_id": fields["vocab_size"] - 1,
    }
    return (json.dumps(config, indent=2) + "\n").encode()
