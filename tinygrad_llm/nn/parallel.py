"""DataParallel and DistributedDataParallel in one process: wrappers that call their module.

They have PyTorch's names in the state dict ("module." before each) and its attribute `module`, so
that programs and checkpoints made for several GPUs run on one device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .. import distributed
from ..tensor import Tensor
from ..tensor.missing_names import missing
from .module import Module

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


class DistributedDataParallel(Module):
    """The module itself in a group of one process: its gradients are the mean over the ranks.

    The group is made by distributed.init_process_group before. Options about buckets and unused
    parameters may be given and change nothing.
    Raises: ValueError if there is no group; RuntimeError if no parameter requires a gradient.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool = True, init_sync: bool = True, process_group: Any = None,
        bucket_cap_mb: Any = None, find_unused_parameters: bool = False,
        check_reduction: bool = False, gradient_as_bucket_view: bool = False,
        static_graph: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        distributed.get_world_size(process_group)  # an error without a group
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )
        self.module = module
        self.device_ids, self.output_device, self.dim = device_ids, output_device, dim
        self.process_group = process_group
        self.find_unused_parameters = find_unused_parameters
        self.require_backward_grad_sync = True

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """A block whose gradients are added up and not exchanged: with one rank no difference."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def join(self, *args: Any, **kwargs: Any) -> Any:
        """A block in which ranks may have different numbers of batches."""
        return contextlib.nullcontext()

    def register_comm_hook(self, state: Any, hook: Any) -> None:
        """Accept a function that exchanges gradients: with one rank nothing is exchanged."""


def data_parallel(
    module: Module, inputs: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:  # fmt: skip
    """DataParallel as a function: the module called with inputs, a tensor or a tuple.

    Raises: RuntimeError for several devices.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    return DataParallel(module, device_ids, output_device, dim)(*arguments, **(module_kwargs or {}))


def __getattr__(name: str) -> object:
    raise missing(__name__, name, __all__)
