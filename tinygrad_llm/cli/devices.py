"""--device and --precision: where a command computes, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import BadValue

if TYPE_CHECKING:
    from ..nn import Module
    from ..training import Trainer

__all__ = ["PRECISIONS", "can_graph", "check_device", "on_device", "set_precision"]

PRECISIONS = ("float32", "tf32", "bfloat16")


def check_device(device: str, precision: str = "float32") -> None:
    """Raises: BadValue for a device that can't be used, or a precision that it does not have."""
    from .. import cuda

    name, _, index = device.partition(":")
    if name not in ("cpu", "cuda") or (name == "cpu" and device != "cpu") or (
        device != name and not index.isdigit()
    ):  # fmt: skip
        raise BadValue(f"--device must be cpu, cuda or cuda:1, got {device}")
    if precision not in PRECISIONS:
        raise BadValue(f"--precision must be {', '.join(PRECISIONS)}, got {precision}")
    if name == "cpu":
        if precision != "float32":
            raise BadValue(f"--precision {precision} needs a GPU: add --device cuda")
        return
    if not cuda.is_available():
        reason = cuda.why_not().removeprefix("device 'cuda'").lstrip(": ")
        raise BadValue(f"--device {device}: {reason}")
    if index and int(index) >= cuda.device_count():
        raise BadValue(
            f"--device {device}: this machine has {cuda.device_count()} GPU(s), counted from 0"
        )


def on_device(model: Module, device: str) -> Module:
    """Moves the model to the device. From then on a GPU draws dropout's masks itself.

    That is much faster than to draw them on the CPU; the masks are not the same.
    """
    from .. import cuda

    if device != "cpu":
        cuda.fast_dropout()
    return model.to(device)


def can_graph(device: str, accumulation: int, checkpointing: bool) -> bool:
    """Whether a training step can be one launch on the GPU: see `cuda.graphed`."""
    from ..arrays.twins import twins

    return device != "cpu" and twins.gpu is not None and accumulation == 1 and not checkpointing


def set_precision(trainer: Trainer, precision: str) -> None:
    """The precision in which a trainer computes its losses.

    "tf32" rounds the factors of products in float32, "bfloat16" is autocast. Weights, their
    gradients and the optimizer stay float32.
    """
    from .. import autocast, backends

    backends.cuda.matmul.allow_tf32 = precision == "tf32"
    if precision == "bfloat16":
        trainer.loss = autocast("cuda")(trainer.loss)
