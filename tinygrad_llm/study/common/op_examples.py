"""A worked example for every op: small numbers to read, and its shapes in GPT-2.

The letters are those of the docstrings: B batch, T time, C channels, H heads, D channels of a head,
F channels inside the feed-forward layer, V vocabulary, R = D/2 angles. `at_gpt2` builds the inputs
from sizes of these letters; memory/at_size.py calls it with small primes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays.memory import is_array
from ...tensor import shapes

__all__ = ["EXAMPLES", "GPT2", "PRIMES", "Example", "example_of", "upstream"]

GPT2 = {"B": 1, "T": 1024, "C": 768, "H": 12, "D": 64, "F": 3072, "R": 32, "V": 50257}
PRIMES = {"B": 11, "T": 13, "C": 23, "H": 17, "D": 19, "F": 29, "R": 7, "V": 31}

Sizes = Mapping[str, int]
Call = tuple[list[Any], dict[str, Any]]  # inputs, options


@dataclass
class Example:
    """Inputs and options of a small call, and the call that GPT-2 would make."""

    inputs: list[Any]  # float64 arrays get gradients, except those in `constant`
    options: dict[str, Any] = field(default_factory=dict)
    at_gpt2: Callable[[Sizes], Call] | None = None  # None: every array as (B, T, C)
    constant: tuple[int, ...] = ()  # floating inputs without a gradient
    # Calls the op through a tensor's methods, where apply is not enough.
    run: Callable[..., Any] | None = None
    note: str = ""  # where GPT-2 has it

    def gpt2_call(self, sizes: Sizes) -> Call:
        """Inputs and options of the call that GPT-2 would make, at these sizes."""
        if self.at_gpt2 is not None:
            return self.at_gpt2(sizes)
        return [array_of("BTC", sizes) if is_array(x) else x for x in self.inputs], self.options


def of(words: str, **options: Any) -> Callable[[Sizes], Call]:
    """Inputs by letters: "BTC C" is a float32 array (B, T, C) and one (C); "BT<V" holds ids below
    V, "TT?" is a mask, and a number is itself. Options may be functions of the sizes."""

    def call(sizes: Sizes) -> Call:
        given = {k: v(sizes) if callable(v) else v for k, v in options.items()}
        return [array_of(word, sizes) for word in words.split()], given

    return call


def shape_of(letters: str, sizes: Sizes) -> tuple[int, ...]:
    """The shape that the letters mean: "BT1" is (B, T, 1)."""
    return tuple(1 if letter == "1" else sizes[letter] for letter in letters)


def array_of(word: str, sizes: Sizes) -> Any:
    """The array, or the number, that a word of `of` means."""
    if word[0] in "-0123456789":
        return float(word)
    letters, _, below = word.partition("<")
    shape = shape_of(letters.rstrip("?"), sizes)
    n = math.prod(shape)
    if below:
        return (np.arange(n) % sizes[below]).reshape(shape)
    if letters.endswith("?"):
        return (np.arange(n) % 3 > 0).reshape(shape)
    # Between 0.1 and 0.9 without a pattern: the matrices of linspace would be singular.
    return (0.5 + 0.4 * np.sin(np.arange(n) ** 2.0)).astype(np.float32).reshape(shape)


def a(*rows: Any) -> np.ndarray:
    """An array of float64 with these rows."""
    return np.array(rows, dtype=np.float64)


X = a([0.5, -1.0, 2.0], [1.5, 0.25, -0.5])  # (2, 3)
Y = a([2.0, 0.5, -1.5], [-0.25, 3.0, 1.0])  # (2, 3)
ROW = a(1.0, -2.0, 0.5)  # (3)
POSITIVE = a([0.5, 1.0, 4.0], [2.0, 0.25, 9.0])  # (2, 3)
SHARES = a([0.2, 0.5, 0.9], [0.4, 0.7, 0.1])  # between 0 and 1
IDS = np.array([2, 0, 2])
KEEP = np.array([[True, False, True], [True, True, False]])

EXAMPLES: dict[str, Example] = {}


def example(name: str, *inputs: Any, **more: Any) -> None:
    """Enter an op's example in EXAMPLES."""
    EXAMPLES[name] = Example(list(inputs), **more)


def upstream(shape: tuple[int, ...]) -> np.ndarray:
    """∂L/∂y of an example: a few different numbers, so that no sum hides a mistake."""
    n = int(np.prod(shape))
    return np.resize(a(1.0, -0.5, 2.0, 0.5, -1.0, 1.5), n).reshape(shape)


def example_of(op: Any) -> Example:
    """The example of an op; for an op without one, arrays with the shapes of its signature."""
    if op.name in EXAMPLES:
        return EXAMPLES[op.name]
    sizes = {
        letter: n for letter, n in zip(shapes.dimensions(op.signature), (3, 2, 4, 5), strict=False)
    }
    filled = shapes.fill(op.signature, sizes, (2,))
    rng = np.random.default_rng(0)
    return Example([np.round(rng.uniform(0.2, 2.0, shape), 2) for shape in filled])


# ----------------------------------------------------------------------------- element by element
for name in (
    *("abs", "clone", "cos", "elu", "erf", "exp", "expm1", "leaky_relu", "logsigmoid", "neg"),
    *("relu", "sigmoid", "silu", "sin", "softplus", "tanh"),
):
    example(name, X)
example(
    "gated_activation",
    a([1.0, -0.5, 2.0, 3.0], [0.25, 1.5, -1.0, 0.5]),
    at_gpt2=lambda s: ([np.concatenate([array_of("BTF", s)] * 2, axis=-1)], {}),  # (B, T, 2F)
    note="the feed-forward layer of Llama; GPT-2 has none",
)
for name in ("log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sqrt"):
    example(name, POSITIVE)
for name in ("maximum", "minimum", "mse_loss", "sub"):
    example(name, X, Y)
TANH = {"approximate": "tanh"}
example("add", X, ROW, at_gpt2=of("BTC TC"), note="token embeddings + position embeddings")
example("mul", X, ROW, at_gpt2=of("BTC C"))
example("div", X, POSITIVE, at_gpt2=of("BTC BT1"))
example("gelu", X, options=TANH, at_gpt2=of("BTF", **TANH), note="the feed-forward layer")
example("pow", POSITIVE, 3.0)
example("remainder", a([5.5, -5.5, 7.25]), a([3.0, 3.0, -2.0]))
example("clamp", X, options={"low": -0.75, "high": 1.0})
example("step", a([0.5, -1.25, 2.75], [1.5, 0.25, -0.5]), options={"function": "floor"})
example("cast", X, options={"dtype": "float64"}, at_gpt2=of("BTC", dtype="float16"))
example("move", X, options={"kind": "cpu", "index": None})
example("where", KEEP, X, Y, at_gpt2=of("BTC? BTC BTC"))
example("masked_fill", X, ~KEEP, -9.0, at_gpt2=of("BHTT TT? -9"), note="the causal mask")
example("dropout", X, KEEP, options={"p": 0.25}, at_gpt2=of("BTC BTC?", p=0.1), note="after layers")

# ------------------------------------------------------------------------------------- reductions
for name in ("mean", "norm", "std", "sum", "var"):
    example(name, X, options={"dims": (1,)}, at_gpt2=of("BTC", dims=(2,)))
example(
    "extreme",
    X,
    options={"dims": (1,), "largest": True},
    at_gpt2=of("BTC", dims=(2,), largest=True),
)
example("prod", X, options={"dim": 1}, at_gpt2=of("BTC", dim=2))
example("cumprod", X, options={"dim": 1}, at_gpt2=of("BTC", dim=1))
example("cumsum", X, options={"dim": 1}, at_gpt2=of("BTC", dim=1))
example("softmax", X, options={"dim": -1}, at_gpt2=of("BHTT", dim=-1), note="plain attention")
example("log_softmax", X, options={"dim": -1}, at_gpt2=of("BTV", dim=-1))
example("logsumexp", X, options={"dim": -1}, at_gpt2=of("BTV", dim=-1))

# ----------------------------------------------------------------------------------------- shapes
example(
    "reshape",
    X,
    options={"shape": (3, 2)},
    at_gpt2=of("BTC", shape=lambda s: (s["B"] * s["T"], s["C"])),
    note="all rows of a batch below each other",
)
example(
    "permute",
    X,
    options={"order": (1, 0)},
    at_gpt2=of("BTHD", order=(0, 2, 1, 3)),
    note="heads before time",
)
example(
    "expand", ROW, options={"shape": (2, 3)}, at_gpt2=of("TC", shape=lambda s: shape_of("BTC", s))
)
example(
    "cat",
    a(1.0, 2.0),
    a(3.0),
    options={"dim": 0},
    at_gpt2=of("BHTD BH1D", dim=2),
    note="the KV cache grows",
)
example(
    "split",
    a(0.5, -1.0, 2.0, 1.5),
    options={"sizes": (2, 2), "dim": 0},
    at_gpt2=of("BTC", sizes=lambda s: (1, s["C"] - 1), dim=2),
)
example("flip", X, options={"dims": (1,)})
example("roll", X, options={"shifts": (1,), "dims": (1,)})
example("tril", X, options={"diagonal": 0}, at_gpt2=of("TT", diagonal=0))
example("triu", X, options={"diagonal": 0}, at_gpt2=of("TT", diagonal=0))
example(
    "pad",
    X,
    options={"before": (0, 1), "after": (0, 1), "value": 0.0},
    at_gpt2=of("BTC", before=(0, 1, 0), after=(0, 0, 0)),
)

# --------------------------------------------------------------------------------- picking by index
example(
    "index",
    X,
    options={"index": np.array([1, 0, 1])},
    at_gpt2=of("TC", index=lambda s: array_of("BT<T", s)),
)
example("diagonal", a([0.5, -1.0], [2.0, 1.5]), options={"offset": 0, "dim1": 0, "dim2": 1})
example(
    "index_put",
    X,
    a(7.0, 8.0, 9.0),
    options={"index": 0},
    at_gpt2=of("BTC C", index=(slice(None), 0)),
)
example(
    "gather",
    X,
    np.array([[2, 0], [1, 1]]),
    options={"dim": 1},
    at_gpt2=of("BTV BT1<V", dim=2),
    note="the logit of each target",
)
example(
    "scatter_add",
    a(1.0, 2.0, 3.0),
    options={"shape": (3,), "index": IDS},
    at_gpt2=of("TC", shape=lambda s: shape_of("VC", s), index=lambda s: array_of("T<V", s)),
)
example(
    "scatter_reduce",
    ROW,
    a(1.5, 2.5, 0.5),
    options={"index": (IDS,), "reduce": "amax", "include_self": True},
    at_gpt2=of("V T", index=lambda s: (array_of("T<V", s),), reduce="amax", include_self=True),
)


def _write_view(x: Any, v: Any) -> Any:
    y = x.clone()
    y[0].copy_(v)  # y's memory changes through the view y[0]
    return y


def _read_view(x: Any) -> Any:
    y = x.clone()
    view = y[0]
    y.mul_(2.0)  # view shows the new numbers, so it has a new history
    return view.clone()


example("write_view", X, ROW, run=_write_view)
example("read_view", X, run=_read_view)

# --------------------------------------------------------------------------------------- products
COLUMNS = a([1.0, 0.0], [0.5, -1.0], [2.0, 1.0])  # (3, 2)
WEIGHT = a([1.0, 0.5, -1.0], [0.0, 2.0, 1.0])  # (2, 3)
example(
    "matmul", X, COLUMNS, at_gpt2=of("BHTD BHDT"), note="queries with keys, where it is written out"
)
example(
    "einsum",
    X,
    COLUMNS,
    options={"inputs": ("ik", "kj"), "output": "ij"},
    at_gpt2=of("BTC CF", inputs=("btc", "cf"), output="btf"),
)
example("linear", X, WEIGHT, a(0.1, -0.2), at_gpt2=of("BTC FC F"), note="feed forward, its first")
example(
    "linear_gelu_linear",
    X,
    WEIGHT,
    a(0.1, -0.2),
    WEIGHT.T,
    a(0.3, 0.1, -0.1),
    options={"approximate": "tanh"},
    at_gpt2=of("BTC FC F CF C", approximate="tanh"),
    note="the whole feed forward, on a GPU in bfloat16",
)
example(
    "conv1d",
    a([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 1.5, 2.0]]),
    a([[1.0, 0.5, -1.0]], [[0.0, 2.0, 1.0]]),
    options={"groups": 2, "padding": 2},
    at_gpt2=of("BCT C11", groups=lambda s: s["C"]),
    note="depthwise, in Mamba and Qwen3.5; GPT-2 has none",
)
example(
    "grouped_mm",
    a([1.0, 2.0], [0.5, -1.0], [3.0, 0.25]),
    a([[1.0, 0.5], [-1.0, 2.0]], [[9.0, 9.0], [9.0, 9.0]], [[0.0, 1.0], [1.0, -2.0]]),
    np.array([2, 2, 3]),
    at_gpt2=lambda s: (
        [array_of("TC", s), array_of("HCF", s), np.linspace(0, s["T"], s["H"]).astype(int)],
        {},
    ),
    note="the experts of a mixture; GPT-2 has none",
)


def _keys_of(sizes: Sizes) -> Call:
    """Keys of length 1 at most and a memory that decays, so that nothing grows without end."""
    q, k, v, decay, beta = (array_of(w, sizes) for w in ("BHTD", "BHTD", "BHTD", "BHT", "BHT"))
    return [q, k / np.float32(math.sqrt(sizes["D"])), v, -decay, beta], {}


example(
    "gated_delta_rule",
    a([[[1.0, 0.5], [0.0, 1.0], [-1.0, 1.0]]]),
    a([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]]),
    a([[[2.0, 1.0], [-1.0, 0.5], [1.0, 3.0]]]),
    a([[-0.1, -0.5, -0.2]]),
    a([[0.5, 1.0, 0.25]]),
    at_gpt2=_keys_of,
    note="in place of attention, in Qwen3.5; GPT-2 has none",
)


def _scanned(sizes: Sizes) -> Call:
    """C channels that keep R numbers each, with steps and rates at which nothing grows."""
    x, step, a, b, c = (array_of(w, sizes) for w in ("BCT", "BCT", "CR", "BRT", "BRT"))
    return [x, abs(step), -abs(a), b, c], {}


example(
    "selective_scan",
    a([[1.0, -1.0, 2.0], [0.5, 1.0, -2.0]]),
    a([[0.5, 1.0, 0.25], [1.0, 0.1, 2.0]]),
    a([-1.0, -0.5], [-2.0, -0.25]),
    a([[1.0, 0.5, -1.0], [2.0, 1.0, 0.5]]),
    a([[0.5, 1.0, 1.0], [-1.0, 0.5, 2.0]]),
    at_gpt2=_scanned,
    note="in place of attention, in Mamba; GPT-2 has none",
)
example(
    "crf_log_partition",
    a([[1.0, 0.0], [0.5, 1.0], [-1.0, 2.0]]),
    a([0.5, -0.5], [0.0, 1.0]),
    a(0.0, -1.0),
    a(0.5, 0.0),
    at_gpt2=of("BTR RR R R"),
    note="behind an encoder that tags texts, with R tags; GPT-2 has none",
)
SQUARE = a([2.0, 1.0], [-0.5, 1.0])  # (2, 2)
example("solve", SQUARE, X, at_gpt2=of("BTT BTC"), note="in no language model")
example("logabsdet", SQUARE, at_gpt2=of("BTT"), note="in no language model")

# ----------------------------------------------------------------------------------------- layers
ROWS = a([1.0, 2.0, 4.0], [0.5, -1.0, 1.0])  # (2, 3)
SCALE = a(1.0, 2.0, 0.5)  # (3)
example("layer_norm", ROWS, SCALE, a(0.0, 0.1, -0.1), at_gpt2=of("BTC C C"), note="two in a block")
example("rms_norm", ROWS, SCALE, at_gpt2=of("BTC C"), note="Llama's; GPT-2 has layer_norm")
example(
    "embedding",
    a([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]),
    IDS,
    at_gpt2=of("VC BT<V"),
    note="token ids to vectors",
)
ANGLES = a([0.0, 0.0], [1.0, 0.1])  # (T, D/2)
example(
    "rope",
    a([1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 1.5, 2.0]),
    np.cos(ANGLES),
    np.sin(ANGLES),
    constant=(1, 2),
    at_gpt2=of("BHTD TR TR"),
    note="Llama's, with R = D/2; GPT-2 has none",
)
example(
    "scaled_dot_product_attention",
    a([1.0, 0.0], [0.5, -1.0], [2.0, 1.0]),
    a([0.5, 1.0], [1.0, -0.5], [-1.0, 1.0]),
    a([1.0, 2.0], [3.0, 4.0], [5.0, 7.0]),
    options={"is_causal": True},
    at_gpt2=of("BHTD BHTD BHTD", is_causal=True),
    note="one in each block",
)

# ----------------------------------------------------------------------------------------- losses
CHANCES = a([0.2, 0.3, 0.5], [0.6, 0.3, 0.1])
YES_NO = a([0.0, 1.0, 1.0], [1.0, 0.0, 0.0])
example("cross_entropy", X, np.array([2, 0]), at_gpt2=of("BTV BT<V"), note="the loss")
example(
    "linear_cross_entropy",
    X,
    WEIGHT,
    np.array([1, 0]),
    at_gpt2=of("BTC VC BT<V"),
    note="the last layer and the loss in one",
)
example("nll_loss", np.log(CHANCES), np.array([2, 0]), at_gpt2=of("BTV BT<V"))
example("binary_cross_entropy", SHARES, YES_NO, constant=(1,))
example("binary_cross_entropy_with_logits", X, YES_NO, constant=(1,))
example("kl_div", np.log(a(0.2, 0.3, 0.5)), a(0.5, 0.25, 0.25), constant=(1,))
