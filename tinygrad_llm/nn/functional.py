"""The functions behind the layers, under PyTorch's names: `import tinygrad_llm.nn.functional as F`.

`tinygrad_llm.functions` holds the functions, `tinygrad_llm.ops` their derivatives.
"""

from typing import TYPE_CHECKING

from ..functions.activation import (
    celu,
    elu,
    gated_activation,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    selu,
    silu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from ..functions.attention import (
    gated_delta_rule,
    rope,
    scaled_dot_product_attention,
    selective_scan,
)
from ..functions.conv import conv1d
from ..functions.dropout import dropout
from ..functions.elementary import sigmoid, tanh
from ..functions.embedding import embedding, embedding_bag, one_hot
from ..functions.linear import grouped_mm, linear, linear_gelu_linear
from ..functions.losses.chains import crf_log_partition
from ..functions.losses.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    linear_cross_entropy,
    nll_loss,
)
from ..functions.losses.pairs import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    pairwise_distance,
    triplet_margin_loss,
)
from ..functions.losses.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from ..functions.norm import (
    batch_norm,
    cosine_similarity,
    group_norm,
    layer_norm,
    normalize,
    rms_norm,
)
from ..functions.shape.padding import pad
from ..functions.softmax import gumbel_softmax, log_softmax, softmax, softmin
from ..tensor.missing_names import missing

__all__ = [
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "conv1d",
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "cosine_similarity",
    "crf_log_partition",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "embedding_bag",
    "gated_activation",
    "gated_delta_rule",
    "gelu",
    "glu",
    "group_norm",
    "grouped_mm",
    "gumbel_softmax",
    "hardsigmoid",
    "hardshrink",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_cross_entropy",
    "linear_gelu_linear",
    "log_softmax",
    "logsigmoid",
    "margin_ranking_loss",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "relu_",
    "rms_norm",
    "rope",
    "scaled_dot_product_attention",
    "selective_scan",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "triplet_margin_loss",
]


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
