"""The layers' functions against PyTorch: values and gradients, float32 within 2e-5."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import torch.nn.functional as torch_F  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
import tinygrad_llm.nn.functional as tg_F  # noqa: E402

TOLERANCE = {"float32": 2e-5, "float64": 1e-10, "float16": 4e-3}
dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
quick = settings(max_examples=30, deadline=None)


def normal(rng, shape, dtype, scale=1.0):
    return np.asarray(rng.standard_normal(shape) * scale, dtype)


def agree(function, *arrays, seed=0, same_dtype=True):
    """function(F, lib, *tensors) has the same values and gradients in both libraries.

    Floating arrays become leaves that require gradients, others become tensors; None stays None.
    """
    results = []
    for F, lib in ((tg_F, tg), (torch_F, torch)):
        tensors = [None if a is None else lib.from_numpy(a.copy()) for a in arrays]
        leaves = [t.requires_grad_() for t in tensors if t is not None and t.is_floating_point()]
        y = function(F, lib, *tensors)
        upstream = normal(np.random.default_rng(seed), tuple(y.shape), "float64")
        y.backward(lib.from_numpy(upstream).to(y.dtype))
        results.append([y.detach(), *[t.grad for t in leaves]])
    ours, theirs = results
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is None:
            continue
        assert tuple(a.shape) == tuple(b.shape)
        assert str(a.dtype) == str(b.dtype)
        tolerance = TOLERANCE[str(a.dtype).removeprefix("torch.")]
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


# -------------------------------------------------------------------------------- activations
ACTIVATIONS = {
    "relu": {},
    "leaky_relu": {"negative_slope": st.sampled_from([0.01, 0.2, 1.5])},
    "elu": {"alpha": st.sampled_from([1.0, 0.3, 2.0])},
    "gelu": {"approximate": st.sampled_from(["none", "tanh"])},
    "silu": {},
    "softplus": {
        "beta": st.sampled_from([1.0, 0.5, 3.0]),
        "threshold": st.sampled_from([20.0, 1.0, -1.0]),
    },
    "logsigmoid": {},
    "hardtanh": {"min_val": st.sampled_from([-1.0, -0.5])},
    "relu6": {},
    "sigmoid": {},
    "tanh": {},
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(data=st.data(), shape=shapes | st.just(()), dtype=dtypes, seed=seeds)
@quick
def test_activation(name, data, shape, dtype, seed):
    options = {k: data.draw(v, k) for k, v in ACTIVATIONS[name].items()}
    scale = data.draw(st.sampled_from([1.0, 30.0]), "scale")
    x = normal(np.random.default_rng(seed), shape, dtype, scale)
    agree(lambda F, lib, x: getattr(F, name)(x, **options), x, seed=seed)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activation_at_large_and_kink_values(name, dtype):
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 104.0, -104.0, 1e4, -1e4], dtype)
    agree(lambda F, lib, x: getattr(F, name)(x), x)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "silu"])
def test_activation_in_place(name):
    x = normal(np.random.default_rng(0), (3, 4), "float32")
    agree(lambda F, lib, x: getattr(F, name)(x * 2.0, inplace=True) * x, x)


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
@given(shape=shapes, dtype=dtypes, seed=seeds)
@quick
def test_gated_activation(activation, shape, dtype, seed):
    """PyTorch has its two steps."""
    x = normal(np.random.default_rng(seed), (*shape[:-1], 2 * shape[-1]), dtype)

    def gate(F, lib, x):
        if hasattr(F, "gated_activation"):
            return F.gated_activation(x, activation)
        a, b = x.chunk(2, -1)  # (..., 2F) -> (..., F) twice
        if activation == "silu":
            return F.silu(a) * b
        return F.gelu(a, approximate="tanh" if activation == "gelu_tanh" else "none") * b

    agree(gate, x, seed=seed)


def test_gated_activation_says_what_does_not_fit():
    x = tg.ones(2, 6)
    with pytest.raises(RuntimeError, match="even, got 5"):
        tg_F.gated_activation(x[:, :5])
    with pytest.raises(ValueError, match="silu, gelu, gelu_tanh, got 'relu'"):
        tg_F.gated_activation(x, "relu")


@given(shape=shapes, dtype=dtypes, seed=seeds, data=st.data())
@quick
def test_glu(shape, dtype, seed, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape = [2 * n if d == dim % len(shape) else n for d, n in enumerate(shape)]
    x = normal(np.random.default_rng(seed), shape, dtype)
    agree(lambda F, lib, x: F.glu(x, dim), x, seed=seed)


# ------------------------------------------------------------------------------------ softmax
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(shape=shapes | st.just(()), dtype=dtypes, seed=seeds, data=st.data())
@quick
def test_softmax(name, shape, dtype, seed, data):
    n = max(len(shape), 1)
    dim = data.draw(st.none() | st.integers(-n, n - 1))
    x = normal(np.random.default_rng(seed), shape, dtype, 3.0)
    with pytest.warns(UserWarning) if dim is None else _nothing():
        agree(lambda F, lib, x: getattr(F, name)(x, dim=dim), x, seed=seed)


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *exc):
        return None


@given(shape=shapes, dtype=dtypes, seed=seeds, keepdim=st.booleans(), data=st.data())
@quick
def test_logsumexp(shape, dtype, seed, keepdim, data):
    dims = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple)
    dim = data.draw(dims | several)
    x = normal(np.random.default_rng(seed), shape, dtype, 50.0)
    agree(lambda F, lib, x: lib.logsumexp(x, dim, keepdim), x, seed=seed)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_masked_rows(name):
    x = normal(np.random.default_rng(0), (3, 5), "float32")
    x[0, 1:] = -np.inf
    x[1, :2] = -np.inf
    x[2] = [0.0, -200.0, -1e4, -1e30, -np.inf]
    agree(lambda F, lib, x: getattr(F, name)(x, -1).clamp(min=-1e38), x)
    agree(lambda F, lib, x: getattr(F, name)(x.to(lib.float64), 0)[:, :1], x)


def test_softmax_dtype_and_empty():
    ints = np.arange(6).reshape(2, 3)
    agree(lambda F, lib, x, w: F.softmax(x, -1, dtype=lib.float32) * w, ints, np.ones(3, "float32"))
    agree(lambda F, lib, x: F.softmax(x, 1), np.ones((3, 0), "float32"))
    agree(lambda F, lib, x: F.log_softmax(x, 0), np.ones((3, 0), "float32"))


# -------------------------------------------------------------------------------------- norms
@given(
    leading=st.lists(st.integers(0, 4), max_size=3),
    last=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    dtype=dtypes,
    seed=seeds,
    parameters=st.integers(0, 2),
    eps=st.sampled_from([1e-5, 1e-2]),
)
@quick
def test_layer_norm(leading, last, dtype, seed, parameters, eps):
    rng = np.random.default_rng(seed)
    x = normal(rng, [*leading, *last], dtype, 3.0)
    if math.prod(last) == 2:
        eps = 1e-2  # otherwise the gradient is a difference of nearly equal numbers
    wb = [normal(rng, last, dtype) for _ in range(parameters)] + [None] * (2 - parameters)
    agree(lambda F, lib, x, w, b: F.layer_norm(x, last, w, b, eps), x, *wb, seed=seed)


@given(
    leading=st.lists(st.integers(0, 4), max_size=3),
    last=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    dtype=dtypes,
    seed=seeds,
    weighted=st.booleans(),
    eps=st.sampled_from([None, 1e-6, 1e-2]),
)
@quick
def test_rms_norm(leading, last, dtype, seed, weighted, eps):
    rng = np.random.default_rng(seed)
    x = normal(rng, [*leading, *last], dtype)
    x += np.copysign(np.asarray(0.3, dtype), x)  # near 0 the gradient of a row can have any size
    w = normal(rng, last, dtype) if weighted else None
    agree(lambda F, lib, x, w: F.rms_norm(x, last, w, eps), x, w, seed=seed)


def test_layer_norm_of_numbers_far_from_zero():
    x = normal(np.random.default_rng(0), (4, 64), "float32") + 1e4
    ours = tg_F.layer_norm(tg.from_numpy(x), (64,)).numpy()
    exact = torch_F.layer_norm(torch.from_numpy(x).double(), (64,)).numpy()
    np.testing.assert_allclose(ours, exact, atol=2e-3)  # E[x²] − μ² would be off by more than 1


@given(shape=shapes, dtype=dtypes, seed=seeds, data=st.data())
@quick
def test_normalize_and_cosine_similarity(shape, dtype, seed, data):
    rng = np.random.default_rng(seed)
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, y = normal(rng, shape, dtype), normal(rng, shape, dtype)
    x += np.copysign(np.asarray(0.3, dtype), x)
    y += np.copysign(np.asarray(0.3, dtype), y)
    p = data.draw(st.sampled_from([2.0, 1.0, 3.0]))
    agree(lambda F, lib, x: F.normalize(x, p, dim), x, seed=seed)
    agree(lambda F, lib, x, y: F.cosine_similarity(x, y, dim), x, y, seed=seed)
    agree(lambda F, lib, x, y: F.cosine_similarity(x, y[:1], dim=-1), x, y, seed=seed)


# -------------------------------------------------------------------- linear, embedding, dropout
@given(
    leading=st.lists(st.integers(0, 5), max_size=3),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    dtype=dtypes,
    seed=seeds,
    bias=st.sampled_from(["none", "full", "one"]),
)
@quick
def test_linear(leading, sizes, dtype, seed, bias):
    rng = np.random.default_rng(seed)
    n_in, n_out = sizes
    x, w = normal(rng, [*leading, n_in], dtype), normal(rng, (n_out, n_in), dtype)
    b = {"none": None, "full": normal(rng, n_out, dtype), "one": normal(rng, 1, dtype)}[bias]
    agree(lambda F, lib, x, w, b: F.linear(x, w, b), x, w, b, seed=seed)


def test_linear_of_strided_inputs():
    rng = np.random.default_rng(0)
    x, w = normal(rng, (4, 6, 5), "float32"), normal(rng, (6, 3), "float32")
    agree(lambda F, lib, x, w: F.linear(x.transpose(1, 2), w.t()), x, w)
    agree(lambda F, lib, x, w: F.linear(x[:, 0, ::2], w[:2, :].t()[:, :1].expand(3, 3)), x, w)
    agree(lambda F, lib, x, w: F.linear(x.transpose(1, 2), w[:, 0]), x, w)


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    table=st.tuples(st.integers(1, 7), st.integers(1, 5)),
    dtype=dtypes,
    seed=seeds,
    padding=st.none() | st.integers(-1, 0),
    by_freq=st.booleans(),
    ids_dtype=st.sampled_from(["int64", "int32"]),
)
@quick
def test_embedding(shape, table, dtype, seed, padding, by_freq, ids_dtype):
    rng = np.random.default_rng(seed)
    w, ids = normal(rng, table, dtype), np.asarray(rng.integers(0, table[0], shape, ids_dtype))
    agree(
        lambda F, lib, ids, w: F.embedding(ids, w, padding_idx=padding, scale_grad_by_freq=by_freq),
        ids,
        w,
        seed=seed,
    )


def test_embedding_max_norm_shortens_rows_in_place():
    rng = np.random.default_rng(0)
    w, ids = normal(rng, (6, 4), "float32", 3.0), np.array([1, 4, 1])
    tables = []
    for F, lib in ((tg_F, tg), (torch_F, torch)):
        table = lib.from_numpy(w.copy())
        F.embedding(lib.from_numpy(ids), table, max_norm=1.0)
        tables.append(table.numpy())
    np.testing.assert_allclose(*tables, atol=1e-6)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout_has_the_same_zeros(p):
    x = normal(np.random.default_rng(0), (7, 33), "float32")

    def seeded(F, lib, x):
        lib.manual_seed(1234)
        return F.dropout(F.dropout(x, p), 0.25)

    agree(seeded, x)
    agree(lambda F, lib, x: F.dropout(x, p, training=False) * 2.0, x)


@given(shape=shapes, seed=seeds, data=st.data())
@quick
def test_pad(shape, seed, data):
    n = data.draw(st.integers(0, len(shape)))
    widths = data.draw(st.lists(st.integers(-1, 3), min_size=2 * n, max_size=2 * n))
    for i in range(n):  # not all of it
        if shape[-1 - i] + widths[2 * i] + widths[2 * i + 1] < 1:
            widths[2 * i] = widths[2 * i + 1] = 1
    x = normal(np.random.default_rng(seed), shape, "float64")
    agree(lambda F, lib, x: F.pad(x, widths, value=0.5), x, seed=seed)


@given(shape=st.lists(st.integers(1, 4), max_size=3), more=st.integers(0, 3), seed=seeds)
@quick
def test_one_hot(shape, more, seed):
    ids = np.asarray(np.random.default_rng(seed).integers(0, 5, shape))
    n = -1 if more == 0 else int(ids.max()) + more
    ours = tg_F.one_hot(tg.from_numpy(ids), n)
    theirs = torch_F.one_hot(torch.from_numpy(ids), n)
    assert str(ours.dtype) == str(theirs.dtype)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


# ---------------------------------------------------------------------------------- attention
@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 9))
    | st.sampled_from([(64, 64), (65, 65), (130, 70), (70, 130), (1, 129), (129, 1)]),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kind=st.sampled_from(["none", "causal", "bool", "additive", "row", "head"]),
    scale=st.sampled_from([None, 0.3]),
    group=st.sampled_from([1, 2, 3]),
    dtype=dtypes,
    seed=seeds,
)
@settings(max_examples=120, deadline=None)
def test_attention(leading, lengths, sizes, kind, scale, group, dtype, seed):
    rng = np.random.default_rng(seed)
    (n_rows, n_keys), (e, d) = lengths, sizes
    if len(leading) < 2:
        group = 1  # PyTorch needs a batch dimension before the heads
    heads = [*leading[:-1], leading[-1] * group] if leading else []
    q = normal(rng, [*heads, n_rows, e], dtype)
    k, v = normal(rng, [*leading, n_keys, e], dtype), normal(rng, [*leading, n_keys, d], dtype)
    mask = {
        "none": None,
        "causal": None,
        "bool": rng.random((n_rows, n_keys)) < 0.6,
        "additive": normal(rng, (n_rows, n_keys), dtype),
        "row": rng.random((1, n_keys)) < 0.7,
        "head": normal(rng, [*heads, n_rows, n_keys], dtype),
    }[kind]
    agree(
        lambda F, lib, q, k, v, m: F.scaled_dot_product_attention(
            q, k, v, m, is_causal=kind == "causal", scale=scale, enable_gqa=group > 1
        ),
        q,
        k,
        v,
        mask,
        seed=seed,
    )


def test_attention_where_a_row_sees_nothing():
    rng = np.random.default_rng(0)
    q, k, v = (normal(rng, (2, 3, 4, 5), "float32") for _ in range(3))
    mask = rng.random((2, 1, 4, 4)) < 0.5
    mask[0, 0, 1] = mask[1, 0, 3] = False
    agree(lambda F, lib, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), q, k, v, mask)
    added = np.where(mask, 0.0, -np.inf).astype("float32")
    agree(lambda F, lib, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m.detach()),
          q, k, v, added)  # fmt: skip
    lowest = np.where(mask, 0.0, np.finfo("float32").min).astype("float32")
    agree(lambda F, lib, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m.detach()),
          q, k, v, lowest)  # fmt: skip


def test_attention_of_transposed_heads_and_broadcast_batches():
    rng = np.random.default_rng(0)
    x = normal(rng, (2, 7, 3, 12), "float32")  # (B, T, H, 3D)

    def heads(F, lib, x):
        q, k, v = x.transpose(1, 2).split(4, dim=-1)  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(2, 7, 12)

    agree(heads, x)
    q, k = normal(rng, (2, 3, 4, 5), "float64"), normal(rng, (1, 3, 6, 5), "float64")
    agree(lambda F, lib, q, k: F.scaled_dot_product_attention(q, k, k[:, :1] * 2.0), q, k)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_attention_dropout_has_the_same_zeros(p):
    rng = np.random.default_rng(0)
    q, k, v = (normal(rng, (2, 3, 9, 5), "float32") for _ in range(3))

    def seeded(F, lib, q, k, v):
        lib.manual_seed(7)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)

    agree(seeded, q, k, v)


@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3)),
    interleaved=st.booleans(),
    dtype=dtypes,
    seed=seeds,
)
@quick
def test_rope(leading, sizes, interleaved, dtype, seed):
    rng = np.random.default_rng(seed)
    time, pairs, rest = sizes
    x = normal(rng, [*leading, time, 2 * pairs + rest], dtype)
    angle = normal(rng, (time, pairs), dtype)
    cos, sin = np.cos(angle), np.sin(angle)

    def rotated(F, lib, x):
        c, s = lib.from_numpy(cos), lib.from_numpy(sin)
        if lib is tg:
            return F.rope(x, c, s, interleaved)
        a, b = (x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2]) if interleaved else (
            x[..., :pairs], x[..., pairs : 2 * pairs])  # fmt: skip
        a, b = a * c - b * s, b * c + a * s
        turned = torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)
        return torch.cat([turned, x[..., 2 * pairs :]], -1)

    agree(rotated, x, seed=seed)


# ------------------------------------------------------------------------------------- losses
reductions = st.sampled_from(["mean", "sum", "none"])


@given(
    batch=st.integers(1, 6),
    n_classes=st.integers(1, 7),
    rest=st.lists(st.integers(1, 3), max_size=2),
    unbatched=st.booleans(),
    dtype=dtypes,
    seed=seeds,
    reduction=reductions,
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    weighted=st.booleans(),
    ignore=st.sampled_from([-100, 0, 3]),
    scale=st.sampled_from([1.0, 100.0]),
)
@settings(max_examples=120, deadline=None)
def test_cross_entropy(
    batch, n_classes, rest, unbatched, dtype, seed, reduction, smoothing, weighted, ignore, scale
):
    rng = np.random.default_rng(seed)
    shape, of_target = ([n_classes], []) if unbatched else ([batch, n_classes, *rest],
                                                            [batch, *rest])  # fmt: skip
    x = normal(rng, shape, dtype, scale)
    t = np.asarray(rng.integers(0, n_classes, of_target))
    if t.ndim and t.size > 1:
        t.reshape(-1)[0] = ignore
    w = rng.random(n_classes).astype(dtype) + 0.1 if weighted else None

    def loss(F, lib, x, t):
        weight = None if w is None else lib.from_numpy(w)
        return F.cross_entropy(x, t, weight, ignore_index=ignore, reduction=reduction,
                               label_smoothing=smoothing)  # fmt: skip

    def nll(F, lib, x, t):
        weight = None if w is None else lib.from_numpy(w)
        return F.nll_loss(x, t, weight, ignore_index=ignore, reduction=reduction)

    if reduction == "mean" and (t == ignore).all():
        assert math.isnan(loss(tg_F, tg, tg.from_numpy(x), tg.from_numpy(t)).item())
        assert math.isnan(nll(tg_F, tg, tg.from_numpy(x), tg.from_numpy(t)).item())
        return
    agree(loss, x, t, seed=seed)
    agree(nll, x, t, seed=seed)


@given(
    batch=st.integers(1, 6),
    n_classes=st.integers(1, 7),
    rest=st.lists(st.integers(1, 3), max_size=2),
    dtype=dtypes,
    seed=seeds,
    reduction=reductions,
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
)
@quick
def test_cross_entropy_of_probabilities(
    batch, n_classes, rest, dtype, seed, reduction, smoothing, weighted
):
    rng = np.random.default_rng(seed)
    x = normal(rng, [batch, n_classes, *rest], dtype)
    q = rng.random(x.shape).astype(dtype)
    w = rng.random(n_classes).astype(dtype) if weighted else None

    def loss(F, lib, x, q):
        weight = None if w is None else lib.from_numpy(w)
        return F.cross_entropy(x, q, weight, reduction=reduction, label_smoothing=smoothing)

    agree(loss, x, q, seed=seed)


@given(
    rows=st.integers(1, 9),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    dtype=dtypes,
    seed=seeds,
    reduction=reductions,
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
    bias=st.booleans(),
)
@quick
def test_linear_cross_entropy(rows, sizes, dtype, seed, reduction, smoothing, weighted, bias):
    rng = np.random.default_rng(seed)
    n_in, n_classes = sizes
    x, w = normal(rng, (rows, n_in), dtype), normal(rng, (n_classes, n_in), dtype)
    b = normal(rng, n_classes, dtype) if bias else None
    t = rng.integers(0, n_classes, rows)
    if rows > 1:
        t[-1] = -100
    class_weight = rng.random(n_classes).astype(dtype) + 0.1 if weighted else None

    def loss(F, lib, x, w, t, b):
        weight = None if class_weight is None else lib.from_numpy(class_weight)
        return F.linear_cross_entropy(
            x, w, t, linear_bias=b, weight=weight, reduction=reduction, label_smoothing=smoothing
        )

    agree(loss, x, w, t, b, seed=seed)


def test_losses_where_every_target_is_ignored():
    x, t = normal(np.random.default_rng(0), (3, 4), "float32"), np.full(3, -100)
    for reduction in ("sum", "none"):
        agree(lambda F, lib, x, t, r=reduction: F.cross_entropy(x, t, reduction=r), x, t)
    for lib, F in ((tg, tg_F), (torch, torch_F)):
        leaf = lib.from_numpy(x).requires_grad_()
        loss = F.cross_entropy(leaf, lib.from_numpy(t))
        loss.backward()
        assert math.isnan(loss.item())
        assert (leaf.grad.numpy() == 0).all()


def test_cross_entropy_of_impossible_and_certain_classes():
    x = np.array([[-np.inf, 0.0, 1.0], [1e4, 0.0, -1e4], [0.0, -np.inf, 2.0]], "float32")
    agree(lambda F, lib, x, t: F.cross_entropy(x, t), x, np.array([1, 0, 2]))
    agree(lambda F, lib, x, t: F.cross_entropy(x, t, reduction="none"), x, np.array([2, 2, -100]))


POINTWISE = {
    "mse_loss": {},
    "l1_loss": {},
    "huber_loss": {"delta": st.sampled_from([1.0, 0.2])},
    "smooth_l1_loss": {"beta": st.sampled_from([1.0, 0.2, 0.0])},
}


@pytest.mark.parametrize("name", POINTWISE)
@given(shape=shapes | st.just(()), dtype=dtypes, seed=seeds, reduction=reductions, data=st.data())
@quick
def test_pointwise_loss(name, shape, dtype, seed, reduction, data):
    rng = np.random.default_rng(seed)
    options = {k: data.draw(v, k) for k, v in POINTWISE[name].items()}
    x, t = (normal(rng, shape, dtype) for _ in range(2))
    agree(lambda F, lib, x, t: getattr(F, name)(x, t, reduction=reduction, **options), x, t,
          seed=seed)  # fmt: skip


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_pointwise_loss_broadcasts_and_weighs(name):
    rng = np.random.default_rng(0)
    x, t, w = normal(rng, (3, 1), "float32"), normal(rng, 4, "float32"), rng.random((3, 4), "f4")
    y, z = normal(rng, (3, 4), "float32"), normal(rng, (3, 4), "float32")
    with pytest.warns(UserWarning, match="different to the input size"):
        agree(lambda F, lib, x, t: getattr(F, name)(x, t), x, t)
    for r in ("mean", "sum", "none"):
        agree(lambda F, lib, x, t, r=r: getattr(F, name)(
            x, t, reduction=r, weight=lib.from_numpy(w)), y, z)  # fmt: skip


@given(
    shape=shapes, dtype=dtypes, seed=seeds, reduction=reductions,
    weighted=st.booleans(), positive=st.booleans(), scale=st.sampled_from([1.0, 50.0]),
)  # fmt: skip
@quick
def test_binary_cross_entropy(shape, dtype, seed, reduction, weighted, positive, scale):
    rng = np.random.default_rng(seed)
    x, t = normal(rng, shape, dtype, scale), rng.random(shape).astype(dtype)
    w = rng.random(shape).astype(dtype) if weighted else None
    pos = rng.random(shape[-1]).astype(dtype) if positive else None

    def with_logits(F, lib, x, t):
        weights = [None if a is None else lib.from_numpy(a) for a in (w, pos)]
        return F.binary_cross_entropy_with_logits(
            x, t, weights[0], reduction=reduction, pos_weight=weights[1]
        )

    agree(with_logits, x, t, seed=seed)
    p = (0.02 + 0.96 * rng.random(shape)).astype(dtype)

    def plain(F, lib, p, t):
        weight = None if w is None else lib.from_numpy(w)
        return F.binary_cross_entropy(p, t, weight, reduction=reduction)

    agree(plain, p, t, seed=seed)


def test_binary_cross_entropy_at_zero_and_one():
    p, t = np.array([0, 1, 0, 1, 0.5], "float32"), np.array([0, 1, 1, 0, 0.5], "float32")
    agree(lambda F, lib, p, t: F.binary_cross_entropy(p, t.detach(), reduction="none"), p, t)


@given(
    shape=shapes, dtype=dtypes, seed=seeds, log_target=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "none", "batchmean"]),
)  # fmt: skip
@quick
def test_kl_div(shape, dtype, seed, log_target, reduction):
    rng = np.random.default_rng(seed)
    x, t = normal(rng, shape, dtype), rng.random(shape).astype(dtype) + 0.05
    t = np.log(t) if log_target else t
    agree(lambda F, lib, x, t: F.kl_div(x, t, reduction=reduction, log_target=log_target), x, t,
          seed=seed)  # fmt: skip


def test_kl_div_of_probability_zero():
    x, t = np.array([-1.0, -2.0], "float32"), np.array([0.0, 1.0], "float32")
    agree(lambda F, lib, x, t: F.kl_div(x, t.detach(), reduction="none"), x, t)


# ----------------------------------------------------------------------------- half precision
@pytest.mark.parametrize(
    "function",
    [
        lambda F, lib, x, w: F.gelu(x, approximate="tanh") * w[0],
        lambda F, lib, x, w: F.silu(x) * w[0],
        lambda F, lib, x, w: F.softmax(x, -1) * w[0],
        lambda F, lib, x, w: F.layer_norm(x, (8,), w[1]),
        lambda F, lib, x, w: F.rms_norm(x, (8,), w[1]),
        lambda F, lib, x, w: F.linear(x, w),
        lambda F, lib, x, w: F.cross_entropy(F.linear(x, w), lib.tensor([1, 2, 0, 3])),
    ],
)
def test_float16_is_computed_in_float32(function):
    rng = np.random.default_rng(0)
    agree(function, normal(rng, (4, 8), "float16"), normal(rng, (8, 8), "float16", 0.3))
