"""PyTorch's long names of the layers: nn.modules.linear.Linear is nn.Linear."""

from __future__ import annotations

import sys as _sys

import tinygrad_llm.nn as _nn

from .. import (
    activation,
    batchnorm,
    container,
    conv,
    dropout,
    linear,
    loss,
    module,
    sparse,
    transformer,
)
from .. import norm as normalization

for _name in _nn.__all__:
    if isinstance(getattr(_nn, _name), type):
        globals()[_name] = getattr(_nn, _name)

_PARTS = (activation, batchnorm, container, conv, dropout, linear, loss, module, sparse,
          transformer)  # fmt: skip
for _part in _PARTS:  # so that `import tinygrad_llm.nn.modules.linear` finds it
    _sys.modules[f"{__name__}.{_part.__name__.rpartition('.')[2]}"] = _part
_sys.modules[f"{__name__}.normalization"] = normalization
