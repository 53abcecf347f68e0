"""Pipeline parallelism: each rank has some layers, and micro-batches pass from rank to rank.

    stage        PipelineStage: a rank's layers, and its messages with its neighbours
    schedules    in which order a rank computes its micro-batches: ScheduleGPipe, Schedule1F1B
    microbatch   a batch cut into micro-batches, outputs joined
    split        pipeline(): an nn.Sequential cut at the names of its layers
    gradients    weights that two stages share, clipping over all stages, the loss per token
    timeline     who computed which micro-batch when, and the share of idle time

Language models are cut by `models.stages.cut_into_stages`.
Sources: Huang et al. 2019, "GPipe"; Narayanan et al. 2019, "PipeDream" (1F1B); Narayanan et al.
2021, "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM".
"""

from ..not_offered import not_offered
from .gradients import clip_grad_norm_over_stages, sum_tied_gradients, token_loss
from .microbatch import TensorChunkSpec, merge_chunks, split_args_kwargs_into_chunks
from .schedules import Schedule1F1B, ScheduleGPipe
from .split import Pipe, SplitPoint, pipeline
from .stage import PipelineStage
from .timeline import Event, all_events, bubble_expected, bubble_measured

__all__ = [
    "Event",
    "Pipe",
    "PipelineStage",
    "Schedule1F1B",
    "ScheduleGPipe",
    "SplitPoint",
    "TensorChunkSpec",
    "all_events",
    "bubble_expected",
    "bubble_measured",
    "clip_grad_norm_over_stages",
    "merge_chunks",
    "pipeline",
    "split_args_kwargs_into_chunks",
    "sum_tied_gradients",
    "token_loss",
]


def __getattr__(name: str) -> object:
    raise not_offered(__name__, name, __all__)
