"""nn against PyTorch: the same seed gives the same weights; modules compute and print the same."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)


def same_numbers(ours, theirs, ulps=1):
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype)
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    if ulps == 0:
        np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_array_max_ulp(a, b, ulps)


def same_state(ours, theirs, ulps=1):
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == list(b)
    for key in a:
        same_numbers(a[key], b[key], ulps)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]


def both(make, seed=0):
    """make(lib) under the same seed with both libraries."""
    out = []
    for lib in (tg, torch):
        lib.manual_seed(seed)
        out.append(make(lib))
    return out


# ----------------------------------------------------------------------------- initial weights
@given(seeds, sizes, sizes, st.booleans(), st.sampled_from(["float32", "float64"]))
def test_linear_starts_the_same(seed, i, o, bias, dtype):
    same_state(*both(lambda lib: lib.nn.Linear(i, o, bias, dtype=getattr(lib, dtype)), seed))


@given(seeds, sizes, sizes, st.booleans(), st.sampled_from(["float32", "float64"]))
def test_embedding_starts_the_same(seed, n, c, pad, dtype):
    def make(lib):
        return lib.nn.Embedding(n, c, n // 2 if pad else None, dtype=getattr(lib, dtype))

    same_state(*both(make, seed))


@given(seeds, st.integers(1, 4), st.integers(1, 5), st.booleans(), st.booleans(), st.booleans(),
       st.sampled_from([None, 3, 7]))  # fmt: skip
def test_multihead_attention_starts_the_same(seed, heads, d, bias, bias_kv, zero, kdim):
    def make(lib):
        return lib.nn.MultiheadAttention(
            heads * d, heads, bias=bias, add_bias_kv=bias_kv, add_zero_attn=zero, kdim=kdim
        )

    same_state(*both(make, seed))


def test_a_whole_model_starts_the_same():
    def make(lib):
        nn = lib.nn
        return nn.Sequential(
            OrderedDict(
                emb=nn.Embedding(50, 24),
                norm=nn.LayerNorm(24),
                rms=nn.RMSNorm(24),
                drop=nn.Dropout(0.1),
                body=nn.ModuleList(nn.Linear(24, 24, bias=i % 2 == 0) for i in range(5)),
                heads=nn.ModuleDict({"b": nn.Linear(24, 3), "a": nn.Linear(24, 1)}),
                attention=nn.MultiheadAttention(24, 4),
                out=nn.Linear(24, 50),
            )
        )

    ours, theirs = both(make, 123)
    same_state(ours, theirs)
    assert tg.rand(3).tolist() == torch.rand(3).tolist()  # both streams are at the same position


shapes = st.sampled_from([(3, 4), (16, 5), (30, 50), (2, 3, 4), (1, 1), (7, 1), (4, 17)])
INITS = {
    "uniform_": [{}, {"a": -2.0, "b": 3.0}],
    "normal_": [{}, {"mean": 1.0, "std": 0.02}],
    "trunc_normal_": [
        {}, {"std": 0.02}, {"a": -0.1, "b": 0.2}, {"mean": 0.5, "std": 2.0, "a": 0.0, "b": 1.0},
    ],
    "constant_": [{"val": 0.3}],
    "ones_": [{}],
    "zeros_": [{}],
    "xavier_uniform_": [{}, {"gain": 2.0}],
    "xavier_normal_": [{}, {"gain": 0.5}],
    "kaiming_uniform_": [{}, {"a": 5**0.5}, {"mode": "fan_out", "nonlinearity": "relu"}],
    "kaiming_normal_": [{}, {"a": 0.2}, {"mode": "fan_out", "nonlinearity": "tanh"}],
}  # fmt: skip


@pytest.mark.parametrize("name", INITS)
@given(seeds, shapes, st.data(), st.sampled_from(["float32", "float64"]))
def test_init_fills_the_same(name, seed, shape, data, dtype):
    options = data.draw(st.sampled_from(INITS[name]))
    own_generator = data.draw(st.booleans()) and name not in ("constant_", "ones_", "zeros_")

    def fill(lib):
        t = lib.empty(*shape, dtype=getattr(lib, dtype))
        extra = {"generator": lib.Generator().manual_seed(seed)} if own_generator else {}
        return getattr(lib.nn.init, name)(t, **options, **extra)

    same_numbers(*both(fill, seed))


@given(seeds, shapes, st.sampled_from([1.0, 2.5]))
def test_orthogonal_is_close(seed, shape, gain):
    ours, theirs = both(lambda lib: lib.nn.init.orthogonal_(lib.empty(*shape), gain), seed)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5)


@given(seeds, st.sampled_from([(20, 6), (5, 30), (1, 3)]), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_sparse_eye_and_dirac_fill_the_same(seed, shape, sparsity):
    same_numbers(*both(lambda lib: lib.nn.init.sparse_(lib.empty(*shape), sparsity), seed))
    same_numbers(*both(lambda lib: lib.nn.init.eye_(lib.empty(*shape))))
    same_numbers(*both(lambda lib: lib.nn.init.dirac_(lib.empty(6, 4, 3, 2), 2)))


def test_gains():
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        for param in (None, 0.3):
            gains = [lib.nn.init.calculate_gain(name, param) for lib in (tg, torch)]
            assert gains[0] == gains[1]


# ------------------------------------------------------------------------------------ printing
PRINTED = [
    lambda nn: nn.Linear(3, 4, bias=False),
    lambda nn: nn.Identity(3),
    lambda nn: nn.LayerNorm((3, 4), eps=1e-6, elementwise_affine=False),
    lambda nn: nn.LayerNorm(3, bias=False),
    lambda nn: nn.RMSNorm(4),
    lambda nn: nn.Dropout(0.25, inplace=True),
    lambda nn: nn.Embedding(5, 3, padding_idx=1, max_norm=2.0, norm_type=1.0,
                            scale_grad_by_freq=True),
    lambda nn: nn.MultiheadAttention(4, 2),
    lambda nn: nn.Sequential(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.2, True)),
    lambda nn: nn.Sequential(nn.ELU(2.0), nn.SiLU(), nn.SiLU(True), nn.Sigmoid(), nn.Tanh()),
    lambda nn: nn.Sequential(nn.GELU(), nn.GELU("tanh"), nn.Softplus(2.0), nn.LogSigmoid()),
    lambda nn: nn.Sequential(nn.Softmax(-1), nn.LogSoftmax(1), nn.GLU(0), nn.Hardtanh(-2.0, 3.0)),
    lambda nn: nn.Sequential(nn.Flatten(), nn.CrossEntropyLoss(), nn.MSELoss(), nn.KLDivLoss()),
    lambda nn: nn.Sequential(),
    lambda nn: nn.ModuleList(),
    lambda nn: nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)]),
    lambda nn: nn.ModuleList([nn.Sequential(nn.Linear(1, 2), nn.Tanh()) for _ in range(3)]),
    lambda nn: nn.ModuleDict({"x": nn.Linear(1, 1), "y": nn.ModuleList([nn.ReLU()])}),
    lambda nn: nn.ParameterList([]),
]  # fmt: skip


@pytest.mark.parametrize("make", PRINTED)
def test_printing(make):
    assert repr(make(tg.nn)) == repr(make(torch.nn))


def test_printing_parameters():
    texts = [
        (repr(lib.nn.Parameter(lib.ones(2, 2))), repr(lib.nn.ParameterList([lib.zeros(2, 3)])))
        for lib in (tg, torch)
    ]
    assert texts[0] == texts[1]


def test_printing_ones_own_module():
    def make(lib):
        class Own(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = lib.nn.Linear(1, 2)
                self.register_module("nothing", None)
                self.more = lib.nn.Sequential(lib.nn.Dropout())

            def extra_repr(self):
                return "first=1\nsecond=2"

        return Own()

    ours, theirs = both(make)
    assert repr(ours) == repr(theirs)


# -------------------------------------------------------------------------- names and loading
def rebuilt(lib):
    """A module whose attributes are set, replaced and deleted in many ways."""
    nn = lib.nn
    m = nn.Module()
    m.plain = None
    m.first = nn.Linear(2, 2)
    m.plain = nn.Linear(1, 1)
    m.w = nn.Parameter(lib.zeros(1))
    m.register_parameter("none", None)
    m.register_buffer("buf", lib.zeros(2))
    m.register_buffer("tmp", lib.zeros(2), persistent=False)
    m.register_buffer("unset", None)
    m.v = nn.Parameter(lib.zeros(2))
    m.none = nn.Parameter(lib.ones(3))
    m.w = None
    m.w = nn.Parameter(lib.ones(4))
    m.buf = lib.ones(2)
    m.unset = lib.ones(1)
    m.list = [nn.Linear(3, 3)]
    m.first = nn.Parameter(lib.ones(5))  # was a module
    m.again = m.plain
    m.tied = nn.Linear(1, 1, bias=False)
    m.tied.weight = m.plain.weight
    m.gone = nn.Linear(1, 1)
    del m.gone
    m.tmp = nn.Linear(1, 1, bias=False)  # was a buffer
    return m


def test_registration_order_and_names():
    ours, theirs = both(rebuilt)
    same_state(ours, theirs)
    for kind in ("parameters", "buffers", "modules"):
        for options in ({}, {"remove_duplicate": False}, {"prefix": "p"}):
            assert [n for n, _ in getattr(ours, f"named_{kind}")(**options)] == [
                n for n, _ in getattr(theirs, f"named_{kind}")(**options)
            ]
    assert list(ours._modules) == list(theirs._modules)
    assert list(ours._parameters) == list(theirs._parameters)
    assert list(ours._buffers) == list(theirs._buffers)
    assert list(copy.deepcopy(ours).state_dict()) == list(theirs.state_dict())


ERRORS = [
    lambda lib, m: setattr(m, "weight", lib.ones(1)),
    lambda lib, m: setattr(m, "child", 3),
    lambda lib, m: setattr(m, "buf", "x"),
    lambda lib, m: m.register_buffer("a.b", None),
    lambda lib, m: m.register_parameter("", None),
    lambda lib, m: m.add_module("weight", lib.nn.ReLU()),
    lambda lib, m: m.register_buffer("forward", None),
    lambda lib, m: m.register_parameter("new", lib.ones(1)),
    lambda lib, m: m.register_parameter(3, None),
    lambda lib, m: m.get_submodule("no.where"),
    lambda lib, m: m.get_submodule("weight"),
    lambda lib, m: m.get_parameter("child"),
    lambda lib, m: m.missing,
    lambda lib, m: m.train("yes"),
    lambda lib, m: m.to(lib.int64),
    lambda lib, m: m.load_state_dict(3),
    lambda lib, m: lib.nn.Sequential()[0],
    lambda lib, m: lib.nn.ModuleDict()["x"],
    lambda lib, m: lib.nn.Embedding(3, 2, padding_idx=7),
    lambda lib, m: lib.nn.Dropout(2.0),
    lambda lib, m: lib.nn.MultiheadAttention(5, 2),
    lambda lib, m: lib.nn.MultiheadAttention(0, 2),
    lambda lib, m: lib.nn.init.xavier_uniform_(lib.ones(3)),
    lambda lib, m: lib.nn.init.eye_(lib.ones(3)),
    lambda lib, m: lib.nn.init.calculate_gain("x"),
    lambda lib, m: lib.nn.init.normal_(lib.ones(3), std=-1.0),
]


@pytest.mark.parametrize("wrong", ERRORS)
def test_errors_are_of_the_same_class(wrong):
    raised = []
    for lib in (tg, torch):
        m = lib.nn.Linear(1, 1)
        m.child = lib.nn.ReLU()
        m.register_buffer("buf", lib.ones(1))
        with pytest.raises(Exception) as error:  # noqa: PT011, B017
            wrong(lib, m)
        raised.append(error.type)
    assert raised[0] is raised[1]


def test_the_text_of_a_failed_load():
    texts = []
    for lib in (tg, torch):
        model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Linear(3, 1))
        state = model.state_dict()
        del state["0.bias"], state["1.weight"]
        state["stray"] = state["0.other"] = lib.ones(1)
        state["0.weight"] = lib.ones(4, 4)
        state["1.bias"] = lib.ones(2)
        with pytest.raises(RuntimeError) as error:
            model.load_state_dict(state)
        texts.append(str(error.value))
    assert sorted(texts[0].split("\n")) == sorted(texts[1].split("\n"))
    assert texts[0] == texts[1]


def test_the_result_of_a_load():
    results = []
    for lib in (tg, torch):
        model = lib.nn.Linear(2, 3)
        state = model.state_dict()
        results.append(repr(model.load_state_dict(state)))
        del state["bias"]
        state["x"] = lib.ones(1)
        results.append(repr(model.load_state_dict(state, strict=False)))
    assert results[:2] == results[2:]


# -------------------------------------------------------------------- forward and backward
def compare(make, *inputs, seed=0, atol=2e-5):
    """The same module on the same inputs: outputs, input gradients and parameter gradients."""
    results = []
    for lib in (tg, torch):
        lib.manual_seed(seed)
        module = make(lib)
        tensors = [lib.from_numpy(a.copy()) for a in inputs]
        leaves = [t.requires_grad_() for t in tensors if t.is_floating_point()]
        out = module(*tensors)
        out = out if isinstance(out, tuple) else (out,)
        loss = sum((o * lib.from_numpy(weights(o.shape)).to(o.dtype)).sum() for o in out
                   if o is not None)  # fmt: skip
        loss.backward()
        named = dict(module.named_parameters())
        results.append(
            {f"out {i}": o for i, o in enumerate(out) if o is not None}
            | {f"input {i}": t.grad for i, t in enumerate(leaves)}
            | {n: p.grad for n, p in named.items()}
        )
    ours, theirs = results
    assert list(ours) == list(theirs)
    for name in ours:
        assert (ours[name] is None) == (theirs[name] is None), name
        if ours[name] is not None:
            a, b = ours[name].detach().numpy(), theirs[name].detach().numpy()
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=atol, err_msg=name)


def weights(shape):
    return np.random.default_rng(7).standard_normal(tuple(shape)).astype(np.float32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


MODULES = {
    "linear": lambda nn: nn.Linear(6, 5),
    "layer norm": lambda nn: nn.LayerNorm(6),
    "layer norm without bias": lambda nn: nn.LayerNorm((4, 6), bias=False),
    "rms norm": lambda nn: nn.RMSNorm(6, eps=1e-6),
    "rms norm, default eps": lambda nn: nn.RMSNorm(6),
    "dropout": lambda nn: nn.Dropout(0.4),
    "feed forward": lambda nn: nn.Sequential(
        nn.LayerNorm(6), nn.Linear(6, 24), nn.GELU("tanh"), nn.Dropout(0.1), nn.Linear(24, 6)
    ),
    "activations": lambda nn: nn.Sequential(
        nn.Linear(6, 6), nn.SiLU(), nn.Linear(6, 6), nn.ELU(), nn.Softplus(), nn.LogSigmoid(),
        nn.LeakyReLU(), nn.Linear(6, 6), nn.GLU(), nn.Hardtanh(), nn.ReLU6(), nn.LogSoftmax(-1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
@given(seeds)
def test_modules(name, seed):
    compare(lambda lib: MODULES[name](lib.nn), normal(3, 4, 6, seed=seed), seed=seed)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"scale_grad_by_freq": True},
                                     {"max_norm": 1.5}])  # fmt: skip
def test_embedding(options):
    ids = np.random.default_rng(1).integers(0, 9, (3, 7))
    compare(lambda lib: lib.nn.Embedding(9, 4, **options), ids)


@given(
    seeds, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([None, "bool", "float", "3-d"]), st.booleans(), st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_multihead_attention(
    seed, itself, batch_first, need_weights, average, extra, mask, padding, dropout
):
    B, T, S, E, H = 2, 3, 3 if itself else 5, 8, 2
    rng = np.random.default_rng(seed)

    def make(lib):
        layer = lib.nn.MultiheadAttention(
            E, H, dropout=dropout, add_bias_kv=extra, add_zero_attn=extra, batch_first=batch_first
        )
        for p in layer.parameters():  # biases that are not zero
            if p.dim() == 1:
                lib.nn.init.normal_(p)
        rng = np.random.default_rng(seed)
        hidden = rng.random((B * H, T, S) if mask == "3-d" else (T, S)) < 0.3
        hidden[..., 0] = False
        options = {"need_weights": need_weights, "average_attn_weights": average}
        if mask == "float":
            options["attn_mask"] = lib.from_numpy(rng.standard_normal((T, S)).astype(np.float32))
        elif mask is not None:
            options["attn_mask"] = lib.from_numpy(hidden)
        if padding:
            pads = np.zeros((B, S), bool)
            pads[1, -1] = True
            pads = lib.from_numpy(pads)
            if mask == "float":
                pads = lib.zeros(B, S).masked_fill(pads, float("-inf"))
            options["key_padding_mask"] = pads

        class Call(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, x, *memory):
                key = memory[0] if memory else x
                return self.layer(x, key, key, **options)

        return Call()

    x = rng.standard_normal((B, T, E) if batch_first else (T, B, E)).astype(np.float32)
    memory = rng.standard_normal((B, S, E) if batch_first else (S, B, E)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(make, x, *([] if itself else [memory]), seed=seed)


def test_losses():
    logits, ids = normal(5, 4), np.array([0, 3, 1, 1, 2])
    w = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
    p = 1 / (1 + np.exp(-normal(5, 4, seed=1)))

    def check(make, x, t, reductions=("mean", "sum", "none")):
        for reduction in reductions:
            compare(lambda lib, reduction=reduction: make(lib, reduction), x, t)

    check(lambda lib, r: lib.nn.CrossEntropyLoss(lib.from_numpy(w), reduction=r), logits, ids)
    check(lambda lib, r: lib.nn.CrossEntropyLoss(ignore_index=1, reduction=r), logits, ids)
    check(lambda lib, r: lib.nn.CrossEntropyLoss(label_smoothing=0.1, reduction=r), logits, ids)
    check(lambda lib, r: lib.nn.NLLLoss(lib.from_numpy(w), reduction=r), logits, ids)
    check(lambda lib, r: lib.nn.MSELoss(reduction=r), logits, p)
    check(lambda lib, r: lib.nn.L1Loss(reduction=r), logits, p)
    check(lambda lib, r: lib.nn.HuberLoss(reduction=r, delta=0.7), logits, p)
    check(lambda lib, r: lib.nn.SmoothL1Loss(reduction=r, beta=0.7), logits, p)
    check(lambda lib, r: lib.nn.BCELoss(reduction=r), p[::-1], p)
    check(
        lambda lib, r: lib.nn.BCEWithLogitsLoss(reduction=r, pos_weight=lib.from_numpy(w)),
        logits,
        p,
    )
    for log_target in (False, True):
        check(
            lambda lib, r, log_target=log_target: lib.nn.KLDivLoss(
                reduction=r, log_target=log_target
            ),
            logits, np.log(p) if log_target else p, ("batchmean", "sum", "none"),
        )  # fmt: skip
    compare(lambda lib: lib.nn.CosineSimilarity(-1), logits, normal(5, 4, seed=2))


def test_old_reduction_arguments():
    for lib in (tg, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kinds = [
                lib.nn.MSELoss(a, b, c).reduction
                for a in (None, True, False) for b in (None, True, False) for c in ("mean", "none")
            ]  # fmt: skip
        if lib is tg:
            ours = kinds
    assert ours == kinds


# ------------------------------------------------------------------------------------- utils
@given(seeds, st.sampled_from([0.1, 1.0, 100.0]), st.sampled_from([2.0, 1.0, float("inf"), 3.0]))
def test_clip_grad_norm(seed, max_norm, kind):
    results = []
    for lib in (tg, torch):
        lib.manual_seed(seed)
        model = lib.nn.Sequential(lib.nn.Linear(7, 9), lib.nn.Tanh(), lib.nn.Linear(9, 5))
        (model(lib.from_numpy(normal(3, 7, seed=seed))) * 5).pow(2).sum().backward()
        norm = lib.nn.utils.clip_grad_norm_(model.parameters(), max_norm, kind)
        results.append([norm, *[p.grad for p in model.parameters()]])
        lib.nn.utils.clip_grad_value_(model.parameters(), 0.01)
        results[-1] += [p.grad for p in model.parameters()]
        results[-1].append(lib.nn.utils.parameters_to_vector(model.parameters()))
    for a, b in zip(*results, strict=True):
        assert str(a.dtype) == str(b.dtype) and tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
