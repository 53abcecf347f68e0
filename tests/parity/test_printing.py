"""What tensors print: PyTorch's text, character for character."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twice import assert_same

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
import tinygrad_llm.nn  # noqa: E402, F401
from tinygrad_llm.tensor import dtypes, printing  # noqa: E402

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")
shapes = st.one_of(
    st.lists(st.sampled_from([0, 1, 2, 3, 5, 7, 8, 30]), max_size=4).map(tuple),
    st.sampled_from([(), (1,), (40,), (999,), (1000,), (1001,), (25, 41), (3, 400), (7, 7, 30)]),
)


@st.composite
def arrays(draw):
    """NumPy arrays of every dtype, with magnitudes for every way of printing."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    name = draw(st.sampled_from(FLOATS * 2 + INTEGERS))
    dtype = dtypes.BY_NAME[name].numpy
    if name in INTEGERS:
        high = 2 if name == "bool" else draw(st.sampled_from([2, 10, 100, 120]))
        values = rng.integers(0, high, shape)
        if name == "int64":
            values = values * draw(st.sampled_from([1, -1, 10**9, -(10**15)]))
        return np.asarray(values).astype(dtype)
    values = rng.standard_normal(shape)
    kind = draw(st.sampled_from(["normal", "wide", "whole", "scaled", "zero"]))
    if kind == "wide":
        values = values * 10.0 ** rng.integers(-6, 7, shape)
    elif kind == "whole":
        values = np.round(values * 10.0 ** draw(st.integers(0, 10)))
    elif kind == "scaled":
        values = values * 10.0 ** draw(st.integers(-12, 12))
    elif kind == "zero":
        values = values * 0.0
    if draw(st.booleans()):
        special = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
        values = np.where(rng.random(shape) < 0.3, special, values)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(dtype)


options = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "precision": st.integers(0, 8),
            "threshold": st.integers(0, 100),
            "edgeitems": st.integers(0, 5),
            "linewidth": st.integers(1, 150),
            "sci_mode": st.sampled_from([None, True, False]),
            "profile": st.sampled_from(["default", "short", "full"]),
        },
    ),
)


def to_torch(array):
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(array.copy())


@settings(max_examples=200)
@example(np.array([1e8 + 1, 1.0]), {}, "none")
@example(np.array([1e-4, 0.1]), {}, "none")
@example(np.array([1000.0, 1.0]), {}, "none")
@example(np.array([0.12345]), {"precision": 0}, "none")
@example(np.zeros(2000), {"edgeitems": 0}, "leaf")
@example(np.float32([1.00005, 2]), {}, "leaf")
@given(arrays(), options, st.sampled_from(["none", "leaf", "made", "parameter"]))
def test_drawn_tensors(array, options, graph):
    theirs, ours = to_torch(array), tg.from_numpy(array)
    if graph != "none" and ours.is_floating_point():
        theirs.requires_grad_(), ours.requires_grad_()
        if graph == "made":
            theirs, ours = theirs * 1, ours * 1
        elif graph == "parameter":
            theirs, ours = torch.nn.Parameter(theirs.detach()), tg.nn.Parameter(ours.detach())
    with torch._tensor_str.printoptions(**options), printing.printoptions(**options):
        assert repr(ours) == repr(theirs)
        assert str(ours) == str(theirs)


@given(arrays(), st.sampled_from(FLOATS))
def test_default_dtype_is_not_named(array, default):
    for lib in (torch, tg):
        lib.set_default_dtype(getattr(lib, default))
    try:
        assert repr(tg.from_numpy(array)) == repr(to_torch(array))
    finally:
        for lib in (torch, tg):
            lib.set_default_dtype(lib.float32)


def test_print_options_are_the_same_dict():
    before = printing.get_printoptions()
    assert before == torch._tensor_str.get_printoptions()
    for call in ({"profile": "short"}, {"precision": 2, "sci_mode": True}, {"threshold": 5}):
        for lib in (torch, tg):
            lib.set_printoptions(**call)
        assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
    for lib in (torch, tg):
        lib.set_printoptions(profile="default")
    assert printing.get_printoptions() == before


NAMES = """
x + y
1 + x
x - 1
1 - x
x * 2
x / y
x ** 2
x ** y
2 ** x
-x
x.exp()
x.log()
x.log1p()
x.sqrt()
x.tanh()
x.sigmoid()
x.abs()
x.clamp(0.2, 0.5)
x.floor()
x.round()
x.sum()
x.sum(1)
x.max(1)
x.min(0, keepdim=True)
x.topk(2)
x.sort()
x.median(1)
x.median()
x.split(3)
x.sum(0, keepdim=True)
x.mean()
x.mean(-1, keepdim=True)
x.var(-1)
x.std()
x.max()
x.min()
x.amax(1)
x.prod()
x.norm()
x.cumsum(0)
x.softmax(-1)
torch.log_softmax(x, dim=-1)
torch.logsumexp(x, 1)
torch.maximum(x, y)
torch.where(x > 0.5, x, y)
x.masked_fill(x > 0.5, 0.0)
x.clone()
x.double()
x.view(12)
x.reshape(2, 6)
x.t().reshape(12)
x.unsqueeze(0)
x[None]
x[:1].squeeze(0)
x.transpose(0, 1)
z.permute(2, 0, 1)
x.expand(2, 3, 4)
torch.cat([x, y])
torch.stack([x, y])
x.split(2)
x.split([1, 2])
x.chunk(2)
x.unbind()
x.flip(0)
x.roll(1, 0)
x.tril()
x.triu()
x[0]
x[:, 1]
x[0, 1]
x[1:]
x[:, 1:3]
z[:, -1, :]
x[[0, 1]]
x[x > 0.5]
x[t([0, 2])]
x.gather(1, t([[0], [1], [2]]))
x @ w
x @ v
v @ v
v @ w
z @ w
z @ z.transpose(1, 2)
F.linear(x, m, b)
F.linear(x, m)
F.linear(z, m, b)
F.linear(z, m)
F.linear(v, m)
F.relu(x)
F.leaky_relu(x)
F.gelu(x)
F.gelu(x, approximate="tanh")
F.silu(x)
F.softplus(x)
F.logsigmoid(x)
F.elu(x)
F.dropout(x, 0.5)
F.layer_norm(x, (4,), v, v)
F.embedding(t([0, 2]), x)
F.cross_entropy(x, t([0, 1, 2]))
F.cross_entropy(z.transpose(1, 2), t([[0, 1, 2], [0, 1, 2]]))
F.cross_entropy(x, t([0, 1, 2]), label_smoothing=0.1)
F.mse_loss(x, y)
F.nll_loss(x, t([0, 1, 2]))
F.binary_cross_entropy_with_logits(x, (y > 0.5).float())
F.scaled_dot_product_attention(z[None], z[None], z[None], is_causal=True)
torch.einsum("ij,jk->ik", x, w)
torch.nn.Linear(4, 2)(x)
torch.nn.LayerNorm(4)(x)
torch.nn.Embedding(5, 3)(t([1, 2]))
""".split("\n")[1:-1]


@pytest.mark.parametrize("expression", NAMES)
def test_grad_fn_names(expression):
    """Results that the books print have PyTorch's grad_fn name too."""

    def name(lib):
        lib.manual_seed(0)
        made = {
            **{"x": (3, 4), "y": (3, 4), "z": (2, 3, 4), "w": (4, 5), "v": (4,), "m": (5, 4)},
            "b": (5,),
        }
        scope = {k: lib.rand(s, requires_grad=True) for k, s in made.items()}
        scope.update(torch=lib, t=lib.tensor, F=lib.nn.functional)
        result = eval(expression, scope)
        result = result[0] if isinstance(result, tuple | list) else result
        text = repr(result)
        return text[text.index("grad_fn=") :]

    assert name(tg) == name(torch)


@pytest.mark.parametrize(
    "expression",
    [
        "t([1.0])[0]",
        "t([[3.0, 1.0, 2.0]]).topk(2)",
        "t([[3.0, 1.0, 2.0]]).max(1)",
        "t([[3, 1, 2]]).sort(descending=True)",
        "torch.median(t([[3, 1, 2]]), -1)",
        "torch.std_mean(t([1.0, 3.0]))",
        "torch.ones(2, 3).shape",
        "torch.ones(2, 3).dtype",
        "t([[1, 2], [3, 4]]).float().requires_grad_()",
        "t(3.14159)",
        "f'{t(3.14159):.2f} {t(2)} {t([1.5])}'",
        "str(t([True, False]))",
        "print(t([1, 2]))",
        "torch.device('cpu')",
        "torch.finfo(torch.float32)",
        "torch.ones(2, 2).stride()",
        "[t(1.), t([2])]",
        "{'a': t([0.5])}",
    ],
)
def test_texts(expression):
    assert_same(torch, tg, expression)
