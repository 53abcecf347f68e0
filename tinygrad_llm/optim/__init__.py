"""Optimizers and learning-rate schedules with PyTorch's names: `from tinygrad_llm import optim`."""

from __future__ import annotations

from ..tensor.missing_names import missing
from . import lr_scheduler
from .adagrad import Adagrad
from .adam import Adam
from .adamw import AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]


def __getattr__(name: str) -> object:
    raise missing(__name__, name, __all__)
