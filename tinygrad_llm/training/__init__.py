"""Training: batches, the loop, checkpoints, metrics, plots."""

from .autopsy import NonFiniteError
from .checkpoint import Checkpoint, CheckpointError, find_checkpoint, save_checkpoint
from .data import EvaluationBatches, Stream, TokenBatches
from .loop import Result, Trainer
from .metrics import Metrics, read_metrics
from .plan import Plan, flops_per_token
from .plots import plot_losses
from .step import add_gradients, evaluate

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EvaluationBatches",
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
    "read_metrics",
    "save_checkpoint",
]
