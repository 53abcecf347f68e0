"""The functions behind the layers, under PyTorch's names: `import tinygrad_llm.nn.functional as F`.

What each computes stands in `tinygrad_llm.functions`, its derivative in `tinygrad_llm.ops`.
"""

from ..functions.activation import (
    elu,
    gelu,
    glu,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    relu,
    relu6,
    relu_,
    silu,
    softmax,
    softplus,
)
from ..functions.attention import rope, rope_angles, scaled_dot_product_attention
from ..functions.dropout import dropout
from ..functions.elementwise import sigmoid, tanh
from ..functions.embedding import embedding, one_hot, pad
from ..functions.linear import linear
from ..functions.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    linear_cross_entropy,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from ..functions.norm import cosine_similarity, layer_norm, normalize, rms_norm
from ..names import missing

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "glu",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "logsigmoid",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rope",
    "rope_angles",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]


def __getattr__(name: str) -> object:
    raise missing(__name__, name, __all__)
