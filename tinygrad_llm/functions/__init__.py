"""PyTorch's functions over the ops: importing this package gives Tensor its methods."""

from . import (
    activation,
    attention,
    compare,
    convert,
    creation,
    dropout,
    elementwise,
    embedding,
    filled,
    find,
    index,
    inplace,
    linalg,
    linear,
    loss,
    norm,
    random,
    reduce,
    rounding,
    shape,
)
