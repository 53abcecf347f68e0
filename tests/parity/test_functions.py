"""Names, arguments and errors that the rows of test_ops.py do not draw, one expression each."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from .compared import agree  # noqa: E402

X = np.array([[0.5, -1.0, 2.0], [0.25, 3.0, -0.75]])
V = np.array([0.5, 2.0, -1.0])
IDS = np.array([2, 0, 0])
MASK = np.array([[True, False, True], [False, True, False]])

FINE = {
    # conversions
    "to other": lambda t, x, v: x.to(t.zeros(1, dtype=t.float32)),
    "to device": lambda t, x, v: x.to("cpu"),
    "to device object": lambda t, x, v: x.to(t.device("cpu"), t.float32),
    "to copy": lambda t, x, v: x.to(t.float64, copy=True) * 2,
    "type_as": lambda t, x, v: x.type_as(t.zeros(1, dtype=t.float16)).float(),
    "type": lambda t, x, v: x.type(t.float32),
    "cpu": lambda t, x, v: x.cpu(),
    "casts": lambda t, x, v: [x.float(), x.double(), x.half().float(), x.long(), x.int(), x.bool(),
                              x.short(), x.abs().byte(), x.char(), x.bfloat16().float()],
    # element by element
    "positive": lambda t, x, v: +x,
    "square": lambda t, x, v: t.square(x),
    "number first": lambda t, x, v: [2 + x, 2 - x, 2 * x, 2 / (x + 5), 2**x],
    "clip": lambda t, x, v: x.clip(-0.5, 0.5),
    "clamp tensors": lambda t, x, v: x.clamp(v - 1, v + 1),
    "clamp on one side": lambda t, x, v: [x.clamp_min(0.3), x.clamp_max(0.3), x.clamp(max=v)],
    "masked_fill of integers": lambda t, x, v: t.arange(3).masked_fill(t.tensor(True), 1.0),
    "lerp tensor": lambda t, x, v: t.lerp(x, x * 2, v),
    "where positions": lambda t, x, v: t.where(x > 0),
    "true_divide": lambda t, x, v: x.true_divide(2),
    "add alpha": lambda t, x, v: [x.add(v, alpha=2), x.sub(v, alpha=0.5)],
    # arrangement
    "view_as": lambda t, x, v: [x.view_as(t.zeros(3, 2)), x.reshape_as(t.zeros(6))],
    "ravel": lambda t, x, v: [x.ravel(), x.t().ravel()],
    "unflatten": lambda t, x, v: x.ravel().unflatten(0, (2, -1)),
    "t": lambda t, x, v: [x.t(), v.t()],
    "swap": lambda t, x, v: [x.swapaxes(0, 1), t.swapdims(x, 0, -1)],
    "moveaxis": lambda t, x, v: t.moveaxis(x, 0, 1),
    "movedim of several": lambda t, x, v: t.movedim(x[None], (0, 2), (2, 0)),
    "expand_as": lambda t, x, v: v.expand_as(x),
    "broadcast": lambda t, x, v: [t.broadcast_to(v, (2, 3)), *t.broadcast_tensors(x, v)],
    "broadcast_shapes": lambda t, x, v: t.zeros(t.broadcast_shapes((2, 1), (3,))),
    "tile": lambda t, x, v: [x.tile(2), x.tile((2, 1, 2)), v.tile(())],
    "repeat_interleave of each": lambda t, x, v: x.repeat_interleave(t.tensor([1, 2, 0]), 1),
    "stacks": lambda t, x, v: [t.vstack([v, v]), t.hstack([v, v]), t.hstack([x, x])],
    "concatenate": lambda t, x, v: [t.concat([x, x]), t.concatenate([x, x], 1)],
    "cat with nothing": lambda t, x, v: t.cat([t.zeros(0, dtype=t.float64), x]),
    "hstack of numbers": lambda t, x, v: t.hstack([v[0], v[1]]),
    "NumPy's names": lambda t, x, v: [
        x.sum(axis=1), x.mean(0, keepdims=True), t.sum(x, axis=(0, 1), keepdims=True),
        t.softmax(x, axis=-1), x.softmax(axis=0), *x.max(axis=1), x.std(axis=0, keepdims=True),
        x.argmax(axis=1), t.argmax(x, axis=0, keepdims=True), t.cat([x, x], axis=1),
        t.stack((x, x), axis=1), x.cumsum(axis=0), x.unsqueeze(axis=1), t.add(x1=x, x2=v),
        t.exp(x=x), t.mean(a=x), t.sort(x, axis=0)[0], x.logsumexp(axis=1), x.flip(dims=(0,)),
        t.norm(x, dim=1), x.any(axis=1), t.unbind(x, axis=1)[0], x.amax(axis=0),
    ],
    "what a star collects, by name": lambda t, x, v: [
        x.permute(dims=(1, 0)), t.permute(input=x, dims=[1, 0]), x.reshape(shape=(3, 2)),
        t.reshape(x, shape=(6,)), x.view(size=(6,)), v.expand(size=(2, 3)),
        x.repeat(repeats=(2, 1)), x.tile(dims=(2,)), t.flip(x, dims=[0, 1]),
        x.swapaxes(axis0=0, axis1=1),
        *t.split(tensor=x, split_size_or_sections=1), *x.split(split_size=2, dim=1),
        t.max(x, other=v), x.min(other=v), x.scatter(1, t.tensor([[0], [2]]), value=0.5),
    ],
    "at least": lambda t, x, v: [
        t.atleast_1d(v[0]), t.atleast_2d(v), t.atleast_3d(v), t.atleast_3d(x),
        t.atleast_2d(x[None]), *t.atleast_2d(v, x), *t.atleast_1d([v[0], x]),
        t.atleast_3d(v[0]),
    ],
    "more stacks": lambda t, x, v: [
        t.column_stack([v, v * 2]), t.column_stack([x, x]), t.row_stack([v, v]), t.dstack([v, v]),
        t.dstack([x, x]), t.block_diag(x, v, x[:, :1]), t.cartesian_prod(v, v[:2]),
        t.cartesian_prod(v), t.combinations(v), t.combinations(v, 2, True), t.combinations(v, 4),
        t.combinations(v, r=1),
    ],
    "pieces": lambda t, x, v: [
        *t.tensor_split(v, 2), *x.tensor_split((1,), dim=1), *x.tensor_split(2, 1),
        *t.hsplit(x, 3), *t.hsplit(v, [1, 2]), *x.vsplit(2), *t.dsplit(x[None], 3),
        *v.tensor_split(t.tensor([1, 2])), *t.tensor_split(v, sections=2),
    ],
    "turned": lambda t, x, v: [
        t.fliplr(x), x.flipud(), t.rot90(x), x.rot90(2), x.rot90(3, (1, 0)), t.rot90(x, -1),
        t.rot90(x, 0),
    ],
    "diff": lambda t, x, v: [
        t.diff(x), x.diff(n=2), t.diff(x, dim=0), t.diff(v, prepend=v[:1], append=v[1:] * 2),
        v.diff(n=5), t.tensor([True, False, False]).diff(), x.diff(n=0),
    ],
    "composed": lambda t, x, v: [
        t.exp2(x), t.erfc(x), x.sinh(), t.cosh(x), t.logit((x / 8).abs() + 0.05),
        t.logit(x, eps=0.1), t.logaddexp(x, v), t.hypot(x, v), t.deg2rad(x), t.rad2deg(x),
        t.xlogy(t.tensor([0.0, 2.0, 1.5], dtype=t.float64), v.abs()), t.sinh(x / 100),
        t.exp2(t.arange(3)), t.sinh(x * 20),
    ],
    "beyond infinity": lambda t, x, v: [
        t.logaddexp(t.tensor([-t.inf, t.inf, 1.0]), t.tensor([-t.inf, 0.0, -t.inf])),
        t.xlogy(t.tensor([0.0, 0.0]), t.tensor([0.0, t.nan])), t.hypot(x.detach() * 0, v * 0),
    ],
    "nan sums": lambda t, x, v: [
        t.nansum(_holed(t, x)), t.nanmean(_holed(t, x), 1), _holed(t, x).nansum(0, keepdim=True),
        t.nanmean(_holed(t, x), dim=(0, 1)),
    ],
    "quantile": lambda t, x, v: [
        t.quantile(x, 0.3), x.quantile(0.5, dim=1), t.quantile(x, v.detach().clamp(0, 0.7)),
        t.quantile(x, 0.4, 0, True), x.quantile(v.detach().clamp(0.25, 1.0), 1, keepdim=True),
        *[t.quantile(v, 0.3, interpolation=how) for how in
          ("linear", "lower", "higher", "nearest", "midpoint")], t.quantile(_holed(t, x), 0.5, 1),
        t.quantile(x, 0.3, keepdim=True), x.quantile(0.5, dim=-1, keepdim=True),
    ],
    "is_nonzero": lambda t, x, v: t.tensor([t.is_nonzero(v[0]), t.zeros(1).is_nonzero()]),
    "hardsigmoid": lambda t, x, v: [  # in backward PyTorch uses a float32 1/6
        t.nn.functional.hardsigmoid(x.detach() * 3), t.nn.Hardsigmoid(inplace=True)(x.detach() * 2),
    ],
    "more activations": lambda t, x, v: [
        f(x * 3) for f in (t.nn.functional.mish, t.nn.functional.hardswish, t.nn.functional.celu,
                           t.nn.functional.selu,
                           t.nn.functional.softsign, t.nn.functional.tanhshrink)
    ] + [t.nn.functional.celu(x, 0.5), t.nn.functional.softmin(x, dim=1),
         t.nn.functional.mish(x.clone() * 2, inplace=True),
         t.nn.functional.selu(x.clone(), inplace=True)],
    "more activation modules": lambda t, x, v: [
        m(x) for m in (t.nn.Mish(), t.nn.Hardswish(), t.nn.CELU(2.0),
                       t.nn.SELU(), t.nn.Softsign(), t.nn.Tanhshrink(), t.nn.Softmin(dim=0))
    ] + [t.nn.Unflatten(1, (3, 1))(x)],
    "losses of pairs": lambda t, x, v: [
        t.nn.functional.pairwise_distance(x, v), t.nn.functional.pairwise_distance(x, x * 2, p=1),
        t.nn.functional.margin_ranking_loss(v, v.flip(0), t.tensor([1, -1, 1]), margin=0.3),
        t.nn.functional.cosine_embedding_loss(x, x * v, t.tensor([1, -1]), margin=-0.4),
        t.nn.functional.cosine_embedding_loss(v, v * v, t.tensor(1), reduction="none"),
        t.nn.functional.triplet_margin_loss(x, x * v, x + 1, margin=2.0, swap=True),
        t.nn.functional.triplet_margin_loss(x, x * v, x + 1, p=1, reduction="none"),
        t.nn.MarginRankingLoss(0.5)(v, v * v, t.tensor([-1, 1, 1])), t.nn.PairwiseDistance()(x, v),
        t.nn.CosineEmbeddingLoss(reduction="sum")(x, x * v, t.tensor([1, -1])),
        t.nn.TripletMarginLoss(reduction="sum")(x, x * v, x + 1),
    ],
    "isin": lambda t, x, v: [t.isin(t.arange(4), t.tensor([1, 3]), invert=True)],
    "inner and tensordot": lambda t, x, v: [
        t.inner(x, v), t.inner(x, x), x.inner(v[0]), t.vdot(v, v), t.dot(v, tensor=v),
        t.tensordot(x, x.t(), dims=1), t.tensordot(x, x), t.tensordot(v, x, dims=([0], [1])),
        t.tensordot(x[None], x, dims=([2, 1], [1, 0])), t.tensordot(v, x, 0),
    ],
    "contiguous": lambda t, x, v: [x.contiguous(), x.t().contiguous()],
    "indices of triangles": lambda t, x, v: [t.tril_indices(3, 4, 1), t.triu_indices(3, 3, -1)],
    "0-d": lambda t, x, v: [v[0].transpose(0, -1), v[0].flatten(), v[0].ravel(), v[0].squeeze()],
    # picking
    "lists": lambda t, x, v: [x[[0, 1, 1]], x[:, [2, 0]], x[[True, False]]],
    "empty list": lambda t, x, v: x[[]],
    "range": lambda t, x, v: x[:, range(2)],
    "0-d index": lambda t, x, v: x[t.tensor(1)],
    "tensor in slice": lambda t, x, v: v[t.tensor(1) :],
    "mask": lambda t, x, v: [x[x > 0], x[(x > 0).any(1)]],
    "None and ...": lambda t, x, v: [x[None, ..., 0], x[..., None], x[...]],
    "set list": lambda t, x, v: _set(x, [0, 1], v),
    "set mask": lambda t, x, v: _set(x, x.detach() > 0, 0.5),
    "set wide": lambda t, x, v: _set(x, slice(None), v[None]),
    "set from array": lambda t, x, v: _set(x, 0, t.from_numpy(V.copy())),
    "scatter src": lambda t, x, v: x.scatter(1, t.tensor([[0], [2]]), x[:, :1] * 2),
    "in place by index": lambda t, x, v: [
        x.clone().scatter_(1, t.tensor([[0], [2]]), 0.5),
        x.clone().scatter_(0, t.tensor([[0, 1, 1]]), v[None]),
        x.clone().scatter_add_(1, t.tensor([[0, 0], [2, 1]]), x[:, :2]),
        x.clone().index_add_(0, t.tensor([1, 1]), x),
        x.clone().index_add_(0, t.tensor([0]), x[:1], alpha=2),
        x.clone().index_fill_(1, t.tensor([0, 2]), 0.25),
    ],
    "index_select of one": lambda t, x, v: x.index_select(1, t.tensor(1)),
    "take_along none": lambda t, x, v: x.take_along_dim(t.tensor([5, 0])),
    "diagonals": lambda t, x, v: [x.diagonal(), t.diag(v), t.diag(v, -1), t.diag(x, 1)],
    "gather of 0-d": lambda t, x, v: v[0].gather(0, t.tensor(0)),
    "topk of many": lambda t, x, v: (t.arange(64.0) % 37).topk(3).values,
    "masked_select": lambda t, x, v: x.masked_select(t.tensor([True, False, True])),
    # many into one
    "older var": lambda t, x, v: [x.var(False), x.std(True), x.var(unbiased=False)],
    "var_mean": lambda t, x, v: [*t.var_mean(x, 1), *t.std_mean(x, 0, keepdim=True)],
    "max of two": lambda t, x, v: [t.max(x, v), t.min(x, v)],
    "norms": lambda t, x, v: [x.norm(), x.norm(1), x.norm(float("inf")), x.norm(float("-inf"), 0),
                              x.detach().norm(0), x.norm(3, 1, True), x.norm("fro")],
    "cumsum dtype": lambda t, x, v: x.cumsum(0, dtype=t.float32),
    "prod dtype": lambda t, x, v: [x.prod(dtype=t.float32), t.tensor([2, 3]).prod()],
    "0-d reductions": lambda t, x, v: [v[0].sum(0), v[0].cumsum(0), v[0].max(0), v[0].prod(0),
                                       v[0].sort().values, v[0].argmax(), v[0].topk(1).values],
    # products
    "beta and alpha": lambda t, x, v: [
        t.addmm(v, x.t()[:3, :2], x, beta=0.5, alpha=2),
        t.addmm(v, x.t(), x, beta=0),
        t.baddbmm(x[None], x[None, :, :2], x[None, :2], beta=0.5, alpha=3),
    ],
    "inner": lambda t, x, v: [v.inner(v), v.ger(v), v.outer(v), x.mv(v)],
    "einsum list": lambda t, x, v: t.einsum("ij,j->i", [x, v]),
}  # fmt: skip


def _holed(t, x):
    """x with a nan in one place."""
    return x.masked_fill(t.tensor([[False, False, False], [False, True, False]]), t.nan)


def _set(x, index, value):
    y = x.clone()
    y[index] = value
    return y


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FINE)
def test_expression(name):
    agree(torch, FINE[name], X, V)


WRONG = {
    "where of numbers": lambda t, x, v: t.where(x, x, v),
    "masked_fill mask": lambda t, x, v: x.masked_fill(x, 1.0),
    "masked_fill value": lambda t, x, v: x.masked_fill(x > 0, v),
    "clamp": lambda t, x, v: x.clamp(),
    "rounding": lambda t, x, v: x.div(2, rounding_mode="up"),
    "neg bool": lambda t, x, v: -(x > 0),
    "sub bool": lambda t, x, v: [(x > 0) - (x > 1)],
    "sub True": lambda t, x, v: x - True,
    "negative power": lambda t, x, v: t.arange(3) ** -1,
    "exp of a list": lambda t, x, v: t.exp([1.0]),
    "add a string": lambda t, x, v: x + "1",
    "matmul a number": lambda t, x, v: x @ 2,
    "view": lambda t, x, v: x.t().view(6),
    "view size": lambda t, x, v: x.view(4),
    "two unknown": lambda t, x, v: x.view(-1, -1),
    "negative size": lambda t, x, v: x.reshape(-2, 3),
    "ambiguous": lambda t, x, v: t.zeros(0, 3).reshape(-1, 0),
    "flatten": lambda t, x, v: x.flatten(1, 0),
    "unflatten": lambda t, x, v: v.unflatten(0, (2, 2)),
    "permute few": lambda t, x, v: x.permute(0),
    "permute twice": lambda t, x, v: x.permute(0, 0),
    "t of 3-d": lambda t, x, v: x[None].t(),
    "mT of a vector": lambda t, x, v: v.mT,
    "expand fewer": lambda t, x, v: x.expand(3),
    "expand other": lambda t, x, v: x.expand(2, 4),
    "broadcast_shapes": lambda t, x, v: t.broadcast_shapes((2,), (3,)),
    "repeat fewer": lambda t, x, v: x.repeat(2),
    "repeats": lambda t, x, v: v.repeat_interleave(t.tensor([1, 2])),
    "cat nothing": lambda t, x, v: t.cat([]),
    "cat number": lambda t, x, v: t.cat([x, 1.0]),
    "cat 0-d": lambda t, x, v: t.cat([v[0], v[1]]),
    "cat dims": lambda t, x, v: t.cat([x, v]),
    "stack nothing": lambda t, x, v: t.stack([]),
    "stack sizes": lambda t, x, v: t.stack([v, v[:1]]),
    "split": lambda t, x, v: v.split(-1),
    "split sum": lambda t, x, v: v.split([1, 1]),
    "chunk": lambda t, x, v: v.chunk(0),
    "unbind 0-d": lambda t, x, v: v[0].unbind(),
    "roll": lambda t, x, v: x.roll((1, 2), 0),
    "tril of a vector": lambda t, x, v: v.tril(),
    "triu of a vector": lambda t, x, v: v.triu(),
    "too many indices": lambda t, x, v: x[0, 0, 0],
    "index": lambda t, x, v: x[2],
    "index array": lambda t, x, v: x[t.tensor([5])],
    "negative step": lambda t, x, v: v[::-1],
    "float index": lambda t, x, v: x[t.tensor([0.5])],
    "mask shape": lambda t, x, v: x[t.tensor([True, False, True])],
    "string index": lambda t, x, v: x["a"],
    "set shape": lambda t, x, v: _set(x, 0, v[:2]),
    "index_select": lambda t, x, v: x.index_select(0, t.zeros(1, 1, dtype=t.int64)),
    "narrow": lambda t, x, v: x.narrow(1, 2, 2),
    "narrow start": lambda t, x, v: x.narrow(1, 4, 0),
    "narrow length": lambda t, x, v: x.narrow(1, 0, -1),
    "narrow 0-d": lambda t, x, v: v[0].narrow(0, 0, 1),
    "diag of 3-d": lambda t, x, v: t.diag(x[None]),
    "trace of a vector": lambda t, x, v: t.trace(v),
    "scatter dtype": lambda t, x, v: x.scatter(0, t.zeros(1, 1), 1.0),
    "scatter range": lambda t, x, v: x.scatter(0, t.tensor([[5]]), 1.0),
    "gather dtype": lambda t, x, v: x.gather(0, x),
    "gather dims": lambda t, x, v: x.gather(0, t.tensor([0])),
    "gather size": lambda t, x, v: x.gather(0, t.zeros(1, 9, dtype=t.int64)),
    "gather range": lambda t, x, v: x.gather(0, t.tensor([[7]])),
    "mean of integers": lambda t, x, v: t.arange(3).mean(),
    "std of integers": lambda t, x, v: t.arange(3).std(),
    "norm of integers": lambda t, x, v: t.arange(3).norm(),
    "dims twice": lambda t, x, v: x.sum((0, 0)),
    "max of nothing": lambda t, x, v: t.zeros(0).max(),
    "max of no rows": lambda t, x, v: t.zeros(0, 2).max(0),
    "argmax of nothing": lambda t, x, v: t.zeros(0).argmax(),
    "topk": lambda t, x, v: v.topk(4),
    "matmul 0-d": lambda t, x, v: x @ v[0],
    "matmul dtypes": lambda t, x, v: x @ v.float(),
    "mm of a vector": lambda t, x, v: t.mm(x, v),
    "bmm batches": lambda t, x, v: t.bmm(t.zeros(2, 1, 1), t.zeros(3, 1, 1)),
    "mv": lambda t, x, v: t.mv(v, v),
    "dot": lambda t, x, v: t.dot(x, v),
    "dot sizes": lambda t, x, v: t.dot(v, v[:2]),
    "outer": lambda t, x, v: t.outer(x, v),
    "einsum operands": lambda t, x, v: t.einsum("i,j->ij", v),
    "einsum letters": lambda t, x, v: t.einsum("i1->i", x),
    "einsum dims": lambda t, x, v: t.einsum("i->i", x),
    "einsum output": lambda t, x, v: t.einsum("ij->k", x),
    "einsum sizes": lambda t, x, v: t.einsum("i,i->i", v, v[:2]),
    "einsum diagonal": lambda t, x, v: t.einsum("ii->i", x),
    "fill_ shape": lambda t, x, v: v.clone().add_(x),
    "integers in place": lambda t, x, v: t.arange(3).add_(0.5),
    "bools in place": lambda t, x, v: (v > 0).add_(1),
    "expanded in place": lambda t, x, v: v.detach()[:1].expand(3).add_(1.0),
    "leaf in place": lambda t, x, v: x.add_(1.0),
    "numpy of a leaf": lambda t, x, v: x.numpy(),
    "item": lambda t, x, v: x.item(),
    "bool": lambda t, x, v: bool(x),
    "bool of nothing": lambda t, x, v: bool(x[:0]),
    "len": lambda t, x, v: len(v[0]),
    "iterate": lambda t, x, v: list(v[0]),
    "requires_grad": lambda t, x, v: t.arange(3).requires_grad_(),
    "requires_grad off": lambda t, x, v: (x * 2).requires_grad_(False),
    "size": lambda t, x, v: x.size(2),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRONG)
def test_error(name):
    """PyTorch raises, and so does this package, with the same class of error."""
    try:
        WRONG[name](torch, torch.tensor(X, requires_grad=True), torch.tensor(V, requires_grad=True))
    except Exception as error:
        assert error is not None
    else:
        pytest.fail("PyTorch does not raise: this expression belongs to FINE")
    agree(torch, WRONG[name], X, V)


IN_PLACE = {
    "neg_ exp_ expm1_ log_ log1p_ log2_ log10_ sqrt_ rsqrt_ square_ reciprocal_ tanh_ sigmoid_ "
    "sin_ cos_ tan_ erf_ abs_ floor_ ceil_ round_ trunc_ zero_ tril_ triu_ t_ squeeze_": (),
    "add_ sub_ mul_ div_ multiply_ divide_ subtract_": (0.5,),
    "pow_ fill_ clamp_min_": (2.0,),
    "clamp_ clip_": (0.4, 0.8),
    "clamp_max_": (0.6,),
    "unsqueeze_": (1,),
}


@pytest.mark.parametrize(
    ("name", "args"), [(n, args) for names, args in IN_PLACE.items() for n in names.split()]
)
def test_in_place(name, args):
    """The tensor itself is returned, changed, and its gradient is that of the change."""

    def change(t, x):
        y = x * 1.0
        same = getattr(y, name)(*args)
        assert same is y
        return y

    x = np.abs(X)
    if name in (
        "zero_",
        "fill_",
    ):  # old history: dropped here, zero in PyTorch
        agree(torch, lambda t, x: change(t, x.detach()), x)
        return
    agree(torch, change, x)


def test_in_place_with_tensors():
    changes = [
        lambda t, y, v: y.lerp_(v.expand(2, 3), 0.5),
        lambda t, y, v: y.addcmul_(v, v, value=0.5),
        lambda t, y, v: y.addcdiv_(v, v + 5),
        lambda t, y, v: y.masked_fill_(t.tensor([True, False, True]), 0.5),
        lambda t, y, v: y.copy_(v),
        lambda t, y, v: y.clamp_(v - 0.1, v + 0.1),
        lambda t, y, v: y.__iadd__(v).__isub__(1).__imul__(v).__itruediv__(3).__ipow__(2),
    ]
    for change in changes:
        agree(torch, lambda t, x, v: change(t, x * 1.0, v), X, V)  # noqa: B023
