"""PyTorch's functions over the ops: importing this package gives Tensor its methods."""

from . import (
    activation,
    attention,
    convert,
    creation,
    dropout,
    elementwise,
    embedding,
    filled,
    fused,
    index,
    inplace,
    linalg,
    linear,
    loss,
    norm,
    reduce,
    shape,
)
