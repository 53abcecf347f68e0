"""What grad_fn prints: PyTorch's names for every function, in float32 and in half precision."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402


class Library:
    """A library, and tensors of one dtype that require grad: X(2, 3)."""

    def __init__(self, lib, dtype):
        self.lib, self.dtype = lib, getattr(lib, dtype)

    def __call__(self, *shape):
        x = self.lib.rand(*shape).add(0.1).to(self.dtype)
        return x.requires_grad_()


PROGRAMS = {
    "add": lambda l, X: X(2) + 1,
    "radd": lambda l, X: 1 + X(2),
    "sub": lambda l, X: X(2) - 1,
    "rsub": lambda l, X: 1 - X(2),
    "mul": lambda l, X: X(2) * 2,
    "div": lambda l, X: X(2) / 2,
    "rdiv": lambda l, X: 1 / X(2),
    "pow": lambda l, X: X(2) ** 2,
    "rpow": lambda l, X: 2 ** X(2),
    "neg": lambda l, X: -X(2),
    "abs": lambda l, X: X(2).abs(),
    "exp": lambda l, X: X(2).exp(),
    "log": lambda l, X: X(2).log(),
    "log2": lambda l, X: X(2).log2(),
    "log10": lambda l, X: X(2).log10(),
    "log1p": lambda l, X: X(2).log1p(),
    "expm1": lambda l, X: X(2).expm1(),
    "sqrt": lambda l, X: X(2).sqrt(),
    "rsqrt": lambda l, X: X(2).rsqrt(),
    "square": lambda l, X: X(2).square(),
    "recip": lambda l, X: X(2).reciprocal(),
    "sin": lambda l, X: X(2).sin(),
    "cos": lambda l, X: X(2).cos(),
    "tan": lambda l, X: X(2).tan(),
    "sinh": lambda l, X: X(2).sinh(),
    "asin": lambda l, X: X(2).asin(),
    "acos": lambda l, X: X(2).arccos(),
    "atan": lambda l, X: l.atan(X(2)),
    "asinh": lambda l, X: X(2).asinh(),
    "acosh": lambda l, X: X(2).acosh(),
    "lgamma": lambda l, X: X(2).lgamma(),
    "digamma": lambda l, X: l.special.psi(X(2)),
    "polygamma": lambda l, X: l.polygamma(2, X(2)),
    "mvlgamma": lambda l, X: l.mvlgamma(X(2).abs() + 2.0, 2),
    "erfinv": lambda l, X: X(2).erfinv(),
    "sinc": lambda l, X: l.special.sinc(X(2)),
    "entr": lambda l, X: l.special.entr(X(2)),
    "ndtri": lambda l, X: l.special.ndtri(X(2)),
    "log_ndtr": lambda l, X: l.special.log_ndtr(X(2)),
    "atanh": lambda l, X: l.arctanh(X(2)),
    "atan2": lambda l, X: l.atan2(X(2), X(2)),
    "copysign": lambda l, X: X(2).copysign(-1.0),
    "logaddexp2": lambda l, X: l.logaddexp2(X(2), X(2)),
    "cosh": lambda l, X: X(2).cosh(),
    "tanh": lambda l, X: X(2).tanh(),
    "sigmoid": lambda l, X: X(2).sigmoid(),
    "erf": lambda l, X: X(2).erf(),
    "erfc": lambda l, X: X(2).erfc(),
    "logit": lambda l, X: X(2).clamp(max=0.9).logit(),
    "exp2": lambda l, X: X(2).exp2(),
    "floor": lambda l, X: X(2).floor(),
    "ceil": lambda l, X: X(2).ceil(),
    "round": lambda l, X: X(2).round(),
    "trunc": lambda l, X: X(2).trunc(),
    "sign": lambda l, X: X(2).sign(),
    "frac": lambda l, X: X(2).frac(),
    "fmod": lambda l, X: X(2).fmod(1),
    "remainder": lambda l, X: X(2) % 1,
    "maximum": lambda l, X: l.maximum(X(2), X(2)),
    "minimum": lambda l, X: l.minimum(X(2), X(2)),
    "clamp": lambda l, X: X(2).clamp(0, 1),
    "clampmin": lambda l, X: X(2).clamp(min=0),
    "clampt": lambda l, X: X(2).clamp(l.zeros(2), l.ones(2)),
    "clamp_min": lambda l, X: X(2).clamp_min(0),
    "where": lambda l, X: l.where(X(2) > 0.5, X(2), 0.0),
    "mfill": lambda l, X: X(2).masked_fill(l.ones(2) > 0, 0),
    "lerp": lambda l, X: l.lerp(X(2), X(2), 0.5),
    "lerpt": lambda l, X: l.lerp(X(2), X(2), l.ones(2) * 0.5),
    "addcmul": lambda l, X: l.addcmul(X(2), X(2), X(2)),
    "addcdiv": lambda l, X: l.addcdiv(X(2), X(2), X(2)),
    "hypot": lambda l, X: l.hypot(X(2), X(2)),
    "logaddexp": lambda l, X: l.logaddexp(X(2), X(2)),
    "xlogy": lambda l, X: l.xlogy(X(2), X(2)),
    "nan_to_num": lambda l, X: X(2).nan_to_num(),
    "deg2rad": lambda l, X: X(2).deg2rad(),
    "sum": lambda l, X: X(2, 3).sum(),
    "sum1": lambda l, X: X(2, 3).sum(1),
    "mean": lambda l, X: X(2, 3).mean(),
    "mean1": lambda l, X: X(2, 3).mean(1),
    "var": lambda l, X: X(2, 3).var(),
    "var1": lambda l, X: X(2, 3).var(1),
    "std": lambda l, X: X(2, 3).std(),
    "std1": lambda l, X: X(2, 3).std(1),
    "max": lambda l, X: X(2, 3).max(),
    "max1": lambda l, X: X(2, 3).max(1)[0],
    "min1": lambda l, X: X(2, 3).min(1).values,
    "amax": lambda l, X: X(2, 3).amax(1),
    "prod": lambda l, X: X(2, 3).prod(),
    "prod1": lambda l, X: X(2, 3).prod(1),
    "cumsum": lambda l, X: X(2, 3).cumsum(1),
    "norm": lambda l, X: X(2, 3).norm(),
    "norm1": lambda l, X: X(2, 3).norm(dim=1),
    "median": lambda l, X: X(2, 3).median(),
    "median1": lambda l, X: X(2, 3).median(1)[0],
    "quantile": lambda l, X: X(2, 3).quantile(0.5),
    "lse": lambda l, X: X(2, 3).logsumexp(1),
    "nansum": lambda l, X: X(2, 3).nansum(),
    "nanmean": lambda l, X: X(2, 3).nanmean(),
    "sort": lambda l, X: X(2, 3).sort()[0],
    "topk": lambda l, X: X(2, 3).topk(2)[0],
    "diff": lambda l, X: X(2, 3).diff(),
    "trace": lambda l, X: X(3, 3).trace(),
    "reshape": lambda l, X: X(2, 3).reshape(6),
    "view": lambda l, X: X(2, 3).view(3, 2),
    "flatten": lambda l, X: X(2, 3).flatten(),
    "t": lambda l, X: X(2, 3).t(),
    "T": lambda l, X: X(2, 3).T,
    "mT": lambda l, X: X(2, 3).mT,
    "transpose": lambda l, X: X(2, 3).transpose(0, 1),
    "permute": lambda l, X: X(2, 3, 4).permute(2, 0, 1),
    "permute2": lambda l, X: X(2, 3).permute(1, 0),
    "swap": lambda l, X: X(2, 3).swapaxes(0, 1),
    "movedim": lambda l, X: X(2, 3, 4).movedim(0, 2),
    "reshapeT": lambda l, X: X(2, 3).t().reshape(6),
    "squeeze": lambda l, X: X(2, 1).squeeze(),
    "squeeze1": lambda l, X: X(2, 1).squeeze(1),
    "unsq": lambda l, X: X(2).unsqueeze(0),
    "expand": lambda l, X: X(1, 3).expand(2, 3),
    "repeat": lambda l, X: X(2, 3).repeat(2, 1),
    "rinter": lambda l, X: X(2, 3).repeat_interleave(2, 0),
    "cat": lambda l, X: l.cat([X(2), X(3)]),
    "stack": lambda l, X: l.stack([X(2), X(2)]),
    "split": lambda l, X: X(4).split(2)[0],
    "splits": lambda l, X: X(4).split([1, 3])[0],
    "chunk": lambda l, X: X(4).chunk(2)[0],
    "unbind": lambda l, X: X(2, 3).unbind(0)[0],
    "it": lambda l, X: next(iter(X(2, 3))),
    "flip": lambda l, X: X(2).flip(0),
    "roll": lambda l, X: X(2).roll(1),
    "tril": lambda l, X: X(2, 2).tril(),
    "triu": lambda l, X: X(2, 2).triu(),
    "diag": lambda l, X: X(2, 2).diag(),
    "diagonal": lambda l, X: X(2, 2).diagonal(),
    "diagv": lambda l, X: l.diag(X(2)),
    "pad": lambda l, X: l.nn.functional.pad(X(2), (1, 1)),
    "narrow": lambda l, X: X(4).narrow(0, 1, 2),
    "select": lambda l, X: X(4, 2).select(0, 1),
    "i0": lambda l, X: X(4, 2)[0],
    "i01": lambda l, X: X(4, 2)[0, 1],
    "sl": lambda l, X: X(4, 2)[1:3],
    "sl1": lambda l, X: X(4, 2)[:, 1:],
    "none": lambda l, X: X(4)[None],
    "mask": lambda l, X: X(4)[l.ones(4) > 0],
    "ids": lambda l, X: X(4)[l.tensor([0, 1])],
    "mix": lambda l, X: X(4, 3)[l.tensor([0, 1]), 1],
    "ell": lambda l, X: X(4, 3)[..., 0],
    "isel": lambda l, X: X(4).index_select(0, l.tensor([0])),
    "gather": lambda l, X: X(4).gather(0, l.tensor([0])),
    "msel": lambda l, X: X(4).masked_select(l.ones(4) > 0),
    "take": lambda l, X: X(4).take(l.tensor([0])),
    "unflatten": lambda l, X: X(4).unflatten(0, (2, 2)),
    "atl": lambda l, X: l.atleast_2d(X(4)),
    "tile": lambda l, X: l.tile(X(4), (2,)),
    "hstack": lambda l, X: l.hstack([X(4), X(4)]),
    "vstack": lambda l, X: l.vstack([X(4), X(4)]),
    "scatter": lambda l, X: X(4).scatter(0, l.tensor([0]), 1.0),
    "scatter_add": lambda l, X: X(4).scatter_add(0, l.tensor([0]), l.ones(1)),
    "index_add": lambda l, X: X(4).index_add(0, l.tensor([0]), l.ones(1)),
    "clone": lambda l, X: X(2).clone(),
    "to64": lambda l, X: X(2).double(),
    "half": lambda l, X: X(2).half(),
    "contiguous": lambda l, X: X(2, 3).t().contiguous(),
    "mm": lambda l, X: X(2, 3) @ X(3, 2),
    "mv": lambda l, X: X(2, 3) @ X(3),
    "vm": lambda l, X: X(3) @ X(3, 2),
    "dot": lambda l, X: X(3) @ X(3),
    "bmm": lambda l, X: X(2, 2, 3) @ X(2, 3, 2),
    "bmm2": lambda l, X: l.bmm(X(2, 2, 3), X(2, 3, 2)),
    "b3": lambda l, X: X(2, 2, 3) @ X(3, 2),
    "b4": lambda l, X: X(2, 2, 2, 3) @ X(2, 2, 3, 2),
    "outer": lambda l, X: l.outer(X(2), X(3)),
    "einsum": lambda l, X: l.einsum("ij,jk->ik", X(2, 3), X(3, 2)),
    "einsumt": lambda l, X: l.einsum("ij->ji", X(2, 3)),
    "addmm": lambda l, X: l.addmm(X(2), X(2, 3), X(3, 2)),
    "baddbmm": lambda l, X: l.baddbmm(X(2, 2, 2), X(2, 2, 3), X(2, 3, 2)),
    "dotf": lambda l, X: l.dot(X(2), X(2)),
    "inner": lambda l, X: l.inner(X(2, 3), X(4, 3)),
    "tensordot": lambda l, X: l.tensordot(X(2, 3), X(3, 2), 1),
    "vdot": lambda l, X: l.vdot(X(3), X(3)),
    "glu": lambda l, X: l.nn.functional.glu(X(4)),
    "softmax": lambda l, X: X(2, 3).softmax(1),
    "log_softmax": lambda l, X: X(2, 3).log_softmax(1),
    "ln": lambda l, X: l.nn.functional.layer_norm(X(2, 3), (3,)),
    "rms": lambda l, X: l.nn.functional.rms_norm(X(2, 3), (3,)),
    "rmsw": lambda l, X: l.nn.functional.rms_norm(X(2, 3), (3,), X(3)),
    "emb": lambda l, X: l.nn.functional.embedding(l.tensor([0]), X(2, 3)),
    "dropout": lambda l, X: l.nn.functional.dropout(X(2, 3), 0.5),
    "dropout0": lambda l, X: l.nn.functional.dropout(X(2, 3), 0.0),
    "dropoutoff": lambda l, X: l.nn.functional.dropout(X(2, 3), 0.5, False),
    "ce": lambda l, X: l.nn.functional.cross_entropy(X(2, 3), l.tensor([0, 1])),
    "cesum": lambda l, X: l.nn.functional.cross_entropy(X(2, 3), l.tensor([0, 1]), reduction="sum"),
    "cenone": lambda l, X: l.nn.functional.cross_entropy(
        X(2, 3), l.tensor([0, 1]), reduction="none"
    ),
    "ces": lambda l, X: l.nn.functional.cross_entropy(
        X(2, 3), l.tensor([0, 1]), label_smoothing=0.1
    ),
    "cep": lambda l, X: l.nn.functional.cross_entropy(X(2, 3), l.rand(2, 3)),
    "nll": lambda l, X: l.nn.functional.nll_loss(X(2, 3), l.tensor([0, 1])),
    "mse": lambda l, X: l.nn.functional.mse_loss(X(2), X(2)),
    "l1": lambda l, X: l.nn.functional.l1_loss(X(2), X(2)),
    "sl1l": lambda l, X: l.nn.functional.smooth_l1_loss(X(2), X(2)),
    "huber": lambda l, X: l.nn.functional.huber_loss(X(2), X(2)),
    "bce": lambda l, X: l.nn.functional.binary_cross_entropy(X(2).clamp(0, 1), l.ones(2)),
    "bcel": lambda l, X: l.nn.functional.binary_cross_entropy_with_logits(X(2), l.ones(2)),
    "kl": lambda l, X: l.nn.functional.kl_div(X(2), l.ones(2)),
    "klb": lambda l, X: l.nn.functional.kl_div(X(2, 3), l.ones(2, 3), reduction="batchmean"),
    "cos_sim": lambda l, X: l.nn.functional.cosine_similarity(X(2, 3), X(2, 3)),
    "normalize": lambda l, X: l.nn.functional.normalize(X(2, 3)),
    "sdpa": lambda l, X: l.nn.functional.scaled_dot_product_attention(*[X(1, 2, 3, 4)] * 3),
    "sdpa3": lambda l, X: l.nn.functional.scaled_dot_product_attention(*[X(2, 3, 4)] * 3),
    "sdpac": lambda l, X: l.nn.functional.scaled_dot_product_attention(
        *[X(1, 2, 3, 4)] * 3, is_causal=True
    ),
    "conv": lambda l, X: l.nn.functional.conv1d(X(1, 2, 5), X(3, 2, 3)),
    "convg": lambda l, X: l.nn.functional.conv1d(X(1, 2, 5), X(2, 1, 3), groups=2),
    "lin": lambda l, X: l.nn.functional.linear(X(2, 3), X(4, 3), X(4)),
    "lin0": lambda l, X: l.nn.functional.linear(X(2, 3), X(4, 3)),
    "lin3": lambda l, X: l.nn.functional.linear(X(2, 2, 3), X(4, 3), X(4)),
    "lin30": lambda l, X: l.nn.functional.linear(X(2, 2, 3), X(4, 3)),
    "lin1": lambda l, X: l.nn.functional.linear(X(3), X(4, 3), X(4)),
    "lin10": lambda l, X: l.nn.functional.linear(X(3), X(4, 3)),
    "lin3t": lambda l, X: l.nn.functional.linear(X(2, 5, 3).transpose(0, 1), X(4, 3), X(4)),
    "lin3t0": lambda l, X: l.nn.functional.linear(X(2, 5, 3).transpose(0, 1), X(4, 3)),
    "lin4": lambda l, X: l.nn.functional.linear(X(2, 2, 2, 3), X(4, 3), X(4)),
    "lin2t": lambda l, X: l.nn.functional.linear(X(3, 2).t(), X(4, 3), X(4)),
    "lin4t": lambda l, X: l.nn.functional.linear(X(2, 2, 2, 3).transpose(0, 1), X(4, 3), X(4)),
    "iadd": lambda l, X: X(2).clone().add_(1),
    "imul": lambda l, X: X(2).clone().mul_(2),
    "iset": lambda l, X: (lambda y: (y.__setitem__(0, 1.0), y)[1])(X(2).clone()),
    "relu_": lambda l, X: X(2).clone().relu_(),
    "zero_": lambda l, X: X(2).clone().zero_(),
    "copy_": lambda l, X: l.zeros(2).copy_(X(2)),
    "mfill_": lambda l, X: X(2).clone().masked_fill_(l.ones(2) > 0, 0),
    "exp_": lambda l, X: X(2).clone().exp_(),
    "clamp_": lambda l, X: X(2).clone().clamp_(0, 1),
}
# Functions whose name depends on their arguments, or that are several ops here.
PROGRAMS |= {
    "q all": lambda l, X: X(2, 3).quantile(0.5),
    "q dim": lambda l, X: X(2, 3).quantile(0.5, 1),
    "q dimk": lambda l, X: X(2, 3).quantile(0.5, 1, True),
    "q list": lambda l, X: X(2, 3).quantile(l.tensor([0.1, 0.5]), 1),
    "q list all": lambda l, X: X(2, 3).quantile(l.tensor([0.1, 0.5])),
    "q k all": lambda l, X: X(2, 3).quantile(0.5, keepdim=True),
    "q vec": lambda l, X: X(3).quantile(0.5),
    "ri": lambda l, X: X(2, 3).repeat_interleave(2, 0),
    "ri none": lambda l, X: X(2, 3).repeat_interleave(2),
    "ri t": lambda l, X: X(2, 3).repeat_interleave(l.tensor([1, 2]), 0),
    "ri -1": lambda l, X: X(2, 3).repeat_interleave(2, -1),
    "ri t1": lambda l, X: X(2, 3).repeat_interleave(l.tensor([2]), 0),
    "diagv1": lambda l, X: X(2).diag(1),
    "diag1": lambda l, X: X(2, 2).diag(1),
    "inner": lambda l, X: l.inner(X(2, 3), X(4, 3)),
    "inner1": lambda l, X: l.inner(X(3), X(3)),
    "inner21": lambda l, X: l.inner(X(2, 3), X(3)),
    "inner12": lambda l, X: l.inner(X(3), X(2, 3)),
    "inner33": lambda l, X: l.inner(X(2, 2, 3), X(4, 3)),
    "vs": lambda l, X: l.vstack([X(4), X(4)]),
    "vs2": lambda l, X: l.vstack([X(2, 4), X(1, 4)]),
    "hs2": lambda l, X: l.hstack([X(2, 4), X(2, 4)]),
    "ds": lambda l, X: l.dstack([X(2, 4), X(2, 4)]),
    "cs": lambda l, X: l.column_stack([X(4), X(4)]),
    "rs": lambda l, X: l.row_stack([X(4), X(4)]),
    "catu": lambda l, X: l.cat([X(4)[None], X(4)[None]]),
    "catuu": lambda l, X: l.cat([X(4).unsqueeze(1), X(4).unsqueeze(1)], 1),
    "sc v": lambda l, X: X(4).scatter(0, l.tensor([0]), 1.0),
    "sc t": lambda l, X: X(4).scatter(0, l.tensor([0]), X(1)),
    "sc_ t": lambda l, X: X(4).clone().scatter_(0, l.tensor([0]), X(1)),
    "sc_add_": lambda l, X: X(4).clone().scatter_add_(0, l.tensor([0]), X(1)),
    "scr": lambda l, X: X(4).scatter_reduce(0, l.tensor([0]), X(1), "sum"),
    "scrmax": lambda l, X: X(4).scatter_reduce(0, l.tensor([0]), X(1), "amax"),
    "sq": lambda l, X: X(2, 1).squeeze(),
    "sqt": lambda l, X: X(2, 1, 1).squeeze((1, 2)),
    "sq0": lambda l, X: X(2, 3).squeeze(),
    "sq01": lambda l, X: X(2, 3).squeeze(1),
    "sq11": lambda l, X: X(2, 1, 1).squeeze(),
    "sqv": lambda l, X: X(2, 1).reshape(2),
    "sq_": lambda l, X: X(2, 1).clone().squeeze_(1),
    "td1": lambda l, X: l.tensordot(X(2, 3), X(3, 2), 1),
    "td2": lambda l, X: l.tensordot(X(2, 3), X(2, 3), 2),
    "td0": lambda l, X: l.tensordot(X(2), X(3), 0),
    "tdl": lambda l, X: l.tensordot(X(2, 3, 4), X(3, 2, 5), ([1, 0], [0, 1])),
    "cep": lambda l, X: l.nn.functional.cross_entropy(X(2, 3), l.rand(2, 3)),
    "cep s": lambda l, X: l.nn.functional.cross_entropy(X(2, 3), l.rand(2, 3), reduction="sum"),
    "cep n": lambda l, X: l.nn.functional.cross_entropy(X(2, 3), l.rand(2, 3), reduction="none"),
    "cep ls": lambda l, X: l.nn.functional.cross_entropy(
        X(2, 3), l.rand(2, 3), label_smoothing=0.1
    ),
    "zero_": lambda l, X: X(2).clone().zero_(),
    "fill_t": lambda l, X: X(2).clone().fill_(l.tensor(2.0)),
    "copyc": lambda l, X: X(2).clone().copy_(l.ones(2)),
    "unif": lambda l, X: X(2).clone().uniform_(),
    "norm_": lambda l, X: X(2).clone().normal_(),
    "bern_": lambda l, X: X(2).clone().bernoulli_(),
    "exp_": lambda l, X: X(2).clone().exponential_(),
    "rand_": lambda l, X: X(2).clone().random_(),
    "clampt": lambda l, X: X(2).clamp(l.zeros(2), l.ones(2)),
    "clampmt": lambda l, X: X(2).clamp(min=l.zeros(2)),
    "clampMt": lambda l, X: X(2).clamp(max=l.zeros(2)),
    "clampmint": lambda l, X: X(2).clamp_min(l.zeros(2)),
    "clampT": lambda l, X: X(2).clamp(X(2), X(2)),
    "clampt_": lambda l, X: X(2).clone().clamp_(l.zeros(2), l.ones(2)),
    "lerpt": lambda l, X: l.lerp(X(2), X(2), l.ones(2) * 0.5),
    "lerp0": lambda l, X: l.lerp(X(2), X(2), l.tensor(0.5)),
    "lerp_": lambda l, X: X(2).clone().lerp_(X(2), 0.5),
    "lerpw": lambda l, X: l.lerp(X(2), X(2), weight=X(2)),
    "addcmul_": lambda l, X: X(2).clone().addcmul_(X(2), X(2)),
    "put": lambda l, X: X(4).index_put((l.tensor([1]),), l.tensor(1.0)),
    "ifill": lambda l, X: X(4).index_fill(0, l.tensor([1]), 1.0),
    "icopy": lambda l, X: X(4).index_copy(0, l.tensor([1]), l.ones(1)),
    "mscatter": lambda l, X: X(4).masked_scatter(l.ones(4) > 0, l.ones(4)),
    "cumprod": lambda l, X: X(4).cumprod(0),
    "cummax": lambda l, X: X(4).cummax(0)[0],
    "trapz": lambda l, X: l.trapezoid(X(4)),
    "cdist": lambda l, X: l.cdist(X(2, 3), X(2, 3)),
    "det": lambda l, X: l.det(X(2, 2)),
    "slogdet": lambda l, X: l.slogdet(X(2, 2))[1],
    "inv": lambda l, X: l.inverse(X(2, 2)),
    "solve": lambda l, X: l.linalg.solve(X(2, 2), X(2, 2)),
    "blockd": lambda l, X: l.block_diag(X(2, 2), X(2, 2)),
    "swapd": lambda l, X: X(2, 3).swapdims(0, 1),
    "rot90": lambda l, X: l.rot90(X(2, 3)),
    "fliplr": lambda l, X: l.fliplr(X(2, 3)),
    "tsplit": lambda l, X: X(4).tensor_split(2)[0],
    "hsplit": lambda l, X: X(4).hsplit(2)[0],
    "std_mean": lambda l, X: l.std_mean(X(3))[0],
    "var_mean": lambda l, X: l.var_mean(X(3))[1],
}
for _name in (
    "relu gelu silu elu leaky_relu softplus logsigmoid hardtanh relu6 selu celu mish hardswish "
    "hardsigmoid softsign tanhshrink"
).split():
    PROGRAMS[_name] = lambda l, X, name=_name: getattr(l.nn.functional, name)(X(2, 3))
HALF = (
    "add mul radd exp sum mean softmax log_softmax gelu silu relu ln rms mm b3 bmm lin lin3 lin30 "
    "lin0 lin1 ce mse tanh sigmoid sqrt pow norm var max lse emb sdpa cumsum log1p rsqrt std div "
    "lin3t lin3t0 square recip log einsum outer mv dot nll prod erf"
).split()


def printed(lib, name, dtype):
    text = repr(PROGRAMS[name](lib, Library(lib, dtype)))
    match = re.search(r"grad_fn=<(\w+)>", text)
    return match and match[1]


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_float32(name):
    assert printed(tg, name, "float32") == printed(torch, name, "float32")


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(name, dtype):
    assert printed(tg, name, dtype) == printed(torch, name, dtype)


def test_a_copy_of_a_leaf_has_its_gradient():
    for lib in (tg, torch):
        w = lib.ones(2).requires_grad_()
        y = lib.zeros(2).copy_(w)
        (y * lib.tensor([2.0, 3.0])).sum().backward()
        assert w.grad.tolist() == [2.0, 3.0] and y.requires_grad and not y.is_leaf


@pytest.mark.parametrize("write", [
    lambda y: y.zero_(), lambda y: y.fill_(2.0), lambda y: y.normal_(), lambda y: y.random_(),
    lambda y: y.copy_(y.detach() + 1), lambda y: y.bernoulli_(), lambda y: y.mul_(0).detach_(),
])  # fmt: skip
def test_what_is_overwritten_gets_a_gradient_of_zeros(write):
    """It stays in the graph: backward works, and what it was computed from gets 0, not None."""
    for lib in (tg, torch):
        w = lib.tensor([1.0, float("inf")], requires_grad=True)
        y = write(w * 2)
        if y.requires_grad:
            (y * lib.tensor([3.0, float("nan")])).sum().backward()
            assert w.grad.tolist() == [0.0, 0.0]
        assert y.is_leaf == (not y.requires_grad) == (write.__code__.co_names[-1] == "detach_")


def test_the_name_of_a_grad_fn_can_be_called():
    names = []
    for t in (tg, torch):
        x = t.ones(2, 3, requires_grad=True)
        results = [x + 1, x.sum(), x @ x.t(), x.view(6), x.max(1)[0], x.sum(0).exp(), x[0],
                   x.relu(), x.split(1)[0], x.unsqueeze(0), x.mean(1).log()]  # fmt: skip
        names.append([y.grad_fn.name() for y in results])
        node = (x.sum(0).exp() * 2).mean().grad_fn
        while node is not None:
            names[-1].append(node.name())
            node = node.next_functions[0][0] if node.next_functions else None
    assert names[0] == names[1]
    assert tg.ones(1, requires_grad=True).exp().grad_fn.name == "exp"  # the op's own name, too
