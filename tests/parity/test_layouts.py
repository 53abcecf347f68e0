"""Where the elements of a result lie in memory: strides of every op against PyTorch.

Where PyTorch returns a contiguous result, so do we, and `.view` works. Element-wise functions,
clone, to and the `_like` functions keep the input's layout, as there. A few results of PyTorch are
not contiguous and ours are: LENIENT names them. Strides of dimensions of size 1 mean nothing and
are not compared; stride() of a contiguous tensor is that of row order, also with such a dimension.
"""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as torch_F  # noqa: E402
from cases import CASES  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
import tinygrad_llm.nn.functional as tg_F  # noqa: E402
from tinygrad_llm.autograd import engine  # noqa: E402


def counted(L, n):
    return L.arange(float(n)) + 1.0


LAYOUTS = {
    "contiguous": lambda L: counted(L, 24).view(2, 3, 4),
    "transposed 1 2": lambda L: counted(L, 24).view(2, 4, 3).transpose(1, 2),
    "transposed 0 1": lambda L: counted(L, 24).view(3, 2, 4).transpose(0, 1),
    "permuted": lambda L: counted(L, 24).view(4, 2, 3).permute(1, 2, 0),
    "reversed": lambda L: counted(L, 24).view(4, 3, 2).permute(2, 1, 0),
    "steps": lambda L: counted(L, 96).view(4, 3, 8)[::2, :, ::2],
    "steps, transposed": lambda L: counted(L, 96).view(8, 3, 4).transpose(0, 2)[::2, :, ::2],
    "expanded": lambda L: counted(L, 12).view(1, 3, 4).expand(2, 3, 4),
    "expanded within": lambda L: counted(L, 8).view(2, 1, 4).expand(2, 3, 4),
    "size 1": lambda L: counted(L, 6).view(2, 1, 3).transpose(0, 2),
    "size 1 first": lambda L: counted(L, 6).view(1, 2, 3).transpose(1, 2),
    "matrix": lambda L: counted(L, 12).view(3, 4),
    "matrix, transposed": lambda L: counted(L, 12).view(4, 3).t(),
    "vector": lambda L: counted(L, 6),
    "vector with steps": lambda L: counted(L, 12)[::2],
    "0-d": lambda L: L.tensor(3.0),
    "empty": lambda L: counted(L, 0).view(2, 0, 3),
    "empty, transposed": lambda L: counted(L, 0).view(0, 2, 3).transpose(0, 2),
    "heads": lambda L: counted(L, 48).view(2, 3, 4, 2).transpose(1, 2),
    "4-d, permuted": lambda L: counted(L, 48).view(2, 2, 3, 4).permute(0, 2, 3, 1),
    "channels last": lambda L: counted(L, 48).view(2, 3, 4, 2).permute(0, 3, 1, 2),
}


def method(name, *args, **options):
    return lambda L, F, x: getattr(x, name)(*args, **options)


# every element by itself, and what keeps the input's layout
KEPT = {
    name: method(name)
    for name in (
        "abs neg exp expm1 log log1p log2 log10 sqrt rsqrt tanh sigmoid sin cos erf relu square "
        "reciprocal floor round sign clone detach isnan logical_not double half bool long".split()
    )
}
KEPT |= {
    "x + x": lambda L, F, x: x + x, "x + 1": lambda L, F, x: x + 1,
    "1 - x": lambda L, F, x: 1 - x, "x / 2": lambda L, F, x: x / 2,
    "x ** 2": lambda L, F, x: x**2, "x ** x": lambda L, F, x: x**x, "x % 3": lambda L, F, x: x % 3,
    "x > 1": lambda L, F, x: x > 1, "~": lambda L, F, x: ~(x > 1),
    "&": lambda L, F, x: (x > 1) & (x > 2), "x - row": lambda L, F, x: x - L.ones(x.shape[-1:]),
    "row + x": lambda L, F, x: L.ones(x.shape[-1:]) + x,
    "contiguous first": lambda L, F, x: x.contiguous() * x,
    "maximum": lambda L, F, x: L.maximum(x, x * 2), "minimum": lambda L, F, x: L.minimum(x, x * 2),
    "clamp": lambda L, F, x: x.clamp(1, 2), "where": lambda L, F, x: L.where(x > 1, x, x),
    "where number": lambda L, F, x: L.where(x > 1, x, 0.0),
    "lerp": lambda L, F, x: L.lerp(x, x, 0.5),
    "addcmul": lambda L, F, x: L.addcmul(x, x, x), "gelu": lambda L, F, x: F.gelu(x),
    "gelu tanh": lambda L, F, x: F.gelu(x, approximate="tanh"), "silu": lambda L, F, x: F.silu(x),
    "softplus": lambda L, F, x: F.softplus(x), "leaky_relu": lambda L, F, x: F.leaky_relu(x),
    "elu": lambda L, F, x: F.elu(x), "mish": lambda L, F, x: F.mish(x),
    "hardswish": lambda L, F, x: F.hardswish(x), "hardtanh": lambda L, F, x: F.hardtanh(x),
    "dropout": lambda L, F, x: F.dropout(x, 0.5), "softsign": lambda L, F, x: F.softsign(x),
    "mse": lambda L, F, x: F.mse_loss(x, x, reduction="none"),
    "l1": lambda L, F, x: F.l1_loss(x, x, reduction="none"),
    "bce": lambda L, F, x: F.binary_cross_entropy(x.sigmoid(), x.sigmoid(), reduction="none"),
    "bce logits": lambda L, F, x: F.binary_cross_entropy_with_logits(x, x * 0, reduction="none"),
    "kl": lambda L, F, x: F.kl_div(x, x, reduction="none"), "flip": lambda L, F, x: x.flip(0),
    "flip last": lambda L, F, x: x.flip(-1), "zeros_like": lambda L, F, x: L.zeros_like(x),
    "empty_like": lambda L, F, x: L.empty_like(x), "ones_like": lambda L, F, x: L.ones_like(x),
    "full_like": lambda L, F, x: L.full_like(x, 2.0), "rand_like": lambda L, F, x: L.rand_like(x),
    "to": lambda L, F, x: x.to(L.float64), "to cpu": lambda L, F, x: x.to("cpu"),
    "to copy": lambda L, F, x: x.to(L.float32, copy=True),
    "mul_": lambda L, F, x: x.clone().mul_(2),
    "rope": lambda L, F, x: x * x.cos() + (-x) * x.sin(),
    "no padding": lambda L, F, x: F.pad(x, (0, 0)),
}  # fmt: skip
DRAWN = {"dropout", "rand_like", "empty_like"}  # their numbers differ from call to call

# arranged anew, reduced, multiplied: in row order
ROWS = {
    name: method(name) for name in "sum mean var std norm max argmax prod flatten any all".split()
}
ROWS |= {
    "contiguous": method("contiguous"), "cumsum": method("cumsum", -1),
    "cumsum 0": method("cumsum", 0), "cumprod": method("cumprod", -1),
    "roll": method("roll", 1, 0), "roll all": method("roll", 1),
    "tril": method("tril"), "triu": method("triu"), "diff": method("diff"),
    "cat": lambda L, F, x: L.cat([x, x], 0), "cat last": lambda L, F, x: L.cat([x, x], -1),
    "cat mixed": lambda L, F, x: L.cat([x, x.contiguous()], -1),
    "cat one": lambda L, F, x: L.cat([x], 0), "stack": lambda L, F, x: L.stack([x, x]),
    "stack last": lambda L, F, x: L.stack([x, x], -1), "vstack": lambda L, F, x: L.vstack([x, x]),
    "hstack": lambda L, F, x: L.hstack([x, x]),
    "masked_fill": lambda L, F, x: x.masked_fill(x > 1, 0.0),
    "masked_fill rows": lambda L, F, x: x.masked_fill(x.contiguous() > 1, 0.0),
    "repeat": lambda L, F, x: x.repeat(2, *[1] * (x.dim() - 1)),
    "repeat new": lambda L, F, x: x.repeat(2, *[1] * x.dim()), "tile": method("tile", 2),
    "repeat_interleave": method("repeat_interleave", 2, 0),
    "repeat_interleave last": method("repeat_interleave", 2, -1),
    "x[[0, 0]]": lambda L, F, x: x[L.tensor([0, 0])],
    "x[:, [0, 0]]": lambda L, F, x: x[:, L.tensor([0, 0])],
    "x[..., [0, 0]]": lambda L, F, x: x[..., L.tensor([0, 0])],
    "x[[0, 1], [0, 0]]": lambda L, F, x: x[L.tensor([0, 0]), L.tensor([0, 0])],
    "x[[0, 1], :, [0, 1]]": lambda L, F, x: x[L.tensor([0, 0]), :, L.tensor([0, 1])],
    "x[mask]": lambda L, F, x: x[x > 2],
    "x[None, [0, 0]]": lambda L, F, x: x[None, L.tensor([0, 0])],
    "index_select": lambda L, F, x: x.index_select(0, L.tensor([0, 0])),
    "index_select last": lambda L, F, x: x.index_select(-1, L.tensor([0, 0])),
    "gather": lambda L, F, x: x.gather(-1, (x * 0).long()),
    "gather 0": lambda L, F, x: x.gather(0, (x * 0).long()),
    "masked_select": lambda L, F, x: x.masked_select(x > 2),
    "scatter": lambda L, F, x: x.scatter(-1, (x * 0).long(), x),
    "scatter_add": lambda L, F, x: x.scatter_add(0, (x * 0).long(), x),
    "scatter_reduce": lambda L, F, x: x.scatter_reduce(0, (x * 0).long(), x, "amax"),
    "index_add": lambda L, F, x: x.index_add(0, L.tensor([0]), x[:1]),
    "sort": lambda L, F, x: x.sort(-1)[0], "argsort": method("argsort", 0),
    "topk": lambda L, F, x: x.topk(1, -1)[0], "topk indices": lambda L, F, x: x.topk(2, 0)[1],
    "cummax": lambda L, F, x: x.cummax(-1)[1], "cummin": lambda L, F, x: x.cummin(0)[1],
    "cummax values": lambda L, F, x: x.cummax(0)[0], "argwhere": method("argwhere"),
    "nonzero tuple": lambda L, F, x: x.nonzero(as_tuple=True)[-1],
    "nonzero column": lambda L, F, x: x.nonzero()[:, 0], "where": lambda L, F, x: L.where(x > 1)[0],
    "sort indices": lambda L, F, x: x.sort(0)[1], "sort down": lambda L, F, x: x.sort(0, True)[0],
    "msort": lambda L, F, x: L.msort(x), "median indices": lambda L, F, x: x.median(-1)[1],
    "kthvalue": lambda L, F, x: x.kthvalue(1, 0)[1], "nanmedian": lambda L, F, x: x.nanmedian(0)[1],
    "max indices": lambda L, F, x: x.max(0)[1], "aminmax": lambda L, F, x: x.aminmax(dim=0)[1],
    "unique inverse": lambda L, F, x: x.unique(return_inverse=True)[1],
    "quantile": lambda L, F, x: x.quantile(0.5, 0), "quantiles": lambda L, F, x: x.quantile(
        L.tensor([0.5, 0.2]), -1), "put": lambda L, F, x: x.put(L.tensor([0]), L.tensor([1.0])),
    "put steps": lambda L, F, x: x[..., ::2].put(L.tensor([0]), L.tensor([1.0])),
    "index_copy": lambda L, F, x: x.index_copy(0, L.tensor([0]), x[:1]),
    "index_fill": lambda L, F, x: x.index_fill(0, L.tensor([0]), 1.0),
    "masked_scatter": lambda L, F, x: x.masked_scatter(x > 1, x),
    "bucketize": lambda L, F, x: L.bucketize(x, L.arange(5.0)),
    "lgamma": method("lgamma"), "entr": lambda L, F, x: L.special.entr(x),
    "one_hot": lambda L, F, x: F.one_hot((x * 0).long(), 3),
    "embedding": lambda L, F, x: F.embedding((x * 0).long(), L.ones(3, 5)),
    "pad": lambda L, F, x: F.pad(x, (1, 1)), "glu": lambda L, F, x: F.glu(L.cat([x, x], -1)),
    "logsigmoid": lambda L, F, x: F.logsigmoid(x), "softmax": lambda L, F, x: F.softmax(x, -1),
    "softmax 0": lambda L, F, x: F.softmax(x, 0), "log_softmax": lambda L, F, x: x.log_softmax(-1),
    "logsumexp": lambda L, F, x: L.logsumexp(x, -1),
    "layer_norm": lambda L, F, x: F.layer_norm(x, x.shape[-1:]),
    "rms_norm": lambda L, F, x: F.rms_norm(x, x.shape[-1:]),
    "matmul": lambda L, F, x: x @ x.transpose(-1, -2),
    "matmul other": lambda L, F, x: x.transpose(-1, -2) @ x,
    "matmul weight": lambda L, F, x: x @ L.ones(x.shape[-1], 5),
    "linear": lambda L, F, x: F.linear(x, L.ones(5, x.shape[-1]), L.ones(5)),
    "conv1d": lambda L, F, x: F.conv1d(x, L.ones(5, x.shape[-2] or 1, 2), L.ones(5)),
    "einsum": lambda L, F, x: L.einsum("...ij,...kj->...ik", x, x),
    "einsum sum": lambda L, F, x: L.einsum("bij->bi", x),
    "einsum kbi": lambda L, F, x: L.einsum("bij,jk->kbi", x, L.ones(x.shape[-1], 5)),
    "attention": lambda L, F, x: F.scaled_dot_product_attention(x, x, x),
    "attention causal": lambda L, F, x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "cross_entropy": lambda L, F, x: F.cross_entropy(
        x, (x[:, 0] * 0).long(), reduction="none"),
    "nll_loss": lambda L, F, x: F.nll_loss(x, (x[:, 0] * 0).long(), reduction="none"),
    "median": lambda L, F, x: x.median(1)[0],
    "count_nonzero": lambda L, F, x: L.count_nonzero(x, 1),
    "multinomial": lambda L, F, x: L.multinomial(x, 2), "nonzero": method("nonzero"),
    "sum of truths": lambda L, F, x: (x > 1).sum(1), "all 0": lambda L, F, x: (x > 1).all(0),
    "any 1": lambda L, F, x: (x > 1).any(1), "reshape": method("reshape", -1),
}  # fmt: skip
for _name in ("sum", "mean", "var", "std", "norm", "amax", "prod", "argmax"):
    for _dim in (0, 1, -1):
        ROWS[f"{_name} {_dim}"] = method(_name, dim=_dim)
        ROWS[f"{_name} {_dim} keepdim"] = method(_name, dim=_dim, keepdim=True)

# views: the strides follow from the input's
VIEWS = {
    "transpose": method("transpose", 0, -1), "unsqueeze": method("unsqueeze", 0),
    "expand": lambda L, F, x: x.unsqueeze(0).expand(3, *x.shape),
    "narrow": method("narrow", -1, 0, 1),
    "split": lambda L, F, x: x.split(1, 0)[0], "chunk": lambda L, F, x: x.chunk(2, -1)[0],
    "unbind": lambda L, F, x: x.unbind(0)[0], "x[:, 0]": lambda L, F, x: x[:, 0],
    "x[:, ::2]": lambda L, F, x: x[:, ::2],
    "diagonal": method("diagonal"), "diagonal 1": method("diagonal", 1, -2, -1),
    "einsum view": lambda L, F, x: L.einsum("...ij->...ji", x),
}  # fmt: skip

# PyTorch's result is not contiguous here and ours is, which breaks no program: the dimensions that
# are picked move behind the others and back (index tensors, masks), the product is permuted
# (einsum).
LENIENT = (
    "x[[0, 0]]", "x[:, [0, 0]]", "x[..., [0, 0]]",
    "x[[0, 1], [0, 0]]", "x[[0, 1], :, [0, 1]]", "x[mask]", "x[None, [0, 0]]",
    "einsum kbi",
)  # fmt: skip
FUNCTIONS = KEPT | ROWS | VIEWS


def large(t):
    """Strides of the dimensions that have more than one element."""
    return [s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1]


def check(ours, theirs, what, lenient=False):
    assert tuple(ours.shape) == tuple(theirs.shape), what
    if theirs.is_contiguous():
        assert ours.is_contiguous(), f"{what}: {theirs.stride()}, not {ours.stride()}"
        if theirs.numel():
            assert large(ours) == large(theirs), what
    elif theirs.numel() and not (lenient and ours.is_contiguous()):
        assert large(ours) == large(theirs), f"{what}: {theirs.stride()}, not {ours.stride()}"


def run(name, layout, L, F, gradient=False):
    """The function of an input in the layout; with a gradient of every result, x.grad."""
    x = LAYOUTS[layout](L)
    if not gradient:
        return FUNCTIONS[name](L, F, x)
    x = x.detach().requires_grad_()
    y = FUNCTIONS[name](L, F, x)
    if not y.requires_grad:
        raise TypeError("no gradient")
    y.backward(L.ones(y.shape, dtype=y.dtype))
    return x.grad


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("gradient", [False, True], ids=["value", "grad"])
@pytest.mark.filterwarnings("ignore")
def test_strides_are_pytorchs(name, gradient):
    compared = 0
    for layout in LAYOUTS:
        try:
            theirs = run(name, layout, torch, torch_F, gradient)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            continue  # the function does not take this shape
        if layout == "0-d" and name in ("x[mask]", "masked_select", "scatter", "scatter_add"):
            continue
        if layout == "channels last" and name in ROWS:  # PyTorch keeps this one layout in places
            continue
        ours = run(name, layout, tg, tg_F, gradient)
        check(ours, theirs, f"{name} of {layout}", lenient=name in LENIENT)
        compared += 1
    assert compared or gradient


@pytest.mark.parametrize("name", [n for n in KEPT if n not in DRAWN])
@pytest.mark.filterwarnings("ignore")
def test_values_do_not_depend_on_the_layout(name):
    """What keeps the layout has the numbers of a contiguous input, forward and backward."""
    for layout, make in LAYOUTS.items():
        if name == "no padding" and layout == "0-d":
            continue
        results = []
        for x in (make(tg), make(tg).contiguous()):
            x = x.detach().requires_grad_()
            tg.full_like(x, float("nan"))  # what an element that is not written would show
            y = KEPT[name](tg, tg_F, x)
            if y.requires_grad:
                y.backward(tg.arange(float(y.numel())).view(y.shape))
            results.append((y.detach(), x.grad))
        (y, g), (expected, expected_g) = results
        tg.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6, equal_nan=True, msg=layout)
        if g is not None:
            tg.testing.assert_close(g, expected_g, rtol=1e-6, atol=1e-6, equal_nan=True, msg=layout)


def test_every_op_is_compared():
    """Every op of the table runs in some function above."""
    used = set()

    def watch(op, inputs, results):
        used.add(op.name)

    engine.observers.append(watch)
    try:
        for name in FUNCTIONS:
            for layout in ("contiguous", "matrix"):
                try:
                    run(name, layout, tg, tg_F)
                except (RuntimeError, IndexError, TypeError, ValueError):
                    continue
    finally:
        engine.observers.remove(watch)
    apart = {
        "linear_cross_entropy",  # returns one number
        "index_put", "write_view", "read_view",  # written into memory that is there already
        "move", "rope", "step",  # a device; a model's layer; as floor
        "gated_delta_rule", "gated_activation", "selective_scan",  # PyTorch has none
        "linear_gelu_linear",  # nor this: it is three of its functions
        "crf_log_partition",  # nor this
        "grouped_mm",  # PyTorch wants rows of 16 bytes: tests/parity/test_nn_ops.py
        "solve", "logabsdet",  # of square matrices: tests/parity/test_small_functions.py
    }  # fmt: skip
    assert {c.op.name for c in CASES} - used - apart == set()


@pytest.mark.parametrize("layout", ["transposed 1 2", "permuted", "steps", "expanded", "heads"])
def test_view_works_where_pytorch_allows_it(layout):
    """The ways in which programs meet a layout: .view of a result."""
    for L, F in ((torch, torch_F), (tg, tg_F)):
        x = LAYOUTS[layout](L)
        for f in ("cat", "cat last", "stack", "masked_fill", "cumsum", "roll", "index_select last",
                  "sum -1", "softmax", "matmul", "linear", "repeat_interleave last", "tril",
                  ):  # fmt: skip
            y = FUNCTIONS[f](L, F, x)
            assert y.view(-1).shape[0] == y.numel()


def test_memory_formats():
    x, y = (L.arange(48.0).view(2, 4, 2, 3) for L in (torch, tg))
    for f in (
        lambda L, x: x.contiguous(memory_format=L.channels_last),
        lambda L, x: x.clone(memory_format=L.channels_last),
        lambda L, x: x.to(memory_format=L.channels_last),
        lambda L, x: x.to(L.float64, memory_format=L.channels_last),
        lambda L, x: L.empty_like(x, memory_format=L.channels_last),
        lambda L, x: L.zeros_like(x.transpose(1, 2), memory_format=L.contiguous_format),
        lambda L, x: x.transpose(1, 2).clone(memory_format=L.contiguous_format),
        lambda L, x: x.transpose(1, 2).clone(memory_format=L.preserve_format),
        lambda L, x: x.contiguous(memory_format=L.channels_last).clone() * 2,
        lambda L, x: x.contiguous(memory_format=L.channels_last).contiguous(),
        lambda L, x: L.empty(2, 4, 2, 3, memory_format=L.channels_last),
        lambda L, x: x.unsqueeze(0).contiguous(memory_format=L.channels_last_3d),
    ):
        theirs, ours = f(torch, x), f(tg, y)
        assert tuple(theirs.stride()) == tuple(ours.stride())
        assert ours.is_contiguous() == theirs.is_contiguous()
        if ours.dim() == 4:
            formats = ((L.channels_last, t) for L, t in ((torch, theirs), (tg, ours)))
            assert len({t.is_contiguous(memory_format=f) for f, t in formats}) == 1
    assert y.contiguous(memory_format=tg.channels_last).tolist() == y.tolist()
    assert repr(tg.channels_last) == repr(torch.channels_last)
    with pytest.raises(RuntimeError, match="required rank 4 tensor"):
        y[0].contiguous(memory_format=tg.channels_last)
    with pytest.raises(RuntimeError, match="preserve memory format is unsupported"):
        y.transpose(1, 2).contiguous(memory_format=tg.preserve_format)
    with pytest.raises(TypeError, match="memory_format"):
        y.clone(memory_format="channels_last")


@pytest.mark.parametrize("draw", ["rand_like", "randn_like"])
def test_random_numbers_in_a_memory_format(draw):
    """The same numbers at the same places as PyTorch's, which fills memory in its order."""
    values = []
    for L in (torch, tg):
        L.manual_seed(3)
        x = L.zeros(2, 3, 4, 5)
        formats = (L.channels_last, L.contiguous_format, L.preserve_format)
        values.append([getattr(L, draw)(x, memory_format=f) for f in formats])
    for theirs, ours in zip(*values, strict=True):
        assert ours.stride() == theirs.stride() and ours.tolist() == theirs.tolist()


def test_a_module_in_channels_last():
    for L in (torch, tg):
        model = L.nn.Linear(3, 2)
        model.kernel = L.nn.Parameter(L.zeros(2, 4, 2, 3))
        model.to(memory_format=L.channels_last)
        assert tuple(model.kernel.stride()) == (24, 1, 12, 4) and model.weight.is_contiguous()


def test_gradient_of_channels_last():
    x = tg.arange(48.0).view(2, 4, 2, 3).requires_grad_()
    (x.contiguous(memory_format=tg.channels_last) * 3).sum().backward()
    assert x.grad.is_contiguous() and x.grad.tolist() == (tg.ones(2, 4, 2, 3) * 3).tolist()
