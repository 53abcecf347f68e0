"""Small calls of every op with random numbers, to compare one backward with another.

They are made from the worked examples: the example itself, the same with other numbers, and its
call in GPT-2 with few channels; others show what an op's options do. The numbers are random but the
same in every run, in float64, so that two equal formulas agree to the last few digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...arrays.reductions import unbroadcast
from ...autograd.engine import OPS, Op
from ...tensor import Tensor, wrap
from ..common.op_examples import example_of

__all__ = ["Ran", "Sample", "samples"]

SIZES = {"B": 2, "T": 3, "C": 5, "H": 2, "D": 4, "F": 6, "R": 2, "V": 7}


@dataclass
class Sample:
    """One call: inputs (arrays, numbers, None) and options; floating inputs get gradients."""

    inputs: list[Any]
    options: dict[str, Any] = field(default_factory=dict)
    constant: tuple[int, ...] = ()  # floating inputs without a gradient
    seed: int = 0

    def run(self, op: type[Op], dtype: str = "float64") -> Ran:
        """Run the op's forward, and make a random ∂L/∂output for its backward."""
        inputs, grad_inputs = [], []
        for i, x in enumerate(self.inputs):
            if not is_array(x):
                inputs.append(x)
                continue
            floating = x.dtype.kind == "f"
            tensor = wrap((x.astype(dtype) if floating else x).copy())
            if floating and i not in self.constant:
                tensor.requires_grad = True
                grad_inputs.append(i)
            inputs.append(tensor)
        call = RUNS.get(op.name)
        y = call(op, *inputs, **self.options) if call else op.apply(*inputs, **self.options)
        outputs = list(y) if isinstance(y, tuple) else [y]
        rng = np.random.default_rng(self.seed)
        upstream = tuple(
            np.asarray(rng.uniform(0.5, 1.5, o.shape) * rng.choice([-1.0, 1.0], o.shape)).astype(
                o.array.dtype
            )
            for o in outputs
        )
        return Ran(self, outputs[0]._op, outputs, upstream, grad_inputs)

    def __str__(self) -> str:
        words = [f"{x.shape} {x.dtype}" if is_array(x) else repr(x) for x in self.inputs]
        return ", ".join(words + [f"{k}={v!r}" for k, v in self.options.items()])


@dataclass
class Ran:
    """A forward that ran: the op instance, its outputs, ∂L/∂output for each output."""

    sample: Sample
    op: Op
    outputs: list[Tensor]
    upstream: tuple
    grad_inputs: list[int]  # the inputs whose gradients are wanted

    def backward(self) -> list[Any]:
        """What the op's backward returns, one gradient per input."""
        grads = self.op.backward(self.upstream if len(self.upstream) > 1 else self.upstream[0])
        return list(grads) if isinstance(grads, tuple) else [grads]

    def gradients(self) -> dict[int, np.ndarray]:
        """{input: ∂L/∂input} as the engine delivers it: 0 for None, broadcast dimensions summed."""
        return self.taken(self.backward())

    def taken(self, grads: list[Any]) -> dict[int, np.ndarray]:
        """{input: gradient} as the engine delivers the gradients that backward returned."""
        delivered = {}
        for i in self.grad_inputs:
            shape = self.shape(i)
            g = grads[i] if i < len(grads) else None
            g = np.zeros(shape) if g is None else np.asarray(g)
            if g.shape != shape and self.op.broadcasts and _fits(shape, g.shape):
                g = unbroadcast(g, shape)
            delivered[i] = g
        return delivered

    def shape(self, i: int) -> tuple[int, ...]:
        """Input i's shape, which its gradient must have."""
        return self.sample.inputs[i].shape


def _fits(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether `small` broadcasts to `large`."""
    try:
        return np.broadcast_shapes(small, large) == large
    except ValueError:
        return False


def samples(name: str) -> list[Sample]:
    """The calls on which an op's backward is checked, the worked example first."""
    example = example_of(OPS[name])
    rng = np.random.default_rng(len(name))
    calls = []
    if name not in RUNS:
        calls.append(Sample(example.inputs, example.options, example.constant))
        other = [_other(x, rng, i in example.constant) for i, x in enumerate(example.inputs)]
        calls.append(Sample(other, example.options, example.constant))
        if example.at_gpt2 is not None and name not in KINKED:
            inputs, options = example.gpt2_call(SIZES)
            options = {k: "float64" if k == "dtype" else v for k, v in options.items()}
            shuffled = [_shuffled(x, rng) for x in inputs]
            calls.append(Sample(shuffled, options, example.constant))
    constant = CONSTANT.get(name, example.constant)
    calls += [Sample(list(x), o, constant) for x, o in (MORE[name](rng) if name in MORE else [])]
    for seed, sample in enumerate(calls):
        sample.seed = seed
    return calls


def _other(x: Any, rng: np.random.Generator, constant: bool) -> Any:
    """The same array with numbers a little smaller."""
    if not is_array(x) or x.dtype.kind != "f" or constant:
        return x
    return x * rng.uniform(0.8, 0.97, x.shape)


def _shuffled(x: Any, rng: np.random.Generator) -> Any:
    """The numbers of an array in another order, in float64."""
    if not is_array(x):
        return x
    x = x.astype("float64") if x.dtype.kind == "f" else x
    return rng.permutation(x.reshape(-1)).reshape(x.shape) if x.dtype.kind == "f" else x


# ------------------------------------------------------- what the options do, and harder shapes
KINKED = ("masked_fill",)  # GPT-2's has one causal mask and no gradient for the number
MORE: dict[str, Callable[[Any], list]] = {}
RUNS: dict[str, Callable[..., Any]] = {}  # ops that take more than apply


def more(*names: str) -> Callable[[Callable[[Any], list]], Callable[[Any], list]]:
    """Enter a function in MORE: given random numbers, it returns (inputs, options) of calls."""

    def enter(f: Callable[[Any], list]) -> Callable[[Any], list]:
        for name in names:
            MORE[name] = f
        return f

    return enter


@more("add", "sub", "mul", "div", "mse_loss", "maximum", "minimum", "kl_div")
def _broadcast(rng):
    a, b = rng.uniform(0.5, 2.0, (4, 2, 3)), rng.uniform(0.5, 2.0, (2, 1))
    return [((a, b), {}), ((b, a), {})]


MORE["remainder"] = lambda rng: [
    ((rng.uniform(3.0, 9.0, (4, 3)), rng.uniform(1.0, 2.0, (3,))), {"rounding": r})
    for r in ("floor", "trunc")
]
MORE["kl_div"] = lambda rng: [
    (xs, {"log_target": log}) for log in (False, True) for xs, _ in _broadcast(rng)
]
MORE["where"] = lambda rng: [
    ((rng.random((4, 3)) < 0.5, rng.normal(size=(4, 3)), rng.normal(size=(3,))), {}),
    ((rng.random((4, 3)) < 0.5, rng.normal(size=(4, 1)), rng.normal(size=(4, 3))), {}),
]
MORE["masked_fill"] = lambda rng: [
    ((rng.normal(size=(4, 3)), rng.random((4, 3)) < 0.5, np.array(0.5)), {}),
    ((rng.normal(size=(2, 4, 3)), rng.random((4, 1)) < 0.5, np.array(-1.5)), {}),
]
MORE["pow"] = lambda rng: [
    ((rng.uniform(0.5, 2.0, (4, 3)), rng.uniform(0.5, 3.0, (3,))), {}),
    ((rng.uniform(0.5, 2.0, (4, 3)), 2), {}),
    ((rng.uniform(0.5, 2.0, (4, 3)), -0.5), {}),
    ((2.0, rng.uniform(0.5, 3.0, (3,))), {}),
]
MORE["clamp"] = lambda rng: [((rng.normal(size=(9,)),), {"low": -0.4, "high": None})]
MORE["gelu"] = lambda rng: [((rng.normal(size=(4, 3)),), {"approximate": "none"})]
MORE["gated_activation"] = lambda rng: [
    ((rng.normal(size=(2, 3, 6)),), {"activation": activation})
    for activation in ("silu", "gelu", "gelu_tanh")
]
MORE["elu"] = lambda rng: [((rng.normal(size=(4, 3)),), {"alpha": 0.5})]
MORE["leaky_relu"] = lambda rng: [((rng.normal(size=(4, 3)),), {"negative_slope": 0.3})]
MORE["softplus"] = lambda rng: [((rng.normal(size=(4, 3)),), {"beta": 2.0, "threshold": 3.0})]
MORE["step"] = lambda rng: [((3.0 * rng.normal(size=(4, 3)),), {"function": "rint"})]
MORE["dropout"] = lambda rng: [((rng.normal(size=(4, 3)), rng.random((4, 3)) < 0.6), {"p": 0.4})]


@more("sum", "mean", "norm")
def _reduced(rng):
    x = rng.normal(size=(4, 2, 3))
    return [((x,), {"dims": (0, 2)}), ((x,), {"dims": (1,), "keepdim": True})]


@more("var", "std")
def _spread(rng):
    x = rng.normal(size=(4, 2, 3))
    return [((x,), {"dims": (0, 2)}), ((x,), {"dims": (1,), "keepdim": True, "correction": 0})]


MORE["extreme"] = lambda rng: [
    ((rng.normal(size=(4, 2, 3)),), {"dims": (0, 2), "largest": False}),
    ((rng.normal(size=(4, 3)),), {"dims": (1,), "keepdim": True}),
]
MORE["prod"] = lambda rng: [
    ((np.array([[2.0, 0.0, -1.5], [0.5, 3.0, 1.0]]),), {"dim": 1}),
    ((rng.normal(size=(4, 3)),), {"dim": 0, "keepdim": True}),
]
MORE["softmax"] = MORE["log_softmax"] = lambda rng: [((rng.normal(size=(4, 2, 3)),), {"dim": 1})]
MORE["logsumexp"] = lambda rng: [((rng.normal(size=(4, 2, 3)),), {"dim": (0, 2), "keepdim": True})]
MORE["cumprod"] = lambda rng: [
    ((np.array([[2.0, 0.0, -1.5], [0.5, 3.0, 1.0]]),), {"dim": 1}),
    ((rng.normal(size=(4, 3)),), {"dim": 0}),
]
MORE["cumsum"] = lambda rng: [((rng.normal(size=(4, 3)),), {"dim": 0})]
MORE["permute"] = lambda rng: [
    ((rng.normal(size=(3, 3, 3)),), {"order": (1, 2, 0)}),
    ((rng.normal(size=(2, 3, 4)),), {"order": (2, 0, 1)}),
]
MORE["reshape"] = lambda rng: [((rng.normal(size=(2, 3, 4)),), {"shape": (4, 6)})]
MORE["expand"] = lambda rng: [((rng.normal(size=(2, 1, 3)),), {"shape": (4, 2, 5, 3)})]
MORE["cat"] = lambda rng: [
    (tuple(rng.normal(size=(2, n)) for n in (3, 3, 3)), {"dim": 1}),
    (tuple(rng.normal(size=(n, 2)) for n in (2, 1, 3)), {"dim": 0}),
]
MORE["split"] = lambda rng: [((rng.normal(size=(2, 6)),), {"sizes": (2, 1, 3), "dim": 1})]
MORE["flip"] = lambda rng: [((rng.normal(size=(4, 2, 3)),), {"dims": (0, 2)})]
MORE["roll"] = lambda rng: [
    ((rng.normal(size=(4, 3)),), {"shifts": (1, -1), "dims": (0, 1)}),
    ((rng.normal(size=(4, 3)),), {"shifts": (2,), "dims": None}),
]
MORE["tril"] = MORE["triu"] = lambda rng: [((rng.normal(size=(4, 5)),), {"diagonal": 1})]
MORE["pad"] = lambda rng: [
    ((rng.normal(size=(3, 4)),), {"before": (2, 1), "after": (1, 3), "value": 0.5})
]
MORE["index"] = lambda rng: [
    ((rng.normal(size=(4, 3)),), {"index": (np.array([0, 2, 0, 0]), slice(None))}),
    ((rng.normal(size=(4, 3)),), {"index": (slice(1, 3), None, 0)}),
]
MORE["diagonal"] = lambda rng: [
    ((rng.normal(size=(3, 4, 2)),), {"offset": offset, "dim1": 1, "dim2": 0}) for offset in (-1, 2)
]
MORE["index_put"] = lambda rng: [
    ((rng.normal(size=(4, 3)), rng.normal(size=(3,))), {"index": np.array([0, 2])}),
    ((rng.normal(size=(4, 3)), rng.normal(size=(4, 2))), {"index": (slice(None), slice(0, 2))}),
]
MORE["gather"] = lambda rng: [((rng.normal(size=(4, 3)), rng.integers(0, 3, (4, 5))), {"dim": 1})]
MORE["scatter_add"] = lambda rng: [
    ((rng.normal(size=(5, 2)),), {"shape": (3, 2), "index": np.array([0, 2, 0, 0, 2])})
]
MORE["scatter_reduce"] = lambda rng: [
    ((rng.normal(size=(3,)), rng.normal(size=(4,))),
     {"index": (np.array([0, 2, 0, 0]),), "reduce": reduce, "include_self": include_self})
    for reduce in ("prod", "amax", "amin") for include_self in (True, False)
]  # fmt: skip
MORE["matmul"] = lambda rng: [
    ((rng.normal(size=(3, 3)), rng.normal(size=(3, 3))), {}),
    ((rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 2))), {}),
    ((rng.normal(size=(1, 2, 4, 3)), rng.normal(size=(3, 1, 3, 2))), {}),
]
MORE["solve"] = lambda rng: [
    ((rng.normal(size=(3, 3)) + 2.0 * np.eye(3), rng.normal(size=(3, 2))), {}),
    ((rng.normal(size=(2, 4, 4)) + 3.0 * np.eye(4), rng.normal(size=(2, 4, 1))), {}),
]
MORE["logabsdet"] = lambda rng: [((rng.normal(size=(2, 3, 3)) + 2.0 * np.eye(3),), {})]
MORE["einsum"] = lambda rng: [
    ((rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))),
     {"inputs": ("bik", "bjk"), "output": "bij"}),
    ((rng.normal(size=(2, 3)),), {"inputs": ("ij",), "output": "i"}),
]  # fmt: skip
MORE["linear"] = lambda rng: [
    ((rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 3)), rng.normal(size=(3,))), {}),
    ((rng.normal(size=(4, 3)), rng.normal(size=(2, 3)), None), {}),
]
MORE["linear_gelu_linear"] = lambda rng: [
    ((rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 3)), None, rng.normal(size=(2, 3)),
      rng.normal(size=(2,))), {"approximate": approximate})
    for approximate in ("none", "tanh")
]  # fmt: skip
MORE["conv1d"] = lambda rng: [
    ((rng.normal(size=(2, 3, 6)), rng.normal(size=(4, 3, 3)), rng.normal(size=(4,))),
     {"padding": 1}),
    ((rng.normal(size=(2, 4, 7)), rng.normal(size=(4, 1, 3)), None),
     {"groups": 4, "padding": 2}),
    ((rng.normal(size=(1, 4, 9)), rng.normal(size=(6, 2, 2)), rng.normal(size=(6,))),
     {"groups": 2, "stride": 2, "dilation": 2, "padding": 1}),
]  # fmt: skip
MORE["grouped_mm"] = lambda rng: [
    ((rng.normal(size=(6, 3)), rng.normal(size=(4, 3, 2)), np.array([2, 2, 5, 6])), {}),
    ((rng.normal(size=(5, 3)), rng.normal(size=(2, 3, 3)), np.array([4, 5])), {}),
]
MORE["gated_delta_rule"] = lambda rng: [
    ((*(rng.normal(size=(1, 2, T, n)) * 0.6 for n in (3, 3, 2)),
      -rng.random((1, 2, T)), 0.2 + 0.8 * rng.random((1, 2, T))), {"chunk": chunk})
    for T, chunk in ((5, 2), (4, 64))
]  # fmt: skip
MORE["selective_scan"] = lambda rng: [
    ((rng.normal(size=(2, 3, T)), rng.random((2, 3, T)), -2.0 * rng.random((3, 2)),
      *(rng.normal(size=(2, 2, T)) for _ in "bc")), {"chunk": chunk, "parallel": parallel})
    for T, chunk, parallel in ((5, 2, False), (7, 4, True))
]  # fmt: skip
MORE["crf_log_partition"] = lambda rng: [
    ((rng.normal(size=(2, T, K)), rng.normal(size=(K, K)), rng.normal(size=K),
      rng.normal(size=K), mask), {})
    for T, K, mask in ((4, 3, np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)), (5, 2, None),
                       (1, 3, None))
]  # fmt: skip
MORE["layer_norm"] = lambda rng: [
    ((rng.normal(size=(4, 3)), None, None), {"eps": 1e-3}),
    ((rng.normal(size=(2, 3, 4)), rng.normal(size=(4,)), rng.normal(size=(4,))), {}),
    ((rng.normal(size=(4, 3)), rng.normal(size=(3,)), None), {}),
]
MORE["rms_norm"] = lambda rng: [
    ((rng.normal(size=(4, 3)), None), {"eps": 1e-3}),
    ((rng.normal(size=(2, 3, 4)), rng.normal(size=(4,))), {}),
]
MORE["embedding"] = lambda rng: [
    ((rng.normal(size=(5, 2)), np.array([[0, 2, 0], [4, 0, 2]])), {}),
    ((rng.normal(size=(5, 2)), np.array([0, 2, 0, 4])), {"padding_idx": 0}),
    ((rng.normal(size=(5, 2)), np.array([0, 2, 0, 4])), {"scale_grad_by_freq": True}),
]


def _angles(rng, t, pairs):
    angle = rng.normal(size=(t, pairs))
    return np.cos(angle), np.sin(angle)


MORE["rope"] = lambda rng: [
    ((rng.normal(size=(2, 3, 6)), *_angles(rng, 3, 3)), {"interleaved": True}),
    ((rng.normal(size=(3, 6)), *_angles(rng, 3, 2)), {}),
]


@more("scaled_dot_product_attention")
def _attention(rng):
    q, k, v = (rng.normal(size=(2, n, d)) for n, d in ((4, 3), (4, 3), (4, 2)))
    keep = rng.random((2, 4, 4)) < 0.6
    boolean = np.array([[1, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 0]], bool)
    shared = (rng.normal(size=(4, 4, 3)), k, v)
    return [
        ((q, k, v), {}),
        ((q, k, v), {"is_causal": True, "scale": 0.4}),
        ((q, k, v, boolean), {}),
        ((q, k, v, rng.normal(size=(4, 4))), {}),
        ((q, k, v, None, keep), {"dropout_p": 0.4}),
        (shared, {"is_causal": True}),
    ]


@more("cross_entropy")
def _cross_entropy(rng):
    x, w = rng.normal(size=(5, 4)), rng.uniform(0.5, 2.0, 4)
    t, some = np.array([1, 0, 3, 2, 2]), np.array([1, -100, 3, -100, 2])
    return [
        ((x, some), {}),
        ((x, t), {"reduction": "sum"}),
        ((x, t), {"reduction": "none"}),
        ((x, some, w), {}),
        ((x, some), {"label_smoothing": 0.2}),
    ]


MORE["nll_loss"] = lambda rng: [c for c in _cross_entropy(rng) if "label_smoothing" not in c[1]]


@more("linear_cross_entropy")
def _linear_cross_entropy(rng):
    w, b = rng.normal(size=(4, 3)), rng.normal(size=(4,))
    calls: list[Any] = []
    for (_, t, *weights), options in _cross_entropy(rng):
        if options.get("reduction") != "none":
            calls.append(((rng.normal(size=(5, 3)), w, t, b, *weights), options))
    return calls


MORE["binary_cross_entropy"] = lambda rng: [(tuple(rng.uniform(0.1, 0.9, (2, 4, 3))), {})]
MORE["binary_cross_entropy_with_logits"] = lambda rng: [
    ((rng.normal(size=(4, 3)), rng.uniform(0.1, 0.9, (4, 3)), rng.uniform(0.5, 2.0, 3)), {})
]
# Floating inputs without a gradient, where they differ from the worked example's.
CONSTANT: dict[str, tuple[int, ...]] = {
    "cross_entropy": (2,),
    "nll_loss": (2,),
    "linear_cross_entropy": (4,),
    "binary_cross_entropy": (),
    "binary_cross_entropy_with_logits": (2,),
    "kl_div": (),
}
WHERE: Any = (1, (slice(None), slice(0, 2)))
MORE["write_view"] = lambda rng: [
    ((x := rng.normal(size=(4, 3)), rng.normal(size=x[at].shape)), {"index": at}) for at in WHERE
]
MORE["read_view"] = lambda rng: [((rng.normal(size=(4, 3)),), {"index": at}) for at in WHERE]


def _write_view(op: type[Op], x: Tensor, v: Tensor, index: Any) -> Any:
    y = x.clone()
    view = y.array[index]
    view[...] = v.array
    return op.apply(y, v, view=view)


def _read_view(op: type[Op], x: Tensor, index: Any) -> Any:
    y = x.clone()
    part = y.array[index]
    return op.apply(y, view=np.broadcast_to(part, (2, *part.shape)))


RUNS.update(write_view=_write_view, read_view=_read_view)
