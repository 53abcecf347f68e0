"""The layers' functions: errors, edges, and what they keep in memory."""

import math
import tracemalloc

import numpy as np
import pytest

import tinygrad_llm as tg
import tinygrad_llm.nn.functional as F
from tinygrad_llm import ops
from tinygrad_llm.arrays import parallel, regions, special
from tinygrad_llm.layers.rotary import rope_angles
from tinygrad_llm.study import TWINS


def rand(*shape, dtype="float32", seed=0):
    return tg.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def ids(*values):
    return tg.tensor(values)


# ------------------------------------------------------------------------------------- errors
X, T = rand(4, 5), ids(0, 1, 2, 4)

ERRORS = {
    "class too large": (
        lambda: F.cross_entropy(X, ids(0, 1, 2, 5)),
        IndexError,
        "Target 5 is out of bounds: expected 0 <= target < 5",
    ),
    "class below zero": (
        lambda: F.cross_entropy(X, ids(0, 1, 2, -1)),
        IndexError,
        "Target -1 is out of bounds",
    ),
    "nll class": (lambda: F.nll_loss(X, ids(9, 1, 2, 3)), IndexError, "nll_loss: Target 9"),
    "linear class": (
        lambda: F.linear_cross_entropy(X, rand(7, 5), ids(0, 7, 1, 1)),
        IndexError,
        "linear_cross_entropy: Target 7 is out of bounds: expected 0 <= target < 7",
    ),
    "batch": (lambda: F.cross_entropy(X, T[:3]), ValueError, r"batch_size \(4\).*batch_size \(3\)"),
    "unflattened": (
        lambda: F.cross_entropy(rand(2, 3, 5), tg.zeros(2, 3, dtype=tg.long)),
        RuntimeError,
        r"Expected target size \[2, 5\], got \[2, 3\].*flatten both",
    ),
    "int probabilities": (
        lambda: F.cross_entropy(X, tg.zeros(4, 5, dtype=tg.long)),
        RuntimeError,
        "class probabilities",
    ),
    "float indices": (
        lambda: F.cross_entropy(X, tg.tensor([0.0, 1, 2, 4])),
        RuntimeError,
        "expected target dtype to be Long",
    ),
    "int32 indices": (lambda: F.cross_entropy(X, T.int()), RuntimeError, "torch.int32"),
    "int logits": (lambda: F.cross_entropy(X.long(), T), RuntimeError, "not implemented"),
    "0-d logits": (lambda: F.cross_entropy(tg.tensor(1.0), tg.tensor(0)), RuntimeError, "classes"),
    "class weights": (
        lambda: F.cross_entropy(X, T, weight=tg.ones(4)),
        RuntimeError,
        "all 5 classes",
    ),
    "weights' dtype": (
        lambda: F.cross_entropy(X, T, weight=tg.ones(5, dtype=tg.float64)),
        RuntimeError,
        "input: float32, weight: float64",
    ),
    "smoothing": (lambda: F.cross_entropy(X, T, label_smoothing=1.5), RuntimeError, "1.5"),
    "reduction": (lambda: F.cross_entropy(X, T, reduction="max"), ValueError, "max is not a valid"),
    "batchmean": (lambda: F.mse_loss(X, X, reduction="batchmean"), ValueError, "not a valid"),
    "ignored probabilities": (
        lambda: F.cross_entropy(X, X, ignore_index=2),
        RuntimeError,
        "not supported for floating point target",
    ),
    "no tensor": (lambda: F.cross_entropy([[1.0]], T), TypeError, "must be Tensor, not list"),
    "no weight": (
        lambda: F.linear_gelu_linear(X, X.numpy(), None, X, None),
        TypeError,
        "'weight1' must be Tensor, not ndarray",
    ),
    "bce shapes": (lambda: F.binary_cross_entropy(X, X[0]), ValueError, "same size"),
    "bce range": (
        lambda: F.binary_cross_entropy(tg.tensor([1.5]), tg.tensor([0.5])),
        RuntimeError,
        "input should be between 0 and 1",
    ),
    "bce target range": (
        lambda: F.binary_cross_entropy(tg.tensor([0.5]), tg.tensor([-0.5])),
        RuntimeError,
        "target should be between 0 and 1",
    ),
    "logits shapes": (
        lambda: F.binary_cross_entropy_with_logits(X, X[0]),
        ValueError,
        "Target size",
    ),
    "huber delta": (lambda: F.huber_loss(X, X, delta=0.0), RuntimeError, "non-positive"),
    "smooth beta": (lambda: F.smooth_l1_loss(X, X, beta=-1.0), RuntimeError, "negative"),
    "loss weights": (lambda: F.mse_loss(X, X, weight=tg.ones(5)), ValueError, "same size"),
    "embedding id": (
        lambda: F.embedding(ids(1, 9), X),
        IndexError,
        "index out of range: 9, expected 0 <= index < 4",
    ),
    "embedding below zero": (lambda: F.embedding(ids(-1), X), IndexError, "-1"),
    "embedding floats": (lambda: F.embedding(X, X), RuntimeError, "Long, Int"),
    "embedding table": (lambda: F.embedding(ids(0), X[0]), RuntimeError, "must be 2-D"),
    "embedding padding": (lambda: F.embedding(ids(0), X, padding_idx=4), ValueError, "within"),
    "one_hot below zero": (lambda: F.one_hot(ids(-1)), RuntimeError, "non-negative"),
    "one_hot too large": (lambda: F.one_hot(ids(4), 3), RuntimeError, "4 is not below 3"),
    "one_hot dtype": (lambda: F.one_hot(T.int()), RuntimeError, "LongTensor"),
    "one_hot empty": (lambda: F.one_hot(T[:0]), RuntimeError, "empty tensor"),
    "linear shapes": (
        lambda: F.linear(X, rand(3, 4)),
        RuntimeError,
        r"\(4x5 and 4x3\).*last dimension should be 4",
    ),
    "linear dtype": (
        lambda: F.linear(X, rand(3, 5, dtype="float64")),
        RuntimeError,
        "input: float32, weight: float64",
    ),
    "linear bias": (lambda: F.linear(X, rand(3, 5), rand(2)), RuntimeError, "3"),
    "linear 0-d": (lambda: F.linear(tg.tensor(1.0), rand(3, 5)), RuntimeError, "at least 1"),
    "norm shape": (
        lambda: F.layer_norm(X, (4,)),
        RuntimeError,
        r"expected input with shape \[\*, 4\], but got input of size\[4, 5\]",
    ),
    "norm weight": (
        lambda: F.layer_norm(X, (5,), tg.ones(4)),
        RuntimeError,
        r"weight of shape \[4\] and normalized_shape = \[5\]",
    ),
    "norm without dims": (lambda: F.rms_norm(X, ()), RuntimeError, "at least 1-dimensional"),
    "norm ints": (lambda: F.layer_norm(X.long(), (5,)), RuntimeError, "not implemented"),
    "norm dtypes": (
        lambda: F.rms_norm(X, (5,), tg.ones(5, dtype=tg.float64)),
        RuntimeError,
        "float64",
    ),
    "softmax dim": (lambda: F.softmax(X, 2), IndexError, "Dimension out of range"),
    "softmax ints": (lambda: F.softmax(X.long(), 0), RuntimeError, "not implemented"),
    "dropout p": (lambda: F.dropout(X, 1.5), ValueError, "between 0 and 1, but got 1.5"),
    "gelu kind": (lambda: F.gelu(X, approximate="erf"), RuntimeError, "none or tanh"),
    "activation of no tensor": (lambda: F.silu(1.0), TypeError, "silu.*not float"),
    "glu of odd": (lambda: F.glu(X), RuntimeError, "must be even"),
    "pad mode": (lambda: F.pad(X, (1, 1), mode="reflect"), RuntimeError, "reflect"),
    "pad too much": (lambda: F.pad(X, (-3, -3)), RuntimeError, "nothing"),
    "pad odd": (lambda: F.pad(X, (1,)), RuntimeError, "divisible by 2"),
    "angles": (lambda: rope_angles(T, 3), ValueError, "even"),
    "rope": (lambda: F.rope(X, tg.ones(4, 3), tg.ones(4, 3)), RuntimeError, "2R <= D"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


Q, K, V = rand(2, 6, 3, 4), rand(2, 6, 5, 4), rand(2, 6, 5, 4)
ATTENTION_ERRORS = {
    "E": (lambda f: f(Q, K[..., :3], V), "disagree about E"),
    "S": (lambda f: f(Q, K, V[:, :, :4]), "disagree about S"),
    "dims": (lambda f: f(Q[0, 0, 0], K, V), "at least 2 dimensional"),
    "dtype": (lambda f: f(Q, K.double(), V), "key: float64"),
    "integers": (lambda f: f(Q.long(), K.long(), V.long()), "not implemented"),
    "heads": (lambda f: f(Q, K[:, :2], V[:, :2]), "6|broadcast"),
    "group": (lambda f: f(Q, K[:, :4], V[:, :4], enable_gqa=True), "divide.*4 and 4 for 6"),
    "groups": (lambda f: f(Q, K[:, :2], V[:, :3], enable_gqa=True), "equal.*2 and 3 for 6"),
    "mask and causal": (
        lambda f: f(Q, K, V, tg.ones(3, 5, dtype=tg.bool), is_causal=True),
        "should not be set when is_causal",
    ),
    "mask dtype": (lambda f: f(Q, K, V, tg.ones(3, 5, dtype=tg.long)), "attn_mask dtype"),
    "mask shape": (lambda f: f(Q, K, V, tg.ones(4, 5)), "4"),
    "mask too large": (lambda f: f(Q, K, V, tg.ones(9, 2, 6, 3, 5)), "does not broadcast"),
    "dropout": (lambda f: f(Q, K, V, dropout_p=-0.1), "between 0 and 1"),
}


@pytest.mark.parametrize("name", ATTENTION_ERRORS)
def test_attention_error(name):
    call, message = ATTENTION_ERRORS[name]
    with pytest.raises(RuntimeError, match=message):
        call(F.scaled_dot_product_attention)


# -------------------------------------------------------------------------------------- edges
def test_empty_inputs():
    for x in (tg.zeros(0, 5), tg.zeros(0)):
        for f in (F.relu, F.gelu, F.silu, F.logsigmoid, F.softplus, F.elu, F.dropout):
            x = x.detach().requires_grad_()
            f(x).sum().backward()
            assert x.grad.shape == x.shape
    x = tg.zeros(0, 5).requires_grad_()
    w, b = tg.ones(5).requires_grad_(), tg.ones(5).requires_grad_()
    F.layer_norm(x, (5,), w, b).sum().backward()
    F.rms_norm(x, (5,), w).sum().backward()
    assert (w.grad.numpy() == 0).all() and x.grad.shape == (0, 5)
    assert F.linear(x, rand(3, 5), rand(3)).shape == (0, 3)
    assert F.embedding(tg.zeros(0, 2, dtype=tg.long), rand(4, 3)).shape == (0, 2, 3)
    none = tg.zeros(0, dtype=tg.long)
    assert math.isnan(F.cross_entropy(x, none).item())
    assert F.cross_entropy(x, none, reduction="sum").item() == 0.0
    assert F.cross_entropy(x, none, reduction="none").shape == (0,)
    assert math.isnan(F.mse_loss(x, x).item())


def test_attention_of_no_queries_and_no_keys():
    y = F.scaled_dot_product_attention(Q[:, :, :0], K, V)
    assert y.shape == (2, 6, 0, 4)
    q = Q.detach().requires_grad_()
    y = F.scaled_dot_product_attention(q, K[:, :, :0], V[:, :, :0])
    y.sum().backward()
    assert (y.detach().numpy() == 0).all() and (q.grad.numpy() == 0).all()


def test_one_token_with_a_cache_equals_the_last_row():
    """Key length and query length differ: the last query row sees every key."""
    q, k, v = rand(1, 2, 70, 8), rand(1, 2, 70, 8, seed=1), rand(1, 2, 70, 8, seed=2)
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    last = F.scaled_dot_product_attention(q[:, :, -1:], k, v)
    np.testing.assert_allclose(last.numpy(), whole[:, :, -1:].numpy(), atol=1e-6)


def test_rope_keeps_lengths_and_depends_on_distance_alone():
    cos, sin = rope_angles(tg.arange(12), 8, dtype=tg.float64)
    q, k = rand(8, dtype="float64"), rand(8, dtype="float64", seed=1)
    for interleaved in (False, True):
        turned_q = F.rope(q.expand(12, 8), cos, sin, interleaved)
        turned_k = F.rope(k.expand(12, 8), cos, sin, interleaved)
        np.testing.assert_allclose(
            turned_q.norm(dim=-1).numpy(), np.full(12, q.norm().item()), atol=1e-6
        )
        products = (turned_q @ turned_k.transpose(0, 1)).numpy()
        for distance in range(-11, 12):
            assert np.ptp(np.diagonal(products, distance)) < 1e-5  # angles are float32


def test_dropout_keeps_the_expected_value_and_can_be_off():
    tg.manual_seed(0)
    x = tg.ones(400, 500)
    y = F.dropout(x, 0.3).numpy()
    assert abs(y.mean() - 1.0) < 0.01
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1 / 0.7)}
    assert F.dropout(x, 0.3, training=False) is x
    assert (F.dropout(x, 1.0).numpy() == 0).all()


def test_embedding_row_read_twice_gets_both_gradients():
    w = tg.zeros(4, 2).requires_grad_()
    (F.embedding(ids(1, 3, 1), w) * tg.tensor([[1.0], [2.0], [4.0]])).sum().backward()
    assert w.grad.tolist() == [[0, 0], [5, 5], [0, 0], [2, 2]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_rows_of_a_table_in_each_dtype(device, dtype):
    """CuPy adds at positions that repeat in some dtypes only."""
    w = tg.zeros(4, 2, dtype=getattr(tg, dtype), device=device).requires_grad_()
    chosen = ids(1, 3, 1).to(device)
    (
        F.embedding(chosen, w) * tg.tensor([[1.0], [2.0], [4.0]], device=device).to(w.dtype)
    ).sum().backward()
    assert w.grad.cpu().float().tolist() == [[0, 0], [5, 5], [0, 0], [2, 2]]
    w[chosen, 0].sum().backward()
    assert w.grad.cpu().float().tolist() == [[0, 0], [7, 5], [0, 0], [3, 2]]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "int32", "int64", "bfloat16", "complex64"]
)
def test_adding_at_places_that_repeat_in_each_dtype(device, dtype):
    kind = getattr(tg, dtype)
    x = tg.ones(5, device=device).to(kind)
    places = ids(1, 3, 1, 1).to(device)
    x.index_put_((places,), tg.ones(4, device=device).to(kind), accumulate=True)
    assert x.cpu().tolist() == [1, 4, 1, 2, 1]
    x.index_add_(0, places, tg.ones(4, device=device).to(kind))
    assert x.cpu().tolist() == [1, 7, 1, 3, 1]


def test_rows_of_bool_are_added_at_places_that_repeat(device):
    x = tg.zeros(3, 2, dtype=tg.bool, device=device)
    rows = tg.tensor([[True, False], [True, True], [False, False]], device=device)
    x.index_put_((ids(1, 1, -1).to(device),), rows, accumulate=True)
    assert x.cpu().tolist() == [[False, False], [True, True], [False, False]]


def test_gelu_kinds_differ():
    x = tg.linspace(-4, 4, 801)
    apart = abs(F.gelu(x).numpy() - F.gelu(x, approximate="tanh").numpy()).max()
    assert 4e-4 < apart < 5e-4


def test_softmax_and_cross_entropy_do_not_overflow():
    x = tg.tensor([[0.0, -200.0], [1e30, -1e30], [88.0, 1000.0]]).requires_grad_()
    loss = F.cross_entropy(x, ids(1, 0, 1), reduction="none")
    assert loss.tolist() == [200.0, 0.0, 0.0]
    loss.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert F.log_softmax(x.detach(), -1)[0, 1].item() == -200.0


def test_classes_may_stand_in_any_layout():
    x, t = rand(2, 7, 3, 4), tg.from_numpy(np.random.default_rng(0).integers(0, 7, (2, 3, 4)))
    flat = F.cross_entropy(x.permute(0, 2, 3, 1).reshape(-1, 7), t.flatten())
    np.testing.assert_allclose(F.cross_entropy(x, t).item(), flat.item(), rtol=1e-6)


def test_grouped_heads_equal_repeated_heads():
    q, k, v = rand(2, 6, 9, 4), rand(2, 2, 9, 4, seed=1), rand(2, 2, 9, 4, seed=2)
    grouped = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    repeated = F.scaled_dot_product_attention(
        q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1), is_causal=True
    )
    np.testing.assert_allclose(grouped.numpy(), repeated.numpy(), atol=1e-6)


def test_attention_s_gradients_of_split_pieces_are_not_copied():
    qkv = rand(2, 5, 9, 4).transpose(1, 2).array  # 9 heads: 3 of q, 3 of k, 3 of v
    pieces, attention = np.split(qkv, 3, 1), ops.ScaledDotProductAttention()
    attention.needs = [True, True, True]
    gradients = attention.backward(attention.forward(*pieces, is_causal=True))[:3]
    whole = regions.concatenated(gradients, 1)  # as Split's backward does
    assert whole.shape == qkv.shape and all(np.shares_memory(whole, g) for g in gradients)
    np.testing.assert_array_equal(whole, np.concatenate(gradients, 1))
    copied = regions.concatenated((gradients[0], gradients[1].copy(), gradients[2]), 1)
    assert not np.shares_memory(copied, whole)
    np.testing.assert_array_equal(copied, whole)


def test_results_do_not_depend_on_the_number_of_threads():
    x, w, t = rand(900, 700), rand(700), tg.from_numpy(np.arange(900) % 700)
    threads = tg.get_num_threads()
    seen = []
    try:
        for n in (1, 2, 3):
            parallel.set_thread_count(n)
            leaf, weight = x.detach().requires_grad_(), w.detach().requires_grad_()
            y = F.layer_norm(F.gelu(leaf), (700,), weight, weight)
            (F.cross_entropy(y, t) + F.softmax(y, -1)[:, 3].sum()).backward()
            seen.append((leaf.grad.numpy(), weight.grad.numpy()))
    finally:
        parallel.set_thread_count(threads)
    for gx, gw in seen[1:]:
        np.testing.assert_allclose(gx, seen[0][0], atol=1e-6)
        np.testing.assert_allclose(gw, seen[0][1], rtol=1e-4, atol=1e-6)


def test_a_run_repeats_bit_for_bit():
    x, w = rand(900, 700), rand(700)
    grads = []
    for _ in range(5):
        weight = w.detach().requires_grad_()
        F.layer_norm(x, (700,), weight, weight).square().sum().backward()
        grads.append(weight.grad.numpy())
    assert all((g == grads[0]).all() for g in grads)


# ------------------------------------------------------------------------------------- memory
def peak(function):
    """The peak of bytes in arrays while the function runs, beyond those before."""
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_linear_cross_entropy_never_holds_all_logits():
    n, classes = 4096, 80_000
    x, w = rand(n, 8).requires_grad_(), rand(classes, 8).requires_grad_()
    t = tg.from_numpy(np.arange(n) % classes)

    def step():
        F.linear_cross_entropy(x, w, t).backward()

    assert peak(step) < n * classes * 4 / 3


def test_attention_never_holds_all_weights():
    n = 2048
    q = rand(1, 1, n, 8).requires_grad_()

    def step():
        F.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()

    assert peak(step) < n * n * 4 / 4


def test_saved_arrays_of_an_inference_are_none():
    x = rand(64, 64)
    for f in (F.gelu, F.silu, F.logsigmoid, F.softplus):
        assert f(x)._op is None


# --------------------------------------------------------------------------------- slow twins
def test_every_fused_op_has_a_twin():
    fused = (
        "relu leaky_relu elu gelu silu gated_activation softplus logsigmoid softmax log_softmax "
        "logsumexp "
        "layer_norm rms_norm linear linear_gelu_linear "
        "embedding dropout rope scaled_dot_product_attention "
        "cross_entropy linear_cross_entropy nll_loss mse_loss binary_cross_entropy "
        "binary_cross_entropy_with_logits kl_div conv1d grouped_mm gated_delta_rule "
        "selective_scan crf_log_partition"
    ).split()
    assert set(fused) <= set(TWINS)
    assert ops.ScaledDotProductAttention.name == "scaled_dot_product_attention"


def test_erf_in_float32_is_right_over_the_whole_range():
    every = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([every[np.isfinite(every)], np.linspace(-6, 6, 200_001, dtype=np.float32)])
    x = np.append(x, np.float32([np.inf, -np.inf, 0.0]))
    assert abs(special.erf(x) - special.erf(x.astype(np.float64))).max() < 3e-7
    assert (special.erf(np.float32([-np.inf, -9.0, 9.0, np.inf])) == [-1, -1, 1, 1]).all()
    assert np.isnan(special.erf(np.float32([np.nan]))).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dim", [-1, 0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_a_row_of_minus_infinity_is_nan_without_a_warning(dtype, dim):
    rows = np.array([[-np.inf] * 3, [1.0, 2.0, -np.inf]], dtype)
    for function in (tg.softmax, tg.log_softmax):
        x = tg.from_numpy(rows if dim == -1 else rows.T.copy()).requires_grad_()
        y = function(x, dim)
        y.backward(tg.ones_like(y))
        y, g = (a if dim == -1 else a.T for a in (y.detach().numpy(), x.grad.numpy()))
        assert np.isnan(y[0]).all() and np.isnan(g[0]).all()
        exact = np.exp(rows[1] - 2.0) / np.exp(rows[1] - 2.0).sum()
        np.testing.assert_allclose(y[1] if function is tg.softmax else np.exp(y[1]), exact, 2e-3)
        assert np.isfinite(g[1]).all()
    assert tg.logsumexp(tg.from_numpy(rows), -1).tolist()[0] == -np.inf
    loss = F.cross_entropy(tg.from_numpy(rows), ids(0, 1), reduction="none").tolist()
    assert math.isnan(loss[0]) and abs(loss[1] - math.log1p(math.exp(-1.0))) < 1e-3


def test_logits_far_from_zero_lose_nothing(numpy_or_loops):
    """exp without a maximum subtracted is for logits whose log Σ exp is small."""
    x = np.random.default_rng(0).standard_normal((64, 65)).astype(np.float32)
    for shift in (0.0, 10.0, 60.0, 1000.0, -1000.0):
        shifted = tg.from_numpy(x + np.float32(shift))
        exact = tg.from_numpy((x + np.float32(shift)).astype(np.float64))
        for function in (tg.log_softmax, tg.softmax):
            got, want = function(shifted, -1).numpy(), function(exact, -1).numpy()
            assert abs(got - want).max() < 2e-6, (function.__name__, shift)
        t = ids(*range(64))
        got = F.cross_entropy(shifted, t, reduction="none").numpy()
        assert abs(got - F.cross_entropy(exact, t, reduction="none").numpy()).max() < 2e-6


@pytest.mark.filterwarnings("error")
def test_activations_of_huge_numbers_are_silent():
    x = tg.tensor([3e38, -3e38, 1e6, -1e6, 5.0], requires_grad=True)
    for function in (F.gelu, F.silu, lambda x: F.gelu(x, approximate="tanh"), tg.erf):
        y = function(x)
        y.backward(tg.ones(5))
        assert y[2] in (1e6, 1.0) and y[3] in (0.0, -1.0)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 3e4])
def test_attention_with_huge_scores_has_the_gradients_of_float64(scale):
    """Scores of 1e9 are multiples of 64 in float32: then no more than finite numbers are asked."""
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((1, 2, 130, 16)) for _ in range(4)]
    gradients = []
    for dtype in ("float32", "float64"):
        q, k, v, g = (tg.tensor(a.astype("float32").astype(dtype)) for a in arrays)
        q, k, v = q * scale, k * scale, v
        for x in (q, k, v):
            x.requires_grad_()
        F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(g)
        gradients.append([x.grad.numpy() for x in (q, k, v)])
        if scale < 100.0:  # every row of p adds up to 1
            np.testing.assert_allclose(v.grad.sum(2).numpy(), g.sum(2).numpy(), rtol=0, atol=2e-3)
    for ours, exact in zip(*gradients, strict=True):
        assert np.isfinite(ours).all()
        if scale < 100.0:
            np.testing.assert_allclose(ours, exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())
