"""The layers: shapes, defaults, modes, masks, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.random import Generator

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return tg.from_numpy(RNG.standard_normal(shape).astype(dtype))


def test_linear_and_its_default_initialisation():
    layer = nn.Linear(40, 30)
    x = normal(2, 5, 40)
    expected = x.array @ layer.weight.array.T + layer.bias.array
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)
    bound = 1 / math.sqrt(40)
    for p in (layer.weight, layer.bias):
        assert np.abs(p.array).max() <= bound < np.abs(p.array).max() * 1.2
    assert nn.Linear(3, 2, bias=False).bias is None
    assert nn.Linear(3, 2, dtype=tg.float64).weight.dtype == tg.float64
    with pytest.warns(UserWarning, match="zero-element"):
        assert nn.Linear(0, 2)(tg.zeros(3, 0)).shape == (3, 2)
    assert nn.Identity("any", thing=1)(x) is x


def test_norms():
    x = normal(3, 4, 6)
    layer = nn.LayerNorm(6)
    y = layer(x).array
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-4)
    both = nn.LayerNorm((4, 6), elementwise_affine=False)
    assert both.weight is None and both.bias is None and not list(both.parameters())
    np.testing.assert_allclose(both(x).array.mean((1, 2)), 0, atol=1e-6)
    assert nn.LayerNorm(6, bias=False).bias is None
    rms = nn.RMSNorm(6, eps=1e-6)
    np.testing.assert_allclose((rms(x).array ** 2).mean(-1), 1, atol=1e-4)
    assert repr(rms) == "RMSNorm((6,), eps=1e-06, elementwise_affine=True)"


def test_dropout_acts_in_training_only():
    layer = nn.Dropout(0.25)
    x = tg.ones(1000)
    y = layer(x).array
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 0.6 < (y != 0).mean() < 0.9
    layer.eval()
    np.testing.assert_array_equal(layer(x).array, x.array)
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(p)


def test_embedding():
    layer = nn.Embedding(7, 3, padding_idx=-2)
    assert layer.padding_idx == 5 and layer.weight.array[5].tolist() == [0, 0, 0]
    ids = tg.tensor([[1, 5], [6, 1]])
    out = layer(ids)
    assert out.shape == (2, 2, 3)
    out.sum().backward()
    assert layer.weight.grad.array.sum(1).tolist() == [0, 6, 0, 0, 0, 0, 3]
    rows = normal(4, 2)
    frozen = nn.Embedding.from_pretrained(rows)
    assert not frozen.weight.requires_grad and frozen.weight.array is rows.array
    assert nn.Embedding.from_pretrained(rows, freeze=False).weight.requires_grad
    assert repr(nn.Embedding(3, 2, max_norm=1.0)) == "Embedding(3, 2, max_norm=1.0)"
    short = nn.Embedding(3, 2, max_norm=1.0, _weight=tg.full((3, 2), 3.0))
    lengths = np.linalg.norm(short(tg.tensor([0, 1])).array, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    with pytest.raises(IndexError):
        layer(tg.tensor([7]))
    with pytest.raises(AssertionError, match="within num_embeddings"):
        nn.Embedding(3, 2, padding_idx=3)
    with pytest.raises(AssertionError, match="does not match"):
        nn.Embedding(3, 2, _weight=tg.ones(2, 2))
    with pytest.raises(AssertionError, match="2-dimensional"):
        nn.Embedding.from_pretrained(tg.ones(3))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
        (nn.Hardtanh(-0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5)),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Tanh(), np.tanh),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.LogSigmoid(), lambda x: -np.log1p(np.exp(-x))),
        (nn.GELU(), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        (nn.Softmax(-1), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (nn.LogSoftmax(-1), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
        (nn.GLU(), lambda x: x[:, :3] / (1 + np.exp(-x[:, 3:]))),
        (nn.Flatten(), lambda x: x.reshape(4, -1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activations(layer, expected):
    x = normal(4, 6, dtype=np.float64)
    np.testing.assert_allclose(layer(x).array, expected(x.array), rtol=1e-6, atol=1e-12)


def test_activations_in_place():
    for layer in (nn.ReLU(True), nn.SiLU(True), nn.LeakyReLU(inplace=True), nn.ELU(inplace=True)):
        x = normal(5)
        assert layer(x) is x or layer(x).array is x.array
        assert "inplace=True" in repr(layer)


def test_losses_hand_their_options_on():
    logits, ids = normal(6, 4), tg.tensor([0, 1, 2, 3, 1, 1])
    log_p = tg.log_softmax(logits, -1)
    picked = -log_p.array[np.arange(6), ids.array]
    weight = tg.tensor([1.0, 2.0, 3.0, 4.0])
    w = weight.array[ids.array]
    close = lambda a, b: np.testing.assert_allclose(a.array, b, rtol=1e-5)  # noqa: E731
    close(nn.CrossEntropyLoss()(logits, ids), picked.mean())
    close(nn.CrossEntropyLoss(weight)(logits, ids), (picked * w).sum() / w.sum())
    close(nn.CrossEntropyLoss(reduction="none")(logits, ids), picked)
    close(nn.CrossEntropyLoss(ignore_index=1)(logits, ids), picked[ids.array != 1].mean())
    close(
        nn.CrossEntropyLoss(label_smoothing=0.2)(logits, ids),
        (0.8 * picked - 0.2 * log_p.array.mean(-1)).mean(),
    )
    close(nn.NLLLoss(reduction="sum")(log_p, ids), picked.sum())
    assert list(nn.CrossEntropyLoss(weight).state_dict()) == ["weight"]

    a, b = normal(5), normal(5)
    d = a.array - b.array
    close(nn.MSELoss()(a, b), (d * d).mean())
    close(nn.MSELoss(reduction="none")(a, b), d * d)
    close(nn.MSELoss(size_average=False)(a, b), (d * d).sum())
    close(nn.MSELoss(reduce=False)(a, b), d * d)
    close(nn.L1Loss()(a, b), np.abs(d).mean())
    huber = np.where(np.abs(d) < 0.5, d * d / 2, 0.5 * (np.abs(d) - 0.25))
    close(nn.HuberLoss(delta=0.5)(a, b), huber.mean())
    close(nn.SmoothL1Loss(beta=0.5)(a, b), huber.mean() / 0.5)

    t = tg.tensor([0.0, 1.0, 1.0, 0.0, 0.5])
    p = 1 / (1 + np.exp(-a.array))
    bce = -(t.array * np.log(p) + (1 - t.array) * np.log(1 - p))
    close(nn.BCEWithLogitsLoss()(a, t), bce.mean())
    close(nn.BCELoss()(tg.sigmoid(a), t), bce.mean())
    positive = -(3 * t.array * np.log(p) + (1 - t.array) * np.log(1 - p))
    close(nn.BCEWithLogitsLoss(pos_weight=tg.tensor(3.0))(a, t), positive.mean())

    q = tg.softmax(normal(6, 4), -1)
    kl = (q.array * (np.log(q.array) - log_p.array)).sum() / 6
    close(nn.KLDivLoss(reduction="batchmean")(log_p, q), kl)
    close(nn.KLDivLoss(reduction="batchmean", log_target=True)(log_p, q.log()), kl)
    u, v = normal(3, 4), normal(3, 4)
    lengths = np.linalg.norm(u.array, axis=1) * np.linalg.norm(v.array, axis=1)
    close(nn.CosineSimilarity()(u, v), (u.array * v.array).sum(1) / lengths)


def by_hand(layer, q, k, v, hidden=None):
    """Attention one head at a time in NumPy: (B, T, E), (B, S, E) -> output and weights."""
    E, H = layer.embed_dim, layer.num_heads
    wq, wk, wv = np.split(layer.in_proj_weight.array, 3)
    bq, bk, bv = np.split(layer.in_proj_bias.array, 3)
    q, k, v = q @ wq.T + bq, k @ wk.T + bk, v @ wv.T + bv
    heads, weights = [], []
    for h in range(H):
        part = slice(h * E // H, (h + 1) * E // H)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / math.sqrt(E // H)
        if hidden is not None:
            scores = np.where(hidden, -np.inf, scores)
        w = np.exp(scores - scores.max(-1, keepdims=True))
        w /= w.sum(-1, keepdims=True)
        weights.append(w)
        heads.append(w @ v[..., part])
    out = np.concatenate(heads, -1) @ layer.out_proj.weight.array.T + layer.out_proj.bias.array
    return out, np.stack(weights, 1)


def test_multihead_attention_by_hand():
    layer = nn.MultiheadAttention(6, 3, batch_first=True, dtype=tg.float64)
    layer.in_proj_bias.array[...] = RNG.standard_normal(18)
    x, memory = normal(2, 4, 6, dtype=np.float64), normal(2, 5, 6, dtype=np.float64)
    out, weights = layer(x, x, x)
    expected, each = by_hand(layer, x.array, x.array, x.array)
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(weights.detach().numpy(), each.mean(1), atol=1e-12)

    out, weights = layer(x, memory, memory, average_attn_weights=False)
    expected, each = by_hand(layer, x.array, memory.array, memory.array)
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(weights.detach().numpy(), each, atol=1e-12)

    causal = np.triu(np.ones((4, 4), bool), 1)
    padding = np.array([[False] * 4, [False, False, False, True]])
    hidden = causal | padding[:, None, :]
    expected, _ = by_hand(layer, x.array, x.array, x.array, hidden)
    masks = dict(key_padding_mask=tg.from_numpy(padding), attn_mask=tg.from_numpy(causal))
    for options in ({}, {"need_weights": False}, {"is_causal": True}):
        out, weights = layer(x, x, x, **masks, **options)
        np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
        assert (weights is None) == ("need_weights" in options)
    numbers = tg.from_numpy(np.where(causal, -np.inf, 0.0)).repeat(6, 1, 1)  # (B·H, T, S)
    out, _ = layer(x, x, x, key_padding_mask=masks["key_padding_mask"], attn_mask=numbers)
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)

    # time first, and without a batch
    layer.batch_first = False
    out, _ = layer(*[x.transpose(0, 1)] * 3, **masks)
    np.testing.assert_allclose(out.detach().numpy(), expected.swapaxes(0, 1), atol=1e-12)
    out, weights = layer(x[1], x[1], x[1], key_padding_mask=tg.from_numpy(padding[1]))
    expected, each = by_hand(layer, *[x.array[1:]] * 3, padding[1])
    np.testing.assert_allclose(out.detach().numpy(), expected[0], atol=1e-12)
    np.testing.assert_allclose(weights.detach().numpy(), each[0].mean(0), atol=1e-12)


def test_multihead_attention_options():
    layer = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False, batch_first=True)
    assert [n for n, _ in layer.named_parameters()] == [
        "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"
    ]  # fmt: skip
    out, weights = layer(normal(2, 3, 4), normal(2, 6, 3), normal(2, 6, 5))
    assert out.shape == (2, 3, 4) and weights.shape == (2, 3, 6)
    more = nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    x = normal(2, 3, 4)
    mask = tg.ones(3, 3, dtype=tg.bool)  # only the two added places are left
    out, weights = more(x, x, x, attn_mask=mask)
    assert weights.shape == (2, 3, 5)
    np.testing.assert_array_equal(weights.detach().numpy()[..., :3], 0)
    np.testing.assert_allclose(weights.detach().numpy().sum(-1), 1, atol=1e-6)
    dropped = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
    first, _ = dropped(x, x, x)
    assert not np.array_equal(first.array, dropped(x, x, x)[0].array)
    dropped.eval()
    np.testing.assert_array_equal(dropped(x, x, x)[0].array, dropped(x, x, x)[0].array)


def test_multihead_attention_refuses():
    with pytest.raises(ValueError, match="greater than 0"):
        nn.MultiheadAttention(0, 1)
    with pytest.raises(AssertionError, match="divisible"):
        nn.MultiheadAttention(5, 2)
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    x = normal(2, 3, 4)
    with pytest.raises(AssertionError, match="unbatched 2D or all be batched 3D"):
        layer(x, x[0], x)
    with pytest.raises(AssertionError, match="query's last dimension to be 4, but got 3"):
        layer(x[..., :3], x, x)
    with pytest.raises(AssertionError, match="do not match value's"):
        layer(x, x, x[:, :2])
    with pytest.raises(RuntimeError, match="but should be"):
        layer(x, x, x, attn_mask=tg.zeros(3, 2))
    with pytest.raises(RuntimeError, match="dimension 1 is not supported"):
        layer(x, x, x, attn_mask=tg.zeros(3))
    with pytest.raises(AssertionError, match="key_padded_mask"):
        layer(x, x, x, key_padding_mask=tg.zeros(2, 2))
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        layer(x, x, x, is_causal=True)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_gradients(need_weights):
    layer = nn.MultiheadAttention(4, 2, add_bias_kv=True, batch_first=True, dtype=tg.float64)
    x, y = normal(2, 3, 4, dtype=np.float64), normal(2, 2, 4, dtype=np.float64)
    mask = tg.tensor([[False, True], [False, False], [True, False]])
    x.requires_grad_()
    y.requires_grad_()

    def f(x, y, *parameters):
        return layer(x, y, y, attn_mask=mask, need_weights=need_weights)[0]

    assert gradcheck(f, x, y, *layer.parameters())


def test_layers_on_a_device(device):
    model = nn.Sequential(
        nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.5),
        nn.Linear(8, 4), nn.RMSNorm(4),
    )  # fmt: skip
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    ids, target = tg.tensor([[0, 1, 4]]), tg.tensor([[0, 1, 2]])

    def run(where):
        model.to(where).eval()
        attention.to(where)
        x = model(ids.to(where))
        x, _ = attention(x, x, x)
        loss = nn.CrossEntropyLoss()(x.transpose(1, 2), target.to(where))
        loss.backward()
        grads = [p.grad.cpu().array.copy() for p in [*model.parameters(), *attention.parameters()]]
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        model.zero_grad()
        attention.zero_grad()
        return loss.item(), grads

    loss, grads = run("cpu")
    again, others = run(device)
    assert again == pytest.approx(loss, rel=1e-5)
    for a, b in zip(grads, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    if device != "cpu":
        assert model[0].weight.is_cuda
    nn.init.normal_(model[2].weight)
    nn.init.trunc_normal_(model[2].weight)
    nn.init.orthogonal_(model[2].weight)


# ----------------------------------------------------------------------------- initialisation
def test_init_fills():
    t = tg.empty(30, 50)
    init = nn.init
    assert init.zeros_(t) is t and not t.array.any()
    assert init.ones_(t).array.all()
    assert (init.constant_(t, 3.5).array == 3.5).all()
    np.testing.assert_array_equal(init.eye_(t).array, np.eye(30, 50))
    assert 0.9 < init.normal_(t, 1.0, 0.1).array.mean() < 1.1
    assert -2 <= init.uniform_(t, -2, -1).array.min() < init.uniform_(t, -2, -1).array.max() <= -1
    q = init.orthogonal_(t, gain=2.0).array
    np.testing.assert_allclose(q @ q.T, 4 * np.eye(30), atol=1e-4)
    tall = init.orthogonal_(tg.empty(6, 2, 2)).array.reshape(6, 4)
    np.testing.assert_allclose(tall.T @ tall, np.eye(4), atol=1e-5)
    sparse = init.sparse_(t, 0.2).array
    assert ((sparse == 0).sum(0) == 6).all()
    conv = init.dirac_(tg.empty(4, 2, 3), groups=2)
    assert conv.array.sum() == 4 and conv.array[3, 1, 1] == 1


def test_init_scales():
    t = tg.empty(300, 500)
    init = nn.init
    assert np.abs(init.xavier_uniform_(t).array).max() == pytest.approx(
        math.sqrt(6 / 800), rel=0.01
    )
    assert init.xavier_normal_(t, 2.0).array.std() == pytest.approx(2 * 0.05, rel=0.02)
    assert np.abs(init.kaiming_uniform_(t, nonlinearity="relu").array).max() == pytest.approx(
        math.sqrt(2) * math.sqrt(3 / 500), rel=0.01
    )
    out = init.kaiming_normal_(t, mode="fan_out", nonlinearity="linear")
    assert out.array.std() == pytest.approx(1 / math.sqrt(300), rel=0.02)
    narrow = init.trunc_normal_(t, std=1.0, a=-0.5, b=1.0).array
    assert narrow.min() >= -0.5 and narrow.max() <= 1.0
    tail = init.trunc_normal_(t, mean=0.0, std=1.0, a=1.9, b=3.0).array  # the rejection branch
    assert tail.min() >= 1.9 and tail.max() <= 3.0 and tail.mean() < 2.45
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(tg.empty(5), mean=0.0, std=1.0, a=3.0, b=4.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, t: i.eye_(t), "2 dimensions"),
        (lambda i, t: i.dirac_(t), "3, 4, or 5 dimensions"),
        (lambda i, t: i.dirac_(tg.empty(3, 1, 1), 2), "divisible by groups"),
        (lambda i, t: i.xavier_normal_(t), "fewer than 2 dimensions"),
        (lambda i, t: i.orthogonal_(t), "2 or more dimensions"),
        (lambda i, t: i.sparse_(t, 0.5), "2 dimensions"),
        (lambda i, t: i.kaiming_normal_(tg.empty(2, 2), mode="fan"), "Mode fan not supported"),
        (lambda i, t: i.calculate_gain("relu7"), "Unsupported nonlinearity relu7"),
        (lambda i, t: i.calculate_gain("leaky_relu", "x"), "not a valid number"),
    ],
)
def test_init_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.init, tg.empty(4))


def test_init_marks_the_change():
    layer = nn.Linear(2, 2)
    y = layer(tg.ones(1, 2).requires_grad_()).sum()
    nn.init.zeros_(layer.weight)
    with pytest.raises(RuntimeError, match="zeros_"):
        y.backward()
    with pytest.raises(RuntimeError, match="std >= 0.0"):
        nn.init.normal_(layer.weight, std=-1.0)
    with pytest.raises(RuntimeError, match="expects to return"):
        nn.init.uniform_(layer.weight, 1.0, 0.0)
    assert nn.init.calculate_gain("tanh") == 5 / 3 and nn.init.calculate_gain("conv2d") == 1
    assert nn.init.calculate_gain("selu") == 0.75
    generator = Generator().manual_seed(3)
    a = nn.init.normal_(tg.empty(4), generator=generator).tolist()
    assert nn.init.normal_(tg.empty(4), generator=generator.manual_seed(3)).tolist() == a
