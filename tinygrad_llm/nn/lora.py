"""LoRA: train two small matrices beside each frozen layer (Hu et al., 2021).

A fine-tuned weight is W + ΔW. LoRA writes ΔW = (α/r)·B·A with A (r, in) and B (out, r), r small,
and trains A and B alone. B starts at zero, so that the model starts as it was, to the bit.

    lora.add(model, rank=8, alpha=16, names=["qkv", "out_proj"])
    ... train lora.parameters(model) ...
    lora.save(model, "adapter")         # A and B alone, in PEFT's file format
    lora.merge(model)                   # W becomes W + ΔW: no cost at inference; unmerge goes back

Source: "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, equation 3.
"""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..tensor import Tensor, wrap
from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter, new_parameter

__all__ = [
    "LinearWithLoRA",
    "LoRALayer",
    "add",
    "count",
    "layers",
    "load",
    "merge",
    "named_layers",
    "parameters",
    "remove",
    "save",
    "settings",
    "unmerge",
]


class LoRALayer(Module):
    """x·Aᵀ·Bᵀ·(α/r): x (..., in_features) -> (..., out_features), with dropout on x in training.

    lora_A (rank, in_features) starts as a Linear's weight, lora_B (out_features, rank) at zero.
    """

    def __init__(
        self, in_features: int, out_features: int, rank: int = 8, alpha: float = 16.0,
        dropout: float = 0.0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f"LoRA: rank must be a positive integer, got {rank!r}")
        if not alpha > 0:
            raise ValueError(f"LoRA: alpha must be positive, got {alpha!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"LoRA: dropout must be at least 0 and less than 1, got {dropout!r}")
        self.rank, self.alpha, self.dropout = rank, float(alpha), float(dropout)
        self.lora_A = new_parameter(rank, in_features, device=device, dtype=dtype)
        self.lora_B = new_parameter(out_features, rank, device=device, dtype=dtype)
        init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        init.zeros_(self.lora_B)

    @property
    def scaling(self) -> float:
        """α/r, the factor of B·A."""
        return self.alpha / self.rank

    def delta(self) -> Any:
        """ΔW = (α/r)·B·A as an array (out_features, in_features), outside the graph."""
        return self.lora_B.array @ self.lora_A.array * self.scaling

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(x, self.dropout, self.training)
        low = F.linear(x, self.lora_A)  # (..., in_features) -> (..., rank)
        return F.linear(low, self.lora_B) * self.scaling  # (..., rank) -> (..., out_features)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha:g}, dropout={self.dropout:g}"


class LinearWithLoRA(Module):
    """A frozen Linear with a LoRA layer beside it: linear(x) + lora(x).

    After `merge` the linear has a weight W + ΔW of its own and the LoRA layer is left out;
    `unmerge` brings back the weight that was there, to the bit. So a weight that other layers share
    (an output layer tied to the embedding) stays as it is for them.
    """

    def __init__(
        self, linear: Linear, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not isinstance(linear, Linear):
            raise TypeError(f"LinearWithLoRA wants a Linear, got {type(linear).__name__}")
        weight = linear.weight
        self.lora = LoRALayer(
            linear.in_features, linear.out_features, rank, alpha, dropout,
            device=weight.device, dtype=weight.dtype,
        )  # fmt: skip
        self.linear = linear.requires_grad_(False)
        self._before: tuple[Parameter, ...] = ()  # W while merged
        self.train(linear.training)

    @property
    def in_features(self) -> int:
        return self.linear.in_features

    @property
    def out_features(self) -> int:
        return self.linear.out_features

    @property
    def merged(self) -> bool:
        """Whether the linear's weight holds W + ΔW now."""
        return bool(self._before)

    @property
    def weight(self) -> Parameter:
        """The linear's weight, frozen."""
        return self.linear.weight

    @property
    def bias(self) -> Parameter | None:
        """The linear's bias, frozen."""
        return self.linear.bias

    def merge(self) -> None:
        """The linear's weight becomes W + ΔW; RuntimeError if it already is."""
        if self.merged:
            raise RuntimeError("this layer is merged already: unmerge it first")
        before = self.linear.weight
        self.linear.weight = Parameter(wrap(before.array + self.lora.delta()), False)
        self._before = (before,)

    def unmerge(self) -> None:
        """The linear's weight is W again, to the bit; RuntimeError if it is not merged."""
        if not self.merged:
            raise RuntimeError("this layer is not merged")
        (before,), merged = self._before, self.linear.weight
        if (before.device, before.dtype) != (merged.device, merged.dtype):  # moved while merged
            before.data = before.data.to(merged.device).to(merged.dtype)
        self.linear.weight = before
        self._before = ()

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y if self.merged else y + self.lora(x)


# ------------------------------------------------------------------------------ whole models
def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a module's dotted name, or its last parts, fits one of the patterns."""
    return any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(name, f"*.{p}") for p in patterns)


def add(
    model: Module, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0,
    names: Sequence[str] = ("*",), modules_to_save: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Freeze the model and put a LoRA layer beside every Linear whose name fits; their names.

    names: shell patterns of dotted names or of their last parts, such as "qkv", "att.*" or
    "trf_blocks.0.*"; "*" takes every Linear. A weight that is tied to another parameter (an output
    layer that shares the embedding) gets its LoRA layer, and the shared matrix stays frozen.
    modules_to_save: modules by dotted name that get no LoRA layer and are trained as they are, such
    as a new output layer: "out_head". `save` writes them with the adapter (the word is PEFT's).
    ValueError if no Linear fits, or no module has a name of modules_to_save.
    """
    if isinstance(names, str):
        names = [names]
    whole = [modules_to_save] if isinstance(modules_to_save, str) else list(modules_to_save)
    for name in whole:
        if name not in dict(model.named_modules()) or not name:
            raise ValueError(f"LoRA: modules_to_save: the model has no module called {name!r}")
    inside = {id(m.linear) for m in model.modules() if isinstance(m, LinearWithLoRA)}
    chosen = [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear)
        and id(module) not in inside
        and _matches(name, names)
        and not any(name == w or name.startswith(f"{w}.") for w in whole)
    ]
    if not chosen:
        linears = [n for n, m in model.named_modules() if isinstance(m, Linear)]
        raise ValueError(
            f"LoRA: no Linear is called {' or '.join(map(repr, names))}; there are: "
            f"{', '.join(linears) or 'none'}"
        )
    made = {n: LinearWithLoRA(model.get_submodule(n), rank, alpha, dropout) for n in chosen}
    whole += _whole(model)  # of an earlier call
    model.requires_grad_(False)
    for layer in layers(model):  # added by an earlier call
        layer.lora.requires_grad_(True)
    for name, layer in made.items():
        model.set_submodule(name, layer)
    for name in whole:
        model.get_submodule(name).requires_grad_(True)
    return chosen


def _whole(model: Module) -> list[str]:
    """The modules outside of LoRA layers whose own weights are trained; none before there are."""
    if not layers(model):
        return []
    return [
        name
        for name, module in model.named_modules()
        if not isinstance(module, LoRALayer)
        and any(p.requires_grad for p in module.parameters(recurse=False))
    ]


def settings(model: Module) -> dict[str, Any]:
    """What `add` has to be given for layers like those that the model has."""
    named = list(named_layers(model))
    first = _some(model)[0].lora
    for name, layer in named:
        here = (layer.lora.rank, layer.lora.alpha, layer.lora.dropout)
        if here != (first.rank, first.alpha, first.dropout):
            raise ValueError(
                f"LoRA: {name} has rank, alpha, dropout {here}, the first layer has "
                f"{(first.rank, first.alpha, first.dropout)}: one adapter file holds one setting"
            )
    return {
        "rank": first.rank,
        "alpha": first.alpha,
        "dropout": first.dropout,
        "names": [name for name, _ in named],
        "modules_to_save": _whole(model),
    }


def named_layers(model: Module) -> Iterator[tuple[str, LinearWithLoRA]]:
    """Every LinearWithLoRA with its dotted name."""
    for name, module in model.named_modules():
        if isinstance(module, LinearWithLoRA):
            yield name, module


def layers(model: Module) -> list[LinearWithLoRA]:
    """Every LinearWithLoRA of the model."""
    return [module for _, module in named_layers(model)]


def _some(model: Module) -> list[LinearWithLoRA]:
    found = layers(model)
    if not found:
        raise ValueError("the model has no LoRA layers: lora.add(model, ...) puts them in")
    return found


def parameters(model: Module) -> list[Parameter]:
    """The matrices A and B of the whole model, for the optimizer."""
    return [p for layer in _some(model) for p in (layer.lora.lora_A, layer.lora.lora_B)]


def count(model: Module) -> dict[str, int]:
    """How many numbers are trained, how many there are in all, and in the LoRA layers alone."""
    every = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in every if p.requires_grad),
        "total": sum(p.numel() for p in every),
        "lora": sum(p.numel() for p in parameters(model)),
    }


def merge(model: Module) -> None:
    """Add every ΔW to its weight: the model computes the same without the LoRA layers' cost."""
    for layer in _some(model):
        layer.merge()


def unmerge(model: Module) -> None:
    """Take every ΔW out again; the weights are what they were, to the bit."""
    for layer in _some(model):
        layer.unmerge()


def remove(model: Module) -> None:
    """Put the plain Linear layers back, merged or not as they are, and let everything train."""
    _some(model)
    for name, layer in list(named_layers(model)):
        model.set_submodule(name, layer.linear)
    model.requires_grad_(True)


# --------------------------------------------------------------------------------- PEFT's files
_PREFIX = "base_model.model."


def save(model: Module, folder: str | Path, base_model: str | None = None) -> Path:
    """Write the LoRA matrices alone in PEFT's format; the folder they are in.

    It holds adapter_model.safetensors and adapter_config.json. Modules that are trained as they are
    (see `add`) are in it too.
    base_model: the name of the model that the adapter belongs to, for the record.
    ValueError if the layers differ in rank, alpha or dropout, which PEFT's file can't say.
    """
    from ..weights.atomic import atomic_write
    from ..weights.safetensors import save_file

    said = settings(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, layer in named_layers(model):
        arrays[f"{_PREFIX}{name}.lora_A.weight"] = layer.lora.lora_A
        arrays[f"{_PREFIX}{name}.lora_B.weight"] = layer.lora.lora_B
    for name in said["modules_to_save"]:
        for own, parameter in model.get_submodule(name).named_parameters(recurse=False):
            arrays[f"{_PREFIX}{name}.{own}"] = parameter
    save_file(arrays, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "r": said["rank"],
        "lora_alpha": said["alpha"],
        "lora_dropout": said["dropout"],
        "target_modules": sorted(said["names"]),
        "modules_to_save": said["modules_to_save"] or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
    }
    with atomic_write(folder / "adapter_config.json") as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())
    return folder


def load(model: Module, folder: str | Path) -> list[str]:
    """Read an adapter in PEFT's format into a model; the names of the layers it changed.

    Layers that have no LoRA yet get it, with the file's rank, alpha and dropout. FileNotFoundError
    or ValueError name what is missing, of the wrong shape, or not supported (rsLoRA, DoRA, biases).
    """
    from ..weights.safetensors import load_file

    folder = Path(folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder / file} is missing: a LoRA adapter is a folder with adapter_config.json "
                "and adapter_model.safetensors"
            )
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'adapter_config.json'} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'adapter_config.json'} holds no JSON object")
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{folder}: peft_type is {config.get('peft_type')!r}, expected 'LORA'")
    for name, plain in (("use_rslora", False), ("use_dora", False), ("bias", "none"),
                        ("rank_pattern", {}), ("alpha_pattern", {})):  # fmt: skip
        if config.get(name, plain) not in (plain, None):
            raise ValueError(f"{folder}: {name}={config[name]!r} is not supported, only {plain!r}")
    for name in ("r", "lora_alpha", "lora_dropout"):
        if name not in config:
            raise ValueError(f"{folder / 'adapter_config.json'} has no {name!r}")
    arrays = load_file(folder / "adapter_model.safetensors")
    found: dict[str, dict[str, Any]] = {}
    whole = _read_whole(model, folder, config.get("modules_to_save") or [], arrays)
    for key, array in arrays.items():
        name, dot, matrix = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if not dot or matrix not in ("lora_A", "lora_B"):
            raise ValueError(f"{folder}: {key} is neither a lora_A nor a lora_B matrix")
        found.setdefault(name, {})[matrix] = array
    known = dict(model.named_modules())
    for name, pair in found.items():
        module = known.get(name)
        if not isinstance(module, Linear | LinearWithLoRA):
            raise ValueError(f"{folder}: the model has no Linear called {name!r}")
        if set(pair) != {"lora_A", "lora_B"}:
            raise ValueError(f"{folder}: {name} has {sorted(pair)} alone, wanted lora_A and lora_B")
        wanted = {
            "lora_A": (config["r"], module.in_features),
            "lora_B": (module.out_features, config["r"]),
        }
        for matrix, shape in wanted.items():
            if pair[matrix].shape != shape:
                raise ValueError(
                    f"{folder}: {name}.{matrix} has shape {pair[matrix].shape}, the model wants "
                    f"{shape}"
                )
    plain_layers = [name for name in found if isinstance(known[name], Linear)]
    if plain_layers:
        add(model, config["r"], config["lora_alpha"], config["lora_dropout"], plain_layers)
    for name, pair in found.items():
        layer = model.get_submodule(name)
        if layer.merged:
            raise RuntimeError(f"{name} is merged: lora.unmerge(model) before loading an adapter")
        layer.lora.rank, layer.lora.alpha = config["r"], float(config["lora_alpha"])
        layer.lora.dropout = float(config["lora_dropout"])
        for matrix, array in pair.items():
            parameter = getattr(layer.lora, matrix)
            value = wrap(array).to(parameter.dtype).to(parameter.device)
            parameter.data = value
    for name, own, array in whole:
        module = model.get_submodule(name)
        before = getattr(module, own)
        value = wrap(array).to(before.dtype).to(before.device)
        setattr(module, own, Parameter(value))  # its own, if it was tied to another one
    return list(found)


def _read_whole(
    model: Module, folder: Path, names: Sequence[str], arrays: dict[str, Any]
) -> list[tuple[str, str, Any]]:
    """(module, parameter, array) of the modules that an adapter holds whole; taken out of arrays.

    ValueError if the model has no such module, or one of another shape.
    """
    known, read = dict(model.named_modules()), []
    for name in names:
        if name not in known:
            raise ValueError(f"{folder}: the model has no module called {name!r}")
        for own, parameter in known[name].named_parameters(recurse=False):
            key = f"{_PREFIX}{name}.{own}"
            if key not in arrays:
                raise ValueError(f"{folder}: {key} is missing")
            array = arrays.pop(key)
            if array.shape != parameter.shape:
                raise ValueError(
                    f"{folder}: {name}.{own} has shape {array.shape}, the model wants "
                    f"{tuple(parameter.shape)}"
                )
            read.append((name, own, array))
    return read
