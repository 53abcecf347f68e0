"""LoRA: train two small matrices for each frozen layer (Hu et al., 2021).

A fine-tuned weight is W + ΔW. LoRA writes ΔW = (α/r)·B·A with A (r, in) and B (out, r), r small,
and trains only A and B. B starts at zero, so that the model starts as it was, to the last bit.

    lora.add(model, rank=8, alpha=16, names=["qkv", "out_proj"])
    ... train lora.parameters(model) ...
    lora.save(model, "adapter")         # only A and B, in PEFT's file format
    lora.merge(model)                   # W becomes W + ΔW: no cost at inference; unmerge undoes it

Source: "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, equation 3.
"""

from .files import load, save
from .layers import LinearWithLoRA, LoRALayer
from .model import add, count, layers, merge, named_layers, parameters, remove, settings, unmerge

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
