"""Optimizers and learning-rate schedules with PyTorch's names: `from tinygrad_llm import optim`."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from ..tensor.missing_names import missing
from . import lr_scheduler
from .adafactor import Adafactor
from .adagrad import Adagrad
from .adam import Adam
from .adamw import AdamW
from .lion import Lion
from .muon import Muon, MuonWithAdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .schedule_free import AdamWScheduleFree, SGDScheduleFree
from .sgd import SGD

__all__ = [
    "SGD",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Lion",
    "Muon",
    "MuonWithAdamW",
    "Optimizer",
    "RMSprop",
    "SGDScheduleFree",
    "lr_scheduler",
    "swa_utils",
]


if TYPE_CHECKING:
    swa_utils: ModuleType  # imported when it is first used: it is made of modules
else:  # a checker would accept every name

    def __getattr__(name: str) -> object:
        if name == "swa_utils":
            return importlib.import_module(".swa_utils", __name__)
        raise missing(__name__, name, __all__)
