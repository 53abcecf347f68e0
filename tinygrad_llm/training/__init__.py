"""Training: the loop, checkpoints, metrics, plots, and the search for a learning rate.

Batches of tokens (`data.batches`) and what a model costs (`models.costs`) can be imported from here
too: a training script needs them.
"""

from ..data.batches import EvaluationBatches, ExampleBatches, Stream, TokenBatches
from ..models.costs import flops_per_token, gpt_flops, gpt_memory, gpt_parameters
from .analysis import (
    evaluate_perplexity,
    flops_utilization,
    peak_flops,
    perplexity,
    schedule_rates,
)
from .autopsy import NonFiniteError
from .checkpoint import Checkpoint, StorageError, find_checkpoint, save_checkpoint
from .loop import Result, Trainer
from .lr_finder import FoundRate, find_learning_rate
from .metrics import Metrics, read_metrics
from .options import OptionError, TrainingOptions
from .plan import Plan
from .plots import plot_losses, plot_schedule
from .step import add_gradients, evaluate
from .weight_decay import decay_groups

__all__ = [
    "Checkpoint",
    "StorageError",
    "EvaluationBatches",
    "ExampleBatches",
    "FoundRate",
    "Metrics",
    "NonFiniteError",
    "OptionError",
    "Plan",
    "Result",
    "Stream",
    "TokenBatches",
    "Trainer",
    "TrainingOptions",
    "add_gradients",
    "decay_groups",
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
