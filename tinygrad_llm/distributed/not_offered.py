"""Names of torch.distributed that are not offered, and what to use in place of them."""

from __future__ import annotations

from collections.abc import Iterable

from ..tensor.missing_names import missing

__all__ = ["not_offered"]

_SHARD = "distributed.fsdp.fully_shard divides parameters, gradients and optimizer states"
_MEET = "pass init_method, or set MASTER_ADDR and MASTER_PORT"
_TENSORS = "each rank has ordinary tensors, its own part; collectives join them"
_GATHER = "gather on rank 0, which writes with torch.save or a checkpoint of the Trainer"
_STAGES = "ScheduleGPipe and Schedule1F1B, with one stage for each rank"
_INSTEAD = {
    "BackwardPrefetch": _SHARD,
    "CPUOffload": _SHARD,
    "CPUOffloadPolicy": _SHARD,
    "DTensor": _TENSORS,
    "DistributedOptimizer": "ZeroRedundancyOptimizer",
    "FileStore": _MEET,
    "FullStateDictConfig": _SHARD,
    "FullyShardedDataParallel": _SHARD,
    "HashStore": _MEET,
    "MixedPrecision": "convert the model with model.to(torch.bfloat16) before",
    "MixedPrecisionPolicy": "convert the model with model.to(torch.bfloat16) before",
    "Partial": _TENSORS,
    "PostLocalSGDOptimizer": "DistributedDataParallel.no_sync, and all_reduce of the parameters",
    "PrefixStore": _MEET,
    "ScheduleDualPipeV": _STAGES,
    "ScheduleInterleaved1F1B": _STAGES,
    "ScheduleInterleavedZeroBubble": _STAGES,
    "ScheduleLoopedBFS": _STAGES,
    "ScheduleZBVZeroBubble": _STAGES,
    "ShardingStrategy": _SHARD,
    "StateDictType": _SHARD,
    "TCPStore": _MEET,
    "algorithms": "DistributedSampler gives every rank equally many batches; no hooks are offered",
    "autograd": "collectives with a backward are in distributed.nn.functional",
    "build_stage": "PipelineStage, or Pipe.build_stage",
    "checkpoint": _GATHER,
    "distribute_module": "distributed.tensor.parallel.parallelize_module",
    "distribute_tensor": _TENSORS,
    "elastic": "start the program again from its last checkpoint; `record` is in distributed",
    "implicit_replication": _TENSORS,
    "launch": "the command tinygrad-llm launch",
    "launcher": "the command tinygrad-llm launch",
    "local_map": _TENSORS,
    "new_subgroups": "new_group for each list of ranks",
    "new_subgroups_by_enumeration": "new_group for each list of ranks",
    "pipe_split": "nothing is traced: pipeline() of an nn.Sequential with split_spec",
    "recv_object_list": "broadcast_object_list in a new_group of the two ranks",
    "register_sharding": _TENSORS,
    "rpc": "messages: send, recv, and broadcast_object_list",
    "run": "the command tinygrad-llm launch",
    "send_object_list": "broadcast_object_list in a new_group of the two ranks",
    "split_group": "new_group for each list of ranks",
}


def not_offered(package: str, name: str, known: Iterable[str]) -> AttributeError:
    """The AttributeError for package.name: what to use in place of it, or the nearest name."""
    if name in _INSTEAD:
        return AttributeError(f"{package} has no {name!r}; in place of it: {_INSTEAD[name]}")
    return missing(package, name, known)
