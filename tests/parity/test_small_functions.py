"""Norms over groups and batches, bags of embeddings, PReLU, running extremes, distances, areas and
linear algebra: PyTorch's values, gradients, errors and texts."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from .compared import agree

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

DTYPES = ["float32", "float64"]


def real(*shape, dtype="float64", seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def invertible(*shape, dtype="float64", seed=0):
    a = real(*shape, dtype=dtype, seed=seed)
    return (a + 3.0 * np.eye(shape[-1])).astype(dtype)


# ------------------------------------------------------------------------------------- functions
RUNNING = {
    "cumprod": lambda t, x: x.cumprod(1),
    "cumprod first": lambda t, x: t.cumprod(x, dim=0),
    "cummax": lambda t, x: x.cummax(1).values,
    "cummin": lambda t, x: t.cummin(x, -2)[0],
    "cummax places": lambda t, x: list(x.cummax(0)),
    "cummin places": lambda t, x: list(x.cummin(2)),
    "trapezoid": lambda t, x: t.trapezoid(x),
    "trapezoid dx": lambda t, x: t.trapz(x, dx=0.3, dim=1),
    "trapezoid x": lambda t, x: t.trapezoid(x, t.arange(5).to(x.dtype) ** 2, dim=1),
    "trapezoid of both": lambda t, x: t.trapezoid(x, x * 2 + 1, dim=0),
    "cumulative": lambda t, x: t.cumulative_trapezoid(x, dim=1),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RUNNING)
def test_running(name, dtype):
    x = np.round(real(3, 5, 4, dtype=dtype), 1)  # with zeros and equal elements among them
    agree(torch, RUNNING[name], x)
    agree(torch, RUNNING[name], np.where(np.abs(x) < 0.4, 0, x).astype(dtype))


@pytest.mark.parametrize("a", [
    np.array([[3, 1, 3, 2, 5], [0, 0, -1, -1, 4]]), np.array([True, False, True]),
    np.array([1.0, np.nan, 2.0, np.nan, -1.0]), np.array([-np.inf, -np.inf, np.inf, np.inf, 0.0]),
    np.array([-0.0, 0.0, -0.0]), np.float64(3.0), np.zeros((0, 3)), np.arange(9)[::-1].copy(),
], ids=lambda a: f"{a.dtype}-{a.shape}")  # fmt: skip
def test_running_extremes_of_special_numbers(a):
    for dim in (0, -1):
        for name in ("cummax", "cummin"):
            agree(torch, lambda t, x, n=name, d=dim: list(getattr(x, n)(d)), a)
        agree(torch, lambda t, x, d=dim: x.detach().cumprod(d), a)


def test_running_extremes_print_as_in_pytorch():
    values = [[1.0, 3.0], [2.0, 0.0]]
    assert repr(tg.tensor(values).cummax(1)) == repr(torch.tensor(values).cummax(1))
    ours, theirs = (t.tensor(values, requires_grad=True).cummin(0)[0] for t in (tg, torch))
    assert str(ours) == str(theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, 7.0, math.inf])
def test_cdist(p, dtype):
    x, y = real(2, 4, 3, dtype=dtype), real(2, 5, 3, dtype=dtype, seed=1)
    y[:, 1] = x[:, 0]  # one distance is 0
    agree(torch, lambda t, x, y: t.cdist(x, y, p), x, y)
    agree(torch, lambda t, x, y: t.cdist(x[0], y, p=p), x, y)
    agree(torch, lambda t, x: t.cdist(x, x * 2, p), x)


def test_cdist_of_nothing_and_of_wrong_shapes():
    agree(torch, lambda t, x, y: t.cdist(x.detach(), y.detach(), 0.0), real(4, 3), real(5, 3))
    for a, b in [((0, 3), (2, 3)), ((2, 0), (3, 0)), ((2, 3), (0, 3))]:
        agree(torch, lambda t, x, y: t.cdist(x, y), real(*a), real(*b))
    for a, b, p in [((3,), (2, 3), 2.0), ((2, 3), (2, 4), 2.0), ((2, 3), (2, 3), -1.0)]:
        agree(torch, lambda t, x, y, p=p: t.cdist(x, y, p), real(*a), real(*b))


# ---------------------------------------------------------------------------------------- linalg
LINALG = {
    "norm": lambda t, a: t.linalg.norm(a),
    "norm dim": lambda t, a: t.linalg.norm(a, dim=(0, 2)),
    "norm keep": lambda t, a: t.linalg.norm(a, 3, 1, True),
    "norm of all": lambda t, a: t.linalg.norm(a, dim=None, keepdim=True),
    "vector 1": lambda t, a: t.linalg.vector_norm(a, 1, (0, 1)),
    "vector inf": lambda t, a: t.linalg.vector_norm(a, math.inf, 2),
    "vector -inf": lambda t, a: t.linalg.vector_norm(a, -math.inf, -1, keepdim=True),
    "vector 0": lambda t, a: t.linalg.vector_norm(a.detach(), 0, 2),
    "vector 2.5": lambda t, a: t.linalg.vector_norm(a, 2.5),
    **{
        f"matrix {ord} {keep}": lambda t, a, o=ord, k=keep: t.linalg.matrix_norm(a, o, keepdim=k)
        for ord in ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf)
        for keep in (False, True)
    },
    "matrix dims": lambda t, a: t.linalg.matrix_norm(a, 1, dim=(2, 0)),
    "matrix dims 2": lambda t, a: t.linalg.norm(a, "nuc", dim=(0, 1), keepdim=True),
    "svdvals": lambda t, a: t.linalg.svdvals(a),
    "svd": lambda t, a: t.linalg.svd(a.detach())[1],
    "svd again": lambda t, a: (lambda u, s, v: u @ t.diag_embed(s) @ v if hasattr(t, "diag_embed")
                               else (u * s[..., None, :]) @ v)(*t.linalg.svd(a.detach(), False)),
    "qr": lambda t, a: [abs(x) for x in t.linalg.qr(a.detach())],
    "qr complete": lambda t, a: abs(t.linalg.qr(a.detach(), mode="complete").R),
    "qr r": lambda t, a: abs(t.linalg.qr(a.detach(), "r").R),
    "bad order": lambda t, a: t.linalg.matrix_norm(a, 3),
    "order without dim": lambda t, a: t.linalg.norm(a, 2),
    "same dims": lambda t, a: t.linalg.matrix_norm(a, dim=(1, 1)),
    "bad mode": lambda t, a: t.linalg.qr(a.detach(), "full"),
    "not square": lambda t, a: t.linalg.inv(a),
    "integers": lambda t, a: t.linalg.svdvals(a.long()),
    "half": lambda t, a: t.linalg.inv(a[..., :3].half()),
    "vector for a matrix": lambda t, a: t.linalg.det(a[0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LINALG)
def test_linalg_of_any_matrix(name, dtype):
    agree(torch, LINALG[name], real(2, 3, 5, dtype=dtype))


SQUARE = {
    "inv": lambda t, a, b: t.linalg.inv(a),
    "inverse": lambda t, a, b: a.inverse() + t.inverse(a),
    "solve": lambda t, a, b: t.linalg.solve(a, b),
    "solve right": lambda t, a, b: t.linalg.solve(a, b.mT, left=False),
    "solve broadcast": lambda t, a, b: t.linalg.solve(a[0], b),
    "solve broadcast B": lambda t, a, b: t.linalg.solve(a, b[1]),
    "solve vectors": lambda t, a, b: t.linalg.solve(a, b[..., 0]),
    "solve vector": lambda t, a, b: t.linalg.solve(a, b[0, :, 0]),
    "solve alone": lambda t, a, b: t.linalg.solve(a[0], b[0]),
    "det": lambda t, a, b: t.linalg.det(a),
    "det method": lambda t, a, b: t.det(a) + a.det(),
    "slogdet": lambda t, a, b: [t.linalg.slogdet(a)[1], t.linalg.slogdet(a)[0].detach()],
    "logdet": lambda t, a, b: t.logdet(a) + t.slogdet(a)[1],
    "negative det": lambda t, a, b: [t.linalg.det(-a), t.slogdet(-a)[1]],
    "log of a negative": lambda t, a, b: t.logdet((-a).detach()),
    "eigvalsh": lambda t, a, b: t.linalg.eigvalsh(a + a.mT),
    "eigh": lambda t, a, b: t.linalg.eigh(a.detach()).eigenvalues,
    "eigh U": lambda t, a, b: t.linalg.eigh(a.detach(), "U")[0],
    "eigh again": lambda t, a, b: (lambda w, v: (v * w[..., None, :]) @ v.mT)(
        *t.linalg.eigh(a.detach())),
    "spectral": lambda t, a, b: t.linalg.norm(a[0], 2) + t.linalg.norm(a[1]),
    "shapes": lambda t, a, b: t.linalg.solve(a, b[:, :2]),
    "dtypes": lambda t, a, b: t.linalg.solve(a.double(), b.float()),
    "uplo": lambda t, a, b: t.linalg.eigvalsh(a, "X"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SQUARE)
def test_linalg_of_square_matrices(name, dtype):
    agree(torch, SQUARE[name], invertible(3, 3, 3, dtype=dtype), real(3, 3, 2, dtype=dtype))


def test_decompositions_say_that_they_have_no_gradient():
    a = tg.eye(3).requires_grad_()
    for name, instead in (("svd", "svdvals"), ("eigh", "eigvalsh"), ("qr", "detach")):
        with pytest.raises(RuntimeError, match=f"linalg.{name} has no gradient.*{instead}"):
            getattr(tg.linalg, name)(a)
        with tg.no_grad():
            getattr(tg.linalg, name)(a)
    for call in (
        lambda t: t.linalg.inv(t.zeros(2, 2)), lambda t: t.linalg.solve(t.ones(2, 2), t.ones(2)),
    ):  # fmt: skip
        for lib in (tg, torch):
            with pytest.raises(RuntimeError, match="singular"):
                call(lib)
    with pytest.raises(RuntimeError, match="singular: log"):
        tg.linalg.det(a * 0)
    assert tg.linalg.det((a * 0).detach()).item() == 0
    assert repr(tg.linalg.slogdet(tg.eye(2))) == repr(torch.linalg.slogdet(torch.eye(2)))
    assert repr(tg.linalg.eigh(tg.eye(2))) == repr(torch.linalg.eigh(torch.eye(2)))


# ----------------------------------------------------------------------------------- norm, prelu
FUNCTIONAL = {
    "group_norm": lambda t, x, w, b: t.nn.functional.group_norm(x, 3, w, b, 1e-3),
    "group_norm plain": lambda t, x, w, b: t.nn.functional.group_norm(x, 2),
    "group_norm flat": lambda t, x, w, b: t.nn.functional.group_norm(x[..., 0], 1, w),
    "group_norm divisor": lambda t, x, w, b: t.nn.functional.group_norm(x, 4),
    "group_norm one": lambda t, x, w, b: t.nn.functional.group_norm(x[:1, :, 0], 6),
    "group_norm weight": lambda t, x, w, b: t.nn.functional.group_norm(x, 2, w[:2]),
    "batch_norm": lambda t, x, w, b: t.nn.functional.batch_norm(
        x, None, None, w, b, True, 0.1, 0.1),
    "batch_norm 2-D": lambda t, x, w, b: t.nn.functional.batch_norm(x[..., 0], None, None, w,
                                                                    training=True),
    "batch_norm fixed": lambda t, x, w, b: t.nn.functional.batch_norm(
        x, b.detach(), w.detach() ** 2, w, b),
    "batch_norm one": lambda t, x, w, b: t.nn.functional.batch_norm(x[:1, :, 0], None, None,
                                                                    training=True),
    "batch_norm none": lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None),
    "prelu": lambda t, x, w, b: t.nn.functional.prelu(x, w),
    "prelu one": lambda t, x, w, b: t.nn.functional.prelu(x, w[:1]),
    "prelu zeros": lambda t, x, w, b: t.nn.functional.prelu(x * 0, w),
    "prelu inf": lambda t, x, w, b: t.nn.functional.prelu(
        t.tensor([[math.inf] * 6], dtype=x.dtype), w),
    "prelu wrong": lambda t, x, w, b: t.nn.functional.prelu(x, w[:2]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONAL)
def test_norms(name, dtype):
    arrays = real(4, 6, 5, dtype=dtype), real(6, dtype=dtype), real(6, dtype=dtype, seed=1)
    agree(torch, FUNCTIONAL[name], *arrays)


LAYERS = {
    "BatchNorm1d": lambda nn: nn.BatchNorm1d(3),
    "plain": lambda nn: nn.BatchNorm1d(3, eps=1e-3, momentum=0.3, affine=False),
    "mean of all": lambda nn: nn.BatchNorm1d(3, momentum=None),
    "no statistics": lambda nn: nn.BatchNorm1d(3, track_running_stats=False),
    "GroupNorm": lambda nn: nn.GroupNorm(3, 3, affine=False),
    "GroupNorm affine": lambda nn: nn.GroupNorm(1, 3, eps=1e-2),
    "PReLU": lambda nn: nn.PReLU(),
    "PReLU 3": lambda nn: nn.PReLU(3, init=0.1),
}


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5)])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_training_and_evaluation(name, shape):
    """Three steps of SGD, then evaluation: outputs, gradients and every number of the state."""
    ours, theirs = LAYERS[name](tg.nn), LAYERS[name](torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for step in range(4):
        ours.train(step < 3), theirs.train(step < 3)
        results = []
        for lib, layer in ((tg, ours), (torch, theirs)):
            x = lib.from_numpy(real(*shape, dtype="float32", seed=step)).requires_grad_()
            y = layer(x)
            (y * lib.from_numpy(real(*shape, dtype="float32", seed=9))).sum().backward()
            with lib.no_grad():
                for p in layer.parameters():
                    p -= 0.1 * p.grad
                    p.grad = None
            results.append([y.detach(), x.grad, *layer.state_dict().values()])
        for y, z in zip(*results, strict=True):
            assert str(y.dtype) == str(z.dtype)
            np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=2e-5, atol=1e-4)
    again = copy.deepcopy(theirs)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})
    assert again.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("bad", [
    lambda lib: lib.nn.BatchNorm1d(3)(lib.ones(2, 3, 4, 5)),
    lambda lib: lib.nn.BatchNorm1d(3)(lib.ones(1, 3)),
    lambda lib: lib.nn.BatchNorm1d(4)(lib.ones(2, 3)),
    lambda lib: lib.nn.GroupNorm(2, 3),
    lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.ones(2, 2, 2).long()),
    lambda lib: lib.nn.EmbeddingBag(3, 2, scale_grad_by_freq=True, mode="max")(
        lib.ones(2, 2).long()),
    lambda lib: lib.nn.EmbeddingBag(3, 2, mode="min")(lib.ones(2, 2).long()),
    lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.ones(2).long()),
    lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.ones(2, 2).long(), lib.zeros(1).long()),
    lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.ones(2).long(), lib.ones(1).long()),
    lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.ones(2).long(), lib.tensor([0, 5])),
    lambda lib: lib.nn.EmbeddingBag(3, 2)(lib.ones(2, 2).long(), None, lib.ones(2, 2)),
    lambda lib: lib.nn.EmbeddingBag(3, 2, mode="sum")(lib.ones(2, 2).long(), None, lib.ones(2)),
    lambda lib: lib.nn.EmbeddingBag(3, 2, padding_idx=7),
])  # fmt: skip
def test_errors_are_of_the_same_class(bad):
    with pytest.raises((RuntimeError, ValueError, AssertionError, NotImplementedError)) as theirs:
        bad(torch)
    with pytest.raises(type(theirs.value)):
        bad(tg)


# ------------------------------------------------------------------------------------------ bags
BAGS = [
    ([[0, 2, 2], [4, 1, 0]], None), ([0, 2, 2, 4, 1], [0, 2, 2, 3]), ([3, 3], [0]),
    ([1, 2], [0, 2]),
    ([0, 0, 0, 0], [0, 4]), ([], [0, 0]), ([[2]], None),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2, -5])
@pytest.mark.parametrize("ids,offsets", BAGS, ids=str)
def test_embedding_bag(ids, offsets, padding, mode, dtype):
    ids = np.array(ids, "int64")
    offsets = None if offsets is None else np.array(offsets, "int64")

    def call(t, w, ids, offsets=None, **more):
        return t.nn.functional.embedding_bag(
            ids, w, offsets, mode=mode, padding_idx=padding, **more
        )

    weight = real(5, 3, dtype=dtype)
    given = [ids] if offsets is None else [ids, offsets]
    if padding is not None and mode == "max" and ids.size == 0:
        return  # PyTorch's own gradient reads outside of its arrays there
    agree(torch, call, weight, *given)
    if mode == "sum":
        factors = real(*ids.shape, dtype=dtype, seed=2)
        agree(torch, lambda t, w, f, *g: call(t, w, *g, per_sample_weights=f), weight, factors,
              *given)  # fmt: skip


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_the_layer_of_bags(mode):
    layers = []
    for lib in (tg, torch):
        lib.manual_seed(3)
        layers.append(lib.nn.EmbeddingBag(7, 2, mode=mode, include_last_offset=True, padding_idx=1))
    ours, theirs = layers
    assert repr(ours) == repr(theirs)
    np.testing.assert_array_equal(ours.weight.detach().numpy(), theirs.weight.detach().numpy())
    ids, offsets = [1, 2, 3, 1, 5], [0, 2, 4, 5]
    y, z = (layer(lib.tensor(ids), lib.tensor(offsets)) for lib, layer in
            ((tg, ours), (torch, theirs)))  # fmt: skip
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-6)
    rows = np.arange(6.0, dtype="float32").reshape(3, 2)
    for lib in (tg, torch):
        bag = lib.nn.EmbeddingBag.from_pretrained(lib.from_numpy(rows), mode=mode)
        assert not bag.weight.requires_grad and tuple(bag(lib.tensor([[0, 2]])).shape) == (1, 2)
