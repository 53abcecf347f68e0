"""DistributedDataParallel: one model on every rank, each with its own part of the batch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import distributed as dist
from ...arrays.devices import xp_of
from ...autograd.grad_mode import mode
from ...distributed.agreement import require_same_parameters
from ...distributed.collectives import flat, store
from ...distributed.groups import member_group
from ...distributed.process_group import divided_within
from ...tensor import Tensor, wrap
from ..module import Module
from .reducer import Reducer

__all__ = ["DistributedDataParallel"]


NOT_OFFERED = ("delay_all_reduce_named_params", "mixed_precision", "param_to_hook_all_reduce")
OPTIONS = (  # of PyTorch, beside those that the constructor names
    *NOT_OFFERED, "batched_grad_copy", "bucket_cap_mb_list", "device_mesh", "forward_sync_buffers",
    "skip_all_reduce_unused_params",
)  # fmt: skip


def _check_options(options: dict[str, Any]) -> None:
    """Raises: TypeError for an unknown option; ValueError for one that is not offered here."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise TypeError(f"DistributedDataParallel got an unexpected keyword argument {name!r}")
        if name in NOT_OFFERED and value is not None:
            raise ValueError(f"DistributedDataParallel: {name} is not offered here")


def _group_of(process_group: Any, mesh: Any) -> Any:
    """The group, or that of the mesh.

    Raises: RuntimeError if both are given, or the mesh has several dimensions.
    """
    if mesh is None:
        return process_group
    if process_group is not None:
        raise RuntimeError("Cannot specify both process_group and device_mesh arguments.")
    if mesh.ndim != 1:
        raise RuntimeError(f"Only 1D device mesh is supported, but got {mesh}.")
    return mesh.get_group()


class DistributedDataParallel(Module):
    """The module, whose gradients after backward() are the mean over all ranks.

    The group is made by distributed.init_process_group before. Parameters and buffers become those
    of the group's first rank here, and buffers again before each forward pass.

    broadcast_buffers        whether buffers follow the first rank's
    process_group            the ranks; None for all
    bucket_cap_mb            the size of the buckets in which gradients travel; None: PyTorch's 25,
                             and 160 on GPUs, where few large ones disturb backward less
    find_unused_parameters   False: a parameter that gets no gradient is an error, which names it.
                             True: it counts as zeros, unless no rank has a gradient for it
    device_mesh              in place of process_group: a mesh of one dimension
    forward_sync_buffers     PyTorch's newer name of broadcast_buffers
    Parameters of which the ranks have different parts, such as experts, are left alone.
    The other options may be given and change nothing. Each rank calls forward and backward
    equally often; a loss that is a mean over a rank's examples becomes the mean over all examples
    only if the ranks have equally many.
    Raises: ValueError if there is no group, and for hooks and mixed_precision, which are not
    offered; TypeError for an option that PyTorch does not have; RuntimeError if no parameter
    requires a gradient, and for a group and a mesh; DistError if the ranks' parameters differ in
    name, shape or dtype.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool | None = None, init_sync: bool = True, process_group: Any = None,
        bucket_cap_mb: float | None = None, find_unused_parameters: bool = False,
        check_reduction: bool = False, gradient_as_bucket_view: bool = False,
        static_graph: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_options(options)
        process_group = _group_of(process_group, options.get("device_mesh"))
        if options.get("forward_sync_buffers") is not None:
            broadcast_buffers = bool(options["forward_sync_buffers"])
        self.world = dist.get_world_size(process_group)  # an error without a group
        group: Any = dist.group.WORLD if process_group is None else process_group
        divided = {id(p) for p in module.parameters() if divided_within(p, group)}
        named = [
            (name, p) for name, p in module.named_parameters()
            if p.requires_grad and id(p) not in divided
        ]  # fmt: skip
        if not named:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )
        megabytes = bucket_cap_mb
        if megabytes is None:
            megabytes = 160 if named[0][1].is_cuda else 25
        if not megabytes > 0:
            raise ValueError(f"bucket_cap_mb must be above 0, got {megabytes}")
        self.module = module
        self.device_ids, self.output_device, self.dim = device_ids, output_device, dim
        self.process_group = process_group
        self.broadcast_buffers = broadcast_buffers is not False
        self.find_unused_parameters = find_unused_parameters
        self.require_backward_grad_sync = True
        self.require_forward_param_sync = True
        self.reducer: Reducer | None = None
        if self.world > 1:
            require_same_parameters("DistributedDataParallel", named, group)
            self.first = dist.get_global_rank(process_group, 0)
            if init_sync:
                for tensor in (*module.parameters(), *module.buffers()):
                    if id(tensor) in divided:
                        continue
                    dist.broadcast(tensor, self.first, process_group)
            size = int(megabytes * 2**20)
            self.reducer = Reducer(named, process_group, size, find_unused_parameters)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if self.reducer is None:
            return self.module(*inputs, **kwargs)
        self.reducer.stop()  # where the last backward pass failed in the middle
        if self.broadcast_buffers and self.require_forward_param_sync:
            self._broadcast_buffers()
        out = self.module(*inputs, **kwargs)
        synchronises = mode.grad and self.require_backward_grad_sync
        self.require_forward_param_sync = synchronises
        if not synchronises:
            return out
        tensors: list[Tensor] = []
        _tensors_in(out, tensors)
        return _with_tensors(out, iter(self.reducer.watch(tensors)))

    def _broadcast_buffers(self) -> None:
        """Replace the buffers by the first rank's, in one message."""
        group = member_group(self.process_group, "DistributedDataParallel")
        assert group is not None
        for device in dict.fromkeys(str(buffer.device) for buffer in self.module.buffers()):
            buffers = [b for b in self.module.buffers() if str(b.device) == device]
            parts = [flat(buffer, group).view(np.uint8) for buffer in buffers]
            xp = xp_of(parts[0])
            joined = wrap(xp.concatenate(parts))  # (n1,), (n2,), ... -> (N,) bytes
            dist.broadcast(joined, self.first, group)
            if group.rank() > 0:
                ends = np.cumsum([part.size for part in parts])[:-1].tolist()
                for buffer, part in zip(buffers, xp.split(joined.array, ends), strict=True):
                    store(buffer, part.copy().view(buffer.array.dtype), "DistributedDataParallel")

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """A block whose gradients are added up and not exchanged, until one outside of it is."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def join(self, *args: Any, **kwargs: Any) -> Any:
        """A block in which ranks may have different numbers of batches: with one rank no matter.

        Raises: RuntimeError for several ranks.
        """
        self._refuse("join", "give every rank equally many batches, as DistributedSampler does")
        return contextlib.nullcontext()

    def register_comm_hook(self, state: Any, hook: Any) -> None:
        """Accept a function that exchanges gradients: with one rank nothing is exchanged.

        Raises: RuntimeError for several ranks.
        """
        self._refuse("register_comm_hook", "gradients travel in their own dtype, summed in float32")

    def _refuse(self, name: str, instead: str) -> None:
        if self.world > 1:
            raise RuntimeError(
                f"DistributedDataParallel.{name} is not offered for {self.world} ranks: {instead}"
            )


def _tensors_in(value: Any, into: list[Tensor]) -> None:
    """Append the tensors of an output: a tensor, or lists, tuples, dicts, objects of them."""
    if isinstance(value, Tensor):
        into.append(value)
    elif isinstance(value, dict):
        for each in value.values():
            _tensors_in(each, into)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _tensors_in(each, into)
    elif hasattr(value, "__dict__") and not isinstance(value, (type, Module)):
        for each in vars(value).values():
            _tensors_in(each, into)


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The output with other tensors in the places where _tensors_in found them."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict):
        changed = copy.copy(value)
        for key, each in value.items():
            changed[key] = _with_tensors(each, tensors)
        return changed
    if isinstance(value, (list, tuple)):
        items = [_with_tensors(each, tensors) for each in value]
        return value._make(items) if hasattr(value, "_make") else type(value)(items)
    if hasattr(value, "__dict__") and not isinstance(value, (type, Module)):
        changed = copy.copy(value)
        for name, each in vars(value).items():
            object.__setattr__(changed, name, _with_tensors(each, tensors))
        return changed
    return value
