"""LoRA layers of a whole model: added, listed, counted, merged and removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...nn.linear import Linear
from ...nn.module import Module
from ...nn.parameter import Parameter
from .. import quantized
from ..patterns import matches
from ..quantized import QuantizedLinear
from .layers import LinearWithLoRA, LoRALayer

__all__ = [
    "add",
    "count",
    "layers",
    "merge",
    "named_layers",
    "parameters",
    "remove",
    "settings",
    "unmerge",
]


def add(
    model: Module, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0,
    names: Sequence[str] = ("*",), modules_to_save: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Freeze the model and add a LoRA layer to every Linear whose name matches; returns the names.

    names: shell patterns of dotted names or of their last parts, such as "qkv", "att.*" or
    "trf_blocks.0.*"; "*" matches every Linear. A weight that is tied to another parameter (an
    output layer that shares the embedding) gets its LoRA layer, and the shared matrix stays frozen.
    modules_to_save: dotted names of modules that get no LoRA layer and are trained as they are,
    such as a new output layer: "out_head". `save` writes them with the adapter (PEFT's word).
    Raises: ValueError if no Linear matches, or if the model lacks one of modules_to_save.
    """
    if isinstance(names, str):
        names = [names]
    whole = [modules_to_save] if isinstance(modules_to_save, str) else list(modules_to_save)
    for name in whole:
        if name not in dict(model.named_modules()) or not name:
            raise ValueError(f"LoRA: modules_to_save: the model has no module called {name!r}")
    with_lora = {id(m.linear) for m in model.modules() if isinstance(m, LinearWithLoRA)}
    chosen = [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear | QuantizedLinear)
        and id(module) not in with_lora
        and matches(name, names)
        and not any(name == w or name.startswith(f"{w}.") for w in whole)
    ]
    if not chosen:
        linears = [n for n, m in model.named_modules() if isinstance(m, Linear | QuantizedLinear)]
        raise ValueError(
            f"LoRA: no Linear is called {' or '.join(map(repr, names))}; there are: "
            f"{', '.join(linears) or 'none'}"
        )
    new = {n: LinearWithLoRA(model.get_submodule(n), rank, alpha, dropout) for n in chosen}
    whole += _trained_whole(model)  # of an earlier call
    model.requires_grad_(False)
    for layer in layers(model):  # added by an earlier call
        layer.lora.requires_grad_(True)
    for name, layer in new.items():
        model.set_submodule(name, layer)
    for name in whole:
        model.get_submodule(name).requires_grad_(True)
    return chosen


def _trained_whole(model: Module) -> list[str]:
    """The modules outside of LoRA layers whose own weights are trained; [] without LoRA layers."""
    if not layers(model):
        return []
    return [
        name
        for name, module in model.named_modules()
        if not isinstance(module, LoRALayer)
        and any(p.requires_grad for p in module.parameters(recurse=False))
    ]


def settings(model: Module) -> dict[str, Any]:
    """The arguments of `add` that make layers like those that the model has.

    Raises: ValueError if there are none, or if they differ in rank, alpha or dropout.
    """
    named = list(named_layers(model))
    first = _layers(model)[0].lora
    for name, layer in named:
        own = (layer.lora.rank, layer.lora.alpha, layer.lora.dropout)
        if own != (first.rank, first.alpha, first.dropout):
            raise ValueError(
                f"LoRA: {name} has rank, alpha, dropout {own}, the first layer has "
                f"{(first.rank, first.alpha, first.dropout)}: one adapter file holds one setting"
            )
    return {
        "rank": first.rank,
        "alpha": first.alpha,
        "dropout": first.dropout,
        "names": [name for name, _ in named],
        "modules_to_save": _trained_whole(model),
    }


def named_layers(model: Module) -> Iterator[tuple[str, LinearWithLoRA]]:
    """Every LinearWithLoRA with its dotted name."""
    for name, module in model.named_modules():
        if isinstance(module, LinearWithLoRA):
            yield name, module


def layers(model: Module) -> list[LinearWithLoRA]:
    """Every LinearWithLoRA of the model."""
    return [module for _, module in named_layers(model)]


def _layers(model: Module) -> list[LinearWithLoRA]:
    """`layers`, if there are any; ValueError if there are none."""
    lora_layers = layers(model)
    if not lora_layers:
        raise ValueError("the model has no LoRA layers: lora.add(model, ...) adds them")
    return lora_layers


def parameters(model: Module) -> list[Parameter]:
    """The matrices A and B of the whole model, for the optimizer."""
    return [p for layer in _layers(model) for p in (layer.lora.lora_A, layer.lora.lora_B)]


def count(model: Module) -> dict[str, int]:
    """How many numbers are trained, how many there are in total, and how many in LoRA layers."""
    all_parameters = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in all_parameters if p.requires_grad),
        "total": sum(p.numel() for p in all_parameters) + quantized.count(model),
        "lora": sum(p.numel() for p in parameters(model)),
    }


def merge(model: Module) -> None:
    """Add every ΔW to its weight: the model computes the same without the LoRA layers' cost."""
    for layer in _layers(model):
        layer.merge()


def unmerge(model: Module) -> None:
    """Take every ΔW out again; the weights are what they were, to the last bit."""
    for layer in _layers(model):
        layer.unmerge()


def remove(model: Module) -> None:
    """Put the plain Linear layers back, merged or not as they are; everything is trainable then."""
    _layers(model)
    for name, layer in list(named_layers(model)):
        if isinstance(layer.linear, Linear):
            layer.linear.weight = layer.weight  # W + ΔW if it is merged
        model.set_submodule(name, layer.linear)
    model.requires_grad_(True)
