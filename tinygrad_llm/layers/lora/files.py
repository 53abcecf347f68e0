"""Adapters in PEFT's file format: adapter_model.safetensors and adapter_config.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.devices import to_numpy
from ...files.json_files import read_json_object, write_json
from ...files.paths import local_path
from ...files.untrusted import describe
from ...nn.linear import Linear
from ...nn.module import Module
from ...nn.parameter import Parameter
from ...tensor import Tensor, wrap
from ...weights.formats.safetensors import load_file, save_file
from ..quantized import QuantizedLinear
from .fused import Parts, joined, joined_whole, split_rows
from .layers import LinearWithLoRA, check_settings
from .model import add, named_layers, settings

__all__ = ["load", "save"]

_PREFIX = "base_model.model."
_PLAIN: dict[str, Any] = {  # PEFT's settings that change what is computed: what is read here
    "use_rslora": False, "use_dora": False, "bias": "none", "lora_bias": False,
    "rank_pattern": {}, "alpha_pattern": {}, "layer_replication": None, "use_qalora": False,
    "target_parameters": None, "trainable_token_indices": None, "alora_invocation_tokens": None,
    "use_bdlora": None, "velora_config": None, "monteclora_config": None, "kasa_config": None,
    "arrow_config": None,
}  # fmt: skip
_KEEP_BASE = ("gaussian", "orthogonal", "eva")  # ways to draw A that leave the base model alone


def save(
    model: Module, folder: str | Path, base_model: str | None = None, *, published: bool = False
) -> Path:
    """Write only the LoRA matrices, in PEFT's format; returns the folder.

    It holds adapter_model.safetensors and adapter_config.json. Modules that are trained as they are
    (see `add`) are in it too.
    base_model: the name of the model that the adapter belongs to, for the record
    published: under the names of transformers' model ("transformer.h.0.attn.c_attn"), so that PEFT
    can load it into that; otherwise under our names. `load` reads both. Our qkv is three modules
    there, see fused.py.
    Raises: ValueError if the layers differ in rank, alpha or dropout, which PEFT's file can't hold,
    or if the model has no published names.
    """
    options = settings(model)
    parts = _parts_of(model) if published else {}
    if parts:
        return _save_parts(model, local_path(folder), base_model, options, parts)
    table = _published(model) if published else {}
    if published and not table:
        raise ValueError(f"{type(model).__name__} has no published names: save it with ours")
    folder = local_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, layer in named_layers(model):
        theirs, _ = table.get(name, (name, False))
        arrays[f"{_PREFIX}{theirs}.lora_A.weight"] = layer.lora.lora_A
        arrays[f"{_PREFIX}{theirs}.lora_B.weight"] = layer.lora.lora_B
    for name in options["modules_to_save"]:
        theirs, transposed = table.get(name, (name, False))
        for own, parameter in model.get_submodule(name).named_parameters(recurse=False):
            turned = transposed and own == "weight"
            arrays[f"{_PREFIX}{theirs}.{own}"] = parameter.detach().T if turned else parameter
    targets = [table.get(n, (n, False))[0] for n in options["names"]]
    whole = [table.get(n, (n, False))[0] for n in options["modules_to_save"]]
    turned = any(table.get(n, (n, False))[1] for n in options["names"])
    return _write(folder, arrays, base_model, options, (targets, whole, turned))


def _write(
    folder: Path, arrays: dict[str, Any], base_model: str | None, options: dict[str, Any],
    names: tuple[list[str], list[str], bool],
) -> Path:  # fmt: skip
    """Write the two files; names: modules with an adapter, those saved whole, if (in, out)."""
    targets, whole, turned = names
    save_file(arrays, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "r": options["rank"],
        "lora_alpha": options["alpha"],
        "lora_dropout": options["dropout"],
        "target_modules": sorted(targets),
        "modules_to_save": whole or None,
        "bias": "none",
        "fan_in_fan_out": turned,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
    }
    write_json(folder / "adapter_config.json", config, indent=2)
    return folder


def _save_parts(
    model: Module, folder: Path, base_model: str | None, options: dict[str, Any], parts: Parts
) -> Path:
    """`save` for a model of which one matrix may be several published ones."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for name, layer in named_layers(model):
        A, B = (to_numpy(p.array) for p in (layer.lora.lora_A, layer.lora.lora_B))
        for theirs, rows in parts[name]:
            arrays[f"{_PREFIX}{theirs}.lora_A.weight"] = A.copy()
            arrays[f"{_PREFIX}{theirs}.lora_B.weight"] = split_rows(B, rows)
    for name in options["modules_to_save"]:
        for own, parameter in model.get_submodule(name).named_parameters(recurse=False):
            for theirs, rows in parts[name]:
                array = split_rows(to_numpy(parameter.array), rows)
                arrays[f"{_PREFIX}{theirs}.{own}"] = array
    targets = [theirs for name in options["names"] for theirs, _ in parts[name]]
    whole = [theirs for name in options["modules_to_save"] for theirs, _ in parts[name]]
    return _write(folder, arrays, base_model, options, (targets, whole, False))


def load(model: Module, folder: str | Path) -> list[str]:
    """Read an adapter in PEFT's format into a model; returns the names of the layers it changed.

    Layers without LoRA get it, with the file's rank, alpha and dropout. The names in the file are
    ours or those of transformers' model.
    Raises: FileNotFoundError if a file is missing; ValueError that names what is missing, of the
    wrong shape, or not supported (rsLoRA, DoRA, biases, PiSSA); RuntimeError if a layer is merged.
    """
    folder = local_path(folder)
    config = _read_config(folder)
    arrays = load_file(folder / "adapter_model.safetensors")
    saved_whole = config.get("modules_to_save") or []
    parts = _parts_of(model)
    theirs = {module for each in parts.values() for module, _ in each}
    if any(_module_of(key) in theirs for key in arrays):
        names, k = _join_parts(model, folder, saved_whole, arrays, parts)
        config["r"], config["lora_alpha"] = config["r"] * k, config["lora_alpha"] * k
    else:
        names = _our_names(model, folder, saved_whole, arrays)
    whole = _take_whole(model, folder, names, arrays)
    pairs = _pairs(model, folder, config["r"], arrays)
    known = dict(model.named_modules())
    plain = (Linear, QuantizedLinear)
    without_lora = [name for name in pairs if isinstance(known[name], plain)]
    if without_lora:
        add(model, config["r"], config["lora_alpha"], config["lora_dropout"], without_lora)
    for name, pair in pairs.items():
        layer = model.get_submodule(name)
        if layer.merged:
            raise RuntimeError(f"{name} is merged: lora.unmerge(model) before loading an adapter")
        layer.lora.rank, layer.lora.alpha = config["r"], config["lora_alpha"]
        layer.lora.dropout = config["lora_dropout"]
        for matrix, array in pair.items():
            parameter = getattr(layer.lora, matrix)
            parameter.data = _like(parameter, array)
    for name, own, array in whole:
        module = model.get_submodule(name)
        value = _like(getattr(module, own), array)
        setattr(module, own, Parameter(value))  # a new one, in case it was tied to another
    return list(pairs)


def _read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json, if the folder is an adapter of a kind that is supported here."""
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder / file} is missing: a LoRA adapter is a folder with adapter_config.json "
                "and adapter_model.safetensors"
            )
    path = folder / "adapter_config.json"
    config = read_json_object(path)
    if config.get("peft_type") != "LORA":
        kind = describe(config.get("peft_type"))
        raise ValueError(f"{folder}: peft_type is {kind}, expected 'LORA'")
    for name, plain in _PLAIN.items():
        if config.get(name, plain) not in (plain, None):
            raise ValueError(
                f"{folder}: {name}={describe(config[name])} is not supported, only {plain!r}"
            )
    start = config.get("init_lora_weights", True)
    if not isinstance(start, bool | None) and start not in _KEEP_BASE:
        raise ValueError(
            f"{folder}: init_lora_weights={describe(start)} has changed the weights of the base "
            "model, which the adapter's file does not hold; save it in PEFT with "
            "path_initial_model_for_weight_conversion"
        )
    for name in ("r", "lora_alpha", "lora_dropout"):
        if name not in config:
            raise ValueError(f"{path} has no {name!r}")
    try:
        config["r"], config["lora_alpha"], config["lora_dropout"] = check_settings(
            config["r"], config["lora_alpha"], config["lora_dropout"]
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    whole = config.get("modules_to_save")
    if whole is not None and not (
        isinstance(whole, list) and all(isinstance(module, str) for module in whole)
    ):
        raise ValueError(f"{path}: 'modules_to_save' should be a list, got {describe(whole)}")
    names = config.get("target_modules")  # the matrices say it; a text is a pattern
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if names is not None and not texts and not isinstance(names, str):
        raise ValueError(f"{path}: 'target_modules' should be a list, got {describe(names)}")
    return config


def _module_of(key: str) -> str:
    """The module of an array in an adapter file."""
    name, _, rest = key.removeprefix(_PREFIX).partition(".lora_")
    return (name if rest else name.rpartition(".")[0]).removesuffix(".base_layer")


def _parts_of(model: Module) -> Parts:
    """Our name of each module -> the published modules that it is made of; {} if there are none."""
    parts = getattr(model, "published_parts", None)
    return parts() if callable(parts) else {}


def _join_parts(
    model: Module, folder: Path, whole: Sequence[str], arrays: dict[str, np.ndarray], parts: Parts
) -> tuple[list[str], int]:
    """Put arrays under our names in place of published ones; (modules_to_save, see fused.joined).

    Raises: ValueError if they do not fit the model.
    """
    pairs: dict[str, dict[str, np.ndarray]] = {}
    for key in list(arrays):
        name, _, rest = key.removeprefix(_PREFIX).partition(".lora_")
        if rest:
            matrix = f"lora_{rest.removesuffix('.weight')}"
            pairs.setdefault(name, {})[matrix] = arrays.pop(key)
        elif key.endswith(".base_layer.weight"):
            array = arrays.pop(key)
            module = _module_of(key)
            for ours, each in parts.items():
                if [module] == [theirs for theirs, _ in each]:
                    own = to_numpy(model.get_submodule(ours).weight.array)
                    if not np.array_equal(array, own):
                        raise ValueError(
                            f"{folder}: {key} differs from the model's: another base model"
                        )
    known = dict(model.named_modules())
    linears = (Linear, LinearWithLoRA, QuantizedLinear)
    sizes = {n: m.out_features for n, m in known.items() if isinstance(m, linears)}
    own_pairs, k = joined(parts, pairs, sizes, str(folder))
    if pairs:
        raise ValueError(f"{folder}: the model has no Linear called {next(iter(pairs))!r}")
    for name, pair in own_pairs.items():
        for matrix, array in pair.items():
            arrays[f"{_PREFIX}{name}.{matrix}.weight"] = array
    names, saved = [], {_module_of(key) for key in arrays if ".lora_" not in key}
    for missing in (w for w in whole if not any(module.endswith(w) for module in saved)):
        raise ValueError(
            f"{folder}: the weights of modules_to_save {describe(missing)} are missing"
        )
    for name in known.keys() & parts.keys():
        if saved.isdisjoint(module for module, _ in parts[name]):
            continue
        names.append(name)
        for own, _ in known[name].named_parameters(recurse=False):
            value = joined_whole(parts[name], own, arrays, _PREFIX)
            if value is not None:
                arrays[f"{_PREFIX}{name}.{own}"] = value
    return sorted(names), k


def _published(model: Module) -> dict[str, tuple[str, bool]]:
    """Our name of each module -> (its published name, whether its matrix is transposed there)."""
    names = getattr(model, "published_modules", None)
    return names() if callable(names) else {}


def _our_names(
    model: Module, folder: Path, whole: Sequence[str], arrays: dict[str, np.ndarray]
) -> list[str]:
    """Rename the arrays of an adapter for transformers' model, in place; returns modules_to_save.

    PEFT's modules_to_save are names or their last parts. A matrix that transformers stores as
    (in, out) is transposed; lora_A and lora_B are stored alike in both.
    Raises: ValueError if the adapter holds another base weight than the model has.
    """
    ours = {theirs: (name, turned) for name, (theirs, turned) in _published(model).items()}
    if not any(key.removeprefix(_PREFIX).startswith("transformer.") or "lm_head." in key
               for key in arrays) or not ours:  # fmt: skip
        return list(whole)
    for key in list(arrays):
        name, _, rest = key.removeprefix(_PREFIX).partition(".lora_")
        if rest:
            module, own = name, f"lora_{rest}"
        else:
            module, _, own = name.rpartition(".")
        base = module.removesuffix(".base_layer")
        if base not in ours:
            continue
        name, turned = ours[base]
        array = arrays.pop(key)
        array = array.T if turned and own == "weight" else array  # (in, out) -> (out, in)
        if base == module:
            arrays[f"{_PREFIX}{name}.{own}"] = array
        elif not np.array_equal(array, to_numpy(getattr(model.get_submodule(name), own).array)):
            raise ValueError(f"{folder}: {key} differs from the model's: another base model")
    return [
        name
        for theirs, (name, _) in ours.items()
        if any(theirs == part or theirs.endswith(f".{part}") for part in whole)
    ]


def _pairs(
    model: Module, folder: Path, rank: int, arrays: dict[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """The name of a layer -> {"lora_A": array, "lora_B": array}, with shapes that fit the model."""
    pairs: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        name, dot, matrix = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if not dot or matrix not in ("lora_A", "lora_B"):
            raise ValueError(f"{folder}: {key} is neither a lora_A nor a lora_B matrix")
        if array.dtype.kind in "biuc":
            raise ValueError(
                f"{folder}: {key} holds {array.dtype}, expected floating-point numbers"
            )
        pairs.setdefault(name, {})[matrix] = array
    known = dict(model.named_modules())
    for name, pair in pairs.items():
        module = known.get(name)
        if not isinstance(module, Linear | QuantizedLinear | LinearWithLoRA):
            raise ValueError(f"{folder}: the model has no Linear called {name!r}")
        if set(pair) != {"lora_A", "lora_B"}:
            raise ValueError(
                f"{folder}: {name} has only {sorted(pair)}, expected lora_A and lora_B"
            )
        shapes = {"lora_A": (rank, module.in_features), "lora_B": (module.out_features, rank)}
        for matrix, shape in shapes.items():
            _check_shape(folder, f"{name}.{matrix}", pair[matrix], shape)
    return pairs


def _take_whole(
    model: Module, folder: Path, names: Sequence[str], arrays: dict[str, np.ndarray]
) -> list[tuple[str, str, np.ndarray]]:
    """(module, parameter, array) of the modules that are saved whole; taken out of `arrays`.

    Raises: ValueError if the model has no such module, or one of another shape.
    """
    known, whole = dict(model.named_modules()), []
    for name in names:
        if name not in known:
            raise ValueError(f"{folder}: the model has no module called {name!r}")
        for own, parameter in known[name].named_parameters(recurse=False):
            key = f"{_PREFIX}{name}.{own}"
            if key not in arrays:
                raise ValueError(f"{folder}: {key} is missing")
            array = arrays.pop(key)
            _check_shape(folder, f"{name}.{own}", array, tuple(parameter.shape))
            whole.append((name, own, array))
    return whole


def _check_shape(folder: Path, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{folder}: {name} has shape {array.shape}, the model expects {shape}")


def _like(parameter: Tensor, array: np.ndarray) -> Tensor:
    """The array as a tensor of the parameter's dtype, on its device."""
    return wrap(array).to(parameter.dtype).to(parameter.device)
