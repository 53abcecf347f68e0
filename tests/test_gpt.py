"""GPT: its size, its shapes, its gradients, its cache, and that it learns."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.autograd import engine
from tinygrad_llm.autograd.finite_differences import gradcheck
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.nn import functional as F

TINY = dict(vocab_size=11, context_length=8, emb_dim=12, n_heads=3, n_layers=2, drop_rate=0.0)


def tiny(seed=0, **changes):
    tg.manual_seed(seed)
    return GPT(GPTConfig(**{**TINY, **changes}))


def ids(*shape, seed=0, vocabulary=11):
    return tg.from_numpy(np.random.default_rng(seed).integers(0, vocabulary, shape))


@pytest.mark.parametrize(
    ("config", "tied", "untied"),
    [
        (GPTConfig.gpt2_small(), 124_439_808, 163_037_184),
        (GPTConfig.gpt2_medium(), 354_823_168, 406_286_336),
        (GPTConfig.gpt2_large(), 774_030_080, 838_359_040),
        (GPTConfig.gpt2_xl(), 1_557_611_200, 1_638_022_400),
        (GPTConfig.gpt2_small(qkv_bias=False), 124_412_160, 163_009_536),  # the book's
    ],
)
def test_parameter_counts_of_gpt2(config, tied, untied):
    assert nn.utils.skip_init(GPT, config).n_parameters() == tied
    fields = {**vars(config), "tie_weights": False}
    assert nn.utils.skip_init(GPT, fields).n_parameters() == untied


def test_the_books_configuration_is_taken():
    book = {
        "vocab_size": 50257, "context_length": 256, "emb_dim": 768, "n_heads": 12,
        "n_layers": 12, "drop_rate": 0.1, "qkv_bias": False,
    }  # fmt: skip
    model = nn.utils.skip_init(GPT, book)
    assert model.config == GPTConfig.gpt2_small(context_length=256, qkv_bias=False)
    assert model.trf_blocks[0].att.qkv.bias is None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"vocab_size": 0}, ValueError, "vocab_size must be at least 1, got 0"),
        ({"context_length": -3}, ValueError, "context_length must be at least 1, got -3"),
        ({"n_layers": 0}, ValueError, "n_layers must be at least 1, got 0"),
        ({"emb_dim": 12.0}, TypeError, "emb_dim must be an integer, got 12.0"),
        ({"n_heads": True}, TypeError, "n_heads must be an integer, got True"),
        ({"n_heads": 5}, ValueError, "multiple of n_heads, got emb_dim=12 and n_heads=5"),
        ({"drop_rate": 1.0}, ValueError, "drop_rate must be at least 0 and less than 1, got 1.0"),
        ({"drop_rate": "0.1"}, TypeError, "drop_rate must be a number, got '0.1'"),
        ({"qkv_bias": 1}, TypeError, "qkv_bias must be True or False, got 1"),
        ({"tie_weights": None}, TypeError, "tie_weights must be True or False, got None"),
    ],
)
def test_config_errors_name_the_value(changes, error, message):
    with pytest.raises(error, match=message):
        GPTConfig(**{**TINY, **changes})


def test_shapes_and_input_errors():
    model = tiny()
    assert model(ids(3, 5)).shape == (3, 5, 11)
    assert model(ids(3, 5), last_only=True).shape == (3, 1, 11)
    assert model.hidden_states(ids(3, 5)).shape == (3, 5, 12)
    assert model.loss(ids(3, 5), ids(3, 5)).shape == ()
    with pytest.raises(ValueError, match=r"shape \(batch, time\), got \(5,\)"):
        model(ids(5))
    with pytest.raises(ValueError, match="9 tokens are longer than the context_length of 8"):
        model(ids(1, 9))
    with pytest.raises(IndexError):
        model(tg.tensor([[11]]))


@pytest.mark.parametrize("tie", [True, False])
def test_initial_weights_are_gpt2s(tie):
    model = tiny(emb_dim=96, vocab_size=500, n_layers=8, tie_weights=tie)
    assert (model.out_head.weight is model.tok_emb.weight) == tie
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert not p.array.any()
        elif "norm" in name:
            assert (p.array == 1).all()
        else:
            writes = name.endswith(("att.out_proj.weight", "layers.2.weight"))
            std = 0.02 / (4 if writes else 1)
            assert p.array.std() == pytest.approx(std, rel=0.1), name
    loss = model.loss(ids(4, 8, vocabulary=500), ids(4, 8, seed=1, vocabulary=500)).item()
    assert loss == pytest.approx(math.log(500), abs=0.2)


def by_hand(model, tokens):
    """The forward pass in plain NumPy, float64: one sequence, one head and one token at a time."""
    w = {name: t.array.astype(np.float64) for name, t in model.state_dict().items()}
    config = model.config

    def norm(x, name):
        centred = x - x.mean()
        scale = math.sqrt((centred**2).mean() + 1e-5)
        return centred / scale * w[name + ".weight"] + w[name + ".bias"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    xs = [w["tok_emb.weight"][t] + w["pos_emb.weight"][i] for i, t in enumerate(tokens)]
    D = config.emb_dim // config.n_heads
    for n in range(config.n_layers):
        block = f"trf_blocks.{n}."
        qkv = [linear(norm(x, block + "norm1"), block + "att.qkv") for x in xs]
        for t, x in enumerate(list(xs)):
            context = []
            for h in range(config.n_heads):
                q, k, v = (slice(i * config.emb_dim + h * D, i * config.emb_dim + (h + 1) * D)
                           for i in range(3))  # fmt: skip
                scores = np.array([qkv[t][q] @ qkv[s][k] for s in range(t + 1)]) / math.sqrt(D)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                context.append(sum(a * qkv[s][v] for s, a in enumerate(weights)))
            xs[t] = x + linear(np.concatenate(context), block + "att.out_proj")
        for t, x in enumerate(xs):
            inner = gelu(linear(norm(x, block + "norm2"), block + "ff.layers.0"))
            xs[t] = x + linear(inner, block + "ff.layers.2")
    return np.stack([linear(norm(x, "final_norm"), "out_head") for x in xs])


def larger_weights(model):
    """Weights and biases that are neither small nor zero, so that nothing hides."""
    for i, p in enumerate(model.parameters()):
        shift = np.random.default_rng(i).standard_normal(p.array.shape)
        p.array[...] += 0.2 * shift
    return model


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False, "tie_weights": False}])
def test_forward_by_hand(options):
    model = larger_weights(tiny(**options)).double()
    tokens = ids(2, 7)
    with tg.no_grad():
        logits = model(tokens).numpy()
    for row, one in zip(logits, tokens.tolist(), strict=True):
        np.testing.assert_allclose(row, by_hand(model, one), rtol=1e-10, atol=1e-10)


def test_loss_names_both_shapes():
    with pytest.raises(RuntimeError, match=r"idx is \(2, 5\), targets is \(2, 4\)"):
        tiny().loss(ids(2, 5), ids(2, 4))


def test_loss_equals_cross_entropy_of_the_logits():
    model = larger_weights(tiny())
    x, y = ids(3, 8), ids(3, 8, seed=1)
    y.array[0, :4] = -100
    direct = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    direct.backward()
    expected = {n: p.grad.array.copy() for n, p in model.named_parameters()}
    model.zero_grad()
    loss = model.loss(x, y)
    loss.backward()
    assert loss.item() == pytest.approx(direct.item(), rel=1e-6)
    for n, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.array, expected[n], rtol=1e-4, atol=1e-6, err_msg=n)
    y = ids(3, 8, seed=1)
    keep = y.array != 4
    assert model.loss(x, y, ignore_index=4).item() == pytest.approx(
        F.cross_entropy(model(x)[tg.from_numpy(keep)], y[tg.from_numpy(keep)]).item(), rel=1e-6
    )


def test_the_bias_of_a_new_head_counts():
    model = larger_weights(tiny())
    model.out_head = nn.Linear(12, 11)
    model.out_head.bias.array[...] = np.arange(11.0)
    x, y = ids(3, 8), ids(3, 8, seed=1)
    loss = model.loss(x, y)
    loss.backward()
    grad = model.out_head.bias.grad.array.copy()
    model.zero_grad()
    direct = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    direct.backward()
    assert loss.item() == pytest.approx(direct.item(), rel=1e-6)
    np.testing.assert_allclose(grad, model.out_head.bias.grad.array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"tie_weights": False, "qkv_bias": False}])
def test_gradients_of_every_parameter(options):
    model = larger_weights(
        tiny(vocab_size=7, context_length=5, emb_dim=6, n_heads=2, **options)
    ).double()
    x, y = ids(2, 5, vocabulary=7), ids(2, 5, seed=1, vocabulary=7)
    assert gradcheck(
        lambda: model.loss(x, y), directions=3, parameters=dict(model.named_parameters())
    )
    assert gradcheck(lambda: model(x), directions=1, parameters=dict(model.named_parameters()))


@pytest.mark.slow
@pytest.mark.ci
def test_gradients_of_every_single_weight():
    model = larger_weights(tiny(vocab_size=7, context_length=5, emb_dim=6, n_heads=2)).double()
    x, y = ids(2, 5, vocabulary=7), ids(2, 5, seed=1, vocabulary=7)
    assert gradcheck(lambda: model.loss(x, y), parameters=dict(model.named_parameters()))


def test_no_token_sees_the_future():
    model = larger_weights(tiny())
    x = ids(1, 8)
    y = tg.from_numpy(x.array.copy())
    y.array[0, 5:] = (y.array[0, 5:] + 1) % 11
    with tg.no_grad():
        a, b = model(x).numpy(), model(y).numpy()
    np.testing.assert_allclose(a[:, :5], b[:, :5], atol=1e-6)
    assert np.abs(a[:, 5:] - b[:, 5:]).max() > 1e-3


def test_dropout_acts_in_training_only():
    model = tiny(drop_rate=0.5)
    x = ids(2, 8)
    with tg.no_grad():
        assert not np.array_equal(model(x).array, model(x).array)
        model.eval()
        np.testing.assert_array_equal(model(x).array, model(x).array)
    model.train()
    counts = []  # dropout in the embedding, and three times in each block
    watch = lambda op, inputs, out: counts.append(op.name)  # noqa: E731
    engine.observers.append(watch)
    try:
        model(x)
    finally:
        engine.observers.remove(watch)
    assert counts.count("dropout") == 1 + 2 * 2


@pytest.mark.parametrize("pieces", [(8,), (1,) * 8, (3, 1, 1, 3), (5, 3), (2, 4, 2)])
def test_cache_in_pieces_equals_no_cache(pieces):
    model = larger_weights(tiny()).eval()
    x = ids(2, 8)
    with tg.no_grad():
        expected = model(x).numpy()
        cache = model.new_cache()
        start, got = 0, []
        for n in pieces:
            got.append(model(x[:, start : start + n], cache=cache).numpy())
            start += n
            assert len(cache) == start
    np.testing.assert_allclose(np.concatenate(got, 1), expected, rtol=1e-4, atol=1e-5)


def test_cache_truncates_and_refuses():
    model = larger_weights(tiny()).eval()
    x = ids(2, 8)
    cache = model.new_cache()
    with pytest.raises(RuntimeError, match=r"no_grad\(\)"):
        model(x, cache=cache)
    with tg.no_grad():
        cache = model.new_cache()
        model(ids(2, 8, seed=5), cache=cache)
        with pytest.raises(ValueError, match="9 tokens are longer"):
            model(x[:, :1], cache=cache)
        cache.truncate(0)
        model(x[:, :6], cache=cache)
        cache.truncate(3)
        assert len(cache) == 3
        got = model(x[:, 3:5], cache=cache).numpy()
        np.testing.assert_allclose(got, model(x)[:, 3:5].numpy(), rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="holds a batch of 2"):
            model(x[:1, :1], cache=cache)
        with pytest.raises(ValueError, match="can't keep 9"):
            cache.truncate(9)


def test_overfits_one_batch_and_every_parameter_moves():
    model = tiny(seed=1, emb_dim=24)
    before = copy.deepcopy(model.state_dict())
    x, y = ids(4, 8), ids(4, 8, seed=1)
    optimizer = tg.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    first = model.loss(x, y).item()
    for _ in range(250):
        optimizer.zero_grad()
        loss = model.loss(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert first == pytest.approx(math.log(11), abs=0.2)
    assert loss.item() < 0.01
    for name, tensor in model.state_dict().items():
        moved = tensor.array != before[name].array
        assert moved.mean() > 0.99, name


def test_float32_stays_float32():
    model = tiny(drop_rate=0.1)
    kinds = set()
    watch = lambda op, inputs, out: kinds.update(  # noqa: E731
        str(t.dtype) for t in (out if isinstance(out, list | tuple) else [out])
    )
    engine.observers.append(watch)
    try:
        loss = model.loss(ids(2, 8), ids(2, 8))
    finally:
        engine.observers.remove(watch)
    loss.backward()
    assert kinds == {"torch.float32"}
    assert all(p.grad.dtype == tg.float32 for p in model.parameters())


def test_on_a_device(device):
    model, x, y = larger_weights(tiny()), ids(2, 8), ids(2, 8, seed=1)
    loss = model.loss(x, y)
    loss.backward()
    expected = {n: p.grad.array.copy() for n, p in model.named_parameters()}
    model.zero_grad()
    model.to(device)
    again = model.loss(x.to(device), y.to(device))
    again.backward()
    assert again.item() == pytest.approx(loss.item(), rel=1e-5)
    for n, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.cpu().array, expected[n], rtol=1e-3, atol=1e-6)
    with tg.no_grad():
        cache = model.new_cache()
        model(x[:, :4].to(device), cache=cache)
        got = model(x[:, 4:].to(device), cache=cache).cpu().array
        np.testing.assert_allclose(got, model.to("cpu")(x).array[:, 4:], rtol=1e-4, atol=1e-5)
