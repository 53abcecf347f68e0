"""MultiheadAttention, and the names with which programs choose a kernel for attention."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from enum import Enum
from typing import Any

from ...backends.cuda import allowed_kernels
from ...functions.creation.filled import zeros
from ...functions.shape.join import cat
from ...tensor import Tensor
from ...tensor.device import DeviceLike
from ...tensor.dtypes import DtypeLike
from .. import functional as F
from .. import init
from ..linear import NonDynamicallyQuantizableLinear
from ..module import Module
from ..parameter import new_parameter

__all__ = ["MultiheadAttention", "SDPBackend", "sdpa_kernel"]


class MultiheadAttention(Module):
    """softmax(Q·Kᵀ/√D)·V in num_heads heads side by side, D = embed_dim / num_heads.

    Query (T, B, embed_dim), key (S, B, kdim) and value (S, B, vdim), or with B first if
    batch_first, or without B. Returns (output of the query's shape, weights): the weights are
    (B, T, S), averaged over heads, or (B, H, T, S) with average_attn_weights=False, or None with
    need_weights=False, which is faster. In a boolean mask True means that a query must not look at
    the key; a mask of numbers is added to the scores. key_padding_mask is (B, S), attn_mask (T, S)
    or (B·H, T, S).
    Raises: AssertionError or RuntimeError for shapes that do not fit.
    Vaswani et al. (2017).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: DeviceLike = None,
        dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, "
                f"got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim

        place: dict[str, Any] = {"device": device, "dtype": dtype}
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            self.register_parameter(name, None)
        if self._qkv_same_embed_dim:
            self.in_proj_weight = new_parameter(3 * embed_dim, embed_dim, **place)
        else:
            self.q_proj_weight = new_parameter(embed_dim, embed_dim, **place)
            self.k_proj_weight = new_parameter(embed_dim, self.kdim, **place)
            self.v_proj_weight = new_parameter(embed_dim, self.vdim, **place)
        self.register_parameter("in_proj_bias", None)
        if bias:
            self.in_proj_bias = new_parameter(3 * embed_dim, **place)
        self.register_parameter("bias_k", None)
        self.register_parameter("bias_v", None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, **place)
        if add_bias_kv:
            self.bias_k = new_parameter(1, 1, embed_dim, **place)
            self.bias_v = new_parameter(1, 1, embed_dim, **place)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            init.xavier_uniform_(self.q_proj_weight)
            init.xavier_uniform_(self.k_proj_weight)
            init.xavier_uniform_(self.v_proj_weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None,
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The output, and the attention weights if need_weights, else None.

        Raises: RuntimeError if is_causal without attn_mask.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError(
                "Need attn_mask if specifying the is_causal hint: give the causal mask itself, "
                "True above the diagonal"
            )
        self._check(query, key, value)
        batched = query.dim() == 3
        itself = query is key and key is value
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))  # (1, T, E)
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)  # (1, S)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))  # (B, T, E)
        q, k, v = self._project(query, key, value, itself)
        B, T, E = query.shape
        if self.bias_k is not None:
            k = cat([k, self.bias_k.expand(B, 1, E)], 1)  # (B, S + 1, E)
            v = cat([v, self.bias_v.expand(B, 1, E)], 1)  # (B, S + 1, E)
        if self.add_zero_attn:
            k = cat([k, zeros(B, 1, E, dtype=k.dtype, device=k.device)], 1)  # (B, S + 1, E)
            v = cat([v, zeros(B, 1, E, dtype=v.dtype, device=v.device)], 1)  # (B, S + 1, E)
        q, k, v = (
            x.reshape(B, -1, self.num_heads, self.head_dim).transpose(1, 2) for x in (q, k, v)
        )  # (B, H, T or S, D)
        mask = self._mask(q, key.shape[1], k.shape[2], attn_mask, key_padding_mask)
        p = self.dropout if self.training else 0.0

        if need_weights:
            scores = (q * math.sqrt(1.0 / self.head_dim)) @ k.transpose(-2, -1)  # (B, H, T, S)
            weights = F.softmax(scores if mask is None else scores + mask, dim=-1)
            if p > 0.0:
                weights = F.dropout(weights, p)
            out = weights @ v  # (B, H, T, D)
        else:
            weights = None
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        out = out.permute(2, 0, 1, 3).reshape(T, B, E)  # (B, H, T, D) -> (T, B, E), as PyTorch
        out = self.out_proj(out)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)  # (B, T, S)
        if not batched:
            return out.squeeze(1), None if weights is None else weights.squeeze(0)
        return (out.transpose(0, 1) if self.batch_first else out), weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        if query.dim() not in (2, 3) or key.dim() != query.dim() or value.dim() != query.dim():
            raise AssertionError(
                "query, key and value should all be unbatched 2D or all be batched 3D tensors, "
                f"but they have {query.dim()}, {key.dim()} and {value.dim()} dimensions"
            )
        for name, x, size in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if x.shape[-1] != size:
                raise AssertionError(
                    f"was expecting {name}'s last dimension to be {size}, but got {x.shape[-1]}"
                )
        if key.shape[:-1] != value.shape[:-1]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:-1]} "
                f"do not match value's {value.shape[:-1]}"
            )

    def _project(
        self, query: Tensor, key: Tensor, value: Tensor, itself: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        E = self.embed_dim
        if itself and self._qkv_same_embed_dim:
            qkv = F.linear(query, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3E)
            q, k, v = qkv.split(E, -1)  # (B, T, E) each
            return q, k, v
        if self._qkv_same_embed_dim:
            wq, wk, wv = self.in_proj_weight.split(E, 0)  # (E, E) each
        else:
            wq, wk, wv = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        bias = self.in_proj_bias
        bq, bk, bv = (None, None, None) if bias is None else bias.split(E, 0)  # (E) each
        return F.linear(query, wq, bq), F.linear(key, wk, bk), F.linear(value, wv, bv)

    def _mask(
        self, q: Tensor, n_keys: int, S: int, attn_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor | None:
        """Both masks as one mask of numbers that is added to the scores (B, H, T, S), or None."""
        B, H, T, _ = q.shape
        mask = None
        if attn_mask is not None:
            if attn_mask.dim() not in (2, 3):
                raise RuntimeError(f"attn_mask's dimension {attn_mask.dim()} is not supported")
            expected = (T, n_keys) if attn_mask.dim() == 2 else (B * H, T, n_keys)
            if tuple(attn_mask.shape) != expected:
                raise RuntimeError(
                    f"The shape of the {attn_mask.dim()}D attn_mask is {attn_mask.shape}, "
                    f"but should be {expected}."
                )
            mask = _additive(attn_mask, q)
            shape = (1, 1, T, n_keys) if attn_mask.dim() == 2 else (B, H, T, n_keys)
            mask = mask.reshape(*shape)  # (1 or B, 1 or H, T, S)
        if padding is not None:
            if tuple(padding.shape) != (B, n_keys):
                raise AssertionError(
                    f"Expected key_padded_mask.shape to be {(B, n_keys)}, but got {padding.shape}"
                )
            hidden = _additive(padding, q).reshape(B, 1, 1, n_keys)  # (B, 1, 1, S)
            mask = hidden if mask is None else mask + hidden
        if mask is not None and S > n_keys:  # the places of bias_kv and zero_attn are open
            open_places = zeros(*mask.shape[:3], S - n_keys, dtype=mask.dtype, device=mask.device)
            mask = cat([mask, open_places], -1)
        return mask


def _additive(mask: Tensor, q: Tensor) -> Tensor:
    """A mask as numbers to add: −∞ where a boolean mask is True."""
    if mask.is_floating_point():
        return mask
    numbers = zeros(*mask.shape, dtype=q.dtype, device=q.device)
    return numbers.masked_fill(mask, -math.inf)


class SDPBackend(Enum):
    """PyTorch's kernels for scaled_dot_product_attention, to be named in `sdpa_kernel`."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_KERNELS = {
    SDPBackend.MATH: "math",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "mem_efficient",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
}


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """A block in which only these kernels are allowed, one or a list of them.

    Without CUDNN_ATTENTION cuDNN is not used; one kernel of this package serves every other case.
    Raises: TypeError for what is not an SDPBackend.
    """
    chosen = list(backends) if isinstance(backends, list | tuple) else [backends]
    for backend in chosen:
        if not isinstance(backend, SDPBackend):
            raise TypeError(f"Backend must be an instance of SDPBackend or a list, got {backend!r}")
    with allowed_kernels(**{name: kind in chosen for kind, name in _KERNELS.items()}):
        yield
