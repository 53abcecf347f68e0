"""Training: batches, the loop, checkpoints, metrics, plots, and what a model costs."""

from ..data.batches import EvaluationBatches, ExampleBatches, Stream, TokenBatches
from .analysis import (
    evaluate_perplexity,
    flops_utilization,
    gpt_flops,
    gpt_memory,
    gpt_parameters,
    peak_flops,
    perplexity,
    schedule_rates,
)
from .autopsy import NonFiniteError
from .checkpoint import Checkpoint, CheckpointError, find_checkpoint, save_checkpoint
from .loop import Result, Trainer
from .lr_finder import FoundRate, find_learning_rate
from .metrics import Metrics, read_metrics
from .plan import Plan, flops_per_token
from .plots import plot_losses, plot_schedule
from .step import add_gradients, evaluate

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EvaluationBatches",
    "ExampleBatches",
    "FoundRate",
    "Metrics",
    "NonFiniteError",
    "Plan",
    "Result",
    "Stream",
    "TokenBatches",
    "Trainer",
    "add_gradients",
    "evaluate",
    "evaluate_perplexity",
    "find_checkpoint",
    "find_learning_rate",
    "flops_per_token",
    "flops_utilization",
    "gpt_flops",
    "gpt_memory",
    "gpt_parameters",
    "peak_flops",
    "perplexity",
    "plot_losses",
    "plot_schedule",
    "read_metrics",
    "save_checkpoint",
    "schedule_rates",
]
