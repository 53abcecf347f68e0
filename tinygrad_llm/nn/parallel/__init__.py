"""DataParallel on one device, and DistributedDataParallel over the ranks of a group.

Both have PyTorch's names in the state dict ("module." before each) and its attribute `module`, so
that programs and checkpoints made for several GPUs run on one device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...tensor import Tensor
from ...tensor.missing_names import missing
from ..module import Module
from .distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel"]


class DataParallel(Module):
    """The module itself, on one device: the batch is not divided.

    device_ids: None, or a list of one device.
    Raises: RuntimeError for several devices: each would need a copy of the module.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise RuntimeError(
                f"DataParallel: device_ids={list(device_ids)} names several devices, and a batch "
                "is not divided among devices here: pass one, or leave device_ids out"
            )
        self.module = module
        self.device_ids = list(device_ids or [])
        self.output_device = output_device
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module, inputs: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:  # fmt: skip
    """DataParallel as a function: the module called with inputs, a tensor or a tuple.

    Raises: RuntimeError for several devices.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    return DataParallel(module, device_ids, output_device, dim)(*arguments, **(module_kwargs or {}))


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
