"""Where a run computes, and in which precision."""

from __future__ import annotations

import dataclasses

from .. import backends, cuda, distributed
from ..amp import autocast
from ..nn import Module
from .loop import Trainer
from .options import OptionError, Options, Rule, blame, option
from .ranks import ALONE, Ranks

__all__ = [
    "PRECISIONS",
    "MachineOptions",
    "check_device",
    "device_of_rank",
    "on_device",
    "set_precision",
]

PRECISIONS = ("float32", "tf32", "bfloat16")


def check_device(device: str, precision: str = "float32") -> None:
    """Raises: OptionError for a device that can't be used, or a precision that it does not have."""
    name, _, index = device.partition(":")
    if name not in ("cpu", "cuda") or (name == "cpu" and device != "cpu") or (
        device != name and not index.isdigit()
    ):  # fmt: skip
        raise OptionError(f"`device` must be cpu, cuda or cuda:1, got {device}")
    if precision not in PRECISIONS:
        raise OptionError(f"`precision` must be {', '.join(PRECISIONS)}, got {precision}")
    if name == "cpu":
        if precision != "float32":
            raise OptionError(f"`precision` {precision} needs a GPU: add `device` cuda")
        return
    if not cuda.is_available():
        reason = cuda.why_not().removeprefix("device 'cuda'").lstrip(": ")
        raise OptionError(f"`device` {device}: {reason}")
    if index and int(index) >= cuda.device_count():
        raise OptionError(
            f"`device` {device}: this machine has {cuda.device_count()} GPU(s), counted from 0"
        )


@dataclasses.dataclass
class MachineOptions(Options):
    """Where a run computes, and how; stands beside TrainingOptions among the bases of a class."""

    device: str = option("cpu", "cpu, cuda or cuda:1.", None, "machine", may_change=True)
    precision: str = option(
        "float32", "On a GPU: float32, tf32 or bfloat16.", None, "machine", may_change=True
    )

    ranks: int = option(
        1, "Processes that share each batch.",
        Rule(lambda v: 1 <= v <= 1024, "between 1 and 1,024"), "machine", may_change=True,
    )  # fmt: skip

    def check(self) -> None:
        """Also: the device must be there, and have the precision.

        Raises: OptionError for the first value that is not allowed.
        """
        others = vars(self)
        if others.get("graph") is True and (
            self.device == "cpu" or others.get("accumulation", 1) > 1
        ):
            raise OptionError("`graph` needs `device` cuda and `accumulation` 1")
        if others.get("graph") is True and self.ranks > 1:
            raise OptionError("`graph` is for one process: leave it out, or `ranks`")
        super().check()
        check_device(self.device, self.precision)


def device_of_rank(device: str, ranks: Ranks) -> str:
    """The device of one of several ranks: each has its own GPU, where the option is "cuda".

    Raises: OptionError if this machine has fewer GPUs than ranks.
    """
    if device != "cuda" or not ranks.several:
        return device
    number = distributed.get_node_local_rank(ranks.rank)
    if number >= cuda.device_count():
        raise OptionError(
            f"`ranks`: this machine has {cuda.device_count()} GPU(s), and each rank takes one"
        )
    return f"cuda:{number}"


def on_device(model: Module, device: str, ranks: Ranks = ALONE) -> Module:
    """Moves the model to the device. From then on a GPU draws dropout's masks itself.

    That is much faster than to draw them on the CPU; the masks are not the same. Several ranks take
    a GPU each.
    Raises: OptionError if this machine has fewer GPUs than ranks, or a format of the weights is
    computed on a CPU only.
    """
    device = device_of_rank(device, ranks)
    if device != "cpu":
        cuda.fast_dropout()
    with blame("`quantize`", NotImplementedError):
        return model.to(device)


def set_precision(trainer: Trainer, precision: str) -> None:
    """The precision in which a trainer computes its losses.

    "tf32" rounds the factors of products in float32, "bfloat16" is autocast. Weights, their
    gradients and the optimizer stay float32.
    """
    backends.cuda.matmul.allow_tf32 = precision == "tf32"
    if precision == "bfloat16":
        trainer.loss = autocast("cuda")(trainer.loss)
