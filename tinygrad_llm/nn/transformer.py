"""The Transformer of 2017 as PyTorch's layers: encoder, decoder, and both together.

`tinygrad_llm.models.transformer` is the same model for translation, with caches and a vocabulary.

Shapes: B batch, S length of the source, T length of the target, E d_model channels. Tensors are
(S, B, E), or (B, S, E) if batch_first, or (S, E) without a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ..functions.creation.filled import full
from ..tensor import Tensor
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .norm import LayerNorm

__all__ = [
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer",
]  # fmt: skip

Activation = str | Callable[[Tensor], Tensor]


def _activation(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The function for "relu" or "gelu"; any other callable is used as it is."""
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return F.relu if activation == "relu" else F.gelu


def _copies(layer: Module, n: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(n)])


class _Layer(Module):
    """What both layers have: their parts, self-attention, the feed forward, and adding with a norm.

    The parts have the names of PyTorch's state dicts, in their order: norm1 …, dropout1 …
    """

    attentions: tuple[str, ...] = ("self_attn",)

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: DeviceLike = None,
        dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        for name in self.attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, **place
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)
        self.norm_first = norm_first
        numbers = range(1, len(self.attentions) + 2)  # of the parts: attentions, feed forward
        for n in numbers:
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)
            setattr(self, f"norm{n}", norm)
        for n in numbers:
            setattr(self, f"dropout{n}", Dropout(dropout))
        self.activation = _activation(activation)

    def _added(self, x: Tensor, number: int, part: Callable[[Tensor], Tensor]) -> Tensor:
        """norm(x + dropout(part(x))), or x + dropout(part(norm(x))) if norm_first; x's shape."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(part(norm(x)))
        return norm(x + dropout(part(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        """W₂·dropout(f(W₁·x)): (…, E) -> (…, E)."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _attended(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        """Self-attention of x, of x's shape."""
        y, _ = self.self_attn(x, x, x, attn_mask=mask, key_padding_mask=padding,
                              need_weights=False, is_causal=is_causal)  # fmt: skip
        return y


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a feed forward; each is added to its input and normalised.

    d_model          E; nhead: heads of attention; dim_feedforward: channels within the feed forward
    activation       "relu", "gelu" or a function
    batch_first      whether tensors are (B, S, E) in place of (S, B, E)
    norm_first       True for x + f(norm(x)), False for norm(x + f(x))
    Raises: RuntimeError for another activation, AssertionError unless nhead divides d_model.
    Source: Vaswani et al. (2017), section 3.1.
    """

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """src of the shape (S, B, E), or as batch_first says -> the same shape.

        src_mask: (S, S) or (B·nhead, S, S); in a boolean mask True hides, numbers are added
        src_key_padding_mask: (B, S), True for padding
        is_causal: a hint that src_mask is the causal mask; the mask itself decides
        Raises: RuntimeError if is_causal without src_mask.
        """
        x = self._added(
            src, 1, lambda y: self._attended(y, src_mask, src_key_padding_mask, is_causal)
        )
        return self._added(x, 2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output, then a feed forward.

    The arguments are those of TransformerEncoderLayer.
    Raises: as TransformerEncoderLayer. Source: Vaswani et al. (2017), section 3.1.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """tgt (T, B, E) and memory (S, B, E), or as batch_first says -> the shape of tgt.

        tgt_mask (T, T) and memory_mask (T, S); tgt_key_padding_mask (B, T) and
        memory_key_padding_mask (B, S): as in TransformerEncoderLayer.forward
        Raises: RuntimeError if one is said to be causal without a mask.
        """

        def look_at_memory(x: Tensor) -> Tensor:
            y, _ = self.multihead_attn(
                x, memory, memory, attn_mask=memory_mask, need_weights=False,
                key_padding_mask=memory_key_padding_mask, is_causal=memory_is_causal,
            )  # fmt: skip
            return y

        x = self._added(
            tgt, 1, lambda y: self._attended(y, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        )
        x = self._added(x, 2, look_at_memory)
        return self._added(x, 3, self._feed_forward)


class TransformerEncoder(Module):
    """num_layers copies of a TransformerEncoderLayer, one after the other, then a norm.

    The copies begin with equal weights, as in PyTorch. In evaluation PyTorch may leave out padding
    and write zeros in its place (enable_nested_tensor); here padding is computed like the rest, and
    what stands there means nothing.
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
        enable_nested_tensor: bool = True, mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:  # fmt: skip
        """src through the layers: the shape of src. Masks: see TransformerEncoderLayer.forward.

        Raises: RuntimeError if is_causal without mask.
        """
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, src_key_padding_mask=src_key_padding_mask,
                      is_causal=bool(is_causal))  # fmt: skip
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """num_layers copies of a TransformerDecoderLayer, one after the other, then a norm.

    The copies begin with equal weights, as in PyTorch.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """tgt through the layers: the shape of tgt. Masks: see TransformerDecoderLayer.forward.

        Raises: RuntimeError if one is said to be causal without a mask.
        """
        x = tgt
        for layer in self.layers:
            x = layer(
                x, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal), memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder for the source and a decoder for the target, as in the paper of 2017.

    Embeddings, positions and the output layer are the caller's. The arguments are those of the
    layers; custom_encoder and custom_decoder take the place of the two stacks.
    Raises: as TransformerEncoderLayer. Source: Vaswani et al. (2017), figure 1.
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
        num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, custom_encoder: Any = None, custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: DeviceLike = None, dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                 norm_first, bias)  # fmt: skip

        def final_norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **place)

        if custom_encoder is None:
            encoder_layer = TransformerEncoderLayer(*shape, **place)
            custom_encoder = TransformerEncoder(encoder_layer, num_encoder_layers, final_norm())
        self.encoder = custom_encoder
        if custom_decoder is None:
            decoder_layer = TransformerDecoderLayer(*shape, **place)
            custom_decoder = TransformerDecoder(decoder_layer, num_decoder_layers, final_norm())
        self.decoder = custom_decoder
        for parameter in self.parameters():
            if parameter.dim() > 1:
                init.xavier_uniform_(parameter)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """src (S, B, E) and tgt (T, B, E), or as batch_first says -> the shape of tgt.

        Masks: see the two layers. `generate_square_subsequent_mask` makes tgt_mask.
        Raises: RuntimeError if batches or channels of src and tgt do not fit.
        """
        batch_dim = 0 if self.batch_first else 1
        if src.dim() == 3 and src.shape[batch_dim] != tgt.shape[batch_dim]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: DeviceLike = None, dtype: DtypeLike = None
    ) -> Tensor:
        """The causal mask (sz, sz) of numbers: −∞ above the diagonal, 0 elsewhere."""
        return full((sz, sz), float("-inf"), device=device, dtype=dtype).triu(1)
