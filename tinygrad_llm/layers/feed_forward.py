"""Feed forward: each token alone, through a wider layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..autograd.engine import any_changed, backward_observers, observers, start_observers
from ..functions.autocast import is_autocast_enabled
from ..nn import activation as A
from ..nn import functional as F
from ..nn.container import Sequential
from ..nn.linear import Identity, Linear
from ..nn.module import Module, call_observers, is_watched
from ..tensor import Tensor
from ..tensor.dtypes import bfloat16

__all__ = [
    "ACTIVATIONS", "FeedForward", "GatedFeedForward", "activation_module", "gated",
    "nobody_watches",
]  # fmt: skip


class _SquaredReLU(Module):
    """relu(x)². So et al. (2021), "Primer: Searching for Efficient Transformers"."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


# The names that PyTorch and Hugging Face's configs use.
ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "gelu": A.GELU,
    "gelu_new": partial(A.GELU, approximate="tanh"),
    "gelu_pytorch_tanh": partial(A.GELU, approximate="tanh"),
    "leaky_relu": A.LeakyReLU,
    "linear": Identity,
    "mish": A.Mish,
    "relu": A.ReLU,
    "relu2": _SquaredReLU,
    "relu6": A.ReLU6,
    "sigmoid": A.Sigmoid,
    "silu": A.SiLU,
    "swish": A.SiLU,
    "tanh": A.Tanh,
}


def activation_module(name: str) -> Module:
    """A new module for an activation's name: "gelu" is exact, "gelu_new" the tanh form.

    Raises: ValueError for another name, with the list of all.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


def one_op(x: Tensor, layers: Sequential) -> bool:
    """Whether linear, GELU and linear are one op for x: on a GPU in bfloat16, if nobody watches."""
    if not x.is_cuda or not (x.dtype is bfloat16 or is_autocast_enabled("cuda")):
        return False
    if type(layers) is not Sequential:
        return False
    classes = [type(layer) for layer in layers]
    form = classes == [Linear, A.GELU, Linear] and layers[1].approximate == "tanh"
    return form and nobody_watches(layers, *layers) and not any_changed("linear", "gelu")


def nobody_watches(*modules: Module) -> bool:
    """Whether no hook and no observer sees what goes into these modules and comes out of them."""
    if call_observers or observers or start_observers or any(map(is_watched, modules)):
        return False
    # parallel training looks at leaves alone, also while a checkpoint computes again
    return all(getattr(observe, "without_leaves", False) for observe in backward_observers)


class FeedForward(Module):
    """y = W₂·f(W₁·x + b₁) + b₂, each token alone: x (B, T, dim) -> y (B, T, dim).

    hidden_dim: channels in between, 4·dim if None; activation: the name of f, see ACTIVATIONS
    dropout: of f's output, in training
    W₁ is `layers.0`, W₂ is `layers.2`. Source: Vaswani et al. (2017), equation 2.
    """

    def __init__(
        self, dim: int, hidden_dim: int | None = None, *, activation: str = "gelu_new",
        bias: bool = True, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dropout = dropout
        hidden_dim = 4 * dim if hidden_dim is None else hidden_dim
        self.layers = Sequential(
            Linear(dim, hidden_dim, bias=bias),
            activation_module(activation),
            Linear(hidden_dim, dim, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        if not (self.dropout and self.training):
            if one_op(x, self.layers):
                first, _, last = self.layers
                inputs = x, first.weight, first.bias, last.weight, last.bias
                return F.linear_gelu_linear(*inputs, approximate="tanh")
            return self.layers(x)  # (B, T, dim) -> (B, T, hidden_dim) -> (B, T, dim)
        hidden = self.layers[1](self.layers[0](x))  # (B, T, dim) -> (B, T, hidden_dim)
        return self.layers[2](F.dropout(hidden, self.dropout))  # (B, T, dim)


def gated(both: Tensor, activation: Module) -> Tensor:
    """activation(a)·b for the halves a and b of the last dimension: (..., 2F) -> (..., F).

    One op for SiLU and GELU without hooks on the CPU; other modules are called.
    """
    if not (is_watched(activation) or both.is_cuda):
        if type(activation) is A.SiLU and not activation.inplace:
            return F.gated_activation(both)
        if type(activation) is A.GELU:
            tanh = activation.approximate == "tanh"
            return F.gated_activation(both, "gelu_tanh" if tanh else "gelu")
    a, b = both.chunk(2, dim=-1)  # (..., 2F) -> (..., F) twice
    return activation(a) * b


class GatedFeedForward(Module):
    """y = W_d·(f(W_g·x)·(W_u·x)), each token alone: x (B, T, dim) -> y (B, T, dim).

    hidden_dim: channels in between; activation: the name of f, "silu" for SwiGLU, see ACTIVATIONS
    dropout: of the product, in training
    One matrix `gate_up` (2·hidden_dim, dim) computes both factors: its first hidden_dim rows are
    W_g (Hugging Face's gate_proj), the others W_u (up_proj). W_d is `down` (down_proj).
    Source: Shazeer (2020), "GLU Variants Improve Transformer", equation 5.
    """

    def __init__(
        self, dim: int, hidden_dim: int, *, activation: str = "silu", bias: bool = False,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dropout = dropout
        self.gate_up = Linear(dim, 2 * hidden_dim, bias=bias)
        self.activation = activation_module(activation)
        self.down = Linear(hidden_dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = gated(self.gate_up(x), self.activation)  # (B, T, dim) -> (B, T, hidden_dim)
        if self.dropout and self.training:
            hidden = F.dropout(hidden, self.dropout)
        return self.down(hidden)  # (B, T, hidden_dim) -> (B, T, dim)
