"""How many numbers an optimizer keeps beside the weights of a model, in closed form."""

from __future__ import annotations

from ..nn import Module
from ..nn.parameter import whole_numel
from .mup import hidden_matrices

__all__ = ["KEPT", "optimizer_numbers"]

# Numbers per weight: of hidden matrices, and of all others. Adafactor's are rows and columns.
KEPT = {"adamw": (2, 2), "muon": (1, 2), "lion": (1, 1), "schedule-free": (2, 2),
        "adafactor": (0, 0)}  # fmt: skip


def optimizer_numbers(model: Module, kind: str, saved: bool = False) -> int:
    """The numbers that an optimizer of `pretrain` keeps of the model's trained parameters.

    adamw      two moments of each weight
    muon       one momentum of each weight of a hidden matrix, AdamW's two of the others
    lion       one momentum
    adafactor  A + B for a matrix (A, B), one for each weight of a vector
    schedule-free  z and the second moment; saved: and the weights at which gradients are taken

    Raises: ValueError for a kind that is not known.
    """
    if kind not in KEPT:
        raise ValueError(f"there is no optimizer {kind}: {', '.join(KEPT)}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if kind == "adafactor":
        return sum(
            p.numel() // p.shape[-1] + p.numel() // p.shape[-2]
            if p.ndim > 1 and p.numel() else p.numel()
            for p in parameters
        )  # fmt: skip
    hidden, (of_hidden, of_others) = hidden_matrices(model), KEPT[kind]
    more = 1 if saved and kind == "schedule-free" else 0
    return sum(
        whole_numel(p) * (more + (of_hidden if id(p) in hidden else of_others)) for p in parameters
    )
