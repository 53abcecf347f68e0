"""torch.distributed: one program in several processes, which send each other tensors over MPI.

A process that is alone is rank 0 of 1, and collectives return what it has. Several are started by
`tinygrad-llm launch`, by mpiexec, or by `multiprocessing.spawn`; mpi4py is imported when they make
their group, not before.

    groups       who is there          collectives, objects, messages   what they send each other
    functional   collectives as ops, with their backward
    transport    bytes between ranks, over MPI in mpi; rendezvous: how processes find each other
"""

from __future__ import annotations

import importlib

from ..functions.settings import as_it_is
from .backends import Backend
from .collectives import (
    all_gather,
    all_gather_into_tensor,
    all_reduce,
    all_to_all,
    all_to_all_single,
    barrier,
    broadcast,
    gather,
    monitored_barrier,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
    scatter,
)
from .errors import DistBackendError, DistError, DistNetworkError
from .groups import (
    GroupMember,
    destroy_process_group,
    get_backend,
    get_default_backend_for_device,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    init_process_group,
    is_available,
    is_gloo_available,
    is_initialized,
    is_mpi_available,
    is_nccl_available,
    is_torchelastic_launched,
    new_group,
)
from .messages import P2POp, batch_isend_irecv, irecv, isend, recv, send
from .not_offered import not_offered
from .objects import (
    all_gather_object,
    broadcast_object_list,
    gather_object,
    scatter_object_list,
)
from .process_group import ProcessGroup
from .reductions import ReduceOp
from .work import Work

__all__ = [
    "Backend",
    "DistBackendError",
    "DistError",
    "DistNetworkError",
    "GroupMember",
    "P2POp",
    "ProcessGroup",
    "ReduceOp",
    "Work",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "batch_isend_irecv",
    "broadcast",
    "broadcast_object_list",
    "destroy_process_group",
    "gather",
    "gather_object",
    "get_backend",
    "get_default_backend_for_device",
    "get_global_rank",
    "get_group_rank",
    "get_node_local_rank",
    "get_process_group_ranks",
    "get_rank",
    "get_world_size",
    "group",
    "init_process_group",
    "irecv",
    "is_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
    "isend",
    "monitored_barrier",
    "new_group",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
    "send",
]

record = as_it_is  # a decorator of torchelastic that writes errors to a file: the function itself


# Parts that use layers and optimizers, imported when they are first used.
_LATER = ("device_mesh", "fsdp", "nn", "optim", "pipelining", "tensor")


def __getattr__(name: str) -> object:
    if name in _LATER:
        return importlib.import_module(f"{__name__}.{name}")
    raise not_offered(__name__, name, (*__all__, *_LATER))
