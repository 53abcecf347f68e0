"""The derivatives, one class for each op. `tinygrad_llm.functions` adds PyTorch's signatures."""

# ruff: noqa: I001 (many names in few lines)
from .activation import Elu, Gelu, LeakyRelu, Logsigmoid, Relu, Silu, Softplus
from .arithmetic import Abs, Add, Div, Mul, Neg, Pow, Reciprocal, Sub
from .attention import ScaledDotProductAttention
from .conv import Conv1d
from .convert import Cast, Clone, Move
from .delta_rule import GatedDeltaRule
from .dropout import Dropout
from .elementary import (
    Cos, Erf, Exp, Expm1, Log, Log1p, Log2, Log10, Rsqrt, Sigmoid, Sin, Sqrt, Tanh,
)  # fmt: skip
from .embedding import Embedding
from .grouped import GroupedMm
from .index import Diagonal, Gather, Index, IndexPut, ReadView, ScatterAdd, ScatterReduce, WriteView
from .linalg import Logabsdet, Solve
from .linear import Linear
from .loss import (
    BinaryCrossEntropy, BinaryCrossEntropyWithLogits, CrossEntropy, KlDiv, LinearCrossEntropy,
    MseLoss, NllLoss,
)  # fmt: skip
from .matmul import Einsum, Matmul
from .norm import LayerNorm, RmsNorm
from .reduce import Cumprod, Cumsum, Extreme, Mean, Norm, Prod, Std, Sum, Var
from .rope import Rope
from .rounding import Remainder, Step
from .selection import Clamp, MaskedFill, Maximum, Minimum, Where
from .shape import Cat, Expand, Flip, Pad, Permute, Reshape, Roll, Split, Tril, Triu
from .softmax import LogSoftmax, Logsumexp, Softmax
