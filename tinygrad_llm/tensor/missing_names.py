"""Errors for names that a package or a tensor does not have, with the nearest one that it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Methods of PyTorch's Tensor that are not offered here. A method that is attached later replaces
# its entry.
_OF_TENSOR = """
    H absolute_ addbmm addbmm_ addmm_ addmv addmv_ addr addr_ adjoint aminmax angle apply_
    arccos_ arccosh_ arcsin_ arcsinh_ arctan2_ arctan_ arctanh_ as_strided as_strided_
    as_strided_scatter as_subclass atan2_ baddbmm_ 
    cauchy_ ccol_indices cdouble cfloat chalf cholesky cholesky_inverse cholesky_solve coalesce
    col_indices conj_physical conj_physical_ const_data_ptr copysign_ corrcoef cosh_ cov cross
    crow_indices cummax cummin cumprod cumprod_ cumsum_ deg2rad_ dense_dim dequantize det
    diag_embed diagflat diagonal_scatter dim_order dist eig eq_ erfc_ exp2_ fill_diagonal_ fix_
    fmax fmin frexp gcd gcd_ ge_ geometric_ geqrf grad_dtype greater_ greater_equal_ gt_
    hardshrink hash_tensor heaviside_ histc histogram hypot_ i0 i0_ igamma igamma_ igammac
    igammac_ index index_copy index_copy_ index_fill index_put index_put_ index_reduce
    index_reduce_ indices int_repr inverse ipu is_coalesced is_inference isreal istft kron
    kthvalue lcm lcm_ ldexp ldexp_ le_ less_ less_equal_ log_normal_ logcumsumexp logdet logit_
    lstsq lt_ lu lu_solve mH map2_ map_ masked_scatter masked_scatter_ matrix_exp matrix_power
    mode module_load moveaxis msort mtia mvlgamma_ name nan_to_num_ nanmedian nanquantile
    narrow_copy ndimension ne_ negative_ new new_empty_strided nextafter nextafter_
    nonzero_static not_equal_ orgqr ormqr output_nr pinverse polygamma_ prelu put put_
    q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qr
    qscheme rad2deg_ record_stream reinforce renorm renorm_ resize resize_ resize_as resize_as_
    resize_as_sparse_ resolve_conj resolve_neg row_indices scatter_reduce scatter_reduce_
    select_scatter set_ sgn_ share_memory_ sinh_ slice_inverse slice_scatter slogdet smm solve
    sparse_dim sparse_mask sparse_resize_ sparse_resize_and_clear_ split_with_sizes sspaddmm
    stft storage storage_type sum_to_size svd swapaxes_ swapdims_ symeig to_dense to_mkldnn
    to_padded_tensor to_sparse to_sparse_bsc to_sparse_bsr to_sparse_coo to_sparse_csc
    to_sparse_csr transpose_ triangular_solve true_divide_ unfold unique_consecutive
    unsafe_chunk unsafe_split unsafe_split_with_sizes values volatile xlogy_ xpu
"""
# What to use in place of some of them, where the nearest name is not the answer.
_INSTEAD = {
    "cholesky": "numpy.linalg.cholesky(x.numpy())",
    "cumprod": "x.log().cumsum(dim).exp() for positive numbers",
    "det": "numpy.linalg.det(x.numpy())",
    "diag_embed": "torch.diag for one row, torch.stack of them for several",
    "index_put_": "x[indices] = values; with accumulate=True scatter_add_ or index_add_",
    "inverse": "numpy.linalg.inv(x.numpy())",
    "kthvalue": "x.sort(dim), whose k-th entry it is",
    "map_": "torch.where, or a function of whole tensors",
    "masked_scatter": "x[mask] = source[: mask.sum()]",
    "masked_scatter_": "x[mask] = source[: mask.sum()]",
    "qr": "numpy.linalg.qr(x.numpy())",
    "resize_": "a new tensor, or x.reshape",
    "scatter_reduce": "scatter_add for sums",
    "share_memory_": "NumPy arrays in multiprocessing.shared_memory",
    "solve": "numpy.linalg.solve(a.numpy(), b.numpy())",
    "storage": "x.untyped_storage()",
    "svd": "numpy.linalg.svd(x.numpy())",
    "to_dense": "the tensor itself: there are no sparse ones",
    "unfold": "x[..., i : i + size] for each i, and torch.stack",
    "unique_consecutive": "torch.unique, or a comparison of x[1:] with x[:-1]",
}


# The same for functions, layers and other names of packages.
_INSTEAD_OF_MODULES = {
    "Adadelta": "AdamW or RMSprop", "LBFGS": "AdamW, or scipy.optimize over p.numpy()",
    "ASGD": "SGD and optim.swa_utils.AveragedModel", "Adamax": "Adam", "Rprop": "RMSprop",
    "AdaptiveLogSoftmaxWithLoss": "F.linear_cross_entropy, which stores no logits",
    "AlphaDropout": "Dropout", "alpha_dropout": "dropout", "Bilinear": "einsum('bi,oij,bj->bo')",
    "bilinear": "einsum('bi,oij,bj->bo')", "Buffer": "Module.register_buffer",
    "Container": "Module", "GaussianNLLLoss": "0.5·(log var + (x − t)²/var)",
    "gaussian_nll_loss": "0.5·(log var + (x − t)²/var)", "PoissonNLLLoss": "x.exp() − t·x",
    "poisson_nll_loss": "x.exp() − t·x", "SoftMarginLoss": "F.softplus(−t·x).mean()",
    "soft_margin_loss": "F.softplus(−t·x).mean()", "LazyLinear": "Linear with its sizes",
    "MultiLabelSoftMarginLoss": "BCEWithLogitsLoss", "NLLLoss2d": "NLLLoss",
    "multilabel_soft_margin_loss": "binary_cross_entropy_with_logits",
    "MultiMarginLoss": "MarginRankingLoss", "multi_margin_loss": "margin_ranking_loss",
    "MultiLabelMarginLoss": "BCEWithLogitsLoss", "Softmax2d": "Softmax(dim=1)",
    "multilabel_margin_loss": "binary_cross_entropy_with_logits",
    "TripletMarginWithDistanceLoss": "TripletMarginLoss", "FeatureAlphaDropout": "Dropout",
    "triplet_margin_with_distance_loss": "triplet_margin_loss", "pdist": "cdist(x, x) above its "
    "diagonal", "multi_head_attention_forward": "scaled_dot_product_attention",
    "parametrize": "the parameters themselves: compute the weight in forward",
    "parametrizations": "the parameters themselves: compute the weight in forward",
    "weight_norm": "g·v/|v|, computed in forward", "remove_weight_norm": "the weight itself",
    "spectral_norm": "w/σ, computed in forward", "remove_spectral_norm": "the weight itself",
    "stateless": "load_state_dict", "functional": "backward() for each row",
    "profiler": "tinygrad_llm.profiler", "forward_ad": "backward()",
    "IterDataPipe": "IterableDataset", "MapDataPipe": "Dataset", "datapipes": "Dataset",
    "dlpack": "from_dlpack", "swap_tensors": "p.data = q", "hooks": "tinygrad_llm.utils.hooks",
    "renorm": "x * (limit / x.norm(dim=1, keepdim=True)).clamp(max=1.0)",
    "histogramdd": "histogram", "poisson": "numpy.random.poisson",
    "binomial": "bernoulli over one more dimension, and sum", "vmap": "a batch dimension",
    "unravel_index": "numpy.unravel_index", "nonzero_static": "nonzero",
}  # fmt: skip


def missing(package: str, name: str, known: Iterable[str]) -> AttributeError:
    """The AttributeError for `package.name`, with the nearest of the names that exist."""
    if name.startswith("__"):  # what import itself asks for
        return AttributeError(f"{package} has no {name!r}")
    from .out_of_scope import not_done

    part = not_done(name)
    if part:
        return AttributeError(
            f'{package} has no {name!r}: there are no {part} here (README.md, "What it does not '
            'do")'
        )
    instead = _INSTEAD.get(name) or _INSTEAD_OF_MODULES.get(name)
    if instead:
        return AttributeError(f"{package} has no {name!r}. Use {instead}")
    near = _nearest(name, known)
    hint = f": the nearest is {near}" if near else ""
    return AttributeError(f"{package} has no {name!r}{hint}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like a name; "" if none is."""
    import difflib  # here, because its import is slow and rarely needed

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.76)
    return near[0] if near else ""


class MissingNameError(AttributeError):
    """A name that PyTorch's Tensor has and this one has not; the hint is found when it is read."""

    def __init__(self, name: str, owner: type) -> None:
        super().__init__(name, owner)
        self.missing, self.owner = name, owner

    def __str__(self) -> str:
        name = self.missing
        text = (
            f"'{self.owner.__name__}' object has no attribute {name!r}: PyTorch's tensors have it, "
            "these do not"
        )
        if name in _INSTEAD:
            return f"{text}. Use {_INSTEAD[name]}"
        near = _nearest(name, (n for n in names_of(self.owner) if not n.startswith("_")))
        if near:
            return f"{text}; the nearest is {near}"
        from .out_of_scope import not_done

        part = not_done(name)
        return f"{text}: there are no {part} here" if part else f"{text}. Use NumPy: x.numpy()"


class _Missing:
    """An attribute that raises a MissingNameError when it is read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        raise MissingNameError(self.name, owner)


def names_of(kind: type) -> set[str]:
    """The attributes of a class, without those that are missing."""
    return {
        name
        for each in reversed(kind.__mro__)
        for name, value in vars(each).items()
        if not isinstance(value, _Missing)
    }


def note_missing(tensor: type) -> None:
    """Give Tensor an error with a hint for each name of PyTorch's that it does not have."""
    for name in _OF_TENSOR.split():
        if name not in vars(tensor):
            setattr(tensor, name, _Missing(name))
