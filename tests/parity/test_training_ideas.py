"""A GPT's switches against a few lines of PyTorch: loss and every gradient; averages of weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch.nn import functional as TF  # noqa: E402
from torch.optim import swa_utils as theirs  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.models import GPT, GPTConfig  # noqa: E402
from tinygrad_llm.optim import swa_utils as ours  # noqa: E402

V, T, C, H, L = 13, 7, 24, 3, 2
D = C // H
IDEAS = {
    "plain": {},
    "rms": {"norm": "rms"},
    "qk-norm, rotary": {"qk_norm": True, "positions": "rotary"},
    "relu2": {"feed_forward": "relu2"},
    "swiglu": {"feed_forward": "swiglu", "init": "normal"},
    "values": {"value_embeddings": True},
    "values, 1 head of keys": {"value_embeddings": True, "attention": "mqa", "qk_norm": True},
    "softcap, untied": {"logit_softcap": 1.5, "tie_weights": False},
    "µP": {"mup_base": 8},
    "all": {
        "norm": "rms", "qk_norm": True, "positions": "rotary", "feed_forward": "relu2",
        "value_embeddings": True, "logit_softcap": 2.0, "init": "zero", "mup_base": 12,
        "qkv_bias": False,
    },
}  # fmt: skip


def norm(c, w, name, x):
    if c.norm == "rms" or name.endswith(("q_norm", "k_norm")):
        return TF.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], 1e-5)
    return TF.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(w, name, x):
    return TF.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def turned(x):
    """Rotary positions of the halves of a head: x (B, H, T, D)."""
    frequencies = 1.0 / 10000.0 ** (torch.arange(0, D, 2).float() / D)  # (D/2), as transformers
    angles = (torch.arange(T)[:, None].float() * frequencies).double()  # (T, D/2)
    cos, sin = (f(angles).float().to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attention(c, w, name, x, added):
    B, KV = len(x), 1 if c.attention == "mqa" else H
    q, k, v = linear(w, f"{name}.qkv", x).split([C, KV * D, KV * D], -1)
    q, k, v = (y.view(B, T, -1, D).transpose(1, 2) for y in (q, k, v))
    if c.qk_norm:
        q, k = norm(c, w, f"{name}.q_norm", q), norm(c, w, f"{name}.k_norm", k)
    if c.positions == "rotary":
        q, k = turned(q), turned(k)
    if added is not None:
        gate = w[f"{name}.value_gate"].view(1, KV, 1, 1)
        v = v + gate * added.view(B, T, KV, D).transpose(1, 2)
    y = TF.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return linear(w, f"{name}.out_proj", y.transpose(1, 2).reshape(B, T, C))


def feed_forward(c, w, name, x):
    if c.feed_forward == "swiglu":
        a, b = linear(w, f"{name}.gate_up", x).chunk(2, -1)
        return linear(w, f"{name}.down", TF.silu(a) * b)
    h = linear(w, f"{name}.layers.0", x)
    h = TF.relu(h) ** 2 if c.feed_forward == "relu2" else TF.gelu(h, approximate="tanh")
    return linear(w, f"{name}.layers.2", h)


def loss_of(c, w, x, y):
    """The loss of a GPT of PyTorch's functions, with the weights w by our names."""
    h = w["tok_emb.weight"][x]
    if c.positions == "learned":
        h = h + w["pos_emb.weight"][:T]
    added = w["value_emb.weight"][x] if c.value_embeddings else None
    for i in range(L):
        block = f"trf_blocks.{i}"
        h = h + attention(c, w, f"{block}.att", norm(c, w, f"{block}.norm1", h), added)
        h = h + feed_forward(c, w, f"{block}.ff", norm(c, w, f"{block}.norm2", h))
    head = "out_head.linear" if c.logit_softcap else "out_head"
    head = w.get(f"{head}.weight", w["tok_emb.weight"])
    logits = (norm(c, w, "final_norm", h) * ((c.mup_base or C) / C)) @ head.T
    if c.logit_softcap:
        logits = c.logit_softcap * torch.tanh(logits / c.logit_softcap)
    return TF.cross_entropy(logits.flatten(0, 1), y.flatten())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("idea", IDEAS)
def test_an_idea_is_pytorchs(idea, dtype):
    config = GPTConfig(V, T, C, H, L, drop_rate=0.0, **IDEAS[idea])
    tg.manual_seed(0)
    model = GPT(config).to(getattr(tg, dtype))
    rng = np.random.default_rng(1)
    for name, p in model.named_parameters():  # zeros and ones would hide what multiplies them
        change = rng.standard_normal(p.shape) * (2.0 if "emb" in name else 0.2)
        p.array[...] += change.astype(dtype)
    w = {n: torch.tensor(p.array, requires_grad=True) for n, p in model.named_parameters()}
    x, y = rng.integers(0, V, (2, 3, T))
    expected = loss_of(config, w, torch.from_numpy(x), torch.from_numpy(y))
    expected.backward()
    loss = model.loss(tg.from_numpy(x), tg.from_numpy(y))
    loss.backward()
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert abs(loss.item() - expected.item()) <= tolerance * expected.item()
    for name, p in model.named_parameters():
        g = w[name].grad.numpy()
        assert abs(p.grad.numpy() - g).max() <= tolerance * abs(g).max() + 1e-7 * tolerance, name


def test_pytorchs_initial_weights():
    """init="torch": the weights that the same layers have in PyTorch, from the same seed."""
    tg.manual_seed(3)
    model = GPT(GPTConfig(V, T, C, H, 1, drop_rate=0.0, init="torch", tie_weights=False))
    torch.manual_seed(3)
    nn = torch.nn
    layers = [nn.Embedding(V, C), nn.Embedding(T, C), nn.Linear(C, 3 * C), nn.Linear(C, C),
              nn.Linear(C, 4 * C), nn.Linear(4 * C, C), nn.Linear(C, V, bias=False)]  # fmt: skip
    block = model.trf_blocks[0]
    own = [model.tok_emb, model.pos_emb, block.att.qkv, block.att.out_proj, block.ff.layers[0],
           block.ff.layers[2], model.out_head]  # fmt: skip
    for a, b in zip(own, layers, strict=True):
        np.testing.assert_array_max_ulp(a.weight.array, b.weight.detach().numpy(), 1)


# ----------------------------------------------------------------------------- averages of weights
AVERAGES = {
    "swa": lambda lib: {},
    "swa, multi": lambda lib: {"multi_avg_fn": lib.get_swa_multi_avg_fn()},
    "swa, one": lambda lib: {"avg_fn": lib.get_swa_avg_fn()},
    "ema, multi": lambda lib: {"multi_avg_fn": lib.get_ema_multi_avg_fn(0.9)},
    "ema, one": lambda lib: {"avg_fn": lib.get_ema_avg_fn(0.8)},
    "ema, buffers": lambda lib: {"avg_fn": lib.get_ema_avg_fn(0.5), "use_buffers": True},
}


def small_net(lib):
    lib.manual_seed(5)
    nn = lib.nn
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize("kind", AVERAGES)
def test_averages_of_weights(kind):
    """Five steps of SGD: the average, its outputs, its state_dict, and the norms computed again."""
    data = np.random.default_rng(0).standard_normal((5, 6, 3)).astype(np.float32)
    results = []
    for lib, utils in ((tg, ours), (torch, theirs)):
        model = small_net(lib)
        average = utils.AveragedModel(model, **AVERAGES[kind](utils))
        optimizer = lib.optim.SGD(model.parameters(), lr=0.3)
        schedule = utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=3)
        rates = []
        for x in data:
            optimizer.zero_grad()
            model(lib.from_numpy(x)).square().mean().backward()
            optimizer.step()
            average.update_parameters(model)
            rates.append(optimizer.param_groups[0]["lr"])
            schedule.step()
        state = {n: p.numpy().copy() for n, p in average.state_dict().items()}
        utils.update_bn([(lib.from_numpy(x), 0) for x in data], average)
        assert average.module[1].momentum == 0.1 and average.training
        out = average.eval()(lib.from_numpy(data[0])).detach().numpy()
        results.append((state, out, rates))
    (state, out, rates), (state2, out2, rates2) = results
    assert list(state) == list(state2) and state["n_averaged"] == 5
    for name, value in state2.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(out, out2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rates, rates2, rtol=1e-12)


@pytest.mark.parametrize("options", [
    {"swa_lr": [0.05, 0.02], "anneal_epochs": 4, "anneal_strategy": "linear"},
    {"swa_lr": 0.5, "anneal_epochs": 0},
    {"swa_lr": 0.01, "anneal_epochs": 6, "anneal_strategy": "cos"},
])  # fmt: skip
def test_swalr(options):
    courses = []
    for lib, utils in ((tg, ours), (torch, theirs)):
        p, q = lib.nn.Parameter(lib.ones(1)), lib.nn.Parameter(lib.ones(1))
        optimizer = lib.optim.SGD([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=0.1)
        schedule = utils.SWALR(optimizer, **options)
        rates = []
        for i in range(9):
            rates.append(schedule.get_last_lr())
            optimizer.step()
            schedule.step()
            if i == 4:  # a new one continues from the state of the old
                state = schedule.state_dict()
                schedule = utils.SWALR(optimizer, **options)
                schedule.load_state_dict(state)
        courses.append(rates)
    np.testing.assert_allclose(courses[0], courses[1], rtol=1e-12)


def test_what_averages_refuse():
    for utils, lib in ((ours, tg), (theirs, torch)):
        model = lib.nn.Linear(2, 2)
        with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
            utils.AveragedModel(
                model, avg_fn=utils.get_swa_avg_fn(), multi_avg_fn=utils.get_swa_multi_avg_fn()
            )
        for make in (utils.get_ema_avg_fn, utils.get_ema_multi_avg_fn):
            with pytest.raises(ValueError, match=r"Invalid decay value 1.5 provided"):
                make(1.5)
        optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ValueError, match="anneal_strategy must be one of 'cos' or 'linear'"):
            utils.SWALR(optimizer, 0.1, anneal_strategy="line")
        with pytest.raises(ValueError, match="anneal_epochs must be equal or greater than 0"):
            utils.SWALR(optimizer, 0.1, anneal_epochs=-1)
        with pytest.raises(ValueError, match="swa_lr"):
            utils.SWALR(optimizer, [0.1, 0.2])
    assert tg.optim.swa_utils is ours
