"""Adapters in PEFT's file format: adapter_model.safetensors and adapter_config.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...nn.linear import Linear
from ...nn.module import Module
from ...nn.parameter import Parameter
from ...tensor import wrap
from .layers import LinearWithLoRA
from .model import add, named_layers, settings

__all__ = ["load", "save"]

_PREFIX = "base_model.model."


def save(model: Module, folder: str | Path, base_model: str | None = None) -> Path:
    """Write the LoRA matrices alone in PEFT's format; the folder they are in.

    It holds adapter_model.safetensors and adapter_config.json. Modules that are trained as they are
    (see `add`) are in it too.
    base_model: the name of the model that the adapter belongs to, for the record.
    ValueError if the layers differ in rank, alpha or dropout, which PEFT's file can't say.
    """
    from ...files.atomic import atomic_write
    from ...weights.formats.safetensors import save_file

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
    from ...weights.formats.safetensors import load_file

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
