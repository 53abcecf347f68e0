"""Training: batches, the loop, checkpoints, metrics, plots."""

from .autopsy import NonFiniteError
from .checkpoint import Checkpoint, CheckpointError, find_checkpoint, save_checkpoint
from .data import EvaluationBatches, ExampleBatches, Stream, TokenBatches
from .loop import Result, Trainer
from .metrics import Metrics, read_metrics
from .plan import Plan, flops_per_token
from .plots import plot_losses, plot_schedule
from .step import add_gradients, evaluate

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EvaluationBatches",
    "ExampleBatches",
    "Metrics",
    "NonFiniteError",
    "Plan",
    "Result",
    "Stream",
    "TokenBatches",
    "Trainer",
    "add_gradients",
    "evaluate",
    "find_checkpoint",
    "flops_per_token",
    "plot_losses",
    "plot_schedule",
    "read_metrics",
    "save_checkpoint",
]
