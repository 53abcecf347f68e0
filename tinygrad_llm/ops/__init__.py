"""The derivatives, one class each. `tinygrad_llm.functions` gives them PyTorch's signatures."""

# ruff: noqa: I001 (many names in few lines)
from .activation import Elu, Gelu, LeakyRelu, Logsigmoid, Relu, Silu, Softplus
from .attention import ScaledDotProductAttention
from .dropout import Dropout
from .elementwise import (
    Abs, Add, Cast, Clamp, Clone, Cos, Div, Erf, Exp, Expm1, Log, Log1p, Log2, Log10, MaskedFill,
    Maximum, Minimum, Move, Mul, Neg, Pow, Reciprocal, Rsqrt, Sigmoid, Sin, Sqrt, Step, Sub, Tanh,
    Where,
)  # fmt: skip
from .embedding import Embedding
from .index import Gather, Index, IndexPut, ReadView, ScatterAdd, WriteView
from .linear import Linear
from .loss import (
    BinaryCrossEntropy, BinaryCrossEntropyWithLogits, CrossEntropy, KlDiv, LinearCrossEntropy,
    MseLoss, NllLoss,
)  # fmt: skip
from .matmul import Einsum, Matmul
from .norm import LayerNorm, RmsNorm
from .reduce import Cumsum, Extreme, Mean, Norm, Prod, Std, Sum, Var
from .rope import Rope
from .shape import Cat, Expand, Flip, Pad, Permute, Reshape, Roll, Split, Tril, Triu
from .softmax import LogSoftmax, Logsumexp, Softmax
